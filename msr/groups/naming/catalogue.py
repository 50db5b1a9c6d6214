"""The catalogue of named groups with a table, and the proof that a group is one of them."""

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
    """The proven name of a group; None where the catalogue holds none, or the searches for an isomorphism took too
    long.

    Abelian groups are proven by their invariant factors, others by an isomorphism to a named group, or by two elements
    that satisfy the relations of a semidirect product of cyclic groups.
    """
    if group.is_abelian:
        return abelian_name(_abelian_invariant_factors(group.element_orders))
    # Only an isomorphism proves a name; the invariants just keep most groups from being built.
    for name, make in _with_invariants(invariants_of(group)):
        if find_isomorphism(make(), group) is not None:
            return name
    return split_metacyclic(group)


def names_that_fit(group: FiniteGroup) -> tuple[str, ...]:
    """The names of the groups of the catalogue whose :class:`Invariants` equal those of ``group``, fewest factors
    first.

    None for an abelian one, and where nothing fits.
    """
    return tuple(name for name, _ in _with_invariants(invariants_of(group)))


def abelian_name(invariants: Sequence[int]) -> str:
    """The name of the abelian group with these invariant factors: ``C2 x C4`` for ``(2, 4)``; ``trivial`` for none."""
    return " x ".join(f"C{n}" for n in invariants) or "trivial"


def _abelian_invariant_factors(element_orders: Indices) -> list[int]:
    """The invariant factors of an abelian group, each dividing the next, from the order of each element,
    ``(order,)``.
    """
    killed = {
        prime: [int((prime**i % element_orders == 0).sum()) for i in range(1, most + 1)]
        for prime, most in factorint(len(element_orders)).items()
    }
    return invariant_factors(killed)


def invariant_factors(killed: dict[int, list[int]]) -> list[int]:
    """The invariant factors of an abelian group, each dividing the next.

    ``killed``: for each prime ``p`` that divides the order how many elements have ``x^p = e``, how many ``x^(p²) = e``,
    and so on up to the power of ``p`` in the order. Empty, and so is the result, for the trivial group.
    """
    factors: list[int] = []
    for prime, counts in killed.items():
        # From i − 1 to i, the logarithm to the base p grows by the number of cyclic factors of order p^i or more.
        logs = [0, *(round(math.log(count, prime)) for count in counts)]
        parts = [logs[i] - logs[i - 1] for i in range(1, len(logs))]
        # parts is a partition, and the exponents of the cyclic factors are its conjugate partition.
        powers = [prime ** sum(p > j for p in parts) for j in range(parts[0])]
        factors += [1] * (len(powers) - len(factors))
        factors = [f * p for f, p in zip(factors, [*powers, *[1] * (len(factors) - len(powers))], strict=True)]
    return sorted(factors)


def named_groups(order: int) -> Iterator[tuple[str, Maker]]:
    """Name and maker of each group of this order in the catalogue, none abelian: fewest direct factors first.

    The groups are the named factors (:func:`named_factors`) and their products with one another and with cyclic groups.
    """
    for factors, cyclic_orders in _products(order):
        yield _product_name(factors, cyclic_orders), partial(_product, factors, cyclic_orders)


def _with_invariants(wanted: Invariants) -> Iterator[tuple[str, Maker]]:
    """Name and maker of each group of the catalogue with these invariants, in the order of :func:`named_groups`.

    They are told from the invariants of the factors, without making the group.
    """
    for factors, cyclic_orders in _products(wanted.order):
        parts = [_invariants_of_factor(factor) for factor in factors]
        parts += [_invariants_of_cyclic(n) for n in cyclic_orders]
        # The cheap numbers first: most products differ in them.
        if math.prod(p.centre for p in parts) != wanted.centre:
            continue
        if math.prod(p.abelianisation for p in parts) != wanted.abelianisation:
            continue
        if reduce(invariants_of_product, parts) == wanted:
            yield _product_name(factors, cyclic_orders), partial(_product, factors, cyclic_orders)


@lru_cache(maxsize=4096)
def _invariants_by_name(name: str, order: int) -> Invariants:
    """The invariants of the named factor of this name and order; cached, and the work is not counted."""
    with uncounted():
        return invariants_of(next(factor.make() for factor in named_factors(order) if factor.name == name))


def _invariants_of_factor(factor: NamedFactor) -> Invariants:
    """The invariants of a named factor, computed once for each name and order."""
    return _invariants_by_name(factor.name, factor.order)


@lru_cache(maxsize=256)
def _invariants_of_cyclic(n: int) -> Invariants:
    """The invariants of ``C_n``; cached, and the work is not counted."""
    with uncounted():
        return invariants_of(cyclic(n))


@lru_cache(maxsize=256)
def _products(order: int) -> tuple[tuple[tuple[NamedFactor, ...], tuple[int, ...]], ...]:
    """All direct products of an order with a named factor or more, fewest factors first, then the largest last named
    factor.

    Each is a pair: its named factors, and the orders of its cyclic factors, each dividing the next; none of these where
    the named ones make up the order.
    """

    def nonabelian(remaining: int, least: tuple[int, int]) -> Iterator[tuple[tuple[NamedFactor, ...], int]]:
        """Tuples of named factors, small groups first; the empty one comes first.

        With each comes ``remaining`` divided by their orders, the order that is left for cyclic factors. ``least`` is
        the order of the smallest group that may be taken, and the place among the groups of that order, from 0.
        """
        yield (), remaining
        least_order, least_place = least
        for order_of_first in (d for d in range(least_order, remaining + 1) if remaining % d == 0):
            for place, factor in enumerate(named_factors(order_of_first)):
                # Ascending orders and places, so that no product is listed again with its factors in another order.
                if order_of_first > least_order or place >= least_place:
                    for following, over in nonabelian(remaining // order_of_first, (order_of_first, place)):
                        yield (factor, *following), over

    # The smallest group that is not abelian has 6 elements.
    products = [
        (factors, cyclic_orders)
        for factors, over in nonabelian(order, (6, 0))
        if factors
        for cyclic_orders in (abelian_types(over) if over > 1 else [()])
    ]
    return tuple(sorted(products, key=lambda product: (len(product[0]) + len(product[1]), -product[0][-1].order)))


def _product_name(factors: tuple[NamedFactor, ...], cyclic_orders: tuple[int, ...]) -> str:
    """The name of a direct product: named factors in alphabetical order, then the cyclic ones."""
    if len(factors) == 1 and not cyclic_orders:
        return factors[0].name
    return " x ".join([*sorted(bracketed(factor.name) for factor in factors), *(f"C{n}" for n in cyclic_orders)])


def _product(factors: tuple[NamedFactor, ...], cyclic_orders: tuple[int, ...]) -> FiniteGroup:
    """The direct product of named factors and of cyclic groups of these orders."""
    return direct_product(*(factor.make() for factor in factors), *map(cyclic, cyclic_orders))


def bracketed(name: str) -> str:
    """The name as a factor of a longer one: in brackets if it contains a space."""
    return f"({name})" if " " in name else name
