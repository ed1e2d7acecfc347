"""Real plays as traces, at a collector that decodes what it gets."""

import json
import subprocess

import pytest
import venvs
from conftest import wait_for
from test_endtoend import BINARY
from waiting import PATIENCE

COLLECTOR = venvs.ROOT / "tests" / "server" / "otlp.py"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PLAY = """
- name: First play
  hosts: web
  gather_facts: false
  tasks:
    - name: fine
      debug: {msg: one}
    - name: loop
      debug: {msg: "{{ item }}"}
      loop: [1, 2]
    - name: ignored
      fail: {msg: not today}
      ignore_errors: true
- name: Second play
  hosts: web1
  gather_facts: false
  tasks:
    - name: breaks
      command: "false"
"""
ENDLESS = """
- name: Endless
  hosts: web
  gather_facts: false
  tasks:
    - name: before
      debug: {msg: one}
    - name: waits
      wait_for: {path: "{{ playbook_dir }}/never", timeout: 600}
"""
CONFIG = """
[notifier:otel]
type = otlp
url = http://127.0.0.1:%d
[delivery]
drain = 60
"""


class Collector:
    def __init__(self, directory):
        self.taken = directory / "taken.jsonl"
        python = venvs.directory() / "servers" / "bin" / "python"
        assert python.exists(), "make target/venvs/servers/done"
        command = [python, COLLECTOR, self.taken]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def items(self, signal):
        lines = self.taken.read_text().splitlines() if self.taken.exists() else []
        requests = [json.loads(line) for line in lines]
        return [
            item for request in requests if request["signal"] == signal for item in request["items"]
        ]

    def spans(self):
        """The spans by name; a task has one for each host."""
        spans = {}
        for span in self.items("traces"):
            spans.setdefault(span["name"], []).append(span)
        return spans

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def collector(ansible):
    collector = Collector(ansible.directory)
    config = ansible.write("plugin_config.ini", CONFIG % collector.port)
    config.chmod(0o600)
    ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
    ansible.environment["ANSIBLE_NOTIFY_CONFIG"] = str(config)
    yield collector
    collector.stop()


def attributes(item):
    return {one["key"]: next(iter(one["value"].values())) for one in item["attributes"]}


def test_a_play_goes_on_with_the_trace_that_started_it(ansible, collector):
    parent = "00-%s-%s-01" % (TRACE, PARENT)
    assert ansible.play(PLAY, TRACEPARENT=parent).rc == 2
    spans = collector.spans()
    [run] = spans["RUN site.yml"]
    assert (run["traceId"], run["parentSpanId"]) == (TRACE, PARENT)
    assert run["status"]["code"] == "STATUS_CODE_ERROR"
    [first], [second] = spans["First play"], spans["Second play"]
    for play in (first, second):
        assert play["parentSpanId"] == run["spanId"]
    assert "status" not in first
    assert second["status"]["code"] == "STATUS_CODE_ERROR"
    counts = {name: len(spans[name]) for name in ("fine", "loop", "ignored", "breaks")}
    assert counts == {"fine": 2, "loop": 2, "ignored": 2, "breaks": 1}
    for name in ("fine", "loop", "ignored"):
        for span in spans[name]:
            assert (span["traceId"], span["parentSpanId"]) == (TRACE, first["spanId"])
            assert "status" not in span
            times = [int(span[key]) for key in ("startTimeUnixNano", "endTimeUnixNano")]
            outer = [int(run[key]) for key in ("startTimeUnixNano", "endTimeUnixNano")]
            # The run begins with its first event, which comes before any task.
            assert outer[0] <= times[0] <= times[1] <= outer[1]
    [breaks] = spans["breaks"]
    assert breaks["parentSpanId"] == second["spanId"]
    assert breaks["status"]["code"] == "STATUS_CODE_ERROR"
    of = attributes(breaks)
    assert of["ansible.task.host.name"] == "web1"
    assert of["ansible.task.result"] == "1"
    assert of["cicd.pipeline.task.run.result"] == "failure"
    known = {span["spanId"] for named in spans.values() for span in named}
    logs = collector.items("logs")
    assert logs
    assert {log["spanId"] for log in logs} <= known
    metrics = {metric["name"] for metric in collector.items("metrics")}
    assert {"cicd.pipeline.run.duration", "ansible.tasks", "ansible.hosts"} <= metrics


def test_each_playbook_is_a_trace_of_its_own(ansible, collector):
    for name in ("a", "b"):
        text = "- name: play of %s\n  hosts: web\n  gather_facts: false\n  tasks: [debug: ]\n"
        ansible.write(name + ".yml", text % name)
    # Not a trace context: what the environment has by mistake.
    assert ansible.run("ansible-playbook", "a.yml", "b.yml", TRACEPARENT="None").rc == 0
    spans = collector.spans()
    traces = set()
    for name in ("a", "b"):
        [run], [play] = spans["RUN %s.yml" % name], spans["play of " + name]
        assert "parentSpanId" not in run
        assert (play["traceId"], play["parentSpanId"]) == (run["traceId"], run["spanId"])
        tasks = [span for span in spans["debug"] if span["parentSpanId"] == play["spanId"]]
        assert [span["traceId"] for span in tasks] == 2 * [run["traceId"]]
        traces.add(run["traceId"])
    assert len(traces) == 2


def test_a_run_that_is_killed_has_its_trace(ansible, collector):
    process = ansible.start("ansible-playbook", ansible.write("site.yml", ENDLESS))
    wait_for(lambda: len(collector.spans().get("before", [])) == 2)
    process.kill()
    process.wait(timeout=PATIENCE)
    wait_for(lambda: "RUN site.yml" in collector.spans())
    spans = collector.spans()
    [run], [play] = spans["RUN site.yml"], spans["Endless"]
    assert attributes(run)["cicd.pipeline.result"] == "cancellation"
    assert play["parentSpanId"] == run["spanId"]
    assert {span["parentSpanId"] for span in spans["before"]} == {play["spanId"]}
