"""Told while it runs: a real ansible-runner, whose play hangs until the messages have come."""

import time

from waiting import PATIENCE

CONFIG = """
[inputs]
callback_url = %s
on = overdue, stalled, slow_task, success
overdue_after = 1s
stalled_after = 1s
slow_task_after = 1s
[outputs]
callback = callback
id = id
ident = event.run.ident
task = task_name
hosts = waiting_for
overdue = overdue
stalls = stalls
slow = slow_tasks
"""
HANGS = """
- hosts: all
  gather_facts: false
  tasks:
    - name: hangs
      wait_for: {path: "%s", timeout: 600}
      when: inventory_hostname == "web2"
"""


def is_told(bodies):
    """Whatever comes before the task may take long, too."""
    waits = [(body["callback"], body["task"]) for body in bodies if body["hosts"] == ["web2"]]
    late = {("run_stalled", "hangs"), ("task_slow", "hangs")}
    return late <= set(waits) and any(body["callback"] == "run_overdue" for body in bodies)


def test_a_run_that_hangs_is_told_with_the_host_that_it_waits_for(runner, start_receiver):
    receiver = start_receiver()
    config = runner.write("env/plugin_config.ini", CONFIG % receiver.url)
    config.chmod(0o600)
    go = runner.directory / "go"
    runner.playbook(HANGS % go)
    process = runner.start()
    deadline = time.monotonic() + PATIENCE
    while not is_told(receiver.of("ansible-notify")):
        assert time.monotonic() < deadline, receiver.of("ansible-notify")
        time.sleep(0.05)
    go.touch()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    runner.wait_for_binaries()
    bodies = receiver.of("ansible-notify")
    assert {body["ident"] for body in bodies} == {"job"}
    end = bodies[-1]
    assert (end["callback"], end["overdue"]) == ("run_end", True)
    assert end["slow"][0]["task"] == "hangs"
    assert end["stalls"]
    ids = [body["id"] for body in bodies]
    assert len(set(ids)) == len(ids)
    assert [body["callback"] for body in bodies].count("run_overdue") == 1
