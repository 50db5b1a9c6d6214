"""Presheaves and copresheaves that people name: representable and constant ones, those of actions, restrictions."""

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from msr.category.categories.constructors import action_of, from_group
from msr.category.categories.functors import Functor
from msr.category.categories.tables import FinCat
from msr.category.guards import refuse_large
from msr.category.integers import whole_array
from msr.category.sets.presheaves import CoPresheaf, Presheaf, SetFunctor
from msr.errors import ConfigError, ShapeError
from msr.groups import FiniteGroup
from msr.groups.group import whole_number
from msr.groups.immutable import as_array

__all__ = [
    "action_copresheaf", "action_presheaf", "constant", "constant_copresheaf", "corepresentable", "on_inverses",
    "on_opposite", "representable", "restricted",
]  # fmt: skip

_Kind = TypeVar("_Kind", bound=SetFunctor)


def representable(category: FinCat, X: int) -> Presheaf:
    """The presheaf ``h_X = Hom(−, X)``, the Yoneda image of an object: an arrow ``f: Y′ → Y`` sends ``u: Y → X`` to
    ``u ∘ f``.

    Element ``k`` at ``Y`` is the arrow ``category.hom(Y, X)[k]``, so the sizes are column ``X`` of ``hom_count``.
    """
    place = category.object_of(X)
    arrows = [category.hom(Y, place) for Y in category.objects]
    maps = [category.place[category.comp[arrows[category.dst[f]], f]] for f in range(category.n_mor)]
    return Presheaf.known(category, category.hom_count[:, place], maps, f"h_{place}")


def corepresentable(category: FinCat, X: int) -> CoPresheaf:
    """The copresheaf ``Hom(X, −)``: an arrow ``f: Y → Y′`` sends ``u: X → Y`` to ``f ∘ u``.

    Element ``k`` at ``Y`` is the arrow ``category.hom(X, Y)[k]``, so the sizes are row ``X`` of ``hom_count``.
    """
    place = category.object_of(X)
    arrows = [category.hom(place, Y) for Y in category.objects]
    maps = [category.place[category.comp[f, arrows[category.src[f]]]] for f in range(category.n_mor)]
    return CoPresheaf.known(category, category.hom_count[place], maps, f"Hom({place}, −)")


def constant(category: FinCat, size: int) -> Presheaf:
    """The presheaf of ``size`` elements at each object that no arrow moves."""
    return _constant(Presheaf, category, size)


def constant_copresheaf(category: FinCat, size: int) -> CoPresheaf:
    """The copresheaf of ``size`` elements at each object that no arrow moves."""
    return _constant(CoPresheaf, category, size)


def action_copresheaf(group: FiniteGroup | FinCat, moves: ArrayLike, name: str = "T") -> CoPresheaf:
    """A set on which a group acts from the left, as a copresheaf on ``BG``: ``F(g)(x) = g·x``.

    Args:
        group: a group, or the category :func:`from_group` of one (which saves making it again).
        moves: ``(order, n)``: ``moves[g, x] = g·x``; ``n`` may be 0.
        name: for messages.

    Raises: AxiomError where the moves are no action.
    """
    category, images = _action(group, moves)
    return CoPresheaf(category, np.array([images.shape[1]]), tuple(images), name)


def action_presheaf(group: FiniteGroup | FinCat, moves: ArrayLike, name: str = "T") -> Presheaf:
    """A set on which a group acts from the left, as a presheaf on ``BG``: ``T(g)(x) = g⁻¹·x``.

    Arguments and errors are those of :func:`action_copresheaf`.
    """
    category, images = _action(group, moves)
    return Presheaf(category, np.array([images.shape[1]]), tuple(images[category.inverses]), name)


def on_opposite(functor: SetFunctor) -> SetFunctor:
    """The same sets and maps as a functor on the opposite category: a presheaf on ``C`` is a copresheaf on ``C.op()``,
    and the other way round.
    """
    kind = Presheaf if functor.covariant else CoPresheaf
    return kind.known(functor.category.op(), functor.sizes, functor.maps, functor.name)


def on_inverses(functor: SetFunctor) -> SetFunctor:
    """A presheaf on a groupoid as a copresheaf, and the other way round, by the inverses of all arrows.

    Raises: ConfigError for a category with an arrow that has no inverse, naming the first.
    """
    C = functor.category
    if not C.is_groupoid:
        f = int(np.argmax(C.inverses < 0))
        raise ConfigError(
            f"on_inverses: arrow {f} of {C.name} has no inverse, so a presheaf is no copresheaf on the same category; "
            "on_opposite makes it one on C.op()"
        )
    kind = Presheaf if functor.covariant else CoPresheaf
    return kind.known(C, functor.sizes, [functor.maps[g] for g in C.inverses], functor.name)


def restricted(functor: _Kind, along: Functor) -> _Kind:
    """``T ∘ F``: a presheaf or copresheaf on the target of a functor ``F``, as one on its source.

    Raises: ConfigError where ``T`` does not live on the target.
    """
    if functor.category != along.target:
        raise ConfigError(f"restricted: {functor!r} does not live on the target of {along!r}")
    maps = [functor.maps[f] for f in along.mor_map]
    return type(functor).known(along.source, functor.sizes[along.obj_map], maps, f"{functor.name}∘{along.name}")


def _constant(kind: type[_Kind], category: FinCat, size: int) -> _Kind:
    """The functor of this kind that is the same set everywhere."""
    n = whole_number(size)
    if n is None or n < 0:
        raise ConfigError(f"constant: a set has 0 elements or more; got {size!r}")
    refuse_large(16.0 * n * (category.n_mor + category.n_obj), f"the maps of {n} elements at each object")
    return kind.known(category, [n] * category.n_obj, [np.arange(n)] * category.n_mor, f"const {n}")


def _action(group: FiniteGroup | FinCat, moves: ArrayLike) -> tuple[FinCat, np.ndarray]:
    """The category of a group, and a left action of it as whole numbers ``(order, n)``."""
    if isinstance(group, FiniteGroup):
        return from_group(group), action_of(group, moves)
    if not isinstance(group, FinCat) or group.n_obj != 1 or not group.is_groupoid:
        raise ConfigError(f"an action needs a FiniteGroup, or the category from_group(group); got {group!r}")
    array = as_array(moves, "moves")
    if array.ndim == 1 and array.size == 0:
        array = np.zeros((group.n_mor, 0), dtype=np.int64)
    if array.ndim != 2 or len(array) != group.n_mor:
        raise ShapeError(f"moves must be ({group.n_mor}, points), a row for each element; got {array.shape}")
    return group, whole_array(array, "moves", array.shape)
