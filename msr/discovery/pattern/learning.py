"""What some tasks share, as rows of a pattern that can be compared, with their error."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.breaking.pairs import ridge
from msr.discovery.data.tasks import Prepared
from msr.discovery.pattern.action import Points
from msr.discovery.pattern.classes import Rows, aligned, rows_of
from msr.permutations.actions import Indices
from msr.span import SharedSpan, find_span
from msr.span.chunks import Chunks

__all__ = ["Learned", "View", "by_length", "explained", "learn"]


# Examples of the halves of all tasks of one length, for each input.
_TIMES = 2


@dataclass(frozen=True, eq=False)
class View:
    """Rows to cluster; ``labels`` ``(out, in)`` say which may be of one class, or None where any may."""

    rows: Rows
    labels: Indices | None


@dataclass(frozen=True, eq=False)
class Learned:
    """The span of the tasks that teach, and its rows in the units of :func:`~msr.discovery.data.tasks.prepare`."""

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

    def as_came(self, data: Prepared) -> Rows:
        """The rows in the units of the tasks as they came, up to one number for all."""
        if data.labels is None:
            return self.rows
        factors = data.factors.reshape(-1, 1)
        return Rows(self.rows.values * factors, self.rows.errors * factors[:, 0], self.rows.shape)

    def energy(self, second: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of the outputs' energy from each weight ``(out, in)``.

        ``second`` ``(in,)`` are mean squares of the inputs, ``scale`` ``(out,)`` what each output is divided by.
        """
        energy = (self.rows.values**2).sum(1).reshape(self.rows.shape) * second[None] / scale[:, None] ** 2
        return np.asarray(energy / energy.sum())


def learn(
    x: Tensor, y: Tensor, counts: Tensor, k: int | Literal["auto"], seed: int, tasks: Tensor | None = None
) -> Learned:
    """Fit the span to tasks that are centred and end in zeros, and again to each half of them.

    ``tasks`` are the places of those that teach, by default all; no copy of them all is made.

    Raises: DataError where they do not determine it.
    """
    teach = torch.arange(len(x)) if tasks is None else tasks
    span = find_span(by_length(x, y, counts, teach), k=k, seed=seed)
    values = rows_of(span.U, span.v0)
    m, n = y.shape[2], x.shape[2]
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        chunks = by_length(x, y, counts, teach[part])
        other = find_span(chunks, k=span.k, start=span.U, seed=seed)
        halves.append(aligned(rows_of(other.U, other.v0), values))
    # Half of the difference of two halves has the variance of their mean. A single one says little; but the error of a
    # weight is as that of least squares, in which noise of the output and size of the input are factors.
    squares = ((halves[0] - halves[1]) ** 2).sum(1).reshape(m, n) / 4
    mean = max(float(squares.mean()), 1e-300)
    errors = np.sqrt(squares.mean(1)[:, None] * squares.mean(0)[None] / mean).ravel()
    return Learned(span, Rows(values, errors, (m, n)))


def by_length(x: Tensor, y: Tensor, counts: Tensor, tasks: Tensor | None = None, size: int = 500) -> Chunks:
    """Passes over tasks of unequal length: those of one number of examples together, without the zeros past it.

    ``tasks`` are the places of those that are passed over, in this order; by default all.

    Tasks of a length that few have, too few for their halves to show every input, are left out, unless all are such.
    """
    every = torch.arange(len(x)) if tasks is None else tasks
    own = counts[every]
    lengths, tasks_of = torch.unique(own, return_counts=True)
    plenty = lengths[tasks_of * (lengths // 2) >= _TIMES * x.shape[2]].tolist() or lengths.tolist()

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        for length in plenty:
            for some in every[own == length].split(size):
                yield x[some, :length], y[some, :length]

    return one_pass


def explained(span: SharedSpan, x: Tensor, y: Tensor, tasks: Tensor | None = None) -> float:
    """The share of the squared outputs that a span explains of other tasks, or of some of them, each with a filter."""
    m, n, k = y.shape[2], x.shape[2], span.k
    by_input = span.U.view(m, n, k).permute(1, 0, 2).reshape(n, m * k)
    left = energy = 0.0
    for some in (torch.arange(len(x)) if tasks is None else tasks).split(64):
        X, Y = x[some], y[some]
        features = (X.flatten(0, 1) @ by_input).view(len(X), -1, k)
        rest = Y.flatten(1) - features @ span.v0
        normal = features.mT @ features
        penalty = max(span.noise, 1e-12 * float(normal.diagonal(dim1=1, dim2=2).mean()))
        step = ridge(normal, (features.mT @ rest.unsqueeze(2)).squeeze(2), penalty)
        left += float((rest - (features @ step.unsqueeze(2)).squeeze(2)).square().sum())
        energy += float(Y.square().sum())
    return 1 - left / energy
