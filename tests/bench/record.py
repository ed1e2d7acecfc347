"""What it costs to record runs: time and bytes for each result, beside `record = off`."""

import json
import os
import random
import shutil
import time

from endpoint import DEAD
from measure import median, ratio, timed_with_memory

HOSTS = 200
CONFIG = """[inputs]
callback_url = %s
on = %s
[delivery]
drain = 0
max_size = 4GiB
record = %s
"""


def write_run(file, tasks, run):
    """A run as many are: most results are ok, some changed, a few failed, and some have diffs."""
    chance = random.Random(7)
    began = time.time()

    def write(**record):
        file.write(json.dumps(record) + "\n")

    write(hello={"protocol": 1, "run": {"id": run, "playbook": "site.yml"}})
    write(play={"id": "1", "name": "all"})
    seq = 0
    for task in range(tasks):
        path = "/srv/site/roles/common/tasks/main.yml:%d" % task
        about = {"id": str(task), "name": "task %d of many" % task, "action": "copy", "path": path}
        write(task=dict(about, role="common", tags=[], handler=False))
        for host in range(HOSTS):
            seq += 1
            name, result = some_result(chance)
            event = {"seq": seq, "event": name, "time": began + seq / 1e4, "duration": 0.7}
            event.update(changed=result["changed"], play="1", task=str(task))
            write(event=dict(event, host={"name": "web%03d" % host}, result=result))
    write(end={"reason": "exit", "code": 0})
    return seq


def some_result(chance):
    kind = chance.random()
    if kind < 0.004:
        text = "".join(chance.choices("abcdefgh ", k=300))
        return "runner_on_failed", {"changed": False, "msg": text, "rc": 1}
    if kind < 0.017:
        before, after = ("".join(chance.choices("abcdefgh\n", k=900)) for _ in range(2))
        diff = [{"before": before, "after": after}]
        return "runner_on_ok", {"changed": True, "diff": diff, "dest": "/etc/motd"}
    if kind < 0.1:
        return "runner_on_ok", {"changed": True, "dest": "/etc/motd", "mode": "0644"}
    if kind < 0.25:
        return "runner_on_skipped", {
            "changed": False,
            "skip_reason": "Conditional result was False",
        }
    facts = {"path": "/etc/motd", "mode": "0644", "owner": "root", "size": 12, "uid": 0}
    return "runner_on_ok", {"changed": False, "state": "file", **facts}


def cost(bench):
    """CPU time and bytes for each result, with and without a record."""
    tasks = 50 if bench.quick else 500
    print("A run of %d tasks on %d hosts; the endpoint is down.\n" % (tasks, HOSTS))
    print("| notifier wants | `record` | CPU µs per result | to `off` | bytes per result |")
    print("|---|---|---|---|---|")
    path = bench.directory / "run.ndjson"
    with path.open("w") as file:
        count = write_run(file, tasks, "measured")
    for wanted, on in (("every result", "any"), ("none", "canceled")):
        times = {"off": [], "failed": [], "all": []}
        sizes = {}
        for _ in range(3 if bench.quick else 7):
            for record, measured in times.items():
                cpu, sizes[record] = recorded(bench, path, on, record)
                measured.append(cpu / count * 1e6)
        for record, measured in times.items():
            size = (sizes[record] - sizes["off"]) / count
            figures = (wanted, record, median(measured), ratio(measured, times["off"]), size)
            print("| %s | `%s` | %.1f | %s | %.0f |" % figures)
    path.unlink()


def recorded(bench, path, on, record):
    """The CPU seconds of a `stream`, and the size of its spool."""
    state = bench.directory / "recorded"
    shutil.rmtree(state, ignore_errors=True)
    config = bench.write("record.ini", CONFIG % (DEAD, on, record))
    command = ["env", "XDG_STATE_HOME=%s" % state, bench.binary, "stream", "--quiet"]
    with path.open() as file:
        command += ["--config", config]
        _, cpu, _ = timed_with_memory(command, file, bench.directory / "said")
    return cpu, os.stat(state / "ansible-notify" / "spool.db").st_size
