#!/usr/bin/env python3
"""Measures the program beside what one would use in its place, and prints a report in Markdown.

    python3 tests/bench/run.py target/release/ansible-notify [--quick]

All that is compared is run in turn, A B A B ..., because machines change their speed; the figures
are medians, and the ratios are medians of the ratios of each pair.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "ansible"))
import venvs  # noqa: E402

OUTPUTS = "[outputs]\nstate = state\ntask_name = task_name\ntask_output = task_output\n"
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
%s
"""


class Bench:
    def __init__(self, binary, directory, quick):
        self.binary = Path(binary).resolve()
        self.directory = directory
        self.quick = quick

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def config(self, name, url, drain="60s"):
        text = "[inputs]\ncallback_url = %s\n[delivery]\ndrain = %s\n%s" % (url, drain, OUTPUTS)
        return self.write(name, text)


def timed(command, **options):
    """The wall time, CPU time and exit code of a command, and what it said on standard error."""
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
    if done.returncode != 0:
        raise SystemExit("%s failed: %s" % (command[0], done.stderr))
    return wall, cpu, done.stderr


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


@contextlib.contextmanager
def receiver(bench, *arguments):
    """A running `receive`; gives its URL."""
    child = subprocess.Popen(
        [bench.binary, "receive", "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child.stderr.readline().split()[-1]
    finally:
        child.kill()
        child.communicate()


@contextlib.contextmanager
def nginx(bench):
    """A running nginx that answers 204 at once; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = bench.write(
        "nginx.conf",
        "daemon off; pid nginx.pid; error_log error.log; worker_processes 1;"
        "events { worker_connections 256; }"
        "http { access_log off; keepalive_requests 100000000;"
        " client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;"
        " uwsgi_temp_path uwsgi; scgi_temp_path scgi;"
        " server { listen 127.0.0.1:%d; location / { return 204; } } }" % port,
    )
    command = ["nginx", "-p", str(bench.directory), "-c", str(config)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        yield "http://127.0.0.1:%d/events" % port
    finally:
        child.terminate()
        child.wait()


def in_the_play(bench):
    """10 hosts x 50 tasks into an endpoint that takes 50 ms."""
    version, place = newest_ansible()
    tasks = "".join("    - debug: {msg: task %d}\n" % number for number in range(50))
    playbook = bench.write("bench.yml", PLAYBOOK % tasks)
    hosts = ",".join("host%d" % number for number in range(10)) + ","
    pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "requests"]
    subprocess.run(pip, check=True)
    said = []
    with receiver(bench, "--delay", "50ms") as url:
        waits = bench.config("waits.ini", url)
        leaves = bench.config("leaves.ini", url, drain="0")

        def play(config=waits, **environment):
            command = [place / "bin/ansible-playbook", "-i", hosts, "-c", "local", "-f", "10"]
            command.append(playbook)
            plugins = "%s:%s" % (ROOT / "callback_plugins", HERE / "callback_plugins")
            everything = dict(
                os.environ,
                ANSIBLE_CALLBACK_PLUGINS=plugins,
                ANSIBLE_NOTIFY_BINARY=str(bench.binary),
                ANSIBLE_NOTIFY_CONFIG=str(config),
                ANSIBLE_PYTHON_INTERPRETER=sys.executable,
                BENCH_URL=url,
                **environment,
            )
            wall, cpu, stderr = timed(command, env=everything, cwd=bench.directory)
            said.extend(re.findall(r"\d+ events: .*", stderr))
            return wall, cpu

        times = compare(
            2 if bench.quick else 7,
            none=play,
            leaves=lambda: play(leaves, ANSIBLE_CALLBACKS_ENABLED="ansible_notify"),
            notify=lambda: play(ANSIBLE_CALLBACKS_ENABLED="ansible_notify"),
        )
        blocking = play(ANSIBLE_CALLBACKS_ENABLED="post_each")[0]
    # What did not wait is delivered all the same, by the next run.
    assert all(re.match("500 events: .* 0 dead", line) for line in said), said
    wall = {name: [wall for wall, _ in measured] for name, measured in times.items()}
    print("## In the play\n")
    print("ansible-core %s, 10 hosts x 50 debug tasks, 10 forks, endpoint at 50 ms." % version)
    print("Wall time.\n")
    print("| callback | seconds | to no callback |\n|---|---|---|")
    print("| none | %.2f | 1 |" % median(wall["none"]))
    for name, label in (("leaves", "`drain = 0`"), ("notify", "all delivered at the end")):
        figures = (label, median(wall[name]), ratio(wall[name], wall["none"]))
        print("| ansible-notify, %s | %.2f | %s |" % figures)
    figures = (blocking, blocking / median(wall["none"]))
    print("| `requests.post` for each result | %.2f | %.2f |" % figures)
    print()


def newest_ansible():
    name = venvs.resolve(["newest"])[0]
    place = venvs.ensure(name)
    script = "import ansible; print(ansible.__version__)"
    found = subprocess.run(
        [place / "bin/python", "-c", script], capture_output=True, text=True, check=True
    )
    return found.stdout.strip(), Path(place)


def one_event(bench):
    """`send` of one event beside curl with the same body."""
    event = {"state": "success", "host": "h", "task": "t", "result": {"stdout": "hello world"}}
    body = {"state": "success", "task_name": "t", "task_output": "hello world"}
    event = bench.write("event.json", json.dumps(event))
    body = bench.write("body.json", json.dumps(body))
    with nginx(bench) as url:
        config = bench.config("send.ini", url)
        send = [bench.binary, "send", "--quiet", "--config", config, event]
        curl = ["curl", "-sS", "-o", os.devnull, "-H", "content-type: application/json"]
        curl += ["-d", "@%s" % body, url]
        times = compare(
            20 if bench.quick else 200,
            send=lambda: timed(send)[:2],
            curl=lambda: timed(curl)[:2],
        )
    print("## One event\n")
    print("A POST of the same body to nginx on loopback, process start included.\n")
    print("| command | wall ms | CPU ms |\n|---|---|---|")
    for name in ("send", "curl"):
        wall = median([wall for wall, _ in times[name]])
        cpu = median([cpu for _, cpu in times[name]])
        print("| %s | %.2f | %.2f |" % (name, wall * 1e3, cpu * 1e3))
    send, curl = ([wall for wall, _ in times[name]] for name in ("send", "curl"))
    print("\n`send` to `curl`, wall time: %s\n" % ratio(send, curl))


def stream(bench):
    """100,000 events through `stream`, beside what wrk reaches on the same endpoint."""
    count = 20_000 if bench.quick else 100_000
    script = bench.write(
        "post.lua",
        'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
        'wrk.body = [[{"state":"success","task_name":"t","task_output":"hello world"}]]\n',
    )
    seconds = 2 if bench.quick else 5
    rates = {"stream": [], "wrk": []}
    memory = []
    cpu_each = []
    with nginx(bench) as url:
        config = bench.config("stream.ini", url)
        for run in range(3):
            path = bench.write("stream.ndjson", "")
            with path.open("w") as file:
                # An id is delivered only once, so every run has its own.
                write_stream(file, count, "bench-%d" % run)
            with path.open() as file:
                command = [bench.binary, "stream", "--config", config]
                wall, cpu, peak = timed_with_memory(command, file, bench.directory / "said")
            said = (bench.directory / "said").read_text()
            assert "%d events: %d delivered, 0 waiting, 0 dead" % (count, count) in said, said
            rates["stream"].append(count / wall)
            cpu_each.append(cpu / count * 1e6)
            memory.append(peak)
            command = ["wrk", "-t1", "-c16", "-d%ds" % seconds, "-s", str(script), url]
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rates["wrk"].append(float(re.search(r"Requests/sec:\s+([\d.]+)", found).group(1)))
    print("## A stream of events\n")
    print("%d events of 16 hosts, one POST each, to nginx on loopback, 16 connections.\n" % count)
    print("| | requests a second |\n|---|---|")
    for name, values in rates.items():
        print("| %s | %d |" % (name, median(values)))
    print("\n`stream` to `wrk`: %s" % ratio(rates["stream"], rates["wrk"]))
    print("\nCPU an event: %.1f us; peak resident: %.1f MiB\n" % (median(cpu_each), max(memory)))


def write_stream(file, count, run):
    def record(**content):
        file.write(json.dumps(content) + "\n")

    record(hello={"protocol": 1, "run": {"id": run}})
    record(play={"id": "1", "name": "p"})
    record(task={"id": "1", "name": "t"})
    result = {"changed": True, "stdout": "hello world", "stderr": "", "rc": 0, "cmd": ["echo"]}
    event = {"event": "runner_on_ok", "time": 1763670121.5, "play": "1", "task": "1"}
    for number in range(1, count + 1):
        host = {"name": "h%d" % (number % 16)}
        record(event=dict(event, seq=number, host=host, result=result))
    record(end={"reason": "exit"})


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
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--quick", action="store_true", help="fewer runs, to try the script")
    arguments = parser.parse_args()
    for tool in ("nginx", "curl", "wrk"):
        if not shutil.which(tool):
            raise SystemExit("%s is missing; `make bench` installs it" % tool)
    size = Path(arguments.binary).stat().st_size / 1e6
    cpus = os.cpu_count()
    print("%s, %d CPUs, Python %s\n" % (platform.machine(), cpus, platform.python_version()))
    print("Binary: %.2f MB\n" % size)
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as directory:
        # The spool goes where the target directory is: on a disk, with a real fsync.
        os.environ["XDG_STATE_HOME"] = directory
        bench = Bench(arguments.binary, Path(directory), arguments.quick)
        one_event(bench)
        stream(bench)
        in_the_play(bench)


if __name__ == "__main__":
    main()
