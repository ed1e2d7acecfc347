"""What a play costs with this and that callback."""

import os
import re
import shutil
import sys
from pathlib import Path

import peers
import venvs
from endpoint import DEAD, receiver
from measure import compare, median, ratio, timed

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
%s
"""
# What a task brings, and how many tasks make a play of 10 hosts.
KINDS = {
    "small": ("debug: {msg: a task}", 50),
    "5 KB of output": ("bench_result: {kind: output}", 50),
    "facts, 50 KB": ("bench_result: {kind: facts}", 10),
    "package facts, 500 KB": ("bench_result: {kind: packages}", 2),
}
# Tasks of a play by the number of its hosts.
HOSTS = {1: 50, 10: 50, 100: 5, 500: 2}
NOTIFY = {"ANSIBLE_CALLBACKS_ENABLED": "ansible_notify"}
# What every callback is compared with, by its label.
PLAIN = {
    "none": {},
    "one that does nothing": {"ANSIBLE_CALLBACKS_ENABLED": "nothing"},
    "`json.dumps` and `os.write` (the floor)": {"ANSIBLE_CALLBACKS_ENABLED": "floor"},
}
NONE, _NOTHING, FLOOR = PLAIN


class Play:
    """Plays of one kind, against one endpoint."""

    def __init__(self, bench, place, url, kind="small", hosts=10, tasks=None):
        self.bench, self.place, self.url = bench, place, url
        task, usual = KINDS[kind]
        self.results = hosts * (tasks or usual)
        self.playbook = bench.write(
            "bench.yml", PLAYBOOK % ("    - %s\n" % task * (tasks or usual))
        )
        self.inventory = ",".join("host%d" % number for number in range(hosts)) + ","
        self.waits = bench.config("waits.ini", url)
        self.leaves = bench.config("leaves.ini", url, drain="0")

    def run(self, config=None, **environment):
        """Wall and CPU seconds of a play with a callback, those in callbacks, and those of waiting
        for them at the end; of ours, no event may be missing."""
        plugins = [ROOT / "callback_plugins", HERE / "callback_plugins"]
        plugins += filter(None, [environment.pop("ANSIBLE_CALLBACK_PLUGINS", None)])
        state = self.bench.directory / "play-state"
        shutil.rmtree(state, ignore_errors=True)
        everything = dict(
            os.environ,
            ANSIBLE_ACTION_PLUGINS=str(HERE / "action_plugins"),
            ANSIBLE_CALLBACK_PLUGINS=":".join(str(folder) for folder in plugins),
            ANSIBLE_NOTIFY_BINARY=str(self.bench.binary),
            ANSIBLE_NOTIFY_CONFIG=str(config),
            ANSIBLE_PYTHON_INTERPRETER=sys.executable,
            BENCH_URL=self.url,
            # What one run leaves is not delivered in the time of the next.
            XDG_STATE_HOME=str(state),
            **environment,
        )
        said = self.bench.directory / "metered"
        command = [self.place / "bin/python", HERE / "metered.py", said]
        command += ["-i", self.inventory, "-c", "local", "-f", "10", self.playbook]
        wall, cpu, stderr = timed(command, env=everything, cwd=self.bench.directory)
        if config:
            # The end of the playbook is one more that no [inputs] wants.
            assert re.search(r"\b%d events, " % self.results, stderr), stderr
            assert " dead" not in stderr, stderr
        return (wall, cpu, *map(float, said.read_text().split()))

    def ours(self):
        return {
            "ansible-notify, `drain = 0`": lambda: self.run(self.leaves, **NOTIFY),
            "ansible-notify, all delivered": lambda: self.run(self.waits, **NOTIFY),
        }

    def plain(self, labels=PLAIN):
        return {label: lambda label=label: self.run(**PLAIN[label]) for label in labels}


def measure(play, callbacks, rounds):
    """A table of what each callback costs."""
    rows = compare(1 if play.bench.quick else rounds, **callbacks)
    columns = {label: list(zip(*measured)) for label, measured in rows.items()}
    print(
        "| callback | seconds | to none | to the floor | CPU seconds | in callbacks | at the end |"
    )
    print("|---|---|---|---|---|---|---|")
    for label, (wall, *others) in columns.items():
        bases = [columns[base][0] if base in columns else None for base in (NONE, FLOOR)]
        compared = [ratio(wall, base) if base else "" for base in bases]
        cpu, callbacks, end = map(median, others)
        found = (label, median(wall), *compared, cpu, callbacks * 1e3, end * 1e3)
        print("| %s | %.2f | %s | %s | %.2f | %.0f ms | %.0f ms |" % found)
    print()


def in_the_play(bench):
    """Every callback with small results, and how much later the play ends."""
    place = peers.ensure()
    print("%s.\n" % peers.VERSIONS)
    with receiver(bench) as url, peers.ara_server(place, bench.directory / "ara-server") as ara_url:
        play = Play(bench, place, url)
        print("10 hosts x 50 tasks, 10 forks, small results, an endpoint that answers at once.\n")
        measure(play, {**play.plain(), **play.ours()}, 9)
        found = peers.environments(place, bench.directory, url, ara_url)
        others = {label: lambda more=more: play.run(**more) for label, more in found.items()}
        print("Alternative callbacks, same play.\n")
        measure(play, {**play.plain([NONE]), **play.ours(), **others}, 2)


def endpoints(bench):
    """The same play with an endpoint that is slow, and with one that is not there."""
    place = peers.ensure()
    with receiver(bench, "--delay", "50ms") as url:
        play = Play(bench, place, url)
        print("An endpoint that takes 50 ms for each answer.\n")
        measure(play, {**play.plain([NONE, FLOOR]), **play.ours()}, 5)
        posted = {"ANSIBLE_CALLBACKS_ENABLED": "post_each"}
        print("`requests.post` for each result: %.2f s.\n" % play.run(**posted)[0])
    play = Play(bench, place, DEAD)
    play.waits = bench.config("waits.ini", DEAD, drain="1s")
    print("A dead endpoint, `drain = 1s`.\n")
    measure(play, {**play.plain([NONE, FLOOR]), **play.ours()}, 5)


def sizes(bench):
    """Larger results, and more hosts."""
    place = peers.ensure()
    with receiver(bench) as url:
        for kind in KINDS if bench.everything else list(KINDS)[1:]:
            print("10 hosts x %d tasks, %s.\n" % (KINDS[kind][1], kind))
            play = Play(bench, place, url, kind)
            measure(play, {**play.plain([NONE, FLOOR]), **play.ours()}, 3)
        kinds = KINDS if bench.everything else ["small"]
        for hosts, tasks in HOSTS.items():
            if hosts == 10:
                continue
            for kind in kinds:
                print("%d hosts x %d tasks, %s.\n" % (hosts, tasks, kind))
                play = Play(bench, place, url, kind, hosts, tasks)
                measure(play, {**play.plain([NONE, FLOOR]), **play.ours()}, 3)


# Ten variables, half of them made for each host.
VARIABLES = """
  vars:
    deploy_id: D-17
    team: web
    stage: production
    owner: {name: anna, mail: anna@example.com}
    services: [app, db, cache]
    site: "{{ inventory_hostname[:5] }}"
    rack: "r{{ inventory_hostname | length }}"
    full_name: "{{ inventory_hostname }}.example.com"
    address: "https://{{ full_name }}/"
    title: "{{ team }} in {{ site }}"
"""
LISTED = "deploy_id, team, stage, owner, services, site, rack, full_name, address, title"


def own_data(bench):
    """Ten variables that events carry, on 500 hosts, compared to none."""
    place = venvs.ensure("2.21")
    with receiver(bench) as url:
        play = Play(bench, place, url, hosts=500, tasks=2)
        text = play.playbook.read_text()
        play.playbook.write_text(text.replace("  tasks:", VARIABLES.strip("\n") + "\n  tasks:"))
        listed = play.leaves.read_text() + "[event]\nvars = %s\n" % LISTED
        with_vars = bench.write("vars.ini", listed)
        print("500 hosts x 2 tasks, small results, `drain = 0`.\n")
        callbacks = {
            "`vars` lists nothing": lambda: play.run(play.leaves, **NOTIFY),
            "`vars` lists 10": lambda: play.run(with_vars, **NOTIFY),
        }
        rows = compare(1 if bench.quick else 5, **callbacks)
        columns = [(label, list(zip(*measured))) for label, measured in rows.items()]
        print("| variables | seconds | to none | in callbacks |")
        print("|---|---|---|---|")
        for label, (wall, _cpu, callbacks, _end) in columns:
            found = (label, median(wall), ratio(wall, columns[0][1][0]), median(callbacks) * 1e3)
            print("| %s | %.2f | %s | %.0f ms |" % found)
        print()
