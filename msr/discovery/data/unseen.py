"""Directions that no input takes, as where inputs add up to a constant: noise stands there, and weights are zero."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.data.forms import some_of

__all__ = ["spread_within", "unseen_directions", "unseen_words", "with_noise"]

# Directions with a smaller share of the variance of standardised inputs than that are taken never.
_UNSEEN = 1e-9


def spread_within(values: Tensor, here: Tensor, unit: float = 1.0) -> Tensor:
    """How centred coordinates vary within tasks, over a unit: the root of the pooled variance."""
    squares = torch.stack([(values[part] / unit).square().sum((0, 1)) for part in some_of(values)]).sum(0)
    return (squares / (here.sum() - len(here)).clamp_min(1)).sqrt()


def unseen_directions(x: Tensor, here: Tensor) -> Tensor:
    """An orthonormal basis ``(n, r)`` of the directions in which the inputs of no task vary."""
    spread = spread_within(x, here)
    second = x.new_zeros(len(spread), len(spread))
    for part in some_of(x):
        flat = (x[part] / spread).flatten(0, 1)
        second += flat.mT @ flat
    values, vectors = torch.linalg.eigh(second)
    never = vectors[:, values <= _UNSEEN * values[-1]]
    # Σ v_j x_j / s_j is zero for these v: a direction v / s of the inputs themselves.
    basis: Tensor = torch.linalg.qr(never / spread[:, None]).Q
    return basis


def with_noise(x: Tensor, y: Tensor, here: Tensor, unseen: Tensor) -> Tensor:
    """Independent noise of the usual size in the unseen directions; it moves as the labels and signs of inputs do."""
    spread = spread_within(x, here)
    z = x / spread
    # Coordinates are told apart by their distribution, and by what they do to the outputs.
    carried = (z.mT @ y).square().sum((0, 2))
    kinds = z.square().square().sum((0, 1)) / z.square().sum() + carried / carried.sum().clamp_min(1e-300)
    signs = torch.where(z.pow(3).sum((0, 1)) < 0, -1.0, 1.0)
    draw = torch.Generator().manual_seed(0)
    noise = torch.empty_like(x)
    noise[:, :, kinds.argsort()] = torch.randn(x.shape, generator=draw, dtype=x.dtype)
    noise = noise * signs * spread.square().mean().sqrt()
    there = here[:, :, None]
    noise = (noise - (noise * there).sum(1, keepdim=True) / here.sum(1)[:, None, None]) * there
    return x + ((noise - x) @ unseen) @ unseen.mT


def unseen_words(unseen: Tensor) -> str:
    """What is said of such directions, ``(n, r)``: which sums of inputs they are."""
    n, r = unseen.shape
    rows = _reduced(unseen.mT.numpy())
    blocks = bool(np.isin(rows.round(6), (0.0, 1.0)).all())
    why = "combinations of them are constant" if r > 1 else "a combination of them is constant"
    if blocks and r == 1:
        size = int(rows.sum().round())
        why = "they add up to a constant" if size == n else f"{size} of them add up to a constant"
    elif blocks:
        why = "those of each of several sets add up to a constant"
    return f"the inputs never take {r} of {n} directions ({why}): weights there count as zero"


def _reduced(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The reduced row echelon form."""
    rows = rows.copy()
    r = 0
    for column in range(rows.shape[1]):
        if r == len(rows):
            break
        pivot = r + int(np.abs(rows[r:, column]).argmax())
        if abs(rows[pivot, column]) < 1e-6:
            continue
        rows[[r, pivot]] = rows[[pivot, r]]
        rows[r] /= rows[r, column]
        others = np.arange(len(rows)) != r
        rows[others] -= np.outer(rows[others, column], rows[r])
        r += 1
    return rows
