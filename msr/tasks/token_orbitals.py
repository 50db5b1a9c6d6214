"""The token group that attention tasks hide: which biases have it, and which group a changed entry leaves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.errors import ConfigError, ShapeError
from msr.flow.symmetries.closures import is_two_closed, permutations_that_keep, two_closure
from msr.groups import PermutationGroup
from msr.groups.group import whole_number
from msr.permutations import Indices, orbitals

__all__ = ["HiddenTokens", "hidden_tokens"]


@dataclass(frozen=True, eq=False, repr=False)
class HiddenTokens(Brief):
    """A group of permutations of ``n`` tokens, and its orbits on pairs of them.

    Attributes:
        group: the group, with generators.
        labels: ``(n, n)``: the number of the orbital of each pair. A bias is constant on each.

    Raises: ShapeError; ConfigError for labels that a generator does not keep.
    """

    group: PermutationGroup
    labels: Indices

    def __post_init__(self) -> None:
        n = self.group.degree
        if self.labels.shape != (n, n):
            raise ShapeError(f"labels must be ({n}, {n}), as the group has {n} points; got {self.labels.shape}")
        for p in self.group.generator_points:
            if (self.labels[p][:, p] != self.labels).any():
                raise ConfigError(f"{p.tolist()} does not keep the labels of pairs")

    @property
    def n(self) -> int:
        """How many tokens there are."""
        return self.group.degree

    @property
    def orbitals(self) -> int:
        """How many orbits on pairs there are: the dimension of the equivariant matrices ``(n, n)``."""
        return int(self.labels.max()) + 1

    @takes_arrays("free")
    def biases(self, free: Tensor) -> Tensor:
        """``M = Σ_k m_k 1_k``. Shapes: ``free (tasks, orbitals)``; the result is ``(tasks, n, n)``."""
        return free[:, torch.from_numpy(self.labels)]

    def holds(self, permutations: Indices) -> np.ndarray:
        """Which permutations ``(r, n)`` keep all orbitals, ``(r,)``: those of the group, which is 2-closed."""
        moved = self.labels[permutations[:, :, None], permutations[:, None, :]]
        return (moved == self.labels).all((1, 2))

    def broken_at(self, entry: tuple[int, int]) -> "HiddenTokens":
        """What is left of the group where one entry of the bias is changed: the permutations that keep that pair.

        Raises: ConfigError for no entry, and for one that is an orbital of its own, so that nothing is broken.
        """
        places = [whole_number(place) for place in entry] if isinstance(entry, (tuple, list)) else []
        if len(places) != 2 or any(place is None or not 0 <= place < self.n for place in places):
            raise ConfigError(f"the entry must be a pair of tokens, 0 to {self.n - 1}; got {entry}")
        i, j = entry
        if (self.labels == self.labels[i, j]).sum() == 1:
            raise ConfigError(f"the group keeps the pair {entry}: a change of that entry breaks nothing")
        labels = 2 * self.labels
        labels[i, j] += 1
        moves, order = permutations_that_keep(labels)
        group = PermutationGroup(
            [np.arange(self.n), *moves], f"what keeps {entry} of {self.group.name}", order=order
        )  # fmt: skip
        return HiddenTokens(group, orbitals(moves, moves).reshape(self.n, self.n))


def hidden_tokens(group: Any) -> HiddenTokens:
    """A token group and its orbitals: see :class:`HiddenTokens`.

    Args:
        group: as for :func:`~msr.flow.symmetries.closures.two_closure`: a group with points, or permutations ``(r, n)``
            that generate one, such as the identity alone for the trivial group.

    Raises: ConfigError for a group that is not 2-closed: the tasks would have a larger one; ConfigError, ShapeError and
    AxiomError for what is no group of permutations.
    """
    closure = two_closure(group)
    name = getattr(group, "name", None)
    if not is_two_closed(group):
        raise ConfigError(
            f"{name or 'the group'} is not 2-closed: its orbits on pairs of tokens are those of a larger group, of "
            f"order {closure.order}, which is what all tasks would have; give that one, two_closure(group), or another"
        )
    moves = closure.generator_points
    n = closure.degree
    shown = name or ("G" if closure.order > 1 else "trivial")
    own = PermutationGroup([np.arange(n), *moves], shown, order=closure.order)
    return HiddenTokens(own, orbitals(moves, moves).reshape(n, n))
