"""An endpoint that keeps what it gets and answers as it is told: TCP, TLS or a unix socket."""

import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler

from waiting import PATIENCE


class Receiver(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Keeps (user agent, path, body) of each request, in the order in which they came.

    `status` is the answer, `delay` how long it takes; after `dies_after` requests it is gone, and
    with `hangs` it never answers.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, unix=None, tls=None, status=200, delay=0, dies_after=None, hangs=False):
        self.requests = []
        self.status, self.delay, self.dies_after, self.hangs = status, delay, dies_after, hangs
        self.lock = threading.Lock()
        self.address_family = socket.AF_UNIX if unix else socket.AF_INET
        super().__init__(str(unix) if unix else ("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "certificate.pem", tls / "key.pem")
            self.socket = context.wrap_socket(self.socket, server_side=True)
        scheme = "https" if tls else "http"
        place = None if unix else "%s://localhost:%d/events" % (scheme, self.server_address[1])
        self.url = str(unix) if unix else place
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def keep(self, agent, path, headers, body):
        """Takes a request in; whether it is to be answered."""
        with self.lock:
            if self.dies_after is not None and len(self.requests) >= self.dies_after:
                return False
            self.requests.append((agent, path, headers, body))
        return not self.hangs

    def of(self, agent):
        """The bodies that a program of this name sent."""
        return [body for found, _path, _headers, body in self.requests if found.startswith(agent)]

    def wait_for(self, count, agent="ansible-notify"):
        """The bodies, once there are so many."""
        deadline = time.monotonic() + PATIENCE
        while len(self.of(agent)) < count:
            assert time.monotonic() < deadline, "only %d of %d" % (len(self.of(agent)), count)
            time.sleep(0.02)
        return self.of(agent)

    def stop(self):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a client that breaks off is none of ours


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        if self.request.family == socket.AF_UNIX:
            self.disable_nagle_algorithm = False
        super().setup()

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        agent = self.headers.get("User-Agent", "")
        headers = {name.lower(): value for name, value in self.headers.items()}
        server = self.server
        if not server.keep(agent, self.path, headers, body):
            if server.hangs:
                time.sleep(600)
            self.close_connection = True
            return
        time.sleep(server.delay)
        self.send_response(server.status)
        if server.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments):
        pass


def make_certificate(place):
    """An authority, and a certificate of it for localhost."""
    place.mkdir(parents=True, exist_ok=True)
    key = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    for command in (
        "-subj /CN=authority -keyout authority-key.pem -out authority.pem",
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost "
        "-addext basicConstraints=CA:FALSE "
        "-CA authority.pem -CAkey authority-key.pem -keyout key.pem -out certificate.pem",
    ):
        words = (key + command).split()
        subprocess.run(words, cwd=place, check=True, capture_output=True)
    return place
