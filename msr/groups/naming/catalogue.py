"""Small groups that have a name, and the proof that a group is one of them."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial, reduce

from sympy import factorint  # type: ignore[import-untyped]

from msr.groups import FiniteGroup, cyclic, direct_product
from msr.groups.naming.invariants import Invariants, fingerprint, invariants_of, invariants_of_product
from msr.groups.naming.isomorphism import find_isomorphism, split_metacyclic
from msr.groups.naming.named_factors import Maker, NamedFactor, abelian_types, named_factors
from msr.permutations import Indices
from msr.permutations.work_budget import uncounted

__all__ = [
    "MAX_TABLE", "abelian_name", "bracketed", "find_isomorphism", "fingerprint", "invariant_factors",
    "known_name", "named_groups", "names_that_fit",
]  # fmt: skip

MAX_TABLE = 1024
"""Largest order whose table is built to prove an isomorphism."""


def known_name(group: FiniteGroup) -> str | None:
    """A name with a proof.

    Abelian groups by their invariants, others by an isomorphism to a named group, or by two elements that keep the
    relations of a semidirect product of cyclic groups.
    """
    if group.is_abelian:
        return abelian_name(_abelian_invariant_factors(group.element_orders))
    for name, make in _fitting(invariants_of(group)):
        if find_isomorphism(make(), group) is not None:
            return name
    return split_metacyclic(group)


def names_that_fit(group: FiniteGroup) -> tuple[str, ...]:
    """The named groups that share the fingerprint of a group that is not abelian."""
    return tuple(name for name, _ in _fitting(invariants_of(group)))


def abelian_name(invariants: Sequence[int]) -> str:
    """``C2 x C4`` from ``(2, 4)``."""
    return " x ".join(f"C{n}" for n in invariants) or "trivial"


def _abelian_invariant_factors(element_orders: Indices) -> list[int]:
    """Invariant factors, each dividing the next: read off how many elements have an order that divides each power."""
    order = len(element_orders)
    killed = {
        p: [int((p**i % element_orders == 0).sum()) for i in range(1, most + 1)] for p, most in factorint(order).items()
    }
    return invariant_factors(killed)


def invariant_factors(killed: dict[int, list[int]]) -> list[int]:
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


def named_groups(order: int) -> Iterator[tuple[str, Maker]]:
    """Groups of this order that have a name, none abelian, simple names first."""
    for atoms, invariants in _products(order):
        yield _product_name(atoms, invariants), partial(_product, atoms, invariants)


def _fitting(marks: Invariants) -> Iterator[tuple[str, Maker]]:
    """The named groups that share the marks; factors have theirs computed once."""
    for atoms, invariants in _products(marks.order):
        parts = [_marks_of_atom(atom) for atom in atoms] + [_marks_of_cyclic(n) for n in invariants]
        if math.prod(p.centre for p in parts) != marks.centre:
            continue
        if (
            math.prod(p.abelianisation for p in parts) == marks.abelianisation
            and reduce(invariants_of_product, parts) == marks
        ):
            yield _product_name(atoms, invariants), partial(_product, atoms, invariants)


@lru_cache(maxsize=4096)
def _marks_by_name(name: str, order: int) -> Invariants:
    with uncounted():
        return invariants_of(next(atom.make() for atom in named_factors(order) if atom.name == name))


def _marks_of_atom(atom: NamedFactor) -> Invariants:
    return _marks_by_name(atom.name, atom.order)


@lru_cache(maxsize=256)
def _marks_of_cyclic(n: int) -> Invariants:
    with uncounted():
        return invariants_of(cyclic(n))


@lru_cache(maxsize=256)
def _products(order: int) -> tuple[tuple[tuple[NamedFactor, ...], tuple[int, ...]], ...]:
    """Atoms and the orders of cyclic factors, fewest factors first."""

    def nonabelian(left: int, least: int) -> Iterator[tuple[tuple[NamedFactor, ...], int]]:
        yield (), left
        for a in (d for d in range(max(6, least), left + 1) if left % d == 0):
            for atom in named_factors(a):
                for rest, over in nonabelian(left // a, a):
                    yield (atom, *rest), over

    found = [
        (atoms, invariants)
        for atoms, over in nonabelian(order, 6)
        if atoms
        for invariants in (abelian_types(over) if over > 1 else [()])
    ]
    return tuple(sorted(found, key=lambda one: (len(one[0]) + len(one[1]), -one[0][-1].order)))


def _product_name(atoms: tuple[NamedFactor, ...], invariants: tuple[int, ...]) -> str:
    if len(atoms) == 1 and not invariants:
        return atoms[0].name
    return " x ".join([*sorted(bracketed(atom.name) for atom in atoms), *(f"C{n}" for n in invariants)])


def _product(atoms: tuple[NamedFactor, ...], invariants: tuple[int, ...]) -> FiniteGroup:
    return direct_product(*(atom.make() for atom in atoms), *map(cyclic, invariants))


def bracketed(name: str) -> str:
    """The name as a factor of a longer one."""
    return f"({name})" if " " in name else name
