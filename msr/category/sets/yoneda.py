"""The Yoneda lemma on tables: elements of a functor are the natural transformations from a representable one."""

import numpy as np
from numpy.typing import ArrayLike

from msr.category.categories.tables import FinCat
from msr.category.sets.natural_transformations import Nat, count_transformations
from msr.category.sets.presheaves import CoPresheaf, Presheaf, SetFunctor
from msr.category.sets.set_functors import corepresentable, representable
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups.immutable import as_array
from msr.permutations import Indices

__all__ = [
    "ideal_error", "yoneda_arrow", "yoneda_counts", "yoneda_element", "yoneda_is_ideal", "yoneda_table",
    "yoneda_transformation",
]  # fmt: skip


def yoneda_table(category: FinCat) -> tuple[Presheaf, ...]:
    """The Yoneda images ``h_X = Hom(−, X)`` of all objects, in their order."""
    return tuple(representable(category, X) for X in category.objects)


def yoneda_transformation(functor: SetFunctor, X: int, element: int) -> Nat:
    """The transformation from ``Hom(−, X)`` to a presheaf that an element ``x`` at ``X`` is, ``u ↦ T(u)(x)``; from
    ``Hom(X, −)`` for a copresheaf.

    Raises: ConfigError for what is no object, or no element at it.
    """
    place, x = functor.element_of(X, element)
    C = functor.category
    source = corepresentable(C, place) if functor.covariant else representable(C, place)
    arrows = functor.acting_on(place)
    images = np.empty(len(arrows), dtype=np.int64)
    images[source.offsets[functor.codomain[arrows]] + C.place[arrows]] = functor.images_of(place, np.array([x]))[:, 0]
    return Nat.known(source, functor, images, f"element {x} at {place}")


def yoneda_element(transformation: Nat, X: int) -> int:
    """The element at ``X`` that a transformation from ``Hom(−, X)``, or ``Hom(X, −)``, is: where it sends the identity.

    Raises: ConfigError where the source is not that functor, with its elements in the order of the arrows.
    """
    S = transformation.source
    C = S.category
    place = C.object_of(X)
    if (corepresentable(C, place) if isinstance(S, CoPresheaf) else representable(C, place)) != S:
        raise ConfigError(f"yoneda_element: {transformation!r} does not start at the functor of object {place}")
    return int(transformation.components[place][C.place[C.ident[place]]])


def yoneda_arrow(category: FinCat, arrow: int) -> Nat:
    """The transformation ``h_f: h_X ⇒ h_Y`` of an arrow ``f: X → Y``: it composes with ``f``."""
    f = category.arrow_of(arrow)
    target = representable(category, int(category.dst[f]))
    return yoneda_transformation(target, int(category.src[f]), int(category.place[f]))


def yoneda_counts(category: FinCat) -> Indices:
    """``|Nat(h_X, h_Y)|`` for all pairs of objects, ``(n_obj, n_obj)``, row ``X``; counted, not looked up."""
    images = yoneda_table(category)
    counts = [[count_transformations(S, T) for T in images] for S in images]
    return np.array(counts, dtype=np.int64).reshape(category.n_obj, category.n_obj)


def yoneda_is_ideal(category: FinCat) -> bool:
    """Whether the Yoneda embedding is an ideal model of a category: ``k(h_X, h_Y) = |Nat(h_X, h_Y)|`` gives the table
    of ``|Hom(X, Y)|`` back.

    It always does, by the Yoneda lemma; the answer is computed, so that it tests the code.
    """
    return bool(ideal_error(yoneda_counts(category), category) == 0)


def ideal_error(predicted: ArrayLike, category: FinCat) -> float:
    """``max |k(f(X), f(Y)) − |Hom(X, Y)||`` over all pairs of objects: how far a model ``f`` with its ``k`` is from an
    ideal one; 0 without objects.

    ``predicted``: ``(n_obj, n_obj)`` numbers ``k(f(X), f(Y))``, row ``X``.
    Raises: ShapeError for another shape; NonFiniteError for nan or inf, naming the pair.
    """
    table = as_array(predicted, "predicted")
    n = category.n_obj
    if table.shape != (n, n):
        raise ShapeError(f"ideal_error: predicted must be ({n}, {n}), a number for each pair; got {table.shape}")
    if table.dtype.kind not in "biuf":
        raise DataError(f"ideal_error: predicted must hold real numbers; got {table.dtype}")
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        X, Y = bad[0].tolist()
        raise NonFiniteError(f"ideal_error: predicted[{X}, {Y}] is {table[X, Y]}")
    return float(np.abs(table - category.hom_count).max(initial=0))
