"""ZeroMQ's own sockets get every message: late ones, those that start again, over TCP and ipc."""

import json
import socket
import subprocess
import time

import pytest
import zmq
from conftest import BINARY
from waiting import PATIENCE


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Receiving:
    """A receiving socket of ZeroMQ."""

    def __init__(self, kind, url, connects=False, topic=b""):
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        if kind == zmq.SUB:
            self.socket.subscribe(topic)
        if connects:
            self.socket.connect(url)
        else:
            self.socket.bind(url)

    def take(self, count, seconds=PATIENCE):
        """So many messages."""
        taken = []
        deadline = time.monotonic() + seconds
        while len(taken) < count:
            left = deadline - time.monotonic()
            assert left > 0, "only %d of %d: %s" % (len(taken), count, taken)
            if self.socket.poll(left * 1000):
                taken.append(self.socket.recv_json())
        return taken

    def close(self):
        self.context.destroy(linger=0)


@pytest.fixture
def receive():
    """Starts receiving sockets, which end with the test."""
    started = []

    def start(*arguments, **options):
        started.append(Receiving(*arguments, **options))
        return started[-1]

    yield start
    for receiving in started:
        receiving.close()


@pytest.fixture(params=["tcp", "ipc"])
def url(request, tmp_path):
    if request.param == "tcp":
        return "tcp://127.0.0.1:%d" % free_port()
    return "ipc://%s/socket" % tmp_path


@pytest.fixture
def notify(tmp_path, url):
    return Notify(tmp_path, url)


class Notify:
    """The binary with one notifier of the kind zeromq."""

    def __init__(self, directory, url):
        self.directory = directory
        self.url = url
        self.environment = {"HOME": str(directory), "PATH": "/usr/bin:/bin"}
        self.configure()

    def configure(self, **keys):
        keys = dict({"type": "zeromq", "url": self.url, "on": "any", "order": "run"}, **keys)
        lines = ["%s = %s" % item for item in keys.items()]
        text = "[notifier:bus]\n%s\n[outputs:bus]\nhost = host\ntext = result.stdout\n"
        config = self.directory / "plugin_config.ini"
        config.write_text(text % "\n".join(lines) + "[delivery]\ndrain = 2s\n")
        config.chmod(0o600)

    def start(self, *arguments):
        return subprocess.Popen(
            [str(BINARY), *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def send(self, hosts, text="x"):
        """Sends an event for each host; the exit code and what was said."""
        result = {"stdout": text}
        events = [{"state": "success", "host": host, "result": result} for host in hosts]
        process = self.start("send", "-")
        _stdout, stderr = process.communicate("\n".join(map(json.dumps, events)), timeout=PATIENCE)
        return process.returncode, stderr

    def flush(self):
        return self.start("flush").wait(timeout=PATIENCE)


HOSTS = ["web%d" % number for number in range(50)]


def hosts(messages):
    return [message["host"] for message in messages]


def test_a_pull_socket_gets_every_message_in_order(notify, receive, url):
    pull = receive(zmq.PULL, url)
    assert notify.send(HOSTS) == (
        0,
        "ansible-notify: 50 events, 50 deliveries: all delivered\n",
    )
    assert hosts(pull.take(50)) == HOSTS


def test_a_large_message_arrives_whole(notify, receive, url):
    pull = receive(zmq.PULL, url)
    text = "é" + "e" * 900000
    assert notify.send(["web1"], text)[0] == 0
    assert pull.take(1) == [{"host": "web1", "text": text}]


def test_what_nobody_takes_waits_for_who_comes_late(notify, receive, url):
    code, said = notify.send(HOSTS[:3])
    assert code == 75
    assert "3 pending" in said
    pull = receive(zmq.PULL, url)
    assert notify.flush() == 0
    assert hosts(pull.take(3)) == HOSTS[:3]


@pytest.mark.parametrize("bind", [False, True], ids=["connecting", "bound"])
def test_a_peer_that_starts_again_gets_the_rest(notify, receive, url, bind):
    notify.configure(bind=bind)
    first = receive(zmq.PULL, url, connects=bind)
    process = notify.start("stream", "--project", ".")
    hello = {"hello": {"protocol": 1, "run": {"id": "r"}}}
    lines = [json.dumps(hello)]
    for number, host in enumerate(HOSTS[:20], 1):
        event = {"seq": number, "event": "runner_on_ok", "time": 1.5, "host": {"name": host}}
        lines.append(json.dumps({"event": event}))

    def write(part):
        process.stdin.write("".join(line + "\n" for line in part))
        process.stdin.flush()

    write(lines[:11])
    assert hosts(first.take(10)) == HOSTS[:10]
    time.sleep(0.5)  # until the last one is confirmed, or it would come again
    first.close()
    write(lines[11:16])
    time.sleep(0.3)
    second = receive(zmq.PULL, url, connects=bind)
    assert hosts(second.take(5)) == HOSTS[10:15]
    write(lines[16:])
    assert hosts(second.take(5)) == HOSTS[15:20]
    process.stdin.close()
    assert process.wait(timeout=PATIENCE) == 0


@pytest.mark.parametrize("bind", [False, True], ids=["connecting", "bound"])
def test_subscribers_get_what_they_asked_for(notify, receive, url, bind):
    notify.configure(socket="pub", bind=bind)
    if not bind:
        deaf = receive(zmq.SUB, url, topic=b"nothing")
        assert notify.send(HOSTS[:2])[0] == 75
        deaf.close()
    else:
        assert notify.send(HOSTS[:2])[0] == 75
    subscriber = receive(zmq.SUB, url, connects=bind)
    time.sleep(0.5)
    # A socket subscribes while somebody listens on it.
    process = notify.start("flush")
    assert hosts(subscriber.take(2)) == HOSTS[:2]
    assert process.wait(timeout=PATIENCE) == 0


def test_another_kind_of_socket_is_refused(notify, receive, url):
    receive(zmq.SUB, url)
    code, said = notify.send(["web1"])
    assert code == 75
    assert "its socket is no PULL" in said


def test_the_settings_of_the_emitter_send_everything(runner, receive):
    url = "ipc://%s/bus" % runner.directory
    pull = receive(zmq.PULL, url)
    runner.settings(runner_socket_url=url)
    outcome = runner.run()
    assert (outcome.status, outcome.stderr) == ("successful", "")
    messages = pull.take(len(outcome.events) + 3)
    assert [message["status"] for message in messages if "status" in message] == [
        "starting",
        "running",
        "successful",
    ]
    assert [message for message in messages if "counter" in message] == outcome.events
    assert "env" not in messages[0]
