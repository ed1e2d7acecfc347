"""A spool with something in it, its page, and a real browser that looks at it."""

import http.server
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "debug" / "ansible-notify"
BROWSER = os.environ.get("ANSIBLE_NOTIFY_BROWSER", "/usr/bin/chromium")
# The browser itself asks nobody either.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 15_000
HOSTILE = '<script>pwned=1</script>"><img src=x onerror=pwned=1>\x1b[31m\u202e \u05d0 javascript:'


def pytest_addoption(parser):
    parser.addoption(
        "--screenshots", metavar="DIR", help="also write pictures of the screens there"
    )


def records(run, failed="web3", playbook="site.yml"):
    """What the plugin writes for a run of two tasks on two hosts."""
    about = {"id": run, "playbook": playbook, "path": "/srv/" + playbook, "user": "deploy"}
    about.update(controller="ctl1", ansible_version="2.21.5", limit="web*", tags=["web"])
    now = time.time() - 60

    def result(seq, name, task, host, result):
        event = {"seq": seq, "event": name, "time": now + seq, "play": "p", "task": task}
        event.update(host={"name": host}, duration=1.5, result=result)
        event["changed"] = bool(result.get("changed"))
        return {"event": event}

    before, after = "port = 80\nhost = web1\n", "port = 8080\nhost = web1\n"
    diff = {"before": before, "after": after, "after_header": "/etc/app.conf"}
    failure = {"msg": "No package nginx available.", "rc": 1, "stderr": "\x1b[31mE: none\x1b[0m"}
    stats = {failed: {"ok": 1, "failures": 1}, "web1": {"ok": 2, "changed": 1}}
    end = {"seq": 6, "event": "playbook_on_stats", "time": now + 19, "result": {"stats": stats}}
    return [
        {"hello": {"protocol": 1, "run": about}},
        {"play": {"id": "p", "name": "web"}},
        {"task": {"id": "1", "name": "write the configuration", "action": "copy"}},
        {"task": {"id": "2", "name": "install nginx", "path": "roles/web/tasks/main.yml:12"}},
        {"event": {"seq": 1, "event": "playbook_on_start", "time": now}},
        result(2, "runner_on_ok", "1", "web1", {"changed": True, "diff": [diff]}),
        result(3, "runner_on_ok", "1", failed, {"changed": False}),
        result(4, "runner_on_ok", "2", "web1", {"msg": "there already"}),
        result(5, "runner_on_failed", "2", failed, failure),
        {"event": end},
        {"end": {"reason": "exit", "code": 2}},
    ]


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Accepts what is for /ok, and rejects everything else."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path == "/ok" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="session")
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "http://127.0.0.1:%s" % server.server_port
    server.shutdown()


class Control:
    """A user of the program, with a home and a spool of their own."""

    def __init__(self, directory):
        self.directory = directory
        self.environment = {"HOME": str(directory), "PATH": "/usr/bin:/bin"}
        self.serving = []

    def run(self, *arguments, text=""):
        command = [str(BINARY), *arguments]
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    def send(self, *events):
        return self.run("send", "-", "--quiet", text="\n".join(map(json.dumps, events)))

    def stream(self, *records):
        return self.run("stream", text="".join(json.dumps(record) + "\n" for record in records))

    def serve(self, *arguments):
        """Starts the page; its address, with the token."""
        command = [str(BINARY), "serve", "--listen", "127.0.0.1:0", *arguments]
        serving = subprocess.Popen(
            command,
            cwd=self.directory,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.serving.append(serving)
        line = serving.stderr.readline()
        assert "listening on http" in line, line
        return line.split("listening on ")[1].strip()

    def stop(self):
        for serving in self.serving:
            serving.kill()
            serving.wait()


def configured(directory, endpoint, more=()):
    """A user with a notifier that delivers, one that is refused, and one that reaches nobody."""
    notifiers = [("chat", endpoint + "/ok"), ("ops", endpoint), ("pager", "http://127.0.0.1:1/")]
    lines = ["[delivery]", "drain = 1s", "keep_bodies = true"]
    for name, url in notifiers:
        lines += ["[notifier:%s]" % name, "type = webhook", "url = " + url, "on = failed"]
    lines += more
    config = directory / "plugin_config.ini"
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    return Control(directory)


@pytest.fixture(scope="session")
def control(tmp_path_factory, endpoint):
    """With deliveries in every state, and texts that attack whoever shows them."""
    control = configured(tmp_path_factory.mktemp("control"), endpoint)
    failure = {"msg": "No package nginx available.", "rc": 1}
    attack = {"msg": HOSTILE, "stdout": "x" * (1 << 20)}
    long = "a-host-with-a-very-long-name.in.a.very.long.domain.example.com" * 2
    for host, task, result in [
        ("web1", "install nginx", failure),
        (long, "t" * 300, failure),
        (HOSTILE, HOSTILE, attack),
    ]:
        control.send({"state": "failed", "host": host, "task": task, "result": result})
    control.stream(*records("r-1"))
    control.stream(*records("r-2", HOSTILE))
    control.environment["LOGNAME"] = HOSTILE
    control.run("flush", "--dead", "--notifier", "pager")
    control.environment["LOGNAME"] = "anna"
    yield control
    control.stop()


# Notifiers that write to people.
PEOPLE = [
    "[notifier:sre-mail]",
    "type = email",
    "host = 127.0.0.1",
    "port = 1",
    "encryption = none",
    "from = ansible@example.com",
    "to = ops@example.com",
    "on = failed",
    "[notifier:team]",
    "type = slack",
    "url = http://127.0.0.1:1/services/T0/B0/x",
    "on = failed",
    "message = *{{ host }}*: {{ reason }}",
    "    See `{{ task_path }}`",
]


@pytest.fixture
def showroom(endpoint):
    """With what a documentation may show."""
    with tempfile.TemporaryDirectory(prefix="deploy-") as directory:
        control = configured(Path(directory), endpoint, PEOPLE)
        control.environment["LOGNAME"] = "anna"
        control.stream(
            *records("r-0", playbook="backup.yml")[:8], {"end": {"reason": "exit", "code": 0}}
        )
        control.stream(*records("r-1"))
        control.stream(*records("r-2", playbook="rollout.yml")[:7])
        control.run("flush", "--dead", "--notifier", "pager")
        control.run("discard", "--notifier", "pager")
        yield control
        control.stop()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield browser
        browser.close()


class Tab:
    """A page of the browser, and everything that it asked for or complained about."""

    def __init__(self, context, address):
        self.base, _, self.token = address.partition("/#token=")
        self.context = context
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.requests, self.complaints, self.dialogs = [], [], []
        self.loads = 0
        self.page.on("load", self.count)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self.note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.dialogs.append(dialog.message))

    def count(self, _page):
        self.loads += 1

    def note(self, message):
        # Asking whether there is a session may be answered with 401.
        if message.type == "error" and "401" not in message.text:
            self.complaints.append(message.text)

    def sign_in(self):
        self.page.goto("%s/#token=%s" % (self.base, self.token))
        self.page.wait_for_selector("nav")

    def open(self, path):
        self.page.goto(self.base + path)
        self.page.wait_for_selector("h1")

    def check(self):
        """Nothing was asked of anyone else, no text became code, nothing went wrong."""
        foreign = [url for url in self.requests if not url.startswith(self.base + "/")]
        assert foreign == []
        assert self.complaints == []
        assert self.dialogs == []
        assert self.page.evaluate("typeof pwned") == "undefined"


@pytest.fixture(scope="session")
def address(control):
    return control.serve()


@pytest.fixture
def tab(browser, address):
    """Makes tabs with these settings of the browser; each of them is checked at the end."""
    tabs = []

    def make(**settings):
        tabs.append(Tab(browser.new_context(**settings), address))
        return tabs[-1]

    yield make
    for tab in tabs:
        if tab.context.pages and not tab.page.is_closed():
            tab.check()
        tab.context.close()
