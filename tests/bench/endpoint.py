"""The endpoints that measurements deliver to."""

import contextlib
import socket
import ssl
import subprocess
import time
from pathlib import Path

# Nobody listens on it.
DEAD = "http://127.0.0.1:9/events"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


class Authority:
    """A certificate for 127.0.0.1, and the authority that signed it."""

    def __init__(self, bench):
        self.directory = bench.directory
        self.certificate, self.key = self.directory / "ca.pem", self.directory / "ca.key"
        self.server, self.server_key = self.directory / "tls.pem", self.directory / "tls.key"
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        self.openssl(self.certificate, self.key, *new, "-subj", "/CN=bench authority")
        signed = ["-CA", self.certificate, "-CAkey", self.key, "-subj", "/CN=127.0.0.1"]
        leaf = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
        self.openssl(self.server, self.server_key, *new, *signed, *leaf)

    def openssl(self, certificate, key, *arguments):
        command = ["openssl", "req", "-x509", "-out", certificate, "-keyout", key, *arguments]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)

    def among_system_roots(self):
        """The system's roots and this one in a file, for SSL_CERT_FILE."""
        system = Path(ssl.get_default_verify_paths().openssl_cafile)
        debian = Path("/etc/ssl/certs/ca-certificates.crt")
        roots = (system if system.exists() else debian).read_text()
        path = self.directory / "roots.pem"
        path.write_text(roots + self.certificate.read_text())
        return path


@contextlib.contextmanager
def nginx(bench, authority=None):
    """A running nginx that answers 204 at once; gives its URL."""
    port = free_port()
    tls = ""
    if authority:
        tls = "ssl_certificate %s; ssl_certificate_key %s;" % (
            authority.server,
            authority.server_key,
        )
    config = bench.write(
        "nginx-%d.conf" % port,
        "daemon off; pid nginx-%d.pid; error_log error.log; worker_processes 1;"
        "events { worker_connections 1024; }"
        "http { access_log off; keepalive_requests 100000000;"
        " client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;"
        " uwsgi_temp_path uwsgi; scgi_temp_path scgi; client_max_body_size 100m;"
        " server { listen 127.0.0.1:%d%s; %s location / { return 204; } } }"
        % (port, port, " ssl" if authority else "", tls),
    )
    command = ["nginx", "-p", str(bench.directory), "-c", str(config)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        yield "%s://127.0.0.1:%d/events" % ("https" if authority else "http", port)
    finally:
        child.terminate()
        child.wait()
