"""A terminal of a test: a real pseudo-terminal in the place of stderr, and what a person would see on it."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator

__all__ = ["WIDTH", "Screen", "screen"]

WIDTH = 120


class Screen:
    """What was written to a terminal: ``text`` as it came, once the block of :func:`screen` is left."""

    def __init__(self) -> None:
        self.text = ""

    def shown(self) -> list[str]:
        """The lines that are on the screen in the end, without those that are empty."""
        lines = [""]
        row = column = 0
        for part in re.findall(r"\x1b\[[AK]|.|\n|\r", self.text):
            if part == "\x1b[A":
                row = max(row - 1, 0)
            elif part == "\x1b[K":
                lines[row] = lines[row][:column]
            elif part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            else:
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines if line.strip()]


@contextlib.contextmanager
def screen() -> Iterator[Screen]:
    """A terminal of 120 columns in the place of ``sys.stderr`` for the length of the block."""
    seen = Screen()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    chunks: list[bytes] = []

    def read() -> None:
        # Reading fails once the other end is closed.
        with contextlib.suppress(OSError):
            while chunk := os.read(master, 65536):
                chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    before = sys.stderr
    try:
        with os.fdopen(slave, "w", encoding="utf-8") as sys.stderr:
            yield seen
    finally:
        sys.stderr = before
        reader.join()
        os.close(master)
        seen.text = b"".join(chunks).decode()
