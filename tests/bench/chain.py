#!/usr/bin/env python3
"""Measures how many events a second a relay stores, and `deliver` accepts and delivers.

    python3 tests/bench/chain.py BINARY [--store spool|nats] [--events N] [--clients N]

Each client sends segments of 500 events on a connection of its own, and waits for each answer. The
endpoint is a file, so that no receiver limits the figures. All processes share this machine.
"""

import argparse
import gzip
import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "torture"))

from chain import Server, wait_for  # noqa: E402

SEGMENT = 500
RELAY = """
[relay]
listen = 127.0.0.1:0
spool = spool
max_size = 16GiB
%s
[tenant:t]
token = token-of-a-tenant
config = tenant.ini
"""
STORE = """store = nats
[nats]
servers = nats://127.0.0.1:%(client)s
monitor = http://127.0.0.1:%(monitor)s
replicas = 1
"""
TENANT = """
[notifier:archive]
type = file
path = archive.ndjson
on = any
batch = 500
"""
HEADERS = {
    "Authorization": "Bearer token-of-a-tenant",
    "Ansible-Notify-Format": "1",
    "Content-Encoding": "gzip",
}


def segment(client, number):
    """A segment of events like those of a play: about 1 KB each."""
    run = {"id": "run-%d" % client, "playbook": "site.yml", "path": "/srv/%d.yml" % client}
    lines = []
    for index in range(number * SEGMENT, (number + 1) * SEGMENT):
        event = {
            "schema": 1,
            "id": "run-%d-%d" % (client, index),
            "event": "runner_on_ok",
            "state": "success",
            "time": "2026-11-28T10:00:00.000000Z",
            "run": run,
            "host": {"name": "web%d" % (index % 64)},
            "task": {"id": "t%d" % (index // 64), "name": "Install the packages"},
            "result": {"stdout": "line %d\n" % index * 60, "rc": 0},
        }
        lines.append(json.dumps(event))
    return gzip.compress("\n".join(lines).encode(), 1)


def send(port, segments):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for body in segments:
        while True:
            connection.request("POST", "/v1/segments", body, HEADERS)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 202:
                break
            time.sleep(0.1)


class Bench:
    def __init__(self, binary, directory, store):
        self.command = [str(Path(binary).resolve())]
        self.directory = directory
        self.server = None
        lines = ""
        if store == "nats":
            self.server = Server(directory, "nats1", "-1", [])
            self.server.spawn(single=True)
            wait_for(self.server.is_healthy)
            lines = STORE % self.server.ports
        for name, text in (("relay.ini", RELAY % lines), ("tenant.ini", TENANT)):
            path = directory / name
            path.write_text(text)
            path.chmod(0o600)
        self.environment = {"HOME": str(directory), "PATH": os.environ["PATH"]}
        if store == "nats":
            subprocess.run(
                [*self.command, "relay", "init", "--config", "relay.ini", "--apply"],
                cwd=directory,
                env=self.environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        self.relay = self.start("relay")
        line = self.relay.stderr.readline().decode()
        self.port = int(line.strip().rpartition(":")[2])

    def start(self, name):
        command = [*self.command, name, "--config", "relay.ini"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.directory, env=self.environment, stderr=pipe)

    def delivered(self):
        """Lines of the endpoint's file."""
        path = self.directory / "archive.ndjson"
        if not path.exists():
            return 0
        with path.open("rb") as file:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))

    def stop(self, *processes):
        for process in processes:
            process.terminate()
            process.wait()
        if self.server:
            self.server.kill()


def measure(arguments, directory):
    bench = Bench(arguments.binary, directory, arguments.store)
    each = arguments.events // SEGMENT // arguments.clients
    segments = [
        [segment(client, number) for number in range(each)] for client in range(arguments.clients)
    ]
    total = each * arguments.clients * SEGMENT
    threads = [threading.Thread(target=send, args=(bench.port, part)) for part in segments]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = time.monotonic() - began
    processes = [bench.relay]
    # With a store outside, nothing was delivered until now.
    began = time.monotonic() if arguments.store != "spool" else began
    if arguments.store != "spool":
        processes.append(bench.start("deliver"))
    wait_for(lambda: bench.delivered() >= total, 1800)
    drained = time.monotonic() - began
    bench.stop(*processes)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "store": arguments.store,
        "events": total,
        "clients": arguments.clients,
        "stored per second": round(total / stored),
        "delivered per second": round(total / drained),
        "largest process, MiB": used.ru_maxrss >> 10,
        "CPU per event, us": round((used.ru_utime + used.ru_stime) * 1e6 / total, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--store", choices=["spool", "nats"], default="spool")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--clients", type=int, default=8)
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(parser.parse_args(), Path(directory)), indent=2))


if __name__ == "__main__":
    main()
