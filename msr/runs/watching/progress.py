"""How far a training is, as a value: what all that look on show of it."""

import time
from dataclasses import dataclass, field

__all__ = ["Progress", "duration"]


@dataclass
class Progress:
    """How far the training of ``what`` is.

    Attributes:
        what: the name of the arm, or of a part of it that is trained by itself.
        done: outer steps that are done, those before this start of the run included.
        total: outer steps in all; None where it is time that bounds them.
        share: the share of the whole that is done, from 0 to 1; None where it is not known.
        measures: what the measured value is, in words: ``accuracy``.
        place: the arm's place in the run, ``arm 2 of 8``; empty for a single one.
        loss: the mean loss of the step ``loss_at``, the newest that was read; None before there is one.
        value: the newest measured value; None before there is one, and where it was not finite.
    """

    what: str
    done: int
    total: int | None
    share: float | None
    measures: str
    place: str = ""
    loss: float | None = None
    loss_at: int | None = None
    value: float | None = None
    _began: float = field(default_factory=time.perf_counter)
    _first: int = field(init=False)
    _first_share: float = field(init=False)

    def __post_init__(self) -> None:
        self._first = self.done
        self._first_share = self.share or 0.0

    @property
    def seconds(self) -> float:
        """Seconds since this start of the training, measurements included."""
        return time.perf_counter() - self._began

    @property
    def has_moved(self) -> bool:
        """Whether any step was taken in this start of the training; one that was whole already takes none."""
        return self.done != self._first

    @property
    def rate(self) -> float:
        """Outer steps a second in this start of the training; 0 before the first."""
        return max(self.done - self._first, 0) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds that are left if it goes on as it did in this start; None where that is not known."""
        if self.share is None or self.share <= self._first_share:
            return None
        return self.seconds * (1 - self.share) / (self.share - self._first_share)

    def numbers(self) -> list[str]:
        """The newest loss and measured value, each after its name; those that are not known are left out."""
        named = {"loss": self.loss, self.measures: self.value}
        return [f"{name} {value:.3g}" for name, value in named.items() if value is not None]

    def line(self) -> str:
        """All that is known as one line: steps, rate, loss, measured value and time left."""
        steps = f"{self.done} outer steps" if self.total is None else f"{self.done} of {self.total} outer steps"
        percent = f"{100 * self.share:.0f}%" if self.share is not None and self.total is None else ""
        left = "" if self.left is None else f"{duration(self.left)} left"
        parts = [self.place, percent, steps, f"{self.rate:.3g} a second" if self.rate else "", *self.numbers(), left]
        return f"{self.what}: " + ", ".join(part for part in parts if part)

    def last_line(self) -> str:
        """What was done in this start of the training, when it is over."""
        return f"{self.what}: " + ", ".join([f"{self.done} outer steps in {self.seconds:.1f} s", *self.numbers()])


def duration(seconds: float) -> str:
    """A time in words, in the two largest of its units: ``8 s``, ``3 min 20 s``, ``2 h 5 min``, ``4 d 3 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, seconds_left = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {seconds_left} s"
