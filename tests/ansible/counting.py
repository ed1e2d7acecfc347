"""An HTTP server that counts its requests, for tests that only ask how many arrived."""

import http.server
import threading

import pytest


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def endpoint():
    """An HTTP server that counts its requests."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        server.requests = 0
        server.url = "http://127.0.0.1:%d/" % server.server_port
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
