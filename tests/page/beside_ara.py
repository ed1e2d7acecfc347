#!/usr/bin/env python3
"""Prints what the page costs beside ARA's, after one playbook that both have recorded.

Run it with target/venvs/browser/bin/python; it makes the environment of the benchmarks.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import conftest
from figures import look, show
from playwright.sync_api import sync_playwright
from test_page import violations

sys.path[:0] = [str(conftest.ROOT / "tests" / name) for name in ("bench", "ansible")]
import peers  # noqa: E402

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
%s
    - fail: {msg: No package nginx available.}
      ignore_errors: true
"""


def play(place, directory, hosts, **environment):
    """The seconds that the playbook takes with these callbacks."""
    inventory = "".join("web%d," % number for number in range(hosts))
    begin = time.perf_counter()
    subprocess.run(
        [place / "bin/ansible-playbook", "-i", inventory, "-c", "local", "-f", "10", "site.yml"],
        cwd=directory,
        env=dict(os.environ, HOME=str(directory), **environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begin


def memory(processes):
    """The memory in MiB of some processes, shared pages counted once."""
    rollups = [pathlib.Path("/proc", pid, "smaps_rollup").read_text() for pid in processes]
    return sum(int(re.search(r"^Pss: +(\d+)", text, re.MULTILINE)[1]) for text in rollups) / 1024


def measure(browser, address, paths, server):
    """Shows what each page costs a browser that comes for the first time, and its server."""
    for path in paths:
        tab = conftest.Tab(browser.new_context(), address)
        if tab.token:
            tab.sign_in()
        requests, moved, frame = look(tab, path)
        tab.page.wait_for_load_state("load")
        cells = [requests, "%.1f" % (moved / 1000), "%.0f ms" % frame, len(violations(tab.page))]
        show(path[:28], cells)
        tab.context.close()
    found = subprocess.run(["pgrep", "-f", server], capture_output=True, text=True, check=True)
    show("server, MiB", ["%.1f" % memory(found.stdout.split())])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=pathlib.Path, default=conftest.BINARY)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=50)
    arguments = parser.parse_args()
    conftest.BINARY = arguments.binary.resolve()
    place = peers.ensure()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        directory = pathlib.Path(name)
        debugs = ["    - debug: {msg: a task}"] * (arguments.tasks - 1)
        (directory / "site.yml").write_text(PLAYBOOK % "\n".join(debugs))
        control = conftest.configured(directory, "http://127.0.0.1:1")
        ours = {
            "ANSIBLE_CALLBACK_PLUGINS": str(conftest.ROOT / "callback_plugins"),
            "ANSIBLE_NOTIFY_BINARY": str(conftest.BINARY),
            "ANSIBLE_NOTIFY_CONFIG": str(directory / "plugin_config.ini"),
        }
        theirs = peers.environments(place, directory, "", "")["ARA, offline"]
        plain = play(place, directory, arguments.hosts)
        for label, environment in {"ansible-notify": ours, "ARA, offline": theirs}.items():
            later = play(place, directory, arguments.hosts, **environment) - plain
            each = later * 1000 / (arguments.hosts * arguments.tasks)
            show(label, ["%.1f ms more for each result" % each])
        executable = {"executable_path": conftest.BROWSER, "args": conftest.ARGUMENTS}
        browser = playwright.chromium.launch(**executable)
        show("page", ["requests", "KB moved", "first frame", "axe finds"])
        run = json.loads(control.run("runs", "--json").stdout.splitlines()[0])["id"]
        mine = ["/", "/runs/" + run, "/runs/%s/results?state=failed" % run]
        measure(browser, control.serve(), mine, "%s serve" % conftest.BINARY)
        with peers.ara_server(place, theirs["ARA_BASE_DIR"]) as address:
            paths = ["/", "/playbooks/1.html", "/playbooks/1.html?status=failed"]
            measure(browser, address, paths, "bind=" + address.partition("//")[2])
        browser.close()
        control.stop()


if __name__ == "__main__":
    main()
