"""What the program costs by itself."""

import json
import os
import re
import subprocess

from endpoint import nginx
from measure import compare, median, ratio, timed, timed_with_memory


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
