"""The record of real runs: one row for each, and none that seems to go on for ever."""

import fcntl
import os
import signal
import sqlite3

import pytest
from conftest import wait_for
from test_endtoend import BINARY, SHORT, binaries, start_endpoint  # noqa: F401

pytestmark = pytest.mark.newest

SLEEPS = SHORT + "    - {name: asleep, shell: 'sleep 60'}\n"


def spool(ansible):
    return ansible.directory / ".local" / "state" / "ansible-notify"


def rows(ansible, query):
    if not (spool(ansible) / "spool.db").exists():
        return []
    database = sqlite3.connect(spool(ansible) / "spool.db")
    try:
        return database.execute(query).fetchall()
    except sqlite3.OperationalError:
        # The tables are not there yet.
        return []
    finally:
        database.close()


def is_alive(ansible):
    """Whether a process holds the lock of a run."""
    for path in spool(ansible).glob("run-*.lock"):
        try:
            with open(path) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            # The run has ended meanwhile.
            continue
    return False


def status(ansible):
    return rows(ansible, "SELECT status FROM run")


@pytest.fixture
def sleeping(ansible, start_endpoint):  # noqa: F811
    """A play that is recorded and goes on; nobody is told of its results."""
    start_endpoint(on="canceled")
    play = ansible.start("ansible-playbook", ansible.write("site.yml", SLEEPS))
    wait_for(lambda: len(rows(ansible, "SELECT * FROM result")) >= 4)
    assert is_alive(ansible)
    assert status(ansible) == [(None,)]
    yield play
    play.kill()
    play.wait()


def test_a_run_is_recorded_with_its_tasks_and_hosts(ansible, start_endpoint):  # noqa: F811
    start_endpoint(on="canceled")
    result = ansible.play(SHORT)
    assert result.rc == 0, result.stderr
    hosts = len(rows(ansible, "SELECT * FROM host"))
    assert hosts > 1
    runs = "SELECT name, status, exit_code, ok, ignored, failed, hosts, tasks, partial FROM run"
    assert rows(ansible, runs) == [("site.yml", "success", 0, hosts, hosts, 0, hosts, 2, 0)]
    tasks = "SELECT text, ok, ignored FROM task JOIN name ON name.id = task.name ORDER BY task.id"
    assert rows(ansible, tasks) == [("first", hosts, 0), ("second", 0, hosts)]
    texts = rows(ansible, "SELECT DISTINCT message FROM detail")
    assert texts == [("not today",)]
    assert not is_alive(ansible)


def test_a_killed_play_is_canceled(ansible, sleeping):
    sleeping.kill()
    wait_for(lambda: status(ansible) == [("canceled",)])
    wait_for(lambda: not is_alive(ansible))


def test_a_killed_play_and_stream_are_known_to_be_gone(ansible, sleeping):
    streams = binaries(ansible)
    sleeping.kill()
    for pid in streams:
        os.kill(pid, signal.SIGKILL)
    sleeping.wait()
    wait_for(lambda: not binaries(ansible))
    # Not after a time, but as soon as the system has let go of the lock.
    wait_for(lambda: not is_alive(ansible) or status(ansible) == [("canceled",)])


def test_a_command_and_the_plugin_in_it_are_one_run(ansible, start_endpoint):  # noqa: F811
    start_endpoint(on="canceled")
    playbook = ansible.write("site.yml", SHORT)
    done = ansible.run(BINARY, "run", "--name", "nightly", "ansible-playbook", playbook)
    found = rows(ansible, "SELECT name, json_extract(about, '$.playbook'), exit_code FROM run")
    assert found == [("nightly", "site.yml", done.rc)], done.stderr
    assert not is_alive(ansible)
