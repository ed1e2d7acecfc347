"""The real program with plugins of other versions."""

import pathlib

import pytest
import venvs
from test_endtoend import SHORT, start_endpoint, summary

PLUGIN = venvs.ROOT / "callback_plugins" / "ansible_notify.py"
# The plugin as it was before it had a version.
OLDER = pathlib.Path(__file__).parent / "older" / "callback_plugins" / "ansible_notify.py"
__all__ = ["start_endpoint"]


def put(ansible, text):
    """The plugin next to the playbook, instead of that of the checkout."""
    ansible.write("callback_plugins/ansible_notify.py", text)
    oracle = ansible.environment["ANSIBLE_CALLBACK_PLUGINS"].split(":")[1]
    ansible.environment["ANSIBLE_CALLBACK_PLUGINS"] = oracle
    # Older ones are not on by themselves.
    for name in ("ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_CALLBACK_WHITELIST"):
        if name in ansible.environment:
            ansible.environment[name] = "callback,ansible_notify"


def test_an_older_plugin_works_with_this_program(ansible, start_endpoint):
    endpoint = start_endpoint()
    put(ansible, OLDER.read_text(encoding="utf-8"))
    result = ansible.play(SHORT)
    assert result.rc == 0
    assert result.warnings == []
    states = [(body["task"], body["state"]) for body in endpoint.bodies() if body["host"] == "web1"]
    assert ("first", "success") in states
    assert ("second", "failed") in states
    assert "all delivered" in summary(result)[0]


@pytest.mark.parametrize(
    ("protocol", "upgrade"),
    [(0, "upgrade the plugin: `ansible-notify init --upgrade`"), (2, "upgrade the program")],
)
def test_another_protocol_is_one_line(ansible, start_endpoint, protocol, upgrade):
    """Both versions, and which of them to upgrade; the play goes on."""
    endpoint = start_endpoint()
    text = PLUGIN.read_text(encoding="utf-8")
    version = text.split('\nVERSION = "')[1].split('"')[0]
    text = text.replace("\nPROTOCOL = 1\n", "\nPROTOCOL = %d\n" % protocol)
    put(ansible, text.replace('\nVERSION = "%s"\n' % version, '\nVERSION = "7.8.9"\n'))
    result = ansible.play(SHORT)
    assert result.rc == 0
    assert endpoint.bodies() == []
    said = " ".join((result.stdout + result.stderr).split())
    assert said.count("speaks protocol") == 1
    expected = "the plugin (version 7.8.9) speaks protocol %d, this program (version %s) protocol 1"
    assert "%s; %s" % (expected % (protocol, version), upgrade) in said
    assert len(summary(result)) + len(result.warnings) == 1
