"""Runs real ansible-runner versions with the plugin and the real binary.

pytest tests/runner                      ansible-runner 2.3 and 2.4
pytest tests/runner --runner all         all of them; also --runner runner-2.3
"""

import json
import os
import subprocess
import textwrap
import time
from pathlib import Path

import package
import pytest
import venvs
from receiver import Receiver, make_certificate
from waiting import PATIENCE

BINARY = venvs.ROOT / "target" / "debug" / "ansible-notify"
INVENTORY = """
[all]
web1
web2
[all:vars]
ansible_connection=local
ansible_python_interpreter="{{ ansible_playbook_python }}"
"""
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: say
      debug: {msg: hello}
    - name: many
      debug: {msg: "{{ item }}"}
      loop: [a, b]
    - name: left out
      debug:
      when: false
    - name: ignored
      fail: {msg: not today}
      ignore_errors: true
    - name: hidden
      debug: {msg: canary}
      no_log: true
"""


def pytest_addoption(parser):
    parser.addoption("--runner", default="runner-2.3,runner-2.4", help="versions, or all")


def pytest_generate_tests(metafunc):
    if "runner" in metafunc.fixturenames:
        names = metafunc.config.getoption("--runner")
        chosen = venvs.RUNNERS if names == "all" else venvs.resolve(names.split(","))
        metafunc.parametrize("runner", list(chosen), indirect=True)


@pytest.fixture
def runner(request, tmp_path):
    place = venvs.ensure(request.param)
    if place is None:
        pytest.skip("no Python for %s here" % request.param)
    return Runner(place, tmp_path)


@pytest.fixture
def start_receiver():
    """Starts endpoints, which end with the test."""
    started = []

    def start(**options):
        started.append(Receiver(**options))
        return started[-1]

    yield start
    for receiver in started:
        receiver.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


class Runner:
    """One version of ansible-runner, in a directory of its own, with the plugin installed."""

    def __init__(self, place, directory):
        self.place = place
        self.directory = directory
        self.private = directory / "private"
        self.python_path = [package.install(directory / "packages")]
        self.environment = {
            "PATH": "%s:%s" % (place / "bin", os.environ["PATH"]),
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
            "ANSIBLE_NOTIFY_BINARY": str(BINARY),
            "XDG_STATE_HOME": str(directory / "state"),
            "XDG_CONFIG_HOME": str(directory / "config"),
        }
        self.write("inventory/hosts", INVENTORY)
        self.write("env/settings", "---\nidle_timeout: 60\n")
        self.playbook(PLAY)

    def write(self, name, text):
        path = self.private / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def playbook(self, text):
        return self.write("project/site.yml", text)

    def settings(self, **settings):
        return self.write("env/settings", json.dumps(dict(settings, idle_timeout=60)))

    def start(self, *arguments, ident="job", playbook="site.yml", **environment):
        """Starts `ansible-runner run`."""
        command = [self.place / "bin" / "ansible-runner", "run", self.private]
        command += ["-p", playbook, "--ident", ident, *arguments]
        return self.program(command, **environment)

    def program(self, command, **environment):
        path = ":".join(map(str, self.python_path))
        self.began = time.monotonic()
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=self.directory,
            env=dict(self.environment, PYTHONPATH=path, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )

    def run(self, *arguments, **options):
        """Runs it to its end, and to that of its output."""
        return Outcome(self, self.start(*arguments, **options), options.get("ident", "job"))

    def python(self, code, **environment):
        """Runs a program with this version's Python, which imports ansible_runner."""
        program = self.directory / "program.py"
        program.write_text(textwrap.dedent(code))
        command = [self.place / "bin" / "python", program, self.private]
        return Outcome(self, self.program(command, **environment), "job")

    def notify(self, *arguments, **environment):
        """Runs the binary."""
        return subprocess.run(
            [str(BINARY), *arguments],
            cwd=self.directory,
            env=dict(self.environment, **environment),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def status(self):
        """What the spool says, once no binary of this test runs any more."""
        self.wait_for_binaries()
        return json.loads(self.notify("status", "--json").stdout or "[]")

    def binaries(self):
        """The process ids of the binaries that this test started."""
        mark = ("HOME=%s" % self.directory).encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
                variables = (process / "environ").read_bytes().split(b"\0")
                if b"ansible-notify\0stream" in command and mark in variables:
                    found.append(int(process.name))
            except OSError:
                continue  # it has ended meanwhile
        return found

    def wait_for_binaries(self):
        deadline = time.monotonic() + PATIENCE
        while self.binaries():
            assert time.monotonic() < deadline, "a binary stays: %s" % self.binaries()
            time.sleep(0.02)


class Outcome:
    """What a run printed, and what it left behind."""

    def __init__(self, runner, process, ident):
        self.stdout, self.stderr = process.communicate(timeout=PATIENCE)
        self.seconds = time.monotonic() - runner.began
        self.rc = process.returncode
        artifacts = runner.private / "artifacts" / ident
        read = lambda name: (artifacts / name).read_text() if (artifacts / name).exists() else None  # noqa: E731
        self.status, self.job_rc = read("status"), read("rc")
        files = (artifacts / "job_events").glob("*-*.json")
        self.events = sorted(
            (json.loads(file.read_text()) for file in files), key=lambda event: event["counter"]
        )
