"""A run does not end because nobody listens: what cannot be printed is dropped, and what was lost is known."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from msr.failures import silence

__all__ = ["Guard", "guarded"]


class Guard(io.TextIOBase):
    """Passes text on to a stream until that fails, and remembers that it did."""

    def __init__(self, stream: Any):
        self.stream, self.lost = stream, stream is None

    def write(self, text: str) -> int:
        """Text that the stream's encoding does not have is written with escapes."""
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
        """As :meth:`write`, for what is still in memory."""
        if not self.lost:
            try:
                self.stream.flush()
            except (OSError, ValueError):
                self.lost = True

    def isatty(self) -> bool:
        """Whether a person looks on, who is shown a moving bar."""
        try:
            return not self.lost and self.stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """The stream's own; raises OSError where there is none."""
        if self.stream is None:
            raise OSError("the stream is closed")
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own."""
        return getattr(self.stream, "encoding", None) or "utf-8"


@contextlib.contextmanager
def guarded() -> Iterator[Guard]:
    """Guard stdout and stderr; gives the guard of stdout, where the results are shown."""
    held = _low_descriptors()
    before = sys.stdout, sys.stderr
    guards = Guard(sys.stdout), Guard(sys.stderr)
    sys.stdout, sys.stderr = guards
    try:
        yield guards[0]
    finally:
        for guard in guards:
            guard.flush()
            if guard.lost:
                silence(guard.stream)
        sys.stdout, sys.stderr = before
        for descriptor in held:
            os.close(descriptor)


def _low_descriptors() -> list[int]:
    """Fill 0, 1 and 2 where they are closed: a file that got one of them would receive what libraries print."""
    held = []
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        held.append(descriptor)
    os.close(descriptor)
    return held
