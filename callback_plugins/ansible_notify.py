# -*- coding: utf-8 -*-
# Copyright: the ansible-notify contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes Ansible's events to `ansible-notify stream`, over a pipe on which nothing ever blocks."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
name: ansible_notify
type: notification
short_description: Sends task results to HTTP endpoints, chat, email and pagers
description:
  - Passes every result and every step of a run to the program C(ansible-notify), which selects the
    notifiers and delivers to HTTP endpoints, chat, email and pagers.
  - Tasks never wait for a delivery. Failed deliveries are retried.
  - C(plugin_config.ini) next to this plugin configures the notifiers and their events.
  - Task arguments and environments are never sent, and variables only if the section C([event]) of
    C(plugin_config.ini) lists them. Under C(no_log), only names, state and timing are sent.
author:
  - The ansible-notify contributors (@ansible-notify)
requirements:
  - the program C(ansible-notify) on the controller
notes:
  - In a directory C(callback_plugins) next to the playbook, or in another one that Ansible reads,
    the plugin is enabled automatically. In a collection, enable it by its full name in
    C(callbacks_enabled). If several copies are enabled, only one of them reports.
  - Without C(plugin_config.ini) on any level, and without a variable that sets an endpoint, the
    plugin does nothing.
  - Variables are taken from C(-e) and from the play (C(vars), C(vars_files), C(vars_prompt)),
    templated and decrypted, but not from the inventory.
  - The plain variables C(-e callback_url=... -e username=... -e password=... -e validate_certs=...)
    also work, but only together with C(callback_url).
  - C(runner_on_no_hosts), C(playbook_on_cleanup_task_start), C(playbook_on_import_for_host) and
    C(playbook_on_not_import_for_host) are reported if Ansible calls them; no version since 2.9
    does.
  - C(runner_on_async_poll), C(runner_on_async_ok) and C(runner_on_async_failed) are not called
    before 2.12. C(playbook_on_no_hosts_remaining) is not called for C(any_errors_fatal) since 2.17.
  - For ad hoc commands, set C(bin_ansible_callbacks = true), and set C(callback_plugins) to the
    directory of this plugin unless Ansible finds it anyway.
options:
  enabled:
    description:
      - Set to C(false) to turn the plugin off. To turn it off for one run, use
        C(-e ansible_notify_enabled=false).
    type: str
    default: "true"
    env:
      - name: ANSIBLE_NOTIFY_ENABLED
    ini:
      - section: callback_ansible_notify
        key: enabled
  binary:
    description:
      - Path of the program C(ansible-notify). By default, it is searched for next to the running
        Python, where C(pip install --user) puts programs, in C(bin) of the collection, and on
        C(PATH).
    type: str
    env:
      - name: ANSIBLE_NOTIFY_BINARY
    ini:
      - section: callback_ansible_notify
        key: binary
  config:
    description:
      - The only configuration file to use, instead of those of the organization, the user and the
        project.
    type: str
    env:
      - name: ANSIBLE_NOTIFY_CONFIG
    ini:
      - section: callback_ansible_notify
        key: config
  quiet:
    description:
      - Do not print a summary at the end of a run.
    type: bool
    default: false
    env:
      - name: ANSIBLE_NOTIFY_QUIET
    ini:
      - section: callback_ansible_notify
        key: quiet
  strict:
    description:
      - Stop at the first play if the program is missing, its configuration is unusable, or a secret
        cannot be read. Otherwise, these are warnings.
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
  [callback_ansible_notify]
  strict = true

play: |
  - hosts: web
    vars:
      ansible_notify_callback_url: "https://ops.example.com/{{ region }}"
"""

import atexit
import copy
import datetime
import errno
import fcntl
import fnmatch
import getpass
import json
import math
import numbers
import os
import pwd
import re
import select
import signal
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
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.executor.stats import AggregateStats
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing import vault
from ansible.playbook.handler import Handler
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__ as ansible_version
from ansible.template import Templar
from ansible.utils.display import Display

try:
    from ansible._internal._datatag._tags import Origin, VaultedValue  # from 2.19 on
except ImportError:
    Origin = VaultedValue = None

# The program's version; the program reads it from here.
VERSION = "0.1.0"
PROTOCOL = 1
PYTHON2 = sys.version_info[0] == 2
TEXT = type(json.loads('""'))  # str, in Python 2 unicode
HERE = os.path.dirname(os.path.abspath(__file__))
display = Display()


def word_set(text):
    """Returns the words of a text as a set."""
    return frozenset(text.split())


# The clock for durations: a monotonic one, except in Python 2.
clock = getattr(time, "monotonic", time.time)

# ------------------------------------------------------------------------------
# JSON: always strict, never too long
# ------------------------------------------------------------------------------

# A line may have 4 MiB. Byte limits in it for a result, and for a short value such as a loop item.
RESULT_ROOM = 3670016
SHORT_ROOM = 65536
# Character limits of one string: the first one with which the whole fits its room is used.
STRING_LIMITS = (1048576, 65536, 4096)
DEPTH_LIMIT = 100
NUMBER_BITS = 4096
NAME_LIMIT = 4096

SCALARS = frozenset((TEXT, bytes, int, float, bool, type(None)))

REDACTED = "<redacted>"
TOO_DEEP = "[left out: nested too deeply]"
TOO_LARGE = "[left out: too large]"
NO_TRACEBACK = "(traceback unavailable)"
HIDDEN = "the output has been hidden because of no_log"
# The fields that stay of a result under no_log.
STATE = ("changed", "attempts", "retries")

# Arguments, variables given to an include, the environment, and all items of a loop, some of which
# may be under no_log. They must not leave Ansible, at any depth. The program has the same.
PRIVATE = word_set("invocation include_args ansible_env ansible_loop")
PRIVATE_IN_TEXT = tuple('"%s"' % key for key in sorted(PRIVATE))

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
    """Returns a function that encodes JSON. It raises for other values: Cleaner handles them."""
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
    """Returns the value as JSON of at most `room` bytes, and whether something was cut."""
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
    """Returns true if a text at the top level is too long for the fast path."""
    for part in value.values() if isinstance(value, dict) else (value,):
        if isinstance(part, (TEXT, bytes)) and len(part) * 4 > room:
            return True
    return False


def has_objects(value):
    """Returns true if an object is nested in the value: only there can private data be."""
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
    """Returns true if the JSON may hold private data, at any depth."""
    return (
        "_ansible_" in text
        or '"censored"' in text
        or any(key in text for key in PRIVATE_IN_TEXT)
        or (PYTHON2 and "\\ud" in text)
    )


class TooLarge(Exception):
    """Raised if a value does not fit its room with this limit of its strings."""


class Cleaner(object):
    """Converts a value to one that JSON can hold, without private data."""

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
        labelled = labelled_by(value)
        for key, part in value.items():
            if key == labelled:
                continue
            if isinstance(key, bytes):
                key = key.decode("utf-8", "replace")
            elif not isinstance(key, TEXT):
                key = to_json(self.clean(key, depth)).strip('"')
            if key not in PRIVATE and not key.startswith("_ansible_"):
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


def labelled_by(item):
    """Returns the key of a loop item whose label hides a part of it, or None."""
    variable = item.get("ansible_loop_var", "item") if "_ansible_item_label" in item else None
    is_whole = not isinstance(item.get(variable), abc.Mapping)
    return None if is_whole or item[variable] == item["_ansible_item_label"] else variable


def number(value):
    """Returns the number, or text for numbers that JSON or its readers do not support."""
    if isinstance(value, numbers.Integral):
        return value if abs(value).bit_length() <= NUMBER_BITS else "[left out: a number too long]"
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def is_encrypted(value):
    """Returns true for a vaulted value, of old and new versions of Ansible."""
    return getattr(value, "__ENCRYPTED__", False) or value.__class__.__name__ == "EncryptedString"


def parts_of(value, with_keys=False):
    """Returns the parts of a container; none of any other value."""
    if isinstance(value, abc.Mapping):
        return list(value) * with_keys + list(value.values())
    is_list = isinstance(value, (abc.Sequence, abc.Set)) and not isinstance(value, (TEXT, bytes))
    return list(value) if is_list else []


def as_text(value):
    """Returns a name as text, but never the text of an unknown object."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, TEXT):
        return value
    return "%s" % value if isinstance(value, numbers.Real) else "<%s>" % type(value).__name__


def short(value):
    """Returns a name as text, cut to the length limit of a record."""
    value = as_text(value or "")
    return value if len(value) <= NAME_LIMIT else Cleaner(NAME_LIMIT, SHORT_ROOM).text(value)


# ------------------------------------------------------------------------------
# The parts of a result that may be sent
# ------------------------------------------------------------------------------

ITEMS = word_set("runner_item_on_ok runner_item_on_failed runner_item_on_skipped")
AGGREGATES = word_set("runner_on_ok runner_on_failed runner_on_skipped runner_on_unreachable")
# A loop's items say what its own result does not.
SUCCESSES = word_set("runner_on_ok runner_item_on_ok")
ASYNC = word_set("runner_on_async_poll runner_on_async_ok runner_on_async_failed")
RESULTS = ITEMS | AGGREGATES | ASYNC | word_set("runner_retry on_file_diff")
STEPS = word_set(
    "playbook_on_no_hosts_matched playbook_on_no_hosts_remaining playbook_on_task_start"
    " playbook_on_cleanup_task_start playbook_on_handler_task_start runner_on_no_hosts"
)

# No loop item's module arguments, no variables given to an include, nothing of Ansible's own.
# `ansible_loop` has all items of the loop, including those under no_log.
DROPPED = word_set(
    "invocation include_args stdout_lines stderr_lines ansible_loop _ansible_no_log"
    " _ansible_item_label _ansible_verbose_always _ansible_verbose_override _ansible_delegated_vars"
)


def is_censored(brought):
    # A value other than a text is the module's own.
    hidden = isinstance(brought.get("censored"), (TEXT, bytes))
    return hidden or bool(brought.get("_ansible_no_log"))


def is_hidden(task, brought):
    """Returns true if a result is under no_log. Results of included tasks do not say so."""
    no_log = task.no_log
    return (
        no_log is True
        or is_censored(brought)
        or (no_log not in (None, False) and "_ansible_no_log" not in brought)
    )


def censored(brought):
    """Returns the part of a no_log result that may be sent."""
    kept = {key: brought[key] for key in STATE if isinstance(brought.get(key), int)}
    kept["censored"] = HIDDEN
    return kept


def cause_of(result, brought):
    """Returns the message of the error behind a failure if the result lacks it (2.19 and later)."""
    error = getattr(result, "exception", None)
    event = getattr(error, "event", None)
    for _depth in range(DEPTH_LIMIT):
        chain = getattr(event, "chain", None)
        if chain is None or not chain.follow:
            break
        event = chain.event
    message = getattr(event, "msg", None)
    known = brought.get("msg") or ""
    if isinstance(message, TEXT) and isinstance(known, TEXT) and message not in known:
        return message
    return None


def strip(name, task, brought, cause=None):
    """Returns the result without private data and without copies that the program can restore."""
    kept = {key: part for key, part in brought.items() if key not in DROPPED}
    for lines in ("stdout_lines", "stderr_lines"):
        if lines in brought and lines[:6] not in brought:
            kept[lines] = brought[lines]
    if name in AGGREGATES and "results" in kept and task.loop is not None:
        del kept["results"]  # each item had its own event
    if name in ITEMS and is_labelled(task):
        # The label may be there to hide the rest of the item.
        kept.pop(brought.get("ansible_loop_var", "item"), None)
    if "exception" in kept and kept["exception"] == NO_TRACEBACK:
        del kept["exception"]
        if cause:
            kept["exception"] = cause
    facts = kept.get("ansible_facts")
    if isinstance(facts, dict) and "ansible_env" in facts:
        kept["ansible_facts"] = {key: facts[key] for key in facts if key != "ansible_env"}
    if "add_host" in kept:
        added = kept["add_host"]
        kept["add_host"] = {key: added[key] for key in ("host_name", "groups") if key in added}
    return kept


def is_labelled(task):
    """Returns true if the task sets the label of its loop items."""
    return getattr(task.loop_control, "label", None) is not None


def item_of(task, brought):
    """Returns the name of a loop item: its label, if there is one that could be evaluated."""
    item = brought.get(brought.get("ansible_loop_var", "item"))
    label = brought.get("_ansible_item_label")
    if not is_labelled(task):
        return item if label is None else label
    # 2.21 uses the item itself in place of a label that it could not evaluate.
    is_item = isinstance(label, (abc.Mapping, abc.MutableSequence)) and label == item
    return None if is_item else label


def brought_json(name, task, brought, cause=None):
    """Returns the members of an event for a result that is not under no_log."""
    item, cut_item = "", False
    if name == "on_file_diff":
        brought = {"diff": brought.get("diff")}
    elif name in ITEMS:
        item, cut_item = encode(item_of(task, brought))
        item = ',"item":' + item
    text, cut = encode(strip(name, task, brought, cause), RESULT_ROOM)
    return '%s,"result":%s%s' % (item, text, ',"truncated":true' if cut or cut_item else "")


# ------------------------------------------------------------------------------
# The binary
# ------------------------------------------------------------------------------

CONFIG_FILE = "plugin_config.ini"
F_SETPIPE_SZ = 1031
PIPE_SIZE = 1048576
RESTARTS = 3
# Events or bytes after which answers are read; unconfirmed bytes at which the binary is given up.
LOOK_EVENTS = 64
LOOK_BYTES = 262144
UNSAFE_LIMIT = 268435456
# Reads at once, and bytes kept of an answer without an end.
LOOK_READS = 16
ANSWER_LIMIT = 65536
READY_SECONDS = 10
# Seconds within which the binary must report its version.
VERSION_SECONDS = 2
# Seconds that the end may take beyond `drain`: without progress, and in total.
GRACE = 2
FLUSH_SECONDS = 60
DRAIN_LIMIT = 3600
EXIT_USAGE = 2
EXIT_CONFIGURATION = 78
ORDERLY_EXITS = (0, 65, 69, 74, 75)
WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)


class Stream(object):
    """A running `ansible-notify stream`.

    Every line is kept until the binary says that it is safe. If the binary dies, it is started
    again and told again what was not safe; the numbers of the events make that harmless.
    """

    def __init__(self):
        self.command = None
        self.hello = {"protocol": PROTOCOL, "version": VERSION}
        self.complain = warn
        self.closed = False
        self.ready = False
        self.wants_starts = True  # until the binary is ready, it may want them
        self.drain = 5.0
        # (seq, play and task record, line, what it changes in a later hello, host record)
        self.unsafe = deque()
        self.unsafe_size = 0
        self.safe = 0  # the last number that the binary confirmed
        # Facts that a later process needs to tell how the run ended
        self.began = 0.0
        self.stats = None
        self.carried = {}  # variables and custom stats of the run so far
        self.config = None  # which variables events may carry, once the binary has said so
        self.look_size = LOOK_BYTES
        self.known = {None}  # the play, host and task records that this process was told
        self.outbox = deque()  # what did not fit into the pipe
        self.heard = b""
        self.process = None
        self.stdin = None
        self.stdout = None
        self.starts = 0
        self.died = 0.0
        self.late = False  # events of the run were reported to nobody before
        self.ending = False
        self.last = {"reason": "exit", "code": None}

    def send(self, seq, play, task, line, change=None, host=None):
        """Writes a line, after the records of its play, host and task, without waiting."""
        if self.closed:
            return
        self.unsafe.append((seq, play, task, line, change, host))
        self.unsafe_size += len(line)
        if self.stdin is None:
            if self.process is not None:
                self.recover()
            return
        if play in self.known and task in self.known and host in self.known:
            self.write(line)
        else:
            self.tell((play, host, task), line)
        if seq % LOOK_EVENTS == 0 or self.unsafe_size > self.look_size:
            self.listen()
            self.look_size = self.unsafe_size + LOOK_BYTES
            if self.unsafe_size > UNSAFE_LIMIT:
                self.give_up("ansible-notify cannot keep up; the rest of the run is not reported")

    def tell(self, records, line):
        """Writes a line, after those records it refers to that were not sent before."""
        for needed in records:
            if needed not in self.known:
                self.known.add(needed)
                self.write(needed)
        self.write(line)

    def start(self):
        """Starts the binary and sends it every line that is not safe yet."""
        self.starts += 1
        self.ready = False
        self.heard = b""
        self.outbox.clear()
        self.known = {None}
        try:
            self.run()
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno) if getattr(error, "errno", None) else "invalid name"
            self.give_up("cannot run %s: %s. %s" % (self.command[0], reason, ADVICE))
            return
        hello = self.hello
        if self.starts > 1 or self.late:
            resumed = {"after": self.safe, "began": self.began, "stats": self.stats}
            hello = dict(hello, resumed=dict(self.carried, **resumed))
        self.write(record("hello", hello))
        for _seq, play, task, line, _change, host in list(self.unsafe):
            self.tell((play, host, task), line)
        if self.ending:
            self.write_end()

    def write_end(self):
        self.write(record("end", self.last))

    def run(self):
        """Starts the process, with a pipe for its input and one for its output."""
        stdin, self.stdin = pipe()
        self.stdout, stdout = pipe()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # Ctrl-C is for Ansible; the binary continues, to deliver the end.
        options = {"preexec_fn": os.setsid} if PYTHON2 else {"start_new_session": True}
        # Standard error is named: from 2.19 on Ansible does not let programs inherit it.
        options.update(stdin=stdin, stdout=stdout, stderr=2 if is_open(2) else nowhere)
        try:
            self.process = subprocess.Popen(self.command, close_fds=True, **options)
        finally:
            for end in (stdin, stdout, nowhere):
                os.close(end)
        for end in (self.stdin, self.stdout):
            fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_NONBLOCK)
        try:
            # A write wakes the binary, which must not preempt Ansible.
            os.sched_setscheduler(self.process.pid, os.SCHED_BATCH, os.sched_param(0))
        except (AttributeError, OSError):
            pass  # not Linux, not Python 3, or not allowed
        try:
            fcntl.fcntl(self.stdin, F_SETPIPE_SZ, PIPE_SIZE)
        except (OSError, IOError):
            pass  # not Linux, or not allowed: the pipe stays small

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
        is_older = isinstance(protocol, numbers.Integral) and protocol < PROTOCOL
        spoken = (self.command[0], ready.get("version", "unknown"), protocol, VERSION, PROTOCOL)
        self.give_up(
            "the program %s (version %s) speaks protocol %s, this plugin (version %s) protocol %d; "
            % spoken
            + (UPGRADE_PROGRAM if is_older else UPGRADE_PLUGIN)
        )
        return False

    def take_ready(self, ready):
        """Notes that the binary is ready, what it wants, and how long the end may take."""
        self.drain = min(max(0.0, float(ready.get("drain", self.drain))), DRAIN_LIMIT)
        self.wants_starts = ready.get("starts") is True
        self.ready = True

    def take_config(self, config):
        """Notes which variables events may carry. A later process has the same list."""
        if self.config is None:
            self.config = {
                "vars": [as_text(name) for name in config.get("vars", ())],
                "groups": config.get("groups") is True,
            }

    def forget(self, safe):
        """Drops the lines up to this number: the binary has them safe."""
        self.safe = max(self.safe, safe)
        while self.unsafe and self.unsafe[0][0] <= safe:
            _seq, _play, _task, line, change, _host = self.unsafe.popleft()
            self.unsafe_size -= len(line)
            if change:
                self.hello.update(change)

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

    def close_stdout(self):
        stdout, self.stdout = self.stdout, None
        close(stdout)

    def let_go(self):
        """Closes the pipe of answers without waiting for the binary."""
        self.close_stdout()
        if self.process is not None and self.process.poll() is None:
            self.process.returncode = 0  # or Python complains that it still runs

    def serve(self, done, seconds):
        """Reads and writes until `done`, or `seconds` without progress; returns if it is done."""
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
        """Waits until the binary reads or answers."""
        poll = select.poll()
        poll.register(self.stdout, select.POLLIN)
        if self.outbox and self.stdin is not None:
            poll.register(self.stdin, select.POLLOUT)
        try:
            poll.poll(int(seconds * 1000) + 1)
        except (OSError, IOError, select.error):
            pass  # interrupted by a signal, on Python 2

    def finish(self):
        """Sends the end, and waits as long as the binary may take for deliveries."""
        self.ending = True
        if self.stdin is not None:
            self.write_end()
        elif self.process is None:
            self.start()
        while self.write_all():
            self.close_stdin()
            if not self.started_again():
                break
        if not self.closed and (self.unsafe or not self.ready):
            warn("ansible-notify does not respond; %d events are unconfirmed" % len(self.unsafe))
            self.wake()
        self.let_go()

    def wake(self):
        """Continues a stopped binary: it would hold open the output that others read."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)

    def write_all(self):
        """Writes the lines that wait; returns whether all were accepted."""
        return self.serve(lambda: self.stdout is not None and not self.outbox, self.drain + GRACE)

    def started_again(self):
        """Waits for the binary to exit; returns true if it died instead and was restarted."""
        starts = self.starts
        return self.serve(lambda: self.starts > starts, self.drain + GRACE)


def pipe():
    """Returns both ends of a new pipe that no other program inherits, in Python 2 too."""
    ends = [above_standard(end) for end in os.pipe()]
    for end in ends:
        fcntl.fcntl(end, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return ends


def above_standard(end):
    """Moves a descriptor away from the number of a closed standard stream."""
    if end > 2:
        return end
    try:
        return fcntl.fcntl(end, fcntl.F_DUPFD, 3)
    finally:
        os.close(end)


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


def is_open(number_):
    try:
        os.fstat(number_)
    except OSError:
        return False
    return True


def record(name, content):
    """Returns the line of a record that is not an event."""
    # Secrets of `hello` and `overrides` are meant to be here, so nothing is left out or cut.
    line = '{"%s":%s}\n' % (name, to_json(content))
    return SURROGATES.sub(REPLACEMENT, line).encode("utf-8")


ADVICE = (
    "Install it (`pip install ansible-notify`), put it on PATH, or set ANSIBLE_NOTIFY_BINARY, or "
    "`binary` in the section [callback_ansible_notify] of ansible.cfg. The run is not reported"
)


UPGRADE_PROGRAM = "upgrade the program. The run is not reported"
UPGRADE_PLUGIN = (
    "upgrade the plugin: `ansible-notify init --upgrade` in the playbook's folder. "
    "The run is not reported"
)


def misunderstood(binary, code):
    """Explains an end before `ready`: another version may not know the options."""
    if code is None:
        return "%s stopped listening before it was ready" % binary
    said = "%s ended before it was ready (exit code %s)" % (binary, code)
    version = version_of(binary) if code == EXIT_USAGE else None
    if version in (None, VERSION):
        return said
    advice = UPGRADE_PROGRAM if numbers_of(version) < numbers_of(VERSION) else UPGRADE_PLUGIN
    return "%s: its version is %s, that of this plugin %s; %s" % (said, version, VERSION, advice)


def version_of(binary):
    """Returns the version that the binary reports within two seconds, or None."""
    reading, writing = pipe()
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        asked = subprocess.Popen(
            [binary, "--version"], stdin=nowhere, stdout=writing, stderr=nowhere, close_fds=True
        )
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        is_said = poll.poll(VERSION_SECONDS * 1000)
        said = os.read(reading, 200).decode("utf-8", "replace") if is_said else ""
        if asked.poll() is None:
            asked.kill()
        asked.wait()
    except (OSError, ValueError, select.error):
        return None
    finally:
        for end in (reading, writing, nowhere):
            os.close(end)
    found = re.match(r"ansible-notify (\d+\.\d+\.\d+\S*)\s*$", said)
    return found and found.group(1)


def numbers_of(version):
    """Returns the version as a list of numbers, to compare."""
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def warn(text):
    try:
        display.warning("ansible_notify: %s" % text)
    except (AttributeError, EnvironmentError, ValueError):
        pass  # standard error is broken or closed


def find_binary(option):
    """Returns the program: the configured one, an installed one, or the one on PATH."""
    if option:
        return os.path.expanduser(option)
    for place in filter(None, install_places()):
        candidate = os.path.join(place, "ansible-notify")
        # Without a home directory, Python's own would be below the current one.
        if os.path.isabs(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return "ansible-notify"


def install_places():
    """Returns the directories in which the program may be installed, in the order of the search."""
    places = [sysconfig.get_path("scripts"), os.path.dirname(sys.executable or "")]
    if "posix_user" in sysconfig.get_scheme_names():
        places.append(sysconfig.get_path("scripts", "posix_user"))
    collection, _plugins, tail = HERE.rpartition("/plugins/callback")
    if not tail:
        system, _node, _release, _version, machine = os.uname()
        places.append("%s/bin/%s-%s" % (collection, system.lower(), machine))
    return places


def find_project(playbook_directory):
    """Returns the directory of the project's plugin_config.ini."""
    places = [HERE] + [place for place in COPIES["places"] if place != HERE]
    places += [os.path.join(playbook_directory, "callback_plugins"), playbook_directory]
    for place in places:
        if os.path.isfile(os.path.join(place, CONFIG_FILE)):
            return place
    return HERE


def is_configured_above():
    """Returns true if the organization or the user has a configuration."""
    return any(os.path.lexists(path) for path in configurations_above())


def configurations_above():
    """Returns the paths of the configurations of the organization and the user."""
    user_level = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home(), ".config")
    places = ("/etc/ansible-notify", os.path.join(user_level, "ansible-notify"))
    return [os.path.join(place, CONFIG_FILE) for place in places]


def home():
    """Returns the home directory, from the password database if HOME is unset or empty."""
    try:
        return os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user id without an entry
        return "/"


# ------------------------------------------------------------------------------
# Overrides from the variables of a play
# ------------------------------------------------------------------------------

# They are no `vars` of the options: ansible-core 2.21 would load the plugin only if their templates
# needed nothing of a play.
OVERRIDES = ("callback_url", "username", "password", "validate_certs")


def given(play):
    """Returns the play's variables that come from no file."""
    variables = dict(play.get_vars())
    variables.update(play.get_variable_manager().extra_vars)
    return variables


class Overrides(object):
    """Reads the variables that override the configuration; warns once about each unusable one."""

    def __init__(self):
        self.warned = set()
        self.is_silent = False
        self.known = (None, {})  # the last play that was asked, and its answer

    def of_play(self, play):
        """Returns the overrides of a play that starts; evaluated once for all its batches."""
        # ansible-runner makes the id of a later batch longer.
        play_id = play._uuid[:36]
        if self.known[0] != play_id:
            self.known = (play_id, self.chosen(play, self.variables(play)))
        return self.known[1]

    def ahead(self, play, is_ready):
        """Returns the overrides of a play before it starts; files are read only if `is_ready`."""
        self.is_silent = True
        try:
            return self.chosen(play, self.variables(play) if is_ready else given(play))
        finally:
            self.is_silent = False

    def variables(self, play):
        """Returns all variables of the play, without printing anything about their files."""
        levels = {name: getattr(display, name, 0) for name in ("verbosity", "log_verbosity")}
        try:
            for name in levels:
                setattr(display, name, 0)
            return play.get_variable_manager().get_vars(play=play)
        except Exception:
            return given(play)  # a file of variables that cannot be read is the play's own error
        finally:
            for name, level in levels.items():
                setattr(display, name, level)

    def chosen(self, play, variables):
        extra = play.get_variable_manager().extra_vars
        chosen = {}
        if "callback_url" in extra:
            chosen.update((key, (key, extra[key])) for key in OVERRIDES if key in extra)
        for key in OVERRIDES:
            name = "ansible_notify_" + key
            if name in variables:
                chosen[key] = (name, variables[name])
        templar = Templar(loader=play.get_loader(), variables=variables)
        read = ((key, self.read(name, value, templar)) for key, (name, value) in chosen.items())
        return {key: value for key, value in read if value not in (None, "")}

    def switched_off(self, playbook):
        """Returns true if an extra variable turns the plugin off."""
        plays = playbook.get_plays()
        if not plays:
            return False
        extra = plays[0].get_variable_manager().extra_vars
        templar = Templar(loader=plays[0].get_loader(), variables=extra)
        name = "ansible_notify_enabled"
        return name in extra and is_off(name, self.read(name, extra[name], templar))

    def read(self, name, value, templar):
        """Returns the value, decrypted and templated; None if that fails."""
        try:
            if is_encrypted(value):
                value = str(value)
            value = templar.template(value)
            if value is None or isinstance(value, bool):
                return value
            if isinstance(value, (TEXT, bytes, numbers.Real)):
                return as_text("%s" % value)
            problem = "it is not a string"
        except Exception as error:
            problem = type(error).__name__  # its message may hold the value
        if name not in self.warned and not self.is_silent:
            self.warned.add(name)
            warn("the variable %s is not used: %s" % (name, problem))
        return None


# ------------------------------------------------------------------------------
# How Ansible ends
# ------------------------------------------------------------------------------

EXIT_INTERRUPTED = 130
EXIT_LOST_OUTPUT = 120
# The text with which Ansible up to 2.18 begins to quote the lines of an error.
QUOTED = re.compile(r"\n\nThe (?:error appears to|offending line)")
PLACE = re.compile(r"The error appears to (?:be|have been) in '(.+)': line (\d+)")
# Errors that replaced one another are followed so far.
CAUSES = 10
# The line before the error of a YAML file; what is before it is no help.
YAML_ERROR = "Syntax Error while loading YAML."


class Noted(object):
    """Wraps a method to note the exception being handled, and its trace, at each call.

    As a descriptor, because a wrapping function would appear in Ansible's tracebacks.
    """

    def __init__(self, method, note):
        self.method = method
        self.note = note

    def __get__(self, instance, owner=None):
        if instance is not None:
            _class, error, trace = sys.exc_info()
            self.note(error, trace is not None and trace.tb_frame is sys._getframe(1))
        return self.method.__get__(instance, owner)


class Raised(object):
    """Facts about an exception, or none, without the frames that it keeps alive."""

    def __init__(self, error):
        self.is_interrupt = isinstance(error, KeyboardInterrupt)
        self.exit_code = exit_code(error.code) if isinstance(error, SystemExit) else None
        self.text = ""
        try:
            self.text = error_text(error)
        except Exception:
            self.text = type(error).__name__  # it has no text


def exit_code(code):
    """Returns Python's exit code for an argument of sys.exit: a text is printed and means 1."""
    return int(code or 0) & 255 if isinstance(code or 0, int) else 1


def error_text(error):
    """Returns an error's message, without the playbook lines that old versions quote."""
    if error is None or isinstance(error, (KeyboardInterrupt, SystemExit)):
        code = getattr(error, "code", None)
        return short(code) if isinstance(code, (TEXT, bytes)) else ""
    full = "%s" % error
    text = QUOTED.split(full)[0].strip()
    if isinstance(error, AnsibleParserError):
        text = with_place(text, error_place(error, full))
    if not isinstance(error, AnsibleError):
        kind = error.__class__.__name__
        text = "%s: %s" % (kind, text) if text else kind
    return short(text)


def error_place(error, text):
    """Returns FILE:LINE of what cannot be parsed, or None; the error may hide another one."""
    said = PLACE.search(text)
    if said:
        return "%s:%s" % said.groups()
    for _step in range(CAUSES):
        place = own_place(error)
        error = getattr(error, "__cause__", None) or getattr(error, "__context__", None)
        if place or error is None:
            return place
    return None


def own_place(error):
    thing = getattr(error, "obj", None)
    thing = getattr(error, "_obj", None) if thing is None else thing
    position = getattr(thing, "ansible_pos", None)  # before 2.19
    if position is None and Origin is not None:
        origin = thing if isinstance(thing, Origin) else Origin.get_tag(thing)
        position = origin and (origin.path, origin.line_num)
    if not position or not position[0]:
        return None
    return "%s:%s" % tuple(position[:2]) if position[1] else position[0]


def with_place(text, place):
    """Returns an error with its place, as `ansible-notify run` reads it from the output."""
    start, yaml, detail = text.partition(YAML_ERROR)
    if yaml:
        text = "%s: %s" % (yaml.rstrip("."), detail.strip().split("\n")[0])
    return "%s (%s)" % (text, place) if place and place not in text else text


def lost_output():
    """Returns why the rest of the output cannot be written: Python then exits with 120."""
    for name in () if PYTHON2 else ("stdout", "stderr"):
        output = getattr(sys, name)
        try:
            if output is not None and not output.closed:
                output.flush()
        except (EnvironmentError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error.__class__.__name__
            return "cannot write to %s: %s" % (name, reason)
    return ""


# ------------------------------------------------------------------------------
# Variables that events carry
# ------------------------------------------------------------------------------

# Seconds in which the binary must have said which variables are listed.
CONFIG_SECONDS = 2
# Bytes of all variables of a play or a host. One of them may fill SHORT_ROOM.
VARIABLES_ROOM = 262144
# A file of the configuration is not larger.
CONFIG_SIZE = 1048576
EVENT_SECTION = re.compile(b"(?m)^\\s*\\[\\s*event\\s*\\]")  # Python 2 has no rb""
# Shorter texts of a secret are ordinary words. One is looked for as a whole, a long one everywhere.
SECRET_WORD = 4
SECRET_TEXT = 8
# Characters of a long text that are compared; of all texts of results under no_log, and of each
# one beside its own.
COMPARED = 4096
HIDDEN_ROOM = 8388608
HIDDEN_COST = 64
# Parts of a result that Ansible itself writes, or that come from the task's arguments.
DULL = word_set(
    "ansible_index_var ansible_loop_var delta discovered_interpreter_python end false_condition"
    " invocation skip_reason skipped_reason start"
)
DULL_TEXTS = frozenset(
    (
        "All items completed",
        "All items skipped",
        "One or more items failed",
        "non-zero return code",
    )
)

# Ansible's own secrets, at any depth of a value.
OWN_SECRET = r"ansible_\w*(?:pass|secret|token|vault|credential|private_key)\w*"
OWN_SECRET_IN_TEXT = re.compile(r'(?i)"%s":' % OWN_SECRET)
OWN_SECRET = re.compile(r"(?i)\A%s\Z" % OWN_SECRET)
# Variables that are never sent, nor is a value made from them.
NEVER = re.compile(
    r"(?i)(?:vault|\w*private_key|ansible_(?:notify|failed)_)\w*\Z|(?:callback_url|username|password"
    r"|validate_certs|ansible_env|ansible_delegated_vars|hostvars|vars|environment|omit|_task)\Z"
)
# Those of which a fact is often made.
READABLE = re.compile(
    r"(?:hostvars|vars|environment|omit|ansible_env|ansible_delegated_vars|ansible_failed_\w+)\Z"
)
# Names that no glob means, at any depth of a value.
SENSITIVE = re.compile(
    r"(?i)passw(?:or)?d|passphrase|_pass\Z|secret|token|api_?key|private_?key|credential"
)
SENSITIVE_IN_TEXT = re.compile(SENSITIVE.pattern.replace(r"\Z", '"'))
# Variables that are too large to send. Values made from them may be sent.
BULKY = word_set(
    "ansible_facts ansible_play_batch ansible_play_hosts ansible_play_hosts_all groups play_hosts"
)
# Variables that a glob means only if it begins like them.
MAGIC = re.compile(
    r"_|ansible_|inventory_|role_|parent_role_|playbook_dir|group_names|discovered_interpreter"
)
WILDCARD = re.compile(r"[*?[]")
WORD = re.compile(r"[^\W\d]\w*", re.UNICODE)
TEMPLATE = re.compile(r"\{[{%]")
# Calls of lookups, except for those that read neither variables nor a store of secrets.
LOOKUP = re.compile(
    r"\b(?:lookup|query|q)\b(?!\s*\(\s*(['\"])(?:ansible\.builtin\.)?"
    r"(?:env|file|first_found|ini|csvfile)\1)"
)

IS_OWN = "it is one of Ansible's own, or contains secrets"
IS_HIDDEN = "it was set under no_log, comes from an encrypted file, or was copied from such a one"
IS_TAINTED = "it is encrypted, or made from something that must not be sent"


class Listed(object):
    """The variables that the configuration lists, as names and globs."""

    def __init__(self, patterns):
        self.names = [name for name in patterns if not WILDCARD.search(name)]
        globs = [name for name in patterns if WILDCARD.search(name)]
        self.globs = [(re.compile(fnmatch.translate(glob)), MAGIC.match(glob)) for glob in globs]
        self.known = {}

    def __contains__(self, name):
        if name not in self.known:
            self.known[name] = name in self.names or self.is_caught(name)
        return self.known[name]

    def is_caught(self, name):
        """Returns true if a glob means the variable."""
        if SENSITIVE.search(name):
            return False
        is_magic = MAGIC.match(name)
        return any(glob.match(name) and (is_meant or not is_magic) for glob, is_meant in self.globs)

    def of(self, variables):
        """Returns the names of those that there are."""
        if not self.globs:
            return [name for name in self.names if name in variables]
        names = (name for name in variables if isinstance(name, (TEXT, str)))
        return sorted(name for name in names if name in self)


class Secrets(object):
    """Knowledge about secrets: the names of variables, and texts that no value may contain."""

    def __init__(self):
        self.names = set()
        self.texts = set()
        self.parts = {}  # beginning: those of the texts that are looked for within others
        self.room = HIDDEN_ROOM  # for the texts of results under no_log
        self.decryptions = 0  # number of times that Ansible decrypted something
        self.plain = []  # contents of encrypted files that Ansible has read
        self.files = set()  # paths of the files that were examined
        self.ciphertexts = set()
        self.containers = {}  # id: container whose encrypted parts are known
        self.words = {}  # template: the words in it
        self.loader = None

    def watch(self, loader):
        """Observes what Ansible decrypts from here on."""
        if self.loader is loader:
            return
        if self.loader is None:
            vault.VaultLib.decrypt = Noted(vault.VaultLib.__dict__["decrypt"], self.note)
            encrypted = getattr(vault, "EncryptedString", None)  # from 2.19 on
            if encrypted is not None:
                encrypted._decrypt = Noted(encrypted.__dict__["_decrypt"], self.note)
        self.loader = loader
        decrypt = loader._decrypt_if_vault_data

        def decrypt_noted(*arguments, **named):
            content, is_public = decrypt(*arguments, **named)
            if not is_public:
                self.plain.append(content)
            return content, is_public

        loader._decrypt_if_vault_data = decrypt_noted

    def note(self, _error, _is_here):
        self.decryptions += 1

    # -- learning --

    def learn_play(self, play):
        """Learns the answers to the private prompts of a play."""
        for prompt in play.vars_prompt or ():
            try:
                is_private = boolean(prompt.get("private", True))
            except TypeError:
                is_private = True
            if is_private:
                self.hide([prompt.get("name")])

    def hide(self, names):
        """Learns the names of variables that are secrets."""
        self.names.update(name for name in names if isinstance(name, (TEXT, str)))

    def learn_files(self, play):
        """Learns from the encrypted files that Ansible has read."""
        sources = getattr(play.get_variable_manager()._inventory, "_sources", None) or ()
        known = getattr(self.loader, "_FILE_CACHE", {})
        if len(known) + len(sources) > len(self.files):
            for path in [path for path in list(known) + list(sources) if path not in self.files]:
                self.learn_file(path)
        while self.plain:
            self.learn_content(self.plain.pop())

    def learn_file(self, path):
        """Reads a file if it is encrypted, and returns true in that case."""
        self.files.add(path)
        content = read_file(path)
        is_encrypted_file = content.startswith(b"$ANSIBLE_VAULT")
        if is_encrypted_file:
            self.loader._decrypt_if_vault_data(content)
        return is_encrypted_file

    def learn_included(self, brought):
        """Learns from the files of `include_vars`; returns true if one of them is encrypted."""
        paths = brought.get("ansible_included_var_files")
        paths = paths if isinstance(paths, list) else []
        found = [self.learn_file(path) for path in paths if isinstance(path, TEXT)]
        return any(found)

    def learn_content(self, content):
        """Learns the names and texts of an encrypted file."""
        text = as_text(content)
        try:
            content = self.loader.load(text)
        except Exception:
            content = None
        if not isinstance(content, abc.Mapping):
            # An inventory, or the value of a lookup
            self.hide(re.findall(r"(\w+)['\"]?\s*[=:]", text))
            content = re.findall(r"[=:]\s*(\S+)", text) + [text]
        self.learn(content, is_file=True)

    def learn(self, value, is_file=False):
        """Learns the texts of a value, and the keys of a file."""
        if is_encrypted(value):
            self.learn_encrypted(value)
        elif text_of(value) is not None:
            text = text_of(value)
            if len(text) >= SECRET_WORD and not TEMPLATE.search(text):
                self.add(text)
        else:
            if is_file and isinstance(value, abc.Mapping):
                self.hide(value)
            for part in parts_of(value):
                self.learn(part, is_file)

    def add(self, text):
        """Adds a text that no value may contain."""
        self.texts.add(text)
        if len(text) >= SECRET_TEXT:
            text = text[:COMPARED]
            self.parts.setdefault(text[:SECRET_TEXT], set()).add(text)

    def learn_hidden(self, value):
        """Learns the long texts of a result under no_log; returns false if they are too many."""
        waiting = [value]
        while waiting and self.room > 0:
            value = waiting.pop()
            if is_encrypted(value):
                self.learn_encrypted(value)
                continue
            text = text_of(value)
            if text is not None:
                for part in {text[:COMPARED]}.union(text.splitlines()):
                    self.add_hidden(part.strip()[:COMPARED])
                waiting.extend(content_of(text))
            elif isinstance(value, abc.Mapping):
                waiting.extend(
                    part
                    for name, part in value.items()
                    if name not in DULL and not as_text(name).startswith("_ansible_")
                )
            else:
                waiting.extend(parts_of(value))
        return self.room > 0

    def add_hidden(self, text):
        if len(text) >= SECRET_TEXT and text not in self.texts and text not in DULL_TEXTS:
            self.room -= len(text) + HIDDEN_COST
            self.add(text)

    def learn_encrypted(self, value):
        """Learns the text of an encrypted value; each one is decrypted once."""
        ciphertext = getattr(value, "_ciphertext", None)
        if ciphertext not in self.ciphertexts:
            self.ciphertexts.add(ciphertext)
            try:
                self.learn(TEXT(value))
            except Exception:
                pass  # nobody can decrypt it, so it is in no other value

    def learn_variables(self, variables, templar):
        """Learns all encrypted values among the variables, and Ansible's own secrets."""
        for name, value in variables.items():
            if isinstance(name, (TEXT, str)) and (OWN_SECRET.match(name) or name[:5] == "vault"):
                try:
                    is_plain = is_encrypted(value) or not has_template(value)
                    self.learn(value if is_plain else templar.template(value))
                except Exception:
                    continue  # it has no value
            elif is_encrypted(value):
                self.learn_encrypted(value)
            elif not isinstance(value, TEXT) and not is_special(name):
                self.learn_container(value)

    def learn_container(self, value):
        """Learns the encrypted parts of a container, which many hosts may share."""
        parts = parts_of(value)
        if not parts or self.containers.get(id(value)) is value:
            return
        self.containers[id(value)] = value
        for part in parts:
            if is_encrypted(part):
                self.learn_encrypted(part)
            else:
                self.learn_container(part)

    # -- judging --

    def refuses(self, name, variables, used, is_meant):
        """Returns why a variable must not be sent, if so; notes the names that it is made from."""
        if NEVER.match(name) or OWN_SECRET.match(name) or name in BULKY:
            return IS_OWN
        if name in self.names:
            return IS_HIDDEN
        is_tainted = self.is_tainted(variables[name], variables, used, is_meant)
        return IS_TAINTED if is_tainted else None

    def copies(self, task, variables):
        """Returns the names of the facts that a task makes from what must not be sent."""
        return [
            name
            for name, value in task.args.items()
            if self.is_tainted([value, task.loop], variables, set(), is_copy=True)
        ]

    def forbids(self, name, is_meant, is_copy):
        """Returns true if no value that refers to the variable may be sent."""
        if name in self.names or OWN_SECRET.match(name):
            return True
        if NEVER.match(name):
            return not (is_copy and READABLE.match(name))
        return not is_meant and SENSITIVE.search(name) is not None

    def is_tainted(self, value, variables, used, is_meant=True, is_copy=False):
        """Returns true if a value contains or refers to something that must not be sent.

        One that only a glob means may refer to less, and one that was copied to more.
        """
        waiting, seen = [value], set()
        while waiting:
            value = waiting.pop()
            if is_encrypted(value) or is_vaulted(value):
                return True
            if isinstance(value, (TEXT, bytes)):
                words, is_dubious = self.words_of(value)
                if is_dubious and not is_copy:
                    return True
                used.update(words)
                for word in words - seen:
                    seen.add(word)
                    if word not in variables or word in BULKY:
                        continue
                    if self.forbids(word, is_meant, is_copy):
                        return True
                    if not NEVER.match(word):
                        waiting.append(variables[word])
            else:
                waiting.extend(parts_of(value, with_keys=True))
        return False

    def words_of(self, text):
        """Returns the words in a template, none of a plain text; and true for a dubious one."""
        if text not in self.words:
            plain = as_text(text)
            start = TEMPLATE.search(plain)
            words = frozenset(WORD.findall(plain, start.start()) if start else ())
            is_dubious = bool(start) and bool(
                LOOKUP.search(plain)
                or words & frozenset(("vars", "hostvars", "varnames", "unvault", "vault"))
                or words >= frozenset(("ansible_facts", "env"))
            )
            if len(plain) > SHORT_ROOM:
                return words, is_dubious
            self.words[text] = words, is_dubious
        return self.words[text]

    def are_in(self, value):
        """Returns true if a value contains the text of a secret, or one that came from a vault."""
        if is_encrypted(value) or is_vaulted(value):
            return True
        text = text_of(value)
        if text is not None:
            return text in self.texts or self.has_part(text)
        return any(self.are_in(part) for part in parts_of(value, with_keys=True))

    def has_part(self, text):
        """Returns true if a text contains one of the long ones."""
        parts, length = self.parts, SECRET_TEXT
        for start in range(len(text) - length + 1 if parts else 0):
            for part in parts.get(text[start : start + length], ()):
                if text.startswith(part, start):
                    return True
        return False


def text_of(value):
    """Returns a text, a date or a number of several digits as text without space around it."""
    if isinstance(value, (TEXT, bytes)):
        return as_text(value).strip()
    if isinstance(value, datetime.date):
        return TEXT(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        text = as_text(value)
        return text if sum(character.isdigit() for character in text) >= SECRET_WORD else None
    return None


def content_of(text):
    """Returns the content of a JSON text, such as a program's output, in a list."""
    if text[:1] not in ("{", "["):
        return []
    try:
        return [json.loads(text)]
    except (ValueError, RuntimeError):  # not JSON, or too deep
        return []


def is_special(name):
    """Returns true for a variable of Ansible's that holds others, or facts."""
    return name in BULKY or name[:8] == "ansible_" or NEVER.match(name) is not None


def is_vaulted(value):
    """Returns true for a text that came from an encrypted value, which is known from 2.19 on."""
    return VaultedValue is not None and VaultedValue.is_tagged_on(value)


def read_file(path, size=-1):
    """Returns the content of a file, or the beginning; nothing if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except (EnvironmentError, ValueError, TypeError):
        return b""


def has_template(value):
    """Returns true if a value contains a template."""
    if isinstance(value, (TEXT, bytes)):
        return bool(TEMPLATE.search(as_text(value)))
    return any(has_template(part) for part in parts_of(value, with_keys=True))


def without(pattern, value):
    """Returns the value without secrets, such as Ansible's own in a list of hosts."""
    if isinstance(value, dict):
        parts = ((key, part) for key, part in value.items() if not pattern.search(key))
        return {key: without(pattern, part) for key, part in parts}
    return [without(pattern, part) for part in value] if isinstance(value, list) else value


class Variables(object):
    """The listed variables of a play and its hosts, resolved once and when they change."""

    def __init__(self, config, overrides):
        self.listed = Listed(config["vars"])
        self.overrides = overrides
        self.secrets = Secrets()
        self.play = None
        self.play_json = ""
        self.fresh = set()  # names of the hosts whose variables are known
        self.hosts = {}  # host name: the JSON of its variables, and the record with it
        self.number = 0
        self.used = set()  # names in the templates of listed variables
        self.copies = {}  # host name: the facts that its task makes from secrets
        self.warned = set()
        self.templar = None  # one for all hosts: it loads the filters that they use only once
        self.is_templar_old = False  # a role may have brought a filter that it did not find
        self.codes = {}  # compiled templates, which are the same for all hosts
        self.all = {}  # of all plays so far
        self.is_blind = False  # it is not known which variables of hosts are secrets

    def play_started(self, play):
        """Returns the JSON of the play's variables; evaluated once for all its batches."""
        self.fresh.clear()
        if self.play is None or self.play._uuid[:36] != play._uuid[:36]:
            self.secrets.watch(play.get_loader())
            self.secrets.learn_play(play)
            self.templar = None
            # Read with the files of the play, whose encrypted ones are noted from here on.
            self.play_json = self.resolve(self.overrides.variables(play), play, is_host=False)
            self.all.update(json.loads(self.play_json))
        self.play = play
        return self.play_json

    def started(self, host, task):
        """Resolves the variables of a host that starts a task, unless they are known."""
        if is_set_fact(task):
            self.copies[host.name] = self.secrets.copies(task, task_variables() or {})
        if host.name in self.fresh:
            return
        self.fresh.add(host.name)
        content = '"vars":%s' % ("{}" if self.is_blind else self.of_host(host, task))
        groups = sorted(group.name for group in host.get_groups() if group.name != "all")
        content += ',"groups":%s' % encode(groups)[0]
        if self.hosts.get(host.name, ("",))[0] != content:
            self.number += 1
            line = '{"host":{"id":"%d","name":%s,%s}}\n' % (
                self.number,
                encode(short(host.name))[0],
                content,
            )
            self.hosts[host.name] = content, SURROGATES.sub(REPLACEMENT, line).encode("utf-8")

    def of_host(self, host, task):
        variables = task_variables()
        own = task.get_vars()
        if variables is None or any(name in self.listed or name in self.used for name in own):
            # The task's own variables are not those of the host.
            manager = self.play.get_variable_manager()
            variables = manager.get_vars(play=self.play, host=host)
        return self.resolve(variables, self.play, is_host=True)

    def line(self, host):
        """Returns the record with the variables of a host."""
        return self.hosts[host][1] if host in self.hosts else None

    def resolve(self, variables, play, is_host):
        """Returns the JSON of the listed variables."""
        variables = self.with_facts(variables)
        if self.templar is None or self.is_templar_old:
            self.is_templar_old = False
            self.templar = Templar(loader=play.get_loader(), variables=variables)
            compile_once(self.templar, self.codes)
        self.templar.available_variables = variables
        self.secrets.learn_files(play)
        self.secrets.learn_variables(variables, self.templar)
        members, room = [], VARIABLES_ROOM
        for name in self.listed.of(variables):
            text = self.json_of(name, variables, is_host)
            if text is not None and len(text) > room:
                self.warn(name, "all variables together exceed 256 KiB")
            elif text is not None:
                room -= len(text)
                members.append("%s:%s" % (encode(as_text(name))[0], text))
        return "{%s}" % ",".join(members)

    def with_facts(self, variables):
        """Returns the variables with the listed facts, which Ansible may keep apart."""
        facts = variables.get("ansible_facts")
        names = [name for name in self.listed.names if name[:8] == "ansible_"]
        if not names or not isinstance(facts, abc.Mapping):
            return variables
        apart = {name: facts[name[8:]] for name in names if name[8:] in facts}
        return dict(apart, **variables)

    def json_of(self, name, variables, is_host):
        """Returns the JSON of a variable; None if it has no value, or must not be sent."""
        is_meant = name in self.listed.names
        refused = self.secrets.refuses(name, variables, self.used, is_meant)
        if refused is not None:
            return self.warn(name, refused)
        value = variables[name]
        before = self.secrets.decryptions
        try:
            if has_template(value):
                value = self.templar.template(value)
            if self.secrets.decryptions != before or self.secrets.are_in(value):
                return self.warn(name, IS_TAINTED)
            text = encode(value)[0]
        except Exception as error:
            problem = type(error).__name__  # its message may hold the value
            self.is_templar_old = "Undefined" not in problem
            # Without a host, much is not defined yet.
            return self.warn(name, problem) if is_host and "Undefined" not in problem else None
        # Up to 2.18, an undefined part of a list is text.
        if "Undefined" in value.__class__.__name__ or "AnsibleUndefined" in text:
            return None
        if OWN_SECRET_IN_TEXT.search(text):
            text = to_json(without(OWN_SECRET, json.loads(text)))
        if not is_meant and SENSITIVE_IN_TEXT.search(text):
            text = to_json(without(SENSITIVE, json.loads(text)))
        return text

    def warn(self, name, problem):
        """Warns once of a variable that is not sent, unless it is only meant by a glob."""
        if name in self.listed.names and name not in self.warned:
            self.warned.add(name)
            warn("the variable %s is not sent: %s" % (as_text(name), problem))

    def note(self, host, task, brought, hidden):
        """Notes which variables a result changes."""
        names = registered_by(task)
        if hidden or is_hidden_in_part(task):
            hidden = True
            names.update(task.args if is_set_fact(task) else ())
            names.update(self.learn_hidden())
            self.secrets.hide(names)
        else:
            results = brought.get("results") if task.loop is not None else None
            for part in [brought] + (results if isinstance(results, list) else []):
                facts = part.get("ansible_facts") if isinstance(part, abc.Mapping) else None
                if isinstance(facts, abc.Mapping):
                    names.update(facts)
                    # In old versions, the result itself is not hidden.
                    hidden = self.secrets.learn_included(part) or hidden
            copies = self.copies.pop(host.name, ())
            if hidden:
                self.secrets.hide(names)
            elif is_set_fact(task) and copies:
                # The names may be templates, too.
                self.secrets.hide(copies if names.issuperset(copies) else names)
        is_wide = "add_host" in brought or "add_group" in brought
        if is_wide or self.is_blind or any(name in self.used for name in names):
            self.fresh.clear()
        elif any(name in self.listed for name in names):
            if hidden or task.run_once or task.delegate_to is not None:
                self.fresh.clear()
            else:
                self.fresh.discard(host.name)

    def learn_hidden(self):
        """Learns the result under no_log that is processed; returns the names that it sets."""
        raw = raw_result()
        if raw is None:
            self.is_blind = True
            return ()
        names, parts = raw
        for part in parts:
            if isinstance(part, abc.Mapping):
                self.secrets.learn_included(part)
        if not self.is_blind and not self.secrets.learn_hidden(parts):
            self.is_blind = True
            warn("variables of hosts are not sent from here on: too many results under no_log")
        return names


def is_set_fact(task):
    return task.action.rpartition(".")[2] == "set_fact"


def compile_once(templar, codes):
    """Keeps compiled templates: Ansible compiles each one again, which takes most of the time."""
    try:
        environment = getattr(templar, "_engine", templar).environment  # `_engine` from 2.19 on
        compile_template = environment.compile
    except AttributeError:
        return

    def compiled(source, *arguments, **named):
        if arguments or named:
            return compile_template(source, *arguments, **named)
        if source not in codes:
            codes[source] = compile_template(source)
        return codes[source]

    environment.compile = compiled


def registered_by(task):
    """Returns the names under which a task registers its result; from 2.21 on, maybe several."""
    name = task.register
    return set(name) if isinstance(name, abc.Mapping) else {name} if name else set()


def is_hidden_in_part(task):
    """Returns true if some items of a loop are under no_log."""
    if task.loop is None or task.no_log in (None, False):
        return False
    raw = raw_result()
    return raw is None or any(
        isinstance(part, abc.Mapping) and part.get("_ansible_no_log") for part in raw[1]
    )


def raw_result():
    """Returns the names that the current result sets, and its parts; None if it is unknown."""
    try:
        raw = local_of("_process_pending_results", "task_result")
        unified = getattr(raw, "utr", None)  # from 2.21 on
        if unified is not None:
            names, parts = set(unified.registered_values or ()), [unified.registered_values]
            for part in [unified] + list(unified.loop_results or ()):
                parts.append(part.as_result_dict(for_round_trip=True))
                for variables in part.pending_changes.register_host_variables.values():
                    names.update(variables)
                    parts.append(variables)
            return names, parts
        data = getattr(raw, "_return_data", None)  # 2.19 and 2.20
        data = raw._result if data is None else data
        parts = [data] + list(data.get("results") or ())
        facts = [part.get("ansible_facts") for part in parts if isinstance(part, abc.Mapping)]
        return set().union(*(part for part in facts if part)), parts
    except Exception:
        return None


def local_of(function, name):
    """Returns a local variable of one of Ansible's functions that lead to the callback."""
    frame = sys._getframe(1)
    for _depth in range(FRAMES):
        if frame is None:
            return None
        if frame.f_code.co_name == function:
            return frame.f_locals.get(name)
        frame = frame.f_back
    return None


# ------------------------------------------------------------------------------
# From callbacks to records
# ------------------------------------------------------------------------------


class Task(object):
    """A task's record, and the fragment of its events that refers to it."""

    def __init__(self, number_, task):
        self.template = name_template(task)
        self.host = None  # the first one, whose name it has
        self.name = name_of(task)
        if ERROR_MARK in self.name:
            self.name = short(self.template) or self.name
        self.action = short(task.action)
        self.line = record(
            "task",
            {
                "id": str(number_),
                "name": self.name,
                "action": self.action,
                "path": short(path_of(task)) or None,
                "role": short(task._role.get_name()) if task._role else None,
                "tags": [short(tag) for tag in task.tags or ()],
                "handler": isinstance(task, Handler),
            },
        )
        self.fragment = ',"task":"%d"' % number_
        self.is_delegated = task.delegate_to is not None

    def as_run(self, task, naming, item=None, label=None):
        """Returns JSON for name and action of the task on one host, if they differ.

        Ansible repeats the first host's name for all hosts, except in loops up to 2.18.
        """
        name, action = name_of(task), short(task.action)
        if name == self.name or is_template(name) or ERROR_MARK in name:
            name = short(naming.name(item)) if naming else self.name
        rest = ""
        if name and name != self.name and not reveals(name, item, label):
            rest = ',"task_name":%s' % encode(name)[0]
        if action != self.action and not is_template(action):
            rest += ',"task_action":%s' % encode(action)[0]
        return rest


def name_of(task):
    """Returns the task's name without its role, or Ansible's name for an unnamed task."""
    role = getattr(task, "_role_name", None)
    unnamed = "%s : %s" % (as_text(task.action), as_text(role)) if role else task.action
    return short(task.name or unnamed)


def name_template(task):
    """Returns the name as written, if it is a template that may be evaluated again."""
    written = getattr(task, "_ds", None)
    name = written.get("name") if isinstance(written, abc.Mapping) else None
    return name if isinstance(name, TEXT) and is_template(name) and not ACTIVE.search(name) else ""


def is_template(text):
    return "{{" in text or "{%" in text


# Functions with effects, or with a different value each time.
ACTIVE = re.compile(r"\b(?:lookup|query|q|now)\s*\(|\brandom\b")
# Text in a name for an undefined variable, from 2.19 on.
ERROR_MARK = "<< error "
# Limit of frames between the callback and Ansible's function that leads to it.
FRAMES = 16


class Naming(object):
    """Evaluates a task's name on one host, from the variables with which it runs there."""

    def __init__(self, template, task, loader):
        self.task_id = task._uuid
        self.template = template
        self.loader = loader
        self.variables = task_variables()
        self.whole = None
        if self.variables is not None and task.loop is None:
            self.whole = self.make(self.variables)
            self.variables = None  # they are many

    def name(self, item):
        """Returns the name, in a loop the item's name; None if it cannot be evaluated."""
        if self.variables is None or not item:
            return self.whole
        return self.make(dict(self.variables, **item))

    def make(self, variables):
        try:
            name = Templar(loader=self.loader, variables=variables).template(self.template)
        except Exception:
            return None  # the task will report it, or does not need it
        return name if isinstance(name, TEXT) and ERROR_MARK not in name else None


def task_variables():
    """Returns the variables of the task that Ansible is about to start.

    Computing them again would take as long as Ansible itself does before each task.
    """
    return local_of("_queue_task", "task_vars")


def reveals(name, item, label):
    """Returns true if the name contains a part of the loop item that its label hides."""
    if label is None or item is None or isinstance(item, bool):
        return False
    if isinstance(item, (abc.Mapping, list, tuple)):
        return any(reveals(name, part, label) for part in parts_of(item))
    text = as_text(item)
    return text in name and text not in label


class Run(object):
    """One controller process: numbers plays, tasks and events, and sends them to the binary."""

    def __init__(self):
        self.pid = os.getpid()
        self.stream = Stream()
        self.options = {}
        self.overrides = Overrides()
        self.overriding = {}
        self.generation = 1
        self.about = None
        self.directory = os.getcwd()
        self.playbook = None
        self.is_watched = False
        self.is_idle = False  # there is no destination
        self.problems = []  # reasons not to start a strict run
        self.raised = Raised(None)  # the exception that ended Ansible
        self.said = ""  # the last error that Ansible printed before it continued
        self.exit_code = None  # the argument of sys.exit
        self.seq = 0
        self.plays = 0
        self.play_line = None
        self.play_fragment = ""
        self.tasks = {}  # task uuid: Task
        self.variables = None  # those that events carry, if any are listed
        self.custom_stats = None  # Ansible's own class, without what is under no_log
        self.hosts = {}  # host name: the fragment that describes it
        self.running = {}  # host name: (task uuid, when it began, task)
        self.namings = {}  # host name: what makes the name of its task
        self.loader = None
        self.failed = False

    # -- the run itself --

    def describe(self, playbook):
        """Creates the run object of the protocol; the first one goes into `hello`."""
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
            "skip_tags": [as_text(tag) for tag in arguments.get("skip_tags") or ()],
            "start_at_task": text_option(arguments.get("start_at_task")),
            "inventory": [as_text(source) for source in arguments.get("inventory") or ()],
        }
        playbooks = arguments.get("args") if path else None
        if isinstance(playbooks, (list, tuple)) and len(playbooks) > 1:
            self.about["playbooks"] = [absolute(as_text(named)) for named in playbooks]
        if self.stream.process is None:
            self.stream.hello["run"] = self.about
        if not self.stream.began:
            self.stream.began = time.time()

    def is_configured(self):
        """Returns true if a configuration or a variable names a destination."""
        named = self.options.get("config") or self.options.get("strict")
        variable = os.environ.get("ANSIBLE_NOTIFY_CALLBACK_URL")
        if named or variable or "callback_url" in self.overriding or is_configured_above():
            return True
        return os.path.lexists(os.path.join(find_project(self.directory), CONFIG_FILE))

    def describe_command(self, play):
        """Adds the module and the hosts of an ad hoc command. A console has several modules."""
        module = short(play.get_tasks()[0][0].action)
        hosts = play.hosts if isinstance(play.hosts, (list, tuple)) else [play.hosts]
        modules = self.about.get("module", "").split(", ")
        modules = ", ".join(filter(None, modules + [module] * (module not in modules)))
        pattern = ",".join(as_text(host) for host in hosts)
        if (modules, pattern) == (self.about.get("module"), self.about.get("pattern")):
            return
        self.about = dict(self.about, module=modules, pattern=pattern)
        if self.stream.process is None:
            self.stream.hello["run"] = self.about
        else:
            self.announce("run", self.about)

    def announce(self, name, content):
        """Sends a record that holds from here on, for a later process, too."""
        self.stream.send(self.seq, None, None, record(name, content), {name: content})

    def start(self):
        """Starts the binary, once, if there is a destination."""
        stream = self.stream
        if stream.closed or stream.process is not None:
            return
        if self.about is None:
            self.describe(None)
        if not self.is_configured():
            return
        stream.command = [find_binary(self.options.get("binary")), "stream"]
        stream.command += ["--project", find_project(self.directory)]
        if self.options.get("config"):
            stream.command += ["--config", os.path.expanduser(self.options["config"])]
        stream.command += ["--" + flag for flag in ("quiet", "strict") if self.options.get(flag)]
        stream.hello["overrides"] = self.overrides_record()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.leave_fork)
        stream.safe = self.seq if stream.late else 0
        if self.options.get("strict"):
            stream.complain = self.problems.append
        stream.start()
        if self.problems:
            self.refuse()

    def look_ahead(self, is_ready):
        """Starts the binary before the first play, whose variables may not be known yet."""
        plays = self.playbook.get_plays() if self.playbook is not None else ()
        if plays:
            self.override(self.overrides.ahead(plays[0], is_ready))
        self.stream.hello["early"] = True
        self.start()

    def rest(self):
        """Sends nothing from here on, unless a later play sets an endpoint."""
        self.is_idle = self.stream.late = True
        self.stream.unsafe.clear()
        self.stream.unsafe_size = 0

    # -- its end --

    def watch(self):
        """Observes how Ansible ends: callbacks do not report every failure of a run."""
        self.is_watched = True
        leave = sys.exit

        def leave_noted(code=None):
            if os.getpid() == self.pid:
                self.exit_code = exit_code(code)
            leave(code)

        sys.exit = leave_noted
        TaskQueueManager.cleanup = Noted(TaskQueueManager.__dict__["cleanup"], self.note_raised)
        Display.error = Noted(Display.__dict__["error"], self.note_said)
        atexit.register(self.finish)

    def note_raised(self, error, is_here):
        """Notes the exception passing through the caller, unless a frame above handles it."""
        if os.getpid() == self.pid:
            self.raised = Raised(error if is_here else None)
            if self.raised.exit_code is not None:
                self.exit_code = self.raised.exit_code

    def note_said(self, error, is_here):
        """Notes an error that its caller handles, without its text if a task is under no_log."""
        if os.getpid() != self.pid or not is_here:
            return
        tasks = [task for _id, _began, task in self.running.values()]
        hidden = any(task.no_log not in (None, False) for task in tasks)
        self.said = HIDDEN if hidden else Raised(error).text

    def last_record(self):
        """Returns the content of the end record: Ansible's exit code and its cause."""
        code, raised = self.exit_code, self.raised
        # Python sets this for an uncaught exception.
        uncaught = getattr(sys, "last_value", None)
        if uncaught is not None:
            raised = Raised(uncaught)
            code = EXIT_INTERRUPTED if raised.is_interrupt else 1
        is_interrupt = raised.is_interrupt or code == 99
        last = {"reason": "interrupt" if is_interrupt else "exit", "code": code}
        error = raised.text
        lost = lost_output()
        if lost:
            last["code"] = EXIT_LOST_OUTPUT
            error = error or lost
        if error:
            last["error"] = error
        elif self.said:
            last["said"] = self.said
        return last

    def require(self):
        """Stops Ansible unless the binary is ready. Called only on the main thread."""
        if not self.stream.serve(lambda: self.stream.ready, READY_SECONDS):
            self.refuse()
        self.stream.complain = warn

    def refuse_late(self):
        """Stops Ansible if the binary failed before the first play. Called on the main thread."""
        if self.options.get("strict") and not self.plays:
            self.refuse()

    def refuse(self):
        self.stream.give_up(None)
        problem = (self.problems or ["ansible-notify is not ready"])[0]
        display.error("ansible_notify: %s, and `strict` is set" % problem)
        raise SystemExit(EXIT_CONFIGURATION)

    def leave_fork(self):
        """Closes a forked worker's copy of the pipe, so that it does not outlive the controller."""
        self.stream.close_stdin()
        self.stream.close_stdout()

    def finish(self):
        """Ends the stream when the controller process exits."""
        if os.getpid() != self.pid or self.stream.closed:
            return
        try:
            self.options["strict"] = False  # too late
            if not self.plays and self.seq:
                self.look_ahead(is_ready=True)
            if self.stream.process is not None:
                self.stream.last = self.last_record()
                self.stream.finish()
        except KeyboardInterrupt:
            self.stream.let_go()
        except Exception as error:
            self.report(error)

    def report(self, error):
        """Warns once about an error of this plugin, without its text, which may hold data."""
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

    def event(self, name, task=None, rest="", change=None, host=None):
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
        task = task.line if task else None
        host = self.variables.line(host) if self.variables is not None else None
        self.stream.send(self.seq, self.play_line, task, line, change, host)

    def step(self, name, task=None, host=None, brought=None, change=None):
        """Sends an event that is not a result."""
        if self.is_idle:
            return
        rest = ',"host":{%s}' % self.host(host) if host else ""
        if brought:
            text, cut = encode(brought, RESULT_ROOM)
            rest += ',"result":' + text + (',"truncated":true' if cut else "")
        self.event(name, task and self.task(task), rest, change, host and host.name)

    def result(self, name, result, ignored=False):
        """Sends an event that is a result."""
        if self.is_idle:
            return
        # From 2.19 on the names with an underscore are deprecated.
        if hasattr(result.__class__, "result"):
            host, task, brought = result.host, result.task, result.result
        else:
            host, task, brought = result._host, result._task, result._result
        hidden = is_hidden(task, brought)
        running, began, parsed_task = self.running.get(host.name, NOT_RUNNING)
        if name in ASYNC and parsed_task is not None:
            # Polls have a task of their own that is in no playbook.
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
            naming = self.namings.get(host.name)
            if naming is not None and naming.task_id != running:
                naming = None
            rest += about.as_run(task, naming, *loop_of(task, brought))
            failed = brought.get("exception") == NO_TRACEBACK
            cause = cause_of(result, brought) if failed else None
            rest += brought_json(name, task, brought, cause)
            if "ansible_stats" in brought and name in SUCCESSES:
                self.note_stats(host, task, brought["ansible_stats"])
        if name in AGGREGATES:
            self.namings.pop(host.name, None)
            if self.variables is not None:
                self.variables.note(host, task, brought, hidden)
        self.event(name, about, rest, host=host.name)

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
        brought = dict(self.custom_data(), stats=hosts)
        self.step("playbook_on_stats", brought=brought)

    def note_stats(self, host, task, stats):
        """Adds the data of `set_stats` as Ansible does, except for what is under no_log."""
        data = stats.get("data") if isinstance(stats, abc.Mapping) else None
        if not isinstance(data, abc.Mapping):
            return
        self.custom_stats = self.custom_stats or AggregateStats()
        add = self.custom_stats.set_custom_stats
        if stats.get("aggregate"):
            add = self.custom_stats.update_custom_stats
        hosts = [host]
        if task.run_once:
            hosts = self.play.get_variable_manager()._inventory.get_hosts(self.play.hosts)
        for about in hosts if stats.get("per_host", True) else [None]:
            for key, value in data.items():
                # A later value may be added to it in place.
                add(key, copy.deepcopy(value), about and about.name)

    def custom_data(self):
        """Returns the data of `set_stats` so far, about the run and by host."""
        if self.custom_stats is None:
            return {}
        custom = {
            None if host == "_run" else short(host): self.sendable(data)
            for host, data in self.custom_stats.custom.items()
        }
        told = {"custom_stats": custom.pop(None, {}), "custom_stats_per_host": custom}
        self.stream.carried.update(told)
        return {key: data for key, data in told.items() if data}

    def sendable(self, data):
        """Returns the values that may be sent, each as JSON has it."""
        kept = {}
        secrets = self.variables.secrets if self.variables else Secrets()
        for name, value in data.items():
            name = as_text(name)
            if not NEVER.match(name) and not OWN_SECRET.match(name) and not secrets.are_in(value):
                kept[name] = json.loads(encode(value)[0])
        return kept

    # -- plays, tasks, hosts --

    def playbook_started(self, playbook):
        first = self.about is None
        self.playbook = playbook
        self.stream.stats = None
        self.describe(playbook)
        plays = playbook.get_plays() if self.about["path"] is None else ()
        if plays:
            self.describe_command(plays[0])
        self.play_line, self.play_fragment = None, ""
        if self.overrides.switched_off(playbook):
            self.options["strict"] = False
            self.stream.give_up(None)
            return
        if first:
            self.look_ahead(is_ready=False)
        elif self.stream.process is not None:
            self.announce("run", self.about)
        self.step("playbook_on_start")

    def prompted(self, name):
        if not self.plays:
            # The prompt may wait for long: send everything known before it.
            self.look_ahead(is_ready=True)
        # Only the name: the default may be a secret.
        self.step("playbook_on_vars_prompt", brought={"name": name})

    def play_started(self, play):
        self.plays += 1
        name = play.get_name()
        # Up to 2.16 it is not text where the hosts of a play are undefined.
        name = short(name) if isinstance(name, (TEXT, bytes)) else ""
        self.play_line = None
        self.play_fragment = ',"play":"%d"' % self.plays
        if self.about is None:
            self.describe(None)
        if self.about["playbook"] is None:
            self.describe_command(play)
        self.hosts.clear()
        self.running.clear()
        self.namings.clear()
        self.play = play
        self.loader = play.get_loader()
        self.override(self.overrides.of_play(play))
        first = self.stream.process is None
        if first:
            self.stream.hello.pop("early", None)
            if not self.is_configured():
                self.rest()
                return
            self.is_idle = False
            self.start()
        about = {"id": str(self.plays), "name": name}
        self.learn_config()
        if self.variables is not None:
            about["vars"] = json.loads(self.variables.play_started(play))
            self.stream.carried["vars"] = self.variables.all
        self.play_line = record("play", about)
        self.step("playbook_on_play_start", change={"early": False})
        if self.options.get("strict") and (first or self.plays == 1):
            self.require()

    def learn_config(self):
        """Learns which variables events carry; waits for the answer if some may be listed."""
        stream = self.stream
        if self.plays != 1 or stream.process is None:
            return
        stream.listen()
        config = stream.config
        if config is None and self.mentions_event():
            stream.serve(lambda: stream.config is not None, CONFIG_SECONDS)
            config = stream.config
            if config is None:
                warn("the program did not say which variables to send, so none are sent")
        if config is not None and (config["vars"] or config["groups"]):
            self.variables = Variables(config, self.overrides)

    def mentions_event(self):
        """Returns true if a file of the configuration has a section `[event]`."""
        paths = [self.options.get("config")]
        if not paths[0]:
            paths = configurations_above()
            paths.append(os.path.join(find_project(self.directory), CONFIG_FILE))
        contents = (read_file(os.path.expanduser(path), CONFIG_SIZE) for path in paths)
        return any(EVENT_SECTION.search(content) for content in contents)

    def override(self, overriding):
        """Applies the overrides of a play from here on."""
        if overriding == self.overriding:
            return
        self.overriding = overriding
        self.generation += 1
        if self.stream.process is not None:
            self.announce("overrides", self.overrides_record())

    def overrides_record(self):
        """Returns the overrides, and the number of their changes."""
        return dict(self.overriding, generation=self.generation)

    def task(self, task):
        """Returns the Task of Ansible's. Its own id is not sent: it holds the hardware address."""
        known = self.tasks.get(task._uuid)
        if known is None:
            known = self.tasks[task._uuid] = Task(len(self.tasks) + 1, task)
        return known

    def task_started_on(self, host, task):
        self.running[host.name] = (task._uuid, clock(), task)
        if self.variables is not None:
            self.variables.started(host, task)
        if self.stream.wants_starts:
            self.tell_start(host, task)
        about = self.tasks.get(task._uuid)
        if about is None or not about.template or task.no_log is True:
            return
        about.host = about.host or host.name
        if task.loop is not None or about.host != host.name:
            self.namings[host.name] = Naming(about.template, task, self.loader)

    def tell_start(self, host, task):
        """Sends that the host begins the task, which only notifiers of slow runs need."""
        if self.stream.process is not None and not self.stream.ready:
            self.stream.listen()
        if self.stream.wants_starts:
            self.step("runner_on_start", task, host)

    def host(self, host):
        """Returns the JSON that describes the host, without its braces."""
        name = host.name
        fragment = self.hosts.get(name)
        if fragment is None:
            fragment = '"name":%s' % encode(short(name))[0]
            address = host.vars.get("ansible_host", host.vars.get("ansible_ssh_host"))
            if isinstance(address, TEXT) and "{{" not in address:
                fragment += ',"address":%s' % encode(short(address))[0]
            self.hosts[name] = fragment
        return fragment


NOT_RUNNING = (None, None, None)
RUN = Run()


def loop_of(task, brought):
    """Returns a loop item's variables, and its label if that may hide a part of it."""
    variable = brought.get("ansible_loop_var")
    if variable not in brought:
        return ()
    names = (variable, brought.get("ansible_index_var"))
    item = {name: brought[name] for name in names if name in brought}
    if not is_labelled(task):
        return (item,)
    label = brought.get("_ansible_item_label")
    return item, label if isinstance(label, TEXT) else encode(label)[0]


def absolute(path):
    """Returns the absolute path, unless it names a playbook in a collection."""
    return os.path.abspath(path) if os.path.exists(path) else path


def path_of(task):
    """Returns the file and line of the task, or None."""
    try:
        return task.get_path()
    except AttributeError:  # 2.9, with a task outside of any block
        return None


def delegation(task):
    """Returns the JSON for the host that a task was delegated to."""
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
    """Returns the option as text; an empty value counts as unset."""
    return as_text(value) if value else None


def is_off(name, value):
    """Returns true if the value turns off something that is on by default."""
    if value in (None, ""):
        return False
    try:
        return not boolean(value)
    except TypeError:
        warn("%s must be true or false; true is used" % name)
        return False


# ------------------------------------------------------------------------------
# Several copies in one process
# ------------------------------------------------------------------------------

# One object for all copies of this file, whichever versions they are: the class and the instance
# that report, and the folders that the copies lie in.
COPIES = sys.__dict__.setdefault(
    "_ansible_notify_copies", {"class": None, "instance": None, "places": []}
)


def enter(instance):
    """Registers a copy: the first one loaded reports, with the last of its instances."""
    if HERE not in COPIES["places"]:
        COPIES["places"].append(HERE)
    if COPIES["class"] in (None, type(instance)):
        COPIES["class"], COPIES["instance"] = type(instance), instance


def reports(instance):
    if COPIES["instance"] is not instance:
        return False
    return RUN.is_watched or not has_older_copy()


def has_older_copy():
    """Returns true if an older copy is enabled that reports regardless of others."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        callback, run = names.get("CallbackModule"), names.get("RUN")
        is_copy = getattr(callback, "CALLBACK_NAME", None) == "ansible_notify"
        if is_copy and "COPIES" not in names and getattr(run, "options", None):
            return True
    return False


class CallbackModule(CallbackBase):
    """Ansible's callbacks. None may raise: in the wrong thread that would hang the play."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "ansible_notify"
    # Enabled automatically in a folder that Ansible reads; a collection's plugin must be enabled.
    CALLBACK_NEEDS_ENABLED = False
    CALLBACK_NEEDS_WHITELIST = False

    def set_options(self, task_keys=None, var_options=None, direct=None):
        super(CallbackModule, self).set_options(task_keys, var_options, direct)
        RUN.options = {
            "binary": text_option(self.get_option("binary")),
            "config": text_option(self.get_option("config")),
            "quiet": self.get_option("quiet") is True,
            "strict": self.get_option("strict") is True,
        }
        self.disabled = is_off("`enabled`", self.get_option("enabled"))
        if not self.disabled:
            enter(self)

    def safely(self, act, *arguments):
        """Calls act, unless in a forked worker; raises nothing but SystemExit."""
        if os.getpid() != RUN.pid or not reports(self):
            self.disabled = True
            return
        if RUN.stream.closed:
            self.disabled = True
            RUN.refuse_late()
            return
        try:
            if not RUN.is_watched:
                RUN.watch()
            act(*arguments)
        except Exception as error:
            RUN.report(error)

    def v2_playbook_on_start(self, playbook):
        self.safely(RUN.playbook_started, playbook)

    def v2_playbook_on_vars_prompt(self, varname, *args, **kwargs):
        self.safely(RUN.prompted, varname)

    def v2_playbook_on_play_start(self, play):
        self.safely(RUN.play_started, play)

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


def passing_step(name):
    """Returns a method for a step, of a task or of the whole run."""
    return lambda self, task=None, **_more: self.safely(RUN.step, name, task)


def passing_result(name):
    """Returns a method for a result."""
    return lambda self, result, ignore_errors=False, **_more: self.safely(
        RUN.result, name, result, ignore_errors
    )


for callback in STEPS:
    setattr(CallbackModule, "v2_" + callback, passing_step(callback))
for callback in RESULTS:
    setattr(CallbackModule, "v2_" + callback, passing_result(callback))
