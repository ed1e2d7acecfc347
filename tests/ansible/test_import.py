"""Configurations of other programs, imported by the real binary and used by a real play."""

import gzip
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import wait_for
from test_endtoend import BINARY, SHORT, start_endpoint

pytestmark = pytest.mark.newest

__all__ = ["start_endpoint"]

HOOK = {
    "name": "Ops hook",
    "notification_type": "webhook",
    "organization": {"name": "Default", "type": "organization"},
    "notification_configuration": {
        "http_method": "PUT",
        "username": "svc-ansible",
        "password": "$encrypted$",
        "headers": {"X-Team": "ops"},
    },
    "messages": {
        "started": {"message": None, "body": '{"began": "{{ job.name }}"}'},
        "success": {"message": None, "body": None},
        "error": {"message": None, "body": '{"broke": "{{ job.host_status_counts.failures }}"}'},
    },
}
SPLUNK = """
[defaults]
callbacks_enabled = community.general.splunk
[callback_splunk]
url = %s/services/collector/event
authtoken = canary
"""


def imported(ansible, *arguments):
    """Imports, and puts the result in the place of the configuration."""
    result = subprocess.run(
        [BINARY, "import", *arguments], capture_output=True, encoding="utf-8", check=True
    )
    assert "canary" not in result.stdout + result.stderr
    config = ansible.write("imported.ini", result.stdout)
    config.chmod(0o600)
    ansible.environment["ANSIBLE_NOTIFY_CONFIG"] = str(config)
    return result.stdout


def test_a_template_of_awx(ansible, start_endpoint):
    endpoint = start_endpoint()
    HOOK["notification_configuration"]["url"] = endpoint.url + "/awx"
    key = [{"name": "Ops hook", "organization": {"name": "Default"}}]
    related = {f"notification_templates_{name}": key for name in ("started", "success", "error")}
    export = {
        "notification_templates": [HOOK],
        "job_templates": [{"name": "Deploy", "playbook": "play.yml", "related": related}],
    }
    imported(ansible, "awx", ansible.write("export.json", json.dumps(export)))
    ansible.environment["ANSIBLE_NOTIFY_OPS_HOOK_PASSWORD"] = "s3cret"
    ansible.play(SHORT)
    start, end = endpoint.wait_for(lambda bodies: len(bodies) == 2)
    assert list(start) == ["began"]
    assert end["status"] == "successful"
    assert set(end["hosts"]) == {"web1", "web2"}
    ansible.play(SHORT.replace("ignore_errors: true", ""))
    assert endpoint.wait_for(lambda bodies: len(bodies) == 4)[3] == {"broke": "2"}
    for request in endpoint.requests():
        assert (request["method"], request["target"]) == ("PUT", "/awx")
        assert request["headers"]["x-team"] == "ops"


class Collector(BaseHTTPRequestHandler):
    """Splunk's HTTP Event Collector, with one token."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        answer, status = {"text": "Success", "code": 0}, 200
        if self.headers["authorization"] != "Splunk canary":
            answer, status = {"text": "Invalid token", "code": 4}, 403
        elif self.path != "/services/collector/event":
            answer, status = {"text": "not found", "code": 404}, 404
        else:
            self.server.events += [json.loads(line)["event"] for line in body.splitlines()]
        answer = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def collector():
    server = HTTPServer(("127.0.0.1", 0), Collector)
    server.events = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_callback_of_ansible_cfg(ansible, start_endpoint, collector):
    start_endpoint()
    url = f"http://127.0.0.1:{collector.server_port}"
    settings = ansible.write("other.cfg", SPLUNK % url)
    imported(ansible, "ansible.cfg", settings)
    ansible.environment["SPLUNK_AUTHTOKEN"] = "canary"
    ansible.play(SHORT)
    wait_for(lambda: len(collector.events) == 4)
    events = collector.events
    assert sorted(event["status"] for event in events) == ["FAILED"] * 2 + ["OK"] * 2
    assert {event["ansible_host"] for event in events} == {"web1", "web2"}
    assert {event["ansible_task"]["name"] for event in events} == {"first", "second"}
    assert all(event["ansible_result"]["msg"] for event in events)
