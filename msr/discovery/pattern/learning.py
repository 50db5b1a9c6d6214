"""The pattern: what the teaching tasks share, as one row of numbers for each weight, with the error of each row."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.breaking.moments import ridge
from msr.discovery.data.tasks import Prepared
from msr.discovery.pattern.action import Points
from msr.discovery.pattern.classes import Rows, aligned, rows_of
from msr.discovery.thresholds import THRESHOLDS
from msr.permutations import Indices
from msr.span import SharedSpan, find_span
from msr.span.chunks import Chunks

__all__ = ["Learned", "View", "by_length", "explained", "learn"]

_AT_ONCE = 64
"""Tasks that are held at once while the explained share is computed. A limit of memory, not a decision."""


@dataclass(frozen=True, eq=False)
class View:
    """Rows to cluster, in one choice of units.

    Attributes:
        rows: of all weights between points.
        labels: ``(lines, columns)``; only weights with equal labels may be in one class. None where any two may.
    """

    rows: Rows
    labels: Indices | None


@dataclass(frozen=True, eq=False)
class Learned:
    """The pattern learned from some tasks: a span of weights, and a row of numbers for each weight.

    Attributes:
        span: the fitted span, ``vec(W) = U v``, in the units of :func:`~msr.discovery.data.tasks.prepare`.
        rows: the row of each weight ``(m, n)`` with its error, in the same units.
    """

    span: SharedSpan
    rows: Rows

    def views(self, points: Points, data: Prepared) -> list[View]:
        """The rows of weights between points, to be clustered: one view, or two where coordinates have different units.

        Where units differ, large weights would hide the differences of small ones, so the first view compares only
        weights between coordinates of like units. A group may still exchange coordinates whose numbers differ in size;
        the second view compares all weights in the original units.
        """
        if data.labels is None:
            return [View(points.rows(self.rows), None)]
        like_units = View(points.rows(self.rows), points.both_signs(data.labels))
        original_units = View(points.rows(self.in_original_units(data)), None)
        return [like_units, original_units]

    def in_original_units(self, data: Prepared) -> Rows:
        """The rows with their errors, in the units in which the caller gave the tasks.

        Where all inputs have one unit and all outputs have one, the rows are returned as they are: those in original
        units would differ from them by one common factor.
        """
        if data.labels is None:
            return self.rows
        factors = data.factors.reshape(-1, 1)
        return Rows(self.rows.values * factors, self.rows.errors * factors[:, 0], self.rows.shape)

    def energy(self, second: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of the outputs' energy that each weight produces, ``(out, in)``; the shares add up to 1.

        Args:
            second: ``(in,)``, mean squares of the inputs.
            scale: ``(out,)``, what each output is divided by, so that all outputs count alike.
        """
        energy = (self.rows.values**2).sum(1).reshape(self.rows.shape) * second[None] / scale[:, None] ** 2
        return np.asarray(energy / energy.sum())


def learn(
    x: Tensor, y: Tensor, counts: Tensor, k: int | Literal["auto"], seed: int, tasks: Tensor | None = None
) -> Learned:
    """The pattern of the teaching tasks; the errors come from a second and a third fit, to halves of these tasks.

    ``k`` is the dimension of the span, and ``seed`` that of the fits.

    Shapes: ``x (tasks, examples, n)``, ``y (tasks, examples, m)``, centred in each task and zero past ``counts
    (tasks,)``. ``tasks`` are the places of those that teach, by default all; the others are not read.

    Raises: DataError where the tasks do not determine the span.
    """
    teach = torch.arange(len(x)) if tasks is None else tasks
    span = find_span(by_length(x, y, counts, teach), k=k, seed=seed, stability=False)
    values = rows_of(span.U, span.v0)
    m = y.shape[2]
    n = x.shape[2]
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        chunks = by_length(x, y, counts, teach[part])
        # Started from the whole fit, so that a half differs from it by its data and not by another local minimum.
        other = find_span(chunks, k=span.k, start=span.U, seed=seed)
        halves.append(aligned(rows_of(other.U, other.v0), values))
    # A quarter of the squared difference of the two halves estimates the variance of their mean.
    squares = ((halves[0] - halves[1]) ** 2).sum(1).reshape(m, n) / 4
    # One squared difference is too noisy to be used for its weight alone. In least squares the variance of a weight is
    # (noise of the output) × (1 / size of the input), so the means over rows and columns are multiplied instead.
    mean = max(float(squares.mean()), 1e-300)
    errors = np.sqrt(squares.mean(1)[:, None] * squares.mean(0)[None] / mean).ravel()
    return Learned(span, Rows(values, errors, (m, n)))


def by_length(x: Tensor, y: Tensor, counts: Tensor, tasks: Tensor | None = None, size: int = 500) -> Chunks:
    """Passes over tasks of unequal length, for :func:`~msr.span.find_span`: chunks of tasks with one length each.

    A chunk ends where its tasks do, without the zeros past their counts, and has at most ``size`` tasks. Tasks of a
    rare length are skipped: one half of each task of that length, all together, must hold at least two examples an
    input (``half_examples_per_input``), or the fit of all would stop. If every length is rare, none is skipped.

    Args:
        tasks: places of the tasks that are passed over, by default all: the shortest first, and in this order among
            tasks of one length.
    """
    every = torch.arange(len(x)) if tasks is None else tasks
    own_counts = counts[every]
    lengths, tasks_of = torch.unique(own_counts, return_counts=True)
    enough = tasks_of * (lengths // 2) >= THRESHOLDS().half_examples_per_input * x.shape[2]
    common_lengths = lengths[enough].tolist() or lengths.tolist()

    def one_pass() -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the chunks: ``(tasks, length, n)`` and ``(tasks, length, m)``, lengths in increasing order."""
        for length in common_lengths:
            for chunk in every[own_counts == length].split(size):
                yield x[chunk, :length], y[chunk, :length]

    return one_pass


def explained(span: SharedSpan, x: Tensor, y: Tensor, tasks: Tensor | None = None) -> float:
    """The share of the tasks' squared outputs that the span explains, with a filter fitted to each task (ridge).

    It is 1 less the squared residual of all tasks over their squared outputs; no unit, at most 1.

    Shapes: as :func:`learn`; ``tasks`` are the places of those that are looked at, by default all.
    """
    m = y.shape[2]
    n = x.shape[2]
    k = span.k
    by_input = span.U.view(m, n, k).permute(1, 0, 2).reshape(n, m * k)
    residual = energy = 0.0
    for chunk in (torch.arange(len(x)) if tasks is None else tasks).split(_AT_ONCE):
        X = x[chunk]
        Y = y[chunk]
        # features[t, (example, output), k] = what filter k alone makes of the inputs.
        features = (X.flatten(0, 1) @ by_input).view(len(X), -1, k)
        remainder = Y.flatten(1) - features @ span.v0
        normal = features.mT @ features
        # The noise is the ridge penalty of the posterior mean; the floor keeps the equations solvable without noise.
        penalty = max(span.noise, 1e-12 * float(normal.diagonal(dim1=1, dim2=2).mean()))
        step = ridge(normal, (features.mT @ remainder.unsqueeze(2)).squeeze(2), penalty)
        residual += float((remainder - (features @ step.unsqueeze(2)).squeeze(2)).square().sum())
        energy += float(Y.square().sum())
    return 1 - residual / energy
