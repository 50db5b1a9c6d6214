"""A small group without a name as an extension: direct factors, or a normal subgroup and the quotient by it."""

from collections import defaultdict

import numpy as np

from msr.groups import FiniteGroup
from msr.groups.naming.catalogue import bracketed, find_isomorphism, known_name
from msr.permutations import Indices
from msr.permutations.work_budget import WorkSpent, limited, spend

__all__ = ["structure_name"]

_MAX_NORMAL = 100
"""Normal subgroups after which no more joins of them are made. Chosen by hand."""
_MAX_LIFTS = 4096
"""Ways to lift generators of a quotient above which no complement is searched for. Chosen by hand."""
_MAX_MATCH = 1000
"""Steps of a search for an isomorphism to a part that was named before. Chosen by hand."""
_MOST_WORK = 2e6
"""Steps that a name may take, about a microsecond each."""


def structure_name(group: FiniteGroup) -> tuple[str, bool]:
    """A name from the normal subgroups, and whether it is proven, as only a direct product of proven factors is.

    ``N:Q`` is a semidirect product, whose action the name leaves open; in ``N.Q`` no complement was found. Of all
    normal subgroups the one that gives the shortest name is chosen, so that the name depends on the group alone. A
    group for which that would take too long is described by its order.
    """
    try:
        with limited(_MOST_WORK):
            return _Names().of_parts(group)
    except WorkSpent:
        return _unnamed(group), False


def _unnamed(group: FiniteGroup) -> str:
    return f"a group of order {group.order}"


class _Names:
    """Names of groups and of their parts; isomorphic parts are named once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], list[tuple[FiniteGroup, tuple[str, bool]]]] = defaultdict(list)

    def of(self, group: FiniteGroup) -> tuple[str, bool]:
        """The name of a part: a proven one, or how it is built."""
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
        """How a group is built, and whether that is proven."""
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
            name = ":".join(map(_bracketed, extension[0]))
            return len(name), name

        extensions.sort(key=shortest_first)
        # Whether an extension splits takes long to tell, so the shortest names are tried first.
        for names, mask in extensions:
            if _splits(group, mask):
                return ":".join(map(_bracketed, names)), False
        return (".".join(map(_bracketed, extensions[0][0])) if extensions else _unnamed(group)), False


def _bracketed(name: str) -> str:
    """The name as a part of an extension, in brackets where it has parts itself."""
    return f"({name})" if any(mark in name for mark in " :.") else name


def _normal_subgroups(group: FiniteGroup) -> list[Indices]:
    """Masks of the proper normal subgroups, largest first: the closures of conjugacy classes, and joins of them."""
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
    """The first two normal subgroups that meet in the identity alone and whose orders multiply to the group's."""
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
    """A normal subgroup as a group of its own."""
    spend(300 + int(mask.sum()) ** 2 / 100)
    return group.subgroup(np.flatnonzero(mask).tolist(), "N").group


def _quotient(group: FiniteGroup, mask: Indices) -> FiniteGroup:
    place, first = _cosets(group, mask)
    spend(300 + len(first) ** 2 / 20)
    return FiniteGroup(place[group.table[np.ix_(first, first)]])


def _cosets(group: FiniteGroup, mask: Indices) -> tuple[Indices, Indices]:
    """The number of the coset of each element, and the least element of each coset."""
    spend(50 + group.order * int(mask.sum()) / 100)
    least = group.table[:, mask].min(1)
    first, place = np.unique(least, return_inverse=True)
    return place, first


def _splits(group: FiniteGroup, mask: Indices) -> bool:
    """Whether the extension splits: some lifts of generators of the quotient generate no more elements than it has."""
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
    """Whether some elements generate a subgroup of at most ``most`` elements."""
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
