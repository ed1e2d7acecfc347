"""A running `ansible-notify stream`, fed over a pipe that is never waited for.

See docs/protocol.md. Nothing here starts a thread, and nothing waits unless it says so.
"""

import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from select import POLLIN, POLLOUT, poll

from . import VERSION

PROTOCOL = 1
F_SETPIPE_SZ = 1031
PIPE_SIZE = 1048576
RESTARTS = 3
# Answers are read after so many records; above so many unconfirmed bytes it is given up.
LOOK_RECORDS = 64
UNSAFE_LIMIT = 268435456
EXIT_USAGE = 2
EXIT_CONFIGURATION = 78
# Seconds in which a binary that was asked for its version must have said it.
VERSION_SECONDS = 2
# It has taken everything, whatever became of the deliveries.
ORDERLY_EXITS = (0, 65, 69, 74, 75)
END = b'{"end":{"reason":"exit"}}\n'


def warn(text):
    """Tells people; where nobody listens, nothing is lost but the words."""
    try:
        sys.stderr.write("%s\n" % text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass


def to_line(name, content):
    """A line of the protocol. What is no JSON is named by its type: its text may hold a secret."""
    try:
        text = json.dumps({name: content}, separators=(",", ":"), allow_nan=False, default=no_json)
    except ValueError:
        text = json.dumps({name: finite(content)}, separators=(",", ":"), default=no_json)
    return text.encode("ascii") + b"\n"


def no_json(value):
    return "<%s>" % type(value).__name__


def finite(value):
    """The value with text for the numbers that JSON does not know."""
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value


class Stream:
    """One process, and what it has not yet confirmed.

    Every line is kept until the binary says that it is safe. If the binary dies, it is started
    again and told again what was not safe; the numbers of the records make that harmless.
    """

    def __init__(self, command, hello):
        self.command = command
        self.hello = dict(hello, protocol=PROTOCOL, version=VERSION)
        self.began = time.time()
        self.safe = 0  # the last number that the binary confirmed
        self.sequence = 0
        self.unsafe = deque()  # (sequence, line)
        self.unsafe_size = 0
        self.outbox = deque()  # what did not fit into the pipe
        self.heard = b""
        self.complaint = b""
        self.process = None
        self.stdin = self.stdout = self.stderr = None
        self.starts = 0
        self.died = 0.0
        self.ready = False
        self.ended = False
        self.closed = False

    def send(self, make_line):
        """Writes the line that `make_line` makes of its number, without waiting."""
        if self.closed:
            return
        self.sequence += 1
        line = make_line(self.sequence)
        self.unsafe.append((self.sequence, line))
        self.unsafe_size += len(line)
        if self.process is None:
            self.start()
        elif self.stdout is None:
            self.recover()
        else:
            self.write(line)
        if self.sequence % LOOK_RECORDS == 0 or self.outbox:
            self.tend()
        if self.unsafe_size > UNSAFE_LIMIT:
            self.give_up("ansible-notify does not keep up; the rest of the run is not reported")

    def end(self):
        """Says that nothing follows; the binary goes on by itself."""
        self.ended = True
        if not self.closed:
            self.write(END)
            self.tend()

    def is_done(self):
        """Whether nothing is left to do here."""
        return self.closed or (self.ended and not self.unsafe and not self.outbox)

    def tend(self):
        """Does what can be done without waiting: writes, listens, starts a dead binary again."""
        if self.closed:
            return
        if self.stdout is None:
            self.recover()
            return
        self.flush()
        self.complain()
        self.listen()

    def start(self):
        """Starts the binary and tells it everything that is not safe."""
        self.starts += 1
        self.ready = False
        self.heard = b""
        self.outbox.clear()
        try:
            self.run()
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno) if getattr(error, "errno", None) else "a bad name"
            self.give_up("cannot run %s: %s; the run is not reported" % (self.command[0], reason))
            return
        hello = self.hello
        if self.starts > 1:
            hello = dict(hello, resumed={"after": self.safe, "began": self.began})
        self.outbox.append(to_line("hello", hello))
        self.outbox.extend(line for _sequence, line in self.unsafe)
        if self.ended:
            self.outbox.append(END)
        # Only now: an empty outbox is the end of what is to be told.
        self.flush()

    def run(self):
        """Runs the binary in a session of its own, with a pipe for each of its streams.

        So nobody who waits for the end of this program's output waits for the binary too.
        """
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        try:
            self.process = subprocess.Popen(
                self.command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
            )
        finally:
            for end in (stdin, stdout, stderr):
                os.close(end)
        for end in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(end, False)
        # A write wakes the binary, which is not to run in place of ansible-runner.
        with contextlib.suppress(AttributeError, OSError):
            os.sched_setscheduler(self.process.pid, os.SCHED_BATCH, os.sched_param(0))
        # Where it is not Linux, or not allowed, the pipe stays small.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.stdin, F_SETPIPE_SZ, PIPE_SIZE)

    def write(self, line):
        """Writes what the pipe takes now; the rest waits in memory."""
        self.outbox.append(line)
        self.flush()

    def flush(self):
        while self.outbox and self.stdin is not None:
            line = self.outbox[0]
            try:
                written = os.write(self.stdin, line)
            except BlockingIOError:
                return
            except OSError:
                self.lose()
                return
            if written < len(line):
                self.outbox[0] = line[written:]
                return
            self.outbox.popleft()
        if self.ended and not self.outbox:
            self.stdin = close(self.stdin)

    def listen(self):
        """Reads the answers that are there."""
        heard = read(self.stdout)
        while heard:
            lines = (self.heard + heard).split(b"\n")
            self.heard = lines.pop()
            for line in lines:
                self.take(line)
            heard = read(self.stdout)
        if heard is not None:
            self.lose()

    def take(self, line):
        try:
            answer = json.loads(line.decode("utf-8"))
            if "ready" in answer:
                self.take_ready(answer["ready"])
            safe = int(answer.get("safe", 0))
        except (ValueError, TypeError, AttributeError):
            return  # an answer of some later protocol
        self.safe = max(self.safe, safe)
        while self.unsafe and self.unsafe[0][0] <= safe:
            self.unsafe_size -= len(self.unsafe.popleft()[1])

    def take_ready(self, ready):
        protocol = ready.get("protocol", PROTOCOL)
        if protocol == PROTOCOL:
            self.ready = True
            return
        is_older = isinstance(protocol, int) and protocol < PROTOCOL
        self.give_up(
            "the program %s (version %s) speaks protocol %s, this Python package (version %s) "
            "protocol %d; upgrade the %s; the run is not reported"
            % (
                self.command[0],
                ready.get("version", "unknown"),
                protocol,
                VERSION,
                PROTOCOL,
                "program" if is_older else "package",
            )
        )

    def complain(self):
        """Hands on what the binary says to people."""
        said = read(self.stderr)
        while said:
            lines = (self.complaint + said).split(b"\n")
            self.complaint = lines.pop()
            for line in lines:
                warn(line.decode("utf-8", "replace"))
            said = read(self.stderr)

    def lose(self):
        """The binary has closed an end of its pipes: it is dead, or about to be."""
        self.complain()
        stdout, self.stdout = self.stdout, None
        heard = read(stdout)
        while heard:
            for line in heard.split(b"\n"):
                self.take(line)
            heard = read(stdout)
        close(stdout)
        self.stdin = close(self.stdin)
        self.outbox.clear()
        self.died = time.monotonic()

    def recover(self):
        """Starts a dead binary again, where that can help."""
        code = self.process.poll()
        if code is None:
            if time.monotonic() > self.died + 1:
                self.give_up("ansible-notify has stopped listening; the run is not reported")
            return
        self.complain()
        self.stderr = close(self.stderr)
        if self.ended and self.ready and code in ORDERLY_EXITS:
            self.give_up(None)
        elif code == EXIT_CONFIGURATION:
            self.give_up(None)  # it has said itself what is wrong
        elif not self.ready and code >= 0:
            # Nobody killed it: it would do the same again.
            self.give_up(misunderstood(self.command[0], code))
        elif self.starts > RESTARTS:
            self.give_up("ansible-notify died %d times; giving up" % self.starts)
        else:
            self.start()

    def give_up(self, reason):
        """From now on it is as if the plugin were not there."""
        self.let_go()
        self.unsafe.clear()
        if reason:
            warn("ansible-notify: %s" % reason)

    def let_go(self):
        """Leaves the binary to itself; end of file tells it that nothing follows."""
        self.closed = True
        self.outbox.clear()
        self.stdin = close(self.stdin)
        self.stdout = close(self.stdout)
        self.stderr = close(self.stderr)

    def is_running(self):
        """Whether the process is still there; asked, so that it leaves no zombie."""
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds):
        """Waits until the binary takes or says something, or has died."""
        if self.stdout is None:
            time.sleep(min(seconds, 0.01))
            return
        waiting = poll()
        waiting.register(self.stdout, POLLIN)
        if self.outbox and self.stdin is not None:
            waiting.register(self.stdin, POLLOUT)
        waiting.poll(int(seconds * 1000) + 1)


def misunderstood(binary, code):
    """Why the binary ended before it was ready: one of another version may not know its options."""
    said = "%s ended before it was ready (exit code %s)" % (binary, code)
    version = version_of(binary) if code == EXIT_USAGE else None
    if version in (None, VERSION):
        return said
    return "%s: its version is %s, that of this Python package %s; upgrade the %s" % (
        said,
        version,
        VERSION,
        "program" if numbers_of(version) < numbers_of(VERSION) else "package",
    )


def version_of(binary):
    """The version that the binary names when it is asked; it is waited for, for two seconds."""
    try:
        said = subprocess.run(
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=VERSION_SECONDS,
            check=False,
        ).stdout.decode("utf-8", "replace")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    found = re.match(r"ansible-notify (\d+\.\d+\.\d+\S*)\s*$", said)
    return found and found.group(1)


def numbers_of(version):
    """The version as numbers that can be compared."""
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def read(end):
    """What can be read now: None where nothing is there yet, nothing at the end."""
    if end is None:
        return b""
    try:
        return os.read(end, 65536)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def close(end):
    if end is not None:
        os.close(end)
