"""Real playbooks, whose binary is ended in the middle: every result and each end arrives."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from scene import CONCURRENCY, Scene

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "ansible"))
import venvs  # noqa: E402

HOSTS = 5
TASKS = 25
# The plugin starts the binary three times more at the most.
KILLS = 3
SAID = "said"


def run(binary, directory, seed, plays):
    scene = Scene(binary, directory, seed)
    place = Path(venvs.ensure(venvs.resolve(["newest"])[0]))
    kills, wrong = 0, []
    for number in range(plays):
        kills += play(scene, place, number)
    wrong += scene.deliver_all()
    arrived = {(body["host"], body["task"]) for _, body in scene.endpoint.arrived}
    missing = [
        (host, task)
        for play in range(plays)
        for host in ("h%d" % number for number in range(HOSTS))
        for task in ("play %d task %d" % (play, number) for number in range(TASKS))
        if (host, task) not in arrived
    ]
    if missing:
        wrong.append("%d results are lost, such as %s" % (len(missing), missing[:5]))
        wrong.append("ansible-playbook said: %s" % (scene.directory / SAID).read_text())
    ends = {event for event, _ in scene.endpoint.arrived if event.endswith("-end")}
    if len(ends) != plays:
        wrong.append("%d ends of runs for %d playbooks" % (len(ends), plays))
    repeated = len(scene.endpoint.arrived) - len({event for event, _ in scene.endpoint.arrived})
    if repeated > CONCURRENCY * kills:
        wrong.append("%d came twice after %d kills" % (repeated, kills))
    wrong += scene.wrong_numbers()
    figures = (plays, kills, plays * HOSTS * TASKS, repeated)
    return wrong, "%d playbooks, %d kills, %d results, %d came twice" % figures


def play(scene, place, number):
    """One playbook under fire. How often its binary was killed."""
    tasks = "".join(
        "    - {name: play %d task %d, debug: {msg: done}}\n" % (number, task)
        for task in range(TASKS)
    )
    playbook = scene.directory / "play.yml"
    playbook.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n" + tasks)
    hosts = ",".join("h%d" % host for host in range(HOSTS)) + ","
    process = subprocess.Popen(
        [place / "bin/ansible-playbook", "-i", hosts, "-c", "local", playbook],
        cwd=scene.directory,
        env=dict(
            scene.environment,
            ANSIBLE_CALLBACK_PLUGINS=str(ROOT / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="ansible_notify",
            ANSIBLE_NOTIFY_BINARY=scene.binary,
            ANSIBLE_NOTIFY_CONFIG=str(scene.config),
        ),
        stdout=subprocess.DEVNULL,
        stderr=(scene.directory / SAID).open("a"),
    )
    killed = 0
    while killed < KILLS and process.poll() is None:
        time.sleep(scene.generator.uniform(0, 0.6))
        number = scene.generator.choice([signal.SIGKILL, signal.SIGTERM])
        killed += end_child(process.pid, scene.binary, number)
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    process.wait()
    watchdog.cancel()
    if process.returncode != 0:
        raise SystemExit("ansible-playbook ended with %d" % process.returncode)
    return killed


def end_child(parent, binary, number):
    """Sends a signal to the binary that a process has started; to how many."""
    killed = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        process = Path("/proc") / name
        try:
            is_child = (process / "stat").read_text().rpartition(")")[2].split()[1] == str(parent)
            if is_child and os.readlink(process / "exe") == binary:
                os.kill(int(name), number)
                killed += 1
        except OSError:
            # It has ended meanwhile.
            continue
    return killed
