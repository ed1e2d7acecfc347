"""In the place of ansible-runner-http: the same settings, the same bodies, none of its losses."""

import json
import time

import pytest
import venvs

UNREACHABLE = """
- hosts: web1
  gather_facts: false
  vars: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
  tasks: [{name: far, ping: }]
"""
FAILING = "- hosts: all\n  gather_facts: false\n  tasks: [{name: bad, fail: {msg: no}}]\n"
SLEEPING = "- hosts: web1\n  gather_facts: false\n  tasks: [{name: asleep, command: sleep 30}]\n"
CANCEL = """
import sys, time, ansible_runner
began = time.monotonic()
ansible_runner.run(private_data_dir=sys.argv[1], playbook="site.yml", ident="job", quiet=True,
                   cancel_callback=lambda: time.monotonic() > began + 1,
                   settings={"pexpect_timeout": 1})
"""


def run_ok(runner, **options):
    return runner.run(**options)


def run_failed(runner, **options):
    runner.playbook(FAILING)
    return runner.run(**options)


def run_unreachable(runner, **options):
    runner.playbook(UNREACHABLE)
    return runner.run(**options)


def run_syntax_error(runner, **options):
    runner.playbook("- hosts: all\n  tasks: [{nothing: like, this: }]\n")
    return runner.run(**options)


def run_missing_playbook(runner, **options):
    return runner.run(playbook="missing.yml", **options)


def run_timeout(runner, **options):
    runner.playbook(SLEEPING)
    runner.settings(job_timeout=1, pexpect_timeout=1)
    return runner.run(**options)


def run_canceled(runner, **options):
    runner.playbook(SLEEPING)
    return runner.python(CANCEL, **options)


CASES = {
    "successful": run_ok,
    "failed": run_failed,
    "unreachable": run_unreachable,
    "syntax": run_syntax_error,
    "missing": run_missing_playbook,
    "timeout": run_timeout,
    "canceled": run_canceled,
}
STATUS = {"unreachable": "failed", "syntax": "failed", "missing": "failed"}


# How a run ends does not depend on the way.
WAYS = [(case, "http") for case in CASES] + [("successful", "https"), ("successful", "unix")]


@pytest.mark.parametrize(("case", "over"), WAYS)
def test_the_bodies_are_those_of_ansible_runner_http(
    runner, start_receiver, certificate, case, over
):
    """Both plugins in one run, told the same: each posts the same, and in the same order."""
    options = {}
    if over == "https":
        receiver = start_receiver(tls=certificate)
        options["REQUESTS_CA_BUNDLE"] = str(certificate / "authority.pem")
    elif over == "unix":
        receiver = start_receiver(unix=runner.directory / "socket")
        options["RUNNER_HTTP_PATH"] = "/events"
    else:
        receiver = start_receiver()
    runner.python_path.append(venvs.emitter(runner.place))
    outcome = CASES[case](runner, RUNNER_HTTP_URL=receiver.url, **options)
    theirs = receiver.of("python-requests")
    assert theirs[0].pop("env")["HOME"] == str(runner.directory)
    assert theirs[-1]["status"] == outcome.status == STATUS.get(case, case), outcome.stderr
    ours = receiver.wait_for(len(theirs))
    assert ours == theirs
    assert {path for _agent, path, _headers, _body in receiver.requests} == {"/events"}
    runner.wait_for_binaries()
    assert len(receiver.of("ansible-notify")) == len(theirs)


def test_headers_and_named_variables(runner, start_receiver):
    receiver = start_receiver()
    headers = {"X-Token": "s3cret", "X-Number": 5}
    runner.settings(
        runner_http_url=receiver.url, runner_http_headers=headers, ansible_notify_env=["LANG"]
    )
    runner.run()
    assert receiver.wait_for(1)[0]["env"] == {"LANG": "C.UTF-8"}
    found = receiver.requests[0][2]
    assert (found["x-token"], found["x-number"]) == ("s3cret", "5")
    spool = (runner.directory / "state/ansible-notify/spool.db").read_bytes()
    runner.wait_for_binaries()
    assert b"s3cret" not in spool


def test_nothing_is_started_where_nothing_is_configured(runner):
    outcome = runner.run(ANSIBLE_NOTIFY_BINARY="/nonexistent")
    assert (outcome.status, outcome.stderr) == ("successful", "")
    assert not (runner.directory / "state").exists()


def test_a_missing_binary_is_one_warning(runner):
    settings = {"RUNNER_HTTP_URL": "http://127.0.0.1:1/", "ANSIBLE_NOTIFY_BINARY": "/nonexistent"}
    outcome = runner.run(**settings)
    assert outcome.status == "successful"
    reason = "cannot run /nonexistent: No such file or directory; the run is not reported"
    assert outcome.stderr == "ansible-notify: %s\n" % reason


TROUBLE = {
    "slow": {"delay": 0.05},
    "refusing": None,
    "hanging": {"hangs": True},
    "500": {"status": 500},
    "401": {"status": 401},
    "302": {"status": 302},
    "dying": {"dies_after": 7},
}


@pytest.mark.parametrize("trouble", list(TROUBLE))
def test_no_endpoint_hinders_a_run_and_nothing_is_lost(runner, start_receiver, trouble):
    """The run is as it would be without a plugin; what was not delivered is known, and not lost."""
    runner.write("../config/ansible-notify/plugin_config.ini", "[delivery]\ndrain = 1s\n")
    options = TROUBLE[trouble]
    receiver = start_receiver(**options) if options else None
    url = receiver.url if receiver else "http://127.0.0.1:1/"
    runner.settings(runner_http_url=url)
    outcome = runner.run()
    assert (outcome.rc, outcome.status, outcome.job_rc) == (0, "successful", "0")
    assert outcome.stderr == ""
    assert [event["counter"] for event in outcome.events] == list(range(1, len(outcome.events) + 1))
    [found] = runner.status()
    # Three statuses come with the events.
    assert found["accepted"] == len(outcome.events) + 3
    ends = {"slow": "delivered", "302": "dead"}
    assert found[ends.get(trouble, "waiting")] >= found["accepted"] - 7

    if trouble not in ends:
        healed = start_receiver()
        runner.settings(runner_http_url=healed.url)
        time.sleep(1)
        flushed = runner.notify("flush")
        assert flushed.returncode == 0, flushed.stderr
        counters = [body["counter"] for body in healed.of("ansible-notify") if "counter" in body]
        last = len(outcome.events)
        assert counters == list(range(last + 1 - len(counters), last + 1))
        got = receiver.of("ansible-notify") if trouble == "dying" else []
        delivered = {json.dumps(body) for body in got + healed.of("ansible-notify")}
        assert len(delivered) == found["accepted"]


def test_a_slow_endpoint_costs_the_run_nothing(runner, start_receiver):
    """Whoever waits for the run, and for the end of what it prints, waits for nothing else."""
    receiver = start_receiver(delay=0.3)
    runner.settings(runner_http_url=receiver.url)
    outcome = runner.run()
    count = len(outcome.events) + 3
    assert len(receiver.of("ansible-notify")) < count
    assert receiver.wait_for(count)[-1]["status"] == "successful"
