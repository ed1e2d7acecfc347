"""What a play costs with this and that callback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import venvs
from endpoint import receiver
from measure import compare, median, ratio, timed

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
%s
"""


def in_the_play(bench):
    """10 hosts x 50 tasks into an endpoint that takes 50 ms."""
    version, place = newest_ansible()
    tasks = "".join("    - debug: {msg: task %d}\n" % number for number in range(50))
    playbook = bench.write("bench.yml", PLAYBOOK % tasks)
    hosts = ",".join("host%d" % number for number in range(10)) + ","
    pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "requests"]
    subprocess.run(pip, check=True)
    said = []
    with receiver(bench, "--delay", "50ms") as url:
        waits = bench.config("waits.ini", url)
        leaves = bench.config("leaves.ini", url, drain="0")

        def play(config=waits, **environment):
            command = [place / "bin/ansible-playbook", "-i", hosts, "-c", "local", "-f", "10"]
            command.append(playbook)
            plugins = "%s:%s" % (ROOT / "callback_plugins", HERE / "callback_plugins")
            everything = dict(
                os.environ,
                ANSIBLE_CALLBACK_PLUGINS=plugins,
                ANSIBLE_NOTIFY_BINARY=str(bench.binary),
                ANSIBLE_NOTIFY_CONFIG=str(config),
                ANSIBLE_PYTHON_INTERPRETER=sys.executable,
                BENCH_URL=url,
                **environment,
            )
            wall, cpu, stderr = timed(command, env=everything, cwd=bench.directory)
            said.extend(re.findall(r"\d+ events: .*", stderr))
            return wall, cpu

        times = compare(
            2 if bench.quick else 7,
            none=play,
            leaves=lambda: play(leaves, ANSIBLE_CALLBACKS_ENABLED="ansible_notify"),
            notify=lambda: play(ANSIBLE_CALLBACKS_ENABLED="ansible_notify"),
        )
        blocking = play(ANSIBLE_CALLBACKS_ENABLED="post_each")[0]
    # What did not wait is delivered all the same, by the next run.
    assert all(re.match("500 events: .* 0 dead", line) for line in said), said
    wall = {name: [wall for wall, _ in measured] for name, measured in times.items()}
    print("## In the play\n")
    print("ansible-core %s, 10 hosts x 50 debug tasks, 10 forks, endpoint at 50 ms." % version)
    print("Wall time.\n")
    print("| callback | seconds | to no callback |\n|---|---|---|")
    print("| none | %.2f | 1 |" % median(wall["none"]))
    for name, label in (("leaves", "`drain = 0`"), ("notify", "all delivered at the end")):
        figures = (label, median(wall[name]), ratio(wall[name], wall["none"]))
        print("| ansible-notify, %s | %.2f | %s |" % figures)
    figures = (blocking, blocking / median(wall["none"]))
    print("| `requests.post` for each result | %.2f | %.2f |" % figures)
    print()


def newest_ansible():
    name = venvs.resolve(["newest"])[0]
    place = venvs.ensure(name)
    script = "import ansible; print(ansible.__version__)"
    found = subprocess.run(
        [place / "bin/python", "-c", script], capture_output=True, text=True, check=True
    )
    return found.stdout.strip(), Path(place)
