"""Why a task failed, as messages say it: the same sentence everywhere, for each way to fail."""

import json
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from test_endtoend import BINARY, Endpoint

CONFIG = """
[notifier:reasons]
type = webhook
url = %s/events
username = svc-ansible
password = s3cret
on = failed, unreachable, error
[outputs:reasons]
task = task_name
reason = reason
status = status
result = result
failed = failed_tasks
"""
INVENTORY = """
[all:vars]
ansible_connection=local
ansible_python_interpreter="{{ ansible_playbook_python }}"
[cases]
case[0:99]
spare
[broken]
gone ansible_remote_tmp=/proc/nowhere
looping ansible_remote_tmp=/proc/nowhere
silent ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1
"""
FILES = {
    "fail.sh": "#!/bin/sh\necho script trouble >&2\nexit 7\n",
    "broken.j2": "{{ 1 + }}\n",
    "library/crash.py": """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({})
raise ValueError("the moon is in the wrong phase")
""",
    "library/chain.py": """#!/usr/bin/python
import traceback
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({})
try:
    {}["deep"]
except KeyError:
    module.fail_json(msg="could not do it", exception=traceback.format_exc())
""",
    "library/quits.py": """#!/usr/bin/python
import sys
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({})
sys.stdout.write("no such interpreter\\n")
sys.stderr.write("Shared connection to h1 closed.\\r\\n")
sys.exit(3)
""",
}
SECRETS = [{"name": "a", "password": "CANARY-1"}, {"name": "b", "password": "CANARY-2"}]
LABEL = {"label": "{{ item.name }}"}
HIDDEN = "the output has been hidden because of no_log"
NINE = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done; exit 2"
NO_PACKAGE = "{ echo 'E: no package {{ item }}' >&2; exit 100; }"
ARGUMENTS = "Finalization of task args for 'ansible.builtin.debug' failed: "
FINALIZATION = ARGUMENTS + "Error while resolving value for 'msg': "
OPTION = "The task includes an option with an undefined variable. The error was: "
CONDITIONAL = "The conditional check 'no.such' failed. The error was: "
EVALUATING = "error while evaluating conditional (no.such): 'no' is undefined"
ERROR_EVALUATING = "Error while evaluating conditional: 'no' is undefined"
NOT_FOUND = re.compile(r"(?s).*Could not find or access '\S*nowhere.*")
DIRECTORY = re.compile(r"(?s)(1: )?Failed to create temporary directory\..*")


def failing(line):
    return "echo '%s' >&2; exit 1" % line


# What fails, and why: a text or a pattern; where versions differ, by the last one that says it so.
CASES = {
    "stderr": ({"shell": failing("disk /dev/sda1 is full")}, "disk /dev/sda1 is full"),
    "stdout": ({"shell": "echo 'tests failed: 3'; exit 3"}, "tests failed: 3"),
    "silence": ({"command": "/bin/false"}, "return code 1"),
    "long output": ({"shell": NINE}, "\n".join("err %d" % number for number in range(5, 10))),
    "missing program": (
        {"command": "/opt/tool/bin/missing --now"},
        "[Errno 2] No such file or directory: b'/opt/tool/bin/missing'",
    ),
    "script": ({"script": "{{ playbook_dir }}/fail.sh"}, "script trouble"),
    "raw": ({"raw": failing("raw trouble")}, "raw trouble"),
    "failed_when": (
        {"command": "echo all good", "register": "said", "failed_when": "'good' in said.stdout"},
        "failed_when was met: all good",
    ),
    "failed_when, a list": (
        {"command": "echo all good", "register": "said", "failed_when": ["said.rc == 0", True]},
        "failed_when was met: all good",
    ),
    "failed_when, a message": (
        {"debug": {"msg": "version 3 found"}, "failed_when": True},
        "failed_when was met: version 3 found",
    ),
    "failed_when, silence": ({"stat": {"path": "/"}, "failed_when": True}, "failed_when was met"),
    "failed_when, a return code": (
        {"shell": failing("down"), "register": "said", "failed_when": "said.rc == 1"},
        "down",
    ),
    "failed_when, undefined": (
        {"command": "echo a", "failed_when": "no.such"},
        {
            "2.9": CONDITIONAL + EVALUATING,
            "2.18": "failed_when cannot be evaluated: " + CONDITIONAL + EVALUATING,
            "3": "failed_when cannot be evaluated: " + ERROR_EVALUATING,
        },
    ),
    "assert": ({"assert": {"that": ["1 == 1", "1 == 2"]}}, "Assertion failed: 1 == 2"),
    "assert, a message": (
        {"assert": {"that": "1 == 2", "fail_msg": "one is not two"}},
        "one is not two",
    ),
    "assert, messages": ({"assert": {"that": "1 == 2", "fail_msg": ["one", "two"]}}, "one\ntwo"),
    "fail": ({"fail": {"msg": "not on a friday"}}, "not on a friday"),
    "fail, lines": ({"fail": {"msg": "first\nsecond\n"}}, "first\nsecond"),
    "fail, silence": ({"fail": None}, "Failed as requested from task"),
    "template error": (
        {"debug": {"msg": "{{ 1 / 0 }}"}},
        {
            "2.18": "ZeroDivisionError: division by zero",
            "3": FINALIZATION + "Error rendering template: division by zero",
        },
    ),
    "undefined variable": (
        {"debug": {"msg": "{{ no.such }}"}},
        {"2.18": OPTION + "'no' is undefined", "3": FINALIZATION + "'no' is undefined"},
    ),
    "template syntax": (
        {"debug": {"msg": "{{ 1 + }}"}},
        {
            "2.18": "template error while templating string: unexpected 'end of print statement'."
            " String: {{ 1 + }}",
            "3": FINALIZATION + "Syntax error in template: unexpected 'end of print statement'",
        },
    ),
    "lookup": ({"debug": {"msg": "{{ lookup('file', '/nowhere') }}"}}, re.compile(".*/nowhere.*")),
    "when": (
        {"debug": {"msg": "x"}, "when": "no.such"},
        {
            "2.18": CONDITIONAL + EVALUATING,
            "2.20": ERROR_EVALUATING,
            "3": "A 'when' expression failed: " + ERROR_EVALUATING,
        },
    ),
    "timeout": (
        {"command": "sleep 60", "timeout": 1},
        {
            "2.18": "The command action failed to execute in the expected time frame (1) and was"
            " terminated",
            "3": "Timed out after 1 second(s).",
        },
    ),
    "async timeout": (
        {"command": "sleep 60", "async": 1, "poll": 1},
        # Whichever of the two processes notices it first
        re.compile(
            "async task did not complete within the requested time( - 1s)?|Timeout exceeded"
        ),
    ),
    "async": ({"shell": failing("async trouble"), "async": 60, "poll": 1}, "async trouble"),
    "include": ({"include_tasks": "nowhere.yml"}, NOT_FOUND),
    "become": (
        {"command": "id", "become": True, "become_user": "nobody-at-all"},
        re.compile(r"(?s).+"),
    ),
    "bad arguments": (
        {"copy": {"content": "x", "dest": "/tmp/x", "nonsense": 1}},
        re.compile(r"Unsupported parameters for \(\S*copy\) module: nonsense.*"),
    ),
    "missing argument": ({"file": {"state": "touch"}}, "missing required arguments: path"),
    "a loop, one item": (
        {"shell": "test {{ item }} != nginx || " + NO_PACKAGE, "loop": ["curl", "nginx", "git"]},
        "nginx: E: no package nginx",
    ),
    "a loop, all items": (
        {"shell": NO_PACKAGE, "loop": ["curl", "nginx"]},
        "curl: E: no package curl; nginx: E: no package nginx",
    ),
    "a loop, many items": (
        {"shell": NO_PACKAGE, "with_items": ["a", "b", "c", "d", "e"]},
        "a: E: no package a; b: E: no package b; c: E: no package c; and 2 more",
    ),
    "a loop, one reason": (
        {"command": "/bin/false", "loop": [1, {"a": 2}]},
        '1, {"a":2}: return code 1',
    ),
    "a loop with a label": (
        {"shell": "echo bad {{ item.name }} >&2; exit 1", "loop": SECRETS, "loop_control": LABEL},
        "a: bad a; b: bad b",
    ),
    "a hidden loop": (
        {"shell": "echo CANARY >&2; exit 1", "loop": SECRETS, "no_log": True},
        HIDDEN,
    ),
    "a loop with a hidden item": (
        {
            "shell": "echo {{ item.password | default('shown') }} >&2; exit 1",
            "loop": [SECRETS[0], {"name": "b"}],
            "no_log": "{{ 'password' in item }}",
        },
        HIDDEN,
    ),
    "no_log": ({"shell": "echo CANARY >&2; exit 1", "no_log": True}, HIDDEN),
    "no_log, missing program": ({"command": "/opt/CANARY", "no_log": True}, HIDDEN),
    "no_log, undefined": ({"debug": {"msg": "{{ CANARY }}"}, "no_log": True}, HIDDEN),
    "until": (
        {"shell": failing("not yet"), "until": False, "retries": 2, "delay": 0},
        "not yet (attempts: 2)",
    ),
    "until, no failure": (
        {"command": "echo not yet", "until": False, "retries": 1, "delay": 0},
        "until was not met: not yet (attempts: 1)",
    ),
    "copy": ({"copy": {"src": "nowhere.txt", "dest": "/tmp/x"}}, NOT_FOUND),
    "template": ({"template": {"src": "nowhere.j2", "dest": "/tmp/x"}}, NOT_FOUND),
    "template, syntax": (
        {"template": {"src": "{{ playbook_dir }}/broken.j2", "dest": "/tmp/x"}},
        re.compile(".*unexpected 'end of print statement'.*"),
    ),
    "uri": (
        {"uri": {"url": "{{ url }}"}},
        "Status code was 404 and not [200]: HTTP Error 404: Not Found",
    ),
    "get_url": (
        {"get_url": {"url": "{{ url }}", "dest": "{{ playbook_dir }}/got"}},
        "Request failed: HTTP Error 404: Not Found",
    ),
    "package": ({"package": {"name": "no-such-package-anywhere"}}, re.compile(".+")),
    "service": (
        {"service": {"name": "no-such-service", "state": "started"}},
        # Where systemd is installed and does not run, as in a container, it says that first.
        re.compile(".*no-such-service.*|(?s:System has not been booted with systemd.*)"),
    ),
    "file": (
        {"file": {"path": "/proc/1/nowhere", "state": "touch"}},
        re.compile(r"Error, could not touch target: \[Errno \d+\] .*"),
    ),
    "a module that breaks": (
        {"crash": {}},
        {
            "2.18": "ValueError: the moon is in the wrong phase",
            "3": "the moon is in the wrong phase",
        },
    ),
    "a module that quits": ({"quits": {}}, "no such interpreter"),
    "a module with a traceback": (
        {"chain": {}},
        {"2.18": "could not do it: KeyError: 'deep'", "3": "could not do it"},
    ),
    "delegated": ({"command": "/bin/false", "delegate_to": "gone"}, DIRECTORY),
    "rescue": (
        {
            "block": [{"name": "first", "fail": {"msg": "rescued"}}],
            "rescue": [{"name": "rescue", "fail": {"msg": "the rescue failed, too"}}],
        },
        "the rescue failed, too",
    ),
}
# On which host, what, and why.
ON_HOSTS = {
    "unreachable": ("gone", {"ping": None}, DIRECTORY),
    "unreachable in a loop": ("looping", {"command": "id", "loop": [1, 2]}, DIRECTORY),
    "unreachable by ssh": (
        "silent",
        {"ping": None},
        re.compile(r"(?s)Failed to connect to the host via ssh: .*Connection refused.*"),
    ),
    # The last one, as the spare host may fail, too
    "a loop with a label that fails": (
        "case99",
        {"command": "/bin/false", "loop": SECRETS, "loop_control": {"label": "{{ no.such }}"}},
        re.compile("(?s)an item: .*|.*undefined.*"),
    ),
}


def play_of(name, task, hosts):
    """A play whose other host goes on when this one fails, which otherwise ends all."""
    when = ["inventory_hostname != 'spare'", task.get("when", True)]
    task = dict(task, name="in a block" if "block" in task else name, when=when)
    return {"hosts": hosts + ":spare", "gather_facts": False, "tasks": [task]}


def playbook(version):
    cases = {name: task for name, (task, _) in CASES.items()}
    if version < (2, 10):
        del cases["timeout"]
    plays = [play_of(name, cases[name], "case%d" % index) for index, name in enumerate(cases)]
    plays += [play_of(name, task, host) for name, (host, task, _) in ON_HOSTS.items()]
    return plays


def expected(name, version):
    reason = (CASES.get(name) or ON_HOSTS[name])[-1]
    if not isinstance(reason, dict):
        return reason
    upto = {tuple(map(int, key.split("."))): text for key, text in reason.items()}
    return upto[min(last for last in upto if version[: len(last)] <= last)]


class NotFound(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def reasons(ansible):
    """Plays all of it; the bodies that were sent."""
    endpoint = Endpoint(ansible.directory)
    web = HTTPServer(("127.0.0.1", 0), NotFound)
    Thread(target=web.serve_forever, daemon=True).start()
    ansible.write("inventory", INVENTORY)
    for name, text in FILES.items():
        ansible.write(name, text).chmod(0o755)
    config = ansible.write("plugin_config.ini", CONFIG % endpoint.url)
    config.chmod(0o600)

    def play(**environment):
        ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
        ansible.environment["ANSIBLE_NOTIFY_CONFIG"] = str(config)
        url = "url=http://127.0.0.1:%d/x" % web.server_port
        result = ansible.play(json.dumps(playbook(ansible.version)), "-e", url, **environment)
        bodies = endpoint.bodies()
        assert bodies[-1]["status"], result.stderr
        assert "CANARY" not in json.dumps(bodies)
        return bodies

    yield play
    endpoint.stop()
    web.shutdown()
    web.server_close()


def check(ansible, bodies):
    told = {body["task"]: body["reason"] for body in bodies if not body["status"]}
    names = {*CASES, *ON_HOSTS} - ({"timeout"} if ansible.version < (2, 10) else set())
    assert names <= set(told)
    wrong = {}
    for name in names:
        right = expected(name, ansible.version)
        fits = right.fullmatch if hasattr(right, "fullmatch") else right.__eq__
        if not fits(told[name] or ""):
            wrong[name] = (told[name], right)
    assert wrong == {}
    return told


def test_each_way_to_fail(ansible, reasons):
    """The end of the run says the same of each task as its own event; tracebacks change nothing."""
    bodies = reasons()
    told = check(ansible, bodies)
    [end] = [body for body in bodies if body["status"]]
    assert end["status"] == "error"
    failed = {task["task"]: task["message"] for task in end["failed"]}
    assert len(failed) > 50
    for task, message in failed.items():
        assert message in (told[task], told[task][:996] + " […]")
    if ansible.version >= (2, 19):
        check(ansible, reasons(ANSIBLE_DISPLAY_TRACEBACK="always")[len(bodies) :])
