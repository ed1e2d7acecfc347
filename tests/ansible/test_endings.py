"""However a playbook ends, that is what is told, and Ansible is as it is without the plugin.

Each case is run twice at the same time, with the plugin and without it.
"""

import fcntl
import os
import pty
import re
import shutil
import subprocess
import termios

import pytest
from conftest import HERE, PLUGINS, heed_interrupts
from test_endtoend import BINARY, Endpoint
from typist import KEYS, converse
from waiting import PATIENCE

PLAYBOOKS = HERE / "endings"
CONFIG = """
[notifier:ends]
type = webhook
url = %s/{{ run_id }}
on = started, success, error, canceled
username = svc-ansible
password = s3cret
[outputs:ends]
path = event.run.path
status = status
exit_code = exit_code
reason = reason
[delivery]
drain = 10s
"""


class Case:
    """How to run what, and what is expected of it."""

    def __init__(self, playbook, rc, *told, shell="exec {}", keys=(), options=""):
        self.command = shell.format(f"ansible-playbook {options} {playbook}.yml")
        self.rc = rc
        # Status, exit code and a pattern for the reason; None where Ansible calls no plugin.
        self.told = told or None
        self.keys = keys


SUCCESS = ("success", 0, "")
KILLED = ("canceled", None, "Ansible was killed, or ended without saying so")
INTERRUPTED = ("canceled", 99, "interrupted")
BROKEN = "(BrokenPipeError: .*|cannot write to stdout: )Broken pipe"
FULL = "(OSError: .*|cannot write to stdout: )No space left on device"
FAILED = "web1: breaks: .*return.code.*"
UNDEFINED = r".*(keyword|field) '.*'nope' is undefined( \(.*\.yml:\d+\))?"


def error(code, reason):
    return "error", code, reason


def strategy(how, rc, *told):
    return Case("strategy", rc, *told, options=f"-e how={how}")


def killed(name, rc, *told):
    return Case("signal", rc, *told, options=f"-e number={name}")


def typed(playbook, rc, *told, key, words=b"answer"):
    return Case(playbook, rc, *told, keys=[(words, key)])


def writing(shell, rc, *told, playbook="reader"):
    return Case(playbook, rc, *told, shell=shell)


# The error of a file, and its place.
YAML = r".*YAML.*: .* \(/.*/malformed:\d+\)"
# The pipe that is closed after one line, and what Ansible ends with
HEAD = "| head -1; exit ${{PIPESTATUS[0]}}"
CASES = {
    # Before any plugin is called
    "no such playbook": Case("nowhere", 1),
    "broken syntax": Case("syntax", 4),
    "no such module": Case("no_module", 4),
    "no such file to import": Case("no_import", 1),
    "limit to nobody": Case("ok", 1, options="--limit nowhere"),
    # Before the first play, or a later one
    "vaulted vars_files": Case("vaulted_vars", 1, *error(1, ".*no vault secrets found.?")),
    "malformed vars_files": Case("malformed_vars", 4, *error(4, YAML)),
    "undefined hosts": Case("undefined_hosts", 4, *error(4, UNDEFINED)),
    "undefined serial": Case("undefined_serial", 4, *error(4, UNDEFINED)),
    "no such strategy": Case("no_strategy", 1, *error(1, "Invalid play strategy .*nowhere")),
    "later hosts": Case("later_hosts", 4, *error(4, UNDEFINED)),
    "later vars_files": Case("later_vars", 4, *error(4, YAML)),
    "prompt, Ctrl-C": typed("prompt", 99, *INTERRUPTED, key=b"\x03"),
    "prompt, Ctrl-D": typed("prompt", 250, *error(250, "EOFError"), key=b"\x04"),
    "prompt, terminal closed": typed("prompt", -1, *KILLED, key=None),
    "prompt, answered": typed("prompt", 0, *SUCCESS, key=b"x\n"),
    "later prompt, Ctrl-C": typed("later_prompt", 99, *INTERRUPTED, key=b"\x03"),
    "later prompt, Ctrl-D": typed("later_prompt", 250, *error(250, "EOFError"), key=b"\x04"),
    # By what its tasks do
    "success": Case("ok", 0, *SUCCESS),
    "check": Case("ok", 0, *SUCCESS, options="--check"),
    "start at a task that is not there": Case("ok", 0, *SUCCESS, options="--start-at-task x"),
    "nobody matched": Case("nobody", 0, *SUCCESS),
    "missing vars_files": Case("missing_vars", 0, *SUCCESS),
    "ignored": Case("ignored", 0, *SUCCESS),
    "rescued": Case("rescued", 0, *SUCCESS),
    "end_play": Case("end_play", 0, *SUCCESS),
    "end_host": Case("end_host", 0, *SUCCESS),
    "end_batch": Case("end_batch", 0, *SUCCESS),
    "failed": Case("failed", 2, *error(2, FAILED)),
    "errors cleared": Case("cleared", 2, *error(2, FAILED)),
    "unreachable": Case("unreachable", 4, *error(4, "gone: reaches: .*")),
    "failed and unreachable": Case("failed_and_unreachable", 4, *error(4, "(gone|web1): .*")),
    "any_errors_fatal": Case("any_errors_fatal", 2, *error(2, FAILED)),
    "max_fail_percentage": Case("max_fail_percentage", 2, *error(2, FAILED)),
    "a batch": Case("serial", 2, *error(2, FAILED)),
    "an assertion": Case("assert", 2, *error(2, "web1: claims: no such luck")),
    "no such handler": Case("no_handler", 1, *error(1, "The requested handler 'nobody' .*")),
    # Up to 2.18 no callback says what is wrong with the role, only an error that is printed.
    "no such role": Case(
        "no_role", 2, *error(2, "(web1: include_role : nowhere: )?[Tt]he role 'nowhere' was not .*")
    ),
    "no such variables": Case("no_vars", 2, *error(2, "web1: include_vars: Could not find .*")),
    "no such role, under no_log": Case(
        "no_role_hidden", 2, *error(2, "(web1: include_role : nowhere: )?the output .* no_log")
    ),
    "no such interpreter": Case("no_interpreter", 2, *error(2, "web1: asks: .*/nowhere.* not .*")),
    "no facts": Case("no_facts", 2, *error(2, "web1: Gathering Facts: .*/nowhere.* not found.?")),
    "no such tasks": Case("no_tasks", 2, *error(2, "web1: include_tasks: .*nowhere.yml.*")),
    "undefined variable": Case("undefined", 2, *error(2, "web1: speaks: .*undefined.*")),
    "failed handler": Case("failed_handler", 2, *error(2, "web1: cleans: .*")),
    "timeout": Case("timeout", 2, *error(2, "web1: dawdles: .*")),
    "retries": Case("retries", 2, *error(2, "web1: insists: .*")),
    "an imported playbook": Case("imports", 2, *error(2, FAILED)),
    "two playbooks": Case("ok.yml ignored", 0, *SUCCESS),
    "the first of two": Case("failed.yml ok", 2, *error(2, FAILED)),
    "the second of two": Case("ok.yml failed", 2, *error(2, FAILED)),
    "pause, aborted": Case(
        "pause",
        2,
        *error(2, "web1: waits: .*user requested abort!"),
        keys=[(b"go on", b"\x03", KEYS), (b"abort", b"a", KEYS)],
    ),
    # From inside
    "sys.exit in a strategy": strategy("exit", 3, *error(3, "Ansible ended with exit code 3")),
    "SystemExit in a strategy": strategy("raise", 5, *error(5, "Ansible ended with exit code 5")),
    "sys.exit with a text": strategy("say", 1, *error(1, "enough of it")),
    "os._exit in a strategy": strategy("vanish", 7, *KILLED),
    "AnsibleError in a strategy": strategy("error", 1, *error(1, "the strategy gives up")),
    "RuntimeError in a strategy": strategy("break", 250, *error(250, "RuntimeError: the .*")),
    "KeyboardInterrupt in a strategy": strategy("interrupt", 99, *INTERRUPTED),
    # From outside; SIGKILL is what a kernel without memory sends
    "SIGINT": killed("INT", 99, *INTERRUPTED),
    "SIGTERM": killed("TERM", -15, *KILLED),
    "SIGHUP": killed("HUP", -1, *KILLED),
    "SIGQUIT": killed("QUIT", -3, *KILLED),
    "SIGKILL": killed("KILL", -9, *KILLED),
    "SIGSEGV": killed("SEGV", -11, *KILLED),
    # Without its outputs
    "both to head": writing("{} 2>&1 " + HEAD, 120, *error(120, BROKEN)),
    "stdout to head": writing("{} " + HEAD, 120, *error(120, BROKEN)),
    "stdout to head, failed": writing("{} " + HEAD, 120, *error(120, BROKEN), playbook="failed"),
    "stderr to nobody": writing("{} 2> >(exec true)", 0, *SUCCESS),
    "stdout to a full disk": writing("exec {} >/dev/full", 120, *error(120, FULL)),
    "stderr to a full disk": writing("exec {} 2>/dev/full", 0, *SUCCESS),
    "both to a full disk": writing("exec {} >/dev/full 2>&1", 120, *error(120, FULL)),
    "failed, stderr to a full disk": writing(
        "exec {} 2>/dev/full", 2, *error(2, FAILED), playbook="failed"
    ),
    "stderr closed": writing("exec {} 2>&-", 5),
    "all closed": writing("exec {} <&- >&- 2>&-", 5),
}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    endpoint = Endpoint(tmp_path_factory.mktemp("endpoint"))
    yield endpoint
    endpoint.stop()


def start(ansible, name, environment, case):
    """Starts a case in a folder of its own; gives the process and its terminal."""
    folder = ansible.directory / name
    shutil.copytree(PLAYBOOKS, folder)
    environment = dict(ansible.environment, **environment)
    script = "export CONTROLLER=$$; " + case.command
    with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
        streams = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
        terminal = None
        if case.keys:
            terminal, slave = pty.openpty()
            streams = dict.fromkeys(streams, slave)
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            preexec_fn=lambda: prepare(bool(case.keys)),
            start_new_session=True,
            **streams,
        )
        if case.keys:
            os.close(slave)
    return process, terminal


def prepare(has_terminal):
    heed_interrupts()
    if has_terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def finish(folder, process, terminal, keys):
    """Types the keys, waits for the end, and gives the exit code and what was printed."""
    if terminal is not None:
        (folder / "stdout").write_bytes(converse(terminal, keys))
    code = process.wait(timeout=PATIENCE)
    printed = [(folder / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    return code, [comparable(text, folder) for text in printed]


def comparable(text, folder):
    """The text without what is another in each run."""
    text = text.replace(folder.name, "")
    text = re.sub(r"[\d:]*\.\d{2,}|\d\d:\d\d:\d\d|pid=?\s*\d+|0x[0-9a-f]+", "", text)
    return re.sub(r"ansible-(local-|tmp-)\S+", "", text)


# Those in which versions of Ansible differ; the others run with the newest one only.
DIFFERENT = {
    "broken syntax",
    "vaulted vars_files",
    "undefined hosts",
    "no such strategy",
    "later hosts",
    "later vars_files",
    "prompt, Ctrl-C",
    "success",
    "end_batch",
    "failed",
    "any_errors_fatal",
    "no such handler",
    "no such role",
    "no such role, under no_log",
    "undefined variable",
    "failed handler",
    "pause, aborted",
    "RuntimeError in a strategy",
    "SIGINT",
    "both to head",
    "stderr closed",
}


def each_case():
    for name in CASES:
        yield pytest.param(name, marks=() if name in DIFFERENT else pytest.mark.newest)


@pytest.mark.parametrize("name", each_case())
def test_how_a_playbook_ends(ansible, endpoint, name):
    check(ansible, endpoint, CASES[name])


def check(ansible, endpoint, case):
    config = ansible.write("ends.ini", CONFIG % endpoint.url)
    config.chmod(0o600)
    for variable in [known for known in ansible.environment if "CALLBACK" in known]:
        del ansible.environment[variable]
    with_plugin = {
        "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
        "ANSIBLE_NOTIFY_BINARY": str(BINARY),
        "ANSIBLE_NOTIFY_CONFIG": str(config),
        "ANSIBLE_NOTIFY_QUIET": "1",
    }
    plain = start(ansible, "run-a", {}, case)
    told = start(ansible, "run-b", with_plugin, case)
    plain = finish(ansible.directory / "run-a", *plain, case.keys)
    told = finish(ansible.directory / "run-b", *told, case.keys)
    assert told == plain
    assert told[0] == case.rc, told[1]
    folder = str(ansible.directory / "run-b")

    def mine(bodies):
        return [body for body in bodies if (body["path"] or "").startswith(folder)]

    if case.told is None:
        assert mine(endpoint.bodies()) == []
        return
    started, *between, end = endpoint.wait_for(
        lambda bodies: mine(bodies) and mine(bodies)[-1]["status"] != "running"
    ) and mine(endpoint.bodies())
    assert started["status"] == "running"
    status, code, reason = case.told
    assert {body["status"] for body in between} <= {"running"}
    assert (end["status"], end["exit_code"]) == (status, code), end
    assert re.fullmatch(reason, end["reason"] or "", re.DOTALL), end
