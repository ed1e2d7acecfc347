"""A process is stopped in the middle of its work: the play ends, and lets go of its output."""

import os
import signal
import subprocess
import time

import pytest
from conftest import wait_for
from test_endtoend import BINARY, SHORT, binaries, start_endpoint  # noqa: F401
from waiting import PATIENCE

pytestmark = pytest.mark.newest

SLOW = (
    SHORT
    + """
    - name: third
      command: sleep 1
"""
)
# Ansible itself on a busy machine, and what the end of a play may take: `drain` and two seconds.
BOUND = 100


def state(pid):
    with open("/proc/%d/stat" % pid) as stat:
        return stat.read().rpartition(") ")[2][0]


@pytest.fixture
def holder(ansible, start_endpoint):  # noqa: F811
    """A process that is stopped while it holds the spool's lock, in a transaction."""
    endpoint = start_endpoint(on="ok failed", drain="1s")
    assert ansible.play(SHORT).rc == 0
    event = ansible.write("event.json", '{"state": "failed", "host": "other"}')
    stops = {"ANSIBLE_NOTIFY_FAILPOINTS": "before_commit=stop"}
    process = ansible.start(BINARY, "send", "--config", "plugin_config.ini", event, **stops)
    wait_for(lambda: state(process.pid) == "T")
    yield endpoint
    process.kill()
    process.wait()


def start_through_pipe(ansible, text):
    """Starts a play whose output goes to `cat`."""
    playbook = ansible.write("site.yml", text)
    return subprocess.Popen(
        ["sh", "-c", 'ansible-playbook "$0" 2>&1 | cat', str(playbook)],
        cwd=ansible.directory,
        env=ansible.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def play_through_pipe(ansible, text):
    """Runs such a play; returns its output and the seconds that it took."""
    began = time.monotonic()
    output = start_through_pipe(ansible, text).communicate(timeout=PATIENCE)[0]
    return output.decode(), time.monotonic() - began


def test_a_stopped_process_that_holds_the_spool(ansible, holder):
    output, seconds = play_through_pipe(ansible, SLOW)
    assert seconds < BOUND, output
    assert "which is stopped" in output
    holder.wait_for(lambda bodies: len(bodies) >= 10)


def test_a_stopped_binary(ansible, start_endpoint):  # noqa: F811
    endpoint = start_endpoint(on="ok failed", drain="1s")
    began = time.monotonic()
    piped = start_through_pipe(ansible, SLOW)
    wait_for(lambda: len(endpoint.bodies()) >= 2)
    for pid in binaries(ansible):
        os.kill(pid, signal.SIGSTOP)
    output = piped.communicate(timeout=PATIENCE)[0].decode()
    assert time.monotonic() - began < BOUND, output
    assert "ansible-notify does not respond" in output
    # It goes on by itself when the play has ended.
    endpoint.wait_for(lambda bodies: len(bodies) == 6)
    wait_for(lambda: not binaries(ansible))
