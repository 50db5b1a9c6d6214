"""A finite group as its Cayley table: a frozen value that checks its own axioms."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.axioms import (
    MAX_ORDER,
    as_table,
    check_associativity,
    check_identity_and_inverses,
    check_points,
    closure_of,
    find_generators,
)
from msr.groups.group import Drawn, Element, Group, Letter, whole_number
from msr.groups.immutable import as_array, frozen
from msr.permutations import Indices, orbit_labels

__all__ = ["MAX_ORDER", "FiniteGroup", "Subgroup"]


class Subgroup(NamedTuple):
    """A subgroup as a group with its own numbering, ``group``, and where its elements lie in the larger group.

    Element ``i`` of ``group`` is element ``elements[i]`` of the larger group; ``elements`` is sorted,
    ``(order of the subgroup,)``.
    """

    group: "FiniteGroup"
    elements: Indices


class FiniteGroup(Group):
    """A finite group: ``table[g, h]`` is the index of ``g·h``; element 0 is the identity.

    Immutable, and a value: two groups are equal, and hash alike, when their tables are the same. The name, the labels
    and the points are there to read by. (C6 and C2 × C3 are isomorphic, but not equal: their tables differ.)

    Args:
        table: ``(order, order)`` integers. Rows and columns are elements; ``table[g, h] = g·h``.
        name: for messages.
        labels: a name for each element, which need not differ; by default ``e, g1, g2, …``.
        points: ``(order, n)``: the permutation of ``n`` points that each element is, ``points[g, i] = g·i``, where the
            group comes with one (:func:`symmetric`, :func:`dihedral`, …). It must respect the table.
        generators: elements that generate the group; by default a small set is found.

    Raises:
        ShapeError: the table is not a square of indices, or labels or points do not fit it.
        AxiomError: the table breaks a law; the message names the law and the first elements that break it.

    Checking costs ``order² × generators``: associativity is tested with generators in the middle only, which is enough
    (Light's test). The named groups (:func:`symmetric`, :func:`cyclic`, …) make their table when it is first asked for,
    and do not check what holds by construction.
    """

    _order: int
    _generators: tuple[int, ...]
    _recipe: tuple[Any, ...] | None
    # Of a group that is known by construction only: what makes each part when it is first asked for.
    _make_table: Callable[[], Indices]
    _make_labels: Callable[[], Sequence[str]]
    _make_points: Callable[[], Indices] | None

    def __init__(
        self,
        table: ArrayLike,
        name: str = "G",
        *,
        labels: Sequence[str] | None = None,
        points: ArrayLike | None = None,
        generators: Sequence[int] | None = None,
    ):
        values = as_table(table, name)
        n = len(values)
        check_identity_and_inverses(values, name)
        chosen = find_generators(values, generators, name)
        check_associativity(values, chosen, name)
        if labels is not None and len(labels) != n:
            raise ShapeError(f"{name}: {n} elements need as many labels; got {len(labels)}")
        moves = None if points is None else check_points(as_array(points, name), values, chosen, name)
        self.__dict__.update(
            name=name, _order=n, table=frozen(values), _generators=chosen, points=moves, _recipe=None,
            labels=tuple(labels) if labels is not None else ("e", *(f"g{i}" for i in range(1, n))),
        )  # fmt: skip

    @classmethod
    def known(
        cls,
        order: int,
        name: str,
        generators: Sequence[int],
        *,
        table: Callable[[], Indices],
        labels: Callable[[], Sequence[str]],
        points: Callable[[], Indices] | None = None,
        degree: int | None = None,
        recipe: tuple[Any, ...] | None = None,
    ) -> "FiniteGroup":
        """A group whose laws hold by construction: nothing is checked, and each part is made when it is first asked
        for.

        ``generators``: numbers of elements; the identity among them is left out.
        ``table``, ``labels``, ``points``: functions that make what the arguments of those names hold in
        :class:`FiniteGroup`.
        ``degree``: how many points ``points`` will give; None for a group without points, and where that is not known.
        ``recipe``: ``(function, *arguments)`` that makes the same group again; it is what is pickled, and two groups of
        one recipe are equal without a table. None pickles the table.
        """
        group = cls.__new__(cls)
        group.__dict__.update(
            name=name, _order=order, _generators=tuple(g for g in generators if g != 0), _recipe=recipe,
            _make_table=table, _make_labels=labels, _make_points=points, _degree=degree,
        )  # fmt: skip
        return group

    @cached_property
    def table(self) -> Indices:
        """The Cayley table, ``(order, order)`` int16, read-only: ``table[g, h] = g·h``."""
        return frozen(self._make_table().astype(np.int16, copy=False))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of all elements, in the order of their numbers."""
        return tuple(self._make_labels())

    @cached_property
    def points(self) -> Indices | None:
        """Where each element sends each point, ``(order, n)``: ``points[g, i] = g·i``; None without points."""
        make = self._make_points
        return None if make is None else frozen(make().astype(np.int32, copy=False))

    @property
    def has_points(self) -> bool:
        """Whether the group comes with an action on points; it is told without computing that action."""
        return self.__dict__.get("points", self.__dict__.get("_make_points")) is not None

    @property
    def degree(self) -> int | None:
        """How many points the group acts on by :attr:`points`; None where it comes with none.

        A named group knows the number without computing the action.
        """
        known = self.__dict__.get("_degree")
        if known is None and self.points is not None:
            return int(self.points.shape[1])
        return known

    @property
    def generators(self) -> tuple[int, ...]:
        """Elements that generate the group, in the order given or found; never the identity."""
        return self._generators

    @property
    def discrete(self) -> tuple[int, ...]:
        """The generators: all of them are discrete."""
        return self.generators

    @property
    def order(self) -> int:
        """Number of elements of the group."""
        return self._order

    def __len__(self) -> int:
        return self.order

    @cached_property
    def _digest(self) -> bytes:
        """A hash of the Cayley table, 16 bytes: groups are equal where it is the same."""
        table = np.ascontiguousarray(self.table.astype(np.int32))
        return hashlib.blake2b(table.tobytes(), digest_size=16).digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FiniteGroup):
            return NotImplemented
        if self is other:
            return True
        if self.order != other.order:
            return False
        # A recipe decides without a table. Groups with other recipes may still have one table.
        return (self._recipe is not None and self._recipe == other._recipe) or self._digest == other._digest

    def __hash__(self) -> int:
        # A digest would need the table.
        return hash((FiniteGroup, self.order))

    def __reduce__(self) -> tuple[object, ...]:
        if self._recipe is not None:
            function, *arguments = self._recipe
            return function, tuple(arguments)
        return (_rebuild, (self.table, self.name, self.labels, self.points, self.generators))

    def __repr__(self) -> str:
        return f"<{self.name}, order {self.order}>"

    # Elements

    @property
    def elements(self) -> range:
        """All elements, ``0 .. order − 1``."""
        return range(self.order)

    @property
    def is_listed(self) -> bool:
        """True: a group with a table lists its elements."""
        return True

    @property
    def identity(self) -> int:
        """The identity is element 0."""
        return 0

    @property
    def drawn(self) -> Drawn:
        """``"uniform"``: :meth:`sample` draws every element with the same probability."""
        return "uniform"

    def check(self, element: Element) -> int:
        """The element as Python's whole number; ConfigError for what is no element."""
        return _as_element(self, element)

    def label(self, element: int) -> str:
        """The name of an element."""
        return self.labels[_as_element(self, element)]

    def element(self, label: str) -> int:
        """The number of the first element with this name; ConfigError where none has it."""
        if label not in self.labels:
            raise ConfigError(f"{self.name} has no element {label!r}; it has {', '.join(self.labels[:12])}")
        return self.labels.index(label)

    def multiply(self, *elements: int) -> int:
        """The product ``g·h·…`` of the elements given, in that order; the identity for none."""
        product = 0
        for g in elements:
            product = int(self.table[product, _as_element(self, g)])
        return product

    @cached_property
    def inverses(self) -> Indices:
        """The inverse of each element, ``(order,)``: ``inverses[g] = g⁻¹``."""
        # The first column where row g holds 0, the identity: argmin gives the first False.
        return frozen(np.argmin(self.table != 0, axis=1))

    def inverse(self, element: int) -> int:
        """The inverse ``g⁻¹`` of an element."""
        return int(self.inverses[_as_element(self, element)])

    @cached_property
    def element_orders(self) -> Indices:
        """The order of each element, ``(order,)``: the least ``k > 0`` with ``g^k = e``."""
        elements = np.arange(self.order)
        power = elements.copy()
        orders = np.ones(self.order, dtype=np.int64)
        # All elements at once: as many rounds as the largest order, each over those that have not come back.
        while (unfinished := power != 0).any():
            power[unfinished] = self.table[power[unfinished], elements[unfinished]]
            orders[unfinished] += 1
        return frozen(orders)

    def word(self, element: int) -> tuple[Letter, ...]:
        """A shortest word in generators whose product is the element, leftmost factor first; ``()`` for the identity.

        Every letter is ``(k, 1)`` and stands for ``generators[k]``.
        """
        steps = self._steps
        g = _as_element(self, element)
        letters = []
        while g != 0:
            which, g = (int(n) for n in steps[g])
            letters.append((which, 1))
        return tuple(letters)

    @cached_property
    def _steps(self) -> Indices:
        """``(order, 2)``: row ``g`` is ``(k, h)`` with ``g = generators[k]·h``, ``h`` one factor nearer to the
        identity.

        The row of the identity is ``(0, 0)``.
        """
        # Breadth first, so that a word is as short as it can be.
        steps = np.full((self.order, 2), -1)
        steps[0] = 0
        frontier = np.array([0])
        while len(frontier):
            reached = []
            for which, s in enumerate(self.generators):
                images = self.table[s, frontier]
                fresh = steps[images, 0] < 0
                steps[images[fresh], 0] = which
                steps[images[fresh], 1] = frontier[fresh]
                reached.append(images[fresh])
            frontier = np.concatenate(reached) if reached else np.array([], dtype=np.int64)
        return frozen(steps)

    def sample(self, n: int, generator: torch.Generator) -> list[int]:
        """``n`` elements, drawn uniformly and independently."""
        return torch.randint(self.order, (n,), generator=generator).tolist()

    def draw(self, n: int, generator: torch.Generator) -> list[int]:
        """``n`` elements, uniform among those that are not the identity (unless there is no other)."""
        if self.order == 1:
            return [0] * n
        return (1 + torch.randint(self.order - 1, (n,), generator=generator)).tolist()

    # Structure

    @cached_property
    def is_abelian(self) -> bool:
        """Whether ``gh = hg`` for all elements ``g`` and ``h``."""
        chosen = np.asarray(self.generators, dtype=np.int64)
        # Generators that commute with each other generate an abelian group.
        products = self.table[np.ix_(chosen, chosen)]
        return bool((products == products.T).all())

    @cached_property
    def centre(self) -> Indices:
        """The sorted numbers of the elements that commute with every element."""
        chosen = list(self.generators)
        return frozen(np.flatnonzero((self.table[:, chosen] == self.table[chosen].T).all(axis=1)))

    @cached_property
    def conjugacy_classes(self) -> tuple[Indices, ...]:
        """Classes ``{x g x⁻¹}``, each the sorted numbers of its elements, in the order of their least element."""
        label = self.class_index
        return tuple(frozen(np.flatnonzero(label == c)) for c in range(int(label.max()) + 1))

    @cached_property
    def class_index(self) -> Indices:
        """The place in :attr:`conjugacy_classes` of the class of each element, ``(order,)``."""
        # Conjugation by the generators has the conjugacy classes as its orbits.
        moves = np.stack([self.table[self.table[s], self.inverses[s]] for s in (0, *self.generators)])
        return frozen(orbit_labels(moves))

    def closure(self, elements: Iterable[int]) -> Indices:
        """The elements of the subgroup that ``elements`` generate, sorted; the identity alone for none."""
        return closure_of(self.table, [_as_element(self, g) for g in elements])

    def subgroup(self, elements: Iterable[int], name: str | None = None) -> Subgroup:
        """The subgroup that ``elements`` generate, as a group of its own, and where its elements lie in this group.

        It keeps the labels, and the points where there are any. ``name`` is by default made of this group's name and
        the labels of ``elements``, such as ``S3<(0 1)>``. Its own generators are a small set that is found anew.
        """
        chosen = _as_list(elements)
        members = self.closure(chosen)
        place = np.full(self.order, -1)
        place[members] = np.arange(len(members))
        table = place[self.table[np.ix_(members, members)]]
        points = None if self.points is None else self.points[members]
        labels = [self.labels[g] for g in members]
        label = name or f"{self.name}<{', '.join(labels[int(place[g])] for g in chosen) or 'e'}>"
        # The laws hold in a part of a table that was checked: only generators have to be found.
        group = FiniteGroup.known(
            len(members), label, find_generators(table, None, label), table=lambda: table, labels=lambda: labels,
            points=None if points is None else lambda: points,
        )  # fmt: skip
        return Subgroup(group, members)

    def subgroups(self) -> tuple[tuple[int, ...], ...]:
        """All subgroups, each the sorted tuple of its elements' numbers, smallest first; of one size in the order of
        the tuples.

        They are found by joining cyclic subgroups until nothing new appears: fine up to orders of about a hundred, slow
        beyond.
        """
        # Every subgroup is a join of cyclic ones, one generator of each of which is enough.
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
        """The subgroups up to conjugation, ``H ~ x H x⁻¹``, classes of smaller subgroups first.

        A class is a tuple of subgroups, and a subgroup the sorted tuple of its elements' numbers. It is as slow as
        :meth:`subgroups`.
        """
        remaining = list(self.subgroups())
        classes = []
        while remaining:
            members = np.asarray(remaining[0])
            images = {
                tuple(sorted(self.table[self.table[x, members], self.inverses[x]].tolist())) for x in self.elements
            }
            classes.append(tuple(h for h in remaining if h in images))
            # Conjugates have equal orders, so a class lies within one run of the sorted list.
            remaining = [h for h in remaining if h not in images]
        return tuple(classes)

    def cosets(self, subgroup: Subgroup | Iterable[int]) -> tuple[Indices, ...]:
        """Left cosets ``gH``, each the sorted numbers of its elements, in the order of their least; ``H`` itself comes
        first.

        ``subgroup``: a :class:`Subgroup` of this group, or all elements of ``H``.
        Raises: AxiomError when the elements given are not a subgroup.
        """
        members = subgroup.elements if isinstance(subgroup, Subgroup) else np.asarray(sorted(set(_as_list(subgroup))))
        if len(members) == 0 or not np.array_equal(self.closure(members.tolist()), members):
            raise AxiomError(
                f"{self.name}: the {len(members)} elements given are not closed under the product; "
                "generate a subgroup from them with group.subgroup(elements)"
            )
        cosets = np.sort(self.table[:, members], axis=1)  # a row for each element of the group
        least = np.unique(cosets[:, 0])
        return tuple(frozen(cosets[g]) for g in least)


def _rebuild(
    table: Indices, name: str, labels: tuple[str, ...], points: Indices | None, gens: tuple[int, ...]
) -> FiniteGroup:
    """The group that :meth:`FiniteGroup.__reduce__` pickled by its table; ``gens`` are numbers of elements."""
    return FiniteGroup(table, name, labels=labels, points=points, generators=gens)


def _as_list(elements: Iterable[int]) -> list[int]:
    """Numbers of elements, of any integer type, as a list of Python's."""
    return [int(g) for g in elements]


def _as_element(group: FiniteGroup, g: Element) -> int:
    """``g`` as a whole number of Python; ConfigError where it is not one of ``0 .. order − 1``."""
    number = whole_number(g)
    if number is None or not 0 <= number < group.order:
        raise ConfigError(f"{group.name} has the elements 0 to {group.order - 1}; got {g!r}")
    return number
