"""Contexts on few points whose spectra are known in closed form."""

import itertools

import numpy as np
import torch

from msr.contexture import JointContext, TableContext
from msr.groups import FiniteGroup
from msr.representations import Representation, natural, permutation

BITS = np.array(list(itertools.product((0, 1), repeat=6)))
"""The points of the cube ``{0, 1}^6``, ``(64, 6)``."""


def cube(group: FiniteGroup) -> Representation:
    """A group of permutations of 6 places, acting on the points of the cube."""
    moves = natural(group).permutations
    assert moves is not None
    places = {tuple(bits): number for number, bits in enumerate(BITS)}
    images = np.empty((group.order, len(BITS)), dtype=np.int64)
    for g, move in enumerate(moves):
        moved = np.empty_like(BITS)
        moved[:, move] = BITS
        images[g] = [places[tuple(bits)] for bits in moved]
    return permutation(group, images)


def flips(chance: float) -> TableContext:
    """Each of the 6 bits is flipped with this chance: ``s = (1 − 2p)^k``, as often as there are ``k`` of 6 bits."""
    distances = (BITS[:, None] != BITS[None]).sum(-1)
    return TableContext(chance**distances * (1 - chance) ** (6 - distances), name="flips")


def random_joint(seed: int, n: int = 9, m: int = 7) -> JointContext:
    """A joint distribution with some pairs that never occur; its points have unequal weights."""
    draw = np.random.default_rng(seed)
    table = draw.gamma(0.5, size=(n, m)) * (draw.random((n, m)) > 0.2)
    table[np.arange(n), draw.integers(m, size=n)] += 0.05
    return JointContext(table / table.sum(), f"joint {seed}")


def random_encoder(seed: int, n: int, d: int) -> torch.Tensor:
    """An encoder without any structure, ``(n, d)``."""
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
