"""Functors between finite categories, as two arrays that check the laws."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from msr.category.categories.tables import FinCat
from msr.category.integers import whole_array, within
from msr.errors import AxiomError, ConfigError
from msr.groups.immutable import frozen, refrozen
from msr.permutations import Indices

__all__ = ["Functor", "identity_functor"]


@dataclass(frozen=True, eq=False, repr=False)
class Functor:
    """A functor ``F`` from one finite category to another; immutable, and a value like :class:`FinCat`.

    Attributes:
        source, target: the two categories.
        obj_map: ``(source.n_obj,)`` the object of the target to which each object goes.
        mor_map: ``(source.n_mor,)`` the arrow to which each arrow goes.
        name: for messages.

    Raises: ShapeError for arrays of another form; AxiomError for a number out of range, an arrow whose ends do not go
    where the objects go, an identity that goes to none, or ``F(g ∘ f)`` that is not ``F(g) ∘ F(f)``, naming the first.
    """

    source: FinCat
    target: FinCat
    obj_map: Indices
    mor_map: Indices
    name: str = "F"

    def __post_init__(self) -> None:
        for side in ("source", "target"):
            if not isinstance(getattr(self, side), FinCat):
                raise ConfigError(f"{self.name}: {side} must be a FinCat; got {getattr(self, side)!r}")
        self.__dict__.update(
            obj_map=whole_array(self.obj_map, f"{self.name}: obj_map", (self.source.n_obj,)),
            mor_map=whole_array(self.mor_map, f"{self.name}: mor_map", (self.source.n_mor,)),
        )
        self.check()

    def check(self) -> None:
        """Raise AxiomError where a law is broken, naming it and the first arrows that break it."""
        C = self.source
        D = self.target
        within(self.obj_map, D.n_obj, f"{self.name}: obj_map", "objects of the target")
        within(self.mor_map, D.n_mor, f"{self.name}: mor_map", "arrows of the target")
        moved = self.mor_map
        bad = np.flatnonzero((D.src[moved] != self.obj_map[C.src]) | (D.dst[moved] != self.obj_map[C.dst]))
        if len(bad):
            f = int(bad[0])
            raise AxiomError(
                f"{self.name}: arrow {f} ({C.src[f]} → {C.dst[f]}) must go to an arrow {self.obj_map[C.src[f]]} → "
                f"{self.obj_map[C.dst[f]]}; it goes to {moved[f]} ({D.src[moved[f]]} → {D.dst[moved[f]]})"
            )
        bad = np.flatnonzero(moved[C.ident] != D.ident[self.obj_map])
        if len(bad):
            a = int(bad[0])
            raise AxiomError(
                f"{self.name}: the identity of object {a} must go to the identity of object {self.obj_map[a]}, arrow "
                f"{D.ident[self.obj_map[a]]}; it goes to arrow {moved[C.ident[a]]}"
            )
        # A generator last is enough: every arrow is a composite of generators.
        generators = C.generators
        rows = C.comp[generators]
        broken = np.argwhere((rows >= 0) & (moved[rows] != D.comp[moved[generators][:, None], moved]))
        if len(broken):
            i, f = broken[0].tolist()
            g = int(generators[i])
            raise AxiomError(
                f"{self.name}: no functor: arrow {f} and then {g} is arrow {C.comp[g, f]}, which goes to "
                f"{moved[C.comp[g, f]]}, but their images compose to {D.comp[moved[g], moved[f]]}"
            )

    @classmethod
    def known(cls, source: FinCat, target: FinCat, obj_map: Indices, mor_map: Indices, name: str = "F") -> "Functor":
        """A functor whose laws hold by construction: nothing is checked."""
        functor = cls.__new__(cls)
        functor.__dict__.update(
            source=source, target=target, obj_map=frozen(obj_map), mor_map=frozen(mor_map), name=name
        )
        return functor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Functor):
            return NotImplemented
        return (
            np.array_equal(self.obj_map, other.obj_map)
            and np.array_equal(self.mor_map, other.mor_map)
            and self.source == other.source
            and self.target == other.target
        )

    def __hash__(self) -> int:
        return hash((Functor, self.obj_map.tobytes(), self.mor_map.tobytes()))

    def __repr__(self) -> str:
        return f"<{self.name}: {self.source.name} → {self.target.name}>"

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(refrozen(state))

    # What it does to Hom sets

    @cached_property
    def hom_images(self) -> Indices:
        """How many arrows ``F`` reaches from each ``Hom(a, b)``, ``(n_obj, n_obj)``."""
        n = self.source.n_obj
        # Each arrow by its ends and its image; equal images of one Hom set count once.
        pairs = self.source.src * n + self.source.dst
        distinct = np.unique(pairs * max(1, self.target.n_mor) + self.mor_map)
        return frozen(np.bincount(distinct // max(1, self.target.n_mor), minlength=n * n).reshape(n, n))

    @property
    def target_hom_count(self) -> Indices:
        """``|Hom(F a, F b)|`` in the target for objects of the source, ``(n_obj, n_obj)``."""
        return self.target.hom_count[np.ix_(self.obj_map, self.obj_map)]

    @cached_property
    def not_faithful(self) -> tuple[tuple[int, int], ...]:
        """The pairs ``(a, b)`` on whose Hom sets ``F`` sends two arrows to one."""
        return _pairs(self.hom_images < self.source.hom_count)

    @cached_property
    def not_full(self) -> tuple[tuple[int, int], ...]:
        """The pairs ``(a, b)`` for which ``F`` misses an arrow from ``F a`` to ``F b``."""
        return _pairs(self.hom_images < self.target_hom_count)

    @property
    def is_faithful(self) -> bool:
        """Whether ``F`` is one-to-one on every Hom set."""
        return not self.not_faithful

    @property
    def is_full(self) -> bool:
        """Whether ``F`` is onto on every Hom set."""
        return not self.not_full

    @property
    def is_fully_faithful(self) -> bool:
        """Whether ``F`` is a bijection on every Hom set: full and faithful."""
        return self.is_full and self.is_faithful

    @property
    def is_injective_on_objects(self) -> bool:
        """Whether different objects go to different objects."""
        return len(np.unique(self.obj_map)) == self.source.n_obj

    @property
    def is_embedding(self) -> bool:
        """Whether ``F`` is a full embedding: full, faithful, and one-to-one on objects."""
        return self.is_fully_faithful and self.is_injective_on_objects

    # New functors

    def after(self, other: "Functor") -> "Functor":
        """``F ∘ G``: first ``other``, then this one; ConfigError where the categories do not meet."""
        if other.target != self.source:
            raise ConfigError(
                f"{self.name} after {other.name}: {other.name} ends in {other.target}, and {self.name} starts at "
                f"{self.source}"
            )
        name = f"{self.name}∘{other.name}"
        objects = self.obj_map[other.obj_map]
        return Functor.known(other.source, self.target, objects, self.mor_map[other.mor_map], name)

    def op(self) -> "Functor":
        """The same functor between the opposite categories."""
        return Functor.known(self.source.op(), self.target.op(), self.obj_map, self.mor_map, self.name)


def identity_functor(category: FinCat) -> Functor:
    """The functor from a category to itself that changes nothing."""
    return Functor.known(category, category, np.arange(category.n_obj), np.arange(category.n_mor), "Id")


def _pairs(where: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The places of a table at which a condition holds."""
    return tuple((int(a), int(b)) for a, b in np.argwhere(where))
