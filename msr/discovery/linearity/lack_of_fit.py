"""Lack of fit: does anything nonlinear in the inputs explain what a linear layer leaves of each task, and how much?

Each task has its own function, ``y = f(x) + noise``. A linear layer with a bias is taken out, and what is left is read
by the quadratic forms of :mod:`msr.discovery.data.forms` with kernels of nonlinear features. The same forms tell
whether the noise of neighbouring examples is correlated.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from msr.discovery.data.forms import (
    ROUNDING,
    Derived,
    chunks,
    hollow,
    mask_of,
    residual_maker,
    sizes_of,
    symmetric_p_value,
)
from msr.discovery.linearity.in_span import lack_in_span
from msr.discovery.linearity.kernels import Kernels, white
from msr.discovery.linearity.misfit import PARTS, LackOfFit, Statistics, energies, summary, unequal

__all__ = ["LackOfFit", "Serial", "hollow", "lack_of_fit", "residual_maker", "serial_correlation", "symmetric_p_value"]

# Longer tasks are read in pieces of so many examples, each with a layer of its own; or so many for each input.
_LONGEST, _LONGEST_PER_INPUT = 128, 3
# With fewer examples than this for each input, and a few, the span is a better guide than least squares of a task.
_PER_INPUT, _MORE = 2.0, 4
# From so many inputs on it is asked first whether the examples can tell anything.
_MANY_INPUTS = 10
# The share of an example that its residual keeps, from which on it is felt.
_FELT = 1e-6


@dataclass(frozen=True)
class Serial:
    """Correlation of the residuals of examples that came one after another, and the p-value of the null of none."""

    correlation: float
    p_value: float


def lack_of_fit(
    x: Tensor,
    y: Tensor | Derived,
    counts: Tensor,
    span: tuple[Tensor, Tensor] | None = None,
    per_input: float = _PER_INPUT,
) -> LackOfFit:
    """Whether anything nonlinear in the inputs explains the residuals of a linear layer, and its energy.

    Three kernels are tried, over all tasks together: squares and products; products of three, less what those explain;
    and steps at all places in all directions, which no function escapes (arc-cosine kernel of order 0; Cho and Saul,
    2009). Each number of a task has mean zero if ``E[y | x]`` is linear in ``x``; :func:`symmetric_p_value` tests them.

    Args:
        x: ``(tasks, examples, n)``, float64, less the mean of each task; rows past the task's count are zero.
        y: ``(tasks, examples, m)``, likewise.
        counts: ``(tasks,)``, how many examples each task has.
        span: ``(U, v0)`` with ``vec(W) = U (v0 + v)``, ``U`` of shape ``(m n, k)``, learned on other tasks. It is used
            where most tasks have fewer than ``per_input · n + 4`` examples. Weights outside of it count as a linear
            misfit of no preferred direction, and what that adds is taken off.
        per_input: more than two prefer the span: energies are then less noisy, and rely on it.

    The noise must be independent over examples, with mean zero given the inputs; it may have another variance for each
    example, output and task, and be correlated over outputs. Tasks must be independent.
    """
    z = white(x)
    few = float(counts.double().median()) < per_input * x.shape[2] + _MORE
    if span is not None and few:
        from_span = lack_in_span(x, z, y[:], counts, span)
        if from_span is not None:
            return from_span
    z_pieces, owner, piece_counts = _pieces(z, counts, z.shape[2])
    y_pieces, _, _ = _pieces(y, counts, z.shape[2])
    found = _statistics(z_pieces, y_pieces, piece_counts)
    return summary(found, owner, len(x), "least squares in each task")


def serial_correlation(x: Tensor, y: Tensor, counts: Tensor, order: Tensor) -> Serial:
    """Correlation of the residuals of neighbouring examples, in the order in which they came.

    The same quadratic forms, with the pairs of neighbours in the kernel's place: independent noise has mean zero in
    them, however unequal. The p-value is of both sides.

    Args:
        x, y, counts: as in :func:`lack_of_fit`.
        order: ``(tasks, examples)``, the place of each example in its task as it came; −1 past the count.
    """
    x, y, counts, order = _first(max(_LONGEST, _LONGEST_PER_INPUT * x.shape[2]), x, y, counts, order)
    scale = sizes_of(y)
    sums, floors, weights = [], [], []
    for tasks in chunks(len(x), x.shape[1] * (4 * x.shape[1] + x.shape[2])):
        M, rank = residual_maker(x[tasks], counts[tasks])
        place = order[tasks]
        there = (place >= 0)[:, :, None] & (place >= 0)[:, None]
        near = ((place[:, :, None] - place[:, None]).abs() == 1) & there
        C = hollow(M, near.double()[None] / 2)[0][0]
        Y = y[tasks] / scale
        r = M @ Y
        variance = r.square().sum((1, 2)) / rank.clamp_min(1)
        size = C.square().sum((1, 2))
        sums.append((Y * (C @ Y)).sum((1, 2)))
        floors.append(ROUNDING**2 * size.sqrt() * Y.square().sum((1, 2)))
        # Of neighbours with correlation c the mean is c · variance · ⟨C, A⟩, A having ones for them.
        weights.append(2 * size * variance)
    total, weight, floor = torch.cat(sums), torch.cat(weights), torch.cat(floors)
    if float(weight.sum()) == 0:
        return Serial(0.0, 1.0)
    both = 2 * min(symmetric_p_value(total, floor), symmetric_p_value(-total, floor))
    return Serial(float(total.sum() / weight.sum()), min(1.0, both))


def _statistics(z: Tensor | Derived, y: Tensor | Derived, counts: Tensor) -> Statistics:
    """Least squares in each piece, which has its residual maker."""
    silent = _silent(z, y, counts)
    if silent is not None:
        return silent
    scale = sizes_of(y)
    kernels = Kernels(z, counts)
    forms, raw, grams, plain, squares, ranks, sizes = [], [], [], [], [], [], []
    for tasks in chunks(len(z), z.shape[1] * (8 * z.shape[1] + z.shape[2] + kernels.features)):
        M, rank = residual_maker(z[tasks], counts[tasks])
        Y = y[tasks]
        C, B = hollow(M, torch.stack(kernels(z[tasks], counts[tasks])))
        each = (Y * (C @ Y)).sum(2)
        forms.append((each / scale.square()).sum(2))
        raw.append(each.sum(2))
        grams.append(torch.einsum("atij,btij->tab", C, C))
        plain.append(unequal(B.square().sum((2, 3)), B.diagonal(dim1=2, dim2=3).sum(2), rank))
        squares.append((M @ Y).square().sum((1, 2)))
        sizes.append((Y / scale).square().sum((1, 2)))
        ranks.append(rank)
    form, gram, whole, rank = torch.cat(forms, 1), torch.cat(grams), torch.cat(plain, 1), torch.cat(ranks)
    size = gram.diagonal(dim1=1, dim2=2).mT
    # What is left of a kernel is noise of rounding where too few examples leave nothing.
    form = form * (size > 1e-8 * whole)
    floor = ROUNDING**2 * size.sqrt() * torch.cat(sizes)
    energy, tested = energies(torch.cat(raw, 1)[:PARTS], gram[:, :PARTS, :PARTS], whole, kernels.energy, counts)
    tested &= rank > 0
    return Statistics(form, floor, energy * tested, counts * tested, torch.cat(squares), rank, tested)


def _silent(z: Tensor | Derived, y: Tensor | Derived, counts: Tensor) -> Statistics | None:
    """Statistics that say nothing, where no task has examples enough for them; else none.

    A residual of rank ``r`` has ``r (r + 1) / 2`` forms, and each example that it can feel makes one condition: that it
    is not paired with itself. Asked where there are many inputs only: with few of them the forms cost little, and may
    tell that no function of the inputs can be nonlinear.
    """
    if z.shape[2] < _MANY_INPUTS or not _too_few(counts - 1 - z.shape[2], counts):
        return None
    squares, ranks, felt = [], [], []
    for tasks in chunks(len(z), z.shape[1] * (2 * z.shape[1] + z.shape[2] + y.shape[2])):
        M, rank = residual_maker(z[tasks], counts[tasks])
        squares.append((M @ y[tasks]).square().sum((1, 2)))
        felt.append((M.diagonal(dim1=1, dim2=2) > _FELT).sum(1))
        ranks.append(rank)
    rank = torch.cat(ranks)
    if not _too_few(rank, torch.cat(felt)):
        return None
    nothing = torch.zeros(3, len(z), dtype=torch.float64)
    none = torch.zeros(len(z), dtype=torch.bool)
    return Statistics(nothing, nothing, nothing[:PARTS], nothing[0], torch.cat(squares), rank, none)


def _too_few(rank: Tensor, conditions: Tensor) -> bool:
    return bool((rank.clamp_min(0) * (rank + 1) <= 2 * conditions).all())


def _first(most: int, x: Tensor, y: Tensor, counts: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The examples of each task that came first, about their mean: neighbours stay neighbours."""
    if x.shape[1] <= most:
        return x, y, counts, order
    place = torch.where(order >= 0, order, order.max() + 1).argsort(1)[:, :most]
    counts = counts.clamp(max=most)
    mask = mask_of(place, counts)[..., None]
    x, y = (t.gather(1, place[..., None].expand(-1, -1, t.shape[2])) for t in (x, y))
    x, y = ((t - t.sum(1, keepdim=True) / counts[:, None, None]) * mask for t in (x, y))
    return x, y, counts, order.gather(1, place)


def _pieces(values: Tensor | Derived, counts: Tensor, n: int) -> tuple[Tensor | Derived, Tensor, Tensor]:
    """Tasks that are too long to be read at once, cut: the pieces, less their means, the task of each, and counts."""
    longest = max(_LONGEST, _LONGEST_PER_INPUT * n)
    count, examples, _ = values.shape
    parts = math.ceil(examples / longest)
    if parts == 1:
        return values, torch.arange(count), counts
    found, owners, sizes = [], [], []
    for part in range(parts):
        # Every so manieth example, so that the pieces of a task are alike and none is short.
        own = values[:, part::parts]
        size = ((counts - part + parts - 1) // parts).clamp_min(0)
        mask = mask_of(own, size)[..., None]
        own = (own - own.sum(1, keepdim=True) / size.clamp_min(1)[:, None, None]) * mask
        found.append(torch.nn.functional.pad(own, (0, 0, 0, math.ceil(examples / parts) - own.shape[1])))
        owners.append(torch.arange(count))
        sizes.append(size)
    return torch.cat(found), torch.cat(owners), torch.cat(sizes)
