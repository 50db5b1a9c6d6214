"""Orbits of a group on the weights of a layer, and means over them."""

import numpy as np
import torch
from torch import Tensor

from msr.permutations.actions import Indices, orbit_labels

__all__ = ["averaged", "pair_orbits_of", "relabelled"]


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


def relabelled(orbits: Indices, s: Indices, t: Indices) -> Indices:
    """Orbits on weights ``(out · in,)`` of the group with inputs renamed by ``s`` and outputs by ``t``.

    Those of ``s g s⁻¹`` and ``t g t⁻¹`` are those of ``g``, moved; they keep their numbers.
    """
    moved = np.empty_like(orbits)
    moved[(t[:, None] * len(s) + s[None]).ravel()] = orbits
    return moved
