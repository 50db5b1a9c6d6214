"""A finite category as its table of composition: a frozen value that checks its own laws."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from msr.category.guards import refuse_large
from msr.category.integers import starts_of, whole_array, within
from msr.errors import AxiomError, ConfigError
from msr.groups.group import whole_number
from msr.groups.immutable import frozen, refrozen
from msr.permutations import Indices

__all__ = ["FinCat", "Generation", "same_category"]


class Generation(NamedTuple):
    """Arrows from which all others are composed, and how.

    Attributes:
        generators: ``(k,)`` arrows; none is an identity.
        order: ``(m − identities,)`` the arrows that are no identities, each after the ones that it is made of.
        stage: ``(m,)`` how many generators, in their order, are needed to make each arrow; 0 for identities.
        outer: ``(m,)`` arrow ``f`` is the generator ``outer[f]`` after the arrow ``inner[f]``; −1 for identities.
        inner: ``(m,)``; see ``outer``.
    """

    generators: Indices
    order: Indices
    stage: Indices
    outer: Indices
    inner: Indices


@dataclass(frozen=True, eq=False, repr=False)
class FinCat:
    """A finite category: objects ``0 .. n_obj − 1``, arrows (morphisms) ``0 .. m − 1``, and the table of composition.

    Immutable, and a value: two categories are equal, and hash alike, when their tables are the same. A category without
    objects is allowed.

    Attributes:
        n_obj: how many objects there are.
        src: ``(m,)`` the object at which each arrow starts.
        dst: ``(m,)`` the object at which it ends.
        ident: ``(n_obj,)`` the identity arrow of each object.
        comp: ``(m, m)``: ``comp[g, f]`` is ``g ∘ f``, first ``f``, then ``g``; −1 where ``dst[f]`` is not ``src[g]``.
        name: for messages.

    Raises:
        ShapeError: arrays that are not of whole numbers, or do not fit each other.
        AxiomError: a number out of range, or a law that is broken; the message names the law and the first arrows that
            break it.

    Associativity is tested with generating arrows in the middle only, which is enough (Light's test), so checking costs
    ``m² × generators`` at most, and memory ``m²``.
    """

    n_obj: int
    src: Indices
    dst: Indices
    ident: Indices
    comp: Indices
    name: str = "C"

    def __post_init__(self) -> None:
        n = whole_number(self.n_obj)
        if n is None or n < 0:
            raise ConfigError(f"{self.name}: n_obj is a number of objects, 0 or more; got {self.n_obj!r}")
        src = whole_array(self.src, f"{self.name}: src")
        m = len(src)
        refuse_large(32 * m * m, f"{self.name}: a table of composition of {m} arrows", advice="take fewer arrows")
        comp = whole_array(self.comp, f"{self.name}: comp", (m, m))
        self.__dict__.update(
            n_obj=n, src=src, dst=whole_array(self.dst, f"{self.name}: dst", (m,)),
            ident=whole_array(self.ident, f"{self.name}: ident", (n,)), comp=comp,
        )  # fmt: skip
        self.check()

    def check(self) -> None:
        """Raise AxiomError where a law is broken, naming it and the first arrows that break it."""
        within(self.src, self.n_obj, f"{self.name}: src", "objects")
        within(self.dst, self.n_obj, f"{self.name}: dst", "objects")
        within(self.ident, self.n_mor, f"{self.name}: ident", "arrows")
        self._check_identities_ends()
        self._check_pattern()
        self._check_units()
        self._check_associativity()

    def _check_identities_ends(self) -> None:
        """The identity of an object must start and end there."""
        objects = np.arange(self.n_obj)
        bad = np.flatnonzero((self.src[self.ident] != objects) | (self.dst[self.ident] != objects))
        if len(bad):
            a = int(bad[0])
            raise AxiomError(
                f"{self.name}: ident[{a}] is {self._arrow(int(self.ident[a]))}, and an identity of object {a} must "
                f"go {a} → {a}"
            )

    def _check_pattern(self) -> None:
        """A composite must be there exactly where the arrows meet, and go from the start of one to the end of the
        other.
        """
        meet = self.src[:, None] == self.dst
        broken = np.argwhere((self.comp >= 0) != meet)
        outside = np.argwhere((self.comp < -1) | (self.comp >= self.n_mor))
        if len(outside):
            g, f = outside[0].tolist()
            raise AxiomError(
                f"{self.name}: comp[{g}, {f}] = {self.comp[g, f]} is none of the arrows 0 to {self.n_mor - 1}, nor −1"
            )
        if len(broken):
            g, f = broken[0].tolist()
            ends = f"{self._arrow(f)} and then {self._arrow(g)}"
            if meet[g, f]:
                raise AxiomError(f"{self.name}: comp[{g}, {f}] = −1, but {ends} meet, so they need a composite")
            raise AxiomError(f"{self.name}: comp[{g}, {f}] = {self.comp[g, f]}, but {ends} do not meet: give −1")
        wrong = np.argwhere(meet & ((self.src[self.comp] != self.src) | (self.dst[self.comp] != self.dst[:, None])))
        if len(wrong):
            g, f = wrong[0].tolist()
            raise AxiomError(
                f"{self.name}: {self._arrow(g)} after {self._arrow(f)} must go {self.src[f]} → {self.dst[g]}; got "
                f"{self._arrow(int(self.comp[g, f]))}"
            )

    def _check_units(self) -> None:
        """Composing with an identity must change nothing."""
        arrows = np.arange(self.n_mor)
        left = self.comp[self.ident[self.dst], arrows]
        right = self.comp[arrows, self.ident[self.src]]
        for products, side in ((left, "after"), (right, "before")):
            bad = np.flatnonzero(products != arrows)
            if len(bad):
                f = int(bad[0])
                a = int(self.dst[f] if side == "after" else self.src[f])
                raise AxiomError(
                    f"{self.name}: the identity {self.ident[a]} of object {a}, {side} {self._arrow(f)}, must give "
                    f"{f}; got {products[f]}"
                )

    def _check_associativity(self) -> None:
        """``(h ∘ g) ∘ f = h ∘ (g ∘ f)`` for generators ``g``, and all ``f`` and ``h`` that meet them."""
        into = self._arrows_into
        out_of = self._arrows_out_of
        for g in self.generation.generators.tolist():
            later = out_of[self.dst[g]]
            earlier = into[self.src[g]]
            left = self.comp[self.comp[later, g][:, None], earlier]
            right = self.comp[later[:, None], self.comp[g, earlier]]
            broken = np.argwhere(left != right)
            if len(broken):
                i, j = broken[0].tolist()
                h, f = int(later[i]), int(earlier[j])
                raise AxiomError(
                    f"{self.name}: not associative: ({h}∘{g})∘{f} = {left[i, j]}, but {h}∘({g}∘{f}) = {right[i, j]} "
                    f"(arrows {h}, {g}, {f})"
                )

    def _arrow(self, f: int) -> str:
        """An arrow for a message, with its ends."""
        return f"arrow {f} ({self.src[f]} → {self.dst[f]})"

    # A value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FinCat):
            return NotImplemented
        if self is other:
            return True
        return self.n_obj == other.n_obj and all(
            np.array_equal(mine, theirs)
            for mine, theirs in (
                (self.src, other.src), (self.dst, other.dst), (self.ident, other.ident), (self.comp, other.comp),
            )
        )  # fmt: skip

    def __hash__(self) -> int:
        # Without the table, which takes as long to read as to compare.
        return hash((FinCat, self.n_obj, self.n_mor))

    def __repr__(self) -> str:
        return f"<{self.name}, {self.n_obj} objects, {self.n_mor} arrows>"

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(refrozen(state))

    # Objects and arrows

    @property
    def n_mor(self) -> int:
        """How many arrows there are, identities counted."""
        return len(self.src)

    @property
    def objects(self) -> range:
        """All objects."""
        return range(self.n_obj)

    def object_of(self, number: int) -> int:
        """The object of this number as Python's whole number; ConfigError for what is no object."""
        a = whole_number(number)
        if a is None or not 0 <= a < self.n_obj:
            known = f"has the objects 0 to {self.n_obj - 1}" if self.n_obj else "has no object"
            raise ConfigError(f"{self.name} {known}; got {number!r}")
        return a

    def arrow_of(self, number: int) -> int:
        """The arrow of this number as Python's whole number; ConfigError for what is no arrow."""
        f = whole_number(number)
        if f is None or not 0 <= f < self.n_mor:
            known = f"has the arrows 0 to {self.n_mor - 1}" if self.n_mor else "has no arrow"
            raise ConfigError(f"{self.name} {known}; got {number!r}")
        return f

    @cached_property
    def is_identity(self) -> Indices:
        """Which arrows are identities, ``(m,)`` booleans."""
        marks = np.zeros(self.n_mor, dtype=bool)
        marks[self.ident] = True
        return frozen(marks)

    @cached_property
    def hom_count(self) -> Indices:
        """``|Hom(a, b)|``, ``(n_obj, n_obj)``: the row is where the arrows start."""
        counts = np.bincount(self.src * self.n_obj + self.dst, minlength=self.n_obj**2)
        return frozen(counts.reshape(self.n_obj, self.n_obj))

    @cached_property
    def _by_ends(self) -> tuple[Indices, Indices]:
        """All arrows ordered by their ends, and where those of each pair of objects begin."""
        keys = self.src * self.n_obj + self.dst
        return frozen(np.argsort(keys, kind="stable")), frozen(starts_of(self.hom_count.ravel()))

    def hom(self, a: int, b: int) -> Indices:
        """The arrows from ``a`` to ``b``, in increasing order."""
        order, starts = self._by_ends
        pair = self.object_of(a) * self.n_obj + self.object_of(b)
        return order[starts[pair] : starts[pair + 1]]

    @cached_property
    def place(self) -> Indices:
        """The place of each arrow in the list :meth:`hom` of its ends, ``(m,)``."""
        order, starts = self._by_ends
        places = np.empty(self.n_mor, dtype=np.int64)
        places[order] = np.arange(self.n_mor) - starts[(self.src * self.n_obj + self.dst)[order]]
        return frozen(places)

    @cached_property
    def _arrows_into(self) -> list[Indices]:
        """For each object the arrows that end there."""
        return [frozen(np.flatnonzero(self.dst == a)) for a in self.objects]

    @cached_property
    def _arrows_out_of(self) -> list[Indices]:
        """For each object the arrows that start there."""
        return [frozen(np.flatnonzero(self.src == a)) for a in self.objects]

    def arrows_into(self, a: int) -> Indices:
        """The arrows that end at object ``a``, in increasing order."""
        return self._arrows_into[self.object_of(a)]

    def arrows_out_of(self, a: int) -> Indices:
        """The arrows that start at object ``a``, in increasing order."""
        return self._arrows_out_of[self.object_of(a)]

    def compose(self, *arrows: int) -> int:
        """``… ∘ g ∘ f`` for arrows in this order, the last one first; ConfigError where two do not meet, or for none.

        ``compose(g, f)`` is ``comp[g, f]``.
        """
        if not arrows:
            raise ConfigError(f"{self.name}: compose needs at least one arrow")
        *later, last = (self.arrow_of(f) for f in arrows)
        for g in reversed(later):
            if self.comp[g, last] < 0:
                raise ConfigError(f"{self.name}: {self._arrow(last)} and then {self._arrow(g)} do not meet")
            last = int(self.comp[g, last])
        return last

    # What generates

    @cached_property
    def generation(self) -> Generation:
        """Generating arrows, and how each arrow is composed of them.

        Arrows that are no composite of others come first, for every generating set holds them; then the least arrow
        that is not made yet, until all are made.
        """
        m = self.n_mor
        made = self.is_identity.copy()
        stage = np.where(made, 0, -1)
        outer = np.full(m, -1)
        inner = np.full(m, -1)
        order: list[Indices] = []
        chosen: list[int] = []
        for s in self._candidates():
            if made[s]:
                continue
            chosen.append(s)
            letters = np.array([s])
            frontier = np.flatnonzero(made)
            while len(frontier):
                products = self.comp[letters[:, None], frontier].ravel()
                places = np.flatnonzero((products >= 0) & ~made[products])
                fresh, first = np.unique(products[places], return_index=True)
                at = places[first]
                made[fresh] = True
                stage[fresh] = len(chosen)
                outer[fresh] = letters[at // len(frontier)]
                inner[fresh] = frontier[at % len(frontier)]
                order.append(fresh)
                frontier = fresh
                letters = np.array(chosen)
            # It can be a composite of itself and an arrow made before it, which says nothing of it.
            outer[s] = s
            inner[s] = self.ident[self.src[s]]
        listed = np.concatenate(order) if order else np.zeros(0, dtype=np.int64)
        return Generation(np.array(chosen, dtype=np.int64), listed, stage, outer, inner)

    def _candidates(self) -> list[int]:
        """The arrows that are no identities, those that are no composite of two such arrows first."""
        proper = np.flatnonzero(~self.is_identity)
        composites = np.zeros(self.n_mor, dtype=bool)
        for g in proper.tolist():
            row = self.comp[g, proper]
            composites[row[row >= 0]] = True
        return [*proper[~composites[proper]].tolist(), *proper[composites[proper]].tolist()]

    @property
    def generators(self) -> Indices:
        """Arrows of which all others, but for identities, are composites; see :attr:`generation`."""
        return self.generation.generators

    # Structure

    @cached_property
    def inverses(self) -> Indices:
        """The inverse of each arrow, ``(m,)``; −1 for an arrow without one."""
        # g is the inverse of f where both composites are identities; there is one at most.
        undone = (self.comp >= 0) & self.is_identity[self.comp]
        both = undone & undone.T
        found = np.full(self.n_mor, -1)
        g, f = np.nonzero(both)
        found[f] = g
        return frozen(found)

    @property
    def is_groupoid(self) -> bool:
        """Whether every arrow has an inverse."""
        return bool((self.inverses >= 0).all())

    def isomorphisms(self, a: int, b: int) -> Indices:
        """The arrows from ``a`` to ``b`` that have an inverse, in increasing order."""
        arrows = self.hom(a, b)
        return arrows[self.inverses[arrows] >= 0]

    def automorphisms(self, a: int) -> Indices:
        """The arrows from ``a`` to itself that have an inverse, in increasing order."""
        return self.isomorphisms(a, a)

    @cached_property
    def isomorphism_labels(self) -> Indices:
        """The number of the isomorphism class of each object, ``(n_obj,)``, in the order of their first objects."""
        return frozen(_components(self.n_obj, self.src, self.dst, self.inverses >= 0))

    @cached_property
    def component_labels(self) -> Indices:
        """The number of the connected component of each object, ``(n_obj,)``, in the order of their first objects."""
        return frozen(_components(self.n_obj, self.src, self.dst, np.ones(self.n_mor, dtype=bool)))

    @cached_property
    def terminal_objects(self) -> tuple[int, ...]:
        """The objects that have exactly one arrow from every object."""
        return tuple(np.flatnonzero((self.hom_count == 1).all(axis=0)).tolist())

    @cached_property
    def initial_objects(self) -> tuple[int, ...]:
        """The objects that have exactly one arrow to every object."""
        return tuple(np.flatnonzero((self.hom_count == 1).all(axis=1)).tolist())

    @cached_property
    def _opposite(self) -> "FinCat":
        """The category of :meth:`op`; its laws are those of this one, so nothing is checked."""
        other = object.__new__(FinCat)
        name = self.name.removesuffix("ᵒᵖ") if self.name.endswith("ᵒᵖ") else f"{self.name}ᵒᵖ"
        other.__dict__.update(
            n_obj=self.n_obj, src=self.dst, dst=self.src, ident=self.ident, comp=frozen(self.comp.T), name=name,
            _opposite=self,
        )  # fmt: skip
        return other

    def op(self) -> "FinCat":
        """The opposite category: the same objects and arrows, all of them turned round, ``comp[g, f]`` of one being
        ``comp[f, g]`` of the other.
        """
        return self._opposite


def same_category(categories: list[FinCat], what: str) -> FinCat:
    """The first category, to which all others must be equal; ``what`` is the name of the calling function.

    Raises: ConfigError naming the first two that differ.
    """
    for other in categories[1:]:
        if other != categories[0]:
            raise ConfigError(f"{what}: of different categories, {categories[0]} and {other}; bring them to one")
    return categories[0]


def _components(n: int, src: Indices, dst: Indices, chosen: NDArray[np.bool_]) -> Indices:
    """Labels of the components of a graph, numbered in the order of their first nodes.

    ``chosen``: which of the edges ``src → dst`` count.
    """
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    edges = coo_array((np.ones(int(chosen.sum())), (src[chosen], dst[chosen])), shape=(n, n))
    _, labels = connected_components(edges, directed=False)
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[which.reshape(n)]
