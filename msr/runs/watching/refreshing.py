"""Figures that are drawn again while a run computes, within a small share of its time."""

import time
from collections.abc import Callable

from msr.runs.watching.progress import Progress
from msr.runs.watching.watch import Watcher

__all__ = ["LEAST_SECONDS", "SHARE", "Refreshing"]

SHARE = 0.02
"""The largest share of a run's time that goes into drawing while it computes. Chosen by hand."""
LEAST_SECONDS = 20.0
"""Least seconds between two drawings. Chosen by hand: nobody looks more often, and checkpoints are as far apart."""

# What the first drawing is taken to cost, in seconds, before one was timed: matplotlib is loaded, and finds its fonts.
_FIRST_COST = 1.0


class Refreshing(Watcher):
    """Draws the figures again after a measurement, a checkpoint or the end of an arm.

    What drawing has cost is counted in ``spent``, and it is put off while the next one, taken to cost as much as the
    last, would make that more than :data:`SHARE` of the time since the run began.

    Args:
        draw: writes the figures of what there is.
        clock: gives seconds.
    """

    shows = "the refreshing of figures"

    def __init__(self, draw: Callable[[], object], clock: Callable[[], float] = time.perf_counter):
        self.draw = draw
        self.clock = clock
        self.began = clock()
        self.last = self.began
        self.cost = _FIRST_COST
        self.spent = 0.0
        self.has_news = False

    def measured(self, progress: Progress) -> None:
        """There is something new to draw."""
        self.has_news = True

    def saved(self, progress: Progress) -> None:
        """There is something new to draw."""
        self.has_news = True

    def finished(self, name: str, number: int, count: int) -> None:
        """There is something new to draw; after the last arm the run itself draws."""
        self.has_news = True
        if number < count:
            self._draw_if_due()

    def step(self, progress: Progress) -> None:
        """Draw, if there is something new and it is time. Told after the step is saved, so nothing waits for it."""
        self._draw_if_due()

    def _draw_if_due(self) -> None:
        """Draw, unless there is nothing new, the last drawing was just now, or the share is used up."""
        now = self.clock()
        if not self.has_news or now - self.last < LEAST_SECONDS or self.spent + self.cost > SHARE * (now - self.began):
            return
        self.has_news = False
        self.draw()
        self.last = self.clock()
        self.cost = self.last - now
        self.spent += self.cost
