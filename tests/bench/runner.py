"""Runs of ansible-runner whose endpoint is in every kind of trouble, with and without plugins."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import venvs
from measure import median, ratio

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runner"))

import package  # noqa: E402
from receiver import Receiver  # noqa: E402

# 504 of the events come from the tasks, three from the run; three statuses beside them.
EVENTS = 507
HOSTS = ["host%d" % number for number in range(10)]
TASKS = "".join("    - debug: {msg: task %d}\n" % number for number in range(24))
PLAYBOOK = "- hosts: all\n  gather_facts: false\n  tasks:\n" + TASKS
# What the other plugin does with an endpoint that never answers does not end by itself.
PATIENCE = 60

TROUBLE = {
    "0 ms": {},
    "50 ms": {"delay": 0.05},
    "refusing": None,
    "hanging": {"hangs": True},
    "500": {"status": 500},
    "401": {"status": 401},
    "302": {"status": 302},
    "dying after 20": {"dies_after": 20},
}


def in_the_runner(bench):
    """About 500 events into each kind of endpoint."""
    place = venvs.ensure("runner-2.4")
    if place is None:
        raise SystemExit("no Python here for ansible-runner 2.4")
    ours = package.install(bench.directory / "packages")
    theirs = venvs.emitter(place)
    private = bench.directory / "private"
    for folder in ("project", "inventory", "env"):
        (private / folder).mkdir(parents=True)
    (private / "project/site.yml").write_text(PLAYBOOK)
    inventory = "[all]\n%s\n[all:vars]\nansible_connection=local\n" % "\n".join(HOSTS)
    (private / "inventory/hosts").write_text(inventory)
    rounds = 2 if bench.quick else 7
    print("ansible-runner 2.4.3, 10 hosts x 24 debug tasks. Wall time of `ansible-runner run`.\n")
    print("| endpoint | no plugin, s | ansible-notify, s | to no plugin | ", end="")
    print("delivered, pending, dead | ansible-runner-http, s | its run |")
    print("|---|---|---|---|---|---|---|")
    for name, options in TROUBLE.items():
        bare, with_ours, kept = [], [], ""
        for _ in range(rounds):
            bare.append(run(bench, place, private, None, None)["wall"])
            found, kept = with_notify(bench, place, private, ours, options)
            assert found["result"] == "successful, rc 0, %d event files" % EVENTS, (name, found)
            with_ours.append(found["wall"])
        receiver = Receiver(**options) if options is not None else None
        other = run(bench, place, private, theirs, url_of(receiver))
        row = (name, median(bare), median(with_ours), ratio(with_ours, bare), kept)
        print("| %s | %.2f | %.2f | %s | %s | " % row, end="")
        print("%s%.2f | %s |" % ("> " if other["cut"] else "", other["wall"], other["result"]))
        stop(receiver)
    print()


def with_notify(bench, place, private, packages, options):
    """A run with the plugin, and what became of its records once the binary has ended."""
    receiver = Receiver(**options) if options is not None else None
    state = bench.directory / "state"
    shutil.rmtree(state, ignore_errors=True)
    environment = {"ANSIBLE_NOTIFY_BINARY": str(bench.binary), "XDG_STATE_HOME": str(state)}
    found = run(bench, place, private, packages, url_of(receiver), **environment)
    while subprocess.run(["pgrep", "-f", "%s stream" % bench.binary], capture_output=True).stdout:
        time.sleep(0.2)
    status = subprocess.run(
        [str(bench.binary), "status", "--json"],
        env=dict(os.environ, **environment),
        capture_output=True,
        check=True,
    )
    [row] = json.loads(status.stdout)
    stop(receiver)
    assert row["accepted"] == row["delivered"] + row["waiting"] + row["dead"] == EVENTS + 3, row
    return found, "%d, %d, %d" % (row["delivered"], row["waiting"], row["dead"])


def url_of(receiver):
    return receiver.url if receiver else "http://127.0.0.1:1/"


def stop(receiver):
    if receiver:
        receiver.stop()


def run(bench, place, private, packages, url, **environment):
    """The wall time of a run, whether it had to be cut off, and what it left behind."""
    shutil.rmtree(private / "artifacts", ignore_errors=True)
    everything = dict(os.environ, PATH="%s:%s" % (place / "bin", os.environ["PATH"]), **environment)
    if packages is not None:
        everything.update(PYTHONPATH=str(packages), RUNNER_HTTP_URL=url)
    command = [place / "bin/ansible-runner", "run", private, "-p", "site.yml", "--ident", "job"]
    began = time.monotonic()
    cut = False
    with subprocess.Popen(
        [*map(str, command), "--quiet"],
        env=everything,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            cut = True
            os.killpg(process.pid, 9)
    wall = time.monotonic() - began
    job = private / "artifacts/job"
    files = len(list(job.glob("job_events/[0-9]*-*.json")))
    read = lambda name: (job / name).read_text() if (job / name).exists() else "none"  # noqa: E731
    result = "%s, rc %s, %d event files" % (read("status"), read("rc"), files)
    return {"wall": wall, "cut": cut, "result": "killed, " + result if cut else result}
