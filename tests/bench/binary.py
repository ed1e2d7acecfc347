"""What the program costs by itself."""

import json
import os
import re
import subprocess

from endpoint import DEAD, Authority, nginx, receiver
from measure import OUTPUTS, compare, median, ratio, timed, timed_with_memory

RESULT = {"changed": True, "stdout": "hello world", "stderr": "", "rc": 0, "cmd": ["echo"]}
BODY = {"state": "success", "task_name": "t", "task_output": "hello world"}


def one_event(bench):
    """`send` of one event beside curl with the same body: http, https, https with system roots."""
    # Without an id it is a new one each time.
    event = {"state": "success", "host": "h", "task": "t", "result": RESULT}
    event = bench.write("event.json", json.dumps(event))
    body = bench.write("body.json", json.dumps(BODY))
    authority = Authority(bench)
    print("A POST of the same body to nginx on loopback, process start included.\n")
    print("| | `send`: wall, CPU ms | `curl`: wall, CPU ms | wall, `send` to `curl` |")
    print("|---|---|---|---|")
    with nginx(bench) as url, nginx(bench, authority) as secure_url:
        for label, there, known, roots in (
            ("http", url, None, None),
            ("https, `ca_file`", secure_url, authority.certificate, None),
            ("https, the system's roots", secure_url, None, authority.among_system_roots()),
        ):
            section = "[inputs]\ncallback_url = %s\n" % there
            section += "ca_file = %s\n" % known if known else ""
            config = bench.write("send.ini", section + OUTPUTS)
            curl = ["curl", "-sS", "-o", os.devnull, "-H", "content-type: application/json"]
            curl += ["--cacert", known] if known else []
            environment = with_roots(roots) if roots else None
            send = [bench.binary, "send", "--quiet", "--config", config, event]
            curl += ["-d", "@%s" % body, there]
            times = compare(
                20 if bench.quick else 200,
                send=lambda send=send, e=environment: timed(send, env=e)[:2],
                curl=lambda curl=curl, e=environment: timed(curl, env=e)[:2],
            )
            figures = [median(side) * 1e3 for name in times for side in zip(*times[name])]
            walls = ([wall for wall, _ in times[name]] for name in times)
            print("| %s | %.2f, %.2f | %.2f, %.2f | %s |" % (label, *figures, ratio(*walls)))


def with_roots(file):
    """An environment in which the system's certificates are those of a file, for curl too."""
    environment = dict(os.environ, SSL_CERT_FILE=str(file), CURL_CA_BUNDLE=str(file))
    environment.pop("SSL_CERT_DIR", None)
    return environment


def startup(bench):
    """What a process costs that does nothing else."""
    commands = {"`ansible-notify --version`": [bench.binary, "--version"], "`true`": ["true"]}
    commands["`curl --version`"] = ["curl", "--version"]
    times = compare(
        20 if bench.quick else 200,
        **{name: lambda c=command: timed(c)[:2] for name, command in commands.items()},
    )
    print("| start-up | wall ms | CPU ms |\n|---|---|---|")
    for name, measured in times.items():
        wall, cpu = (median(side) * 1e3 for side in zip(*measured))
        print("| %s | %.2f | %.2f |" % (name, wall, cpu))


def notifiers(url, count):
    section = "[notifier:n%d]\ntype = webhook\nurl = %s\non = ok\n"
    return "".join(section % (number, url) for number in range(count))


def stream(bench):
    """Many events through `stream`, beside what wrk reaches on the same endpoint."""
    count = 10_000 if bench.quick else 100_000
    delivery = "[delivery]\ndrain = 600s\nmax_size = 4GiB\n" + OUTPUTS
    print("%d events of 16 hosts to nginx on loopback, through the spool.\n" % count)
    print("| | deliveries per second | `wrk`, same connections | to `wrk` | CPU µs | peak MiB |")
    print("|---|---|---|---|---|---|")
    with nginx(bench) as url:
        inputs = "[inputs]\ncallback_url = %s\n" % url
        for label, notifying, copies, share in (
            ("one POST each", inputs, 1, 1),
            ("ten notifiers, one POST each", notifiers(url, 10), 10, 5),
            ("`batch = 500`", inputs + "batch = 500\n", 1, 1),
        ):
            config = bench.write("stream.ini", notifying + delivery)
            measured = stream_rounds(bench, config, url, count // share, copies)
            rates, wrk, cpu, memory = zip(*measured)
            figures = (label, median(rates), median(wrk), ratio(rates, wrk))
            print("| %s | %d | %d | %s | %.1f | %.1f |" % (*figures, median(cpu), max(memory)))


def stream_rounds(bench, config, url, count, copies):
    """Deliveries a second, wrk's requests a second, CPU µs a delivery and MiB, three times."""
    measured = []
    for run in range(3):
        # An id is delivered only once, so every run has its own.
        name = "bench-%d-%s" % (run, config.stat().st_mtime_ns)
        (wall, cpu, peak), said = streamed(bench, config, count, name)
        deliveries = count * copies
        expected = "%d events, %d deliveries: all delivered" % (count, deliveries)
        assert expected in said, said
        requests = wrk(bench, url, 16 * copies)
        measured.append((deliveries / wall, requests, cpu / deliveries * 1e6, peak))
    return measured


def streamed(bench, config, count, run, state=None, **content):
    """Wall and CPU seconds and the peak MiB of a `stream` of so many events, and what it said."""
    path = bench.write("stream.ndjson", "")
    with path.open("w") as file:
        write_stream(file, count, run, **content)
    said = bench.directory / "said"
    command = ["env", "XDG_STATE_HOME=%s" % state] if state else []
    with path.open() as file:
        command += [bench.binary, "stream", "--config", config]
        measured = timed_with_memory(command, file, said)
    return measured, said.read_text()


def large(bench):
    """Results of 500 KB, on their way and waiting: how much of them is in memory."""
    count = 50 if bench.quick else 300
    package = [{"name": "package", "version": "1.2.3", "arch": "amd64", "source": "apt"}]
    packages = {"package-%d" % number: package for number in range(5500)}
    result = {"changed": False, "ansible_facts": {"packages": packages}}
    print("%d results of %d KB, of 16 hosts.\n" % (count, len(json.dumps(result)) / 1000))
    print("| the endpoint | `[outputs]` | peak MiB |\n|---|---|---|")
    with receiver(bench, "--delay", "50ms") as slow, nginx(bench) as quick:
        for label, url in (("answers at once", quick), ("after 50 ms", slow), ("dead", DEAD)):
            for output in ("task_output", "result.ansible_facts"):
                peak = large_stream(bench, url, output, count, result)
                print("| %s | `%s` | %.1f |" % (label, output, peak))


def large_stream(bench, url, output, count, result):
    """The most memory that a stream of large results takes in three runs, in MiB."""
    drain = "0" if url == DEAD else "60s"
    text = "[inputs]\ncallback_url = %s\n[delivery]\ndrain = %s\nmax_size = 4GiB\n"
    text += "[outputs]\nout = %s\n"
    config = bench.write("large.ini", text % (url, drain, output))
    peaks = []
    for run in range(3):
        name = "large-%d-%s" % (run, config.stat().st_mtime_ns)
        (_, _, peak), said = streamed(bench, config, count, name, result=result)
        assert "%d events: " % count in said, said
        peaks.append(peak)
    return max(peaks)


def wrk(bench, url, connections):
    script = bench.write(
        "post.lua",
        'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
        "wrk.body = [[%s]]\n" % json.dumps(BODY),
    )
    seconds = 1 if bench.quick else 5
    command = ["wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "-s", str(script), url]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.search(r"Requests/sec:\s+([\d.]+)", found).group(1))


def write_event(file, number):
    """An event as `send` takes it."""
    event = {"id": str(number), "state": "success", "host": "h%d" % (number % 16), "task": "t"}
    file.write(json.dumps(dict(event, result=RESULT)) + "\n")


def write_stream(file, count, run, hosts=16, result=RESULT):
    """What the plugin would write in a run of so many events."""

    def record(**content):
        file.write(json.dumps(content) + "\n")

    record(hello={"protocol": 1, "run": {"id": run}})
    record(play={"id": "1", "name": "p"})
    record(task={"id": "1", "name": "t"})
    event = {"event": "runner_on_ok", "time": 1763670121.5, "play": "1", "task": "1"}
    for number in range(1, count + 1):
        host = {"name": "h%d" % (number % hosts)}
        record(event=dict(event, seq=number, host=host, result=result))
    record(end={"reason": "exit"})
