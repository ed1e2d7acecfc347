"""Expressions mean what they mean in a task: ansible-core and the program agree on each."""

import json
import subprocess
from pathlib import Path

import pytest
import venvs

BINARY = venvs.ROOT / "target" / "debug" / "ansible-notify"
RESULT = {
    "changed": True,
    "rc": 2,
    "dict": {"k": 1, "b": [1, 2], "a": {"x": "y"}},
    "list": [3, 1, 2],
    "rows": [{"name": "a", "ok": True}, {"name": "b", "ok": False}],
}
EVENT = {"state": "failed", "host": "web1.prod", "changed": True, "result": RESULT}
EXPRESSIONS = [
    line
    for line in (Path(__file__).parent / "expressions.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
# Ansible's own templating: the text of an expression's value as JSON, or why there is none.
PROGRAM = """
import json
import os
import sys

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

try:
    from ansible.template import trust_as_template
except ImportError:
    trust_as_template = None
with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)
templar = Templar(loader=DataLoader(), variables=given["variables"])
for expression in given["expressions"]:
    source = "(%s) | to_json" % expression
    try:
        # What is written in a playbook has its backslashes doubled; these are Jinja's own.
        if trust_as_template:
            source = trust_as_template(source)
            value = templar.evaluate_expression(source, escape_backslashes=False)
        else:
            options = {"escape_backslashes": False, "convert_data": False}
            value = templar.template("{{ %s }}" % source, **options)
        print(json.dumps(json.loads(value)))
    except Exception as error:
        print(json.dumps("FAILED: %s" % error))
"""
# Words of expressions that ansible-core 2.16 does not know yet.
NEWER = ("timedout", "count=", "urlsafe")


def by_ansible(ansible):
    program = ansible.write("evaluate.py", PROGRAM)
    variables = {"host": "web1.prod", "changed": True, "result": RESULT}
    given = json.dumps({"variables": variables, "expressions": EXPRESSIONS})
    outcome = ansible.run("python", program, ansible.write("given.json", given))
    assert outcome.rc == 0, outcome.stderr
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def by_program(directory):
    fields = ["f%d = %s" % pair for pair in enumerate(EXPRESSIONS)]
    config = directory / "plugin_config.ini"
    config.write_text(
        "\n".join(["[inputs]", "callback_url = http://127.0.0.1:9/", "[outputs]", *fields, ""]),
        encoding="utf-8",
    )
    config.chmod(0o600)
    command = [BINARY, "send", "--dry-run", "--config", config, "-"]
    event = json.dumps(EVENT)
    done = subprocess.run(command, input=event, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout.strip().splitlines()[-1])
    return [body["f%d" % number] for number in range(len(EXPRESSIONS))], done.stderr


def test_expressions_are_those_of_ansible(ansible, tmp_path):
    if ansible.version < (2, 16):
        pytest.skip("older versions lack some of these filters")
    assert len(EXPRESSIONS) >= 150
    expected = by_ansible(ansible)
    assert len(expected) == len(EXPRESSIONS)
    found, said = by_program(tmp_path)
    wrong = [
        "%s: %s, not %s" % (expression, json.dumps(ours), json.dumps(theirs))
        for expression, theirs, ours in zip(EXPRESSIONS, expected, found, strict=True)
        if theirs != ours
        and not (ansible.version < (2, 19) and any(word in expression for word in NEWER))
    ]
    assert not wrong, "\n".join(wrong) + "\n" + said
