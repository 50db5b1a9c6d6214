"""Where the rows of a table are drawn: in two coordinates, and only some of them where there are many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msr.printable import printable
from msr.report.markup.blocks import count

__all__ = ["MOST_ROWS", "Places", "places_of"]

MOST_ROWS = 400
"""Rows that are drawn: more would hide each other. Chosen by eye."""
_LONGEST = 26
"""Characters of the name of a column along an axis; chosen by eye."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where rows are drawn.

    Attributes:
        rows: the places in the table of the rows that are drawn, of those that were looked at.
        across: ``(rows,)``, from left to right.
        up: ``(rows,)``, from the bottom up; None where the value of the function is to be drawn there.
        names: of the two axes.
        says: what the coordinates are, as a sentence.
    """

    rows: NDArray[np.int64]
    across: NDArray[np.float64]
    up: NDArray[np.float64] | None
    names: tuple[str, str]
    says: str


def places_of(values: NDArray[np.float64], names: Sequence[str]) -> Places:
    """Where each row ``(n, p)`` of a table is drawn: along its columns, or principal components if it has above two.

    With a single column the other coordinate is left to the function. Rows are thinned evenly to :data:`MOST_ROWS`.
    """
    n, p = values.shape
    rows = np.arange(n) if n <= MOST_ROWS else np.linspace(0, n - 1, MOST_ROWS).round().astype(np.int64)
    if p == 1:
        says = f"Each point is a row: from left to right {printable(names[0])}, upwards the function."
        return Places(rows, values[rows, 0], None, (_short(names[0]), "function"), says)
    if p == 2:
        says = f"Each point is a row: from left to right {printable(names[0])}, upwards {printable(names[1])}."
        says += " Columns of numbers are standardised."
        return Places(rows, values[rows, 0], values[rows, 1], (_short(names[0]), _short(names[1])), says)
    centred = values - values.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    shares = sizes**2 / (float((sizes**2).sum()) or 1.0)
    first, second = (_share(float(share)) for share in shares[:2])
    says = (
        f"Each point is a row. The coordinates are the first two principal components of the {count(p, 'column')}: "
        f"they show {first} and {second} of the variance, and what lies in the others is not seen."
    )
    drawn = left[rows, :2] * sizes[:2]
    named = (f"1st principal component ({first})", f"2nd ({second})")
    return Places(rows, drawn[:, 0], drawn[:, 1], named, says)


def _share(share: float) -> str:
    """A share in per cent, which is not written as nothing where it is something."""
    return f"{share:.0%}" if share >= 0.005 or share < 1e-9 else "less than 1%"


def _short(name: str) -> str:
    """The name of a column that fits along an axis."""
    shown = printable(name, 10 * _LONGEST)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
