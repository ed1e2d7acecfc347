"""kill -9 at random along a chain: writers and a `flush --watch` of a node, its relay, the servers
of a store, and the process that delivers what is stored there."""

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import relay
from scene import CONCURRENCY

VENVS = Path(__file__).resolve().parents[2] / "target" / "venvs"
NATS = VENVS / "servers" / "bin" / "nats-server"
STORE = """
store = nats
[nats]
servers = %s
monitor = %s
replicas = 3
max_size = 256MiB
"""
SERVER = """
server_name: %(name)s
listen: "127.0.0.1:%(client)s"
http: "127.0.0.1:%(monitor)s"
ports_file_dir: "%(folder)s"
jetstream { store_dir: "%(folder)s/store", sync_interval: always }
"""
CLUSTER = """
cluster { name: torture, listen: "127.0.0.1:%(cluster)s", routes: [%(routes)s] }
"""


class Server:
    """One of the servers of NATS. It keeps the ports that it got first."""

    def __init__(self, directory, name, port, routes):
        self.folder = directory / name
        self.folder.mkdir(parents=True)
        self.name = name
        self.ports = {"client": "-1", "monitor": "-1", "cluster": port}
        self.routes = routes

    def spawn(self, single=False):
        routes = ", ".join("nats://127.0.0.1:%s" % port for port in self.routes)
        values = dict(self.ports, name=self.name, folder=self.folder, routes=routes)
        config = self.folder / "nats.conf"
        config.write_text(SERVER % values + ("" if single else CLUSTER % values))
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen([NATS, "-c", config], stderr=log)
        written = self.folder / ("nats-server_%d.ports" % self.process.pid)
        shown = wait_for(lambda: written.exists() and json.loads(written.read_text() or "null"))
        for kind, name in (("client", "nats"), ("monitor", "monitoring")):
            self.ports[kind] = shown[name][0].rpartition(":")[2]

    def is_healthy(self):
        url = "http://127.0.0.1:%s/healthz" % self.ports["monitor"]
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["status"] == "ok"
        return False

    def kill(self):
        self.process.kill()
        self.process.wait()


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("something that must happen has not happened")
        time.sleep(0.05)
    return found


class Chain(relay.Fleet):
    """A node, a relay, three servers, and a process that delivers to the endpoint."""

    def __init__(self, binary, directory, seed):
        # Each names the others before any of them runs, so their ports must be known.
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [one.getsockname()[1] for one in sockets]
        for one in sockets:
            one.close()
        self.servers = [
            Server(Path(directory), "nats%d" % number, port, ports)
            for number, port in enumerate(ports, 1)
        ]
        for server in self.servers:
            server.spawn()
        wait_for(lambda: all(server.is_healthy() for server in self.servers))
        super().__init__(binary, directory, seed)
        self.start_deliver()

    def settings(self):
        urls = [
            ", ".join("%s://127.0.0.1:%s" % (scheme, server.ports[kind]) for server in self.servers)
            for scheme, kind in (("nats", "client"), ("http", "monitor"))
        ]
        return STORE % tuple(urls)

    def start_relay(self):
        if self.port == "0":
            self.write("relay.ini", relay.RELAY % (self.port, self.settings()))
            command = ("relay", "init", "--config", "relay.ini", "--apply")
            init = self.start(*command, stdout=subprocess.DEVNULL)
            assert init.wait() == 0
        super().start_relay()

    def start_deliver(self):
        """Starts it; while too few servers answer, it ends, and is started again."""
        self.deliver = self.start("deliver", "--config", "relay.ini")

    def kill_one(self, seconds):
        """Kills the relay, the process that delivers, or servers, and starts them again."""
        time.sleep(seconds)
        choice = self.generator.choice(["relay", "deliver", "deliver", "server", "server", "all"])
        if choice == "relay":
            self.kill_relay(0)
        elif choice == "deliver":
            self.deliver.kill()
            self.deliver.wait()
            self.start_deliver()
        else:
            one = [self.generator.choice(self.servers)]
            killed = one if choice == "server" else self.servers
            for server in killed:
                server.kill()
            for server in killed:
                server.spawn()
            wait_for(lambda: all(server.is_healthy() for server in killed))
        return choice

    def waiting(self):
        """Segments that wait in the store, and deliveries that wait at the end of the chain."""
        command = [self.binary, "relay", "status", "--config", "relay.ini", "--json"]
        shown = subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, check=False
        )
        if self.deliver.poll() is not None:
            self.start_deliver()
        if shown.returncode != 0:
            return 1
        stored = json.loads(shown.stdout)
        return stored["pending"] + stored["set_aside"] + super().waiting()

    def stop(self):
        wrong = super().stop()
        self.deliver.terminate()
        if self.deliver.wait() != 0:
            wrong.append("the process that delivers ended with %d" % self.deliver.returncode)
        for server in self.servers:
            server.kill()
        return wrong


def run(binary, directory, seed, kills):
    scene = Chain(binary, directory, seed)
    done, chosen = 0, {}
    while done < kills:
        killed = relay.kill_beside_writers(scene, done, scene.kill_one)
        chosen[killed] = chosen.get(killed, 0) + 1
        done += 5
    wrong, repeated = scene.finish()
    wrong += scene.wrong_order()
    wrong += scene.stop()
    of_deliver = chosen.get("deliver", 0)
    if repeated > CONCURRENCY * of_deliver:
        wrong.append("%d came twice after %d kills" % (repeated, of_deliver))
    parts = ", ".join("%s %d" % part for part in sorted(chosen.items()))
    figures = (done, parts, len(scene.sent), len(scene.safe), repeated)
    return wrong, "%d kills (%s), %d events sent, %d safe, %d came twice" % figures
