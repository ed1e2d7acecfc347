"""Several runs, their deaths, and those that are told by routes."""

import os
import signal
import time

import pytest
import venvs
from conftest import BINARY
from waiting import PATIENCE

PLUGIN = venvs.ROOT / "callback_plugins" / "ansible_notify.py"

LONG = """
- hosts: web1
  gather_facts: false
  tasks:
    - {name: first, debug: }
    - {name: asleep, command: sleep 20}
"""
TWICE = """
import sys, ansible_runner
for _ in range(2):
    ansible_runner.run(private_data_dir=sys.argv[1], playbook="site.yml", ident="job", quiet=True)
"""
AT_ONCE = """
import sys, ansible_runner
started = [
    ansible_runner.run_async(
        private_data_dir=sys.argv[1], playbook="site.yml", ident=ident, quiet=True
    )
    for ident in ("one", "two")
]
for thread, _runner in started:
    thread.join()
"""
KILLED_AT_FIRST = """\
#!/bin/sh
[ -e killed ] && exec %s "$@"
touch killed
kill -KILL $$
"""
STOPPED_AT_FIRST = """\
#!/bin/sh
[ -e stopped ] && exec %s "$@"
echo $$ > stopped
kill -STOP $$
"""
CONFIG = """
[inputs]
callback_url = %s
on = started, ok, failed, success, error, canceled
[outputs]
callback = callback
host = host
task = task_name
ident = event.run.ident
run = run_id
status = status
reason = reason
name = run_name
inventory = inventory
"""


def by_run(requests):
    """The bodies of each run, which the ids of the deliveries tell apart."""
    runs = {}
    for _agent, _path, headers, body in requests:
        run, _minus, _number = headers["webhook-id"].rpartition("-")
        runs.setdefault(run, []).append(body)
    return runs


def is_whole(bodies):
    statuses = [body["status"] for body in bodies if "status" in body]
    counters = [body["counter"] for body in bodies if "counter" in body]
    return (
        statuses == ["starting", "running", "successful"]
        and "status" in bodies[-1]
        and counters == list(range(1, len(counters) + 1))
    )


def test_two_processes_at_once(runner, start_receiver):
    receiver = start_receiver(delay=0.01)
    runner.settings(runner_http_url=receiver.url)
    processes = [runner.start(ident=ident) for ident in ("one", "two", "one")]
    for process in processes:
        process.communicate(timeout=PATIENCE)
    runner.wait_for_binaries()
    runs = by_run(receiver.requests)
    assert len(runs) == 3
    assert all(map(is_whole, runs.values())), runs
    for bodies in runs.values():
        assert len({body["runner_ident"] for body in bodies}) == 1


@pytest.mark.parametrize("code", [TWICE, AT_ONCE], ids=["one-after-the-other", "in-threads"])
def test_two_runs_of_one_process(runner, start_receiver, code):
    receiver = start_receiver()
    runner.settings(runner_http_url=receiver.url)
    outcome = runner.python(code)
    assert (outcome.rc, outcome.stderr) == (0, "")
    runner.wait_for_binaries()
    runs = by_run(receiver.requests)
    assert len(runs) == 2
    assert all(map(is_whole, runs.values())), runs


def wait_for_event(runner, receiver, name):
    deadline = time.monotonic() + PATIENCE
    while not any(body.get("event") == name for body in receiver.of("ansible-notify")):
        assert time.monotonic() < deadline, receiver.requests
        time.sleep(0.02)


def test_a_killed_runner_leaves_no_orphan(runner, start_receiver):
    receiver = start_receiver()
    runner.settings(runner_http_url=receiver.url)
    runner.playbook(LONG)
    process = runner.start()
    wait_for_event(runner, receiver, "runner_on_ok")
    assert runner.binaries()
    process.kill()
    process.wait()
    runner.wait_for_binaries()
    [found] = runner.status()
    assert found["accepted"] == found["delivered"] == len(receiver.of("ansible-notify"))


def test_a_killed_binary_is_started_again(runner, start_receiver):
    receiver = start_receiver()
    runner.settings(runner_http_url=receiver.url)
    runner.playbook(LONG.replace("sleep 20", "sleep 2"))
    process = runner.start()
    wait_for_event(runner, receiver, "runner_on_ok")
    [first] = runner.binaries()
    os.kill(first, signal.SIGKILL)
    _stdout, stderr = process.communicate(timeout=PATIENCE)
    assert stderr == ""
    runner.wait_for_binaries()
    [bodies] = by_run(receiver.requests).values()
    once = [body for number, body in enumerate(bodies) if body not in bodies[:number]]
    assert is_whole(once), str([body.get("counter", body.get("status")) for body in bodies])
    assert len(bodies) - len(once) <= 1, "only what was under way may come twice"


def in_place_of_the_binary(runner, script):
    """What makes this version of ansible-runner start a script, which starts the binary."""
    binary = runner.directory / "binary"
    binary.write_text(script % BINARY)
    binary.chmod(0o755)
    return {"ANSIBLE_NOTIFY_BINARY": str(binary)}


def test_a_binary_killed_before_it_is_ready_is_started_again(runner, start_receiver):
    receiver = start_receiver()
    runner.settings(runner_http_url=receiver.url)
    assert runner.run(**in_place_of_the_binary(runner, KILLED_AT_FIRST)).stderr == ""
    assert (runner.directory / "killed").exists()
    runner.wait_for_binaries()
    [bodies] = by_run(receiver.requests).values()
    assert is_whole(bodies), bodies


def test_a_binary_killed_at_the_end_is_told_everything_again(runner, start_receiver):
    """Stopped, it has taken nothing when the end is said, and is killed then."""
    receiver = start_receiver()
    runner.settings(runner_http_url=receiver.url)
    process = runner.start(**in_place_of_the_binary(runner, STOPPED_AT_FIRST))
    stopped = runner.directory / "stopped"
    deadline = time.monotonic() + PATIENCE
    while not (runner.private / "artifacts/job/rc").exists() or not stopped.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(int(stopped.read_text()), signal.SIGKILL)
    assert process.communicate(timeout=PATIENCE)[1] == ""
    runner.wait_for_binaries()
    [bodies] = by_run(receiver.requests).values()
    assert is_whole(bodies), bodies


def test_a_killed_run_is_canceled(runner, start_receiver):
    receiver = start_receiver()
    config = runner.write("env/plugin_config.ini", CONFIG % receiver.url)
    config.chmod(0o600)
    runner.playbook(LONG)
    process = runner.start()
    deadline = time.monotonic() + PATIENCE
    while not any(body["callback"] == "runner_on_ok" for body in receiver.of("ansible-notify")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    runner.wait_for_binaries()
    assert receiver.of("ansible-notify")[-1]["status"] == "canceled"


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        ("- hosts: [", "YAML"),
        ("- hosts: web1\n  roles: [nowhere]", "role 'nowhere' was not found"),
        ("- hosts: '{{ nope }}'\n  tasks: []", "'nope' is undefined"),
        (LONG, "timeout"),
    ],
)
def test_a_run_that_gives_up_says_why(runner, start_receiver, play, reason):
    """What Ansible printed, as no callback says it."""
    receiver = start_receiver()
    config = runner.write("env/plugin_config.ini", CONFIG % receiver.url)
    config.chmod(0o600)
    runner.playbook(play)
    if play == LONG:
        runner.write("env/settings", "---\njob_timeout: 4\n")
    runner.run()
    runner.wait_for_binaries()
    end = receiver.of("ansible-notify")[-1]
    assert end["status"] == "error"
    assert reason in end["reason"]


def test_a_run_says_which_it_is(runner, start_receiver):
    """Of an ad hoc command its module and hosts; of another inventory its path."""
    receiver = start_receiver()
    config = runner.write("env/plugin_config.ini", CONFIG % receiver.url)
    config.chmod(0o600)
    other = runner.write("other/hosts", "web1 ansible_connection=local\n")

    def told(*command):
        runner.program([runner.place / "bin" / "ansible-runner", *command]).communicate()
        runner.wait_for_binaries()
        end = receiver.of("ansible-notify")[-1]
        return end["status"], end["name"], end["inventory"]

    ad_hoc = ["run", runner.private, "-m", "debug", "--hosts", "web1"]
    assert told(*ad_hoc) == ("success", "ansible web1 -m debug", [])
    site = ["run", runner.private, "-p", "site.yml"]
    assert told(*site) == ("success", "site.yml", [])
    assert told(*site, "--inventory", other) == ("success", "site.yml", [str(other)])


@pytest.mark.parametrize("place", ["env", "project", "project/callback_plugins", "user", "named"])
def test_a_configuration_routes_its_events(runner, start_receiver, place):
    receiver = start_receiver()
    folder = "../config/ansible-notify" if place == "user" else place
    config = runner.write("%s/plugin_config.ini" % folder, CONFIG % receiver.url)
    config.chmod(0o600)
    environment = {"ANSIBLE_NOTIFY_CONFIG": str(config)} if place == "named" else {}
    outcome = runner.run(**environment)
    assert (outcome.rc, outcome.stderr) == (0, "")
    runner.wait_for_binaries()
    bodies = receiver.of("ansible-notify")
    calls = [(body["callback"], body["host"], body["task"]) for body in bodies]
    for host in ("web1", "web2"):
        of_host = [(name, task) for name, found, task in calls if found == host]
        assert of_host == [
            ("runner_on_ok", "say"),
            ("runner_on_ok", "many"),
            ("runner_on_failed", "ignored"),
            ("runner_on_ok", "hidden"),
        ]
    assert {body["ident"] for body in bodies} == {"job"}
    [end] = [body for body in bodies if body["callback"] == "run_end"]
    assert end["status"] == "success"
    assert len([call for call in calls if call[0] == "run_start"]) == 1
    assert "canary" not in str(receiver.requests)


def test_a_callback_that_is_on_by_itself_stands_back(runner, start_receiver):
    """It lies beside the playbook, and would report what this plugin does."""
    receiver = start_receiver()
    place = "project/callback_plugins/"
    runner.write(place + "ansible_notify.py", PLUGIN.read_text(encoding="utf-8"))
    config = runner.write(place + "plugin_config.ini", CONFIG % receiver.url)
    config.chmod(0o600)
    outcome = runner.run()
    assert (outcome.rc, outcome.stderr) == (0, "")
    runner.wait_for_binaries()
    bodies = receiver.of("ansible-notify")
    assert [body["callback"] for body in bodies].count("run_end") == 1
    assert {body["ident"] for body in bodies} == {"job"}


def test_it_stands_back_where_the_callback_reports(runner, start_receiver):
    receiver = start_receiver()
    config = runner.write("project/plugin_config.ini", CONFIG % receiver.url)
    config.chmod(0o600)
    cfg = runner.write(
        "project/ansible.cfg", "[defaults]\ncallbacks_enabled = timer,\n  ansible_notify\n"
    )
    runner.run(ANSIBLE_NOTIFY_BINARY="/nonexistent")
    cfg.unlink()
    variable = {"ANSIBLE_CALLBACKS_ENABLED": "ansible_notify.notify.ansible_notify"}
    outcome = runner.run(ANSIBLE_NOTIFY_BINARY="/nonexistent", **variable)
    assert "/nonexistent" not in outcome.stderr
    assert receiver.requests == []


def test_a_broken_configuration_is_said_and_hinders_nothing(runner):
    config = runner.write("project/plugin_config.ini", "[inputs]\ncallback_url = nonsense\n")
    config.chmod(0o600)
    outcome = runner.run()
    assert outcome.status == "successful"
    assert "project/plugin_config.ini:2: `callback_url` must begin with http://" in outcome.stderr
