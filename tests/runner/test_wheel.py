"""What `pip install` of the wheel gives: the program and both plugins."""

import subprocess

import pytest
import venvs
from waiting import PATIENCE

CONFIG = """
[inputs]
callback_url = %s
on = ok, success
[outputs]
callback = callback
host = host
"""


@pytest.fixture
def wheel():
    """The wheel of this checkout, which `make test-runner` builds."""
    [found] = (venvs.ROOT / "target/test-wheels").glob("*.whl")
    return found


@pytest.fixture
def installed(runner, wheel):
    """A runner whose environment has the wheel, and nothing else of this checkout."""
    place = runner.directory / "installed"
    python = runner.place / "bin/python"
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--prefix", place, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    [packages] = place.glob("lib/python*/site-packages")
    runner.python_path = [packages]
    runner.environment["PATH"] = "%s:%s" % (place / "bin", runner.environment["PATH"])
    del runner.environment["ANSIBLE_NOTIFY_BINARY"]
    return runner


def test_the_callback_is_enabled_by_its_full_name(installed, start_receiver):
    receiver = start_receiver()
    config = installed.write("project/plugin_config.ini", CONFIG % receiver.url)
    config.chmod(0o600)
    command = [installed.place / "bin/ansible-playbook", "-i", installed.private / "inventory"]
    command.append(installed.private / "project/site.yml")
    enabled = {"ANSIBLE_CALLBACKS_ENABLED": "ansible_notify.notify.ansible_notify"}
    process = installed.program(command, **enabled)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stdout + stderr
    assert "7 events, 7 deliveries: all delivered" in stderr
    hosts = sorted(body["host"] or "" for body in receiver.of("ansible-notify"))
    assert hosts == [""] + ["web1"] * 3 + ["web2"] * 3


def test_ansible_runner_finds_its_plugin(installed, start_receiver):
    receiver = start_receiver()
    installed.settings(runner_http_url=receiver.url)
    outcome = installed.run()
    assert (outcome.status, outcome.stderr) == ("successful", "")
    assert receiver.wait_for(len(outcome.events) + 3)[-1]["status"] == "successful"
