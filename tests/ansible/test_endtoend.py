"""The whole way: real Ansible, the plugin, the real binary, and an endpoint with a password."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
import venvs
from test_events import MIXED
from waiting import PATIENCE

PLUGIN = venvs.ROOT / "callback_plugins" / "ansible_notify.py"
BINARY = venvs.ROOT / "target" / "debug" / "ansible-notify"
CONFIG = """
[inputs]
callback_url = %s/events
username = svc-ansible
password = s3cret
on = %s
[delivery]
drain = %s
[outputs]
event = callback
state = state
host = host
task = task_name
run = run_id
status = status
"""
# What the plugin reports beside results and the end of the run
STEPS = """
    playbook_on_start playbook_on_play_start playbook_on_task_start playbook_on_include
    playbook_on_handler_task_start playbook_on_notify playbook_on_no_hosts_matched
    playbook_on_no_hosts_remaining playbook_on_stats
"""
SHORT = """
- hosts: web
  gather_facts: false
  tasks:
    - name: first
      debug:
    - name: second
      fail: {msg: not today}
      ignore_errors: true
"""


class Endpoint:
    """A running `ansible-notify receive`."""

    def __init__(self, directory, *arguments):
        password = directory / "password"
        password.write_text("s3cret")
        password.chmod(0o600)
        self.file = directory / "received"
        command = [BINARY, "receive", "--listen", "127.0.0.1:0", "--json"]
        command += ["--username", "svc-ansible", "--password-file", password]
        with self.file.open("w") as output:
            self.process = subprocess.Popen(
                list(map(str, [*command, *arguments])),
                stdout=output,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
        with self.process.stderr as stderr:
            self.url = stderr.readline().split()[-1]

    def requests(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def bodies(self):
        return [request["body"] for request in self.requests()]

    def wait_for(self, condition):
        """The bodies, once the condition holds for them."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.bodies()):
            assert time.monotonic() < deadline, self.bodies()
            time.sleep(0.05)
        return self.bodies()

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start_endpoint(ansible):
    """Starts an endpoint, and configures the plugin to send everything to it."""
    started = []

    def start(*arguments, on="any " + STEPS, drain="10s"):
        endpoint = Endpoint(ansible.directory, *arguments)
        started.append(endpoint)
        triggers = ", ".join(on.split())
        config = ansible.write("plugin_config.ini", CONFIG % (endpoint.url, triggers, drain))
        config.chmod(0o600)
        ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
        ansible.environment["ANSIBLE_NOTIFY_CONFIG"] = str(config)
        return endpoint

    yield start
    for endpoint in started:
        endpoint.stop()


def summary(result):
    """The lines of the binary among what a run printed."""
    lines = (result.stdout + result.stderr).splitlines()
    return [line for line in lines if line.startswith("ansible-notify: ")]


def by_host(events):
    hosts = {}
    for event in events:
        key = (event["event"], event["task"])
        hosts.setdefault(event["host"], []).append(key)
    return hosts


def test_mixed_playbook(ansible, start_endpoint):
    """Exactly what Ansible called, once each, in order for each host."""
    endpoint = start_endpoint()
    ansible.write("included.yml", "- name: was included\n  debug: {msg: included}\n")
    ansible.write("roles/trial/tasks/main.yml", "- name: in a role\n  debug: {msg: role}\n")
    result = ansible.play(MIXED, "--diff")
    requests = endpoint.requests()
    received = [request["body"] for request in requests]
    assert received.pop()["event"] == "run_end"

    # The tasks of async events are Ansible's own in the calls, and the written ones in the reports.
    def comparable(events):
        return [dict(event, task=None) if "async" in event["event"] else event for event in events]

    assert by_host(comparable(received)) == by_host(comparable(result.called))
    assert len({request["headers"]["webhook-id"] for request in requests}) == len(requests)
    assert len({body["run"] for body in received}) == 1
    credentials = {request["headers"]["authorization"] for request in requests}
    # The endpoint asks for them, and shows none.
    assert credentials == {"[redacted]"}
    assert {request["status"] for request in requests} == {200}
    states = {body["event"]: body["state"] for body in received}
    assert states["runner_on_ok"] == "success"
    assert states["runner_on_failed"] == "failed"
    assert states["runner_on_skipped"] == "skipped"
    assert states["runner_on_unreachable"] == "unreachable"
    assert summary(result) == [
        "ansible-notify: %d events, %d deliveries: all delivered" % (2 * (len(requests),))
    ]
    assert result.warnings == []


def test_the_smallest_configuration(ansible, start_endpoint):
    """The one that people have: three fields of every result."""
    endpoint = start_endpoint()
    text = (ansible.directory / "plugin_config.ini").read_text().split("[outputs]")[0]
    text = "\n".join(line for line in text.splitlines() if not line.startswith("on ="))
    outputs = "[outputs]\nstate = state\ntask_name = task_name\ntask_output = task_output\n"
    ansible.write("plugin_config.ini", text + "\n" + outputs)
    ansible.play(SHORT, "--limit", "web1")
    assert endpoint.bodies() == [
        {"state": "success", "task_name": "first", "task_output": "Hello world!"},
        {"state": "failed", "task_name": "second", "task_output": "not today"},
    ]


MASKED = """
- hosts: web1
  gather_facts: false
  tasks:
    - name: uses CANARY-name
      command: >-
        printf 'a\\n-----BEGIN\\nCANARY\\n-----END\\n{"db_password": "CANARY"}'
    - copy: {content: "token: CANARY-content\\n", dest: "{{ playbook_dir }}/file"}
      diff: true
    - debug: {msg: "{{ item }}"}
      loop: [{name: a, password: CANARY}, {name: b, api_key: 12345}]
    - debug: {msg: CANARY-msg}
      loop: [CANARY]
      loop_control: {loop_var: password}
    - fail: {msg: no access with CANARY-token}
      loop: [{name: a, password: CANARY}]
      ignore_errors: true
    - shell: echo "CANARY-stderr" >&2; exit 3
"""
MASK = """
event_ = event
reason_ = reason
output_ = task_output
[secret:login]
value = s3cret
[mask]
keys = *password*, api?key
patterns =
    CANARY-\\w+
    (?s)-----BEGIN.*?-----END
"""


def test_masks(ansible, start_endpoint):
    """What the configuration masks is sent and stored nowhere, and the rest of a run is."""
    endpoint = start_endpoint("--fail-first", "2")
    text = (ansible.directory / "plugin_config.ini").read_text()
    text = text.replace("password = s3cret", "password = secret:login")
    ansible.write("plugin_config.ini", text + MASK)
    result = ansible.play(MASKED)
    bodies = endpoint.bodies()
    assert bodies, result.stdout + result.stderr
    assert (bodies[-1]["event"], bodies[-1]["status"]) == ("run_end", "error")
    assert "[redacted]" in bodies[-1]["reason_"]
    by_item = {json.dumps(body["event_"]["item"]) for body in bodies}
    assert '{"name": "a", "password": "[redacted]"}' in by_item
    assert '{"name": "b", "api_key": "[redacted]"}' in by_item
    spools = list(ansible.directory.glob("**/spool.db*"))
    assert spools
    for file in [*spools, endpoint.file]:
        assert b"CANARY" not in file.read_bytes(), file
    assert not [line for line in summary(result) if "CANARY" in line]
    assert result.warnings == []


PRIVATE = """
- hosts: web1
  environment: {TOKEN: CANARY-environment}
  vars: {token: CANARY-variable}
  tasks:
    - set_fact: {kept: "{{ token }}"}
    - include_vars: secrets.yml
    - add_host: {name: other, ansible_password: CANARY-host}
    - debug: {msg: shown}
      loop: [{name: a, password: CANARY-hidden}, {name: b}]
      loop_control: {extended: true}
      no_log: "{{ 'password' in item }}"
    - debug: {msg: shown}
      loop: [{name: a, password: CANARY-labelled}]
      loop_control: {label: "{{ item.name }}"}
- hosts: gone
  gather_facts: false
  tasks:
    - command: "true"
      loop: [{name: a, password: CANARY-unreachable}]
      loop_control: {label: "{{ item.name }}"}
"""


def test_variables_and_the_environment_stay(ansible, start_endpoint):
    """Those of the controller, too, in what is gathered of it, and what a label hides."""
    endpoint = start_endpoint(on="any item_ok")
    with (ansible.directory / "plugin_config.ini").open("a") as config:
        config.write("result = result\noutput = task_output\nitem = item\n")
    ansible.write("secrets.yml", "secret: CANARY-file\n")
    result = ansible.play(PRIVATE, CONTROLLER="CANARY-controller")
    assert result.rc == 4, result.stdout
    bodies = endpoint.bodies()
    assert "CANARY" not in json.dumps(bodies)
    [facts] = [body for body in bodies if body["task"] == "Gathering Facts"]
    assert facts["result"]["ansible_facts"]["ansible_system"] == "Linux"
    assert [body["item"] for body in bodies if body["event"] == "runner_item_on_ok"][-1] == "a"
    spool = ansible.directory.glob("**/spool.db*")
    assert not [file for file in spool if b"CANARY" in file.read_bytes()]


FAILING = {
    "no such handler": "    - {command: 'true', notify: nobody}\n",
    "no such role": "    - include_role: {name: nowhere}\n",
}


@pytest.mark.parametrize("task", FAILING.values(), ids=FAILING)
def test_a_run_that_ansible_gives_up_is_an_error(ansible, start_endpoint, task):
    """Its callbacks and counts say nothing of that, its exit code does."""
    endpoint = start_endpoint(on="success error canceled")
    result = ansible.play("- hosts: web\n  gather_facts: false\n  tasks:\n" + task)
    assert result.rc not in (0, 99)
    assert [body["status"] for body in endpoint.bodies()] == ["error"]


def test_ad_hoc(ansible, start_endpoint):
    endpoint = start_endpoint(on="ok failed success")
    result = ansible.run("ansible", "web", "-m", "ping")
    assert result.rc == 0
    received = sorted((body["event"], body["host"], body["status"]) for body in endpoint.bodies())
    assert received == [
        ("run_end", None, "success"),
        ("runner_on_ok", "web1", None),
        ("runner_on_ok", "web2", None),
    ]


@pytest.mark.newest
def test_the_lines_of_the_documentation(ansible, start_endpoint):
    """They are enough for playbooks, ad hoc and for ansible-doc, and each event comes once."""
    endpoint = start_endpoint(on="ok")
    for name in [name for name in ansible.environment if "CALLBACK" in name]:
        del ansible.environment[name]
    page = (venvs.ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    settings = page.split("```ini ansible.cfg\n")[1].split("```")[0]
    if ansible.version < (2, 11):
        settings = settings.replace("callbacks_enabled", "callback_whitelist")
    ansible.write("ansible.cfg", settings)
    (ansible.directory / "callback_plugins").mkdir()
    shutil.copy(PLUGIN, ansible.directory / "callback_plugins")
    assert ansible.run("ansible", "web1", "-m", "ping").rc == 0
    assert len(endpoint.bodies()) == 1
    assert ansible.play(SHORT, "--limit", "web1").rc == 0
    assert [body["task"] for body in endpoint.bodies()[1:]] == ["first"]
    described = ansible.run("ansible-doc", "-t", "callback", "ansible_notify")
    assert "ansible-notify" in described.stdout, described.stderr


@pytest.mark.newest
def test_pull(ansible, start_endpoint):
    endpoint = start_endpoint(on="ok failed")
    ansible.write("repository/local.yml", SHORT)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q", "."], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(git + command, cwd=ansible.directory / "repository", check=True)
    url = "file://%s" % (ansible.directory / "repository")
    checkout = ansible.directory / "checkout"
    result = ansible.run("ansible-pull", "-U", url, "-d", checkout, "-l", "web1", "local.yml")
    assert result.rc == 0, result.stdout + result.stderr
    tasks = [body["task"] for body in endpoint.bodies() if body["host"] == "web1"]
    assert tasks[-2:] == ["first", "second"]


def test_the_plays_vars_say_where(ansible, start_endpoint):
    endpoint = start_endpoint(on="ok")
    ansible.write("plugin_config.ini", "[outputs]\nhost = host\n")
    given = {"callback_url": endpoint.url, "username": "svc-ansible", "password": "s3cret"}
    arguments = [word for item in given.items() for word in ("-e", "%s=%s" % item)]
    result = ansible.play(SHORT, *arguments)
    assert sorted(body["host"] for body in endpoint.bodies()) == ["web1", "web1", "web2", "web2"]
    assert {request["status"] for request in endpoint.requests()} == {200}
    assert "s3cret" not in result.stdout + result.stderr


@pytest.mark.newest
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (["--status", "503"], "(callback: 503 Service Unavailable)"),
        (["--status", "400"], "(callback: 400 Bad Request)"),
        (["--delay", "50ms"], ": all delivered"),
        (["--delay", "1h"], "(callback: no answer yet)"),
        (
            ["--drop"],
            "pending until the next run, `flush` or the timer (callback: http://127.0.0.1:",
        ),
        (None, "Connection refused"),
    ],
)
def test_an_endpoint_in_trouble_does_not_show_in_the_play(ansible, start_endpoint, fault, said):
    without = ansible.play(SHORT)
    endpoint = start_endpoint(*(fault or []), drain="1s")
    if fault is None:
        endpoint.stop()
    result = ansible.play(SHORT)
    assert (result.rc, recap(result)) == (without.rc, recap(without))
    assert len(summary(result)) == 1
    assert said in summary(result)[0]


def recap(result):
    return result.stdout.split("PLAY RECAP")[1].split("ansible-notify")[0]


@pytest.mark.newest
def test_what_waits_is_delivered_later(ansible, start_endpoint):
    """The endpoint is down for the whole play: one line says so, and `flush` brings everything."""
    endpoint = start_endpoint(on="ok failed", drain="0")
    endpoint.stop()
    result = ansible.play(SHORT)
    assert result.rc == 0
    assert len(summary(result)) == 1
    assert "4 events, 4 deliveries: 4 pending until the next run" in summary(result)[0]
    endpoint = start_endpoint(on="ok failed")
    flushed = ansible.run(BINARY, "flush")
    assert flushed.rc == 0, flushed.stderr
    tasks = [body["task"] for body in endpoint.bodies() if body["host"] == "web1"]
    assert tasks == ["first", "second"]


@pytest.mark.newest
def test_each_project_gets_what_is_its_own_later(ansible):
    """Two projects whose notifiers have the same name, both endpoints down for the whole play."""
    ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
    projects = ["shop", "bank"]
    for project in projects:
        folder = ansible.directory / project
        (folder / "callback_plugins").mkdir(parents=True)
        shutil.copy(PLUGIN, folder / "callback_plugins")
        configure(folder, "http://127.0.0.1:9", "0")
        playbook = folder / "site.yml"
        playbook.write_text(SHORT.replace("first", "in the " + project))
        plugins = "%s:%s" % (folder / "callback_plugins", venvs.ROOT / "tests/ansible/oracle")
        result = ansible.run("ansible-playbook", playbook, ANSIBLE_CALLBACK_PLUGINS=plugins)
        assert "4 events, 4 deliveries: 4 pending until the next run" in summary(result)[0]
    endpoints = [Endpoint(ansible.directory / project) for project in projects]
    try:
        for project, endpoint in zip(projects, endpoints):
            configure(ansible.directory / project, endpoint.url, "0")
        flushed = ansible.run(BINARY, "flush")
        assert flushed.rc == 0, flushed.stderr
        for project, endpoint in zip(projects, endpoints):
            tasks = [body["task"] for body in endpoint.bodies() if body["host"] == "web1"]
            assert tasks == ["in the " + project, "second"]
    finally:
        for endpoint in endpoints:
            endpoint.stop()


def configure(folder, url, drain):
    """A project's own configuration, beside its plugin."""
    config = folder / "callback_plugins" / "plugin_config.ini"
    config.write_text(CONFIG % (url, "ok, failed", drain))
    config.chmod(0o600)


@pytest.mark.newest
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_binary_is_replaced(ansible, start_endpoint, number):
    """What it had accepted comes with the next one, which says how the run ended."""
    endpoint = start_endpoint(on="ok success error canceled")
    tasks = "".join("    - name: task %d\n      command: sleep 0.2\n" % n for n in range(8))
    playbook = ansible.write("site.yml", "- hosts: web\n  gather_facts: false\n  tasks:\n" + tasks)
    process = ansible.start("ansible-playbook", playbook)
    endpoint.wait_for(lambda bodies: len(bodies) >= 4)
    for pid in binaries(ansible):
        os.kill(pid, number)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    ends = [body["status"] for body in endpoint.bodies() if body["event"] == "run_end"]
    assert ends == ["success"]
    results = [body for body in endpoint.bodies() if body["event"] != "run_end"]
    received = {(body["host"], body["task"]) for body in results}
    assert received == {(host, "task %d" % n) for host in ("web1", "web2") for n in range(8)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_play(ansible, start_endpoint, number):
    """The binary delivers what it has, says that the run was canceled, and ends by itself.

    At once; or with the sleeping worker, where Python before 3.7 cannot close its copy of the pipe.
    """
    endpoint = start_endpoint()
    process = ansible.start_sleeper()
    assert len(binaries(ansible)) == 1
    process.send_signal(number)
    end = endpoint.wait_for(lambda bodies: bodies and bodies[-1]["event"] == "run_end")[-1]
    assert end["status"] == "canceled"
    deadline = time.monotonic() + PATIENCE
    while binaries(ansible):
        assert time.monotonic() < deadline, "an orphan stays"
        time.sleep(0.05)
    process.wait(timeout=PATIENCE)
    before = [body for body in endpoint.bodies() if body["task"] == "before"]
    assert {body["event"] for body in before} == {"playbook_on_task_start", "runner_on_ok"}


def binaries(ansible):
    """The running `ansible-notify stream` of this test."""
    config = str(ansible.directory / "plugin_config.ini")
    found = []
    for place in os.listdir("/proc"):
        if not place.isdigit():
            continue
        try:
            with open("/proc/%s/cmdline" % place) as file:
                words = file.read().split("\0")
        except OSError:
            continue
        if "stream" in words and config in words:
            found.append(int(place))
    return found
