"""A run in a log: a line every so often, and one when a training is over."""

import time
from collections.abc import Callable

from msr.failures import say
from msr.runs.watching.progress import Progress, duration
from msr.runs.watching.watch import Watcher

__all__ = ["Lines"]

_SECONDS = 30.0  # between two lines at first; chosen by hand, so that a log of a minute has one line or two
_GROWTH = 0.1  # of the time since the start is the least time between lines, so a day has some 80 lines, not 2880


class Lines(Watcher):
    """Lines on stderr, half a minute apart at first, and later a tenth of the time since the run began.

    Args:
        clock: gives seconds.
    """

    shows = "the line now and then"
    wants_losses = True

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.began = clock()
        self.last = self.began

    def arm(self, name: str, number: int, count: int) -> None:
        """Say that the arm begins, if a line is due: a runner that trains nothing has no other lines."""
        if self._is_due():
            say(f"{name}: arm {number} of {count} begins, {duration(self.last - self.began)} after the start")

    def step(self, progress: Progress) -> None:
        """Say how far the training is, if a line is due."""
        if self._is_due():
            say(progress.line())

    def end(self, progress: Progress) -> None:
        """Say what was done, if anything was."""
        if progress.has_moved:
            say(progress.last_line())

    def _is_due(self) -> bool:
        """Whether it is time for a line, which is then taken to be shown."""
        now = self.clock()
        if now - self.last < max(_SECONDS, _GROWTH * (now - self.began)):
            return False
        self.last = now
        return True
