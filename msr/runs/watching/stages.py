"""The stages of a computation that has no steps to count, such as a discovery: a status line, or lines in a log."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from msr.failures import say
from msr.runs.watching.progress import duration

__all__ = ["Tell", "stages"]

Tell = Callable[[str, int, int | None], None]
"""Takes the name of a stage, the number of its round from 1, and how many rounds there are at most, or None."""

# Of a log: seconds before the first line and between two lines, and the share of the time so far that lies between them
# at least. As of the lines of a run; an answer that comes sooner has none.
_SECONDS = 30.0
_GROWTH = 0.1
# Columns of a terminal that does not say how many it has.
_WIDTH = 80


@contextlib.contextmanager
def stages(command: str, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> Iterator[Tell]:
    """For the length of the block, a function to be told each stage as it begins, which shows it on stderr.

    On a terminal that is one status line, which is cleared away at the end. Elsewhere it is nothing in the first half
    minute, then a line at most that often. With ``quiet`` it is nothing.

    Args:
        command: whose stages they are, before each of them: ``msr discover``.
        clock: gives seconds.
    """
    began = clock()
    shown = began
    on_terminal = sys.stderr is not None and sys.stderr.isatty()

    def tell(stage: str, number: int, count: int | None) -> None:
        nonlocal shown
        now = clock()
        rounds = "" if count is None else f", split {number} of at most {count}"
        line = f"{command}: {stage}{rounds}"
        if on_terminal:
            _status(line)
        elif now - shown >= max(_SECONDS, _GROWTH * (now - began)):
            shown = now
            say(f"{line}, {duration(now - began)} after the start")

    if quiet:
        yield lambda stage, number, count: None
        return
    try:
        yield tell
    finally:
        if on_terminal:
            _status("")


def _status(line: str) -> None:
    """Put a line in place of the status line on the terminal. One that is closed is no error of its own."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        width = os.get_terminal_size(sys.stderr.fileno()).columns or _WIDTH
        # One column is left free, since some terminals break a line that fills them all.
        sys.stderr.write(f"\r{line[: width - 1]}\x1b[K")
        sys.stderr.flush()
