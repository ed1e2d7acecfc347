#!/usr/bin/env python3
"""Does its worst to the program, and checks that nothing that it answered for is lost.

    python3 tests/torture/run.py BINARY [--smoke] [--seed N] [TORTURE...]

Each torture has an endpoint and a spool of its own. At the end of each, without faults: every event
that was answered as safe has arrived with its content, none has arrived that nobody sent, the
numbers add up, the file is sound, and a fresh event passes. The seed makes the same choices again;
what the machine does with them is its own.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import chain
import crowd
import damage
import floods
import full
import kills
import mutate
import order
import plays
import power
import relay
import stops

# How much of each: the whole, and a smoke of it.
TORTURES = {
    # First: a child counts the memory of the process that starts it as its own.
    "mutate": (mutate.run, 100_000, 600),
    "kills": (kills.run, 1000, 40),
    "relay": (relay.run, 1000, 40),
    "chain": (chain.run, 1000, 30),
    "power": (power.run, 200, 12),
    "plays": (plays.run, 20, 1),
    "crowd": (crowd.run, 1000, 48),
    "order": (order.run, 100_000, 2000),
    "floods": (floods.run, 2000, 100),
    "damage": (damage.run, 2000, 30),
    "stops": (stops.run, 2000, 30),
    "full": (full.run, 40, 3),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("tortures", nargs="*", default=list(TORTURES), metavar="torture")
    parser.add_argument("--smoke", action="store_true", help="a little of each")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    print("seed %d" % arguments.seed, flush=True)
    failed = False
    for name in arguments.tortures:
        run, whole, smoke = TORTURES[name]
        with tempfile.TemporaryDirectory() as directory:
            amount = smoke if arguments.smoke else whole
            wrong, said = run(arguments.binary, Path(directory), arguments.seed, amount)
        print("%s: %s" % (name, said), flush=True)
        for text in wrong:
            print("%s: %s" % (name, text), file=sys.stderr)
        failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
