"""Where events go and how they are written, chosen by templates in real plays."""

from urllib.parse import parse_qs

import pytest
from test_endtoend import BINARY, Endpoint

CONFIG = """
[event]
vars = team, owners
[secret:key]
value = k3y
[notifier:teams]
type = webhook
url = %s/teams/{{ host_vars.team }}
username = svc-ansible
password = s3cret
header.X-Api-Key = secret:key
header.X-Said = {{ result.stdout }}
content = form
body =
  {"text": "{{ host }}: {{ task_name }}: {{ result.stdout }}",
   "to": "{{ host_vars.owners | join(',') }}"}
on = failed
"""
PLAY = r"""
- hosts: web
  gather_facts: false
  vars:
    team: "{{ 'web/../ops' if inventory_hostname == 'web1' else 'database' }}"
    owners: [anna, "{{ inventory_hostname }}-admin"]
  tasks:
    - name: say
      command: printf 'a&to=eve\r\nX-Api-Key. forged\n../b'
      failed_when: true
      ignore_errors: true
"""


@pytest.fixture
def endpoint(ansible):
    started = Endpoint(ansible.directory)
    config = ansible.write("plugin_config.ini", CONFIG % started.url)
    config.chmod(0o600)
    ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
    ansible.environment["ANSIBLE_NOTIFY_CONFIG"] = str(config)
    yield started
    started.stop()


def test_a_host_s_variables_choose_where_an_event_goes(ansible, endpoint):
    """Its output chooses nothing: neither a path, nor a header, nor another field."""
    result = ansible.play(PLAY)
    assert result.rc == 0, result.stderr
    requests = sorted(endpoint.requests(), key=lambda request: request["target"])
    assert [request["target"] for request in requests] == [
        "/teams/database",
        "/teams/web%2F..%2Fops",
    ], result.stderr
    for request, host in zip(requests, ("web2", "web1")):
        headers = request["headers"]
        # The endpoint shows no credentials.
        assert headers["x-api-key"] == "[redacted]"
        assert headers["x-said"] == "a&to=eve X-Api-Key. forged ../b"
        assert headers["content-type"] == "application/x-www-form-urlencoded"
        assert parse_qs(request["body"]) == {
            "text": [host + ": say: a&to=eve\nX-Api-Key. forged\n../b"],
            "to": ["anna,%s-admin" % host],
        }
    for file in ansible.directory.glob("**/spool.db*"):
        assert b"k3y" not in file.read_bytes(), file
