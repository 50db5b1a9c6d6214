"""How a small group without a name is built: direct factors, or a normal subgroup and what is left of the group."""

from itertools import combinations

import numpy as np

from msr.discovery.catalogue import bracketed, known_name
from msr.groups import FiniteGroup
from msr.groups.permutations import Indices

__all__ = ["structure_name"]

_MAX_NORMAL = 100
"""Normal subgroups that are looked at."""
_DEEPEST = 1
"""Parts of parts that are taken apart in their turn."""
_MAX_LIFTS = 4096
"""Ways to lift generators of a quotient, above which no complement is looked for."""


def structure_name(group: FiniteGroup, depth: int = 0) -> tuple[str, bool]:
    """A name from normal subgroups, and whether it is proven: only that of a direct product of proven names is.

    ``N:Q`` is a semidirect product, with an action that the name leaves open; in ``N.Q`` no complement was found. Of
    all normal subgroups the one with the shortest name is chosen, so that the name depends on the group alone.
    """
    normal = _normal_subgroups(group)
    sizes = [int(members.sum()) for members in normal]
    for a, b in combinations(range(len(normal)), 2):
        if sizes[a] * sizes[b] == group.order and (normal[a] & normal[b]).sum() == 1:
            parts = [_named(_part(group, normal[i]), depth) for i in (a, b)]
            return " x ".join(sorted(bracketed(name) for name, _ in parts)), all(proven for _, proven in parts)
    found = []
    for members in normal:
        if depth == _DEEPEST:
            break
        inside, quotient = _part(group, members), _quotient(group, members)
        names = _named(inside, depth + 1)[0], _named(quotient, depth + 1)[0]
        if any(name.startswith("a ") for name in names):
            continue
        sign = ":" if _splits(group, members, quotient) else "."
        found.append((sign == ".", sign.join(map(_tight, names))))
    found.sort(key=lambda one: (one[0], len(one[1]), one[1]))
    return (found[0][1] if found else f"a group of order {group.order}"), False


def _named(group: FiniteGroup, depth: int) -> tuple[str, bool]:
    name = known_name(group)
    return (name, True) if name is not None else structure_name(group, depth + 1)


def _tight(name: str) -> str:
    return f"({name})" if any(mark in name for mark in " :.") else name


def _normal_subgroups(group: FiniteGroup) -> list[Indices]:
    """Masks of those but the group and 1, up to a number: joins of the closures of conjugacy classes."""
    found: dict[bytes, Indices] = {}
    for class_ in group.conjugacy_classes[1:]:
        mask = np.zeros(group.order, dtype=bool)
        mask[group.closure(class_.tolist())] = True
        found[mask.tobytes()] = mask
    least = list(found.values())
    frontier = least
    while frontier and len(found) < _MAX_NORMAL:
        reached = []
        for one in frontier:
            for other in least:
                if not (other & ~one).any():
                    continue
                # The product of two normal subgroups is one.
                mask = np.zeros(group.order, dtype=bool)
                mask[np.unique(group.table[np.ix_(np.flatnonzero(one), np.flatnonzero(other))])] = True
                if mask.tobytes() not in found:
                    found[mask.tobytes()] = mask
                    reached.append(mask)
        frontier = reached
    return sorted((m for m in found.values() if m.sum() < group.order), key=lambda m: (-int(m.sum()), m.tobytes()))


def _part(group: FiniteGroup, mask: Indices) -> FiniteGroup:
    return group.subgroup(np.flatnonzero(mask).tolist(), "N").group


def _quotient(group: FiniteGroup, mask: Indices) -> FiniteGroup:
    place, first = _cosets(group, mask)
    return FiniteGroup(place[group.table[np.ix_(first, first)]])


def _cosets(group: FiniteGroup, mask: Indices) -> tuple[Indices, Indices]:
    least = group.table[:, mask].min(1)
    first, place = np.unique(least, return_inverse=True)
    return place, first


def _splits(group: FiniteGroup, mask: Indices, quotient: FiniteGroup) -> bool:
    """Whether some lifts of generators of the quotient generate no more than the quotient has."""
    place, _ = _cosets(group, mask)
    lifts = [np.flatnonzero(place == q) for q in quotient.generators]
    if np.prod([float(len(one)) for one in lifts]) > _MAX_LIFTS:
        return False
    # A lift of the right order only; the first up to conjugation is not worth the trouble.
    orders = [quotient.element_orders[q] for q in quotient.generators]
    left = [one[group.element_orders[one] == order].tolist() for one, order in zip(lifts, orders, strict=True)]
    chosen: list[tuple[int, ...]] = [()]
    for options in left:
        chosen = [(*some, x) for some in chosen for x in options]
    return any(len(group.closure(some)) == quotient.order for some in chosen)
