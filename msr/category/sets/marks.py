"""Sets on which a finite group acts, up to isomorphism: orbits of subgroups, tables of marks, counts."""

from collections.abc import Iterator, Sequence

import numpy as np

from msr.category.categories.constructors import from_group
from msr.category.categories.tables import FinCat
from msr.category.integers import starts_of
from msr.category.sets.presheaves import Presheaf
from msr.category.sets.set_functors import action_presheaf
from msr.errors import ConfigError
from msr.groups import FiniteGroup, Subgroup
from msr.groups.group import whole_number
from msr.permutations import Indices

__all__ = ["count_group_sets", "coset_moves", "group_sets", "orbit_presheaf", "orbit_sizes", "table_of_marks"]


def coset_moves(group: FiniteGroup, subgroup: Subgroup | Sequence[int]) -> Indices:
    """How a group acts on the left cosets ``xH`` of a subgroup, ``(order, cosets)``; coset 0 is ``H``.

    Raises: AxiomError where the elements given are no subgroup.
    """
    cosets = group.cosets(subgroup)
    which = np.empty(group.order, dtype=np.int64)
    for c, members in enumerate(cosets):
        which[members] = c
    return which[group.table[:, [int(members[0]) for members in cosets]]]


def orbit_presheaf(group: FiniteGroup, subgroup: Subgroup | Sequence[int], category: FinCat | None = None) -> Presheaf:
    """The orbit ``G/H`` as a presheaf on ``BG``, ``T(g)(x) = g⁻¹·x``.

    ``category``: :func:`from_group` of the group, where it is there already.
    """
    moves = coset_moves(group, subgroup)
    stabiliser = group.order // moves.shape[1]
    return action_presheaf(category or from_group(group), moves, f"{group.name}/{stabiliser}")


def orbit_sizes(group: FiniteGroup) -> tuple[int, ...]:
    """The sizes of the orbits ``G/H``, one for each class of subgroups, largest first: all sets that cannot be cut."""
    return tuple(group.order // len(classes[0]) for classes in group.subgroup_classes())


def table_of_marks(group: FiniteGroup) -> Indices:
    """``|Hom(G/Hᵢ, G/Hⱼ)|`` for all pairs of classes of subgroups, row ``i``: the number of points of ``G/Hⱼ`` that
    ``Hᵢ`` fixes.

    Classes are those of ``group.subgroup_classes()``, so that the orders of the stabilisers increase. It is the
    transpose of GAP's table of marks.
    Shapes: ``(classes, classes)``.
    """
    chosen = [classes[0] for classes in group.subgroup_classes()]
    members = np.zeros((len(chosen), group.order), dtype=bool)
    for j, H in enumerate(chosen):
        members[j, list(H)] = True
    # Coset x Hⱼ is fixed by h where x⁻¹ h x lies in Hⱼ: row x, column h.
    conjugates = group.table[group.inverses[:, None], group.table.T]
    marks = np.zeros((len(chosen), len(chosen)), dtype=np.int64)
    for i, H in enumerate(chosen):
        fixed = members[:, conjugates[:, list(H)]].all(axis=2).sum(axis=1)
        marks[i] = fixed // members.sum(axis=1)
    return marks


def count_group_sets(group: FiniteGroup, up_to: int) -> tuple[int, ...]:
    """How many sets of 0, 1, …, ``up_to`` elements a group acts on, up to isomorphism."""
    return sums_of(orbit_sizes(group), _size(up_to, "count_group_sets"))


def group_sets(group: FiniteGroup, size: int) -> tuple[Presheaf, ...]:
    """All sets of ``size`` elements on which a group acts, up to isomorphism, as presheaves on one category ``BG``."""
    n = _size(size, "group_sets")
    category = from_group(group)
    chosen = [classes[0] for classes in group.subgroup_classes()]
    moves = [coset_moves(group, H) if group.order // len(H) <= n else None for H in chosen]
    sizes = [group.order // len(H) for H in chosen]
    found = []
    for counts in _multisets(sizes, n):
        parts = [move for move, count in zip(moves, counts, strict=True) if move is not None for _ in range(count)]
        starts = starts_of(np.array([part.shape[1] for part in parts], dtype=np.int64))
        joined = [part + start for part, start in zip(parts, starts, strict=False)]
        images = np.concatenate(joined, axis=1) if joined else np.zeros((group.order, 0), dtype=np.int64)
        name = " + ".join(str(part.shape[1]) for part in parts) or "empty"
        found.append(Presheaf.known(category, [n], images[category.inverses], name))
    return tuple(found)


def sums_of(sizes: Sequence[int], up_to: int) -> tuple[int, ...]:
    """How many multisets of things of these sizes have the total size 0, 1, …, ``up_to``."""
    counts = [1] + [0] * up_to
    for size in sizes:
        for n in range(size, up_to + 1):
            counts[n] += counts[n - size]
    return tuple(counts)


def _multisets(sizes: Sequence[int], total: int) -> Iterator[list[int]]:
    """How often each of some sizes is taken, for every way to make a total."""
    if not sizes:
        if total == 0:
            yield []
        return
    for count in range(total // sizes[0], -1, -1):
        for rest in _multisets(sizes[1:], total - count * sizes[0]):
            yield [count, *rest]


def _size(value: int, what: str) -> int:
    """A size as Python's whole number; ConfigError for anything else."""
    n = whole_number(value)
    if n is None or n < 0:
        raise ConfigError(f"{what}: a size is a whole number, 0 or more; got {value!r}")
    return n
