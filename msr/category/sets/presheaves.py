"""Functors from a finite category to finite sets: presheaves, which turn arrows round, and copresheaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from msr.category.categories.tables import FinCat, same_category
from msr.category.guards import refuse_large
from msr.category.integers import ranges, starts_of, whole_array
from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.group import whole_number
from msr.groups.immutable import as_array, frozen, refrozen
from msr.permutations import Indices

__all__ = ["CoPresheaf", "Presheaf", "SetFunctor", "same_kind"]

_Kind = TypeVar("_Kind", bound="SetFunctor")

_AT_ONCE = 2**21
"""How many elements a law is compared on at once: 16 MB for each array of them."""


@dataclass(frozen=True, eq=False, repr=False)
class SetFunctor:
    """What presheaves and copresheaves have in common: a finite set at each object, a map for each arrow.

    The elements at object ``X`` are ``0 .. sizes[X] − 1``. All elements together have one numbering as well: element
    ``x`` at ``X`` has the number ``offsets[X] + x`` (*global* below).
    """

    category: FinCat
    sizes: Indices
    maps: tuple[Indices, ...]
    name: str = "T"

    covariant: ClassVar[bool]

    def __post_init__(self) -> None:
        C = self.category
        if not isinstance(C, FinCat):
            raise ConfigError(f"{self.name}: category must be a FinCat; got {C!r}")
        sizes = whole_array(self.sizes, f"{self.name}: sizes", (C.n_obj,))
        if (sizes < 0).any():
            a = int(np.argmax(sizes < 0))
            raise ShapeError(f"{self.name}: sizes[{a}] = {sizes[a]}; a set has 0 elements or more")
        self.__dict__["sizes"] = sizes
        if len(self.maps) != C.n_mor:
            raise ShapeError(f"{self.name}: one map for each of the {C.n_mor} arrows is needed; got {len(self.maps)}")
        self.__dict__["maps"] = tuple(self._checked_map(f, values) for f, values in enumerate(self.maps))
        self.check()

    def _checked_map(self, f: int, values: ArrayLike) -> Indices:
        """The map of an arrow as an array, after a check of its length and range."""
        n = int(self.sizes[self.domain[f]])
        aim = int(self.sizes[self.codomain[f]])
        array = as_array(values, f"{self.name}: maps[{f}]")
        if array.ndim != 1 or len(array) != n or (array.size and array.dtype.kind not in "iu"):
            raise ShapeError(
                f"{self.name}: maps[{f}] must be {n} whole numbers, one for each element at object {self.domain[f]}; "
                f"got {array.dtype} {array.shape}"
            )
        bad = np.flatnonzero((array < 0) | (array >= aim))
        if len(bad):
            raise AxiomError(
                f"{self.name}: maps[{f}] sends element {bad[0]} at object {self.domain[f]} to {array[bad[0]]}, which "
                f"is none of the {aim} elements at object {self.codomain[f]}"
            )
        return frozen(array.astype(np.int64))

    @classmethod
    def known(cls: type[_Kind], category: FinCat, sizes: Any, maps: Any, name: str = "T") -> _Kind:
        """One whose laws hold by construction: nothing is checked."""
        functor = cls.__new__(cls)
        functor.__dict__.update(
            category=category, sizes=frozen(np.asarray(sizes, dtype=np.int64)), name=name,
            maps=tuple(frozen(np.asarray(m, dtype=np.int64)) for m in maps),
        )  # fmt: skip
        return functor

    @classmethod
    def generated(
        cls: type[_Kind], category: FinCat, sizes: ArrayLike, maps: Mapping[int, ArrayLike], name: str = "T"
    ) -> _Kind:
        """One from the maps of generating arrows alone, ``{arrow: map}``; the other maps are their composites.

        Raises: ConfigError where the arrows given do not generate the category, naming the first that is left out; the
        errors of the class where a map is of another form, or a law is broken.
        """
        checked = whole_array(sizes, f"{name}: sizes", (category.n_obj,))
        held = cls.known(category, checked, (), name)
        found: dict[int, Indices] = {int(category.ident[a]): np.arange(checked[a]) for a in category.objects}
        letters = {category.arrow_of(f): held._checked_map(f, values) for f, values in maps.items()}
        frontier = list(found)
        while frontier:
            fresh = []
            for g, values in letters.items():
                for f in frontier:
                    product = int(category.comp[g, f])
                    if product >= 0 and product not in found:
                        found[product] = values[found[f]] if cls.covariant else found[f][values]
                        fresh.append(product)
            frontier = fresh
        missing = [f for f in range(category.n_mor) if f not in found]
        if missing:
            raise ConfigError(
                f"{name}: the maps of the arrows {sorted(letters)} do not determine arrow {missing[0]}; "
                f"{category.name} is generated by {category.generators.tolist()}"
            )
        # A given map stays as given, so that one that breaks the law is seen.
        return cls(category, checked, tuple(letters.get(f, found[f]) for f in range(category.n_mor)), name)

    # Laws

    @property
    def domain(self) -> Indices:
        """The object whose set each map starts from, ``(m,)``."""
        return self.category.src if self.covariant else self.category.dst

    @property
    def codomain(self) -> Indices:
        """The object into whose set each map goes, ``(m,)``."""
        return self.category.dst if self.covariant else self.category.src

    def check(self) -> None:
        """Raise AxiomError where a law is broken, naming it and the first arrows and element that break it."""
        C = self.category
        for a in C.objects:
            moved = self.maps[C.ident[a]]
            bad = np.flatnonzero(moved != np.arange(len(moved)))
            if len(bad):
                raise AxiomError(
                    f"{self.name}: the identity of object {a} (arrow {C.ident[a]}) must move nothing; it sends element "
                    f"{bad[0]} to {moved[bad[0]]}"
                )
        # A generator on one side is enough: every arrow is a composite of generators.
        chosen = C.generators
        which, f = np.nonzero(C.comp[chosen] >= 0)
        g = chosen[which]
        first, second = (f, g) if self.covariant else (g, f)
        lengths = self.sizes[self.domain[first]]
        ends = np.cumsum(lengths)
        start = 0
        while start < len(g):
            done = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _AT_ONCE)))
            self._check_pairs(g[start:stop], f[start:stop], first[start:stop], second[start:stop])
            start = stop

    def _check_pairs(self, g: Indices, f: Indices, first: Indices, second: Indices) -> None:
        """The law for composites ``g ∘ f``, of whose maps ``first`` is applied before ``second``."""
        starts = self._starts
        lengths = self.sizes[self.domain[first]]
        elements = ranges(lengths)
        middle = self._flat[np.repeat(starts[first], lengths) + elements]
        twice = self._flat[np.repeat(starts[second], lengths) + middle]
        once = self._flat[np.repeat(starts[self.category.comp[g, f]], lengths) + elements]
        broken = np.flatnonzero(twice != once)
        if len(broken):
            at = int(np.searchsorted(np.cumsum(lengths), broken[0], side="right"))
            x = int(elements[broken[0]])
            law = "T(g)(T(f)(x))" if self.covariant else "T(f)(T(g)(x))"
            advice = ""
            if not self.covariant and self.category.n_obj == 1:
                advice = "; a left action is a presheaf by T(g)(x) = g⁻¹·x, see msr.category.action_presheaf"
            raise AxiomError(
                f"{self.name}: no {type(self).__name__.lower()}: for g = {g[at]}, f = {f[at]} and x = {x}, {law} = "
                f"{twice[broken[0]]}, but T(g∘f)(x) = {once[broken[0]]}{advice}"
            )

    # A value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SetFunctor):
            return NotImplemented
        if self is other:
            return True
        return (
            self.covariant == other.covariant
            and np.array_equal(self.sizes, other.sizes)
            and np.array_equal(self._flat, other._flat)
            and self.category == other.category
        )

    def __hash__(self) -> int:
        return hash((self.covariant, self.sizes.tobytes()))

    def __repr__(self) -> str:
        sizes = self.sizes.tolist()
        shown = ", ".join(map(str, sizes[:8])) + (", …" if len(sizes) > 8 else "")
        return f"<{self.name}: {type(self).__name__} on {self.category.name}, sizes ({shown})>"

    def __setstate__(self, state: dict[str, Any]) -> None:
        held = refrozen(state)
        held["maps"] = tuple(frozen(m) for m in held["maps"])
        self.__dict__.update(held)

    def __add__(self: _Kind, other: _Kind) -> _Kind:
        """The disjoint union: at each object the elements of this one, then those of the other."""
        same_kind([self, other], "+")
        maps = [
            np.concatenate([a, b + shift])
            for a, b, shift in zip(self.maps, other.maps, self.sizes[self.codomain], strict=True)
        ]
        return type(self).known(self.category, self.sizes + other.sizes, maps, f"{self.name} + {other.name}")

    def __mul__(self: _Kind, other: _Kind) -> _Kind:
        """The product: at each object the pairs ``(x, y)``, as number ``x · |other| + y``."""
        same_kind([self, other], "×")
        sizes = self.sizes * other.sizes
        refuse_large(16.0 * float(sizes[self.domain].sum()), f"the product of {self!r} and {other!r}")
        maps = [
            (a[:, None] * width + b).ravel()
            for a, b, width in zip(self.maps, other.maps, other.sizes[self.codomain], strict=True)
        ]
        return type(self).known(self.category, sizes, maps, f"{self.name} × {other.name}")

    def element_of(self, X: int, x: int) -> tuple[int, int]:
        """An object and an element at it as Python's whole numbers; ConfigError where there are none such."""
        place = self.category.object_of(X)
        element = whole_number(x)
        if element is None or not 0 <= element < self.sizes[place]:
            raise ConfigError(f"{self.name} has {self.sizes[place]} elements at object {place}; got element {x!r}")
        return place, element

    # Flat views

    @property
    def n_elements(self) -> int:
        """How many elements there are at all objects together."""
        return int(self.sizes.sum())

    @cached_property
    def offsets(self) -> Indices:
        """Where the global numbers of each object's elements begin, and where the last end, ``(n_obj + 1,)``."""
        return frozen(starts_of(self.sizes))

    @cached_property
    def object_of_element(self) -> Indices:
        """The object at which each element lies, by global number, ``(n_elements,)``."""
        return frozen(np.repeat(np.arange(len(self.sizes)), self.sizes))

    @cached_property
    def _flat(self) -> Indices:
        """All maps, one behind the other."""
        return frozen(np.concatenate(self.maps)) if self.maps else np.zeros(0, dtype=np.int64)

    @cached_property
    def _starts(self) -> Indices:
        """Where each map begins in :attr:`_flat`, and where the last ends."""
        return frozen(starts_of(self.sizes[self.domain]))

    def acting_on(self, X: int) -> Indices:
        """The arrows whose maps start from the set at object ``X``, in increasing order."""
        return self.category.arrows_out_of(X) if self.covariant else self.category.arrows_into(X)

    def images_of(self, X: int, elements: Indices | None = None) -> Indices:
        """Where each arrow of :meth:`acting_on` sends elements at ``X``, in global numbers, ``(arrows, elements)``.

        ``elements``: those at ``X`` that are asked for; None for all.
        """
        arrows = self.acting_on(X)
        asked = np.arange(self.sizes[X]) if elements is None else elements
        refuse_large(24.0 * len(arrows) * len(asked), f"the images of {self.name} at object {X}")
        if len(asked) == 0 or len(arrows) == 0:
            return np.zeros((len(arrows), len(asked)), dtype=np.int64)
        local = self._flat[self._starts[arrows][:, None] + asked]
        return local + self.offsets[self.codomain[arrows]][:, None]

    def moved(self, arrows: Indices, elements: Indices) -> Indices:
        """Where the maps of some arrows send an element each, ``(n,)``, in the numbers of its object."""
        return self._flat[self._starts[arrows] + elements]

    def edges(self, arrows: Indices) -> tuple[Indices, Indices]:
        """Where some arrows send all elements: the global numbers of the elements, arrow by arrow, and of their
        images.
        """
        lengths = self.sizes[self.domain[arrows]]
        local = ranges(lengths)
        starts = np.repeat(self._starts[arrows], lengths)
        tails = local + np.repeat(self.offsets[self.domain[arrows]], lengths)
        heads = self._flat[starts + local] + np.repeat(self.offsets[self.codomain[arrows]], lengths)
        return tails, heads


class Presheaf(SetFunctor):
    """A contravariant functor ``T`` from a finite category to finite sets: a task, in the theory of foundation models.

    Immutable, and a value. ``S + T`` is the disjoint union and ``S * T`` the product.

    Attributes:
        category: a :class:`msr.category.FinCat`.
        sizes: ``(n_obj,)`` how many elements ``T(X)`` has.
        maps: for each arrow ``f: X → Y`` the map ``T(f): T(Y) → T(X)``, an array of ``sizes[Y]`` elements of ``T(X)``.
        name: for messages.

    Raises: ShapeError for arrays of another form; AxiomError for an element out of range, an identity that moves one,
    or ``T(g ∘ f)`` that is not ``T(f) ∘ T(g)``, naming the first arrows and element.
    """

    covariant = False


class CoPresheaf(SetFunctor):
    """A covariant functor ``F`` from a finite category to finite sets.

    As :class:`Presheaf`, but for each arrow ``f: X → Y`` the map goes forward, ``F(f): F(X) → F(Y)``, an array of
    ``sizes[X]`` elements of ``F(Y)``, and ``F(g ∘ f) = F(g) ∘ F(f)``.
    """

    covariant = True


def same_kind(functors: Sequence[SetFunctor], what: str) -> None:
    """Raise ConfigError unless all are presheaves, or all are copresheaves, on one category; ``what`` is the caller."""
    for functor in functors:
        if not isinstance(functor, SetFunctor):
            raise ConfigError(f"{what}: a Presheaf or CoPresheaf is needed; got {functor!r}")
    if len({functor.covariant for functor in functors}) > 1:
        raise ConfigError(
            f"{what}: a presheaf and a copresheaf do not compare; a copresheaf on C is a presheaf on C.op(), see "
            "msr.category.on_opposite"
        )
    same_category([functor.category for functor in functors], what)
