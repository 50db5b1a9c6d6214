"""Decision constants as values: documented where they stand, read where they decide, and moved only by studies.

A room that decides keeps one frozen dataclass of its constants, whose fields are made by :func:`threshold`, and one
:class:`Current` of it. Code asks the :class:`Current` at the moment of the decision, so that a study can move a
constant for the length of a ``with`` block and see which answers change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, TypeVar

from msr.errors import ConfigError

__all__ = ["Current", "Meaning", "meanings", "threshold"]

T = TypeVar("T")


@dataclass(frozen=True)
class Meaning:
    """What a reader of a constant needs to know.

    Attributes:
        unit: what the number counts or is a share of.
        reason: why there is a constant at all, and which way is the safe one.
        calibrated: how the value was found; it says so where it was chosen by hand.
    """

    unit: str
    reason: str
    calibrated: str


def threshold(value: Any, *, unit: str, reason: str, calibrated: str) -> Any:
    """A field for a frozen dataclass of thresholds, with ``value`` as default and its :class:`Meaning` as metadata."""
    return field(default=value, metadata={"meaning": Meaning(unit, reason, calibrated)})


def meanings(thresholds: object) -> dict[str, Meaning]:
    """The :class:`Meaning` of each field, by the field's name, of a dataclass of thresholds or of its class."""
    return {one.name: one.metadata["meaning"] for one in fields(thresholds)}  # type: ignore[arg-type]


class Current(Generic[T]):
    """The thresholds that hold now: those of the package, but for what a study has moved.

    Calling it gives the value. What :meth:`moved` changes holds within the ``with`` block, in this thread alone: a
    thread that is started there sees the package's own thresholds.
    """

    def __init__(self, standard: T):
        self.standard = standard
        self._now: ContextVar[T] = ContextVar(type(standard).__name__, default=standard)

    def __call__(self) -> T:
        """The frozen dataclass of thresholds that holds now, in this thread."""
        return self._now.get()

    @contextmanager
    def moved(self, **changes: Any) -> Iterator[T]:
        """A context in which the fields named in ``changes`` have other values; it yields the moved thresholds.

        All other fields keep the values that hold now, so that contexts may be nested.

        Raises: ConfigError for a name that is no field.
        """
        known = {one.name for one in fields(self.standard)}  # type: ignore[arg-type]
        unknown = sorted(changes.keys() - known)
        if unknown:
            raise ConfigError(
                f"{type(self.standard).__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        token = self._now.set(replace(self(), **changes))  # type: ignore[type-var]
        try:
            yield self()
        finally:
            self._now.reset(token)
