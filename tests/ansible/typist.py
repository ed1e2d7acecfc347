"""Somebody at a terminal: reads, and presses keys once the program listens to them."""

import os
import struct
import termios
import time
from contextlib import suppress
from fcntl import ioctl

from waiting import PATIENCE

# How a program reads keys. By the line: the terminal keeps what comes too early.
LINE = {}
# A password: what is typed before the terminal stops to show it is thrown away.
HIDDEN = {termios.ECHO: False}
# Key by key, as `pause` does: what comes before is shown and read in another way, or thrown away.
KEYS = {termios.ICANON: False, termios.ECHO: True}


def converse(terminal, keys):
    """Presses each key when its words have been printed; gives all that was printed.

    Each is a tuple of the words, the key (or the new size of the terminal, or None to close it),
    and how the program reads it unless by the line.
    """
    printed = b""
    for words, key, *mode in keys:
        while words not in printed.replace(b"\r\n", b"\n"):
            printed += os.read(terminal, 65536)
        if key is None:
            os.close(terminal)
            return printed
        await_mode(terminal, *mode or [LINE])
        if isinstance(key, tuple):
            ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *key, 0, 0))
        else:
            os.write(terminal, key)
    with suppress(OSError):  # the other end is closed
        while True:
            printed += os.read(terminal, 65536)
    os.close(terminal)
    return printed


def await_mode(terminal, mode):
    """Waits until the program has set the terminal to it."""
    end = time.monotonic() + PATIENCE
    while any(bool(termios.tcgetattr(terminal)[3] & flag) != on for flag, on in mode.items()):
        assert time.monotonic() < end, "the program does not listen to keys"
        time.sleep(0.01)
    time.sleep(0.3)  # `pause` sets the modes in three steps and then throws away what was typed
