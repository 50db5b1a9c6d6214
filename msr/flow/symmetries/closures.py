"""The 2-closure of a permutation group: all permutations that keep each of its orbits on pairs of points.

Tables of pairs, such as a bias of attention or the weights of an equivariant layer, can show a group up to its
2-closure only. So hidden groups of tasks should be 2-closed: see :func:`is_two_closed`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from msr.errors import ConfigError
from msr.groups import FiniteGroup, PermutationGroup
from msr.groups.closure import as_permutations
from msr.permutations import Indices, automorphisms, orbitals
from msr.permutations.stabiliser_chains import Chain

__all__ = ["is_two_closed", "permutations_that_keep", "two_closure"]


def two_closure(group: Any) -> PermutationGroup:
    """The 2-closure of a permutation group: the largest group with the same orbits on pairs of points.

    It is the group of permutations that keep the labels of the orbitals, and it holds the group itself.

    Args:
        group: a group with points: a :class:`~msr.groups.PermutationGroup`, a :class:`~msr.groups.FiniteGroup` that
            acts on points, or permutations ``(r, n)`` that generate one.

    Raises: ConfigError for a group without points, or where the search gives up; ShapeError, AxiomError for what are no
    permutations; MissingExtraError where another engine would be needed.
    """
    moves = _generators(group)
    n = moves.shape[1]
    kept, order = permutations_that_keep(orbitals(moves, moves).reshape(n, n))
    name = getattr(group, "name", "G")
    return PermutationGroup([np.arange(n), *kept], f"the 2-closure of {name}", order=order)


def is_two_closed(group: Any) -> bool:
    """Whether a permutation group is its own :func:`two_closure`, so that tables of pairs can show it.

    ``C_n``, ``D_n``, ``S_n``, every regular group and products of such on separate points are; ``A_4`` and
    ``AGL(1,5)`` are not, as all doubly transitive groups but ``S_n``.

    Args, and what is refused: as for :func:`two_closure`; ConfigError, too, where the order of the group itself cannot
    be proven in time.
    """
    closure = two_closure(group)
    return Chain(_generators(group), most=closure.order).order == closure.order


def permutations_that_keep(colours: Indices) -> tuple[Indices, int]:
    """Generators ``(r, n)`` and the order of the group of permutations of points that keep the colours of all pairs.

    ``colours[p(i), p(j)] = colours[i, j]``. ``colours (n, n)`` are whole numbers of which only equality counts.
    """
    n = len(colours)
    labels = np.unique(colours, return_inverse=True)[1].reshape(n, n)
    # The search finds pairs (p, q), one for columns and one for rows. Where the diagonal has colours of its own, entry
    # (q(i), p(i)) must lie on it again, and so q = p.
    found = automorphisms(2 * labels + np.eye(n, dtype=np.int64))
    assert np.array_equal(found.generators_in, found.generators_out), "rows and columns move apart"
    return found.generators_in, found.order


def _generators(group: Any) -> Indices:
    """Permutations that generate a group, ``(r, n)``; at least one row, which may be the identity."""
    if isinstance(group, PermutationGroup):
        return np.concatenate([np.arange(group.degree)[None], group.generator_points])
    if isinstance(group, FiniteGroup):
        if group.points is None:
            raise ConfigError(f"{group.name} acts on no points; give it with points, or give permutations (r, n)")
        return group.points[[0, *map(int, group.generators)]]
    if not isinstance(group, (np.ndarray, Sequence)) or isinstance(group, str):
        raise ConfigError(f"group must be a group with points, or permutations (r, n); got {str(group)[:40]!r}")
    rows: Sequence[Any] = list(np.atleast_2d(np.asarray(group))) if isinstance(group, np.ndarray) else list(group)
    return as_permutations(rows, "group")
