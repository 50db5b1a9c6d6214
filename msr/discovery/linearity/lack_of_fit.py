"""Test of lack of fit: does anything nonlinear in the inputs explain what a linear layer leaves of each task?

Each task has its own function, ``y = f(x) + noise``. A linear layer with an offset is fitted and taken out, and the
quadratic forms of :mod:`msr.discovery.linearity.quadratic_forms`, with kernels of nonlinear features, read the
residuals.
"""

import math

import torch
from torch import Tensor

from msr.discovery.data.passes import Derived, chunks, example_mask, root_mean_squares
from msr.discovery.linearity.kernels import Kernels, white
from msr.discovery.linearity.nonlinear_energy import (
    PARTS,
    LackOfFit,
    Statistics,
    energies,
    least_distance_from_identity,
    summary,
)
from msr.discovery.linearity.quadratic_forms import ResidualMakers, form_floor, hollow
from msr.discovery.linearity.span_residuals import lack_of_fit_in_span
from msr.discovery.thresholds import THRESHOLDS

__all__ = ["LackOfFit", "lack_of_fit"]

# Share of a residual kernel's squared norm; a form with less of it left is rounding, and counts as zero.
_FORM_ROUNDING = 1e-8
# Share of an example that its residual keeps, 1 minus its leverage; an example with less has rounding for a residual.
_RESIDUAL_ROUNDING = 1e-6
# From so many inputs on it is asked first whether residuals have freedom enough for the forms, which then cost much. A
# limit of time: forms without freedom are zero.
_MANY_INPUTS = 10


def lack_of_fit(
    x: Tensor,
    y: Tensor | Derived,
    counts: Tensor,
    span: tuple[Tensor, Tensor] | None = None,
    per_input: float | None = None,
) -> LackOfFit:
    """Test whether anything nonlinear in the inputs explains what a linear layer leaves, and estimate its energy.

    Null hypothesis: ``E[y | x]`` is linear in ``x`` in each task. Three kernels are tried, over all tasks together:
    squares and products of two inputs; products of three, less what the first explains; and steps at all places in all
    directions, which no function escapes. Each gives a number of mean zero for each task, and
    :func:`~msr.statistics.symmetry.symmetric_p_value` tests whether their mean is above zero; the least of the three
    p-values is multiplied by three.

    Args:
        x: ``(tasks, examples, n)``, float64, less the mean of each task; rows past the task's count are zero.
        y: ``(tasks, examples, m)``, likewise.
        counts: ``(tasks,)``, how many examples each task has.
        span: ``(U, v0)`` with ``vec(W) = U (v0 + v)``, ``U`` of shape ``(m n, k)``, learned on other tasks. It is used
            where the median task has fewer than ``per_input · n + 4`` examples. Weights outside of it are a linear
            misfit, which is assumed to have no preferred direction, and what it adds to the forms is taken off.
        per_input: 2 by default; a larger number prefers the span: energies are then less noisy, and rely on it.

    Assumed: noise is independent over examples, with mean zero given the inputs, and tasks are independent. Its
    variance may differ between examples, outputs and tasks, and it may be correlated over outputs.
    """
    limits = THRESHOLDS()
    least = limits.span_below_per_input if per_input is None else per_input
    z = white(x)
    few = float(counts.double().median()) < least * x.shape[2] + limits.span_below_spare
    if span is not None and few:
        in_span = lack_of_fit_in_span(x, z, y[:], counts, span)
        if in_span is not None:
            return in_span
    z_pieces, owner, piece_counts = _pieces(z, counts, z.shape[2])
    y_pieces, _, _ = _pieces(y, counts, z.shape[2])
    statistics = _statistics(z_pieces, y_pieces, piece_counts)
    return summary(statistics, owner, len(x), "least squares in each task")


def _statistics(z: Tensor | Derived, y: Tensor | Derived, counts: Tensor) -> Statistics:
    """The quadratic forms, energies and residuals of each piece about a linear layer fitted to it by least squares.

    Shapes: ``z (pieces, examples, n)``, white inputs; ``y (pieces, examples, m)``; ``counts (pieces,)``.
    """
    makers = ResidualMakers(z, counts)
    untestable = _without_power(z, y, counts, makers)
    if untestable is not None:
        return untestable
    scale = root_mean_squares(y)
    kernels = Kernels(z, counts, makers)
    scaled_forms: list[Tensor] = []
    raw_forms: list[Tensor] = []
    grams: list[Tensor] = []
    distances: list[Tensor] = []
    residuals: list[Tensor] = []
    squares: list[Tensor] = []
    ranks: list[Tensor] = []
    for tasks in chunks(len(z), z.shape[1] * (8 * z.shape[1] + z.shape[2] + kernels.features)):
        M, rank = makers(tasks)
        Y = y[tasks]
        C, B = hollow(M, torch.stack(kernels(z[tasks])))
        # C holds the residual maker on both sides, so yᵀ C y is the form of the residuals of y.
        of_outputs = (Y * (C @ Y)).sum(2)
        # The test weighs outputs alike; energies are in the units of y.
        scaled_forms.append((of_outputs / scale.square()).sum(2))
        raw_forms.append(of_outputs.sum(2))
        # ⟨C_a, C_b⟩ of every two kernels of each piece.
        grams.append(torch.einsum("atij,btij->tab", C, C))
        trace = B.diagonal(dim1=2, dim2=3).sum(2)
        distances.append(least_distance_from_identity(B.square().sum((2, 3)), trace, rank))
        residuals.append((M @ Y).square().sum((1, 2)))
        squares.append((Y / scale).square().sum((1, 2)))
        ranks.append(rank)
    form = torch.cat(scaled_forms, 1)
    gram = torch.cat(grams)
    whole = torch.cat(distances, 1)
    rank = torch.cat(ranks)
    squared_norm = gram.diagonal(dim1=1, dim2=2).mT
    # A kernel of features that are linear in these inputs leaves rounding alone, whose form could have any sign.
    form = form * (squared_norm > _FORM_ROUNDING * whole)
    floor = form_floor(squared_norm, torch.cat(squares), THRESHOLDS().form_rounding)
    raw = torch.cat(raw_forms, 1)[:PARTS]
    energy, tested = energies(raw, gram[:, :PARTS, :PARTS], whole, kernels.energy, counts)
    tested &= rank > 0
    return Statistics(form, floor, energy * tested, counts * tested, torch.cat(residuals), rank, tested)


def _without_power(
    z: Tensor | Derived, y: Tensor | Derived, counts: Tensor, makers: ResidualMakers
) -> Statistics | None:
    """Statistics with residuals, but with forms and energies of zero, where no piece has examples enough for a form.

    The result is None where some piece may have. Residuals with ``r`` degrees of freedom have ``r (r + 1) / 2``
    quadratic forms, and each example with a residual makes one condition: that it is not paired with itself. Where
    conditions are as many, only the zero form is left. That is asked where there are many inputs only. With few inputs
    the forms cost little, and may tell that no function of the inputs can be nonlinear.
    """
    if z.shape[2] < _MANY_INPUTS or not _has_no_form(counts - 1 - z.shape[2], counts):
        return None
    residuals = []
    ranks = []
    conditions = []
    for tasks in chunks(len(z), z.shape[1] * (2 * z.shape[1] + z.shape[2] + y.shape[2])):
        M, rank = makers(tasks)
        residuals.append((M @ y[tasks]).square().sum((1, 2)))
        conditions.append((M.diagonal(dim1=1, dim2=2) > _RESIDUAL_ROUNDING).sum(1))
        ranks.append(rank)
    rank = torch.cat(ranks)
    if not _has_no_form(rank, torch.cat(conditions)):
        return None
    zeros = torch.zeros(3, len(z), dtype=torch.float64)
    none = torch.zeros(len(z), dtype=torch.bool)
    return Statistics(zeros, zeros, zeros[:PARTS], zeros[0], torch.cat(residuals), rank, none)


def _has_no_form(rank: Tensor, conditions: Tensor) -> bool:
    """Whether in no piece the forms, ``r (r + 1) / 2`` for the rank ``r``, outnumber the conditions on them.

    Shapes: ``rank (pieces,)`` and ``conditions (pieces,)``, the number of conditions.
    """
    return bool((rank.clamp_min(0) * (rank + 1) <= 2 * conditions).all())


def _pieces(values: Tensor | Derived, counts: Tensor, n: int) -> tuple[Tensor | Derived, Tensor, Tensor]:
    """Long tasks cut into pieces, each less its mean; the task of each piece; and how many examples each has.

    Where some task has more than ``residual_block`` examples (128), and more than three for each of the ``n`` inputs,
    all tasks are dealt into as few pieces as are no longer than that; else each task is a piece. A form costs the third
    power of the examples that it reads together.

    Shapes: ``values (tasks, examples, size)``; pieces ``(parts · tasks, examples / parts, size)``, zero past their
    counts; the tasks and the counts ``(parts · tasks,)``.
    """
    longest = max(THRESHOLDS().residual_block, THRESHOLDS().residual_block_per_input * n)
    count, examples, _ = values.shape
    parts = math.ceil(examples / longest)
    if parts == 1:
        return values, torch.arange(count), counts
    pieces = []
    owners = []
    sizes = []
    for part in range(parts):
        # A piece takes every parts-th example, so that the pieces of a task are alike and none is short.
        piece = values[:, part::parts]
        size = ((counts - part + parts - 1) // parts).clamp_min(0)
        mask = example_mask(piece, size)[..., None]
        piece = (piece - piece.sum(1, keepdim=True) / size.clamp_min(1)[:, None, None]) * mask
        pieces.append(torch.nn.functional.pad(piece, (0, 0, 0, math.ceil(examples / parts) - piece.shape[1])))
        owners.append(torch.arange(count))
        sizes.append(size)
    return torch.cat(pieces), torch.cat(owners), torch.cat(sizes)
