#!/usr/bin/env python3
"""CPU of the plugin for one result, against json.dumps and os.write of the same result.

    python3 tests/ansible/bench_plugin.py 2.16 newest

The plugin tells more than a result: when, where, and of what task it came. So it is compared with
json.dumps and os.write of a record that tells the same too. For each version the measuring runs in
its own environment. Runs of all sides alternate; the best of each counts, as everything above it is
other work of the machine.
"""

import json
import os
import subprocess
import sys
import time
import types

ROUNDS = 15
COPIES = {"debug": 2000, "stdout 5 KB": 1000, "facts 50 KB": 100}


def results():
    """What tasks bring: a debug message, a command with output, facts."""
    fact = {"name": "eth0", "active": True, "mtu": 1500, "speed": -1, "flags": ["up", "running"]}
    yield "debug", {"msg": "Hello world!", "changed": False, "_ansible_verbose_always": True}
    yield (
        "stdout 5 KB",
        {
            "changed": True,
            "cmd": ["cat", "/var/log/messages"],
            "rc": 0,
            "stdout": "a line of a log, not too long\n" * 170,
            "stderr": "",
            "start": "2026-01-01 00:00:00.000000",
            "end": "2026-01-01 00:00:00.010000",
            "delta": "0:00:00.010000",
        },
    )
    facts = {"ansible_device_%d" % number: fact for number in range(430)}
    yield "facts 50 KB", {"changed": False, "ansible_facts": facts}


def drained_pipe():
    """A pipe that somebody empties, as the binary would."""
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    return reader, reader.stdin.fileno()


class Measure:
    """Both ways of handing over one result, with real hosts and tasks of the installed Ansible."""

    def __init__(self, plugin):
        from ansible.inventory.host import Host
        from ansible.playbook.task import Task

        self.plugin = plugin
        self.callback = plugin.CallbackModule()
        self.host = Host("web1.example.com")
        self.task = Task.load({"name": "a task", "debug": {"msg": "Hello world!"}})
        # As the tasks that come with results are: every attribute is settled.
        self.task._squashed = self.task._finalized = True
        self.reader, self.pipe = drained_pipe()
        stream = plugin.RUN.stream
        stream.command = ["sh", "-c", "cat > /dev/null"]
        stream.hello.update(run={}, overrides={})
        stream.start()

    def result(self, brought):
        """A result as callbacks get it, its copy made already: that is Ansible's own work."""
        if self.new_style():
            kind = type("Result", (), {"result": None, "host": None, "task": None})
            result = kind()
            result.host, result.task, result.result = self.host, self.task, brought
            return result
        return types.SimpleNamespace(_host=self.host, _task=self.task, _result=brought)

    @staticmethod
    def new_style():
        from ansible.release import __version__

        return tuple(map(int, __version__.split(".")[:2])) >= (2, 19)

    def plain(self, brought, copies):
        began = time.process_time()
        for _copy in range(copies):
            os.write(self.pipe, json.dumps(brought).encode())
        return (time.process_time() - began) / copies

    def told(self, brought, copies):
        """All that a receiver learns of a result from the plugin, in one record."""
        host, task, play = self.host, self.task, {"id": "1", "name": "a play"}
        started, began = time.monotonic(), time.process_time()
        for copy in range(copies):
            record = {
                "seq": copy,
                "event": "runner_on_ok",
                "time": time.time(),
                "play": play,
                "task": {
                    "id": task._uuid,
                    "name": task.name,
                    "action": task.action,
                    "path": task.get_path(),
                    "role": None,
                    "tags": task.tags,
                    "handler": False,
                },
                "host": {"name": host.name},
                "changed": brought["changed"],
                "duration": time.monotonic() - started,
                "result": brought,
            }
            os.write(self.pipe, json.dumps(record).encode())
        return (time.process_time() - began) / copies

    def through_plugin(self, brought, copies):
        run, result = self.plugin.RUN, self.result(brought)
        self.callback.v2_runner_on_start(self.host, self.task)
        began = time.process_time()
        for _copy in range(copies):
            self.callback.v2_runner_on_ok(result)
        spent = (time.process_time() - began) / copies
        assert not run.failed
        # As the binary would have said.
        run.stream.serve(lambda: not run.stream.outbox, 10)
        run.stream.forget(run.seq)
        return spent

    def report(self):
        for name, brought in results():
            copies = COPIES[name]
            runs = [
                [way(brought, copies) for way in (self.plain, self.told, self.through_plugin)]
                for _round in range(ROUNDS)
            ]
            plain, told, through = (min(side) * 1e6 for side in zip(*runs))
            ratios = (through / plain, through / told)
            figures = (name, plain, told, through, *ratios)
            print("  %-12s %8.1f µs %8.1f µs %8.1f µs %6.2f %6.2f" % figures)


def main(versions):
    import venvs

    plugins = venvs.ROOT / "callback_plugins"
    heads = ("result", "result", "all told", "plugin", "to 1", "to 2")
    print("  %-12s %11s %11s %11s %6s %6s" % heads)
    for version in venvs.resolve(versions or ["2.16", "newest"]):
        place = venvs.ensure(version)
        if place is None or version.endswith("py2.7"):
            continue
        print(version, flush=True)
        command = [place / "bin/python", __file__, "--inside"]
        subprocess.run(command, check=True, env=dict(os.environ, PYTHONPATH=str(plugins)))


if __name__ == "__main__":
    if sys.argv[1:] == ["--inside"]:
        import ansible_notify

        Measure(ansible_notify).report()
    else:
        main(sys.argv[1:])
