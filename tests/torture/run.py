#!/usr/bin/env python3
"""Kills the program at random, and checks that nothing that it answered for is lost.

    python3 tests/torture/run.py BINARY [--kills 1000] [--seed N]

Writers feed `stream` as the plugin does and note which events were answered as safe; `flush`
delivers beside them; every process is killed with SIGKILL after a random time. The endpoint refuses
one request in ten. At the end, without faults: every event that was answered as safe has arrived
with its content, none has arrived that nobody sent, the numbers add up, the file is sound, and a
fresh event passes.
"""

import argparse
import http.server
import json
import os
import random
import select
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

CONFIG = """
[inputs]
callback_url = http://127.0.0.1:%d/
on = any
concurrency = %d
[delivery]
drain = 200ms
[outputs]
text = result.stdout
"""
CONCURRENCY = 8


class Endpoint(http.server.ThreadingHTTPServer):
    """Counts what arrives; refuses some of it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, generator):
        super().__init__(("127.0.0.1", 0), Handler)
        self.generator = generator
        self.lock = threading.Lock()
        self.arrived = {}
        self.faults = True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that was killed is part of the torture."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        server = self.server
        with server.lock:
            refused = server.faults and server.generator.random() < 0.1
            if not refused:
                texts = server.arrived.setdefault(self.headers["webhook-id"], [])
                texts.append(json.loads(body)["text"])
        self.send_response(503 if refused else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Torture:
    def __init__(self, binary, directory, seed):
        self.binary = str(Path(binary).resolve())
        self.directory = directory
        self.generator = random.Random(seed)
        self.endpoint = Endpoint(random.Random(seed + 1))
        self.sent = {}
        self.safe = set()
        self.kills = 0
        config = directory / "plugin_config.ini"
        config.write_text(CONFIG % (self.endpoint.server_port, CONCURRENCY))
        config.chmod(0o600)
        self.environment = {"HOME": str(directory), "PATH": os.environ["PATH"]}

    def start(self, *arguments, **options):
        return subprocess.Popen(
            [self.binary, *arguments],
            cwd=self.directory,
            env=self.environment,
            stderr=subprocess.DEVNULL,
            **options,
        )

    def writer(self, name):
        """Feeds one `stream`, and kills it after a random time."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = self.start("stream", **pipes)
        lines = [json.dumps({"hello": {"protocol": 1, "run": {"id": name}}})]
        for seq in range(1, self.generator.randint(2, 400)):
            text = "%s %d %s" % (name, seq, "x" * self.generator.randint(0, 2000))
            host = {"name": "h%d" % self.generator.randint(0, 9)}
            event = {"seq": seq, "event": "runner_on_ok", "time": time.time(), "host": host}
            lines.append(json.dumps({"event": dict(event, result={"stdout": text})}))
            self.sent["%s-%d" % (name, seq)] = text
        feeder = threading.Thread(target=feed, args=(process.stdin, lines))
        feeder.start()
        answers = listen(process.stdout, self.generator.uniform(0.002, 0.25))
        process.kill()
        process.wait()
        # What it said before it died counts too.
        answers += process.stdout.read()
        feeder.join()
        self.kills += 1
        last = 0
        for line in answers.split(b"\n")[:-1]:
            last = max(last, json.loads(line).get("safe", 0))
        self.safe.update("%s-%d" % (name, seq) for seq in range(1, last + 1))

    def round(self, number):
        """Three writers at once beside a `flush --watch`, all of them killed."""
        flush = self.start("flush", "--watch", stdout=subprocess.DEVNULL)
        names = ["r%d-%d" % (number, writer) for writer in range(3)]
        writers = [threading.Thread(target=self.writer, args=(name,)) for name in names]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        flush.kill()
        flush.wait()
        self.kills += 1

    def finish(self):
        """Delivers the rest without faults, and gives what is wrong."""
        self.endpoint.faults = False
        deadline = time.monotonic() + 120
        while self.start("flush").wait() != 0:
            if time.monotonic() > deadline:
                return ["what waits is never delivered"]
        fresh = json.dumps({"id": "fresh", "state": "failed", "result": {"stdout": "fresh"}})
        self.sent["fresh"] = "fresh"
        sender = self.start("send", "-", stdin=subprocess.PIPE)
        sender.communicate(fresh.encode())
        self.safe.add("fresh")
        return self.wrong()

    def wrong(self):
        found = []
        arrived = self.endpoint.arrived
        lost = self.safe - set(arrived)
        if lost:
            found.append("%d events that were safe are lost: %s" % (len(lost), sorted(lost)[:5]))
        # The end of a run that was cut off is the program's own event, after the last it was sent.
        unknown = [event for event in arrived if event not in self.sent and not self.is_end(event)]
        if unknown:
            found.append("nobody sent: %s" % unknown[:5])
        changed = [
            event
            for event, texts in arrived.items()
            if event in self.sent and set(texts) != {self.sent[event]}
        ]
        if changed:
            found.append("changed on the way: %s" % changed[:5])
        repeated = sum(len(texts) - 1 for texts in arrived.values())
        if repeated > CONCURRENCY * self.kills:
            found.append("%d duplicates after %d kills" % (repeated, self.kills))
        status = subprocess.run(
            [self.binary, "status", "--json"],
            env=self.environment,
            capture_output=True,
            check=True,
        )
        for row in json.loads(status.stdout):
            if row["waiting"] or row["accepted"] != row["delivered"] + row["dead"] + row["dropped"]:
                found.append("the numbers do not add up: %s" % row)
        spool = sqlite3.connect(self.directory / ".local/state/ansible-notify/spool.db")
        found += [row[0] for row in spool.execute("PRAGMA integrity_check") if row[0] != "ok"]
        print(
            "%d kills, %d events sent, %d safe, %d arrived, %d duplicates"
            % (self.kills, len(self.sent), len(self.safe), len(arrived), repeated)
        )
        return found

    def is_end(self, event):
        name, _, number = event.rpartition("-")
        return number.isdigit() and (
            number == "1" or "%s-%d" % (name, int(number) - 1) in self.sent
        )


def feed(pipe, lines):
    """Writes the lines in bursts; whoever reads them may be gone."""
    try:
        with pipe:
            for start in range(0, len(lines), 50):
                pipe.write(("\n".join(lines[start : start + 50]) + "\n").encode())
                pipe.flush()
                time.sleep(0.01)
            time.sleep(1)
    except OSError:
        pass


def listen(pipe, seconds):
    """What comes out of the pipe within a time."""
    heard = b""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return heard
        piece = os.read(pipe.fileno(), 65536)
        if not piece:
            return heard
        heard += piece


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    print("seed %d" % arguments.seed)
    with tempfile.TemporaryDirectory() as directory:
        torture = Torture(arguments.binary, Path(directory), arguments.seed)
        number = 0
        while torture.kills < arguments.kills:
            torture.round(number)
            number += 1
        wrong = torture.finish()
    for text in wrong:
        print(text, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
