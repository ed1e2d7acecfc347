"""Reports events through either plugin, as its host does, without an Ansible or a runner around it.

driver.py callback|runner CODE: runs the code, in which `driver` is one of the classes below. The
two have the same methods, so that a test says once what both plugins must do.
"""

import os
import sys
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Callback(object):  # noqa: UP004 - for Python 2
    """The callback plugin, in the place of ansible-playbook."""

    def __init__(self):
        sys.path.insert(0, os.path.join(ROOT, "callback_plugins"))
        import ansible_notify

        self.plugin = ansible_notify
        self.run = ansible_notify.RUN
        self.run.options = {"binary": os.environ["ANSIBLE_NOTIFY_BINARY"]}
        self.callback = ansible_notify.CallbackModule()
        ansible_notify.enter(self.callback)
        # Ansible has one too, around every callback.
        self.lock = threading.Lock()
        self.callback.safely(self.run.start)

    @property
    def stream(self):
        return self.run.stream

    def report(self, size=10):
        with self.lock:
            self.callback.safely(self.run.step, "made_up", None, None, {"text": "x" * size})

    def report_in_child(self):
        """A worker calls the same objects, and may leave through the end of a process."""
        self.report()
        self.run.finish()

    def look(self):
        """Does what is otherwise done with one event in many."""
        self.callback.safely(self.stream.listen)

    def end(self):
        """Nothing: the end is that of the process."""


class Runner(object):  # noqa: UP004
    """The plugin of ansible-runner, in the place of a run."""

    def __init__(self):
        sys.path.insert(0, os.path.join(ROOT, "python"))
        from ansible_notify import runner

        class Configuration(object):  # noqa: UP004
            settings = {}

        self.plugin = runner
        self.configuration = Configuration()

    @property
    def stream(self):
        return self.plugin.REPORTER.runs[id(self.configuration)][1]

    def report(self, size=10):
        self.plugin.event_handler(self.configuration, {"event": "made_up", "text": "x" * size})

    def report_in_child(self):
        """A child with a run of its own has a stream of its own: here it only ends."""
        self.plugin.REPORTER.finish()

    def look(self):
        self.stream.tend()

    def end(self):
        self.plugin.status_handler(self.configuration, {"status": "successful"})


driver = {"callback": Callback, "runner": Runner}[sys.argv[1]]()
exec(sys.argv[2], {"driver": driver})
driver.end()
