#!/usr/bin/env python3
"""Measures the program beside what one would use in its place, and prints a report in Markdown.

    python3 tests/bench/run.py BINARY [--quick] [--only SECTION] [--write docs]

All that is compared is run in turn, A B A B ..., because machines change their speed; the figures
are medians, and the ratios are medians of the ratios of each pair. With --write the tables of
docs/benchmarks.md and its plots are made anew.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "ansible"))

import binary  # noqa: E402
import growth  # noqa: E402
import play  # noqa: E402
import record  # noqa: E402
import runner  # noqa: E402
from measure import Bench  # noqa: E402
from report import Report  # noqa: E402

import spool  # noqa: E402

# What there is to measure, by the name of its part in docs/benchmarks.md.
SECTIONS = {
    "one-event": binary.one_event,
    "start-up": binary.startup,
    "stream": binary.stream,
    "large": binary.large,
    "growth": growth.events_and_hosts,
    "waiting": growth.waiting,
    "spool": spool.waiting,
    "record": record.cost,
    "dead-notifier": spool.beside_a_dead_one,
    "play": play.in_the_play,
    "endpoints": play.endpoints,
    "sizes": play.sizes,
    "own-data": play.own_data,
    "ansible-runner": runner.in_the_runner,
}


def machine(arguments):
    size = arguments.binary.stat().st_size / 1e6
    facts = (platform.machine(), os.cpu_count(), platform.release(), platform.python_version())
    print("%s, %d CPUs, Linux %s, Python %s; the binary has %.2f MB" % (*facts, size))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--only", action="append", choices=SECTIONS, help="one section, or more")
    parser.add_argument("--quick", action="store_true", help="fewer runs, to try the script")
    parser.add_argument("--all", action="store_true", help="every combination, which takes hours")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the results into DOCS")
    arguments = parser.parse_args()
    for tool in ("nginx", "openssl", "curl", "wrk"):
        if not shutil.which(tool):
            raise SystemExit("%s is missing; `make bench` installs it" % tool)
    report = Report(arguments.write)
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        # The spool goes where the target directory is: on a disk, with a real fsync.
        os.environ["XDG_STATE_HOME"] = directory
        bench = Bench(arguments.binary, Path(directory), report, arguments.quick, arguments.all)
        with report.section("machine"):
            machine(arguments)
        for name, measure in SECTIONS.items():
            if not arguments.only or name in arguments.only:
                with report.section(name):
                    measure(bench)


if __name__ == "__main__":
    main()
