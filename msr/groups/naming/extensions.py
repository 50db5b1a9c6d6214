"""A small group without a name as an extension: direct factors, or a normal subgroup and the quotient by it."""

from collections import defaultdict

import numpy as np

from msr.groups import FiniteGroup
from msr.groups.naming.catalogue import bracketed, find_isomorphism, known_name
from msr.permutations import Indices
from msr.permutations.work_budget import WorkSpent, limited, spend

__all__ = ["structure_name"]

_MAX_NORMAL = 100
"""Number of normal subgroups after which no more joins of them are made. Chosen by hand."""
_MAX_LIFTS = 4096
"""Number of ways to lift generators of a quotient above which no complement is searched for. Chosen by hand."""
_MAX_MATCH = 1000
"""Steps of a search for an isomorphism between a part and one that was named before. Chosen by hand."""
_MOST_WORK = 2e6
"""Steps that a name may take, about a microsecond each."""


def structure_name(group: FiniteGroup) -> tuple[str, bool]:
    """A name from the normal subgroups of a group that is not abelian, and whether it is proven, as only a direct
    product of proven factors is.

    ``N:Q`` is a semidirect product, whose action the name leaves open; in ``N.Q`` no complement was found. The names of
    semidirect products come first, and of several names the shortest is chosen, so that it depends on the group alone.
    A group for which that would take more than ``_MOST_WORK`` steps is described by its order, as is one without normal
    subgroups that have names.
    """
    try:
        with limited(_MOST_WORK):
            return _Names().of_parts(group)
    except WorkSpent:
        return _unnamed(group), False


def _unnamed(group: FiniteGroup) -> str:
    """A description of the group by its order: ``a group of order n``."""
    return f"a group of order {group.order}"


class _Names:
    """Names of a group and of its parts (subgroups and quotients), kept so that isomorphic parts are named once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], list[tuple[FiniteGroup, tuple[str, bool]]]] = defaultdict(list)

    def of(self, group: FiniteGroup) -> tuple[str, bool]:
        """The name of a part, and whether it is proven: by the catalogue, or else by how the part is built
        (:meth:`of_parts`).
        """
        if group.is_abelian:
            spend(50 + group.order)
            return known_name(group) or _unnamed(group), True
        # Groups that differ may agree in these numbers; an isomorphism proves that two of them do not differ.
        sizes = np.bincount(group.class_index)
        kind = (
            group.order,
            len(group.centre),
            *np.bincount(group.element_orders).tolist(),
            *np.bincount(sizes).tolist(),
        )
        spend(50 + group.order)
        for other, name in self._known[kind]:
            if find_isomorphism(other, group, most=_MAX_MATCH) is not None:
                return name
        proven = known_name(group)
        name = (proven, True) if proven is not None else self.of_parts(group)
        self._known[kind].append((group, name))
        return name

    def of_parts(self, group: FiniteGroup) -> tuple[str, bool]:
        """How a group is built, ``A x B``, ``N:Q`` or ``N.Q``, or its order in words; and whether that is proven.

        Proven is only a direct product of parts whose names are proven.
        """
        normal = _normal_subgroups(group)
        factors = _direct_factors(group, normal)
        if factors is not None:
            parts = [self.of(_part(group, mask)) for mask in factors]
            return " x ".join(sorted(bracketed(name) for name, _ in parts)), all(proven for _, proven in parts)
        extensions = []
        for mask in normal:
            names = self.of(_part(group, mask))[0], self.of(_quotient(group, mask))[0]
            # Parts that are themselves only described make no name.
            if not any(name.startswith("a ") for name in names):
                extensions.append((names, mask))

        def shortest_first(extension: tuple[tuple[str, str], Indices]) -> tuple[int, str]:
            """The key by which extensions are sorted: the length of the name, then the name."""
            name = ":".join(map(_bracketed, extension[0]))
            return len(name), name

        extensions.sort(key=shortest_first)
        # Whether an extension splits takes long to tell, so the shortest names are tried first.
        for names, mask in extensions:
            if _splits(group, mask):
                return ":".join(map(_bracketed, names)), False
        return (".".join(map(_bracketed, extensions[0][0])) if extensions else _unnamed(group)), False


def _bracketed(name: str) -> str:
    """The name as a part of an extension: in brackets where it contains a space, a colon or a full stop."""
    return f"({name})" if any(mark in name for mark in " :.") else name


def _normal_subgroups(group: FiniteGroup) -> list[Indices]:
    """Normal subgroups except the trivial one and the whole group, largest first, as masks ``(order,)`` of their
    elements.

    They are the closures of conjugacy classes and the joins of such closures; past ``_MAX_NORMAL`` no more joins are
    made.
    """
    known: dict[bytes, Indices] = {}
    for class_ in group.conjugacy_classes[1:]:
        spend(100 + group.order * len(class_) / 100)
        mask = np.zeros(group.order, dtype=bool)
        mask[group.closure(class_.tolist())] = True
        known[mask.tobytes()] = mask
    of_classes = list(known.values())
    frontier = of_classes
    while frontier and len(known) < _MAX_NORMAL:
        reached = []
        for a in frontier:
            for b in of_classes:
                spend(5)
                if not (b & ~a).any():
                    continue
                # The set of products of two normal subgroups is a normal subgroup.
                spend(30 + int(a.sum()) * int(b.sum()) / 30)
                mask = np.zeros(group.order, dtype=bool)
                mask[group.table[np.ix_(np.flatnonzero(a), np.flatnonzero(b))]] = True
                if mask.tobytes() not in known:
                    known[mask.tobytes()] = mask
                    reached.append(mask)
        frontier = reached
    return sorted((m for m in known.values() if m.sum() < group.order), key=lambda m: (-int(m.sum()), m.tobytes()))


def _direct_factors(group: FiniteGroup, normal: list[Indices]) -> tuple[Indices, Indices] | None:
    """The first two of these normal subgroups that meet in the identity alone and whose orders multiply to the group's;
    or None.

    ``normal``, as :func:`_normal_subgroups` gives them, and the result are masks ``(order,)`` of elements.
    """
    sizes = [int(mask.sum()) for mask in normal]
    of_size: dict[int, list[int]] = defaultdict(list)
    for i, size in enumerate(sizes):
        of_size[size].append(i)
    for a, size in enumerate(sizes):
        for b in of_size[group.order // size] if group.order % size == 0 else ():
            spend(3)
            if b > a and (normal[a] & normal[b]).sum() == 1:
                return normal[a], normal[b]
    return None


def _part(group: FiniteGroup, mask: Indices) -> FiniteGroup:
    """The normal subgroup of the elements in ``mask``, ``(order,)``, as a group of its own."""
    spend(300 + int(mask.sum()) ** 2 / 100)
    return group.subgroup(np.flatnonzero(mask).tolist(), "N").group


def _quotient(group: FiniteGroup, mask: Indices) -> FiniteGroup:
    """The quotient by the normal subgroup of the elements in ``mask``, ``(order,)``; its elements are numbered as
    the cosets.
    """
    place, first = _cosets(group, mask)
    spend(300 + len(first) ** 2 / 20)
    return FiniteGroup(place[group.table[np.ix_(first, first)]])


def _cosets(group: FiniteGroup, mask: Indices) -> tuple[Indices, Indices]:
    """The number of the coset of each element, ``(order,)``, and the least element of each coset, ``(cosets,)``.

    ``mask``: the elements of a normal subgroup, ``(order,)``. Cosets are numbered by their least elements.
    """
    spend(50 + group.order * int(mask.sum()) / 100)
    least = group.table[:, mask].min(1)
    first, place = np.unique(least, return_inverse=True)
    return place, first


def _splits(group: FiniteGroup, mask: Indices) -> bool:
    """Whether the normal subgroup with this mask has a complement: lifts of generators of the quotient that generate no
    more elements than the quotient has.

    False too where there are more than ``_MAX_LIFTS`` lifts to try, so that False is no proof.
    """
    place, _ = _cosets(group, mask)
    quotient = _quotient(group, mask)
    lifts = [np.flatnonzero(place == q) for q in quotient.generators]
    # In floating point, since the product of many lengths overflows a whole number.
    if np.prod([float(len(lift)) for lift in lifts]) > _MAX_LIFTS:
        return False
    # In a complement an element has the order of its image.
    orders = [quotient.element_orders[q] for q in quotient.generators]
    candidates = [lift[group.element_orders[lift] == order].tolist() for lift, order in zip(lifts, orders, strict=True)]
    sizes = [len(quotient.closure(quotient.generators[: i + 1])) for i in range(len(candidates))]
    chosen: list[int] = []
    # Depth first: where the first few lifts generate too much already, the others are not tried.
    # Lists are reversed, because pop takes from the end.
    options = [candidates[0][::-1]]
    while options:
        if not options[-1]:
            options.pop()
            if chosen:
                chosen.pop()
            continue
        chosen.append(options[-1].pop())
        if not _generate_at_most(group, chosen, sizes[len(chosen) - 1]):
            chosen.pop()
        elif len(chosen) == len(candidates):
            return True
        else:
            options.append(candidates[len(chosen)][::-1])
    return False


def _generate_at_most(group: FiniteGroup, chosen: list[int], most: int) -> bool:
    """Whether the elements ``chosen`` generate a subgroup of at most ``most`` elements."""
    inside = np.zeros(group.order, dtype=bool)
    inside[0] = True
    frontier = np.zeros(1, dtype=np.int64)
    count = 1
    generators = np.asarray(chosen)
    while len(frontier):
        spend(12 + len(frontier) * len(chosen) / 20)
        reached = np.unique(group.table[np.ix_(frontier, generators)])
        frontier = reached[~inside[reached]]
        inside[frontier] = True
        count += len(frontier)
        if count > most:
            return False
    return True
