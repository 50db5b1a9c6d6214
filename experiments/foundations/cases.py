"""A number of the theory beside the same number, computed."""

from typing import Any, NamedTuple

import numpy as np

from msr.runs.folder import Row

__all__ = ["Case", "case"]


class Case(NamedTuple):
    """What was known beforehand, and what came out.

    Attributes:
        what: in words.
        expected: a number, or lists of numbers; computed beforehand by other code.
        computed: the same, by this package.
    """

    what: str
    expected: Any
    computed: Any

    @property
    def right(self) -> bool:
        """Whether both are equal; all numbers are whole."""
        return bool(self.expected == self.computed)

    def as_row(self) -> Row:
        """As JSON holds it."""
        return {**self._asdict(), "right": self.right}


def case(what: str, expected: Any, computed: Any) -> Case:
    """A :class:`Case`, with plain lists and whole numbers in place of arrays and tuples."""
    return Case(what, _plain(expected), _plain(computed))


def _plain(value: Any) -> Any:
    """Numbers and lists of numbers as Python's own."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, bool) else value
