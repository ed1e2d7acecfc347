"""Peers that talk without end, or drop by drop, beside healthy ones: the healthy ones get every
event, and the memory of the program stays small."""

import json
import socket
import subprocess
import threading
import time
from pathlib import Path

from scene import Scene

# The most that the program may take, in KiB.
MOST_MEMORY = 64 << 10
HOSTS = 16
HEALTHY = 3

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)
READY = b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PULL"
SUBSCRIPTION = b"\x04\x0b\x09SUBSCRIBEx"
OK = b"HTTP/1.1 200 OK\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\n\r\n"
DRIP = 0.2

WEBHOOK = "type = webhook\nurl = http://127.0.0.1:%d/"
PROXY = "type = webhook\nurl = https://ops.invalid/\nproxy = http://127.0.0.1:%d"
MAIL = (
    "type = email\nhost = 127.0.0.1\nport = %d\nencryption = none\n"
    "from = a@example.com\nto = b@example.com"
)
IRC = "type = irc\nserver = 127.0.0.1\nport = %d\ntls = false\ntargets = #ops"
ZEROMQ = "type = zeromq\nurl = tcp://127.0.0.1:%d"

# Who it is, what comes once, what comes again and again, and whether slowly.
FLOODS = {
    "informational": (WEBHOOK, b"", EARLY, False),
    "headers": (WEBHOOK, OK, b"X-A: b\r\n", False),
    "header": (WEBHOOK, OK + b"X-A: ", b"x", False),
    "body": (WEBHOOK, b"HTTP/1.1 503 No\r\n\r\n", b"x", False),
    "drip": (WEBHOOK, OK, b"X", True),
    "proxy": (PROXY, b"", EARLY, False),
    "mail-lines": (MAIL, b"", b"220-hello\r\n", False),
    "mail-line": (MAIL, b"220 ", b"x", False),
    "mail-drip": (MAIL, b"220-", b"x", True),
    "irc-lines": (IRC, b"", b":s NOTICE * :hello\r\n", False),
    "irc-pings": (IRC, b"", b"PING :x\r\n", False),
    "irc-line": (IRC, b"", b"x", False),
    "zeromq-noise": (ZEROMQ, b"", b"x", False),
    "zeromq-topics": (ZEROMQ, GREETING + READY, SUBSCRIPTION, False),
    "zeromq-frames": (ZEROMQ, GREETING + READY, b"\0\0", False),
}


class Flood:
    """Says what it says to everybody who comes, as fast as they listen."""

    def __init__(self, first, then, slowly):
        self.first, self.then, self.slowly = first, then if slowly else then * 8192, slowly
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        connection.settimeout(60)
        try:
            connection.sendall(self.first)
            while True:
                connection.sendall(self.then)
                if self.slowly:
                    time.sleep(DRIP)
        except OSError:
            connection.close()

    def close(self):
        self.listener.close()


def run(binary, directory, seed, events):
    floods = {name: Flood(*talk) for name, (_, *talk) in FLOODS.items()}
    # The first is the scene's own.
    scene = Scene(binary, directory, seed, faults=False, drain="60s")
    others = [Scene(binary, directory / str(number), seed) for number in range(1, HEALTHY)]
    text = scene.config.read_text()
    for number, other in enumerate(others):
        other.endpoint.faults = False
        url = WEBHOOK % other.endpoint.server_port
        text += "[notifier:well-%d]\non = any\n%s\n" % (number, url)
    for name, flood in floods.items():
        lines = FLOODS[name][0] % flood.port
        text += "[notifier:%s]\non = any\ntimeout = 2s\n%s\n" % (name, lines)
    scene.config.write_text(text)

    lines = [event(scene, number) for number in range(events)]
    process = scene.start("send", "-", stdin=subprocess.PIPE)
    feeder = threading.Thread(target=feed, args=(process.stdin, lines))
    feeder.start()
    began = time.monotonic()
    last = wait_for(scene, others, events, process)
    took = last - began
    memory = peak_memory(process)
    process.terminate()
    process.wait()
    feeder.join()
    for flood in floods.values():
        flood.close()

    wrong = []
    for number, well in enumerate([scene, *others]):
        arrived = {identity for identity, _ in well.endpoint.arrived}
        missing = set(scene.sent) - arrived
        if missing:
            wrong.append("healthy notifier %d lacks %d of %d" % (number, len(missing), events))
    if memory > MOST_MEMORY:
        wrong.append("it took %d KiB of memory" % memory)
    figures = (len(FLOODS), HEALTHY, events, took, memory >> 10)
    said = "%d peers that flood, %d that do not: %d events for each of these in %.1f s, %d MiB"
    return wrong, said % figures


def peak_memory(process):
    """In KiB; of one that has not ended by itself, which it had no reason to."""
    for line in Path("/proc/%d/status" % process.pid).read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def event(scene, number):
    name = "f-%d" % number
    scene.sent[name] = "text %d" % number
    host = "h%d" % (number % HOSTS)
    result = {"stdout": scene.sent[name]}
    return json.dumps({"id": name, "state": "failed", "host": host, "result": result})


def feed(pipe, lines):
    try:
        with pipe:
            pipe.write(("\n".join(lines) + "\n").encode())
    except OSError:
        pass


def wait_for(scene, others, events, process, seconds=120):
    """Waits until every healthy endpoint has every event; gives the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if all(len(one.endpoint.arrived) >= events for one in (scene, *others)):
            break
        time.sleep(0.05)
    return time.monotonic()
