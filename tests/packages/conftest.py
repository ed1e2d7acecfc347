"""What a release consists of, built here with the debug build of the program, and used as users do.

pytest tests/packages                    Ansible 2.16 and the newest version that a Python here runs
"""

import http.server
import os
import subprocess
import sys
import threading

import pytest
import venvs
from waiting import PATIENCE

sys.path.insert(0, str(venvs.ROOT / "packaging"))
BINARY = venvs.ROOT / "target" / "debug" / "ansible-notify"
UNITS = venvs.ROOT / "examples" / "systemd"
TIME = "1764288000"


def run(*command, **options):
    """The finished process; its output is in the message if it fails."""
    options.setdefault("check", True)
    process = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        **{name: value for name, value in options.items() if name != "check"},
    )
    assert process.returncode == 0 or not options["check"], process.stdout
    return process


@pytest.fixture(scope="session")
def tools():
    """The environment with the tools that build and check packages."""
    return venvs.ensure("packages") / "bin"


@pytest.fixture(scope="session")
def binary(tmp_path_factory):
    """The program without symbols, as in a release."""
    stripped = tmp_path_factory.mktemp("binary") / "ansible-notify"
    run("strip", "-o", stripped, BINARY)
    return stripped


@pytest.fixture(scope="session", params=["2.16", "newest"])
def ansible(request):
    """The programs of one version of Ansible."""
    [version] = venvs.resolve([request.param])
    return venvs.ensure(version) / "bin"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home directory, and no settings of Ansible or the program from outside."""
    for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
