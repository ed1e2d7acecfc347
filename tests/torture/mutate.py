"""Inputs that are broken in every way: none ends the program, hangs it or fills the memory.

The inputs are changed copies of those in corpus/ and examples/. Each is one start of the program;
one that goes wrong is kept below target/mutants.
"""

import os
import random
import re
import resource
import select
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / "target" / "mutants"
# What a start may take: seconds of CPU, seconds in all on however slow a machine, bytes of memory.
CPU = 5
PATIENCE = 120
MEMORY = 64 << 20
# Every exit code that the program knows.
CODES = {0, 1, 2, 65, 66, 69, 74, 75, 78}

# Escapes are those of Python.
TOKENS = [
    token.encode().decode("unicode_escape").encode("latin-1", "replace")
    for token in (HERE / "corpus" / "tokens.txt").read_text(encoding="utf-8").split()
]


def mutate(generator, text, others):
    """The text with up to eight changes, of bytes, tokens and lines."""
    data = bytearray(text)
    for _ in range(generator.choice([1, 1, 2, 3, 8])):
        at = generator.randrange(len(data) + 1)
        end = min(len(data), at + generator.choice([1, 1, 2, 8, 64, 512]))
        change = generator.randrange(10)
        if change == 0 and at < len(data):
            data[at] ^= 1 << generator.randrange(8)
        elif change == 1:
            del data[at:end]
        elif change == 2:
            data[at:at] = data[at:end] * generator.choice([1, 2, 16, 256])
        elif change in (3, 4):
            data[at:at] = generator.choice(TOKENS)
        elif change == 5:
            data[at:end] = generator.choice(TOKENS)
        elif change == 6:
            other = generator.choice(others)
            start = generator.randrange(len(other) + 1)
            data[at:at] = other[start : start + generator.choice([8, 64, 512])]
        elif change == 7:
            lines = bytes(data).split(b"\n")
            generator.shuffle(lines)
            data = bytearray(b"\n".join(lines))
        elif change == 8:
            # Nested, or long, without end.
            data[at:at] = generator.choice([b"[", b"(", b'{"a":', b"-", b"not ", b"x", b"9"]) * (
                generator.choice([30, 200, 5000, 100_000])
            )
        else:
            numbers = list(re.finditer(rb"\d+", data))
            if numbers:
                number = generator.choice(numbers)
                data[number.start() : number.end()] = generator.choice(
                    [b"0", b"-1", b"1e9", b"4294967296", b"9" * 30, b"1.5", b'"1"']
                )
        del data[1 << 20 :]
    return bytes(data)


class Target:
    """One way into the program: the texts that are changed, and the start that reads one."""

    def __init__(self, texts, arguments, config=None, stdin=True):
        self.texts = texts
        self.arguments = arguments
        self.config = config
        self.stdin = stdin


def read_lines(name):
    return (HERE / "corpus" / name).read_bytes().splitlines()


CONFIG = b"""[inputs]
callback_url = http://127.0.0.1:9/
on = any
[outputs]
state = state
text = task_output
reason = result.msg | default(none)
[delivery]
spool = spool
drain = 0s
"""


def configuration(expression):
    """A configuration in which an expression is everything that may be one."""
    one_line = b" ".join(expression.splitlines())
    return (
        b"[inputs]\ncallback_url = http://127.0.0.1:9/\non = any\nwhen = %b\n[outputs]\nx = %b\n"
        b"[notifier:mail]\ntype = email\nhost = 127.0.0.1\nencryption = none\n"
        b"from = a@example.com\nto = b@example.com\non = any\nsubject = %b\nmessage = %b\n"
        % ((one_line,) * 4)
    )


def targets():
    events, runner = read_lines("events.ndjson"), read_lines("runner.ndjson")
    stream, templates = read_lines("stream.ndjson"), read_lines("templates.txt")
    examples = [path.read_bytes() for path in sorted((ROOT / "examples").glob("**/*.ini"))]
    examples = [text for text in examples if b"[inputs]" in text or b"[notifier" in text]
    return {
        "dry-run": Target(events + [b"\n".join(events)], ["send", "--dry-run", "-"]),
        "send": Target(events + [b"\n".join(events)], ["send", "--no-wait", "-"]),
        "runner": Target(runner + [b"\n".join(runner)], ["send", "--dry-run", "-"]),
        "stream": Target([b"\n".join(stream)], ["stream", "--quiet"]),
        "check-config": Target(examples, ["check-config"], config=bytes, stdin=False),
        "template": Target(templates, ["send", "--dry-run", "event"], configuration, stdin=False),
        "check-template": Target(templates, ["check-config"], configuration, stdin=False),
    }


class Mutants:
    def __init__(self, binary, directory, seed):
        self.binary = str(Path(binary).resolve())
        self.directory = directory
        self.generator = random.Random(seed)
        self.targets = list(targets().items())
        self.lock = threading.Lock()
        self.left = 0
        self.wrong = []
        self.worst = {"cpu": 0.0, "memory": 0}
        self.counts = dict.fromkeys((name for name, _target in self.targets), 0)

    def next(self):
        """The next target and its text; nothing at the end, or when much is wrong already."""
        with self.lock:
            if self.left == 0 or len(self.wrong) >= 20:
                return None
            self.left -= 1
            name, target = self.generator.choice(self.targets)
            self.counts[name] += 1
            text = self.generator.choice(target.texts)
            return name, target, mutate(self.generator, text, target.texts)

    def work(self):
        with tempfile.TemporaryDirectory(dir=self.directory) as place:
            place = Path(place)
            for name in ("event", "plugin_config.ini"):
                (place / name).touch(0o600)
            (place / "event").write_bytes(read_lines("events.ndjson")[1])
            done = 0
            while (chosen := self.next()) is not None:
                name, target, text = chosen
                config = CONFIG if target.stdin else target.config(text)
                (place / "plugin_config.ini").write_bytes(config)
                self.note(name, target, text, self.start(place, target, text))
                done += 1
                if done % 200 == 0:
                    shutil.rmtree(place / "spool", ignore_errors=True)

    def start(self, place, target, text):
        """The exit code of one start (None if it hangs), what it said, its CPU time and memory."""
        command = [self.binary, target.arguments[0], "--config", "plugin_config.ini"]
        command += target.arguments[1:]
        with (place / "input").open("w+b") as given, (place / "said").open("w+b") as said:
            given.write(text if target.stdin else b"")
            given.seek(0)
            process = subprocess.Popen(
                command,
                cwd=place,
                env={"HOME": str(place), "PATH": os.defpath},
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
            code, usage = wait(process)
            said.seek(0)
            return code, said.read(1 << 16), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024

    def note(self, name, target, text, result):
        code, said, cpu, memory = result
        with self.lock:
            self.worst["cpu"] = max(self.worst["cpu"], cpu)
            self.worst["memory"] = max(self.worst["memory"], memory)
        wrong = []
        if code is None or cpu > CPU:
            wrong.append("took %.1f s of CPU" % cpu if code is not None else "hung")
        elif code not in CODES:
            wrong.append("ended with %d" % code)
        if b"panicked" in said:
            wrong.append("panicked")
        if memory > MEMORY:
            wrong.append("took %.1f MiB" % (memory / (1 << 20)))
        if wrong:
            self.keep(name, target, text, ", ".join(wrong), said)

    def keep(self, name, target, text, wrong, said):
        with self.lock:
            place = KEPT / ("%s-%d" % (name, len(self.wrong)))
            self.wrong.append("%s %s: %s" % (name, wrong, place))
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "text").write_bytes(text)
        (place / "said").write_bytes(said)
        (place / "plugin_config.ini").write_bytes(CONFIG if target.stdin else target.config(text))
        (place / "plugin_config.ini").chmod(0o600)
        (place / "event").write_bytes(read_lines("events.ndjson")[1])


def wait(process):
    """The exit code and what the process took; None where it had to be ended."""
    descriptor = os.pidfd_open(process.pid)
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        if not ended.poll(PATIENCE * 1000):
            process.kill()
            _pid, _status, usage = os.wait4(process.pid, 0)
            process.returncode = -9
            return None, usage
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage
    finally:
        os.close(descriptor)


def run(binary, directory, seed, inputs):
    mutants = Mutants(binary, directory, seed)
    mutants.left = inputs
    # The machine outlives a start that takes memory without end.
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, limit[1]))
    began = time.monotonic()
    workers = [threading.Thread(target=mutants.work) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    resource.setrlimit(resource.RLIMIT_AS, limit)
    counts = ", ".join("%s %d" % pair for pair in mutants.counts.items())
    figures = (sum(mutants.counts.values()), counts, mutants.worst["cpu"])
    text = "%d inputs (%s) in %d s; at most %.2f s of CPU, %.1f MiB" % (
        *figures[:2],
        time.monotonic() - began,
        figures[2],
        mutants.worst["memory"] / (1 << 20),
    )
    return mutants.wrong, text
