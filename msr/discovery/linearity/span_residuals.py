"""Test of lack of fit where tasks have few examples: weights are fitted in a span that other tasks taught.

The residuals of all outputs are read together, since the coefficients in the span tie the outputs to each other. Noise
may be correlated over outputs, so a form must not pair any two outputs of one example: ``C`` has no diagonal *block*,
where :mod:`msr.discovery.linearity.quadratic_forms` has no diagonal entry.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from msr.discovery.data.passes import Derived, chunks, example_mask, root_mean_squares
from msr.discovery.linearity.kernels import Kernels
from msr.discovery.linearity.nonlinear_energy import (
    PARTS,
    LackOfFit,
    Statistics,
    energies,
    least_distance_from_identity,
    summary,
)
from msr.discovery.linearity.quadratic_forms import KERNEL_ROUNDING, form_floor
from msr.discovery.thresholds import THRESHOLDS

__all__ = ["lack_of_fit_in_span"]

# Conjugate gradients: the most steps, and the relative residual at which they stop. The error this leaves is far below
# that of the forms.
_STEPS = 60
_PRECISION = 1e-5
# Added to 1 − leverage in the preconditioner, for examples that the fit follows exactly. It changes the number of
# steps, and no result.
_PRECONDITIONER_SHIFT = 0.02
# Work that is done for all tasks together, about, in multiplications: a fraction of a second. Beyond it some of the
# tasks are left out.
_WORK = 1e9
# Steps of conjugate gradients that a task usually takes, of four kernels together: for the estimate of work alone.
_USUAL_STEPS = 40
# Rounding, as shares: of the largest singular value of a design, and of a residual kernel's squared norm.
_SINGULAR_ROUNDING = 1e-7
_FORM_ROUNDING = 1e-8
# Ratio of the largest to the smallest size of an output, up to which all outputs are read in one unit: a second reading
# would take as long again, and weigh them nearly alike. A limit of time.
_ALIKE = 1.5
# Squares and products, products of three, steps; and the inputs themselves, for what is linear outside of the span.
_KERNELS = 4
_LINEAR = 3


def lack_of_fit_in_span(
    x: Tensor, z: Tensor | Derived, y: Tensor, counts: Tensor, span: tuple[Tensor, Tensor]
) -> LackOfFit | None:
    """Test lack of fit about weights in a span, all outputs at once; None where even the span has too many dimensions.

    Null hypothesis, kernels and assumptions are those of
    :func:`~msr.discovery.linearity.lack_of_fit.lack_of_fit`. One thing is assumed in addition: weights outside of the
    span are a linear misfit of no preferred direction, which a fourth, linear, kernel measures and takes off.

    Work grows with the third power of the outputs, so many outputs are mixed: the outputs are turned into orthogonal
    directions, these are dealt into sets, and each task is read by one set. Sums over all tasks stay unbiased, with
    more noise. Where that is too much work still, only some of the tasks are looked at.

    Args:
        x, y, counts, span: as in :func:`~msr.discovery.linearity.lack_of_fit.lack_of_fit`.
        z: ``(tasks, examples, r)``, the inputs in white coordinates.
    """
    limits = THRESHOLDS()
    U, v0 = span
    _, examples, n = x.shape
    m = y.shape[2]
    k = U.shape[1]
    # Each example of each output is an equation for the task's filter; one example is lost to the offset.
    free = float(counts.double().median() - 1)
    if free * m < limits.span_equations_fewest * k:
        return None
    kernels = Kernels(z, counts)
    y = y - x @ (U @ v0).view(m, n).mT
    mixtures = _mixtures(m, max(limits.mixtures_fewest, math.ceil(limits.mixture_equations * k / free)))
    scale = root_mean_squares(y)
    one_unit = float(scale.max() / scale.min()) < _ALIKE
    # The test counts each output in units of its size; energies are in the units of y. Where sizes are alike, one
    # reading serves both.
    units = ([] if one_unit else [scale]) + [torch.ones_like(scale)]
    work = len(units) * _USUAL_STEPS * examples * (m // len(mixtures)) * (m // len(mixtures) + k) ** 2
    chosen = _tasks_within_work(len(x), work)
    owner = torch.cat([chosen[first :: len(mixtures)] for first in range(len(mixtures))])
    readings = []
    for unit in units:
        pieces = []
        for first, mixture in enumerate(mixtures):
            by_input = torch.einsum("mq,mnk->nqk", mixture / unit[:, None], U.view(m, n, k)).flatten(1)
            outputs = y @ (mixture / unit[:, None])
            q = mixture.shape[1]
            readers = chosen[first :: len(mixtures)]
            numbers = 8 * examples * q * (k + 2 * q) + 4 * examples**2 + examples * kernels.features
            for part in chunks(len(readers), numbers):
                tasks = readers[part]
                pieces.append(_span_forms(kernels, x[tasks] @ by_input, z[tasks], outputs[tasks], counts[tasks]))
        readings.append([torch.cat(values, -1) for values in zip(*pieces, strict=True)])
    form, gram, whole, _, _ = readings[0]
    raw, raw_gram, raw_whole, residuals, rank = readings[-1]
    examples_of = counts[owner]
    if one_unit:
        scale = torch.ones_like(scale)
    squared_norm = torch.stack([gram[i, i] for i in range(_KERNELS)])
    floor = form_floor(squared_norm, (y[owner] / scale).square().sum((1, 2)), limits.form_rounding)
    form = form * (squared_norm > _FORM_ROUNDING * whole)
    _take_off_linear_misfit(form, gram, squared_norm, examples_of)
    # Two energies are reported. That of the linear misfit is solved for beside them, so that it counts as neither.
    parts = [0, 1, _LINEAR]
    outputs_each = m / len(mixtures)
    unit_energy = [outputs_each * energy for energy in (*kernels.energy, float(z.shape[2]))]
    energy, tested = energies(
        raw[parts], raw_gram[parts][:, parts].permute(2, 0, 1), raw_whole[parts], unit_energy, examples_of
    )
    tested &= rank > 0
    statistics = Statistics(
        form[:_LINEAR],
        floor[:_LINEAR],
        energy[:PARTS] * tested,
        examples_of * tested,
        residuals,
        rank / outputs_each,
        tested,
    )
    return summary(statistics, owner, len(x), "weights in the span learned on other tasks")


def _take_off_linear_misfit(form: Tensor, gram: Tensor, squared_norm: Tensor, counts: Tensor) -> None:
    """Subtract from the three nonlinear forms, in place, what weights outside of the span add to them.

    A linear misfit of energy ``e`` gives the form of ``C_a`` the mean ``e ⟨C_a, z zᵀ⟩``, and ``⟨C_a, z zᵀ⟩`` equals
    ``⟨C_a, C_linear⟩``. So the linear form of a task predicts what its misfit adds to its nonlinear forms. Inner
    products are summed over all tasks of one length, to be known well.

    Shapes: ``form`` and ``squared_norm (4, tasks)``, ``gram (4, 4, tasks)``, ``counts (tasks,)``.
    """
    for count in counts.unique():
        same = counts == count
        if float(squared_norm[_LINEAR, same].sum()) > 0:
            slope = gram[:_LINEAR, _LINEAR, same].sum(1, keepdim=True) / squared_norm[_LINEAR, same].sum()
            form[:_LINEAR, same] -= slope * form[_LINEAR, same]


def _mixtures(m: int, fewest: int) -> list[Tensor]:
    """Directions of ``m`` outputs in sets of ``fewest`` or more, each ``(m, q)``; all together an orthogonal basis.

    There is one set, the identity, if two would be too small. The directions are longer than one by the root of the
    number of sets: then a square summed over one set has, over sets, the same mean as one summed over all outputs.
    """
    sets = max(1, m // fewest)
    if sets == 1:
        return [torch.eye(m, dtype=torch.float64)]
    noise = torch.randn(m, m, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return list((math.sqrt(sets) * torch.linalg.qr(noise)[0]).tensor_split(sets, 1))


def _tasks_within_work(count: int, work: int) -> Tensor:
    """Places of the tasks that are looked at, evenly spread over ``count``: as many as a limit of work allows.

    They are 32 at least, if there are so many. ``work`` is that of one task, in multiplications.
    """
    most = min(count, max(THRESHOLDS().span_tasks_fewest, int(_WORK / work)))
    return torch.arange(most) * count // most


def _span_forms(
    kernels: Kernels, design: Tensor, z: Tensor, y: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The quadratic forms of four kernels on each task. The last kernel is linear: it measures the misfit of the span.

    The residual maker acts on all outputs of all examples together, ``M = I − H Hᵀ`` with ``H`` the means of outputs
    and the columns of the design, and is never written out. ``C = M (K ⊗ I − D) M`` with ``D`` block diagonal, one
    symmetric block ``(m, m)`` for each example, such that ``C`` has no diagonal block.

    Shapes: ``design (tasks, examples, m k)``, what each coefficient in the span adds to each output; ``z (tasks,
    examples, r)``; ``y (tasks, examples, m)``. The results are the forms ``rᵀ C_a r (4, tasks)``; ``⟨C_a, C_b⟩ (4, 4,
    tasks)``; the distances of :func:`least_distance_from_identity` ``(4, tasks)``; the sums of squared residuals and
    their degrees of freedom, of all outputs together, ``(tasks,)``. The first three are zero for a kernel of which only
    rounding is left.
    """
    count, examples, m = y.shape
    mask = example_mask(y, counts)
    basis, singular, _ = torch.linalg.svd(design.view(count, examples * m, -1), full_matrices=False)
    used = singular > _SINGULAR_ROUNDING * singular.amax(1, keepdim=True).clamp_min(1e-300)
    rows = basis * used[:, None]
    L = rows.view(count, examples, m, -1)
    eye = torch.eye(m, dtype=y.dtype)
    mean = (mask / counts.clamp_min(1)[:, None].double().sqrt())[:, :, None, None]
    H = torch.cat((mean * eye, L), 3)
    columns = H.flatten(1, 2)
    # The diagonal blocks of H Hᵀ: the leverage of each example, a matrix over outputs.
    share = mean.square()
    P = share * eye + L @ L.mT
    rank = ((counts - 1) * m - used.sum(1)).clamp_min(0)

    def diagonal_blocks(d: Tensor) -> Tensor:
        """Diagonal blocks of ``M D M`` from the blocks ``d`` of a symmetric ``D``, both ``(tasks, examples, m, m)``."""
        DL = d @ L
        along = (mean * DL).sum(1, keepdim=True)
        inner = rows.mT @ DL.flatten(1, 2)
        half = (L @ (inner / 2)[:, None]).add_(mean * along) @ L.mT
        half -= d @ P
        return (share * (share * d).sum(1, keepdim=True)).add_(d).add_(half).add_(half.mT)

    # Alone, an example would have the block (I − P) D (I − P). The preconditioner solves these equations, which are
    # near to the true ones and apart for each example.
    inverse = torch.linalg.inv((1 + _PRECONDITIONER_SHIFT) * eye - P)
    r = y - (columns @ (columns.mT @ y.flatten(1)[..., None])).view_as(y)
    written = [kernel * mask[:, :, None] * mask[:, None] for kernel in (*kernels(z), z @ z.mT)]
    flat = H.flatten(2)
    KH = [(kernel @ flat).view_as(H) for kernel in written]
    HKH = [columns.mT @ product.flatten(1, 2) for product in KH]
    # The diagonal blocks of M (K ⊗ I) M, which D must take away.
    blocks = []
    for kernel, product, inner in zip(written, KH, HKH, strict=True):
        half = (H @ (inner / 2)[:, None] - product) @ H.mT
        blocks.append(kernel.diagonal(dim1=1, dim2=2)[:, :, None, None] * eye + half + half.mT)
    D = [_conjugate_gradients(diagonal_blocks, lambda d: inverse @ d @ inverse, block) for block in blocks]
    forms = torch.stack(
        [
            (r * (kernel @ r)).sum((1, 2)) - (r[:, :, None] @ d @ r[..., None]).sum((1, 2, 3))
            for kernel, d in zip(written, D, strict=True)
        ]
    )
    gram, whole = _inner_products(written, KH, HKH, D, blocks, rank)
    above_rounding = [whole[a] > KERNEL_ROUNDING * m * written[a].square().sum((1, 2)) for a in range(_KERNELS)]
    used_forms = torch.stack(above_rounding) & (rank > 0)
    return (
        forms * used_forms,
        gram * (used_forms[:, None] & used_forms),
        whole * used_forms,
        r.square().sum((1, 2)),
        rank,
    )


def _inner_products(
    written: list[Tensor], KH: list[Tensor], HKH: list[Tensor], D: list[Tensor], blocks: list[Tensor], rank: Tensor
) -> tuple[Tensor, Tensor]:
    """``⟨C_a, C_b⟩ (4, 4, tasks)`` and the distances of :func:`least_distance_from_identity`, ``(4, tasks)``.

    ``⟨M K_a M, M K_b M⟩`` expands into products with ``H`` alone. ``⟨C_a, C_b⟩`` is that less ``⟨D_a, blocks of
    M K_b M⟩``, since ``C_a`` has no blocks for ``D_b`` to meet.

    Shapes: of each of four kernels ``written (tasks, examples, examples)``, ``KH (tasks, examples, m, h)``,
    ``HKH (tasks, h, h)``, ``D`` and ``blocks (tasks, examples, m, m)``; ``rank (tasks,)``.
    """
    count, _, m, _ = blocks[0].shape
    gram = torch.zeros(_KERNELS, _KERNELS, count, dtype=blocks[0].dtype)
    whole = torch.zeros(_KERNELS, count, dtype=blocks[0].dtype)
    for a in range(_KERNELS):
        for b in range(_KERNELS):
            product = m * (written[a] * written[b]).sum((1, 2)) - 2 * (KH[a] * KH[b]).sum((1, 2, 3))
            product = product + (HKH[a] * HKH[b].mT).sum((1, 2))
            gram[a, b] = product - (D[a] * blocks[b]).sum((1, 2, 3))
            if a == b:
                trace = blocks[a].diagonal(dim1=2, dim2=3).sum((1, 2))
                whole[a] = least_distance_from_identity(product, trace, rank)
    return gram, whole


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor], precondition: Callable[[Tensor], Tensor], right: Tensor
) -> Tensor:
    """``d`` with ``A d = b``, for all tasks at once: preconditioned conjugate gradients.

    ``apply`` multiplies by ``A``, ``precondition`` by a rough inverse of it, and ``right`` is ``b``. ``A`` is positive
    semidefinite and may be singular; the equations have a solution. A task whose residual is small enough stops, while
    the others go on.

    Shapes: ``right``, the result, and what both maps take and give: ``(tasks, examples, m, m)``.
    """

    def inner(a: Tensor, b: Tensor) -> Tensor:
        """The inner product of each task, ``(tasks, 1, 1, 1)``."""
        return (a * b).sum((1, 2, 3), keepdim=True)

    d = torch.zeros_like(right)
    residual = right
    step = precondition(right)
    size = inner(residual, step)
    small = _PRECISION**2 * inner(right, right)
    for _ in range(_STEPS):
        unfinished = inner(residual, residual) > small
        if not bool(unfinished.any()):
            break
        image = apply(step)
        length = torch.where(unfinished, size / inner(step, image).clamp_min(1e-300), 0.0)
        d += length * step
        residual = residual - length * image
        solved = precondition(residual)
        new_size = inner(residual, solved)
        step = solved + torch.where(unfinished, new_size / size.clamp_min(1e-300), 0.0) * step
        size = new_size
    return d
