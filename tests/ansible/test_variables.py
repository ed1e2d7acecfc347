"""What a play's variables say of the configuration, and when it is known."""

import os
import pty
import subprocess

import pytest
from conftest import Outcome
from test_endings import prepare
from typist import converse
from waiting import PATIENCE

ADDRESS = "https://example.com/play"
PROMPT = """
- hosts: web1
  gather_facts: false
  vars_files: [given.yml]
  vars_prompt: [{name: answer, private: false}]
  tasks:
    - debug:
"""


def addresses(result):
    """The addresses in `hello` and in the records that follow it."""
    told = [hello["overrides"] for hello in result.of("hello")] + result.of("overrides")
    return [overrides.get("callback_url") for overrides in told]


def check_died(result):
    """From start to end, and nothing of a play."""
    assert [event["event"] for event in result.events][0] == "playbook_on_start"
    assert result.of("play") == []
    [end] = result.of("end")
    assert end["code"] == result.rc != 0
    assert end.get("error") or end["reason"] == "interrupt"


def play_with_keys(ansible, text, keys):
    """Runs a playbook on a terminal of its own."""
    playbook = ansible.write("site.yml", text)
    terminal, slave = pty.openpty()
    process = subprocess.Popen(
        ["ansible-playbook", playbook],
        cwd=ansible.directory,
        env=ansible.environment,
        **dict.fromkeys(["stdin", "stdout", "stderr"], slave),
        preexec_fn=lambda: prepare(has_terminal=True),
        start_new_session=True,
    )
    os.close(slave)
    (ansible.directory / "stdout").write_bytes(converse(terminal, keys))
    (ansible.directory / "stderr").touch()
    return Outcome(process.wait(timeout=PATIENCE), ansible.directory)


@pytest.mark.parametrize("where", ["vars", "extra"])
def test_they_are_known_though_the_play_never_begins(ansible, where):
    ansible.write("broken.yml", "a: [\n")
    play = "- hosts: web1\n  vars_files: [broken.yml]\n  tasks:\n    - debug:\n"
    arguments = ()
    if where == "vars":
        play = play.replace(
            "  tasks", "  vars: {ansible_notify_callback_url: '%s'}\n  tasks" % ADDRESS
        )
    else:
        arguments = ("-e", "callback_url=" + ADDRESS)
    result = ansible.play(play, *arguments)
    check_died(result)
    assert addresses(result) == [ADDRESS]
    assert result.of("hello")[0]["early"] is True


def test_those_of_a_file_are_known_while_a_prompt_waits(ansible):
    ansible.write("given.yml", "ansible_notify_callback_url: %s\n" % ADDRESS)
    result = play_with_keys(ansible, PROMPT, [(b"answer", b"\x03")])
    check_died(result)
    assert addresses(result) == [None, ADDRESS]
    names = [name for line in result.lines for name in line]
    assert names.index("overrides") < names.index("end")


def test_an_answer_may_be_the_address(ansible):
    ansible.write("given.yml", "other: 1\n")
    play = PROMPT.replace("answer", "ansible_notify_callback_url")
    result = play_with_keys(ansible, play, [(b"callback_url", ADDRESS.encode() + b"\n")])
    assert result.rc == 0, result.stdout
    assert addresses(result) == [None, ADDRESS]
    names = [name for line in result.lines for name in line]
    assert names.index("overrides") < names.index("play")


def test_the_files_are_read_without_a_word(ansible):
    """Each line that Ansible prints of them is its own."""
    ansible.write("given.yml", "other: 1\n")
    play = PROMPT.replace("  vars_prompt: [{name: answer, private: false}]\n", "")
    printed = [
        [line for line in ansible.play(play, "-vvv", **more).stdout.splitlines() if "given" in line]
        for more in ({}, {"ANSIBLE_NOTIFY_ENABLED": "0"})
    ]
    assert printed[0] == printed[1]


def test_a_play_is_asked_once(ansible):
    """Not for each of its batches, nor under the longer name that ansible-runner gives them."""
    shown = ansible.python(
        """
        class Manager(object):
            extra_vars = {}
            asked = 0
            def get_vars(self, play):
                self.asked += 1
                return {"ansible_notify_username": "u%d" % self.asked}

        class Play(object):
            manager = Manager()
            def __init__(self, uuid):
                self._uuid = uuid
            def get_variable_manager(self):
                return self.manager
            def get_loader(self):
                return None

        overrides = plugin.Overrides()
        read = overrides.read
        overrides.read = lambda name, value, templar: value
        first, other = "0" * 36, "1" * 36
        for uuid in (first, first, first + "_2", other, other):
            print(overrides.of_play(Play(uuid))["username"])
        """
    )
    assert shown.split() == ["u1", "u1", "u1", "u2", "u2"]
