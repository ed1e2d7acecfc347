"""Whatever a task brings: each line is strict JSON in UTF-8, and none is too long."""

import json
import pathlib
import textwrap

import pytest

ENCODED = """
    for value in VALUES:
        text, cut = plugin.encode(value, plugin.RESULT_ROOM)
        # Here what is not ASCII is escaped, so that printing does not depend on a locale.
        print(json.dumps([json.loads(text), cut, len(text)]))
"""


def encoded(ansible, setup):
    """What the plugin makes of VALUES, which the setup defines: [value, whether cut, length]."""
    code = "import json\n" + textwrap.dedent(setup) + textwrap.dedent(ENCODED)
    return [json.loads(line) for line in ansible.python(code).splitlines()]


def test_odd_values(ansible):
    found = encoded(
        ansible,
        """
        import collections, datetime
        class Unknown(object):
            def __str__(self):
                raise RuntimeError("nobody may ask")
        class Vaulted(list):
            __ENCRYPTED__ = True
        VALUES = [
            {"a": float("nan"), "b": [float("inf"), float("-inf")]},
            {1: "a", None: "b", True: "c", 1.5: "d"},
            {("a", 1): "tuple"},
            {"when": datetime.datetime(2026, 1, 2, 3, 4), "day": datetime.date(2026, 1, 2)},
            {"bytes": b"caf\\xc3\\xa9 \\xff", "set": {1}, "tuple": (1, 2)},
            {"unknown": Unknown(), "vaulted": Vaulted("secret")},
            {"big": 2 ** 70},
            # Newer Pythons do not write a number of so many digits.
            {"huge": 10 ** (1 if plugin.PYTHON2 else 5000)},
            collections.OrderedDict([("a", collections.deque([1]))]),
            {"control": u"\\x00\\x1b\\u2028", "emoji": u"\\U0001f600"},
            {"_ansible_x": 1, "a": {"_ansible_y": 1, "invocation": 2, "b": 3}},
            {"results": [{"censored": "x", "changed": True, "secret": "CANARY"}]},
            {"results": [{"_ansible_no_log": True, "attempts": 2, "secret": "CANARY"}]},
        ]
        """,
    )
    assert [value for value, _cut, _length in found] == [
        {"a": "NaN", "b": ["Infinity", "-Infinity"]},
        {"1": "c", "null": "b", "1.5": "d"},
        {'["a",1]': "tuple"},
        {"when": "2026-01-02T03:04:00", "day": "2026-01-02"},
        {"bytes": "café \ufffd", "set": [1], "tuple": [1, 2]},
        {"unknown": "<Unknown>", "vaulted": "<redacted>"},
        {"big": 2**70},
        {"huge": 10 if ansible.is_python2 else "[left out: a number too long]"},
        {"a": "<deque>"} if ansible.is_python2 else {"a": [1]},
        {"control": "\x00\x1b\u2028", "emoji": "😀"},
        {"a": {"b": 3}},
        {"results": [{"changed": True, "censored": HIDDEN}]},
        {"results": [{"attempts": 2, "censored": HIDDEN}]},
    ]
    assert not any(cut for _value, cut, _length in found)


HIDDEN = "the output has been hidden because of no_log"


def test_what_must_not_leave_ansible(ansible):
    """The program is tested with the same vectors."""
    vectors = json.loads((pathlib.Path(__file__).parent.parent / "redaction.json").read_text())
    results = json.dumps([{"inner": vector["result"]} for vector in vectors])
    found = encoded(ansible, f"VALUES = json.loads({json.dumps(results)})")
    for (value, _cut, _length), vector in zip(found, vectors, strict=True):
        assert value == {"inner": vector["kept"]}, vector["what"]


def test_lone_surrogates(ansible):
    """They come from programs that do not write UTF-8."""
    shown = ansible.python(
        r"""
        lines = []
        plugin.RUN.stream.send = lambda seq, play, task, line, *_more: lines.append(line)
        text, cut = plugin.encode({"a": u"caf\udcff \U0001f600"})
        plugin.RUN.event("x", None, ',"result":' + text)
        line = lines[0].decode("utf-8")
        print(u"\ufffd" in plugin.json.loads(line)["event"]["result"]["a"])
        print(plugin.json.loads(line)["event"]["result"]["a"][-1:] == u"\U0001f600"[-1:])
        """
    )
    assert shown.split() == ["True", "True"]


@pytest.mark.parametrize("levels", [100, 5000])
def test_depth(ansible, levels):
    """What the encoder cannot hold is cut; the binary cuts what only it cannot."""
    setup = """
        deep = "bottom"
        for _level in range(%d):
            deep = {"a": deep} if _level %% 2 else [deep, 1]
        VALUES = [deep]
        """
    value, cut, _length = encoded(ansible, setup % levels)[0]
    depth = 0
    while not isinstance(value, str):
        value = value["a"] if isinstance(value, dict) else value[0]
        depth += 1
    assert depth == min(levels, 100)
    assert cut is (levels > 100)
    assert (value == "bottom") is (levels <= 100)


def test_long_values(ansible):
    limit = 1048576
    found = encoded(
        ansible,
        """
        VALUES = [
            {"a": "x" * (%(limit)d + 1)},
            {"a": {"b": u"\\u20ac" * %(limit)d}},
            {"a": "\\x01" * %(limit)d},
            {str(number): "x" * 60000 for number in range(200)},
            {"changed": True, "a": ["x" * 100] * 100000},
        ]
        """
        % {"limit": limit},
    )
    cut_once, euro, control, many, everything = found
    assert cut_once[0]["a"] == "x" * limit + "... [cut: %d characters in all]" % (limit + 1)
    assert euro[0]["a"]["b"].startswith("€" * 1000)
    assert "cut" in control[0]["a"]
    assert set(many[0]) == {str(number) for number in range(200)}
    assert everything[0] == {"changed": True, "msg": "[left out: too large]"}
    assert all(length < 4 * limit for _value, _cut, length in found)


@pytest.mark.newest
def test_huge_output(ansible):
    """20 MB are cut to one, fast, and the play goes on."""
    result = ansible.play(
        """
        - hosts: web1
          gather_facts: false
          tasks:
            - name: huge
              shell: "head -c 20000000 /dev/zero | tr '\\\\0' x"
            - name: not UTF-8
              shell: printf 'caf\\351'
              ignore_errors: true
            - raw: printf 'caf\\351'
            - debug: {msg: after}
        """
    )
    assert result.rc == 0, result.stderr
    huge = result.events_of("runner_on_ok")[0]
    assert huge["truncated"] is True
    assert huge["result"]["stdout"].endswith("[cut: 20000000 characters in all]")
    assert len(json.dumps(huge)) < 2000000
    assert result.events_of("runner_on_ok")[-1]["result"]["msg"] == "after"
    assert result.reported() == result.called
    assert result.warnings == []


def test_values_from_plays(ansible):
    """Ansible's own types of text, numbers, dates and undefined things."""
    result = ansible.play(
        """
        - hosts: web1
          gather_facts: false
          vars:
            day: 2026-01-02
            number: .nan
          tasks:
            - debug: {msg: "{{ {'day': day, 'number': number} }}"}
            - debug: {var: nowhere}
            - set_fact: {large: 36893488147419103232, mixed: {1: a, b: 2}}
            - debug: {var: mixed}
        """
    )
    assert result.rc == 0, result.stdout
    assert result.reported() == result.called
    assert result.warnings == []
