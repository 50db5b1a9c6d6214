"""The points of the binary cube ``{0, 1}^6``, moved by groups of permutations of their six places: a context of which
everything is known in closed form.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.contexture import TableContext
from msr.errors import ConfigError
from msr.groups import FiniteGroup
from msr.representations import Representation, natural, permutation

__all__ = ["BITS", "cube", "flips", "targets"]

PLACES = 6
BITS: NDArray[np.int64] = np.array(list(itertools.product((0, 1), repeat=PLACES)))
"""The points, ``(64, 6)``."""


def cube(group: FiniteGroup) -> Representation:
    """A group of permutations of 6 places, acting on the 64 points.

    Raises: ConfigError for a group on another number of places.
    """
    moves = natural(group).permutations
    if moves is None or moves.shape[1] != PLACES:
        raise ConfigError(f"a group of permutations of {PLACES} places is needed; got {group.name}")
    numbers = {tuple(bits): number for number, bits in enumerate(BITS)}
    images = np.empty((group.order, len(BITS)), dtype=np.int64)
    for element, move in enumerate(moves):
        moved = np.empty_like(BITS)
        moved[:, move] = BITS
        images[element] = [numbers[tuple(bits)] for bits in moved]
    return permutation(group, images)


def flips(chance: float) -> TableContext:
    """Each of the 6 bits is flipped with this chance: ``s = (1 − 2p)^k``, as often as there are ``k`` of 6 bits."""
    distances = (BITS[:, None] != BITS[None]).sum(-1)
    return TableContext(
        chance**distances * (1 - chance) ** (PLACES - distances), name=f"flips {chance:g}", of_points=True
    )


def targets() -> dict[str, Tensor]:
    """Functions of the points, ``(64,)`` float64 each: two that turns and mirrors keep, two that neither keeps, and one
    that turns keep and mirrors change the sign of.
    """
    x = torch.from_numpy(BITS).double()

    def handed(bits: Tensor) -> Tensor:
        after = [bits.roll(-step, 1) for step in range(4)]
        return (bits * after[1] * (1 - after[2]) * after[3]).sum(1)

    return {
        "parity": x.sum(1) % 2,
        "runs": (x != x.roll(-1, 1)).double().sum(1),
        "one bit": x[:, 0],
        "two bits": x[:, 0] * x[:, 1],
        "chirality": handed(x) - handed(x.flip(1)),
    }
