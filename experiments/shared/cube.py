"""The points of a binary cube such as ``{0, 1}^6``, moved by groups of permutations of their places: a context of which
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

__all__ = ["BITS", "cube", "flips", "points", "targets"]

_MOST_PLACES = 12  # 4,096 points


def points(places: int) -> NDArray[np.int64]:
    """All texts of so many bits, ``(2^places, places)``, in the order of binary numbers."""
    return np.array(list(itertools.product((0, 1), repeat=places)))


BITS = points(6)
"""The points of the cube of six places, ``(64, 6)``."""


def cube(action: FiniteGroup | Representation) -> Representation:
    """A group of permutations of places, acting on all texts of so many bits.

    ``action`` is how it permutes the places; of a group, the way that it is made of permutations.
    Raises: ConfigError for an action that does not permute, or on more than 12 places.
    """
    of_places = natural(action) if isinstance(action, FiniteGroup) else action
    moves = of_places.permutations
    if moves is None or moves.shape[1] > _MOST_PLACES:
        raise ConfigError(
            f"a group of permutations of at most {_MOST_PLACES} places is needed; got {of_places.name} on "
            f"{of_places.dim}"
        )
    places = moves.shape[1]
    bits = points(places)
    weights = 2 ** np.arange(places)[::-1]
    # Bit i of a point goes to the place move[i]: there it counts as much as that place does.
    return permutation(of_places.group, (bits @ weights[moves].T).T)


def flips(chance: float, places: int = 6) -> TableContext:
    """Each bit is flipped with this chance: ``s = (1 − 2p)^k``, as often as there are ``k`` of the bits."""
    bits = points(places)
    distances = (bits[:, None] != bits[None]).sum(-1)
    return TableContext(
        chance**distances * (1 - chance) ** (places - distances), name=f"flips {chance:g}", of_points=True
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
