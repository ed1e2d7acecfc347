"""How the cost of an event grows: with the events of a run, with its hosts, with what waits."""

import os
import re
import shutil

from binary import streamed
from endpoint import DEAD, nginx
from measure import compare, median, ratio, timed
from plot import line_plot

# What a spool that is to hold a million events may take.
ROOMY = "[delivery]\ndrain = %s\nmax_size = 4GiB\n"


def config(bench, name, url, drain):
    text = "[inputs]\ncallback_url = %s\n%s" % (url, ROOMY % drain)
    return bench.write(name, text + "[outputs]\nstate = state\nhost = host\n")


class Streams:
    """Runs of `stream`, each with events of its own."""

    def __init__(self, bench, url, drain):
        self.bench = bench
        self.config = config(bench, "growth-%s.ini" % drain, url, drain)
        self.runs = 0

    def run(self, count, hosts=16, state=None):
        """Microseconds of wall time and of CPU for each event, and the peak resident memory."""
        self.runs += 1
        folder = state or self.bench.directory / "growth-state"
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)
        name = "growth-%d-%d" % (os.getpid(), self.runs)
        measured, said = streamed(self.bench, self.config, count, name, folder, hosts=hosts)
        found = re.search(r"\d+ events, (\d+) deliveries: ", said)
        taken = int(found[1]) if found and " dead" not in said else 0
        assert taken == count, said
        wall, cpu, memory = measured
        return wall / count * 1e6, cpu / count * 1e6, memory


def events_and_hosts(bench):
    counts = [1_000, 10_000] if bench.quick else [1_000, 10_000, 100_000, 1_000_000]
    hosts = [1, 4, 16, 64]
    with nginx(bench) as url:
        streams = Streams(bench, url, "600s")
        streams.run(1_000)
        grown = {count: streams.run(count) for count in counts}
        beside = {number: streams.run(2_000 if bench.quick else 20_000, number) for number in hosts}
    print("One POST for each event, to nginx on loopback; every event goes through the spool.\n")
    for title, name, measured in (
        ("events of 16 hosts", "growth-events", grown),
        ("parallel hosts", "growth-hosts", beside),
    ):
        print("| %s | wall µs per event | CPU µs per event | peak MiB |" % title)
        print("|---|---|---|---|")
        for number, figures in measured.items():
            print("| {:,} | {:.0f} | {:.0f} | {:.1f} |".format(number, *figures))
        print()
        plot(bench, name, "Time per event", title, measured)


def plot(bench, name, title, across, measured):
    series = {
        "wall time": [(number, figures[0]) for number, figures in measured.items()],
        "CPU": [(number, figures[1]) for number, figures in measured.items()],
    }
    bench.report.plot(name, line_plot(title, across, "µs per event", series))


def waiting(bench):
    """What waits in the spool must not matter to what comes in."""
    sizes = [10_000] if bench.quick else [10_000, 100_000, 1_000_000]
    rounds = 3 if bench.quick else 9
    streams = Streams(bench, DEAD, "0")
    send = config(bench, "send.ini", DEAD, "0")
    full, empty = bench.directory / "full", bench.directory / "empty"
    event = bench.write("event.json", '{"state": "success", "host": "h", "task": "t"}')
    command = [bench.binary, "send", "--quiet", "--config", send, event]

    def one(folder):
        # It is kept for later, and says so.
        done = timed(command, (0, 75), env=dict(os.environ, XDG_STATE_HOME=str(folder)))
        return done[0] * 1e3

    def accept(folder):
        return streams.run(2_000, state=folder)[0]

    def emptied(measure):
        shutil.rmtree(empty, ignore_errors=True)
        one(empty)
        return measure(empty)

    # What is measured waits, too.
    heads = ("pending, at least", "`send` ms", "to an empty spool")
    print("| %s | %s | %s | accept µs per event | to an empty spool |" % heads)
    print("|---|---|---|---|---|")
    held, curve = 0, {"accept": [], "accept, empty spool": []}
    for size in sizes:
        streams.run(size - held, state=full)
        held = size
        # What was just written is not to be written back while others are measured.
        os.sync()
        starts = compare(rounds, full=lambda: one(full), empty=lambda: emptied(one))
        accepts = compare(rounds, full=lambda: accept(full), empty=lambda: emptied(accept))
        figures = (size, median(starts["full"]), ratio(starts["full"], starts["empty"]))
        figures += (median(accepts["full"]), ratio(accepts["full"], accepts["empty"]))
        print("| {:,} | {:.1f} | {} | {:.0f} | {} |".format(*figures))
        curve["accept"].append((size, median(accepts["full"])))
        curve["accept, empty spool"].append((size, median(accepts["empty"])))
    svg = line_plot("Time to accept an event", "pending events", "µs per event", curve)
    bench.report.plot("growth-waiting", svg)
