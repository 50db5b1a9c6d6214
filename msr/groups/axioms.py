"""The laws of a Cayley table, each with a message that names the first elements that break it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.immutable import as_array, frozen
from msr.permutations import Indices, check_permutation_action

__all__ = [
    "MAX_ORDER", "as_table", "check_associativity", "check_identity_and_inverses", "check_points", "closure_of",
    "find_generators",
]  # fmt: skip

MAX_ORDER = 8192
"""Largest number of elements of a group that is held as a Cayley table; at this order the table takes 128 MiB."""


def as_table(table: ArrayLike, name: str) -> Indices:
    """A copy of the Cayley table as an array ``(order, order)``, int16, with its form, but no law, checked; ``name`` is
    the group's, for messages.

    Raises: ShapeError for what is no square of integers, is empty, or has more than ``MAX_ORDER`` rows; AxiomError for
    an entry that is not the number of an element.
    """
    values = as_array(table, name)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) == 0:
        raise ShapeError(f"{name}: a Cayley table is a square (order, order); got {values.shape}")
    if len(values) > MAX_ORDER:
        raise ShapeError(f"{name}: groups up to order {MAX_ORDER} are held as tables; got {len(values)}")
    if values.dtype.kind not in "iu":
        raise ShapeError(f"{name}: a Cayley table holds integers; got {values.dtype}")
    bad = np.argwhere((values < 0) | (values >= len(values)))
    if len(bad):
        g, h = bad[0]
        raise AxiomError(
            f"{name}: not closed: the product of elements {g} and {h} is {values[g, h]}, "
            f"which is none of the elements 0 to {len(values) - 1}"
        )
    # MAX_ORDER is below 2^15, and a table in int16 takes a quarter of the memory.
    return values.astype(np.int16)


def check_identity_and_inverses(table: Indices, name: str) -> None:
    """Raise AxiomError unless element 0 is the identity, and every row and column of the table is a permutation.

    ``table`` is one that :func:`as_table` gave; associativity is not looked at.
    """
    elements = np.arange(len(table))
    if not (np.array_equal(table[0], elements) and np.array_equal(table[:, 0], elements)):
        # Only for the message: another element may be the identity, and then renumbering is all that it takes.
        identities = np.flatnonzero((table == elements).all(axis=1) & (table == elements[:, None]).all(axis=0))
        which = f"element {identities[0]} is; renumber so that it comes first" if len(identities) else "no element is"
        raise AxiomError(f"{name}: element 0 must be the identity (e·g = g·e = g), but {which}")
    # Finite and with an identity: cancellation on both sides gives every element an inverse.
    for rows, side in ((table, "row"), (table.T, "column")):
        ordered = np.sort(rows, axis=1) == elements
        if not ordered.all():
            g = int(np.flatnonzero(~ordered.all(axis=1))[0])
            h, k = _first_repeat(rows[g])
            products = f"{g}·{h} = {g}·{k}" if side == "row" else f"{h}·{g} = {k}·{g}"
            raise AxiomError(f"{name}: no cancellation: {products} = {rows[g][h]}, so element {g} has no inverse")


def _first_repeat(row: Indices) -> tuple[int, int]:
    """The positions ``(i, j)``, ``i < j``, of the first value in ``row`` that repeats an earlier one.

    AssertionError for a row without a repeat.
    """
    first_position: dict[int, int] = {}
    for position, value in enumerate(row.tolist()):
        if value in first_position:
            return first_position[value], position
        first_position[value] = position
    raise AssertionError("a row with no repeat is a permutation")


def check_associativity(table: Indices, generators: tuple[int, ...], name: str) -> None:
    """Raise AxiomError unless ``(x·g)·y = x·(g·y)`` for the ``generators`` ``g`` and all ``x, y``.

    That is enough where they generate all elements, which is not checked here.

    Source: Light's test; Clifford and Preston, *The Algebraic Theory of Semigroups*, 1.2.
    """
    for g in generators:
        broken = np.argwhere(table[table[:, g]] != table[:, table[g]])
        if len(broken):
            x, y = broken[0].tolist()
            xg_y = table[table[x, g], y]
            x_gy = table[x, table[g, y]]
            raise AxiomError(
                f"{name}: not associative: ({x}·{g})·{y} = {xg_y}, but {x}·({g}·{y}) = {x_gy} (elements {x}, {g}, {y})"
            )


def find_generators(table: Indices, given: Sequence[int] | None, name: str) -> tuple[int, ...]:
    """Numbers of elements that generate the group: ``given`` in its order, without the identity, or a small set where
    it is None.

    The small set takes the least element that the chosen ones do not generate, until they generate all.
    Raises: ConfigError for a number that is no element; AxiomError for given elements that do not generate the group.
    """
    if given is not None:
        chosen = [int(g) for g in given if int(g) != 0]
        outside = [g for g in chosen if not 0 < g < len(table)]
        if outside:
            raise ConfigError(f"{name} has the elements 0 to {len(table) - 1}; got {outside[0]} as a generator")
        reached = closure_of(table, chosen)
        if len(reached) != len(table):
            raise AxiomError(f"{name}: the elements {chosen} generate {len(reached)} of the {len(table)} elements only")
        return tuple(chosen)
    chosen = []
    inside = np.zeros(len(table), dtype=bool)
    inside[0] = True
    while not inside.all():
        # In a group each new generator at least doubles the subgroup (Lagrange), so there are few.
        chosen.append(int(np.flatnonzero(~inside)[0]))
        inside[closure_of(table, chosen)] = True
    return tuple(chosen)


def closure_of(table: Indices, generators: Sequence[int]) -> Indices:
    """The sorted numbers of the elements of the subgroup that ``generators`` generate; the identity alone for none."""
    inside = np.zeros(len(table), dtype=bool)
    inside[0] = True
    frontier = np.array([0])
    while len(frontier) and generators:
        reached = np.unique(table[np.ix_(frontier, np.asarray(generators))])
        frontier = reached[~inside[reached]]
        inside[frontier] = True
    return np.flatnonzero(inside)


def check_points(points: Indices, table: Indices, generators: tuple[int, ...], name: str) -> Indices:
    """The action on ``n`` points, ``(order, n)``, as a read-only int32 copy, after a check that it respects the table:
    ``g·(h·i) = (gh)·i``.

    Raises: ShapeError unless ``points`` are integers ``(order, n)``; AxiomError for a row that is no permutation, for
    an identity that moves a point, and for products that do not go to products.
    """
    if points.ndim != 2 or len(points) != len(table) or points.dtype.kind not in "iu":
        raise ShapeError(f"{name}: points must be ({len(table)}, n) integers; got {points.shape} {points.dtype}")
    check_permutation_action(points, table, generators, name)
    return frozen(points.astype(np.int32))
