"""The program is killed in a real play with variables: nothing is lost, and no secret leaks."""

import os
import signal
import sqlite3

import pytest
from conftest import wait_for
from test_running import program_of
from test_vars import encrypted, project  # noqa: F401
from waiting import PATIENCE

pytestmark = pytest.mark.newest

PLAY = """
- hosts: web
  gather_facts: false
  vars:
    team: web-team
    of_inline: "<{{ inline }}>"
    sudo_password: CANARY-become
    ansible_become_password: "{{ sudo_password }}"
  tasks:
    - {name: first, debug: }
    - {name: hides, command: echo CANARY-registered, register: hidden, no_log: true}
    - {name: waits, wait_for: {path: "{{ playbook_dir }}/go-1", timeout: 600}}
    - {name: copies, set_fact: {copied: "<{{ hidden.stdout }}>"}}
    - {name: shows, set_fact: {shown: "shown on {{ inventory_hostname }}"}}
    - {name: waits again, wait_for: {path: "{{ playbook_dir }}/go-2", timeout: 600}}
    - {name: last, debug: }
"""
TASKS = ["first", "hides", "waits", "copies", "shows", "waits again", "last"]
SECRETS = "inline, of_inline, sudo_password, ansible_become_password, hidden, copied"


def results(project, task):  # noqa: F811
    """The results of a task so far; none before there is a spool."""
    try:
        return project.events_of("runner_on_ok", task=task)
    except sqlite3.OperationalError:
        return []


def kill(process):
    os.kill(program_of(process), signal.SIGKILL)


@pytest.mark.parametrize("wanted", [SECRETS, "*"], ids=["names", "all"])
def test_a_program_that_is_killed_loses_and_leaks_nothing(project, wanted):  # noqa: F811
    ansible = project.ansible
    project.write("inventory/group_vars/web.yml", "inline: " + encrypted(project, "CANARY-in", 2))
    project.event("vars = team, shown, %s\ngroups = true" % wanted)
    process = ansible.start("ansible-playbook", project.write("site.yml", PLAY))
    for number, task in ((1, "hides"), (2, "shows")):
        wait_for(lambda task=task: len(results(project, task)) == 2)
        kill(process)
        project.write("go-%d" % number, "")
    assert process.wait(timeout=PATIENCE) == 0
    wait_for(lambda: project.events_of("run_end"))
    assert len(project.events_of("run_end")) == 1
    for host in ("web1", "web2"):
        told = project.events_of("runner_on_ok", host)
        assert [event["task"]["name"] for event in told] == TASKS
        for event in told:
            assert event["host"]["vars"]["team"] == "web-team"
            assert event["host"]["groups"] == ["prod", "web"]
        assert told[-1]["host"]["vars"]["shown"] == "shown on %s" % host
    [end] = project.events_of("run_end")
    assert end["stats"]["web1"]["ok"] == len(TASKS)
    assert b"CANARY" not in project.bytes_of_spool()
    output = (ansible.directory / "stdout").read_text() + (ansible.directory / "stderr").read_text()
    assert "internal error" not in output
