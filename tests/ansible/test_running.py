"""Told while it runs: real plays that hang until the messages about them have arrived."""

import os
import signal
import subprocess

import pytest
from test_endtoend import BINARY, Endpoint
from waiting import PATIENCE

pytestmark = pytest.mark.newest

CONFIG = """
[notifier:late]
type = webhook
url = %s/events
username = svc-ansible
password = s3cret
on = overdue, stalled, slow_task, success, error, canceled
overdue_after = 1s
stalled_after = 1s
slow_task_after = 1s
[outputs:late]
id = id
event = callback
task = task_name
hosts = waiting_for
threshold = threshold
overdue = overdue
stalls = stalls
slow = slow_tasks
"""
HANGS = """
- hosts: web
  gather_facts: false
  strategy: %s
  tasks:
    - name: first
      wait_for: {path: "{{ playbook_dir }}/go-1", timeout: 600}
      when: inventory_hostname == "web2"
    - name: second
      wait_for: {path: "{{ playbook_dir }}/go-2", timeout: 600}
      when: inventory_hostname == "web1"
"""


@pytest.fixture
def endpoint(ansible):
    endpoint = Endpoint(ansible.directory)
    config = ansible.write("plugin_config.ini", CONFIG % endpoint.url)
    config.chmod(0o600)
    ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
    ansible.environment["ANSIBLE_NOTIFY_CONFIG"] = str(config)
    yield endpoint
    endpoint.stop()


def start(ansible, strategy="linear"):
    playbook = ansible.write("site.yml", HANGS % strategy)
    return ansible.start("ansible-playbook", playbook)


def has(bodies, event, hosts):
    return any((body["event"], body["hosts"]) == (event, hosts) for body in bodies)


def program_of(process):
    """The process id of the program that the plugin of a play started."""
    found = subprocess.check_output(["ps", "--ppid", str(process.pid), "-o", "pid=,args="])
    lines = found.decode().splitlines()
    [line] = [line for line in lines if str(BINARY) in line]
    return int(line.split()[0])


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_a_play_that_hangs_is_told_with_the_host_that_it_waits_for(ansible, endpoint, strategy):
    process = start(ansible, strategy)
    told = ["run_overdue", "run_stalled", "task_slow"]
    if strategy == "free":
        # The other host waits for the second task.
        told = ["task_slow"]
    endpoint.wait_for(lambda bodies: all(has(bodies, one, ["web2"]) for one in told))
    ansible.write("go-1", "")
    if strategy == "free":
        endpoint.wait_for(lambda bodies: has(bodies, "task_slow", ["web1"]))
    ansible.write("go-2", "")
    assert process.wait(timeout=PATIENCE) == 0
    bodies = endpoint.bodies()
    ids = [body["id"] for body in bodies]
    assert len(set(ids)) == len(ids)
    assert [body["event"] for body in bodies].count("run_overdue") == 1
    end = bodies[-1]
    assert (end["event"], end["overdue"]) == ("run_end", True)
    assert "first" in [slow["task"] for slow in end["slow"]]
    assert end["stalls"]


def test_a_program_that_is_killed_tells_nothing_twice(ansible, endpoint):
    process = start(ansible)
    told = ["run_overdue", "run_stalled", "task_slow"]
    endpoint.wait_for(lambda bodies: all(has(bodies, one, ["web2"]) for one in told))
    os.kill(program_of(process), signal.SIGKILL)
    ansible.write("go-1", "")
    endpoint.wait_for(lambda bodies: has(bodies, "run_stalled", ["web1"]))
    ansible.write("go-2", "")
    assert process.wait(timeout=PATIENCE) == 0
    # What was not yet marked as delivered is repeated with its id.
    bodies = list({body["id"]: body for body in endpoint.bodies()}.values())
    assert [body["event"] for body in bodies].count("run_overdue") == 1
    assert bodies[-1]["overdue"] is True


BATCHES = """
- hosts: web
  gather_facts: false
  serial: 1
  tasks:
    - name: in each batch
      wait_for: {path: "{{ playbook_dir }}/go-{{ inventory_hostname }}", timeout: 600}
"""


def test_a_slow_task_is_told_once_in_all_batches_of_a_play(ansible, endpoint):
    process = ansible.start("ansible-playbook", ansible.write("site.yml", BATCHES))
    endpoint.wait_for(lambda bodies: has(bodies, "task_slow", ["web1"]))
    ansible.write("go-web1", "")
    # The second batch is slow, too: that nothing happens is told at the same age of the task.
    endpoint.wait_for(lambda bodies: has(bodies, "run_stalled", ["web2"]))
    ansible.write("go-web2", "")
    assert process.wait(timeout=PATIENCE) == 0
    bodies = endpoint.bodies()
    assert [body["hosts"] for body in bodies if body["event"] == "task_slow"] == [["web1"]]
    assert [slow["task"] for slow in bodies[-1]["slow"]] == ["in each batch"]


STEPS = """
- hosts: web1
  gather_facts: false
  tasks:
    - name: steps
      command: test -e "{{ playbook_dir }}/go"
      register: found
      until: found.rc == 0
      retries: 100000
      delay: 0
"""


def test_a_play_that_is_stopped_has_stalled(ansible, endpoint):
    """Ansible itself, not the task: nothing comes any more, whatever the host does."""
    process = ansible.start("ansible-playbook", ansible.write("site.yml", STEPS))
    endpoint.wait_for(lambda bodies: has(bodies, "task_slow", ["web1"]))
    os.kill(process.pid, signal.SIGSTOP)
    endpoint.wait_for(lambda bodies: has(bodies, "run_stalled", ["web1"]))
    assert process.poll() is None
    ansible.write("go", "")
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(timeout=PATIENCE) == 0
    bodies = endpoint.bodies()
    [stalled] = [body for body in bodies if body["event"] == "run_stalled"][:1]
    assert stalled["task"] == "steps"
    assert bodies[-1]["event"] == "run_end"
    assert bodies[-1]["stalls"][0]["task"] == "steps"
