#!/usr/bin/env python3
"""Counts the instructions that one event takes, and compares them with those of the baseline.

    python3 tests/bench/instructions.py target/release/ansible-notify [--keep]

Counts do not depend on what else the machine does: they differ by less than 1 % from run to run,
and 10 % more than the baseline fail. They do depend on the compiler, the C library and what the
processor offers, so a baseline says of which it is, and is compared with nothing else. --keep
makes what is counted the baseline.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import binary
import measure
from endpoint import DEAD, nginx

ROOT = Path(__file__).resolve().parents[2]
BASELINE = Path(__file__).resolve().with_name("instructions.json")
EVENTS = 1000


def toolchain():
    """What else the counts depend on."""
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    wanted = {"avx2", "avx512bw", "erms"}
    return {
        "rustc": rustc.stdout.strip(),
        "libc": " ".join(platform.libc_ver()),
        "processor": " ".join([platform.machine(), *sorted(wanted & set(flags[1].split()))]),
    }


def count(command, directory, stdin=None):
    """How many instructions a command takes, all threads and libraries included."""
    state = directory / "state"
    shutil.rmtree(state, ignore_errors=True)
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + os.devnull]
    done = subprocess.run(
        [*valgrind, *(str(word) for word in command)],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=dict(os.environ, XDG_STATE_HOME=str(state)),
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found:
        raise SystemExit("valgrind failed:\n" + done.stderr)
    return int(found[1]), done.stderr


def each(count_of):
    """What each event takes beside what a start takes: that of many, less that of one."""
    return (count_of(EVENTS) - count_of(1)) / (EVENTS - 1)


def to_request(bench):
    """From a line of a file to the request that would go, templates included."""
    config = bench.config("request.ini", DEAD)

    def count_of(events):
        path = bench.write("events.ndjson", "")
        with path.open("w") as file:
            for number in range(events):
                binary.write_event(file, number)
        command = [bench.binary, "send", "--dry-run", "--config", config, path]
        return count(command, bench.directory)[0]

    return each(count_of)


def to_spool(bench, record="failed"):
    """From a record of the plugin to the disk."""
    config = bench.config("spool.ini", DEAD, drain="0", record=record)
    return of_stream(bench, config, " pending")


def to_spool_unrecorded(bench):
    """The same without the record of runs."""
    return to_spool(bench, record="off")


def to_answer(bench):
    """From a record of the plugin through the spool to the endpoint, one POST each, and back."""
    with nginx(bench) as url:
        return of_stream(bench, bench.config("answer.ini", url), " delivered")


def of_stream(bench, config, ended):
    def count_of(events):
        path = bench.write("stream.ndjson", "")
        with path.open("w") as file:
            binary.write_stream(file, events, "count")
        with path.open() as file:
            command = [bench.binary, "stream", "--config", config]
            counted, said = count(command, bench.directory, file)
        assert ended in said, said
        return counted

    return each(count_of)


PATHS = {
    "to the request": to_request,
    "to the spool": to_spool,
    "to the spool, unrecorded": to_spool_unrecorded,
    "to the answer": to_answer,
}


def compare(counted, tools):
    """Prints the counts beside the baseline; whether one of them is a regression."""
    baseline = json.loads(BASELINE.read_text())
    other = {name: baseline[name] for name in tools if baseline[name] != tools[name]}
    if other:
        was = ", ".join("%s (here %s)" % (was, tools[name]) for name, was in other.items())
        print("not compared: the baseline is of %s" % was)
    worse = False
    for name, instructions in counted.items():
        ratio = instructions / baseline["instructions"].get(name, instructions)
        compared = "" if other else ", %.3f of the baseline" % ratio
        print("%s: %d instructions an event%s" % (name, instructions, compared))
        worse |= not other and ratio > measure.MOST
    return worse


def main():
    arguments = measure.baseline_arguments(__doc__)
    tools = toolchain()
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        bench = measure.Bench(arguments.binary, Path(directory))
        counted = {name: round(path(bench)) for name, path in PATHS.items()}
    if arguments.keep:
        kept = json.dumps({**tools, "instructions": counted}, indent=2)
        BASELINE.write_text(kept + "\n")
    if compare(counted, tools):
        measure.fail_above_baseline("instructions.py", arguments.binary)


if __name__ == "__main__":
    main()
