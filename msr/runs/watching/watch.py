"""What a run tells of itself while it computes, and who hears it."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence

import torch

from msr.errors import kind_and_line
from msr.failures import one_line, say
from msr.runs.watching.progress import Progress

__all__ = ["Watch", "Watcher"]

# Seconds between two readings of a loss, which wait for the device that computes it. Chosen by hand: a reading costs at
# most the rest of one step, and so a small part of half a second of steps.
_SECONDS_PER_LOSS = 0.5


class Watcher:
    """Looks on while the arms of a run are computed. This one shows nothing: others override what they need."""

    shows = "nothing"
    """What is shown, for the line that says why it is not shown any more."""
    wants_losses = False
    """Whether the loss is to be read while training, and not only where a value is measured."""

    def arm(self, name: str, number: int, count: int) -> None:
        """An arm begins, the one of this number among ``count``, counted from 1."""

    def finished(self, name: str, number: int, count: int) -> None:
        """That arm has its row."""

    def start(self, progress: Progress) -> None:
        """A training begins, or goes on where a checkpoint left it: an arm's, or that of a part of an arm."""

    def step(self, progress: Progress) -> None:
        """A step was taken; or steps were taken back, and then fewer are done than before."""

    def measured(self, progress: Progress) -> None:
        """The loss was read, and a value measured, at the step at hand."""

    def saved(self, progress: Progress) -> None:
        """The state at the step at hand is on the disk."""

    def end(self, progress: Progress) -> None:
        """The training is over."""

    def close(self) -> None:
        """The run is over, or was stopped: nothing more will be told."""


class Watch:
    """Passes on to watchers what a run tells; with none of them, which is the default, the run is watched by nobody.

    A watcher that fails is said to, once, and hears nothing more: it never ends the run.

    Args:
        watchers: who hears it, in this order.
        measures: what the values are that are measured while an arm trains, in words.
    """

    def __init__(self, watchers: Sequence[Watcher] = (), measures: str = "test value"):
        self.watchers = list(watchers)
        self.measures = measures
        self._place = ""
        self._progress: Progress | None = None
        self._read_at = -math.inf

    def arm(self, name: str, number: int, count: int) -> None:
        """As :meth:`Watcher.arm`."""
        self._place = f"arm {number} of {count}" if count > 1 else ""
        self._tell(lambda watcher: watcher.arm(name, number, count))

    def finished(self, name: str, number: int, count: int) -> None:
        """As :meth:`Watcher.finished`."""
        self._tell(lambda watcher: watcher.finished(name, number, count))

    def start(self, what: str, done: int, total: int | None, *, share: float | None = None) -> None:
        """The training of ``what`` begins, with ``done`` outer steps done of ``total``.

        Args:
            total: None where time bounds the training.
            share: the share of that time that is used up, from 0 to 1.
        """
        progress = Progress(what, done, total, _share(done, total, share), self.measures, self._place)
        self._progress = progress
        self._read_at = -math.inf
        self._tell(lambda watcher: watcher.start(progress))

    def step(self, done: int, losses: torch.Tensor | None, *, share: float | None = None) -> None:
        """A step was taken, and then ``done`` are done; ``losses (tasks,)`` are its own, None if it failed."""
        progress = self._progress
        if progress is None or not self.watchers:
            return
        if done < progress.done:
            # What was read and measured is of steps that were taken back.
            progress.loss = progress.loss_at = progress.value = None
        progress.done = done
        progress.share = _share(done, progress.total, share)
        now = time.perf_counter()
        is_due = now - self._read_at >= _SECONDS_PER_LOSS and any(watcher.wants_losses for watcher in self.watchers)
        if losses is not None and is_due:
            self._read(progress, float(losses.mean()))
        self._tell(lambda watcher: watcher.step(progress))

    def measured(self, done: int, loss: float, value: float | None) -> None:
        """The mean loss of the step that made ``done``, and the value measured after it; None: none, or not finite."""
        progress = self._progress
        if progress is None:
            return
        progress.done = done
        progress.value = value
        self._read(progress, loss)
        self._tell(lambda watcher: watcher.measured(progress))

    def saved(self) -> None:
        """The state of the training at hand is on the disk."""
        progress = self._progress
        if progress is not None:
            self._tell(lambda watcher: watcher.saved(progress))

    def end(self) -> None:
        """The training at hand is over."""
        progress = self._progress
        if progress is not None:
            self._tell(lambda watcher: watcher.end(progress))
        self._progress = None

    def close(self) -> None:
        """The run is over: the watchers put away what they opened."""
        self._tell(lambda watcher: watcher.close())
        self.watchers.clear()

    def _read(self, progress: Progress, loss: float) -> None:
        """Take a loss that was read into the progress, unless it is not finite."""
        self._read_at = time.perf_counter()
        if math.isfinite(loss):
            progress.loss = loss
            progress.loss_at = progress.done

    def _tell(self, call: Callable[[Watcher], None]) -> None:
        """Call every watcher, and keep those that did not fail."""
        self.watchers = [watcher for watcher in self.watchers if _goes_on(watcher, call)]


def _goes_on(watcher: Watcher, call: Callable[[Watcher], None]) -> bool:
    """Call a watcher, and tell whether that went well; one that raises is closed, with a line on stderr."""
    try:
        call(watcher)
        return True
    except Exception as error:
        # What only shows a run must not end it, whatever a library or a disk does.
        with contextlib.suppress(Exception):
            watcher.close()
        say(one_line(f"warning: {watcher.shows} ends here ({kind_and_line(error)}); the run goes on"))
        return False


def _share(done: int, total: int | None, share: float | None) -> float | None:
    """The share of the whole that is done: as given, else that of the steps; None where neither is known."""
    if share is not None:
        return min(max(share, 0.0), 1.0)
    return None if total is None else min(done / max(total, 1), 1.0)
