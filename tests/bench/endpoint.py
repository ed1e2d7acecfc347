"""The endpoints that measurements deliver to."""

import contextlib
import socket
import subprocess
import time


@contextlib.contextmanager
def receiver(bench, *arguments):
    """A running `receive`; gives its URL."""
    child = subprocess.Popen(
        [bench.binary, "receive", "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child.stderr.readline().split()[-1]
    finally:
        child.kill()
        child.communicate()


@contextlib.contextmanager
def nginx(bench):
    """A running nginx that answers 204 at once; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = bench.write(
        "nginx.conf",
        "daemon off; pid nginx.pid; error_log error.log; worker_processes 1;"
        "events { worker_connections 256; }"
        "http { access_log off; keepalive_requests 100000000;"
        " client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;"
        " uwsgi_temp_path uwsgi; scgi_temp_path scgi;"
        " server { listen 127.0.0.1:%d; location / { return 204; } } }" % port,
    )
    command = ["nginx", "-p", str(bench.directory), "-c", str(config)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        yield "http://127.0.0.1:%d/events" % port
    finally:
        child.terminate()
        child.wait()
