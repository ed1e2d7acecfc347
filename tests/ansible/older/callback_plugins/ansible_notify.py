# -*- coding: utf-8 -*-
# Copyright: the ansible-notify contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands what Ansible reports to `ansible-notify stream`, over one pipe that is never waited for."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
name: ansible_notify
type: notification
short_description: Tells other systems what Ansible did
description:
  - Hands every result and every step of a run to the program C(ansible-notify), which decides who
    should hear of it, and delivers it to HTTP endpoints.
  - The play never waits for a delivery. What cannot be delivered yet is tried again.
  - What is sent where is said in C(plugin_config.ini) beside this plugin.
  - Task arguments, variables and environments are never sent. Under C(no_log) only names, state and
    timing are.
author:
  - The ansible-notify contributors (@ansible-notify)
requirements:
  - enabling it with C(callbacks_enabled = ansible_notify) in C([defaults]) of ansible.cfg
    (C(callback_whitelist) before ansible-core 2.11)
  - the program C(ansible-notify) on the controller
notes:
  - Variables are taken from C(-e) and from the play (C(vars), C(vars_files), C(vars_prompt)),
    templated and decrypted, but not from the inventory.
  - Plain C(-e callback_url=... -e username=... -e password=... -e validate_certs=...) count too,
    together, and only when C(callback_url) is among them.
  - C(runner_on_no_hosts), C(playbook_on_cleanup_task_start), C(playbook_on_import_for_host) and
    C(playbook_on_not_import_for_host) are reported if Ansible calls them, which no version from
    2.9 on does.
  - C(runner_on_async_poll), C(runner_on_async_ok) and C(runner_on_async_failed) are not called
    before 2.12. C(playbook_on_no_hosts_remaining) is not called for C(any_errors_fatal) since 2.17.
  - For ad hoc commands set C(bin_ansible_callbacks = true).
options:
  binary:
    description:
      - The program C(ansible-notify). If not set, it is looked for beside the running Python, then
        on C(PATH).
    type: str
    env:
      - name: ANSIBLE_NOTIFY_BINARY
    ini:
      - section: callback_ansible_notify
        key: binary
  config:
    description:
      - The one configuration file to use, instead of those of the organization, the user and the
        project.
    type: str
    env:
      - name: ANSIBLE_NOTIFY_CONFIG
    ini:
      - section: callback_ansible_notify
        key: config
  quiet:
    description:
      - Leaves out the summary at the end of a run.
    type: bool
    default: false
    env:
      - name: ANSIBLE_NOTIFY_QUIET
    ini:
      - section: callback_ansible_notify
        key: quiet
  strict:
    description:
      - Stops at the first play if the program is missing, its configuration cannot be used, or a
        secret cannot be read.
        Otherwise that is a warning.
    type: bool
    default: false
    env:
      - name: ANSIBLE_NOTIFY_STRICT
    ini:
      - section: callback_ansible_notify
        key: strict
  callback_url:
    description:
      - Overrides C(callback_url) of the section C([inputs]) of C(plugin_config.ini).
      - The variable C(ansible_notify_callback_url) overrides both.
    type: str
    env:
      - name: ANSIBLE_NOTIFY_CALLBACK_URL
  username:
    description:
      - Overrides C(username) of the section C([inputs]) of C(plugin_config.ini).
      - The variable C(ansible_notify_username) overrides both.
    type: str
    env:
      - name: ANSIBLE_NOTIFY_USERNAME
  password:
    description:
      - Overrides C(password) of the section C([inputs]) of C(plugin_config.ini).
      - The variable C(ansible_notify_password) overrides both.
    type: str
    env:
      - name: ANSIBLE_NOTIFY_PASSWORD
  validate_certs:
    description:
      - Overrides C(validate_certs) of the section C([inputs]) of C(plugin_config.ini).
      - The variable C(ansible_notify_validate_certs) overrides both.
    type: str
    env:
      - name: ANSIBLE_NOTIFY_VALIDATE_CERTS
"""

EXAMPLES = r"""
ansible.cfg: |
  [defaults]
  callbacks_enabled = ansible_notify

  [callback_ansible_notify]
  strict = true

play: |
  - hosts: web
    vars:
      ansible_notify_callback_url: "https://ops.example.com/{{ region }}"
"""

import atexit
import datetime
import errno
import fcntl
import getpass
import json
import math
import numbers
import os
import re
import select
import socket
import subprocess
import sys
import sysconfig
import time
import uuid
from collections import deque

try:
    from collections import abc
except ImportError:  # Python 2
    import collections as abc

from ansible import context
from ansible.playbook.handler import Handler
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__ as ansible_version
from ansible.template import Templar
from ansible.utils.display import Display

PROTOCOL = 1
PYTHON2 = sys.version_info[0] == 2
TEXT = type(json.loads('""'))  # str, in Python 2 unicode
display = Display()
# What durations are measured with: a clock that nobody sets, where there is one.
clock = getattr(time, "monotonic", time.time)

# ------------------------------------------------------------------------------
# JSON: always strict, never too long
# ------------------------------------------------------------------------------

# A line may have 4 MiB. Bytes of it that a result, and a short value such as a loop item, may fill.
RESULT_ROOM = 3670016
SHORT_ROOM = 65536
# Characters of one string: the first of these limits with which the whole fits its room.
STRING_LIMITS = (1048576, 65536, 4096)
DEPTH_LIMIT = 100
NUMBER_BITS = 4096
NAME_LIMIT = 4096

SCALARS = frozenset((TEXT, bytes, int, float, bool, type(None)))

REDACTED = "<redacted>"
TOO_DEEP = "[left out: nested too deeply]"
TOO_LARGE = "[left out: too large]"
HIDDEN = "the output has been hidden because of no_log"
# What stays of a result under no_log.
STATE = ("changed", "attempts", "retries")

# In Python 2 a pair of surrogates is a character beyond 16 bits; only lone ones are wrong.
SURROGATES = re.compile(
    json.loads(
        r'"[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]"'
        if PYTHON2
        else r'"[\ud800-\udfff]"'
    )
)
REPLACEMENT = json.loads(r'"\ufffd"')


def make_encoder():
    """A function that makes JSON; it raises for what is not JSON, which Cleaner then looks at."""
    encoder = json.JSONEncoder(
        ensure_ascii=PYTHON2, check_circular=False, allow_nan=False, separators=(",", ":")
    )
    try:
        # `encoder.encode` makes this anew for each value, which takes as long as a small result.
        chunks = json.encoder.c_make_encoder(
            None,
            encoder.default,
            json.encoder.encode_basestring,
            None,
            ":",
            ",",
            False,
            False,
            False,
        )
        if not PYTHON2 and chunks({}, 0) == ("{}",):
            return lambda value: "".join(chunks(value, 0))
    except Exception:
        pass  # a Python that has it not, or another one
    return encoder.encode


to_json = make_encoder()


def encode(value, room=SHORT_ROOM):
    """The value as JSON of at most `room` bytes, and whether something had to be cut for that."""
    try:
        if not has_long_text(value, room):
            text = to_json(value)
            if len(text) * 4 <= room and not (has_objects(value) and is_suspicious(text)):
                return text, False
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass  # not JSON as it is
    for limit in STRING_LIMITS:
        cleaner = Cleaner(limit, room)
        try:
            text = to_json(cleaner.clean(value))
        except TooLarge:
            continue
        if len(text.encode("utf-8")) <= room:
            return text, cleaner.cut
    remains = {"msg": TOO_LARGE}
    if isinstance(value, abc.Mapping):
        remains.update((key, value[key]) for key in STATE if isinstance(value.get(key), int))
    return to_json(remains), True


def has_long_text(value, room):
    """Whether a text at the top is too long for the quick way."""
    for part in value.values() if isinstance(value, dict) else (value,):
        if isinstance(part, (TEXT, bytes)) and len(part) * 4 > room:
            return True
    return False


def has_objects(value):
    """Whether an object is nested in the value: only there can be what must not leave Ansible."""
    if PYTHON2:
        return True  # its texts can hold lone surrogates
    for part in value.values() if isinstance(value, dict) else (value,):
        if part.__class__ is list:
            if any(item.__class__ not in SCALARS for item in part):
                return True
        elif part.__class__ not in SCALARS:
            return True
    return False


def is_suspicious(text):
    """Whether the JSON may hold what must not leave Ansible, at any depth."""
    return (
        "_ansible_" in text
        or '"invocation"' in text
        or '"censored"' in text
        or (PYTHON2 and "\\ud" in text)
    )


class TooLarge(Exception):
    """The value does not fit with this limit of its strings."""


class Cleaner(object):
    """Makes a value that JSON can hold, and nothing that must not leave Ansible."""

    def __init__(self, limit, room):
        self.limit = limit
        self.room = room
        self.cut = False

    def clean(self, value, depth=0):
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, TEXT):
            return self.text(value)
        self.take(1)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, numbers.Real):
            return number(value)
        if is_encrypted(value):
            return REDACTED
        if isinstance(value, (abc.Mapping, abc.Sequence, abc.Set)):
            if depth == DEPTH_LIMIT:
                self.cut = True
                return TOO_DEEP
            if isinstance(value, abc.Mapping):
                return self.mapping(value, depth + 1)
            return [self.clean(part, depth + 1) for part in value]
        if isinstance(value, (datetime.date, datetime.time)):
            return value.isoformat()
        # Text of an unknown object may be a decrypted secret.
        return "<%s>" % type(value).__name__

    def mapping(self, value, depth):
        if is_censored(value):
            value = censored(value)
        cleaned = {}
        for key, part in value.items():
            if isinstance(key, bytes):
                key = key.decode("utf-8", "replace")
            elif not isinstance(key, TEXT):
                key = to_json(self.clean(key, depth)).strip('"')
            if key != "invocation" and not key.startswith("_ansible_"):
                cleaned[self.text(key)] = self.clean(part, depth)
        return cleaned

    def text(self, value):
        length = len(value)
        if length > self.limit:
            self.cut = True
            value = value[: self.limit]
        value = SURROGATES.sub(REPLACEMENT, value)
        if length > self.limit:
            value += "... [cut: %d characters in all]" % length
        self.take(len(value))
        return value

    def take(self, size):
        self.room -= size
        if self.room < 0:
            raise TooLarge()


def number(value):
    """The number, or text for what JSON and its readers do not know."""
    if isinstance(value, numbers.Integral):
        return value if abs(value).bit_length() <= NUMBER_BITS else "[left out: a number too long]"
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def is_encrypted(value):
    """Whether it is a vaulted value, in the terms of old and new versions."""
    return getattr(value, "__ENCRYPTED__", False) or value.__class__.__name__ == "EncryptedString"


def as_text(value):
    """A name as text; never the text of an unknown object."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, TEXT):
        return value
    return "%s" % value if isinstance(value, numbers.Real) else "<%s>" % type(value).__name__


def short(value):
    """A name as text that is not too long for a record."""
    value = as_text(value or "")
    return value if len(value) <= NAME_LIMIT else Cleaner(NAME_LIMIT, SHORT_ROOM).text(value)


# ------------------------------------------------------------------------------
# What may be told of a result
# ------------------------------------------------------------------------------

ITEMS = frozenset(("runner_item_on_ok", "runner_item_on_failed", "runner_item_on_skipped"))
ASYNC = frozenset(("runner_on_async_poll", "runner_on_async_ok", "runner_on_async_failed"))

# No loop item's module arguments, no variables given to an include, nothing of Ansible's own.
DROPPED = frozenset(
    (
        "invocation",
        "include_args",
        "stdout_lines",
        "stderr_lines",
        "_ansible_no_log",
        "_ansible_item_label",
        "_ansible_verbose_always",
        "_ansible_verbose_override",
        "_ansible_delegated_vars",
    )
)


def is_censored(brought):
    return bool(brought.get("_ansible_no_log")) or "censored" in brought


def is_hidden(task, brought):
    """Whether a result is under no_log. From what is included it does not say whether it is."""
    no_log = task.no_log
    return (
        no_log is True
        or is_censored(brought)
        or (no_log not in (None, False) and "_ansible_no_log" not in brought)
    )


def censored(brought):
    """What may be told of a result under no_log."""
    kept = {key: brought[key] for key in STATE if isinstance(brought.get(key), int)}
    kept["censored"] = HIDDEN
    return kept


def strip(brought, task):
    """The result without what must not leave Ansible and what can be made again."""
    kept = {key: part for key, part in brought.items() if key not in DROPPED}
    for lines in ("stdout_lines", "stderr_lines"):
        if lines in brought and lines[:6] not in brought:
            kept[lines] = brought[lines]
    if "results" in kept and task.loop is not None:
        del kept["results"]  # each item has been told by itself
    if "exception" in kept and kept["exception"] == "(traceback unavailable)":
        del kept["exception"]
    if "add_host" in kept:
        added = kept["add_host"]
        kept["add_host"] = {key: added[key] for key in ("host_name", "groups") if key in added}
    return kept


def item_of(brought):
    """What a loop's item is called: its label, where there is one."""
    if "_ansible_item_label" in brought:
        return brought["_ansible_item_label"]
    return brought.get(brought.get("ansible_loop_var", "item"))


def brought_json(name, task, brought):
    """The members of an event for what a result brought that is not under no_log."""
    item, cut_item = "", False
    if name == "on_file_diff":
        brought = {"diff": brought.get("diff")}
    elif name in ITEMS:
        item, cut_item = encode(item_of(brought))
        item = ',"item":' + item
    text, cut = encode(strip(brought, task), RESULT_ROOM)
    return '%s,"result":%s%s' % (item, text, ',"truncated":true' if cut or cut_item else "")


# ------------------------------------------------------------------------------
# The binary
# ------------------------------------------------------------------------------

F_SETPIPE_SZ = 1031
PIPE_SIZE = 1048576
RESTARTS = 3
# Answers are read after so many events or bytes; above so many unconfirmed bytes it is given up.
LOOK_EVENTS = 64
LOOK_BYTES = 262144
UNSAFE_LIMIT = 268435456
READY_SECONDS = 10
# Seconds that the end may take beyond `drain`: with nothing moving, and in all.
GRACE = 2
FLUSH_SECONDS = 60
DRAIN_LIMIT = 3600
EXIT_CONFIGURATION = 78
ORDERLY_EXITS = (0, 65, 69, 74, 75)
WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)
END = b'{"end":{"reason":"exit"}}\n'


class Stream(object):
    """The running `ansible-notify stream`.

    Every line is kept until the binary says that it is safe. If the binary dies, it is started
    again and told again what was not safe; the numbers of the events make that harmless.
    """

    def __init__(self):
        self.command = None
        self.hello = {"protocol": PROTOCOL}
        self.complain = warn
        self.closed = False
        self.ready = False
        self.drain = 5.0
        # (seq, play record, task record, line, what the line changes in a later hello)
        self.unsafe = deque()
        self.unsafe_size = 0
        self.safe = 0  # the last number that the binary confirmed
        # What a later process needs to say how the run ended
        self.began = 0.0
        self.stats = None
        self.look_size = LOOK_BYTES
        self.known = set()  # the play and task records that this process was told
        self.outbox = deque()  # what did not fit into the pipe
        self.heard = b""
        self.process = None
        self.stdin = None
        self.stdout = None
        self.starts = 0
        self.died = 0.0
        self.ending = False

    def send(self, seq, play, task, line, change=None):
        """Writes a line, after the records of its play and task, without waiting."""
        self.unsafe.append((seq, play, task, line, change))
        self.unsafe_size += len(line)
        if self.stdin is None:
            if self.process is not None:
                self.recover()
            return
        if play in self.known and task in self.known:
            self.write(line)
        else:
            self.tell(play, task, line)
        if seq % LOOK_EVENTS == 0 or self.unsafe_size > self.look_size:
            self.listen()
            self.look_size = self.unsafe_size + LOOK_BYTES
            if self.unsafe_size > UNSAFE_LIMIT:
                self.give_up("ansible-notify does not keep up; the rest of the run is not reported")

    def tell(self, play, task, line):
        """Writes a line after the records that it refers to, where they are not known yet."""
        for needed in (play, task):
            if needed is not None and needed not in self.known:
                self.known.add(needed)
                self.write(needed)
        self.write(line)

    def start(self):
        """Starts the binary and tells it everything that is not safe."""
        self.starts += 1
        self.ready = False
        self.heard = b""
        self.outbox.clear()
        self.known.clear()
        try:
            self.run()
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno) if getattr(error, "errno", None) else "a bad name"
            self.give_up("cannot run %s: %s. %s" % (self.command[0], reason, ADVICE))
            return
        hello = self.hello
        if self.starts > 1:
            resumed = {"after": self.safe, "began": self.began, "stats": self.stats}
            hello = dict(hello, resumed=resumed)
        self.write(record("hello", hello))
        for _seq, play, task, line, _change in list(self.unsafe):
            self.tell(play, task, line)
        if self.ending:
            self.write(END)

    def run(self):
        """Runs the binary with a pipe on either side."""
        stdin, self.stdin = pipe()
        self.stdout, stdout = pipe()
        # Ctrl-C is for Ansible; the binary goes on to deliver the end.
        own_session = {"preexec_fn": os.setsid} if PYTHON2 else {"start_new_session": True}
        try:
            # Standard error is named: from 2.19 on Ansible does not let programs inherit it.
            self.process = subprocess.Popen(
                self.command, stdin=stdin, stdout=stdout, stderr=2, close_fds=True, **own_session
            )
        finally:
            os.close(stdin)
            os.close(stdout)
        for end in (self.stdin, self.stdout):
            fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_NONBLOCK)
        try:
            # A write wakes the binary, which is not to run in place of Ansible.
            os.sched_setscheduler(self.process.pid, os.SCHED_BATCH, os.sched_param(0))
        except (AttributeError, OSError):
            pass  # not Linux, not Python 3, or not allowed
        try:
            fcntl.fcntl(self.stdin, F_SETPIPE_SZ, PIPE_SIZE)
        except (OSError, IOError):
            pass  # not Linux, or not allowed: the pipe stays small

    def write(self, line):
        """Writes what the pipe takes now; the rest waits in memory."""
        if self.stdin is None:
            return  # it died, and will be told everything again
        if self.outbox:
            self.outbox.append(line)
            self.flush()
            return
        try:
            written = os.write(self.stdin, line)
        except OSError as error:
            if error.errno not in WOULD_BLOCK:
                self.lose()
                return
            written = 0
        if written < len(line):
            self.outbox.append(line[written:])

    def flush(self):
        """Writes what waits in memory, as far as the pipe takes it."""
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
        """Reads the answers that are there."""
        while self.stdout is not None:
            try:
                heard = os.read(self.stdout, 65536)
            except OSError as error:
                if error.errno in WOULD_BLOCK:
                    return
                heard = b""
            if not heard:
                self.lose()
                return
            self.take_answers(heard)

    def take_answers(self, heard):
        lines = (self.heard + heard).split(b"\n")
        self.heard = lines.pop()
        for line in lines:
            try:
                answer = json.loads(line.decode("utf-8"))
                if "ready" in answer:
                    drain = float(answer["ready"].get("drain", self.drain))
                    self.drain = min(max(0.0, drain), DRAIN_LIMIT)
                    self.ready = True
                elif "safe" in answer:
                    self.forget(int(answer["safe"]))
            except (ValueError, TypeError, AttributeError):
                continue  # an answer of some later protocol

    def forget(self, safe):
        """Drops the lines up to this number: they are the binary's now."""
        self.safe = max(self.safe, safe)
        while self.unsafe and self.unsafe[0][0] <= safe:
            _seq, _play, _task, line, change = self.unsafe.popleft()
            self.unsafe_size -= len(line)
            if change:
                self.hello.update(change)

    def lose(self):
        """The binary has closed an end of its pipes: it is dead, or about to be."""
        stdout, self.stdout = self.stdout, None
        if stdout is not None:
            self.last_answers(stdout)
            os.close(stdout)
        self.close_stdin()
        self.outbox.clear()
        self.died = clock()

    def last_answers(self, stdout):
        """Reads what the binary had said before it died."""
        try:
            heard = os.read(stdout, 65536)
            while heard:
                self.take_answers(heard)
                heard = os.read(stdout, 65536)
        except OSError:
            pass  # nothing more is there

    def recover(self):
        """Starts a dead binary again, where that can help."""
        code = self.process.poll()
        if self.ending and self.ready and code in ORDERLY_EXITS:
            self.give_up(None)
        elif code is None and clock() < self.died + 1:
            pass  # it is about to exit, and the code decides: looked at again with the next event
        elif code == EXIT_CONFIGURATION:
            self.give_up(None)  # it has said itself what is wrong
        elif not self.ready and (code is None or code >= 0):
            # Nobody killed it: it would do the same again.
            self.give_up("%s ended before it was ready (exit code %s)" % (self.command[0], code))
        elif self.starts > RESTARTS:
            self.give_up("%s died %d times; giving up" % (self.command[0], self.starts))
        else:
            self.start()

    def give_up(self, reason):
        """From now on it is as if the plugin were not there."""
        self.closed = True
        self.close_stdin()
        self.let_go()
        self.unsafe.clear()
        self.outbox.clear()
        if reason:
            self.complain(reason)

    def close_stdin(self):
        stdin, self.stdin = self.stdin, None
        if stdin is not None:
            os.close(stdin)

    def let_go(self):
        """Leaves the binary to itself."""
        stdout, self.stdout = self.stdout, None
        if stdout is not None:
            os.close(stdout)
        if self.process is not None and self.process.poll() is None:
            self.process.returncode = 0  # or Python complains that it still runs

    def serve(self, done, seconds):
        """Reads and writes until `done`, or nothing moves for so long. Says whether it is done."""
        last = clock() + FLUSH_SECONDS + seconds
        deadline = clock() + seconds
        while not self.closed and not done():
            left = min(last, deadline) - clock()
            if left <= 0:
                return False
            if self.stdout is None:
                time.sleep(0.01)
                self.recover()
                continue
            before = (len(self.outbox), self.unsafe_size, self.starts)
            self.wait(left)
            self.flush()
            self.listen()
            if (len(self.outbox), self.unsafe_size, self.starts) != before:
                deadline = clock() + seconds
        return not self.closed

    def wait(self, seconds):
        """Waits until the binary takes or says something."""
        poll = select.poll()
        poll.register(self.stdout, select.POLLIN)
        if self.outbox and self.stdin is not None:
            poll.register(self.stdin, select.POLLOUT)
        try:
            poll.poll(int(seconds * 1000) + 1)
        except (OSError, IOError, select.error):
            pass  # interrupted by a signal, on Python 2

    def finish(self):
        """Says the end, and waits as long as the binary may take for deliveries."""
        self.ending = True
        if self.stdin is not None:
            self.write(END)
        elif self.process is None:
            self.start()
        while self.write_all():
            self.close_stdin()
            if not self.started_again():
                break
        if not self.closed and (self.outbox or not self.ready):
            warn("ansible-notify does not answer; not reported: %d events" % len(self.unsafe))
        self.let_go()

    def write_all(self):
        """Writes what waits; says whether it was taken."""
        return self.serve(lambda: self.stdout is not None and not self.outbox, self.drain + GRACE)

    def started_again(self):
        """Waits for the binary to exit; says whether it died instead, and runs again."""
        starts = self.starts
        return self.serve(lambda: self.starts > starts, self.drain + GRACE)


def pipe():
    """The reading and the writing end of a pipe that no other program inherits, in Python 2 too."""
    ends = os.pipe()
    for end in ends:
        fcntl.fcntl(end, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return ends


def record(name, content):
    """A line that is not an event."""
    # Secrets of `hello` and `overrides` are meant to be here, so nothing is left out or cut.
    line = '{"%s":%s}\n' % (name, to_json(content))
    return SURROGATES.sub(REPLACEMENT, line).encode("utf-8")


ADVICE = (
    "Put ansible-notify on PATH, or name it in ANSIBLE_NOTIFY_BINARY or as `binary` in the section "
    "[callback_ansible_notify] of ansible.cfg. The run is not reported"
)


def warn(text):
    display.warning("ansible_notify: %s" % text)


def find_binary(option):
    """The program: as configured, or beside the running Python, or as found on PATH."""
    if option:
        return os.path.expanduser(option)
    places = [sysconfig.get_path("scripts"), os.path.dirname(sys.executable or "")]
    for place in filter(None, places):
        candidate = os.path.join(place, "ansible-notify")
        if os.access(candidate, os.X_OK):
            return candidate
    return "ansible-notify"


def find_project(playbook_directory):
    """The directory whose plugin_config.ini is the project's."""
    beside = os.path.dirname(os.path.abspath(__file__))
    for place in (beside, os.path.join(playbook_directory, "callback_plugins"), playbook_directory):
        if os.path.isfile(os.path.join(place, "plugin_config.ini")):
            return place
    return beside


# ------------------------------------------------------------------------------
# What a play's variables override
# ------------------------------------------------------------------------------

# They are no `vars` of the options: ansible-core 2.21 would load the plugin only if their templates
# needed nothing of a play.
OVERRIDES = ("callback_url", "username", "password", "validate_certs")


class Overrides(object):
    """Reads the variables that override the configuration; warns once of each it cannot use."""

    def __init__(self):
        self.warned = set()

    def of_play(self, play):
        manager = play.get_variable_manager()
        extra = manager.extra_vars
        chosen = {}
        if "callback_url" in extra:
            chosen.update((key, (key, extra[key])) for key in OVERRIDES if key in extra)
        try:
            variables = manager.get_vars(play=play)
        except Exception:
            variables = extra  # a file of variables that cannot be read is the play's own error
        for key in OVERRIDES:
            name = "ansible_notify_" + key
            if name in variables:
                chosen[key] = (name, variables[name])
        templar = Templar(loader=play.get_loader(), variables=variables)
        read = ((key, self.read(name, value, templar)) for key, (name, value) in chosen.items())
        return {key: value for key, value in read if value not in (None, "")}

    def read(self, name, value, templar):
        """The value, decrypted and templated; None where that fails."""
        try:
            if is_encrypted(value):
                value = str(value)
            value = templar.template(value)
            if value is None or isinstance(value, bool):
                return value
            if isinstance(value, (TEXT, bytes, numbers.Real)):
                return as_text("%s" % value)
            problem = "it is not text"
        except Exception as error:
            problem = type(error).__name__  # its message may hold the value
        if name not in self.warned:
            self.warned.add(name)
            warn("the variable %s is not used: %s" % (name, problem))
        return None


# ------------------------------------------------------------------------------
# From callbacks to records
# ------------------------------------------------------------------------------


class Task(object):
    """What is kept of a task: its record, and the fragment of events that names it."""

    def __init__(self, number_, task):
        self.line = record(
            "task",
            {
                "id": str(number_),
                "name": short(task.name or task.action),
                "action": short(task.action),
                "path": short(path_of(task)) or None,
                "role": short(task._role.get_name()) if task._role else None,
                "tags": [short(tag) for tag in task.tags or ()],
                "handler": isinstance(task, Handler),
            },
        )
        self.fragment = ',"task":"%d"' % number_
        self.is_delegated = task.delegate_to is not None


class Run(object):
    """One controller process: numbers plays, tasks and events, and hands them to the binary."""

    def __init__(self):
        self.pid = os.getpid()
        self.stream = Stream()
        self.options = {}
        self.overrides = Overrides()
        self.overriding = {}
        self.generation = 1
        self.about = None
        self.directory = os.getcwd()
        self.seq = 0
        self.plays = 0
        self.play_line = None
        self.play_fragment = ""
        self.tasks = {}  # task uuid: Task
        self.hosts = {}  # host name: the fragment that describes it
        self.running = {}  # host name: (task uuid, when it began, task)
        self.failed = False

    # -- the run itself --

    def describe(self, playbook):
        """Makes the run object of the protocol; the first one goes into `hello`."""
        arguments = context.CLIARGS
        path = getattr(playbook, "_file_name", None)
        path = os.path.abspath(as_text(path)) if path not in (None, "__adhoc_playbook__") else None
        if playbook is not None:
            self.directory = as_text(playbook._basedir) or self.directory
        limit = arguments.get("subset")
        self.about = {
            "id": self.about["id"] if self.about else str(uuid.uuid4()),
            "playbook": os.path.basename(path) if path else None,
            "path": path,
            "check": bool(arguments.get("check")),
            "user": user(),
            "controller": socket.gethostname(),
            "ansible_version": ansible_version,
            "limit": as_text(limit) if limit else None,
            "tags": [as_text(tag) for tag in arguments.get("tags") or ()],
            "inventory": [as_text(source) for source in arguments.get("inventory") or ()],
        }
        if self.stream.hello.setdefault("run", self.about) is self.about:
            self.stream.began = time.time()

    def start(self):
        """Starts the binary, once."""
        stream = self.stream
        if stream.closed or stream.process is not None:
            return
        if self.about is None:
            self.describe(None)
        stream.command = [find_binary(self.options.get("binary")), "stream"]
        stream.command += ["--project", find_project(self.directory)]
        if self.options.get("config"):
            stream.command += ["--config", os.path.expanduser(self.options["config"])]
        if self.options.get("quiet"):
            stream.command.append("--quiet")
        if self.options.get("strict"):
            stream.command.append("--strict")
        stream.hello["overrides"] = self.overrides_record()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.leave_fork)
        atexit.register(self.finish)
        stream.start()

    def require(self):
        """Starts the binary, and stops Ansible unless it is ready. Only ever on the main thread."""
        problems = []
        self.stream.complain = problems.append
        self.start()
        if not self.stream.serve(lambda: self.stream.ready, READY_SECONDS):
            self.stream.give_up(None)
            problem = (problems or ["ansible-notify is not ready"])[0]
            display.error("ansible_notify: %s, and `strict` is set" % problem)
            raise SystemExit(EXIT_CONFIGURATION)
        self.stream.complain = warn

    def leave_fork(self):
        """A worker must not hold the pipe open when the controller is gone."""
        self.stream.close_stdin()
        if self.stream.stdout is not None:
            os.close(self.stream.stdout)
            self.stream.stdout = None

    def finish(self):
        """The end of the controller process."""
        if os.getpid() != self.pid or self.stream.closed:
            return
        try:
            self.stream.finish()
        except KeyboardInterrupt:
            self.stream.let_go()
        except Exception as error:
            self.report(error)

    def report(self, error):
        """Warns once of an error of this plugin. Its text may hold data, so it is not shown."""
        if not self.failed:
            self.failed = True
            trace = sys.exc_info()[2]
            while (
                trace.tb_next is not None and trace.tb_next.tb_frame.f_code.co_filename == __file__
            ):
                trace = trace.tb_next
            place = "%s, line %d" % (type(error).__name__, trace.tb_lineno)
            warn("an event is not reported: internal error (%s)" % place)

    # -- events --

    def event(self, name, task=None, rest=""):
        """Sends one event; `rest` is JSON for the end of its object."""
        self.seq += 1
        line = '{"event":{"seq":%d,"event":"%s","time":%.6f%s%s%s}}\n' % (
            self.seq,
            name,
            time.time(),
            self.play_fragment,
            task.fragment if task else "",
            rest,
        )
        try:
            line = line.encode("utf-8")
        except UnicodeError:  # surrogates, where a program wrote what is not UTF-8
            line = SURROGATES.sub(REPLACEMENT, line).encode("utf-8")
        self.stream.send(self.seq, self.play_line, task.line if task else None, line)

    def step(self, name, task=None, host=None, brought=None):
        """An event that is not a result."""
        if self.stream.process is None and name not in EARLY:
            self.start()
        rest = ',"host":{%s}' % self.host(host) if host else ""
        if brought:
            text, cut = encode(brought, RESULT_ROOM)
            rest += ',"result":' + text + (',"truncated":true' if cut else "")
        self.event(name, task and self.task(task), rest)

    def result(self, name, result, ignored=False):
        """An event that is a result."""
        if self.stream.process is None:
            self.start()
        # From 2.19 on the names with an underscore are on their way out.
        if hasattr(result.__class__, "result"):
            host, task, brought = result.host, result.task, result.result
        else:
            host, task, brought = result._host, result._task, result._result
        hidden = is_hidden(task, brought)
        running, began, parsed_task = self.running.get(host.name, NOT_RUNNING)
        if name in ASYNC and parsed_task is not None:
            # Polls come with a task of their own that nobody wrote.
            task = parsed_task
            hidden = hidden or task.no_log not in (None, False)
        about = self.tasks.get(task._uuid) or self.task(task)

        rest = ',"changed":true' if brought.get("changed") else ""
        if ignored:
            rest += ',"ignored":true'
        if running == task._uuid:
            rest += ',"duration":%.6f' % (clock() - began)
        delegated = delegation(task) if about.is_delegated else ""
        rest += ',"host":{%s%s}' % (self.hosts.get(host.name) or self.host(host), delegated)
        if hidden:
            rest += ',"result":' + to_json(censored(brought))
        else:
            rest += brought_json(name, task, brought)
        self.event(name, about, rest)

    def notified(self, handler, host):
        name = handler.name or handler.get_name()
        self.step("playbook_on_notify", host=host, brought={"handler": short(name)})

    def included(self, included):
        hosts = [short(host.name) for host in included._hosts]
        brought = {"file": short(included._filename), "hosts": hosts}
        self.step("playbook_on_include", included._task, brought=brought)

    def imported(self, name, result, path):
        self.step(name, result._task, result._host, {"file": short(path)})

    def counted(self, stats):
        hosts = {short(name): stats.summarize(name) for name in stats.processed}
        self.stream.stats = hosts
        self.step("playbook_on_stats", brought={"stats": hosts})

    # -- plays, tasks, hosts --

    def playbook_started(self, playbook):
        first = self.about is None
        self.stream.stats = None
        self.describe(playbook)
        self.play_line, self.play_fragment = None, ""
        if not first:
            self.stream.send(self.seq, None, None, record("run", self.about), {"run": self.about})
        self.step("playbook_on_start")

    def play_started(self, play):
        self.plays += 1
        name = play.get_name()
        # Up to 2.16 it is not text where the hosts of a play are undefined.
        name = short(name) if isinstance(name, (TEXT, bytes)) else ""
        self.play_line = record("play", {"id": str(self.plays), "name": name})
        self.play_fragment = ',"play":"%d"' % self.plays
        self.hosts.clear()
        self.running.clear()
        overriding = self.overrides.of_play(play)
        changed = overriding != self.overriding
        self.overriding = overriding
        self.generation += changed
        first = self.stream.process is None
        if not first and changed:
            told = self.overrides_record()
            line = record("overrides", told)
            self.stream.send(self.seq, None, None, line, {"overrides": told})
        self.step("playbook_on_play_start")
        if first:
            if self.options.get("strict"):
                self.require()
            else:
                self.start()

    def overrides_record(self):
        """What the play's vars set, and how often that changed."""
        return dict(self.overriding, generation=self.generation)

    def task(self, task):
        """What is kept of the task. Ansible's own id is not sent: it holds the hardware address."""
        known = self.tasks.get(task._uuid)
        if known is None:
            known = self.tasks[task._uuid] = Task(len(self.tasks) + 1, task)
        return known

    def task_started_on(self, host, task):
        self.running[host.name] = (task._uuid, clock(), task)

    def host(self, host):
        """The JSON that describes the host, without its braces."""
        name = host.name
        fragment = self.hosts.get(name)
        if fragment is None:
            fragment = '"name":%s' % encode(short(name))[0]
            address = host.vars.get("ansible_host", host.vars.get("ansible_ssh_host"))
            if isinstance(address, TEXT) and "{{" not in address:
                fragment += ',"address":%s' % encode(short(address))[0]
            self.hosts[name] = fragment
        return fragment


# The binary is not started for these alone: the variables of the first play belong into `hello`.
EARLY = ("playbook_on_start", "playbook_on_vars_prompt", "playbook_on_play_start")
NOT_RUNNING = (None, None, None)
RUN = Run()


def path_of(task):
    """The file and line of the task, where there is one."""
    try:
        return task.get_path()
    except AttributeError:  # 2.9, with a task outside of any block
        return None


def delegation(task):
    """The JSON for the host that a task was delegated to."""
    to = task.delegate_to
    if isinstance(to, TEXT) and to and "{{" not in to:
        return ',"delegated_to":%s' % encode(short(to))[0]
    return ""


def user():
    try:
        return as_text(getpass.getuser())
    except Exception:  # a user id without a name
        return str(os.getuid())


def text_option(value):
    """The option as text; set but empty counts as not set."""
    return as_text(value) if value else None


class CallbackModule(CallbackBase):
    """The callbacks. None of them may raise: in the wrong thread that would hang the play."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "ansible_notify"
    CALLBACK_NEEDS_ENABLED = True
    CALLBACK_NEEDS_WHITELIST = True

    def set_options(self, task_keys=None, var_options=None, direct=None):
        super(CallbackModule, self).set_options(task_keys, var_options, direct)
        RUN.options = {
            "binary": text_option(self.get_option("binary")),
            "config": text_option(self.get_option("config")),
            "quiet": self.get_option("quiet") is True,
            "strict": self.get_option("strict") is True,
        }

    def safely(self, act, *arguments):
        """Calls act, unless this is a forked worker; nothing but SystemExit ever comes out."""
        if RUN.stream.closed or os.getpid() != RUN.pid:
            self.disabled = True
            return
        try:
            act(*arguments)
        except Exception as error:
            RUN.report(error)

    def v2_playbook_on_start(self, playbook):
        self.safely(RUN.playbook_started, playbook)

    def v2_playbook_on_vars_prompt(self, varname, *args, **kwargs):
        # Nothing else of it: there is a default, which may be a secret.
        self.safely(RUN.step, "playbook_on_vars_prompt", None, None, {"name": varname})

    def v2_playbook_on_play_start(self, play):
        self.safely(RUN.play_started, play)

    def v2_playbook_on_no_hosts_matched(self):
        self.safely(RUN.step, "playbook_on_no_hosts_matched")

    def v2_playbook_on_no_hosts_remaining(self):
        self.safely(RUN.step, "playbook_on_no_hosts_remaining")

    def v2_playbook_on_task_start(self, task, is_conditional=False):
        self.safely(RUN.step, "playbook_on_task_start", task)

    def v2_playbook_on_cleanup_task_start(self, task):
        self.safely(RUN.step, "playbook_on_cleanup_task_start", task)

    def v2_playbook_on_handler_task_start(self, task):
        self.safely(RUN.step, "playbook_on_handler_task_start", task)

    def v2_playbook_on_notify(self, handler, host):
        self.safely(RUN.notified, handler, host)

    def v2_playbook_on_include(self, included_file):
        self.safely(RUN.included, included_file)

    def v2_playbook_on_import_for_host(self, result, imported_file):
        self.safely(RUN.imported, "playbook_on_import_for_host", result, imported_file)

    def v2_playbook_on_not_import_for_host(self, result, missing_file):
        self.safely(RUN.imported, "playbook_on_not_import_for_host", result, missing_file)

    def v2_playbook_on_stats(self, stats):
        self.safely(RUN.counted, stats)

    def v2_runner_on_start(self, host, task):
        self.safely(RUN.task_started_on, host, task)

    def v2_runner_on_ok(self, result):
        self.safely(RUN.result, "runner_on_ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.safely(RUN.result, "runner_on_failed", result, ignore_errors)

    def v2_runner_on_skipped(self, result):
        self.safely(RUN.result, "runner_on_skipped", result)

    def v2_runner_on_unreachable(self, result, **kwargs):
        self.safely(RUN.result, "runner_on_unreachable", result)

    def v2_runner_on_no_hosts(self, task):
        self.safely(RUN.step, "runner_on_no_hosts", task)

    def v2_runner_on_async_poll(self, result):
        self.safely(RUN.result, "runner_on_async_poll", result)

    def v2_runner_on_async_ok(self, result):
        self.safely(RUN.result, "runner_on_async_ok", result)

    def v2_runner_on_async_failed(self, result):
        self.safely(RUN.result, "runner_on_async_failed", result)

    def v2_runner_retry(self, result):
        self.safely(RUN.result, "runner_retry", result)

    def v2_runner_item_on_ok(self, result):
        self.safely(RUN.result, "runner_item_on_ok", result)

    def v2_runner_item_on_failed(self, result):
        self.safely(RUN.result, "runner_item_on_failed", result)

    def v2_runner_item_on_skipped(self, result):
        self.safely(RUN.result, "runner_item_on_skipped", result)

    def v2_on_file_diff(self, result):
        self.safely(RUN.result, "on_file_diff", result)
