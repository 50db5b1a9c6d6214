"""Orbits of a group on the weights of a layer, and means over them."""

import numpy as np
import torch
from torch import Tensor

from msr.groups.permutations import Indices, orbit_labels

__all__ = ["averaged", "conjugated", "pair_orbits_of"]


def pair_orbits_of(generators_in: Indices, generators_out: Indices) -> Indices:
    """Orbits of the group on weights, ``(out · in,)``: generators send weight ``(i, j)`` to ``(q(i), p(j))``."""
    r, n = generators_in.shape
    m = generators_out.shape[1]
    if r == 0:
        return np.arange(m * n)
    moves = (generators_out[:, :, None] * n + generators_in[:, None, :]).reshape(r, m * n)
    return orbit_labels(moves)


def averaged(U: Tensor, orbits: Indices) -> Tensor:
    """Each row of ``U (out · in, k)`` replaced by the mean over its orbit: the nearest span of invariant weights."""
    index = torch.as_tensor(orbits)
    count = torch.bincount(index).to(U.dtype)
    sums = torch.zeros(len(count), U.shape[1], dtype=U.dtype).index_add_(0, index, U)
    return (sums / count[:, None])[index]


def conjugated(permutations: Indices, relabelling: Indices) -> Indices:
    """``s g s⁻¹`` of each row."""
    inverse = np.argsort(relabelling)
    return relabelling[permutations[:, inverse]]
