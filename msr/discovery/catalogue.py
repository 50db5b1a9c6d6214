"""Small groups that have a name, and the proof that a group is one of them."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial, reduce
from itertools import product
from typing import NamedTuple

import numpy as np
from sympy import factorint  # type: ignore[import-untyped]

from msr.discovery.isomorphism import find_isomorphism, split_metacyclic
from msr.groups import (
    FiniteGroup,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    frobenius,
    quaternion,
    symmetric,
    wreath_product,
)
from msr.groups.permutations import Indices

__all__ = [
    "MAX_TABLE", "abelian_name", "bracketed", "find_isomorphism", "fingerprint", "invariants_from_killed",
    "known_name", "named_groups", "names_that_fit",
]  # fmt: skip

MAX_TABLE = 1024
"""Largest order whose table is built to prove an isomorphism."""


def fingerprint(group: FiniteGroup) -> dict[str, object]:
    """What isomorphic groups share: order, element orders, centre, classes, abelianisation, derived length."""
    return _written(_marks(group))


class _Marks(NamedTuple):
    """A fingerprint whose parts multiply: those of a direct product come from those of its factors."""

    order: int
    element_orders: dict[int, int]
    centre: int
    classes: dict[tuple[int, int], int]  # (size, order of its elements): how many
    abelianisation: int
    derived_length: int | None  # None where it never ends


def _marks(group: FiniteGroup) -> _Marks:
    derived = _derived(group)
    now, length = derived, int(group.order > 1)
    while now.order > 1 and (lower := _derived(now)).order < now.order:
        now, length = lower, length + 1
    # A group that equals its derived one, or reaches one that does, has no length.
    solvable = now.order == 1 and (derived.order < group.order or group.order == 1)
    return _Marks(
        order=group.order,
        element_orders=dict(sorted(Counter(group.element_orders.tolist()).items())),
        centre=len(group.centre),
        classes=dict(Counter((len(c), int(group.element_orders[c[0]])) for c in group.conjugacy_classes)),
        abelianisation=group.order // derived.order,
        derived_length=length if solvable else None,
    )


def _marks_of_product(a: _Marks, b: _Marks) -> _Marks:
    orders: Counter[int] = Counter()
    for (x, i), (y, j) in product(a.element_orders.items(), b.element_orders.items()):
        orders[math.lcm(x, y)] += i * j
    classes: Counter[tuple[int, int]] = Counter()
    for ((size, x), i), ((other, y), j) in product(a.classes.items(), b.classes.items()):
        classes[size * other, math.lcm(x, y)] += i * j
    lengths = (a.derived_length, b.derived_length)
    return _Marks(
        order=a.order * b.order,
        element_orders=dict(sorted(orders.items())),
        centre=a.centre * b.centre,
        classes=dict(classes),
        abelianisation=a.abelianisation * b.abelianisation,
        derived_length=None if None in lengths else max(length for length in lengths if length is not None),
    )


def _written(marks: _Marks) -> dict[str, object]:
    return {
        "order": marks.order,
        "element orders": marks.element_orders,
        "centre": marks.centre,
        "classes": sorted(c for c, count in marks.classes.items() for _ in range(count)),
        "abelianisation": marks.abelianisation,
        "derived length": marks.derived_length,
    }


def _derived(group: FiniteGroup) -> FiniteGroup:
    """The subgroup that commutators generate."""
    t, inverse = group.table, group.inverses
    commutators = np.unique(t[t, t[np.ix_(inverse, inverse)]])
    return group.subgroup(commutators.tolist()).group


def known_name(group: FiniteGroup) -> str | None:
    """A name with a proof.

    Abelian groups by their invariants, others by an isomorphism to a named group, or by two elements that keep the
    relations of a semidirect product of cyclic groups.
    """
    if group.is_abelian:
        return abelian_name(_abelian_invariants(group.element_orders))
    for name, make in _fitting(_marks(group)):
        if find_isomorphism(make(), group) is not None:
            return name
    return split_metacyclic(group)


def names_that_fit(group: FiniteGroup) -> tuple[str, ...]:
    """The named groups that share the fingerprint of a group that is not abelian."""
    return tuple(name for name, _ in _fitting(_marks(group)))


def abelian_name(invariants: Sequence[int]) -> str:
    """``C2 x C4`` from ``(2, 4)``."""
    return " x ".join(f"C{n}" for n in invariants) or "trivial"


def _abelian_invariants(element_orders: Indices) -> list[int]:
    """Invariant factors, each dividing the next: read off how many elements have an order that divides each power."""
    order = len(element_orders)
    killed = {
        p: [int((p**i % element_orders == 0).sum()) for i in range(1, most + 1)] for p, most in factorint(order).items()
    }
    return invariants_from_killed(killed)


def invariants_from_killed(killed: dict[int, list[int]]) -> list[int]:
    """Invariant factors from how many elements ``p``, ``p²``, … kill, for each prime ``p``."""
    factors: list[int] = []
    for prime, counts in killed.items():
        # log_p of the elements killed by p^i grows by the number of cyclic parts of length at least i.
        logs = [0, *(round(math.log(count, prime)) for count in counts)]
        parts = [logs[i] - logs[i - 1] for i in range(1, len(logs))]
        powers = [prime ** sum(p > j for p in parts) for j in range(parts[0])]
        factors += [1] * (len(powers) - len(factors))
        factors = [f * p for f, p in zip(factors, [*powers, *[1] * (len(factors) - len(powers))], strict=True)]
    return sorted(factors)


Maker = Callable[[], FiniteGroup]


def named_groups(order: int) -> Iterator[tuple[str, Maker]]:
    """Groups of this order that have a name, none abelian, simple names first."""
    for atoms, invariants in _products(order):
        yield _product_name(atoms, invariants), partial(_product, atoms, invariants)


def _fitting(marks: _Marks) -> Iterator[tuple[str, Maker]]:
    """The named groups that share the marks; factors have theirs computed once."""
    for atoms, invariants in _products(marks.order):
        parts = [_marks_of_atom(atom) for atom in atoms] + [_marks_of_cyclic(n) for n in invariants]
        if math.prod(p.centre for p in parts) != marks.centre:
            continue
        if (
            math.prod(p.abelianisation for p in parts) == marks.abelianisation
            and reduce(_marks_of_product, parts) == marks
        ):
            yield _product_name(atoms, invariants), partial(_product, atoms, invariants)


class _Atom(NamedTuple):
    """A named group that is not abelian."""

    name: str
    order: int
    make: Maker


@lru_cache(maxsize=4096)
def _marks_of(name: str, order: int) -> _Marks:
    return _marks(next(atom.make() for atom in _atoms(order) if atom.name == name))


def _marks_of_atom(atom: _Atom) -> _Marks:
    return _marks_of(atom.name, atom.order)


@lru_cache(maxsize=256)
def _marks_of_cyclic(n: int) -> _Marks:
    return _marks(cyclic(n))


@lru_cache(maxsize=256)
def _atoms(order: int) -> tuple[_Atom, ...]:
    return tuple(_Atom(name, order, make) for name, make in (*_simple(order), *_wreaths(order)))


@lru_cache(maxsize=256)
def _products(order: int) -> tuple[tuple[tuple[_Atom, ...], tuple[int, ...]], ...]:
    """Atoms and the orders of cyclic factors, fewest factors first."""

    def nonabelian(left: int, least: int) -> Iterator[tuple[tuple[_Atom, ...], int]]:
        yield (), left
        for a in (d for d in range(max(6, least), left + 1) if left % d == 0):
            for atom in _atoms(a):
                for rest, over in nonabelian(left // a, a):
                    yield (atom, *rest), over

    found = [
        (atoms, invariants)
        for atoms, over in nonabelian(order, 6)
        if atoms
        for invariants in (_abelian_types(over) if over > 1 else [()])
    ]
    return tuple(sorted(found, key=lambda one: (len(one[0]) + len(one[1]), -one[0][-1].order)))


def _product_name(atoms: tuple[_Atom, ...], invariants: tuple[int, ...]) -> str:
    if len(atoms) == 1 and not invariants:
        return atoms[0].name
    return " x ".join([*sorted(bracketed(atom.name) for atom in atoms), *(f"C{n}" for n in invariants)])


def _product(atoms: tuple[_Atom, ...], invariants: tuple[int, ...]) -> FiniteGroup:
    return direct_product(*(atom.make() for atom in atoms), *map(cyclic, invariants))


def _simple(order: int) -> Iterator[tuple[str, Maker]]:
    for n in range(3, 8):
        if math.factorial(n) == order:
            yield f"S{n}", partial(symmetric, n)
        if n > 3 and math.factorial(n) == 2 * order:
            yield f"A{n}", partial(alternating, n)
    if order % 2 == 0 and order >= 8:
        yield f"D{order // 2}", partial(dihedral, order // 2)
    if order % 4 == 0 and order >= 8:
        yield f"Q{order}", partial(quaternion, order)
    for p in (p for p in factorint(order) if p > 3):
        top = order // p
        if (p - 1) % top == 0 and top > 2:
            name = f"AGL(1,{p})" if top == p - 1 else f"C{p}:C{top} (Frobenius)"
            yield name, partial(frobenius, p, top)


def _wreath(make: Maker, top: FiniteGroup) -> FiniteGroup:
    return wreath_product(make(), top)


def _wreaths(order: int) -> Iterator[tuple[str, Maker]]:
    for count in (2, 3, 4, 5):
        for outer, top in ((f"C{count}", cyclic), (f"S{count}", symmetric)):
            if count == 2 and outer == "S2":
                continue
            above = top(count)
            if order % above.order:
                continue
            size = round((order // above.order) ** (1 / count))
            if size < 2 or size**count * above.order != order:
                continue
            inners: list[tuple[str, Maker]] = [(f"C{size}", partial(cyclic, size)), *_simple(size)]
            for inner, make in inners:
                yield f"{inner} wr {outer}", partial(_wreath, make, above)


def _abelian_types(order: int) -> Iterator[tuple[int, ...]]:
    """Invariant factors of the abelian groups of an order (above 1), each dividing the next."""

    def types(left: int, least: int) -> Iterator[tuple[int, ...]]:
        yield (left,)
        for d in range(max(2, least), left):
            if left % d == 0 and d % least == 0:
                for rest in types(left // d, d):
                    if rest[0] % d == 0:
                        yield (d, *rest)

    if order > 1:
        yield from types(order, 1)


def bracketed(name: str) -> str:
    """The name as a factor of a longer one."""
    return f"({name})" if " " in name else name
