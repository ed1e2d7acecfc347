"""Which part of a playbook a run was, and what its success says of an earlier failure."""

import json

import pytest
from test_endtoend import BINARY, Endpoint

CONFIG = """
[notifier:end]
type = webhook
url = %s/events
username = svc-ansible
password = s3cret
on = error, success
[outputs:end]
status = status
previous = previous
recovered = recovered
left = still_failing
name = run_name
reason = reason
run = event.run
"""
SITE = """
- hosts: web
  gather_facts: false
  tasks:
    - name: broken
      command: test -e {{ playbook_dir }}/mended
      check_mode: false
      when: inventory_hostname == 'web1' and not ansible_check_mode
      tags: [a]
    - name: harmless
      debug: {msg: x}
      tags: [b]
"""


@pytest.fixture
def ends(ansible):
    """Runs a command; what the end of its run says."""
    endpoint = Endpoint(ansible.directory)
    config = ansible.write("plugin_config.ini", CONFIG % endpoint.url)
    config.chmod(0o600)
    ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
    ansible.environment["ANSIBLE_NOTIFY_CONFIG"] = str(config)

    def run(*command, **options):
        before = len(endpoint.bodies())
        result = ansible.run(*command, **options)
        bodies = endpoint.bodies()[before:]
        assert len(bodies) == 1, result.stdout + result.stderr
        return bodies[0]

    yield run
    endpoint.stop()


@pytest.mark.newest
def test_only_what_covers_a_failure_mends_it(ansible, ends):
    site = ansible.write("site.yml", SITE)

    def play(*options):
        body = ends("ansible-playbook", site, *options)
        return [body[key] for key in ("status", "previous", "recovered", "left")], body["run"]

    assert play()[0] == ["error", None, False, ["web1"]]
    limited = ["success", None, False, ["web1"]]
    told, run = play("--check")
    assert (told, run["check"]) == (["success", None, False, []], True)
    told, run = play("--limit", "web2")
    assert (told, run["limit"]) == (limited, "web2")
    told, run = play("--tags", "b")
    assert (told, run["tags"]) == (limited, ["b"])
    told, run = play("--skip-tags", "a")
    assert (told, run["skip_tags"]) == (limited, ["a"])
    told, run = play("--start-at-task", "harmless")
    assert (told, run["start_at_task"]) == (limited, "harmless")
    ansible.write("mended", "")
    assert play("--limit", "web1")[0] == ["success", "error", True, []]
    assert play()[0] == ["success", "success", False, []]


def test_ad_hoc_commands_have_a_name(ansible, ends):
    """It is made of the module and the hosts; what a console ran is told by all modules."""

    def told(*command, **options):
        body = ends(*command, **options)
        assert "CANARY" not in json.dumps(body)
        return [body["name"], body["status"], body["recovered"]]

    command = ["ansible", "web1", "-m", "command", "-a"]
    environment = {"ANSIBLE_BIN_ANSIBLE_CALLBACKS": "1"}
    name = "ansible web1 -m command"
    assert told(*command, "test -e /CANARY", **environment) == [name, "error", False]
    ping = ["ansible", "web1", "-m", "ping"]
    assert told(*ping, **environment) == ["ansible web1 -m ping", "success", False]
    assert told(*command, "test ! -e /CANARY", **environment) == [name, "success", True]
    stdin = "command echo CANARY\nping\nexit\n"
    console = told("ansible-console", "web1", stdin=stdin, **environment)
    assert console == ["ansible web1 -m command, ping", "success", False]


def test_an_error_in_a_console_is_the_reason(ansible, ends):
    """Its command line looks for each module with an error that it deals with itself."""
    body = ends(
        "ansible-console",
        "web1",
        stdin="command false\nping\nexit\n",
        ANSIBLE_BIN_ANSIBLE_CALLBACKS="1",
    )
    assert (body["status"], body["reason"]) == ("error", "web1: command: return code 1")


@pytest.mark.newest
def test_several_playbooks_recover(ansible, ends):
    """Together, and each by itself where Ansible says which of them failed."""
    fine, broken = (ansible.write(name, SITE) for name in ("fine.yml", "broken.yml"))
    fine.write_text(SITE.replace("'web1'", "'nobody'"))

    def play(*playbooks):
        body = ends("ansible-playbook", *playbooks)
        return [body[key] for key in ("status", "recovered", "left")]

    assert play(fine, broken) == ["error", False, ["web1"]]
    assert play(fine)[:2] == ["success", False]
    ansible.write("mended", "")
    assert play(fine, broken) == ["success", True, []]
    assert play(fine, broken) == ["success", False, []]
    (ansible.directory / "mended").unlink()
    assert play(broken) == ["error", False, ["web1"]]
    ansible.write("mended", "")
    assert play(fine, broken) == ["success", True, []]
    assert play(broken) == ["success", False, []]
