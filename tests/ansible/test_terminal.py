"""`ansible-notify run` at a terminal: what is typed and what is printed is as without it."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from contextlib import suppress

import pytest
import typist
from conftest import heed_interrupts, wait_for
from test_endtoend import BINARY
from test_run import OK, Place, endpoint  # noqa: F401
from typist import HIDDEN, KEYS

PROMPTS = """
- hosts: localhost
  gather_facts: false
  vars_prompt:
    - {name: shown, prompt: say something, private: false}
    - {name: hidden, prompt: say a secret}
  tasks:
    - {name: speaks, debug: {msg: "{{ shown }} {{ hidden | length }}"}}
    - {name: waits, pause: {prompt: go on}}
    - {name: breaks, command: "false", ignore_errors: true}
    - {name: waits again, pause: {prompt: go further}}
"""
VAULTED = "- hosts: localhost\n  gather_facts: false\n  tasks: [{debug: {msg: opened}}]\n"
PAUSE = OK.replace("debug: {msg: hello}", "pause: {prompt: go on}")


def converse(place, command, keys, size=(40, 100)):
    """Runs a command at a terminal of its own; gives the exit code and all that was printed."""
    process, terminal = pty.fork()
    if process == 0:
        heed_interrupts()
        os.chdir(place.folder)
        os.execvpe(command[0], [str(word) for word in command], place.environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    printed = typist.converse(terminal, keys)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), printed


def compared(ansible, endpoint, command, keys, files=(), environment=()):  # noqa: F811
    """Runs a command alone and in the wrapper; gives what both printed, and the place."""
    results = []
    for name, wrapper in (("alone", ()), ("wrapped", (BINARY, "run", "--quiet"))):
        place = Place(ansible, endpoint, name, has_plugin=False)
        place.environment.pop("ANSIBLE_NOCOLOR")
        place.environment.update(environment)
        for file, text in dict(files).items():
            place.write(file, text)
        code, printed = converse(place, [*wrapper, *command], keys)
        printed = printed.replace(name.encode(), b"")
        printed = re.sub(
            rb"[\d:.]*\.\d{3,}|\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d|ansible-tmp\S+|ansible-local\S+",
            b"",
            printed,
        )
        # Looks the same: after Ctrl-C, Ansible restores the modes of its input alone, and `pause`
        # may change them while a line is on its way.
        results.append((code, re.sub(rb"\r*\n\r*", b"\r\n", printed)))
    for alone, wrapped in zip(*(printed.split(b"\n") for _, printed in results)):
        assert alone == wrapped
    assert results[0] == results[1]
    return results[1][1], place


def test_prompts_colours_and_pause_are_as_without(ansible, endpoint):  # noqa: F811
    keys = [
        (b"say something", b"aloud\n"),
        (b"say a secret", b"hushed\n", HIDDEN),
        (b"go on", b"\r", KEYS),
        (b"go further", b"\r", KEYS),
    ]
    command = ("ansible-playbook", "prompts.yml")
    printed, place = compared(ansible, endpoint, command, keys, {"prompts.yml": PROMPTS})
    assert b"aloud 6" in printed
    assert b"hushed" not in printed
    assert b"\x1b[0;32m" in printed or b"\x1b[32m" in printed
    end = place.the_end()
    assert end["status"] == "success"
    assert "\x1b" not in end["output"]
    assert "aloud 6" in end["output"]


@pytest.mark.newest
@pytest.mark.parametrize(("password", "rc"), [(b"sesame\n", 0), (b"wrong\n", None)])
def test_a_vault_password_is_asked_for(ansible, endpoint, password, rc):  # noqa: F811
    maker = Place(ansible, endpoint, "maker", has_plugin=False)
    maker.write("password", "sesame")
    maker.write("vars.yml", "word: opened\n")
    encrypt = ["ansible-vault", "encrypt", "--vault-password-file", "password", "vars.yml"]
    subprocess.run(
        encrypt, cwd=maker.folder, env=maker.environment, check=True, capture_output=True
    )
    files = {"vars.yml": (maker.folder / "vars.yml").read_text(), "vaulted.yml": VAULTED}
    command = ("ansible-playbook", "--ask-vault-pass", "-e", "@vars.yml", "vaulted.yml")
    printed, place = compared(
        ansible, endpoint, command, [(b"Vault password: ", password, HIDDEN)], files
    )
    assert b"sesame" not in printed
    assert b"wrong" not in printed
    assert place.the_end()["status"] == ("success" if rc == 0 else "error")


@pytest.mark.newest
def test_ctrl_c_is_as_without(ansible, endpoint):  # noqa: F811
    keys = [(b"go on", b"\x03", KEYS), (b"abort", b"a", KEYS)]
    command = ("ansible-playbook", "pause.yml")
    compared(ansible, endpoint, command, keys, {"pause.yml": PAUSE})


def test_ctrl_c_at_a_prompt_cancels(ansible, endpoint):  # noqa: F811
    keys = [(b"say something", b"\x03")]
    command = ("ansible-playbook", "prompts.yml")
    _, place = compared(ansible, endpoint, command, keys, {"prompts.yml": PROMPTS})
    assert place.the_end()["status"] == "canceled"


@pytest.mark.newest
def test_the_size_of_the_window_follows(ansible, endpoint):  # noqa: F811
    program = (
        "import os, signal\n"
        "def show(*_):\n"
        "    size = os.get_terminal_size(1)\n"
        "    if size.columns == 77: print('size', *size, flush=True); os._exit(0)\n"
        "signal.signal(signal.SIGWINCH, show)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    command = ("python3", "-c", program)
    printed, _ = compared(ansible, endpoint, command, [(b"ready", (33, 77))])
    assert b"size 77 33" in printed


@pytest.mark.newest
def test_stopped_and_continued_by_a_shell(ansible, endpoint):  # noqa: F811
    """Ctrl-Z stops the command and the wrapper; `fg` lets both go on."""
    place = Place(ansible, endpoint, "place", has_plugin=False)
    script = (
        "set -m; $RUN sh -c 'echo began; read line; echo got $line'; "
        "echo stopped $?; fg >/dev/null; echo left $?"
    )
    place.environment["RUN"] = "%s run --quiet" % BINARY
    keys = [(b"began", b"\x1a"), (b"stopped 148", b"word\n")]
    code, printed = converse(place, ["bash", "-c", script], keys)
    assert code == 0
    assert b"got word" in printed
    assert b"left 0" in printed
    assert place.the_end()["status"] == "success"


@pytest.mark.newest
def test_a_terminal_that_closes_ends_the_run(ansible, endpoint):  # noqa: F811
    place = Place(ansible, endpoint, "place", has_plugin=False)
    process, terminal = pty.fork()
    if process == 0:
        heed_interrupts()
        os.chdir(place.folder)
        command = [str(BINARY), "run", "--quiet", "ansible-playbook", "sleeps.yml"]
        os.execvpe(command[0], command, place.environment)
    wait_for((place.folder / "asleep").exists)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGHUP
    assert place.the_end()["signal"] == "SIGHUP"
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
