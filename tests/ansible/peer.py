#!/usr/bin/env python3
"""Stands in for the binary: speaks the protocol, and keeps the lines that it was sent.

What it does otherwise is told in environment variables:
  PEER_LINES       the file that the lines go to, after one {"start": …} line for each start
  PEER_DIE_AFTER   dies after so many events, counted in each process, without saying `safe`
  PEER_DEATHS      how many processes die of that; the default is one
  PEER_KILLED      how many processes are killed before they say anything
  PEER_NEVER_READ  never reads and never answers
  PEER_EXIT        says so on standard error and exits with this code at once
  PEER_LAST_EXIT   exits with this code at the end
  PEER_NEVER_SAFE  confirms nothing
  PEER_SLOW_EXIT   stays so many seconds after the end
  PEER_SILENT      reads, but is never ready
  PEER_VERSION     the version that it names with --version, and when it is ready
  PEER_SAYS        a file with what it writes to standard output when it is ready
  PEER_WARNS       a file with what it writes to standard error when it is ready, and at the end
  PEER_FLOODS      writes to its standard output without end, and does nothing else
  PEER_DEAF        how many processes close their pipes when they are ready, and stay
  PEER_PROTOCOL    the version of the protocol that it claims to speak; the default is 1
"""

import json
import os
import signal
import sys
import time

lines = open(os.environ["PEER_LINES"], "a", encoding="utf-8")  # noqa: SIM115 - until the end


def keep(line):
    lines.write(line)
    lines.flush()


def say(answer):
    print(json.dumps(answer), flush=True)


def earlier_starts():
    with open(os.environ["PEER_LINES"], encoding="utf-8") as written:
        return sum(line.startswith('{"start"') for line in written)


def copy(variable, output):
    """Writes the file that the variable names."""
    if variable in os.environ:
        with open(os.environ[variable], "rb") as file:
            output.buffer.write(file.read())
        output.flush()


def flood():
    try:
        while True:
            os.write(1, b"0123456789abcdef" * 4096)
    except BrokenPipeError:
        sys.exit(1)


def turn_deaf():
    os.close(0)
    os.close(1)
    time.sleep(60)


def serve(die_after, is_deaf):
    """Reads to the end; True if the end was said."""
    events = last = 0
    for raw in sys.stdin.buffer:
        # The plugin promises strict UTF-8 JSON: anything else ends this process, and the test.
        line = raw.decode("utf-8")
        content = json.loads(line, parse_constant=lambda name: sys.exit("not JSON: " + name))
        event = content.get("event") or content.get("runner")
        if event:
            events += 1
            if events > die_after:
                os._exit(9)
        keep(line)
        if "hello" in content and "PEER_SILENT" not in os.environ:
            ready = {"protocol": int(os.environ.get("PEER_PROTOCOL", 1)), "drain": 1.0}
            if "PEER_VERSION" in os.environ:
                ready["version"] = os.environ["PEER_VERSION"]
            copy("PEER_SAYS", sys.stdout)
            copy("PEER_WARNS", sys.stderr)
            say({"ready": ready})
            if is_deaf:
                turn_deaf()
        if event:
            last = event["seq"]
        if "end" in content:
            copy("PEER_WARNS", sys.stderr)
        # Answers come late and not for each, as they do where commits are gathered.
        is_due = event and events % 5 == 0 and events + 5 < die_after
        if (is_due or "end" in content) and "PEER_NEVER_SAFE" not in os.environ:
            say({"safe": last})
        if "end" in content:
            return True
    return False


def main():
    if sys.argv[1:] == ["--version"]:
        print("ansible-notify %s" % os.environ["PEER_VERSION"])
        sys.exit()
    deaths = earlier_starts()
    start = {
        "argv": sys.argv[1:],
        "environment": str(os.environ),
        "pid": os.getpid(),
        "session": os.getsid(0),
    }
    keep(json.dumps({"start": start}) + "\n")
    if deaths < int(os.environ.get("PEER_KILLED", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    if "PEER_EXIT" in os.environ:
        print("peer: the configuration cannot be used", file=sys.stderr)
        sys.exit(int(os.environ["PEER_EXIT"]))
    if "PEER_NEVER_READ" in os.environ:
        time.sleep(200)
    if "PEER_FLOODS" in os.environ:
        flood()
    die_after = float("inf")
    if deaths < int(os.environ.get("PEER_DEATHS", 1)):
        die_after = float(os.environ.get("PEER_DIE_AFTER", "inf"))
    ended = serve(die_after, deaths < int(os.environ.get("PEER_DEAF", 0)))
    eof = {"ended": ended, "time": time.time(), "scheduler": os.sched_getscheduler(0)}
    keep(json.dumps({"eof": eof}) + "\n")
    time.sleep(float(os.environ.get("PEER_SLOW_EXIT", 0)))
    sys.exit(int(os.environ.get("PEER_LAST_EXIT", 0)))


if __name__ == "__main__":
    main()
