"""What the fitting tasks share, as rows of a pattern that can be compared, with their error."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.colours import Rows, aligned, rows_of
from msr.discovery.points import Points
from msr.discovery.prepare import Prepared
from msr.groups.permutations import Indices
from msr.meta import SharedSpan, find_span, in_chunks

__all__ = ["Learned", "View", "learn"]


@dataclass(frozen=True, eq=False)
class View:
    """Rows to cluster; ``labels`` ``(out, in)`` say which may be of one class, or None where any may."""

    rows: Rows
    labels: Indices | None


@dataclass(frozen=True, eq=False)
class Learned:
    """The span of the fitting tasks, and its rows in the units of :func:`~msr.discovery.prepare.prepare`."""

    span: SharedSpan
    rows: Rows

    def views(self, points: Points, data: Prepared) -> list[View]:
        """The rows by which a verdict is reached; and, where coordinates differ in units, those in the units that came.

        Large weights hide the small ones where units differ, so weights of like units are compared first. A group may
        still move one coordinate to another whose numbers happen to be larger.
        """
        if data.labels is None:
            return [View(points.rows(self.rows), None)]
        alike, any_ = points.rows(self.rows), points.rows(self.as_came(data))
        return [View(alike, points.both_signs(data.labels)), View(any_, None)]

    def energy(self, data: Prepared, scale: Tensor) -> NDArray[np.float64]:
        """The share of the outputs' energy, each divided by its ``scale``, from each weight ``(out, in)``."""
        x, _ = data.part("fit")
        sizes = x.square().mean((0, 1)).numpy()[None] / scale.square().numpy()[:, None]
        energy = (self.rows.values**2).sum(1).reshape(sizes.shape) * sizes
        energy[:, -1] = 0  # a bias moves no output
        return np.asarray(energy / energy.sum())

    def as_came(self, data: Prepared) -> Rows:
        """The rows in the units of the tasks as they came, up to one number for all."""
        if data.labels is None:
            return self.rows
        factors = data.factors.reshape(-1, 1)
        return Rows(self.rows.values * factors, self.rows.errors * factors[:, 0], self.rows.shape)


def learn(data: Prepared, k: int | Literal["auto"], seed: int) -> Learned:
    """Fit the span to the fitting tasks, and again to each half of them.

    Raises: DataError where they do not determine it.
    """
    x, y = data.part("fit")
    span = find_span(in_chunks(x, y), k=k, seed=seed)
    values = rows_of(span.U, span.v0)
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        other = find_span(in_chunks(x[part], y[part]), k=span.k, start=span.U, seed=seed)
        halves.append(aligned(rows_of(other.U, other.v0), values))
    # Half of the difference of two halves has the variance of their mean. A single one says little; but the error of a
    # weight is as that of least squares, in which noise of the output and size of the input are factors.
    squares = ((halves[0] - halves[1]) ** 2).sum(1).reshape(data.m, data.n + 1) / 4
    mean = max(float(squares.mean()), 1e-300)
    errors = np.sqrt(squares.mean(1)[:, None] * squares.mean(0)[None] / mean).ravel()
    return Learned(span, Rows(values, errors, (data.m, data.n + 1)))
