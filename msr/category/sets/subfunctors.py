"""Parts of functors to sets that every map respects; sieves, and the classifier of subobjects."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from msr.brief import Brief
from msr.category.categories.tables import FinCat
from msr.category.sets.elements import element_graph
from msr.category.sets.presheaves import Presheaf, SetFunctor
from msr.category.sets.set_functors import representable
from msr.errors import DataError
from msr.groups.immutable import frozen
from msr.permutations import Indices

__all__ = ["Classifier", "count_subfunctors", "sieve_counts", "list_subfunctors", "subobject_classifier"]

MOST = 100_000
"""Most subfunctors that are listed unless told otherwise."""


@dataclass(frozen=True, eq=False, repr=False)
class Classifier(Brief):
    """The presheaf ``Ω`` of sieves: maps from ``T`` to it are the sub-presheaves of ``T``.

    Attributes:
        presheaf: at each object ``X`` the sieves on it; an arrow ``f`` pulls a sieve ``S`` back to the arrows ``g``
            with ``f ∘ g`` in ``S``.
        sieves: for each object, ``(sieves, arrows into it)`` booleans: which arrows, in their order, each sieve holds.
        true: ``(n_obj,)`` the sieve of all arrows.
    """

    presheaf: Presheaf
    sieves: tuple[Indices, ...]
    true: Indices


def count_subfunctors(functor: SetFunctor) -> int:
    """How many subfunctors there are: choices of elements at each object that every map sends into themselves.

    The empty one and the whole count. A set on which a group acts has one for each set of orbits.
    """
    _, forward, backward = _closures(functor)
    counts: dict[int, int] = {0: 1}

    def count(inside: int) -> int:
        if inside not in counts:
            result = 1
            for part in _connected(inside, forward, backward):
                if part not in counts:
                    v = _busiest(part, forward, backward)
                    # With v all that it reaches is inside; without it nothing is that reaches it.
                    counts[part] = count(part & ~forward[v]) + count(part & ~backward[v])
                result *= counts[part]
            counts[inside] = result
        return counts[inside]

    return count((1 << len(forward)) - 1)


def list_subfunctors(functor: SetFunctor, *, most: int = MOST) -> Indices:
    """All subfunctors, ``(count, n_elements)`` booleans: which elements, by global number, each holds; smaller first.

    Raises: DataError where there are more than ``most``.
    """
    count = count_subfunctors(functor)
    if count > most:
        raise DataError(f"{functor.name} has {count} subfunctors, and at most {most} are listed")
    knots, forward, backward = _closures(functor)

    def choices(inside: int) -> Iterator[int]:
        if inside == 0:
            yield 0
            return
        v = _busiest(inside, forward, backward)
        for rest in choices(inside & ~forward[v]):
            yield rest | (forward[v] & inside)
        yield from choices(inside & ~backward[v])

    table = np.zeros((count, len(forward)), dtype=bool)
    for k, chosen in enumerate(choices((1 << len(forward)) - 1)):
        table[k] = [chosen >> v & 1 for v in range(len(forward))]
    members = table[:, knots]
    order = np.lexsort((*members.T[::-1], members.sum(axis=1))) if functor.n_elements else np.arange(count)
    return members[order]


def sieve_counts(category: FinCat) -> Indices:
    """``|Ω(X)|`` for each object: the number of sieves, sets of arrows into ``X`` that hold ``f ∘ g`` with each ``f``,
    ``(n_obj,)``.

    It is 2 for a group, and ``k + 1`` at an element of a chain with ``k`` elements at or below it.
    """
    return np.array([count_subfunctors(representable(category, X)) for X in category.objects], dtype=np.int64)


def subobject_classifier(category: FinCat, *, most: int = MOST) -> Classifier:
    """The presheaf of sieves of a category; ``|Nat(T, Ω)|`` is the number of sub-presheaves of ``T``.

    Raises: DataError for more than ``most`` sieves on an object.
    """
    sieves = []
    for X in category.objects:
        h = representable(category, X)
        arrows = category.arrows_into(X)
        sieves.append(list_subfunctors(h, most=most)[:, h.offsets[category.src[arrows]] + category.place[arrows]])
    numbers = [{row.tobytes(): k for k, row in enumerate(rows)} for rows in sieves]
    maps = []
    for f in range(category.n_mor):
        a = int(category.src[f])
        b = int(category.dst[f])
        into = category.arrows_into(b)
        places = np.searchsorted(into, category.comp[f, category.arrows_into(a)])
        pulled = np.ascontiguousarray(sieves[b][:, places])
        maps.append(np.array([numbers[a][row.tobytes()] for row in pulled], dtype=np.int64))
    presheaf = Presheaf.known(category, [len(rows) for rows in sieves], maps, "Ω")
    true = np.array([len(rows) - 1 for rows in sieves], dtype=np.int64)
    return Classifier(presheaf, tuple(frozen(rows) for rows in sieves), frozen(true))


def _closures(functor: SetFunctor) -> tuple[Indices, list[int], list[int]]:
    """The knot of each element, and for each knot the knots that it reaches and those that reach it, itself included,
    as bits of a number.

    Elements that the maps send to each other are in a subfunctor together or not at all.
    """
    knots = element_graph(functor).knots
    _, least = np.unique(knots, return_index=True)
    forward = []
    for element in least.tolist():
        X = int(functor.object_of_element[element])
        reached = functor.images_of(X, np.array([element - functor.offsets[X]]))[:, 0]
        forward.append(sum(1 << k for k in np.unique(knots[reached]).tolist()))
    backward = [0] * len(forward)
    for v, mask in enumerate(forward):
        for k in _bits(mask):
            backward[k] |= 1 << v
    return knots, forward, backward


def _bits(mask: int) -> Iterator[int]:
    """The places of the bits of a number, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _busiest(inside: int, forward: list[int], backward: list[int]) -> int:
    """The knot with the most others that it reaches or is reached by; of several the one with as many of both.

    A long chain is halved by it, so that the recursion is not as deep as the chain is long.
    """

    def business(v: int) -> tuple[int, int]:
        ahead = (forward[v] & inside).bit_count()
        behind = (backward[v] & inside).bit_count()
        return ((forward[v] | backward[v]) & inside).bit_count(), -abs(ahead - behind)

    return max(_bits(inside), key=business)


def _connected(inside: int, forward: list[int], backward: list[int]) -> Iterator[int]:
    """The connected parts of a set of knots."""
    while inside:
        part = inside & -inside
        grown = part
        while grown:
            v = grown.bit_length() - 1
            reached = (forward[v] | backward[v]) & inside & ~part
            part |= reached
            grown = (grown ^ (1 << v)) | reached
        yield part
        inside &= ~part
