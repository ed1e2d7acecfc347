"""A run in a container whose disk vanishes: everything reaches an endpoint through a relay."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import venvs
from test_endtoend import Endpoint, by_host
from waiting import PATIENCE

BINARY = venvs.ROOT / "target" / "debug" / "ansible-notify"
PLAY = """
- hosts: web
  gather_facts: false
  tasks:
    - name: first
      debug: {msg: one}
    - name: hidden
      shell: echo canary-of-a-task
      no_log: true
    - name: loop
      debug: {msg: "{{ item }}"}
      loop: [1, 2, 3]
    - name: second
      fail: {msg: not today}
      ignore_errors: true
    - name: last
      file: {path: "{{ playbook_dir }}/reached", state: touch, mode: "0600"}
      run_once: true
"""
RELAY = """
[relay]
listen = localhost:0
cert = relay.crt
key = relay.key
spool = relay-state
[tenant:web]
token = canary-token-of-the-tenant
config = web.ini
"""
TENANT = """
[notifier:archive]
type = webhook
url = %s/events
username = svc-ansible
password = s3cret
on = any
[outputs:archive]
event = callback
host = host
task = task_name
output = task_output
status = status
"""
NODE = """
[notifier:relay]
type = relay
url = %s
ca_file = %s
token_env = RELAY_TOKEN
"""


class Relay:
    """A running `ansible-notify relay`, with an endpoint for its tenant."""

    def __init__(self, directory):
        self.directory = directory
        self.endpoint = Endpoint(directory)
        certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
        usage = "-addext basicConstraints=critical,CA:FALSE -keyout relay.key -out relay.crt"
        subprocess.run(
            ["openssl", *certificate.split(), *names.split(), *usage.split()],
            cwd=directory,
            check=True,
            stderr=subprocess.DEVNULL,
        )
        for name, text in [("relay.ini", RELAY), ("web.ini", TENANT % self.endpoint.url)]:
            (directory / name).write_text(text)
        for name in ["relay.ini", "web.ini", "relay.key"]:
            (directory / name).chmod(0o600)
        self.log = directory / "relay.log"
        with self.log.open("w") as log:
            command = [BINARY, "relay", "--config", "relay.ini"]
            self.process = subprocess.Popen(command, cwd=directory, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while "listening on " not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        port = self.log.read_text().strip().rpartition(":")[2]
        self.url = "https://localhost:" + port

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.endpoint.stop()


@pytest.fixture
def relay(tmp_path):
    (tmp_path / "relay").mkdir()
    relay = Relay(tmp_path / "relay")
    yield relay
    relay.stop()


@pytest.fixture
def container():
    """A home on a file system that vanishes."""
    home = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield home
    shutil.rmtree(home, ignore_errors=True)


def told(events):
    return [event for event in events if event["event"] != "run_end"]


@pytest.mark.newest
@pytest.mark.parametrize("late", [False, True])
def test_everything_leaves_a_container_before_it_vanishes(ansible, relay, container, late):
    """Also if the relay answers only after the play: its end waits."""
    config = container / ".config" / "ansible-notify" / "plugin_config.ini"
    config.parent.mkdir(parents=True)
    config.write_text(NODE % (relay.url, relay.directory / "relay.crt"))
    ansible.environment.update(
        HOME=str(container),
        ANSIBLE_NOTIFY_BINARY=str(BINARY),
        RELAY_TOKEN="canary-token-of-the-tenant",
    )
    if late:
        relay.process.send_signal(signal.SIGSTOP)
    process = ansible.start("ansible-playbook", ansible.write("site.yml", PLAY))
    if late:
        deadline = time.monotonic() + PATIENCE
        while not (ansible.directory / "reached").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        relay.process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=PATIENCE) == 0
    assert (container / ".local/state/ansible-notify/spool.db").exists()
    shutil.rmtree(container)

    printed = (ansible.directory / "stdout").read_text() + (
        ansible.directory / "stderr"
    ).read_text()
    assert "all delivered" in printed, printed
    bodies = relay.endpoint.wait_for(lambda bodies: bodies and bodies[-1]["event"] == "run_end")
    assert bodies[-1]["status"] == "success"
    hosts = by_host(told(bodies))
    tasks = [task for event, task in hosts["web2"] if "item" not in event]
    assert tasks == ["first", "hidden", "loop", "second"]
    assert [task for event, task in hosts["web1"] if "item" not in event] == [*tasks, "last"]
    # The end and nothing else comes twice or is missing: three items, and the tasks of two hosts.
    results = [event for event in told(bodies) if "item" not in event["event"]]
    assert len(results) == 2 * len(tasks) + 1
    for content in [json.dumps(bodies), relay.log.read_text(), printed]:
        assert "canary" not in content
    for path in (relay.directory / "relay-state").iterdir():
        assert b"canary" not in path.read_bytes(), path
