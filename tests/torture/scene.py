"""A spool, an endpoint that counts what arrives, and what must hold in the end."""

import http.server
import json
import os
import random
import select
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

CONFIG = """
[inputs]
callback_url = http://127.0.0.1:%d/
on = any
concurrency = %d
[delivery]
drain = %s
[outputs]
text = task_output
host = host
task = task_name
"""
CONCURRENCY = 8


class Endpoint(http.server.ThreadingHTTPServer):
    """Keeps what arrives, in its order; refuses one request in ten as long as it has faults."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, generator, faults):
        super().__init__(("127.0.0.1", 0), Handler)
        self.generator = generator
        self.faults = faults
        self.lock = threading.Lock()
        # (id, body) of each request that was answered with success.
        self.arrived = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A client that was killed is part of the torture."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server = self.server
        with server.lock:
            refused = server.faults and server.generator.random() < 0.1
            if not refused:
                server.arrived.append((self.headers["webhook-id"], body))
        status = b"503 Service Unavailable" if refused else b"204 No Content"
        self.wfile.write(b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % status)

    def log_message(self, *arguments):
        pass


class Scene:
    def __init__(self, binary, directory, seed, faults=True, drain="200ms"):
        self.binary = str(Path(binary).resolve())
        self.directory = Path(directory)
        self.directory.mkdir(exist_ok=True)
        self.generator = random.Random(seed)
        self.endpoint = Endpoint(random.Random(seed + 1), faults)
        self.state = self.directory / ".local/state/ansible-notify"
        self.config = self.directory / "plugin_config.ini"
        self.config.write_text(CONFIG % (self.endpoint.server_port, CONCURRENCY, drain))
        self.config.chmod(0o600)
        self.environment = {"HOME": str(directory), "PATH": os.environ["PATH"]}
        # What each event said, by its id, and the ids that the program answered for.
        self.sent = {}
        self.safe = set()

    def start(self, *arguments, **options):
        options.setdefault("stderr", subprocess.DEVNULL)
        command = [self.binary, *arguments]
        return subprocess.Popen(command, cwd=self.directory, env=self.environment, **options)

    def records(self, name, count, hosts=10, most=2000):
        """The lines of a run whose events are of hosts at random."""
        lines = [json.dumps({"hello": {"protocol": 1, "run": {"id": name}}})]
        for seq in range(1, count + 1):
            text = "%s %d %s" % (name, seq, "x" * self.generator.randint(0, most))
            host = {"name": "h%d" % self.generator.randrange(hosts)}
            event = {"seq": seq, "event": "runner_on_ok", "time": time.time(), "host": host}
            lines.append(json.dumps({"event": dict(event, result={"stdout": text})}))
            self.sent["%s-%d" % (name, seq)] = text
        return lines

    def writer(self, name, count, seconds):
        """Feeds one `stream`, and kills it after a time."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = self.start("stream", **pipes)
        lines = self.records(name, count)
        feeder = threading.Thread(target=feed, args=(process.stdin, lines))
        feeder.start()
        answers = listen(process.stdout, seconds)
        process.kill()
        process.wait()
        # What it said before it died counts too.
        answers += process.stdout.read()
        feeder.join()
        self.note(name, answers)

    def write_beside_flush(self, writers):
        """Several writers at once beside a `flush --watch`, until all of them are killed."""
        flush = self.start("flush", "--watch", stdout=subprocess.DEVNULL)
        threads = [threading.Thread(target=self.writer, args=writer) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        flush.kill()
        flush.wait()

    def note(self, name, answers):
        """Notes what a run was told to be safe."""
        last = 0
        for line in answers.split(b"\n")[:-1]:
            last = max(last, json.loads(line).get("safe", 0))
        known = ("%s-%d" % (name, seq) for seq in range(1, last + 1))
        self.safe.update(event for event in known if event in self.sent)

    def deliver_all(self, seconds=300):
        """Delivers what waits, without faults. What is wrong."""
        self.endpoint.faults = False
        deadline = time.monotonic() + seconds
        while self.start("flush", stdout=subprocess.DEVNULL).wait() != 0:
            if time.monotonic() > deadline:
                return ["what waits is never delivered"]
        return []

    def send_fresh(self):
        fresh = json.dumps({"id": "fresh", "state": "failed", "result": {"stdout": "fresh"}})
        self.sent["fresh"] = "fresh"
        self.start("send", "-", stdin=subprocess.PIPE).communicate(fresh.encode())
        self.safe.add("fresh")

    def finish(self):
        """Everything that must hold in the end. What is wrong, and how many came more than once."""
        wrong = self.deliver_all()
        self.send_fresh()
        wrong += self.wrong_arrivals() + self.wrong_numbers()
        repeated = len(self.endpoint.arrived) - len({event for event, _ in self.endpoint.arrived})
        return wrong, repeated

    def wrong_arrivals(self):
        arrived = {}
        for event, body in self.endpoint.arrived:
            arrived.setdefault(event, set()).add(body["text"])
        lost = sorted(self.safe - set(arrived))
        # The end of a run that was cut off is the program's own event.
        unknown = [event for event in arrived if event not in self.sent and not self.is_end(event)]
        sent = self.sent.items()
        changed = [event for event, text in sent if arrived.get(event, {text}) != {text}]
        found = []
        for what, events in (("lost", lost), ("nobody sent", unknown), ("changed", changed)):
            if events:
                found.append("%s: %d, such as %s" % (what, len(events), events[:5]))
        return found

    def wrong_numbers(self):
        command = [self.binary, "status", "--json"]
        status = subprocess.run(command, env=self.environment, capture_output=True, check=True)
        found = []
        for row in json.loads(status.stdout):
            if row["waiting"] or row["accepted"] != row["delivered"] + row["dead"] + row["dropped"]:
                found.append("the numbers do not add up: %s" % row)
        # Only to read: else closing it would write, on a disk that power.py does not see.
        spool = sqlite3.connect("file:%s/spool.db?mode=ro" % self.state, uri=True)
        found += [row[0] for row in spool.execute("PRAGMA integrity_check") if row[0] != "ok"]
        spool.close()
        return found

    def is_end(self, event):
        return event.endswith("-end") and event[:-3] + "1" in self.sent


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
