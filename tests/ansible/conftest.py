"""Runs real Ansible versions with the plugin, and a peer in the place of the binary.

pytest tests/ansible                     2.16 and the newest version that a Python here can run
pytest tests/ansible --ansible all       all of them; also --ansible 2.9,2.19

Without --ansible, tests marked `newest` run with the newest version only: they are about the
program, or about a part of the plugin that is the same with every version.
"""

import json
import os
import re
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
import venvs
from waiting import PATIENCE

# Ignored signals are inherited, and whoever runs the tests in the background ignores some.
for ignored in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(ignored, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).resolve().parent
PLUGINS = venvs.ROOT / "callback_plugins"
PEER = HERE / "peer.py"
INVENTORY = """
[all:vars]
ansible_connection=local
ansible_python_interpreter="{{ ansible_playbook_python }}"
[web]
web1 ansible_host=10.0.0.1
web2
[broken]
# No directory can be made there, which Ansible takes as unreachable
gone ansible_remote_tmp=/proc/nowhere
"""
SLEEPER = """
- hosts: web
  gather_facts: false
  tasks:
    - name: before
      debug:
    - name: asleep
      shell: echo > "{{ playbook_dir }}/asleep-{{ inventory_hostname }}"; exec sleep 8
"""


def pytest_addoption(parser):
    default = os.environ.get("ANSIBLE_NOTIFY_TEST_ANSIBLE")
    parser.addoption("--ansible", default=default, help="Ansible versions, or all")


def pytest_generate_tests(metafunc):
    if "ansible" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("ansible") or "2.16,newest"
        metafunc.parametrize("ansible", venvs.resolve(wanted.split(",")), indirect=True)


def pytest_collection_modifyitems(config, items):
    if config.getoption("ansible"):
        return
    [newest] = venvs.resolve(["newest"])

    def is_left_out(item):
        version = item.callspec.params.get("ansible") if hasattr(item, "callspec") else None
        return version not in (None, newest) and item.get_closest_marker("newest")

    config.hook.pytest_deselected(items=[item for item in items if is_left_out(item)])
    items[:] = [item for item in items if not is_left_out(item)]


@pytest.fixture
def ansible(request, tmp_path):
    place = venvs.ensure(request.param)
    if place is None:
        pytest.skip("no Python for Ansible %s here" % request.param)
    return Ansible(request.param, place, tmp_path)


def heed_interrupts():
    """What a shell runs in the background ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Ansible:
    """One Ansible version, in a directory of its own."""

    def __init__(self, name, place, directory):
        self.name = name
        self.version = tuple(map(int, name.split("-")[0].split(".")))
        self.is_python2 = name.endswith("py2.7")
        self.place = place
        self.directory = directory
        (directory / "inventory").write_text(INVENTORY)
        # Without any configuration the plugin does nothing.
        user_level = directory / ".config" / "ansible-notify"
        user_level.mkdir(parents=True)
        (user_level / "plugin_config.ini").touch()
        enabled = "ANSIBLE_CALLBACKS_ENABLED"
        if self.version < (2, 11):
            enabled = "ANSIBLE_CALLBACK_WHITELIST"
        self.environment = {
            "PATH": "%s:%s" % (place / "bin", os.environ["PATH"]),
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
            "ANSIBLE_ASYNC_DIR": str(directory / "async"),
            "ANSIBLE_REMOTE_TEMP": str(directory / "remote"),
            "ANSIBLE_INVENTORY": str(directory / "inventory"),
            "ANSIBLE_CALLBACK_PLUGINS": "%s:%s" % (PLUGINS, HERE / "oracle"),
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            "ANSIBLE_NOTIFY_BINARY": str(PEER),
            "ANSIBLE_NOCOLOR": "1",
            "PEER_LINES": str(directory / "lines"),
            "ORACLE_LINES": str(directory / "oracle"),
            enabled: "callback",
        }

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def start(self, *command, stdin="", **environment):
        """Starts a program of this version, with more environment variables."""
        # Files, as a pipe would be open until the peer, too, has exited.
        (self.directory / "stdin").write_text(stdin)
        with (
            open(self.directory / "stdin") as stdin_file,
            open(self.directory / "stdout", "w") as stdout,
            open(self.directory / "stderr", "w") as stderr,
        ):
            return subprocess.Popen(
                [str(word) for word in command],
                cwd=self.directory,
                env=dict(self.environment, **environment),
                stdin=stdin_file,
                stdout=stdout,
                stderr=stderr,
                preexec_fn=heed_interrupts,
            )

    def run(self, *command, **options):
        process = self.start(*command, **options)
        return Outcome(process.wait(timeout=PATIENCE), self.directory)

    def play(self, text, *arguments, **environment):
        """Runs one playbook, given as text."""
        playbook = self.write("site.yml", text)
        return self.run("ansible-playbook", playbook, *arguments, **environment)

    def start_sleeper(self):
        """A running play whose workers sleep, to be interrupted.

        While it forks them, Python may ignore the exception that a signal raises, plugin or not.
        """
        process = self.start("ansible-playbook", self.write("site.yml", SLEEPER))
        wait_for(lambda: len(list(self.directory.glob("asleep-*"))) == 2)
        return process

    def python(self, code):
        """What a program prints that runs with this version's Python and the plugin as `plugin`."""
        code = "# -*- coding: utf-8 -*-\nimport ansible_notify as plugin\n" + textwrap.dedent(code)
        program = self.write("program.py", code)
        # Old versions are themselves warned of, by newer Pythons and libraries.
        strictly = ["-W", "error"] if self.version >= (2, 16) else []
        result = self.run("python", *strictly, program, PYTHONPATH=str(PLUGINS))
        assert result.rc == 0, result.stderr
        return result.stdout

    def lines(self):
        """What the peer has got so far."""
        return read_lines(self.directory / "lines")


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read_lines(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Outcome:
    """What a run printed, what the peer got, and what Ansible called."""

    def __init__(self, rc, directory):
        self.rc = rc
        self.stdout = (directory / "stdout").read_text(encoding="utf-8", errors="replace")
        self.stderr = (directory / "stderr").read_text(encoding="utf-8", errors="replace")
        self.lines = read_lines(directory / "lines")
        self.called = read_lines(directory / "oracle")

    def of(self, name):
        """The contents of all records of one name."""
        return [line[name] for line in self.lines if name in line]

    @property
    def events(self):
        """All but the starts on hosts, which come until the peer is ready, and then if it asks."""
        return [found for found in self.of("event") if found["event"] != "runner_on_start"]

    def events_of(self, event, host=None):
        return [
            found
            for found in self.events
            if found["event"] == event and host in (None, found.get("host", {}).get("name"))
        ]

    def reported(self):
        """The events in the form in which the oracle writes them."""
        tasks = {task["id"]: task["name"] for task in self.of("task")}
        return [
            {
                "event": event["event"],
                "host": event.get("host", {}).get("name"),
                "task": tasks[event["task"]] if "task" in event else None,
            }
            for event in self.events
        ]

    @property
    def warnings(self):
        """Warnings that are about callbacks or the plugin, each on one line."""
        text = re.sub(r"\s+", " ", self.stdout + self.stderr)
        found = re.findall(r"\[(?:WARNING|ERROR|DEPRECATION WARNING)\]:? (?:(?! \[).)*", text)
        return [warning for warning in found if re.search("(?i)callback|ansible.notify", warning)]
