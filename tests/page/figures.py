#!/usr/bin/env python3
"""Prints what the page costs where a run has many results.

For each page its size, its requests and the time to the first frame; the memory of the server
with live updates open; and the time of commands that read. Run it with
target/venvs/browser/bin/python; `--runs 10` makes a million results of the default 100,000.
"""

import argparse
import gzip
import http.client
import json
import pathlib
import tempfile
import time
import urllib.parse

import conftest
from playwright.sync_api import sync_playwright

# Streams that are open at a time.
STREAMS = 10
PAINTED = "performance.getEntriesByName('first-contentful-paint').map((one) => one.startTime)[0]"
TRANSFERRED = """["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
    .map((one) => one.transferSize)"""


def lines(run, hosts, tasks):
    """What the plugin writes for a run in which some results are changed and a few failed."""
    about = {"id": run, "playbook": "site.yml", "user": "deploy", "controller": "ctl1"}
    yield {"hello": {"protocol": 1, "run": about}}
    yield {"play": {"id": "p", "name": "everything"}}
    now = time.time() - tasks
    yield {"event": {"seq": 1, "event": "playbook_on_start", "time": now}}
    number = 1
    for task in range(tasks):
        task_about = {"id": str(task), "name": "role : task number %d of this run" % task}
        task_about.update(action="copy", path="site.yml:%d" % task)
        yield {"task": task_about}
        for host in range(hosts):
            number += 1
            result = {"changed": number % 10 == 0}
            event = {"seq": number, "event": "runner_on_ok", "time": now + task, "play": "p"}
            if number % 250 == 0:
                event["event"] = "runner_on_failed"
                result = {"msg": "No package nginx available.", "rc": 1}
            elif number % 7 == 0:
                event["event"] = "runner_on_skipped"
            event.update(task=str(task), host={"name": "web%03d" % host}, duration=0.5)
            event.update(changed=bool(result.get("changed")), result=result)
            yield {"event": event}
    yield {"end": {"reason": "exit", "code": 2}}


def resident(process):
    """The memory of a process in MiB: now, and at most."""
    status = pathlib.Path("/proc/%d/status" % process.pid).read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return [int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]


def fetch(address, token, path):
    """The bytes of an answer, and the seconds until all of them were there."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc)
    begin = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": "Bearer " + token})
    body = connection.getresponse().read()
    return body, time.perf_counter() - begin


def stream(address, token):
    """An open stream of live updates."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc)
    connection.request("GET", "/events", headers={"Authorization": "Bearer " + token})
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    return connection, answer


def show(name, cells):
    print("%-28s" % name + "".join("%14s" % cell for cell in cells), flush=True)


def took(control, *command):
    """The milliseconds that a command takes, at best of five."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        assert control.run(*command).returncode == 0, command
        times.append(time.perf_counter() - begin)
    return min(times) * 1000


def look(tab, path):
    """Requests and bytes that a page costs a browser, and milliseconds to its first frame."""
    tab.requests.clear()
    tab.page.goto(tab.base + path, wait_until="load")
    # Its own way to wait evaluates a text, which the page's policy forbids.
    while not tab.page.evaluate(PAINTED):
        time.sleep(0.01)
    asked = [url for url in tab.requests if "/events" not in url]
    return len(asked), sum(tab.page.evaluate(TRANSFERRED)), tab.page.evaluate(PAINTED)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=pathlib.Path, default=conftest.BINARY)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    conftest.BINARY = arguments.binary.resolve()
    directory = tempfile.TemporaryDirectory()
    control = conftest.Control(pathlib.Path(directory.name))
    config = control.directory / "plugin_config.ini"
    # A notifier that wants nothing of it.
    notifier = "[inputs]\ncallback_url = http://127.0.0.1:1/\non = canceled\n"
    config.write_text(notifier + "[delivery]\nmax_size = 2GiB\n")
    config.chmod(0o600)
    begin = time.perf_counter()
    for run in [*("run-%d" % number for number in range(1, arguments.runs)), "big"]:
        records = lines(run, arguments.hosts, arguments.tasks)
        ended = control.run("stream", text="".join(json.dumps(line) + "\n" for line in records))
        assert ended.returncode == 0, ended.stderr
    results = arguments.hosts * arguments.tasks
    recorded = results * arguments.runs
    spool = (control.directory / ".local/state/ansible-notify").glob("spool.db*")
    took_in = time.perf_counter() - begin
    each = sum(file.stat().st_size for file in spool) / recorded
    print("%d results recorded in %.1f s, %.0f bytes each" % (recorded, took_in, each))
    for command in [["runs"], ["runs", "last"], ["history", "--failed"], ["status"]]:
        show(" ".join(command) + ", ms", ["%.0f" % took(control, *command)])
    address, _, token = control.serve().partition("/#token=")
    serving = control.serving[-1]
    show("server at rest, MiB", ["%.1f" % resident(serving)[0]])

    last = results + 1
    pages = ["/", "/runs/big", "/runs/big/results", "/runs/big/results?state=failed"]
    pages += ["/runs/big/results/%d" % (last - last % 250), "/notifiers", "/deliveries"]
    show("page", ["KB", "KB gzip", "ms", "requests", "KB moved", "first frame"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=conftest.BROWSER, args=conftest.ARGUMENTS
        )
        # A page that is seen for the first time has nothing in the cache.
        for path in pages:
            fetch(address, token, path)
            body, seconds = fetch(address, token, path)
            tab = conftest.Tab(browser.new_context(), address + "/#token=" + token)
            tab.sign_in()
            requests, moved, frame = look(tab, path)
            cells = ["%.1f" % (size / 1000) for size in (len(body), len(gzip.compress(body)))]
            cells += ["%.0f" % (seconds * 1000), requests, "%.1f" % (moved / 1000)]
            show(path, [*cells, "%.0f ms" % frame])
            tab.context.close()
        browser.close()

    streams = [stream(address, token) for _ in range(STREAMS)]
    for path in pages:
        fetch(address, token, path)
    now, most = resident(serving)
    show("server, %d streams, MiB" % STREAMS, ["%.1f" % now, "%.1f at most" % most])
    for connection, _ in streams:
        connection.close()
    control.stop()


if __name__ == "__main__":
    main()
