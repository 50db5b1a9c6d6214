"""Directions of the input space that no example takes, as where inputs add up to a constant.

Weights along them cannot be learned, and different weights make the same tasks. Noise that is independent of the
outputs is put there instead, so that these weights are known to be zero, and a symmetry can be told.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.data.centring import spread_within
from msr.discovery.data.passes import slices_of
from msr.discovery.thresholds import THRESHOLDS

__all__ = ["filled_with_noise", "null_directions", "null_directions_note"]

# Entries of an orthonormal basis in echelon form that are smaller are rounding, and decide nothing but the note.
_ECHELON_ROUNDING = 1e-6
_ECHELON_DIGITS = 6


def null_directions(x: Tensor, present: Tensor) -> Tensor:
    """An orthonormal basis ``(n, r)`` of the directions in which the inputs of no task vary.

    It is the null space of the pooled second moments of the inputs, each over its standard deviation.

    Shapes: ``x (tasks, examples, n)``, centred; ``present (tasks, examples)``.
    """
    spread = spread_within(x, present)
    second = x.new_zeros(len(spread), len(spread))
    for part in slices_of(x):
        flat = (x[part] / spread).flatten(0, 1)
        second += flat.mT @ flat
    values, vectors = torch.linalg.eigh(second)
    null = vectors[:, values <= THRESHOLDS().null_variance * values[-1]]
    # Σ v_j x_j / s_j is zero for each such v, so v / s is a null direction of the inputs themselves.
    basis: Tensor = torch.linalg.qr(null / spread[:, None]).Q
    return basis


def filled_with_noise(x: Tensor, y: Tensor, present: Tensor, directions: Tensor) -> Tensor:
    """The inputs with their part along the null directions replaced by independent noise, as a new tensor.

    The noise is centred in each task, with one standard deviation: that of the inputs, root mean square over
    coordinates. It is drawn for the coordinates in an order, and with signs, that their distributions and their effects
    on the outputs set. Inputs that are permuted, or whose signs are changed, then get the same noise, moved along. The
    seed is fixed, so the same tasks get the same noise.

    Shapes: ``x (tasks, examples, n)``, ``y (tasks, examples, m)``, ``directions (n, r)``, orthonormal.
    """
    spread = spread_within(x, present)
    z = x / spread
    # A key of each coordinate: its share of the fourth moments, plus its share of the correlation with the outputs.
    correlation = (z.mT @ y).square().sum((0, 2))
    key = z.square().square().sum((0, 1)) / z.square().sum() + correlation / correlation.sum().clamp_min(1e-300)
    signs = torch.where(z.pow(3).sum((0, 1)) < 0, -1.0, 1.0)
    draw = torch.Generator().manual_seed(0)
    noise = torch.empty_like(x)
    # The k-th smallest key gets the k-th column of noise, wherever the caller put that coordinate.
    noise[:, :, key.argsort()] = torch.randn(x.shape, generator=draw, dtype=x.dtype)
    noise = noise * signs * spread.square().mean().sqrt()
    mask = present[:, :, None]
    noise = (noise - (noise * mask).sum(1, keepdim=True) / present.sum(1)[:, None, None]) * mask
    return x + ((noise - x) @ directions) @ directions.mT


def null_directions_note(directions: Tensor) -> str:
    """A sentence for the user: how many directions ``(n, r)`` are never taken, and what is constant; ``r`` is not 0."""
    n, r = directions.shape
    rows = _reduced(directions.mT.numpy())
    sums = bool(np.isin(rows.round(_ECHELON_DIGITS), (0.0, 1.0)).all())
    why = "combinations of them are constant" if r > 1 else "a combination of them is constant"
    if sums and r == 1:
        size = int(rows.sum().round())
        why = "they add up to a constant" if size == n else f"{size} of them add up to a constant"
    elif sums:
        why = "those of each of several sets add up to a constant"
    return f"the inputs never take {r} of {n} directions ({why}): weights there count as zero"


def _reduced(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The reduced row echelon form of ``rows (r, n)``."""
    rows = rows.copy()
    r = 0
    for column in range(rows.shape[1]):
        if r == len(rows):
            break
        pivot = r + int(np.abs(rows[r:, column]).argmax())
        if abs(rows[pivot, column]) < _ECHELON_ROUNDING:
            continue
        rows[[r, pivot]] = rows[[pivot, r]]
        rows[r] /= rows[r, column]
        others = np.arange(len(rows)) != r
        rows[others] -= np.outer(rows[others, column], rows[r])
        r += 1
    return rows
