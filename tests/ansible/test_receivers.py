"""Other people's code takes what is sent, and refuses what another key signed."""

import base64
import json
import subprocess

import pytest
import venvs

BINARY = venvs.ROOT / "target" / "debug" / "ansible-notify"
SCRIPT = venvs.ROOT / "tests" / "ansible" / "receivers.py"
EVENT = {
    "id": "r-7",
    "state": "failed",
    "host": "wéb1",
    "task": "Install",
    "result": {"msg": 'no\nspace "left" \U0001f600'},
    "run": {"id": "r 1", "playbook": "site.yml"},
}
OUTPUTS = "[outputs:peer]\nhost = host\nwhy = result.msg\n"
KEYS = ["whsec_" + base64.b64encode(bytes([number]) * 24).decode() for number in range(3)]


class Receiver:
    """A running receivers.py."""

    def __init__(self, directory, *arguments):
        python = venvs.ensure("receivers") / "bin" / "python"
        command = [str(python), str(SCRIPT), *arguments]
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        port = self.process.stdout.readline()
        assert port, self.log.read_text()
        self.url = "http://127.0.0.1:%s/runs" % port.strip()

    def stop(self):
        """Ends it; what it understood."""
        self.process.terminate()
        lines, _nothing = self.process.communicate()
        return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture
def receive(tmp_path):
    started = []

    def start(*arguments):
        started.append(Receiver(tmp_path, *arguments))
        return started[-1]

    yield start
    for receiver in started:
        receiver.process.kill()
        receiver.process.wait()


def send(directory, keys, outputs=OUTPUTS):
    config = directory / "plugin_config.ini"
    config.write_text("[notifier:peer]\non = any\n%s\n[delivery]\ndrain = 5\n%s" % (keys, outputs))
    config.chmod(0o600)
    return subprocess.run(
        [str(BINARY), "send", "-"],
        input=json.dumps(EVENT),
        cwd=directory,
        env={"HOME": str(directory), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_event_driven_ansible_takes_a_signed_event(receive, tmp_path):
    receiver = receive("eda", "It's a Secret")
    keys = "type = webhook\nurl = %s\nsign = sha256\nsigning_secret = %s"
    sent = send(tmp_path, keys % (receiver.url, "It's a Secret"))
    assert sent.returncode == 0, sent.stderr
    [event] = receiver.stop()
    assert event["payload"] == {"host": "wéb1", "why": EVENT["result"]["msg"]}
    assert event["meta"]["endpoint"] == "runs"


def test_event_driven_ansible_refuses_another_secret(receive, tmp_path):
    receiver = receive("eda", "It's a Secret")
    keys = "type = webhook\nurl = %s\nsign = sha256\nsigning_secret = another"
    sent = send(tmp_path, keys % receiver.url)
    assert sent.returncode == 75
    assert "401 Unauthorized: HMAC verification failed" in sent.stderr
    assert receiver.stop() == []


def test_the_sdk_of_cloudevents_reads_an_event(receive, tmp_path):
    receiver = receive("cloudevents")
    sent = send(tmp_path, "type = webhook\nformat = cloudevents\nurl = %s" % receiver.url)
    assert sent.returncode == 0, sent.stderr
    [event] = receiver.stop()
    assert event["data"] == {"host": "wéb1", "why": EVENT["result"]["msg"]}
    assert event["attributes"]["type"] == "org.ansible.runner_on_failed"
    assert event["attributes"]["subject"] == "wéb1"


@pytest.mark.parametrize(("secret", "code"), [(KEYS[0], 0), (KEYS[1], 0), (KEYS[2], 69)])
def test_standard_webhooks_verifies_each_of_two_secrets(receive, tmp_path, secret, code):
    """While a secret is replaced, receivers with the old and with the new one both take it."""
    receiver = receive("standard", secret)
    keys = "type = webhook\nurl = %s\nsign = standard\nsigning_secret =\n  %s\n  %s"
    sent = send(tmp_path, keys % (receiver.url, KEYS[0], KEYS[1]))
    assert sent.returncode == code, sent.stderr
    expected = [{"host": "wéb1", "why": EVENT["result"]["msg"]}] if code == 0 else []
    assert receiver.stop() == expected
    assert "whsec" not in sent.stderr


@pytest.mark.parametrize(("secret", "code"), [("canary/secret+", 0), ("another", 69)])
def test_amazon_s_library_makes_the_same_signature(receive, tmp_path, secret, code):
    receiver = receive("sns", "AKIDEXAMPLE", "canary/secret+")
    keys = (
        "type = awssns\napi_url = %s\ntopic_arn = arn:aws:sns:eu-central-1:123456789012:runs\n"
        "access_key_id = AKIDEXAMPLE\nsecret_access_key = %s\nsession_token = token=="
    )
    sent = send(tmp_path, keys % (receiver.url.replace("/runs", "/"), secret), outputs="")
    assert sent.returncode == code, sent.stderr
    signed = ["content-type", "host", "x-amz-date", "x-amz-security-token"]
    assert receiver.stop() == ([{"signed": signed}] if code == 0 else [])
