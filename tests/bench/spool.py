"""What the spool costs, and how it bears a multitude that waits."""

import http.server
import json
import os
import shutil
import subprocess
import threading
import time

from binary import write_stream
from endpoint import DEAD, free_port, nginx
from measure import median, ratio, timed, timed_with_memory

CONFIG = """[inputs]
callback_url = %s
[delivery]
drain = %s
max_size = 4GiB
[outputs]
n = result.stdout
"""


def configure(bench, url, drain="0"):
    return bench.write("spool.ini", CONFIG % (url, drain))


def forget(bench):
    shutil.rmtree(bench.directory / "ansible-notify", ignore_errors=True)


def accept(bench, count, run):
    """Lets so many events wait for an endpoint that is dead; how long that took, in seconds."""
    config = configure(bench, DEAD)
    path = bench.directory / "waiting.ndjson"
    with path.open("w") as file:
        write_stream(file, count, run)
    command = [str(bench.binary), "stream", "--quiet", "--config", str(config)]
    started = time.monotonic()
    with path.open() as file:
        done = subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, check=False)
    took = time.monotonic() - started
    assert done.returncode == 75, done
    path.unlink()
    return took


def status(bench):
    command = [str(bench.binary), "status", "--json"]
    rows = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    for row in rows:
        parts = ("waiting", "delivered", "dead", "dropped")
        assert row["accepted"] == sum(row[part] for part in parts), row
    return rows


def waiting(bench):
    """The rate of accepting, a million that wait, and a backlog that is delivered."""
    count = 20_000 if bench.quick else 100_000
    many = 100_000 if bench.quick else 1_000_000
    rates = []
    for run in range(3):
        forget(bench)
        rates.append(count / accept(bench, count, "accept-%d" % run))
    print("| | |\n|---|---|")
    print("| accepted, each on disk before it is acknowledged | %d per second |" % median(rates))
    drained(bench, count)
    print("| until the first arrives, once the endpoint is up again | %.2f s |" % back(bench))
    forget(bench)
    accept(bench, many, "many")
    config = configure(bench, DEAD)
    event = bench.write("event.json", json.dumps({"state": "failed", "host": "h"}))
    send = [str(bench.binary), "send", "--quiet", "--config", str(config), str(event)]
    starts = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(send, check=False, stderr=subprocess.DEVNULL)
        starts.append(time.monotonic() - started)
    asked = [timed([bench.binary, "status"])[0] for _ in range(9)]
    print("| `status` with %d pending | %.1f ms |" % (many, median(asked) * 1e3))
    print("| `send` of one more, with its start and end | %.1f ms |" % (median(starts) * 1e3))
    with nginx(bench) as url:
        configure(bench, url)
        flush = [bench.binary, "flush"]
        said = bench.directory / "said"
        with open(os.devnull) as nothing:
            wall, _, peak = timed_with_memory(flush, nothing, said)
    assert status(bench)[0]["waiting"] == 0, said.read_text()
    figures = (many, many / wall, peak)
    print("| `flush` of %d | %d per second, at most %.1f MiB resident |" % figures)
    forget(bench)


def drained(bench, count):
    with nginx(bench) as url:
        configure(bench, url)
        wall = timed([bench.binary, "flush"])[0]
    print("| `flush` of %d pending | %d per second |" % (count, count / wall))


def back(bench):
    """How long after an endpoint is back `flush --watch` brings it the first event, in seconds."""
    forget(bench)
    accept(bench, 1000, "back")
    address = "127.0.0.1:%d" % free_port()
    configure(bench, "http://%s/" % address)
    flush = subprocess.Popen([bench.binary, "flush", "--watch"], stderr=subprocess.DEVNULL)
    time.sleep(3)
    receive = [bench.binary, "receive", "--listen", address]
    started = time.monotonic()
    receiver = subprocess.Popen(receive, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    receiver.stdout.read(1)
    took = time.monotonic() - started
    for process in (flush, receiver):
        process.kill()
        process.wait()
    return took


class Clock(http.server.BaseHTTPRequestHandler):
    """Notes when each event arrives."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.arrived[(self.path, body["n"])] = time.monotonic()
        self.wfile.write(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")

    def log_message(self, *arguments):
        pass


def beside_a_dead_one(bench):
    """How long events take to two notifiers, with a third one dead, alive, and not there."""
    times = {"dead": [], "alive": [], "not there": []}
    for run in range(2 if bench.quick else 9):
        for third, measured in times.items():
            measured.append(latencies(bench, third, "%s-%d" % (third, run)))
    print("| the third notifier is | p50 | p99 |\n|---|---|---|")
    parts = {third: list(zip(*measured)) for third, measured in times.items()}
    for third, sides in parts.items():
        print("| %s | %.2f ms | %.2f ms |" % (third, *(median(side) * 1e3 for side in sides)))
    for other in ("alive", "not there"):
        ratios = [ratio(*sides) for sides in zip(parts["dead"], parts[other])]
        print("| dead to %s | %s | %s |" % (other, *ratios))


def latencies(bench, third, run):
    forget(bench)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Clock)
    server.arrived = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = "[delivery]\ndrain = 1s\n"
    for name in ["first", "second"] + ["third"] * (third != "not there"):
        dead = (name, third) == ("third", "dead")
        url = DEAD if dead else "http://127.0.0.1:%d/%s" % (server.server_port, name)
        config += "[notifier:%s]\ntype = webhook\non = any\nurl = %s\n" % (name, url)
        config += "[outputs:%s]\nn = result.stdout\n" % name
    path = bench.write("dead.ini", config)
    command = [bench.binary, "stream", "--quiet", "--config", path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    written = {}

    def write(**record):
        process.stdin.write((json.dumps(record) + "\n").encode())
        process.stdin.flush()

    write(hello={"protocol": 1, "run": {"id": run}})
    for seq in range(1, 2001):
        result = {"stdout": str(seq)}
        host = {"name": "h%d" % (seq % 16)}
        written[str(seq)] = time.monotonic()
        event = {"seq": seq, "event": "runner_on_ok", "time": time.time()}
        write(event=dict(event, host=host, result=result))
        time.sleep(1 / 500)
    process.stdin.close()
    process.wait()
    server.shutdown()
    # The end of the run has no number.
    arrived = [(*key, at) for key, at in server.arrived.items() if key[1] in written]
    took = sorted(at - written[number] for path, number, at in arrived if path != "/third")
    assert len(took) == 2 * len(written), len(took)
    return took[len(took) // 2], took[len(took) * 99 // 100]
