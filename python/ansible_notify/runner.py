"""The ansible-runner plugin: passes statuses and events to `ansible-notify stream`.

Runner calls both handlers in the thread that reads Ansible's output, and fails if they raise. So
they take microseconds, and never raise.
"""

import atexit
import getpass
import os
import re
import socket
import sys
import threading
import time
import uuid
import weakref

from . import find_binary
from .stream import Stream, to_line, warn

FINAL = ("successful", "failed", "timeout", "canceled", "error")
EMITTERS = (
    "runner_http_url",
    "runner_http_path",
    "runner_http_headers",
    "runner_socket_url",
)
CONFIG_FILE = "plugin_config.ini"
# A line may have 4 MiB. Characters of one text: the first of these limits with which it fits.
LINE_LIMIT = 3670016
TEXT_LIMITS = (1048576, 65536, 4096, 512)
# Seconds that the end of the process may wait for the binary: with nothing moving, and in all.
GRACE = 2
GRACE_IN_ALL = 10


def status_handler(runner_config, data):
    safely(runner_config, data)


def event_handler(runner_config, data):
    safely(runner_config, data)


def safely(config, data):
    """Reports a record; never raises."""
    try:
        REPORTER.report(config, data)
    except Exception as error:
        REPORTER.excuse(error)


class Reporter:
    """The runs of this process."""

    def __init__(self):
        self.pid = None
        self.runs = {}  # id of a configuration: (reference to it, its stream or None)
        self.ended = []  # streams that were told the end
        self.tending = threading.Lock()
        self.excused = False

    def report(self, config, data):
        """Passes on one record of the configuration's run."""
        reference, stream = self.runs.get(id(config), (None, None))
        if reference is None or reference() is not config:
            stream = self.begin(config)
        if stream is None:
            return
        now = time.time()
        stream.send(lambda number: record(number, now, data))
        if data.get("status") in FINAL:
            self.runs.pop(id(config), None)
            stream.end()
            self.ended.append(stream)

    def begin(self, config):
        """Returns the stream of a new run, or None if there is no destination."""
        if self.pid is None:
            atexit.register(self.finish)
            os.register_at_fork(after_in_child=self.leave_fork)
        self.pid = os.getpid()
        self.tend()
        stream = make_stream(config)
        key = id(config)
        self.runs[key] = (weakref.ref(config, lambda _gone: self.forget(key)), stream)
        return stream

    def forget(self, key):
        """Lets go of a run that was dropped without an end."""
        _reference, stream = self.runs.pop(key, (None, None))
        if stream is not None:
            stream.let_go()
            self.ended.append(stream)

    def tend(self):
        """Serves the streams of earlier runs, unless another thread does."""
        if not self.tending.acquire(blocking=False):
            return
        try:
            for stream in list(self.ended):
                stream.tend()
                if stream.is_done():
                    stream.let_go()
                if stream.closed and not stream.is_running():
                    # In place: another thread may add the stream of its own run meanwhile.
                    self.ended.remove(stream)
        finally:
            self.tending.release()

    def finish(self):
        """Waits at the end of the process until the binary has everything."""
        if os.getpid() != self.pid:
            return
        try:
            last = time.monotonic() + GRACE_IN_ALL
            for stream in self.ended:
                wait_for(stream, last)
        except KeyboardInterrupt:
            pass
        except Exception as error:
            self.excuse(error)
        for stream in self.ended + [stream for _reference, stream in self.runs.values() if stream]:
            stream.let_go()
            if stream.is_running():
                stream.process.returncode = 0  # or Python complains that it still runs

    def leave_fork(self):
        """Closes a forked child's copies of the pipes, so that it does not outlive this process."""
        for stream in self.ended + [stream for _reference, stream in self.runs.values() if stream]:
            stream.leave_fork()
            if stream.process is not None:
                stream.process.returncode = 0
        self.__init__()

    def excuse(self, error):
        """Warns once about an error of this plugin, without its text, which may hold data."""
        if not self.excused:
            self.excused = True
            place = sys.exc_info()[2]
            while place.tb_next is not None:
                place = place.tb_next
            where = "%s:%d" % (os.path.basename(place.tb_frame.f_code.co_filename), place.tb_lineno)
            name = type(error).__name__
            warn("ansible-notify: a record is not reported: %s at %s" % (name, where))


def wait_for(stream, last):
    """Waits until the stream has nothing left to do, or makes no progress."""
    deadline = time.monotonic() + GRACE
    while not stream.is_done():
        left = min(last, deadline) - time.monotonic()
        if left <= 0:
            count = len(stream.unsafe)
            warn("ansible-notify: it does not respond; %d records are unconfirmed" % count)
            return
        before = (len(stream.outbox), len(stream.unsafe), stream.starts)
        stream.wait(left)
        stream.tend()
        if (len(stream.outbox), len(stream.unsafe), stream.starts) != before:
            deadline = time.monotonic() + GRACE
    stream.pass_on()


def record(number, now, data):
    """Returns the line of a record, shortened only if it is too long."""
    line = to_line("runner", {"seq": number, "time": now, "record": data})
    for limit in TEXT_LIMITS:
        if len(line) <= LINE_LIMIT:
            break
        line = to_line("runner", {"seq": number, "time": now, "record": shorten(data, limit)})
    if len(line) > LINE_LIMIT:
        kept = {key: part for key, part in data.items() if isinstance(part, (str, int))}
        kept = shorten(dict(kept, event_data={}), TEXT_LIMITS[-1])
        line = to_line("runner", {"seq": number, "time": now, "record": kept})
    return line


def shorten(value, limit):
    """Returns the value with its long texts cut."""
    if isinstance(value, str) and len(value) > limit:
        return "%s... [cut: %d characters in all]" % (value[:limit], len(value))
    if isinstance(value, dict):
        return {key: shorten(part, limit) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [shorten(part, limit) for part in value]
    return value


# ------------------------------------------------------------------------------
# Facts about a run
# ------------------------------------------------------------------------------


def make_stream(config):
    settings = getattr(config, "settings", None) or {}
    emitters = {key: settings[key] for key in EMITTERS if settings.get(key)}
    headers = emitters.get("runner_http_headers")
    if headers:
        emitters["runner_http_headers"] = {str(key): str(headers[key]) for key in headers}
    command = [find_binary(), "stream", "--quiet"]
    variables = ("RUNNER_HTTP_URL", "RUNNER_SOCKET_URL")
    if not any(map(os.environ.get, variables)) and not {
        "runner_http_url",
        "runner_socket_url",
    }.intersection(emitters):
        project = find_project(config)
        if callback_reports(config) or not (project or is_configured()):
            return None
        silence_callback(config)
        if project:
            command += ["--project", project]
    hello = {
        "run": describe(config),
        "runner": {
            "settings": settings_file(config),
            "emitters": emitters,
            "environment": names(settings.get("ansible_notify_env")),
        },
    }
    return Stream(command, hello)


def describe(config):
    """Returns the run object of the protocol."""
    playbook = getattr(config, "playbook", None)
    playbook = playbook if isinstance(playbook, str) else None
    project = getattr(config, "project_dir", None) or ""
    ident = getattr(config, "ident", None)
    limit = getattr(config, "limit", None)
    about = {
        # Two runs may have the same ident, and their events must not be taken for each other's.
        "id": str(uuid.uuid4()),
        "ident": None if ident is None else str(ident),
        "playbook": playbook and os.path.basename(playbook),
        "path": playbook and os.path.abspath(os.path.join(project, playbook)),
        "check": "--check" in str(getattr(config, "cmdline_args", None) or ""),
        "user": user(),
        "controller": socket.gethostname(),
        "ansible_version": None,
        "limit": limit if isinstance(limit, str) else None,
        "tags": names(getattr(config, "tags", None)),
        "skip_tags": names(getattr(config, "skip_tags", None)),
        "inventory": inventory(config),
    }
    module = getattr(config, "module", None)
    if not playbook and isinstance(module, str):
        about.update(module=module, pattern=str(getattr(config, "host_pattern", None) or ""))
    return about


def inventory(config):
    """Returns the inventories, without the default one of a private data directory."""
    given = getattr(config, "inventory", None)
    given = [given] if isinstance(given, str) else given or ()
    if getattr(config, "containerized", False):
        return []
    usual = os.path.join(private_directory(config), "inventory")
    return [named for named in given if isinstance(named, str) and named != usual]


def user():
    try:
        return getpass.getuser()
    except Exception:  # a user id without a name
        return str(os.getuid())


def names(value):
    """Returns a list of names, from a list or from comma-separated text."""
    parts = value.split(",") if isinstance(value, str) else value or ()
    return [str(part).strip() for part in parts if str(part).strip()]


def private_directory(config):
    return getattr(config, "private_data_dir", None) or ""


def settings_file(config):
    """Returns the file in which `flush` finds the settings again, or ""."""
    path = os.path.join(os.path.abspath(private_directory(config)), "env", "settings")
    return path if private_directory(config) and os.path.isfile(path) else ""


def find_project(config):
    """Returns the directory of the project's plugin_config.ini, or None."""
    project = getattr(config, "project_dir", None) or ""
    private = private_directory(config)
    places = [private and os.path.join(private, "env")]
    places += [project and os.path.join(project, "callback_plugins"), project]
    for place in filter(None, places):
        if os.path.isfile(os.path.join(place, CONFIG_FILE)):
            return os.path.abspath(place)
    return None


def is_configured():
    """Returns true if a configuration is named, or the organization or the user has one."""
    if os.environ.get("ANSIBLE_NOTIFY_CONFIG"):
        return True
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    places = ("/etc/ansible-notify", os.path.join(home, "ansible-notify"))
    return any(os.path.isfile(os.path.join(place, CONFIG_FILE)) for place in places)


# A setting of ansible.cfg with the lines that go on with it
ENABLED = re.compile(r"^callback(?:s_enabled|_whitelist)\s*[=:](.*(?:\n[ \t]+.*)*)", re.MULTILINE)


def callback_reports(config):
    """Returns true if this run has the callback plugin enabled, which would report twice."""
    environment = getattr(config, "env", None) or {}
    for variable in ("ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_CALLBACK_WHITELIST"):
        if variable in environment:
            return "ansible_notify" in str(environment[variable])
    places = [
        environment.get("ANSIBLE_CONFIG"),
        os.path.join(str(getattr(config, "cwd", None) or ""), "ansible.cfg"),
        os.path.expanduser("~/.ansible.cfg"),
        "/etc/ansible/ansible.cfg",
    ]
    for place in filter(None, places):
        if os.path.isdir(place):
            place = os.path.join(place, "ansible.cfg")
        try:
            with open(place, encoding="utf-8", errors="replace") as file:
                found = ENABLED.search(file.read())
        except OSError:
            continue
        return bool(found) and "ansible_notify" in found.group(1)
    return False


def silence_callback(config):
    """Keeps a callback plugin that is enabled by default from reporting too."""
    environment = getattr(config, "env", None)
    if isinstance(environment, dict):
        environment.setdefault("ANSIBLE_NOTIFY_ENABLED", "false")


REPORTER = Reporter()
