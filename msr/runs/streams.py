"""Standard streams that may fail: a run goes on when its output cannot be printed, and knows that text was lost."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from msr.failures import silence

__all__ = ["Guard", "guarded"]


class Guard(io.TextIOBase):
    """Passes text on to a stream until writing fails, and remembers in ``lost`` that it did."""

    def __init__(self, stream: Any):
        self.stream = stream
        self.lost = stream is None

    def write(self, text: str) -> int:
        """Write text, unless writing has failed before, and return its length in any case.

        Text with characters that the stream's encoding lacks is written in ASCII, with escapes.
        """
        if not self.lost:
            try:
                try:
                    self.stream.write(text)
                except UnicodeEncodeError:
                    self.stream.write(text.encode("ascii", "backslashreplace").decode())
            except (OSError, ValueError):  # ValueError: the stream was closed
                self.lost = True
        return len(text)

    def flush(self) -> None:
        """Flush the stream, and remember a failure as :meth:`write` does."""
        if not self.lost:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                self.lost = True

    def isatty(self) -> bool:
        """Whether the stream is a terminal, on which a moving bar can be shown."""
        try:
            return not self.lost and self.stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """The descriptor of the stream. Raises: OSError where there is no stream."""
        if self.stream is None:
            raise OSError("the stream is closed")
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream, UTF-8 where it has none."""
        return getattr(self.stream, "encoding", None) or "utf-8"


@contextlib.contextmanager
def guarded() -> Iterator[Guard]:
    """Guard stdout and stderr for the length of the block; gives the guard of stdout, where the results are shown."""
    opened = _low_descriptors()
    before = (sys.stdout, sys.stderr)
    guards = (Guard(sys.stdout), Guard(sys.stderr))
    sys.stdout, sys.stderr = guards
    try:
        yield guards[0]
    finally:
        for guard in guards:
            guard.flush()
            if guard.lost:
                silence(guard.stream)
        sys.stdout, sys.stderr = before
        for descriptor in opened:
            os.close(descriptor)


def _low_descriptors() -> list[int]:
    """Open each of the descriptors 0, 1 and 2 that is closed, on the null device; returns those that were opened.

    A file that was given one of these numbers would receive what libraries print.
    """
    opened = []
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        opened.append(descriptor)
    os.close(descriptor)
    return opened
