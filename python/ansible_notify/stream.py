"""A running `ansible-notify stream`, fed through a pipe on which nothing ever blocks.

See docs/protocol.md. Nothing here starts a thread, and nothing waits unless it says so.
"""

import contextlib
import errno
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
# Records or bytes after which answers are read; unconfirmed bytes at which the binary is given up.
LOOK_RECORDS = 64
LOOK_BYTES = 262144
UNSAFE_LIMIT = 268435456
# Reads at once, and bytes kept of an answer or a message without an end.
LOOK_READS = 16
ANSWER_LIMIT = 65536
MESSAGE_LIMIT = 65536
EXIT_USAGE = 2
EXIT_CONFIGURATION = 78
# Seconds within which the binary must report its version.
VERSION_SECONDS = 2
# Exit codes after it has accepted everything, delivered or not.
ORDERLY_EXITS = (0, 65, 69, 74, 75)
WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)
clock = time.monotonic
END = b'{"end":{"reason":"exit"}}\n'


def warn(text):
    """Prints a warning; a closed standard error is no error."""
    try:
        sys.stderr.write("%s\n" % text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass


def complain(reason):
    warn("ansible-notify: %s" % reason)


def to_line(name, content):
    """Returns a protocol line. Other values than JSON's become their type: a text may be secret."""
    try:
        text = json.dumps({name: content}, separators=(",", ":"), allow_nan=False, default=no_json)
    except ValueError:
        text = json.dumps({name: finite(content)}, separators=(",", ":"), default=no_json)
    return text.encode("ascii") + b"\n"


def no_json(value):
    return "<%s>" % type(value).__name__


def finite(value):
    """Returns the value with text in place of numbers that JSON does not support."""
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value


class Stream:
    """A process, and the lines that it has not confirmed yet.

    Every line is kept until the binary says that it is safe. If the binary dies, it is started
    again and told again what was not safe; the numbers of the records make that harmless.

    The callback plugin has a class of the same name, which waits at the end and knows plays and
    tasks. What is not about that is the same, to the letter: tests/ansible/test_stream.py.
    """

    def __init__(self, command, hello):
        self.command = command
        self.hello = dict(hello, protocol=PROTOCOL, version=VERSION)
        self.complain = complain
        self.closed = False
        self.ready = False
        self.unsafe = deque()  # (seq, line)
        self.unsafe_size = 0
        self.safe = 0  # the last number that the binary confirmed
        self.began = time.time()
        self.look_size = LOOK_BYTES
        self.outbox = deque()  # what did not fit into the pipe
        self.heard = b""
        self.message = b""  # the line on standard error that is not complete yet
        self.process = None
        self.stdin = None
        self.stdout = None
        self.stderr = None
        self.starts = 0
        self.died = 0.0
        self.ending = False
        self.seq = 0

    def send(self, make_line):
        """Writes the line that `make_line` returns for its number, without waiting."""
        if self.closed:
            return
        self.seq += 1
        line = make_line(self.seq)
        self.unsafe.append((self.seq, line))
        self.unsafe_size += len(line)
        if self.process is None:
            self.start()
        elif self.stdin is None:
            self.recover()
        else:
            self.write(line)
        if self.seq % LOOK_RECORDS == 0 or self.unsafe_size > self.look_size:
            self.tend()
            self.look_size = self.unsafe_size + LOOK_BYTES
            if self.unsafe_size > UNSAFE_LIMIT:
                self.give_up("ansible-notify cannot keep up; the rest of the run is not reported")

    def tend(self):
        """Does everything possible without waiting: writes, reads, restarts a dead binary."""
        if self.closed:
            return
        self.pass_on()
        if self.stdout is None:
            self.recover()
            return
        self.flush()
        self.close_when_told()
        self.listen()

    def start(self):
        """Starts the binary and sends it every line that is not safe yet."""
        self.starts += 1
        self.ready = False
        self.heard = b""
        self.outbox.clear()
        self.close_stderr()
        try:
            self.run()
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno) if getattr(error, "errno", None) else "invalid name"
            self.give_up("cannot run %s: %s; the run is not reported" % (self.command[0], reason))
            return
        hello = self.hello
        if self.starts > 1:
            hello = dict(hello, resumed={"after": self.safe, "began": self.began})
        self.write(to_line("hello", hello))
        for _seq, line in list(self.unsafe):
            self.write(line)
        if self.ending:
            self.write(END)
            self.close_when_told()

    def run(self):
        """Starts the binary in its own session, with a pipe for each standard stream.

        So nobody who waits for the end of this program's output waits for the binary too.
        """
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        # At once: another thread may fork meanwhile, and its child let go of this stream.
        for end in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(end, False)
        try:
            self.process = subprocess.Popen(
                self.command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
            )
        finally:
            for end in (stdin, stdout, stderr):
                os.close(end)
        # A write wakes the binary, which must not preempt ansible-runner.
        with contextlib.suppress(AttributeError, OSError):
            os.sched_setscheduler(self.process.pid, os.SCHED_BATCH, os.sched_param(0))
        # Where it is not Linux, or not allowed, the pipe stays small.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.stdin, F_SETPIPE_SZ, PIPE_SIZE)

    def write(self, line):
        """Writes as much as the pipe accepts now; the rest waits in memory."""
        if self.stdin is not None:  # else it died, and will get everything again
            self.outbox.append(line)
            self.flush()

    def flush(self):
        """Writes lines that wait in memory, as far as the pipe accepts them."""
        while self.outbox and self.stdin is not None:
            line = self.outbox[0]
            try:
                written = os.write(self.stdin, line)
            except OSError as error:
                if error.errno not in WOULD_BLOCK:
                    self.lose()
                return
            if written < len(line):
                self.outbox[0] = line[written:]
                return
            self.outbox.popleft()

    def listen(self):
        """Reads the available answers, a limited amount at a time."""
        for _number in range(LOOK_READS):
            if self.stdout is None:
                return
            heard = read(self.stdout)
            if heard is None:
                return
            if not heard:
                self.lose()
                return
            self.take_answers(heard)

    def take_answers(self, heard):
        lines = (self.heard + heard).split(b"\n")
        self.heard = lines.pop()[-ANSWER_LIMIT:]
        for line in lines:
            try:
                answer = json.loads(line.decode("utf-8"))
                if "ready" in answer:
                    if not self.agree(answer["ready"]):
                        return
                    self.take_ready(answer["ready"])
                elif "safe" in answer:
                    self.forget(int(answer["safe"]))
                elif "config" in answer:
                    self.take_config(answer["config"])
            except (ValueError, TypeError, AttributeError, OverflowError, RuntimeError):
                continue  # an answer of a later protocol, or no answer at all

    def agree(self, ready):
        """Returns whether the binary speaks this protocol; if not, says which side to upgrade."""
        protocol = ready.get("protocol", PROTOCOL)
        if protocol == PROTOCOL:
            return True
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
        return False

    def take_ready(self, ready):
        """Notes that the binary is ready. Nothing here waits for deliveries: `drain` is ignored."""
        self.ready = True

    def take_config(self, config):
        """Ignores which variables events may carry: ansible-runner's records have none."""

    def forget(self, safe):
        """Drops the lines up to this number: the binary has them safe."""
        self.safe = max(self.safe, safe)
        while self.unsafe and self.unsafe[0][0] <= safe:
            _seq, line = self.unsafe.popleft()
            self.unsafe_size -= len(line)

    def lose(self):
        """Handles a closed pipe: the binary is dead, or about to be."""
        stdout, self.stdout = self.stdout, None
        for _number in range(LOOK_READS):
            heard = read(stdout)
            if not heard:
                break
            self.take_answers(heard)
        close(stdout)
        self.close_stdin()
        self.outbox.clear()
        self.died = clock()

    def recover(self):
        """Restarts a dead binary if that can help."""
        code = self.process.poll()
        if code is None and clock() < self.died + 1:
            return  # it is about to exit, and the code decides: looked at again later
        is_over = code in ORDERLY_EXITS or (code is None and not self.unsafe)
        if self.ending and self.ready and is_over:
            self.give_up(None)
        elif code == EXIT_CONFIGURATION:
            self.give_up(None)  # it has reported the problem itself
        elif not self.ready and (code is None or code >= 0):
            # It was not killed: it would do the same again.
            self.give_up(misunderstood(self.command[0], code))
        elif self.starts > RESTARTS:
            self.give_up("%s died %d times; giving up" % (self.command[0], self.starts))
        else:
            self.start()

    def give_up(self, reason):
        """Stops reporting for the rest of the run."""
        self.closed = True
        self.close_stdin()
        self.let_go()
        self.unsafe.clear()
        self.outbox.clear()
        if reason:
            self.complain(reason)

    def close_stdin(self):
        stdin, self.stdin = self.stdin, None  # first: an interrupt must not close it twice
        close(stdin)

    def let_go(self):
        """Leaves the binary to itself; end of file tells it that nothing follows."""
        self.closed = True
        self.outbox.clear()
        self.close_stdin()
        stdout, self.stdout = self.stdout, None
        close(stdout)
        self.close_stderr()

    def leave_fork(self):
        """Closes a child's copies of the pipes; their content is for its parent."""
        stderr, self.stderr = self.stderr, None
        close(stderr)
        self.message = b""
        self.let_go()

    def wait(self, seconds):
        """Waits until the binary takes or says something, or has died."""
        if self.stdout is None:
            time.sleep(min(seconds, 0.01))
            return
        waiting = poll()
        for end in (self.stdout, self.stderr):
            if end is not None:
                waiting.register(end, POLLIN)
        if self.outbox and self.stdin is not None:
            waiting.register(self.stdin, POLLOUT)
        waiting.poll(int(seconds * 1000) + 1)

    # -- only here: the binary's standard error, and an end that is not waited for --

    def pass_on(self):
        """Hands on what the binary says to people, a limited amount at a time."""
        for _number in range(LOOK_READS):
            said = read(self.stderr)
            if said is None:
                return
            if not said:
                stderr, self.stderr = self.stderr, None
                close(stderr)
                return
            lines = (self.message + said).split(b"\n")
            self.message = lines.pop()[:MESSAGE_LIMIT]
            for line in lines:
                warn(line[:MESSAGE_LIMIT].decode("utf-8", "replace"))

    def close_stderr(self):
        """Prints the rest of standard error, including an incomplete line."""
        self.pass_on()
        stderr, self.stderr = self.stderr, None
        close(stderr)
        if self.message:
            warn(self.message.decode("utf-8", "replace"))
        self.message = b""

    def end(self):
        """Says that nothing follows; the binary goes on by itself."""
        self.ending = True
        if not self.closed:
            self.write(END)
            self.tend()

    def close_when_told(self):
        """Closes the pipe once the end is in it."""
        if self.ending and not self.outbox:
            self.close_stdin()

    def is_done(self):
        """Returns true if nothing is left to do here."""
        return self.closed or (self.ending and not self.unsafe and not self.outbox)

    def is_running(self):
        """Returns true if the process still runs, and reaps it if not."""
        return self.process is not None and self.process.poll() is None


def misunderstood(binary, code):
    """Explains an end before `ready`: another version may not know the options."""
    if code is None:
        return "%s stopped listening before it was ready" % binary
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
    """Returns the version that the binary reports within two seconds, or None."""
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
    """Returns the version as a list of numbers, to compare."""
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def read(end):
    """Returns the bytes available now: None if there are none yet, b"" at the end."""
    if end is None:
        return b""
    try:
        return os.read(end, 65536)
    except OSError as error:
        return None if error.errno in WOULD_BLOCK else b""


def close(end):
    """Closes the end of a pipe, if it is not None."""
    if end is not None:
        os.close(end)
