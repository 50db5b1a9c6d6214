"""Hypothesis strategies over groups, elements and points; needs the ``hypothesis`` package."""

from typing import TYPE_CHECKING

import torch

from msr.errors import MissingExtraError
from msr.groups import FiniteGroup, alternating, cyclic, dihedral, direct_product, quaternion, symmetric
from msr.representations import Representation, natural, quotient, regular, trivial

try:
    from hypothesis import strategies as st
except ModuleNotFoundError:
    raise MissingExtraError("msr.equivariance.strategies needs hypothesis: pip install hypothesis") from None

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["group_elements", "groups", "points", "representations"]


def group_elements(group: FiniteGroup) -> "SearchStrategy[int]":
    """A strategy of the elements of a group, by index; examples shrink towards the identity."""
    return st.integers(0, group.order - 1)


def groups(max_order: int = 24) -> "SearchStrategy[FiniteGroup]":
    """A strategy of small groups of order ``max_order`` at most; examples shrink towards the trivial group.

    It draws from a fixed list that ends with the symmetric group of order 24: cyclic, dihedral, symmetric and
    alternating ones, the quaternions, and a product of two cyclic ones.
    """
    small = [
        *(cyclic(n) for n in range(1, 9)), dihedral(2), symmetric(3), dihedral(4), quaternion(),
        direct_product(cyclic(2), cyclic(4)), dihedral(5), alternating(4), dihedral(6), symmetric(4),
    ]  # fmt: skip
    return st.sampled_from([group for group in small if group.order <= max_order])


def representations(group: FiniteGroup) -> "SearchStrategy[Representation]":
    """A strategy of permutation representations of a group, each of one kind or a direct sum of two.

    The kinds: trivial, regular, natural where the group acts on points, and on the cosets of each subgroup that one
    generator generates.
    """
    kinds = [trivial(group), regular(group)] + ([] if group.points is None else [natural(group)])
    # Cosets give transitive actions that are neither regular nor natural.
    kinds += [quotient(group, group.subgroup([g])) for g in group.generators]
    single = st.sampled_from(kinds)
    return single | st.tuples(single, single).map(lambda pair: pair[0] + pair[1])


def points(representation: Representation, batch: int = 4) -> "SearchStrategy[torch.Tensor]":
    """A strategy of standard normal inputs ``(batch, *shape)``, float64; each example comes from an integer seed."""

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, *representation.shape, generator=generator, dtype=torch.float64)

    return st.integers(0, 2**31 - 1).map(draw)
