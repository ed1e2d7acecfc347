"""kill -9 at random: writers and a `flush --watch` of a node, and its relay."""

import json
import subprocess
import threading
import time

from scene import CONCURRENCY, CONFIG, Scene

RELAY = """
[relay]
listen = 127.0.0.1:%s
spool = relay-state
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

    def start_relay(self):
        self.write("relay.ini", RELAY % self.port)
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
        while any(row["waiting"] for row in self.relayed()):
            if time.monotonic() > deadline:
                return [*wrong, "what waits at the relay is never delivered"]
            time.sleep(0.1)
        return wrong

    def relayed(self):
        command = [self.binary, "status", "--json", "--spool", str(self.directory / "relay-state")]
        status = subprocess.run(command, env=self.environment, capture_output=True, check=True)
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


def run(binary, directory, seed, kills):
    scene = Fleet(binary, directory, seed)
    done = relays = 0
    while done < kills:
        writers = [
            (
                "k%d-%d" % (done, writer),
                scene.generator.randint(1, 400),
                scene.generator.uniform(0.01, 1.5),
            )
            for writer in range(3)
        ]
        seconds = scene.generator.uniform(0, 1.5)
        killer = threading.Thread(target=scene.kill_relay, args=(seconds,))
        killer.start()
        scene.write_beside_flush(writers)
        killer.join()
        done += 5
        relays += 1
    wrong, repeated = scene.finish()
    wrong += scene.wrong_order()
    scene.relay.terminate()
    if scene.relay.wait() != 0:
        wrong.append("the relay ended with %d" % scene.relay.returncode)
    if repeated > CONCURRENCY * relays:
        wrong.append("%d came twice after %d kills of the relay" % (repeated, relays))
    figures = (done, relays, len(scene.sent), len(scene.safe), repeated)
    return wrong, "%d kills, %d of the relay, %d events sent, %d safe, %d came twice" % figures
