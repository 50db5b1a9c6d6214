"""Lack of fit where tasks have few examples: what weights in a span that other tasks taught leave of the outputs."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from msr.discovery.data.forms import NOTHING, ROUNDING, Derived, chunks, mask_of, sizes_of
from msr.discovery.linearity.kernels import Kernels
from msr.discovery.linearity.misfit import PARTS, LackOfFit, Statistics, energies, summary, unequal

__all__ = ["lack_in_span"]

_STEPS, _PRECISION = 60, 1e-5
# Of an example that the fit follows, what is left to divide by.
_NEAR = 0.02
# Outputs whose sizes differ by less than this factor count alike.
_ALIKE = 1.5
# A task is read by so many mixtures of its outputs, or so many that equations are these times the weights.
_MIXTURES, _EQUATIONS = 8, 3.0
# Multiplications of all tasks together, about: a fraction of a second. As many tasks are looked at, and some at least.
_WORK, _FEWEST_TASKS = 1e9, 32
# Steps of conjugate gradients that a task usually takes, of four kernels together.
_USUAL_STEPS = 40


def lack_in_span(
    x: Tensor, z: Tensor | Derived, y: Tensor, counts: Tensor, span: tuple[Tensor, Tensor]
) -> LackOfFit | None:
    """Lack of fit with weights in a span, all outputs at once; none where even the span has too many directions.

    Noise may be correlated over outputs, so that ``C`` must be without a block for each example, not only a diagonal.
    Work grows with the third power of outputs, so many outputs are mixed: each task is read by some of ``m``
    directions at right angles, every direction by as many tasks. What is said of all tasks together stays without
    bias, with more noise. Where that is too much work still, only some of the tasks are looked at.

    Args: as of :func:`msr.discovery.linearity.lack_of_fit.lack_of_fit`; ``z`` are the inputs in white coordinates.
    """
    U, v0 = span
    (_, examples, n), m, k = x.shape, y.shape[2], U.shape[1]
    free = float(counts.double().median() - 1)
    if free * m < 2 * k:
        return None
    kernels = Kernels(z, counts, within=False)
    y = y - x @ (U @ v0).view(m, n).mT
    mixtures = _mixtures(m, max(_MIXTURES, math.ceil(_EQUATIONS * k / free)))
    scale = sizes_of(y)
    alike = float(scale.max() / scale.min()) < _ALIKE
    units = ([] if alike else [scale]) + [torch.ones_like(scale)]
    work = len(units) * _USUAL_STEPS * examples * (m // len(mixtures)) * (m // len(mixtures) + k) ** 2
    looked = _looked_at(len(x), work)
    owner = torch.cat([looked[first :: len(mixtures)] for first in range(len(mixtures))])
    found = []
    for unit in units:
        each = []
        for first, mixture in enumerate(mixtures):
            by_input = torch.einsum("mq,mnk->nqk", mixture / unit[:, None], U.view(m, n, k)).flatten(1)
            outputs = y @ (mixture / unit[:, None])
            q = mixture.shape[1]
            own = looked[first :: len(mixtures)]
            numbers = 8 * examples * q * (k + 2 * q) + 4 * examples**2 + examples * kernels.features
            for part in chunks(len(own), numbers):
                tasks = own[part]
                each.append(_span_forms(kernels, x[tasks] @ by_input, z[tasks], outputs[tasks], counts[tasks]))
        found.append([torch.cat(values, -1) for values in zip(*each, strict=True)])
    (form, gram, whole, _, _), (raw, raw_gram, raw_whole, squares, rank) = found[0], found[-1]
    there = counts[owner]
    if alike:
        scale = torch.ones_like(scale)
    size = torch.stack([gram[i, i] for i in range(4)])
    floor = ROUNDING**2 * size.sqrt() * (y[owner] / scale).square().sum((1, 2))
    form = form * (size > 1e-8 * whole)
    # Weights outside of the span are a linear misfit, of no preferred direction; it is taken off each form.
    for count in there.unique():
        same = there == count
        if float(size[3, same].sum()) > 0:
            form[:3, same] -= gram[:3, 3, same].sum(1, keepdim=True) / size[3, same].sum() * form[3, same]
    parts = [0, 1, 3]
    outputs_each = m / len(mixtures)
    unit_energy = [outputs_each * unit for unit in (*kernels.energy, float(z.shape[2]))]
    energy, tested = energies(
        raw[parts], raw_gram[parts][:, parts].permute(2, 0, 1), raw_whole[parts], unit_energy, there
    )
    tested &= rank > 0
    statistics = Statistics(
        form[:3], floor[:3], energy[:PARTS] * tested, there * tested, squares, rank / outputs_each, tested
    )
    return summary(statistics, owner, len(x), "weights in the span learned on other tasks")


def _mixtures(m: int, fewest: int) -> list[Tensor]:
    """Directions of outputs, in sets of ``fewest`` or more, each ``(m, q)``; together an orthonormal basis.

    They are longer by the root of the number of sets, so that a square summed over outputs has the same mean over sets.
    """
    sets = max(1, m // fewest)
    if sets == 1:
        return [torch.eye(m, dtype=torch.float64)]
    noise = torch.randn(m, m, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return list((math.sqrt(sets) * torch.linalg.qr(noise)[0]).tensor_split(sets, 1))


def _looked_at(count: int, work: int) -> Tensor:
    """Places of the tasks that are looked at, evenly spread: as many as the work of each allows."""
    most = min(count, max(_FEWEST_TASKS, int(_WORK / work)))
    return torch.arange(most) * count // most


def _span_forms(
    kernels: Kernels, design: Tensor, z: Tensor, y: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Forms, ``⟨C_a, C_b⟩`` and ``‖M K M − c M‖²`` of four kernels, the last one linear; residuals and their rank.

    ``design`` is ``(tasks, examples, m k)``. ``M`` is never written out: it is ``I − H Hᵀ`` with ``H`` of some columns.
    """
    (count, examples, m), mask = y.shape, mask_of(y, counts)
    left, sizes, _ = torch.linalg.svd(design.view(count, examples * m, -1), full_matrices=False)
    used = sizes > 1e-7 * sizes.amax(1, keepdim=True).clamp_min(1e-300)
    rows = left * used[:, None]
    L = rows.view(count, examples, m, -1)
    eye = torch.eye(m, dtype=y.dtype)
    mean = (mask / counts.clamp_min(1)[:, None].double().sqrt())[:, :, None, None]
    H = torch.cat((mean * eye, L), 3)
    columns = H.flatten(1, 2)
    P = mean.square() * eye + L @ L.mT
    rank = ((counts - 1) * m - used.sum(1)).clamp_min(0)

    def projected(d: Tensor) -> Tensor:
        """Blocks of ``M D M`` for each example, from those of a symmetric ``D``: the mean and the span apart."""
        moved = d @ L
        along = (mean * moved).sum(1, keepdim=True)
        inner = rows.mT @ moved.flatten(1, 2)
        half = (mean * along + L @ (inner / 2)[:, None]) @ L.mT - d @ P
        return d + mean.square() * (mean.square() * d).sum(1, keepdim=True) + half + half.mT

    # By itself each example would have the blocks of (I − P) D (I − P): that is near, and solved at once.
    near = torch.linalg.inv((1 + _NEAR) * eye - P)
    r = y - (columns @ (columns.mT @ y.flatten(1)[..., None])).view_as(y)
    found = [kernel * mask[:, :, None] * mask[:, None] for kernel in (*kernels(z, counts), z @ z.mT)]
    flat = H.flatten(2)
    G = [(kernel @ flat).view_as(H) for kernel in found]
    inside = [columns.mT @ g.flatten(1, 2) for g in G]
    own = []
    for kernel, g, inner in zip(found, G, inside, strict=True):
        half = (H @ (inner / 2)[:, None] - g) @ H.mT
        own.append(kernel.diagonal(dim1=1, dim2=2)[:, :, None, None] * eye + half + half.mT)
    D = [_conjugate_gradients(projected, lambda d: near @ d @ near, block) for block in own]
    forms = torch.stack(
        [
            (r * (kernel @ r)).sum((1, 2)) - (r[:, :, None] @ d @ r[..., None]).sum((1, 2, 3))
            for kernel, d in zip(found, D, strict=True)
        ]
    )
    gram = torch.zeros(4, 4, count, dtype=y.dtype)
    whole = torch.zeros(4, count, dtype=y.dtype)
    for a in range(4):
        for b in range(4):
            product = m * (found[a] * found[b]).sum((1, 2)) - 2 * (G[a] * G[b]).sum((1, 2, 3))
            product = product + (inside[a] * inside[b].mT).sum((1, 2))
            gram[a, b] = product - (D[a] * own[b]).sum((1, 2, 3))
            if a == b:
                whole[a] = unequal(product, own[a].diagonal(dim1=2, dim2=3).sum((1, 2)), rank)
    more = torch.stack([whole[a] > NOTHING * m * found[a].square().sum((1, 2)) for a in range(4)]) & (rank > 0)
    return forms * more, gram * (more[:, None] & more), whole * more, r.square().sum((1, 2)), rank


def _conjugate_gradients(apply: Callable[[Tensor], Tensor], near: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """``d`` with ``A d = b`` for each task: ``A`` has no negative eigenvalue, and the equations have a solution.

    ``near`` solves equations that are near to these, and has positive eigenvalues.
    """

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((1, 2, 3), keepdim=True)

    d = torch.zeros_like(right)
    rest, step = right, near(right)
    size = inner(rest, step)
    enough = _PRECISION**2 * inner(right, right)
    for _ in range(_STEPS):
        open_still = inner(rest, rest) > enough
        if not bool(open_still.any()):
            break
        moved = apply(step)
        length = torch.where(open_still, size / inner(step, moved).clamp_min(1e-300), 0.0)
        d = d + length * step
        rest = rest - length * moved
        solved = near(rest)
        new = inner(rest, solved)
        step = solved + torch.where(open_still, new / size.clamp_min(1e-300), 0.0) * step
        size = new
    return d
