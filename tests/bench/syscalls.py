#!/usr/bin/env python3
"""Counts the system calls that one event takes in a play, and compares them with the baseline.

    python3 tests/bench/syscalls.py target/release/ansible-notify [--keep]

Plays of 500 results of 10 hosts. Two of them have 100 results a second, one by one or those of all
hosts together, and deliver them; how many share a commit depends on how busy the machine is. The
third only stores them, each task once the one before is safe: that depends on nothing else, and
10 % more than the baseline fail. --keep makes what is counted the baseline.
"""

import io
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import binary
import measure
from endpoint import DEAD, nginx

ROOT = Path(__file__).resolve().parents[2]
BASELINE = Path(__file__).resolve().with_name("syscalls.json")
HOSTS, TASKS = 10, 50
EVENTS = HOSTS * TASKS
EVENTS_PER_SECOND = 100
# Calls that say most about the disk and about waking up.
SHOWN = ("fsync", "pwrite64", "fcntl", "flock", "statx", "epoll_wait", "futex", "write")


class Play:
    """The lines of a play: its beginning, those of each task, and its end."""

    def __init__(self, name):
        lines = io.StringIO()
        binary.write_stream(lines, EVENTS, name, hosts=HOSTS)
        lines = lines.getvalue().splitlines(keepends=True)
        first = next(number for number, line in enumerate(lines) if line.startswith('{"event"'))
        self.begin = "".join(lines[:first])
        self.events = lines[first : first + EVENTS]
        self.end = "".join(lines[first + EVENTS :])


def count(bench, config, play, feed):
    """The system calls of a `stream` by name; `feed` writes the events of the play."""
    counts = bench.directory / "counts"
    strace = ["strace", "-f", "-c", "-U", "calls,name", "-o", counts]
    child = subprocess.Popen(
        [str(word) for word in (*strace, bench.binary, "stream", "--config", config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, XDG_STATE_HOME=str(bench.directory / "state")),
    )
    write(child, play.begin)
    feed(child, play.events)
    _, said = child.communicate(play.end)
    assert "%d events, %d deliveries: " % (EVENTS, EVENTS) in said, said
    found = re.findall(r"(\d+) (\w+)$", counts.read_text(), re.MULTILINE)
    return {name: int(calls) for calls, name in found}


def write(child, text):
    child.stdin.write(text)
    child.stdin.flush()


def delivered(bench, together):
    """A play at the usual pace, so many results at a time."""

    def feed(child, events):
        begun = time.monotonic()
        for number in range(0, EVENTS, together):
            due = begun + (number + together) / EVENTS_PER_SECOND
            time.sleep(max(0, due - time.monotonic()))
            write(child, "".join(events[number : number + together]))

    with nginx(bench) as url:
        config = bench.config("delivered.ini", url)
        return count(bench, config, Play("delivered-%d" % together), feed)


def stored(bench):
    """A play that is stored and not delivered; each task waits until the one before is safe."""

    def feed(child, events):
        for number in range(0, EVENTS, HOSTS):
            write(child, "".join(events[number : number + HOSTS]))
            safe = 0
            while safe < number + HOSTS:
                safe = json.loads(child.stdout.readline()).get("safe", 0)

    config = bench.config("stored.ini", DEAD, drain="0")
    return count(bench, config, Play("stored"), feed)


def show(label, counts):
    parts = ", ".join("%s %.2f" % (name, counts.get(name, 0) / EVENTS) for name in SHOWN)
    print("%s: %.1f system calls an event; %s" % (label, counts["total"] / EVENTS, parts))


def main():
    arguments = measure.baseline_arguments(__doc__)
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        bench = measure.Bench(arguments.binary, Path(directory))
        show("delivered, one by one", delivered(bench, 1))
        show("delivered, task by task", delivered(bench, HOSTS))
        to_disk = stored(bench)
        show("stored, task by task", to_disk)
    counted = round(to_disk["total"] / EVENTS, 2)
    if arguments.keep:
        BASELINE.write_text(json.dumps({"stored, task by task": counted}) + "\n")
    if counted > json.loads(BASELINE.read_text())["stored, task by task"] * measure.MOST:
        measure.fail_above_baseline("syscalls.py", arguments.binary)


if __name__ == "__main__":
    main()
