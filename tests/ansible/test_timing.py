"""When a notifier sends, in real plays: the clock is the program's, and the test sets it."""

import json

import pytest
from test_endtoend import BINARY, Endpoint

pytestmark = pytest.mark.newest

NOTIFIER = """
[notifier:ops]
type = webhook
url = %s/events
username = svc-ansible
password = s3cret
on = %s
%s
[outputs:ops]
event = callback
host = host
task = task_name
status = status
recovered = recovered
held_back = held_back
"""
PLAY = """
- hosts: web
  gather_facts: false
  tasks:
    - name: check
      debug:
      failed_when: inventory_hostname in (failing | default('')).split()
"""


class World:
    """A notifier with some rules, and plays at times of the test's own."""

    def __init__(self, ansible, endpoint):
        self.ansible, self.endpoint = ansible, endpoint
        ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
        ansible.environment["ANSIBLE_NOTIFY_CLOCK"] = str(ansible.directory / "clock")
        ansible.environment["TZ"] = "UTC"

    def rules(self, on, rules):
        text = NOTIFIER % (self.endpoint.url, on, rules)
        path = self.ansible.write("plugin_config.ini", text)
        path.chmod(0o600)
        self.ansible.environment["ANSIBLE_NOTIFY_CONFIG"] = str(path)

    def at(self, time):
        self.ansible.write("clock", "2026-11-%sZ" % time)

    def play(self, time, failing=""):
        """Runs the play, in which some hosts fail; returns what was told of it, and the summary."""
        self.at(time)
        before = len(self.endpoint.bodies())
        result = self.ansible.play(PLAY, "-e", "failing='%s'" % failing)
        assert (result.rc == 0) == (not failing), result.stdout + result.stderr
        assert "internal error" not in result.stderr
        return self.endpoint.bodies()[before:], result.stderr

    def flush(self, time):
        self.at(time)
        before = len(self.endpoint.bodies())
        result = self.ansible.run(BINARY, "flush", "--due")
        assert result.rc == 0, result.stderr
        return self.endpoint.bodies()[before:], result.stderr

    def status(self):
        """The counts of the notifier, which add up."""
        [status] = json.loads(self.ansible.run(BINARY, "status", "--json").stdout)
        parts = [status[part] for part in ("delivered", "dead", "dropped", "waiting")]
        assert status["accepted"] == sum(parts), status
        return status


@pytest.fixture
def world(ansible):
    endpoint = Endpoint(ansible.directory)
    yield World(ansible, endpoint)
    endpoint.stop()


def of(bodies):
    return sorted((body["host"] or body["status"], body["held_back"] or 0) for body in bodies)


def test_a_task_is_told_from_its_second_failure_on_each_host(world):
    world.rules("failed", "after = 2")
    assert world.play("27T08:00:00", "web1 web2")[0] == []
    assert of(world.play("27T08:01:00", "web1")[0]) == [("web1", 1)]
    # It succeeded on this host in between.
    assert world.play("27T08:02:00", "web2")[0] == []
    assert of(world.play("27T08:03:00", "web1 web2")[0]) == [("web2", 1)]
    assert of(world.play("27T08:04:00", "web1 web2")[0]) == [("web1", 1), ("web2", 0)]
    assert world.status()["suppressed"] == 4


def test_a_playbook_is_told_from_its_third_failure_and_its_recovery_if_that_was(world):
    world.rules("error, recovered", "after = 3")
    assert world.play("27T08:00:00", "web1")[0] == []
    assert world.play("27T08:01:00")[0] == []
    for minute in "23":
        assert world.play("27T08:0%s:00" % minute, "web1")[0] == []
    assert of(world.play("27T08:04:00", "web1")[0]) == [("error", 2)]
    [recovered] = world.play("27T08:05:00")[0]
    assert recovered["recovered"]
    assert world.play("27T08:06:00")[0] == []
    assert world.status()["delivered"] == 2


def test_the_same_failure_is_not_repeated_before_its_time(world):
    world.rules("error, success", "repeat = 4h")
    assert of(world.play("27T08:00:00", "web1")[0]) == [("error", 0)]
    told, said = world.play("27T11:59:59", "web1 web2")
    assert told == []
    assert "1 suppressed by `after`, `repeat` or `muted`" in said
    assert of(world.play("27T12:00:00", "web1")[0]) == [("error", 1)]
    assert of(world.play("27T13:00:00")[0]) == [("success", 0)]
    assert of(world.play("27T13:01:00", "web1")[0]) == [("error", 0)]
    world.status()


@pytest.mark.parametrize("muted", ["keep", "drop"])
def test_nothing_is_told_in_a_window(world, muted):
    night = "mute = 22:00-06:00 Europe/Berlin\nmuted = %s" % muted
    world.rules("failed, error, success", night)
    assert of(world.play("27T20:59:59")[0]) == [("success", 0)]
    told, said = world.play("27T21:00:00", "web1")
    assert told == []
    if muted == "keep":
        assert "2 held until Sat 2026-11-28 05:00 UTC" in said
        told, said = world.flush("28T04:59:59")
        assert told == []
        assert "2 held until Sat 2026-11-28 05:00 UTC" in said
        told = world.flush("28T05:00:00")[0]
        assert [body["host"] or body["status"] for body in told] == ["web1", "error"]
    else:
        assert "2 suppressed by `after`, `repeat` or `muted`" in said
        assert world.flush("28T05:00:00")[0] == []
        assert of(world.play("28T05:00:01", "web2")[0]) == [("error", 0), ("web2", 0)]
    assert world.status()["waiting"] == 0


def test_a_named_window_and_a_period(world):
    rules = "mute = time:weekend\nmute_until = 2026-11-27 12:00\n"
    world.rules("success", rules + "[time:weekend]\ndays = Sat-Sun\nzone = UTC")
    assert world.play("27T11:59:59")[0] == []
    assert len(world.flush("27T12:00:00")[0]) == 1
    assert len(world.play("27T12:00:01")[0]) == 1
    told, said = world.play("28T12:00:00")
    assert told == []
    assert "1 held until Mon 2026-11-30 00:00 UTC" in said
    assert len(world.flush("30T00:00:00")[0]) == 1
    world.status()


def test_a_digest_is_told_at_its_time(world):
    world.rules("failed, error, success", "digest = 1d at 08:00 Europe/Berlin")
    for time, failing in (("27T08:00:00", "web1"), ("27T20:00:00", ""), ("28T06:59:59", "web2")):
        told, said = world.play(time, failing)
        assert told == []
        assert "held until Sat 2026-11-28 07:00 UTC" in said
    told = world.flush("28T07:00:00")[0]
    results = [body["host"] for body in told if body["host"]]
    ends = [(body["status"], body["recovered"]) for body in told if not body["host"]]
    assert sorted(results) == ["web1", "web2"]
    assert ends == [("error", False), ("success", True), ("error", False)]
    assert world.status()["delivered"] == 5
