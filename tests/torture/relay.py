"""kill -9 at random: writers and a `flush --watch` of a node, and its relay."""

import json
import subprocess
import threading
import time

from scene import CONCURRENCY, CONFIG, Scene

RELAY = """
[relay]
listen = 127.0.0.1:%s
spool = relay-state%s
[tenant:t]
token = token-of-a-tenant
config = tenant.ini
"""
NODE = """
[notifier:relay]
type = relay
url = http://127.0.0.1:%s
token = token-of-a-tenant
batch = 50
[delivery]
drain = 200ms
"""
# Exit code of a command that reads a spool which is not there yet.
NO_SPOOL = 66


class Fleet(Scene):
    """A scene whose events go through a relay to the endpoint."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        # What the node would have sent to the endpoint, the tenant does.
        self.write("tenant.ini", CONFIG % (self.endpoint.server_port, CONCURRENCY, "5s"))
        self.port = "0"
        self.start_relay()
        self.write("plugin_config.ini", NODE % self.port)

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)

    def settings(self):
        """More lines of the section [relay], and further sections."""
        return ""

    def start_relay(self):
        self.write("relay.ini", RELAY % (self.port, self.settings()))
        command = ("relay", "--config", "relay.ini")
        self.relay = self.start(*command, stderr=subprocess.PIPE, encoding="utf-8")
        line = self.relay.stderr.readline()
        assert "listening on" in line, line
        self.port = line.strip().rpartition(":")[2]

    def kill_relay(self, seconds):
        time.sleep(seconds)
        self.relay.kill()
        self.relay.wait()
        self.relay.stderr.close()
        self.start_relay()

    def deliver_all(self, seconds=300):
        wrong = super().deliver_all(seconds)
        deadline = time.monotonic() + seconds
        while self.waiting():
            if time.monotonic() > deadline:
                return [*wrong, "what waits at the relay is never delivered"]
            time.sleep(0.1)
        return wrong

    def waiting(self):
        """Deliveries that wait behind the relay."""
        return sum(row["waiting"] for row in self.relayed())

    def stop(self):
        """Ends the relay. What is wrong."""
        self.relay.terminate()
        if self.relay.wait() != 0:
            return ["the relay ended with %d" % self.relay.returncode]
        return []

    def relayed(self):
        command = [self.binary, "status", "--json", "--spool", str(self.directory / "relay-state")]
        status = subprocess.run(command, env=self.environment, capture_output=True, check=False)
        if status.returncode == NO_SPOOL:
            return []
        status.check_returncode()
        return json.loads(status.stdout)

    def send_fresh(self):
        super().send_fresh()
        self.deliver_all()

    def wrong_numbers(self):
        found = super().wrong_numbers()
        arrived = {event for event, _ in self.endpoint.arrived}
        accepted = sum(row["accepted"] for row in self.relayed())
        if accepted != len(arrived):
            found.append("%d accepted, %d arrived" % (accepted, len(arrived)))
        return found

    def wrong_order(self):
        """Hosts whose events came in another order than they happened in."""
        last, seen = {}, set()
        for event, body in self.endpoint.arrived:
            run, _, number = event.rpartition("-")
            if event in seen or not number.isdecimal():
                continue
            seen.add(event)
            before = last.get((run, body["host"]), 0)
            if int(number) < before:
                return ["%s came after %d" % (event, before)]
            last[run, body["host"]] = int(number)
        return []


def kill_beside_writers(scene, number, kill):
    """Kills three writers, a `flush --watch`, and what `kill` chooses; what that was."""
    writers = [
        (
            "k%d-%d" % (number, writer),
            scene.generator.randint(1, 400),
            scene.generator.uniform(0.01, 1.5),
        )
        for writer in range(3)
    ]
    seconds = scene.generator.uniform(0, 1.5)
    killed = []
    killer = threading.Thread(target=lambda: killed.append(kill(seconds)))
    killer.start()
    scene.write_beside_flush(writers)
    killer.join()
    return killed[0]


def run(binary, directory, seed, kills):
    scene = Fleet(binary, directory, seed)
    done = relays = 0
    while done < kills:
        kill_beside_writers(scene, done, scene.kill_relay)
        done += 5
        relays += 1
    wrong, repeated = scene.finish()
    wrong += scene.wrong_order()
    wrong += scene.stop()
    if repeated > CONCURRENCY * relays:
        wrong.append("%d came twice after %d kills of the relay" % (repeated, relays))
    figures = (done, relays, len(scene.sent), len(scene.safe), repeated)
    return wrong, "%d kills, %d of the relay, %d events sent, %d safe, %d came twice" % figures
