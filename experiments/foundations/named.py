"""Groups that discovery names from tasks, as finite groups that act on the places of an input."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from msr.discovery import discover
from msr.groups import FiniteGroup, cyclic, dihedral, from_permutations
from msr.permutations import Indices
from msr.representations import Representation, natural
from msr.tasks import sample_group

__all__ = ["HIDDEN", "Named", "named_group"]

HIDDEN: dict[str, Callable[[], Representation]] = {
    "C4": lambda: natural(cyclic(4)),
    "D4": lambda: natural(dihedral(4)),
}
"""Groups that are hidden in tasks, each as it permutes four places."""
TASKS = 200
NOISE = 0.1
"""Noise on the outputs of the tasks, in units of their size."""


class Named(NamedTuple):
    """A group as it permutes places.

    Attributes:
        name: what it is called.
        group: the group.
        moves: ``(order, places)``: where each element sends each place.
    """

    name: str
    group: FiniteGroup
    moves: Indices


@lru_cache(maxsize=8)
def named_group(hidden: str, seed: int) -> Named | None:
    """The group that discovery names from linear tasks which a hidden group leaves as they are; None where it names
    none, or one that moves inputs and outputs differently.
    """
    action = HIDDEN[hidden]()
    sample = sample_group(action, action, n_tasks=TASKS, noise=NOISE, seed=seed)
    answer = discover(sample.x, sample.y, seed=seed, threads=torch.get_num_threads())
    inputs, outputs = answer.generators()
    if answer.verdict != "found" or answer.group is None or not np.array_equal(inputs, outputs):
        return None
    group = from_permutations(list(inputs), name=answer.group.name)
    acting = natural(group)
    return Named(answer.group.name, group, np.stack([acting.moves(g) for g in group.elements]))
