"""A finite group as its Cayley table: a frozen value that checks its own axioms."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.permutations import Indices, as_array, check_permutation_action, frozen, orbit_labels

__all__ = ["MAX_ORDER", "FiniteGroup", "Subgroup"]

MAX_ORDER = 8192
"""Largest order: the table of such a group takes 128 MiB."""


class Subgroup(NamedTuple):
    """A subgroup on its own, and where its elements lie in the larger group: ``elements[i]`` is its element ``i``."""

    group: "FiniteGroup"
    elements: Indices


class FiniteGroup:
    """A finite group: ``table[g, h]`` is the index of ``g·h``; element 0 is the identity.

    Immutable, and a value: two groups are equal, and hash alike, when their tables are the same. The name, the labels
    and the points are there to read by. (C6 and C2 × C3 are isomorphic, but not equal: their tables differ.)

    Args:
        table: ``(order, order)`` integers. Rows and columns are elements; ``table[g, h] = g·h``.
        name: for messages.
        labels: a name for each element; by default ``e, g1, g2, …``.
        points: ``(order, n)``: the permutation of ``n`` points that each element is, ``points[g, i] = g·i``, where the
            group comes with one (:func:`symmetric`, :func:`dihedral`, …). It must respect the table.
        generators: elements that generate the group; by default a small set is found.

    Raises:
        ShapeError: the table is not a square of indices, or labels or points do not fit it.
        AxiomError: the table breaks a law; the message names the law and the first elements that break it.

    Checking costs ``order² × generators``: associativity is tested with generators in the middle only, which is
    enough (Light's test).
    """

    __slots__ = ("__dict__", "generators", "labels", "name", "points", "table")

    name: str
    table: Indices
    labels: tuple[str, ...]
    points: Indices | None
    generators: tuple[int, ...]

    def __init__(
        self,
        table: ArrayLike,
        name: str = "G",
        *,
        labels: Sequence[str] | None = None,
        points: ArrayLike | None = None,
        generators: Sequence[int] | None = None,
    ):
        values = _as_table(table, name)
        n = len(values)
        _check_identity_and_inverses(values, name)
        found = _generators(values, generators, name)
        _check_associativity(values, found, name)
        if labels is not None and len(labels) != n:
            raise ShapeError(f"{name}: {n} elements need as many labels; came {len(labels)}")
        store = object.__setattr__
        store(self, "name", name)
        store(self, "table", frozen(values))
        store(self, "generators", found)
        store(self, "labels", tuple(labels) if labels is not None else ("e", *(f"g{i}" for i in range(1, n))))
        store(self, "points", None if points is None else _check_points(as_array(points, name), values, found, name))

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"{self.name}: groups are immutable; build another one instead of setting {key!r}")

    def __delattr__(self, key: str) -> None:
        raise AttributeError(f"{self.name}: groups are immutable; {key!r} cannot be removed")

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.table)

    def __len__(self) -> int:
        return self.order

    @cached_property
    def _digest(self) -> bytes:
        table = np.ascontiguousarray(self.table.astype(np.int32))
        return hashlib.blake2b(table.tobytes(), digest_size=16).digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FiniteGroup):
            return NotImplemented
        return self is other or (self.order == other.order and self._digest == other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.table, self.name, self.labels, self.points, self.generators))

    def __repr__(self) -> str:
        return f"<{self.name}, order {self.order}>"

    # Elements

    @property
    def elements(self) -> range:
        """All elements, ``0 .. order − 1``."""
        return range(self.order)

    def label(self, element: int) -> str:
        """The name of an element."""
        return self.labels[_as_element(self, element)]

    def element(self, label: str) -> int:
        """The element with this name."""
        if label not in self.labels:
            raise ConfigError(f"{self.name} has no element {label!r}; it has {', '.join(self.labels[:12])}")
        return self.labels.index(label)

    def multiply(self, *elements: int) -> int:
        """``g·h·…``; the identity for no factor."""
        product = 0
        for g in elements:
            product = int(self.table[product, _as_element(self, g)])
        return product

    @cached_property
    def inverses(self) -> Indices:
        """``inverses[g] = g⁻¹``, ``(order,)``."""
        return frozen(np.argmin(self.table != 0, axis=1))

    def inverse(self, element: int) -> int:
        """``g⁻¹``."""
        return int(self.inverses[_as_element(self, element)])

    @cached_property
    def element_orders(self) -> Indices:
        """The least ``k > 0`` with ``g^k = e``, ``(order,)``."""
        every = np.arange(self.order)
        power, orders = every.copy(), np.ones(self.order, dtype=np.int64)
        while (left := power != 0).any():
            power[left] = self.table[power[left], every[left]]
            orders[left] += 1
        return frozen(orders)

    def sample(self, n: int, generator: torch.Generator) -> list[int]:
        """``n`` elements, uniform."""
        return torch.randint(self.order, (n,), generator=generator).tolist()

    # Structure

    @cached_property
    def is_abelian(self) -> bool:
        """Whether ``gh = hg`` for all elements."""
        among = np.asarray(self.generators, dtype=np.int64)
        block = self.table[np.ix_(among, among)]
        return bool((block == block.T).all())

    @cached_property
    def centre(self) -> Indices:
        """The elements that commute with all."""
        some = list(self.generators)
        return frozen(np.flatnonzero((self.table[:, some] == self.table[some].T).all(axis=1)))

    @cached_property
    def conjugacy_classes(self) -> tuple[Indices, ...]:
        """Classes ``{x g x⁻¹}``, each sorted, in the order of their least element."""
        label = self.class_index
        return tuple(frozen(np.flatnonzero(label == c)) for c in range(int(label.max()) + 1))

    @cached_property
    def class_index(self) -> Indices:
        """``class_index[g]``: which of :attr:`conjugacy_classes` holds ``g``."""
        moves = np.stack([self.table[self.table[s], self.inverses[s]] for s in (0, *self.generators)])
        return frozen(orbit_labels(moves))

    def closure(self, elements: Iterable[int]) -> Indices:
        """The elements of the subgroup that these generate, sorted."""
        return _closure(self.table, [_as_element(self, g) for g in elements])

    def subgroup(self, elements: Iterable[int], name: str | None = None) -> Subgroup:
        """The subgroup that these elements generate, as a group of its own; its points act as here."""
        chosen = _as_list(elements)
        members = self.closure(chosen)
        place = np.full(self.order, -1)
        place[members] = np.arange(len(members))
        table = place[self.table[np.ix_(members, members)]]
        points = None if self.points is None else self.points[members]
        labels = [self.labels[g] for g in members]
        label = name or f"{self.name}<{', '.join(labels[int(place[g])] for g in chosen) or 'e'}>"
        return Subgroup(FiniteGroup(table, label, labels=labels, points=points), members)

    def subgroups(self) -> tuple[tuple[int, ...], ...]:
        """All subgroups as sorted tuples of elements, smallest first.

        By joining cyclic subgroups until nothing new appears: fine up to orders of about a hundred, slow beyond.
        """
        cyclic = {tuple(self.closure([g]).tolist()): g for g in self.elements}
        known = {(0,)}
        frontier = [(0,)]
        while frontier:
            joined = set()
            for members in frontier:
                inside = set(members)
                for g in cyclic.values():
                    if g not in inside:
                        joined.add(tuple(self.closure([*members, g]).tolist()))
            frontier = [members for members in joined if members not in known]
            known.update(frontier)
        return tuple(sorted(known, key=lambda members: (len(members), members)))

    def subgroup_classes(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """The subgroups up to conjugation, ``H ~ x H x⁻¹``: each class a tuple of subgroups, smallest first."""
        left = list(self.subgroups())
        classes = []
        while left:
            members = np.asarray(left[0])
            images = {
                tuple(sorted(self.table[self.table[x, members], self.inverses[x]].tolist())) for x in self.elements
            }
            classes.append(tuple(h for h in left if h in images))
            left = [h for h in left if h not in images]
        return tuple(classes)

    def cosets(self, subgroup: Subgroup | Iterable[int]) -> tuple[Indices, ...]:
        """Left cosets ``gH``, each sorted, in the order of their least element; ``H`` itself comes first.

        Raises: AxiomError when the elements given are not a subgroup.
        """
        members = subgroup.elements if isinstance(subgroup, Subgroup) else np.asarray(sorted(set(_as_list(subgroup))))
        if len(members) == 0 or not np.array_equal(self.closure(members.tolist()), members):
            raise AxiomError(
                f"{self.name}: the {len(members)} elements given are not closed under the product; "
                "generate a subgroup from them with group.subgroup(elements)"
            )
        moved = np.sort(self.table[:, members], axis=1)
        starts = np.unique(moved[:, 0])
        return tuple(frozen(moved[g]) for g in starts)


def _rebuild(
    table: Indices, name: str, labels: tuple[str, ...], points: Indices | None, gens: tuple[int, ...]
) -> FiniteGroup:
    return FiniteGroup(table, name, labels=labels, points=points, generators=gens)


def _as_list(elements: Iterable[int]) -> list[int]:
    return [int(g) for g in elements]


def _as_element(group: FiniteGroup, g: int) -> int:
    if not 0 <= int(g) < group.order:
        raise ConfigError(f"{group.name} has the elements 0 to {group.order - 1}; came {g}")
    return int(g)


def _as_table(table: ArrayLike, name: str) -> Indices:
    values = as_array(table, name)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) == 0:
        raise ShapeError(f"{name}: a Cayley table is a square (order, order); came {values.shape}")
    if len(values) > MAX_ORDER:
        raise ShapeError(f"{name}: groups up to order {MAX_ORDER} are held as tables; came {len(values)}")
    if values.dtype.kind not in "iu":
        raise ShapeError(f"{name}: a Cayley table holds integers; came {values.dtype}")
    bad = np.argwhere((values < 0) | (values >= len(values)))
    if len(bad):
        g, h = bad[0]
        raise AxiomError(
            f"{name}: not closed: the product of elements {g} and {h} is {values[g, h]}, "
            f"which is none of the elements 0 to {len(values) - 1}"
        )
    return values.astype(np.int16)


def _check_identity_and_inverses(table: Indices, name: str) -> None:
    every = np.arange(len(table))
    if not (np.array_equal(table[0], every) and np.array_equal(table[:, 0], every)):
        fits = np.flatnonzero((table == every).all(axis=1) & (table == every[:, None]).all(axis=0))
        found = f"element {fits[0]} is; renumber so that it comes first" if len(fits) else "no element is"
        raise AxiomError(f"{name}: element 0 must be the identity (e·g = g·e = g), but {found}")
    for rows, side in ((table, "row"), (table.T, "column")):
        ordered = np.sort(rows, axis=1) == every
        if not ordered.all():
            g = int(np.flatnonzero(~ordered.all(axis=1))[0])
            h, k = _first_repeat(rows[g])
            said = f"{g}·{h} = {g}·{k}" if side == "row" else f"{h}·{g} = {k}·{g}"
            raise AxiomError(f"{name}: no cancellation: {said} = {rows[g][h]}, so element {g} has no inverse")


def _first_repeat(row: Indices) -> tuple[int, int]:
    seen: dict[int, int] = {}
    for position, value in enumerate(row.tolist()):
        if value in seen:
            return seen[value], position
        seen[value] = position
    raise AssertionError("a row with no repeat is a permutation")


def _check_associativity(table: Indices, generators: tuple[int, ...], name: str) -> None:
    for g in generators:
        broken = np.argwhere(table[table[:, g]] != table[:, table[g]])
        if len(broken):
            x, y = broken[0].tolist()
            left, right = table[table[x, g], y], table[x, table[g, y]]
            raise AxiomError(
                f"{name}: not associative: ({x}·{g})·{y} = {left}, but {x}·({g}·{y}) = {right} (elements {x}, {g}, {y})"
            )


def _generators(table: Indices, given: Sequence[int] | None, name: str) -> tuple[int, ...]:
    if given is not None:
        chosen = [int(g) for g in given if int(g) != 0]
        outside = [g for g in chosen if not 0 < g < len(table)]
        if outside:
            raise ConfigError(f"{name} has the elements 0 to {len(table) - 1}; came {outside[0]} as a generator")
        reached = _closure(table, chosen)
        if len(reached) != len(table):
            raise AxiomError(f"{name}: the elements {chosen} generate {len(reached)} of the {len(table)} elements only")
        return tuple(chosen)
    chosen, inside = [], np.zeros(len(table), dtype=bool)
    inside[0] = True
    while not inside.all():
        chosen.append(int(np.flatnonzero(~inside)[0]))
        inside[_closure(table, chosen)] = True
    return tuple(chosen)


def _closure(table: Indices, generators: Sequence[int]) -> Indices:
    """All products of generators; in a finite group that holds the inverses too."""
    inside = np.zeros(len(table), dtype=bool)
    inside[0] = True
    frontier = np.array([0])
    while len(frontier) and generators:
        reached = np.unique(table[np.ix_(frontier, np.asarray(generators))])
        frontier = reached[~inside[reached]]
        inside[frontier] = True
    return np.flatnonzero(inside)


def _check_points(points: Indices, table: Indices, generators: tuple[int, ...], name: str) -> Indices:
    if points.ndim != 2 or len(points) != len(table) or points.dtype.kind not in "iu":
        raise ShapeError(f"{name}: points must be ({len(table)}, n) integers; came {points.shape} {points.dtype}")
    check_permutation_action(points, table, generators, name)
    return frozen(points.astype(np.int32))
