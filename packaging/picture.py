#!/usr/bin/env python3
"""Draws what `ansible-notify demo` shows on a terminal: docs/pictures/demo.svg.

target/venvs/docs/bin/python packaging/picture.py BINARY FILE
"""

import argparse
import io
import os
import re
import subprocess
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

WIDTH = 100
# The part of it that fits on a page.
FIRST, BEHIND = "What the services got:", "$ ansible-notify runs last"
# The font of the reader's system: a picture loads nothing.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def shown(binary):
    """Output of the demo on a terminal with colours, from one line to another."""
    environment = dict(os.environ, CLICOLOR_FORCE="1", TERM="xterm-256color")
    command = [binary.resolve(), "demo"]
    ran = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    [summary] = [line for line in ran.stdout.splitlines() if line.startswith("ansible-notify: ")]
    part = ran.stdout[ran.stdout.index(FIRST) : ran.stdout.index(BEHIND)]
    # Each of the two begins in the colour that is switched on before it.
    text, _, colour = part.rpartition("\n")
    return "$ ansible-notify demo\n…\n%s\n\n%s%s" % (summary, colour, text.rstrip())


def draw(text):
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in text.splitlines():
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ellipsis")
    return console.export_svg(title="ansible-notify", code_format=FORMAT, unique_id="demo")


def main():
    parser = argparse.ArgumentParser(description="Draw the demo.")
    parser.add_argument("binary", type=Path)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    arguments.file.write_text(draw(shown(arguments.binary)), encoding="utf-8")


if __name__ == "__main__":
    main()
