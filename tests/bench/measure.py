"""What every measurement uses: a directory to work in, times of commands, medians and ratios."""

import argparse
import contextlib
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

# How much more than the baseline is a regression.
MOST = 1.10
OUTPUTS = "[outputs]\nstate = state\ntask_name = task_name\ntask_output = task_output\n"


class Bench:
    """A binary, a directory to work in, and how much is to be measured."""

    def __init__(self, binary, directory, report=None, quick=False, everything=False):
        self.binary = binary.resolve()
        self.directory = directory
        self.report = report
        self.quick = quick
        self.everything = everything

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def config(self, name, url, drain="60s", record="failed"):
        delivery = "[delivery]\ndrain = %s\nrecord = %s\n" % (drain, record)
        text = "[inputs]\ncallback_url = %s\n%s%s" % (url, delivery, OUTPUTS)
        return self.write(name, text)


def timed(command, codes=(0,), **options):
    """The wall time and CPU time of a command, and what it said; other exit codes end it all."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode not in codes:
        raise SystemExit("%s failed: %s" % (command[0], done.stderr))
    return wall, cpu, done.stderr


def timed_with_memory(command, stdin, said):
    """Wall and CPU seconds, and the peak resident memory in MiB."""
    started = time.monotonic()
    with said.open("w") as stderr:
        child = subprocess.Popen(
            [str(word) for word in command], stdin=stdin, stdout=subprocess.DEVNULL, stderr=stderr
        )
    peak = 0.0
    while True:
        # What the system counts for a finished child begins with this process's own size.
        with contextlib.suppress(OSError):
            status = Path("/proc/%d/status" % child.pid).read_text()
            found = re.search(r"VmHWM:\s+(\d+)", status)
            peak = max(peak, int(found.group(1)) / 1024 if found else 0)
        pid, _, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            wall = time.monotonic() - started
            return wall, usage.ru_utime + usage.ru_stime, peak
        time.sleep(0.002)


def compare(runs, **commands):
    """The wall and CPU times of several commands, run in turn."""
    times = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, command in commands.items():
            times[name].append(command())
    # The first round warms the caches.
    return {name: measured[1:] for name, measured in times.items()}


def median(values):
    return statistics.median(values)


def ratio(a, b):
    """The median of the ratios of each pair, and its range."""
    ratios = sorted(x / y for x, y in zip(a, b))
    return "%.2f (%.2f to %.2f)" % (median(ratios), ratios[0], ratios[-1])


def baseline_arguments(description):
    """The command line of a count that is compared with a baseline."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--keep", action="store_true", help="make this the baseline")
    return parser.parse_args()


def fail_above_baseline(script, binary):
    print(
        "an event takes over %d %% more than the baseline; find out why, or keep it with\n"
        "    python3 tests/bench/%s %s --keep" % ((MOST - 1) * 100 + 0.5, script, binary)
    )
    sys.exit(1)
