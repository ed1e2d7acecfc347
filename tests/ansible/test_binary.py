"""Whatever becomes of the binary, the play is as if the plugin were not there."""

import os
import pathlib
import re
import shutil
import signal
import time

import pytest
from conftest import PEER, wait_for

ROOT = pathlib.Path(__file__).parents[2]
VERSION = re.search(
    '^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE
).group(1)

PLAY = """
- hosts: web
  gather_facts: false
  tasks:
    - name: hello
      debug: {msg: "{{ item }}"}
      loop: "{{ range(20) | list }}"
    - name: after
      debug:
"""


def test_missing_binary(ansible):
    result = ansible.play(PLAY, ANSIBLE_NOTIFY_BINARY="/nowhere/ansible-notify")
    assert result.rc == 0
    assert len(result.warnings) == 1
    assert "/nowhere/ansible-notify: No such file or directory" in result.warnings[0]
    assert "ANSIBLE_NOTIFY_BINARY" in result.warnings[0]


@pytest.mark.newest
def test_binary_that_cannot_run(ansible):
    binary = ansible.write("binary", "#!/bin/sh\n")
    result = ansible.play(PLAY, ANSIBLE_NOTIFY_BINARY=str(binary))
    assert result.rc == 0
    assert len(result.warnings) == 1
    assert "Permission denied" in result.warnings[0]


@pytest.mark.newest
def test_binary_on_path(ansible):
    """An empty variable is as none: then the binary is looked for."""
    (ansible.directory / "ansible-notify").symlink_to(ansible.environment["ANSIBLE_NOTIFY_BINARY"])
    path = "%s:%s" % (ansible.directory, ansible.environment["PATH"])
    empty = dict.fromkeys(
        ["ANSIBLE_NOTIFY_BINARY", "ANSIBLE_NOTIFY_CONFIG", "ANSIBLE_NOTIFY_QUIET"], ""
    )
    result = ansible.play(PLAY, PATH=path, ANSIBLE_NOTIFY_STRICT="", **empty)
    assert result.reported() == result.called
    assert len(result.of("start")[0]["argv"]) == 3
    assert result.warnings == []


def put_binary(ansible, folder):
    """A program in this folder that says where it was found, and then is the peer."""
    said = ansible.directory / "found"
    text = '#!/bin/sh\necho %s > %s\nexec %s "$@"\n' % (folder, said, PEER)
    ansible.write("%s/ansible-notify" % folder, text).chmod(0o755)
    return ansible.directory / folder


@pytest.mark.newest
def test_binary_where_packages_put_it(ansible):
    """The option, then pip's user scheme, then the collection, then PATH."""
    collection = "collections/ansible_collections/ansible_notify/notify"
    plugin = ansible.directory / collection / "plugins/callback/ansible_notify.py"
    plugin.parent.mkdir(parents=True)
    shutil.copy(ROOT / "callback_plugins/ansible_notify.py", plugin)
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(ansible.directory / "collections"),
        "ANSIBLE_COLLECTIONS_PATHS": str(ansible.directory / "collections"),
        "ANSIBLE_CALLBACK_PLUGINS": "",
        "ANSIBLE_CALLBACKS_ENABLED": "ansible_notify.notify.ansible_notify",
        "ANSIBLE_NOTIFY_BINARY": "",
    }
    missing = ansible.play(PLAY, **environment)
    assert missing.rc == 0
    [warning] = missing.warnings
    warning = " ".join(warning.split())
    assert "cannot run ansible-notify: No such file or directory. Install it" in warning
    assert "`pip install ansible-notify`" in warning

    machine = "%s-%s" % (os.uname().sysname.lower(), os.uname().machine)
    environment["PATH"] = "%s:%s" % (put_binary(ansible, "path"), ansible.environment["PATH"])
    places = ["path", "%s/bin/%s" % (collection, machine), ".local/bin"]
    for place in places:
        put_binary(ansible, place)
        result = ansible.play(PLAY, **environment)
        assert result.rc == 0
        assert result.warnings == []
        assert (ansible.directory / "found").read_text() == place + "\n"
    chosen = put_binary(ansible, "chosen")
    environment["ANSIBLE_NOTIFY_BINARY"] = str(chosen / "ansible-notify")
    ansible.play(PLAY, **environment)
    assert (ansible.directory / "found").read_text() == "chosen\n"


@pytest.mark.newest
def test_binary_is_not_looked_for_in_the_project(ansible):
    """Python's directory of the user may be a relative path, as it is without a home directory."""
    put_binary(ansible, "base/bin")
    environment = {"PYTHONUSERBASE": "base", "ANSIBLE_NOTIFY_BINARY": ""}
    [warning] = ansible.play(PLAY, **environment).warnings
    assert "cannot run ansible-notify" in " ".join(warning.split())
    assert not (ansible.directory / "found").exists()


@pytest.mark.newest
@pytest.mark.parametrize("code", [65, 69, 74, 75])
def test_binary_that_has_taken_everything(ansible, code):
    """Whatever became of the deliveries, it is not started again."""
    result = ansible.play(PLAY, PEER_LAST_EXIT=str(code))
    assert result.rc == 0
    assert len(result.of("start")) == 1
    assert result.warnings == []


@pytest.mark.newest
@pytest.mark.parametrize(("code", "warnings"), [(78, 0), (2, 1), (0, 1)])
def test_binary_that_exits(ansible, code, warnings):
    """With 78 it has said itself that its configuration is bad; else there is one warning."""
    result = ansible.play(PLAY, PEER_EXIT=str(code))
    assert result.rc == 0
    assert "the configuration cannot be used" in result.stderr
    assert len(result.of("start")) == 1
    assert len(result.warnings) == warnings


@pytest.mark.newest
@pytest.mark.parametrize(
    ("version", "upgrade"), [("0.0.9", "the program"), ("99.0.0-rc.1", "the plugin")]
)
def test_binary_that_does_not_know_the_options(ansible, version, upgrade):
    """Usage: it is of another version, which is said with what to upgrade."""
    result = ansible.play(PLAY, PEER_EXIT="2", PEER_VERSION=version)
    assert result.rc == 0
    [warning] = result.warnings
    warning = " ".join(warning.split())
    said = "(exit code 2): its version is %s, that of this plugin %s; upgrade %s"
    assert said % (version, VERSION, upgrade) in warning


@pytest.mark.newest
@pytest.mark.parametrize(("protocol", "upgrade"), [("0", "the program"), ("2", "the plugin")])
def test_binary_of_another_protocol(ansible, protocol, upgrade):
    result = ansible.play(PLAY, PEER_PROTOCOL=protocol, PEER_VERSION="7.8.9")
    assert result.rc == 0
    [warning] = result.warnings
    warning = " ".join(warning.split())
    said = "(version 7.8.9) speaks protocol %s, this plugin (version %s) protocol 1; upgrade %s"
    assert said % (protocol, VERSION, upgrade) in warning
    assert len(result.of("start")) == 1


@pytest.mark.newest
@pytest.mark.parametrize("version", [{}, {"PEER_VERSION": "0.0.9"}, {"PEER_VERSION": "99.0.0"}])
def test_binary_of_another_version(ansible, version):
    """The protocol is the same: that is enough."""
    result = ansible.play(PLAY, **version)
    assert result.reported() == result.called
    assert result.of("hello")[0]["version"] == VERSION
    assert result.warnings == []


@pytest.mark.parametrize(
    "problem",
    [{"PEER_EXIT": "78"}, {"PEER_EXIT": "1"}, {"ANSIBLE_NOTIFY_BINARY": "/nowhere/binary"}],
)
def test_strict(ansible, problem):
    """Nothing runs where nothing can be reported."""
    result = ansible.play(PLAY, ANSIBLE_NOTIFY_STRICT="true", **problem)
    assert result.rc == 78
    assert "hello" not in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert (result.stdout + result.stderr).count("`strict`") == 1


LINGER = """
import time
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_vars_prompt(self, varname, *args, **kwargs):
        time.sleep(0.3)
"""


@pytest.mark.newest
@pytest.mark.parametrize("code", ["78", "1"])
def test_strict_where_the_binary_ends_at_a_prompt(ansible, code):
    """It is found out with each of these events, and no play begins."""
    prompts = "".join("\n    - {name: answer%d, default: none}" % number for number in range(4))
    ansible.write("callback_plugins/linger.py", LINGER)
    play = "- hosts: web1\n  gather_facts: false\n  vars_prompt:" + prompts
    play += "\n  tasks:\n    - debug: {msg: hello}\n"
    result = ansible.play(play, ANSIBLE_NOTIFY_STRICT="true", PEER_EXIT=code)
    assert result.rc == 78
    assert "hello" not in result.stdout
    assert (result.stdout + result.stderr).count("`strict`") == 1


@pytest.mark.newest
def test_strict_and_switched_off(ansible):
    """What is switched off refuses nothing."""
    off = ("-e", "ansible_notify_enabled=false")
    result = ansible.play(PLAY, *off, ANSIBLE_NOTIFY_STRICT="true", PEER_EXIT="78")
    assert result.rc == 0
    assert result.lines == []


@pytest.mark.newest
def test_strict_when_all_is_well(ansible):
    result = ansible.play(PLAY, ANSIBLE_NOTIFY_STRICT="true")
    assert result.rc == 0
    assert result.reported() == result.called
    assert result.warnings == []


@pytest.mark.newest
@pytest.mark.parametrize("deaths", [1, 3])
def test_dying_binary(ansible, deaths):
    """It is started again, and nothing is lost."""
    result = ansible.play(PLAY, PEER_DIE_AFTER="12", PEER_DEATHS=str(deaths))
    assert result.rc == 0
    assert len(result.of("start")) == deaths + 1
    assert len(result.of("hello")) == deaths + 1
    numbers = {event["seq"] for event in result.of("event")}
    assert numbers == set(range(1, len(numbers) + 1))
    assert len({event["seq"] for event in result.events}) == len(result.called)
    first, *later = result.of("hello")
    assert "resumed" not in first
    assert all(0 < hello["resumed"]["after"] <= len(numbers) for hello in later)
    check_references(result.lines)
    assert result.of("end") == [{"reason": "exit", "code": 0}]
    assert result.warnings == []


@pytest.mark.newest
@pytest.mark.parametrize("strict", ["true", "false"])
def test_binary_that_is_killed_before_it_is_ready(ansible, strict):
    """By a kernel without memory, say: that says nothing against the next one."""
    result = ansible.play(PLAY, PEER_KILLED="2", ANSIBLE_NOTIFY_STRICT=strict)
    assert result.rc == 0
    assert len(result.of("start")) == 3
    assert result.reported() == result.called
    assert result.warnings == []


def check_references(lines):
    """Each process was told of the plays and tasks that its events name."""
    known = set()
    for line in lines:
        (kind, content), *_ = line.items()
        if kind == "start":
            known = set()
        elif kind in ("play", "task"):
            known.add((kind, content["id"]))
        elif kind == "event":
            named = {(kind, content[kind]) for kind in ("play", "task") if kind in content}
            assert named <= known


@pytest.mark.newest
@pytest.mark.parametrize(
    "death", [{"PEER_DIE_AFTER": "12", "PEER_DEATHS": "99"}, {"PEER_KILLED": "99"}]
)
def test_binary_that_always_dies(ansible, death):
    result = ansible.play(PLAY, **death)
    assert result.rc == 0
    assert len(result.of("start")) == 4
    assert len(result.warnings) == 1
    assert "died" in result.warnings[0]


@pytest.mark.newest
def test_binary_that_never_reads(ansible):
    """The play goes on at once; only its end waits, for a bounded time."""
    began = time.time()
    play = PLAY + "    - shell: head -c 900000 /dev/zero | tr '\\\\0' x\n"
    result = ansible.play(play, PEER_NEVER_READ="1")
    assert result.rc == 0
    # Far below the time for which it reads nothing, however busy the machine is.
    assert time.time() - began < 180
    assert len(result.warnings) == 1
    assert "does not respond" in result.warnings[0]


@pytest.mark.newest
def test_slow_exit(ansible):
    """Ansible waits for deliveries, but no longer than `drain` and two seconds."""
    began = time.time()
    assert ansible.play(PLAY, PEER_SLOW_EXIT="1.5").rc == 0
    assert time.time() - began > 1.5
    began = time.time()
    result = ansible.play(PLAY, PEER_SLOW_EXIT="200")
    # Far below what the binary takes, however busy the machine is.
    assert 3 < time.time() - began < 180
    assert result.warnings == []


@pytest.mark.newest
def test_binary_that_hangs(ansible):
    """What it may have taken into memory and no further is not passed over in silence."""
    result = ansible.play(PLAY, PEER_NEVER_SAFE="1", PEER_SLOW_EXIT="60")
    assert result.rc == 0
    assert len(result.warnings) == 1
    assert "%d events are unconfirmed" % len(result.of("event")) in result.warnings[0]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_signals(ansible, name):
    """The binary sees the end at once, even while workers still run their tasks."""
    if ansible.is_python2 and name != "SIGINT":
        pytest.skip("before Python 3.7 nothing can close the pipe in workers")
    process = ansible.start_sleeper()
    wait_for(lambda: len(events(ansible)) > 5)
    sent = time.time()
    os.kill(process.pid, getattr(signal, name))
    wait_for(lambda: "eof" in ansible.lines()[-1])
    eof = ansible.lines()[-1]["eof"]
    assert eof["time"] - sent < 2
    assert eof["ended"] is (name == "SIGINT")
    process.wait()


def events(ansible):
    return [line for line in ansible.lines() if "event" in line]


@pytest.mark.newest
def test_own_session(ansible):
    """Ctrl-C goes to Ansible's process group, and must not reach the binary."""
    start = ansible.play(PLAY).of("start")[0]
    assert start["session"] == start["pid"]


@pytest.mark.newest
def test_scheduling(ansible):
    """Where it can be said, the binary does not run in place of who writes to it."""
    expected = os.SCHED_OTHER if ansible.is_python2 else os.SCHED_BATCH
    assert ansible.play(PLAY).of("eof")[0]["scheduler"] == expected


def test_internal_error(ansible):
    """An error of the plugin is one warning, and shows no data."""
    shown = ansible.python(
        """
        warnings = []
        plugin.warn = warnings.append
        callback = plugin.CallbackModule()
        plugin.enter(callback)
        plugin.RUN.stream.process = True
        callback.v2_runner_on_ok({"secret": "CANARY"})
        callback.v2_playbook_on_include({"secret": "CANARY"})
        print(warnings)
        """
    )
    assert shown.count("internal error (AttributeError") == 1
    assert "CANARY" not in shown


def test_documentation(ansible):
    result = ansible.run("ansible-doc", "-t", "callback", "ansible_notify")
    assert result.rc == 0
    assert "ANSIBLE_NOTIFY_BINARY" in result.stdout
    assert result.warnings == []
