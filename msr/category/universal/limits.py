"""Limits and colimits: of functors to sets as families and classes, of diagrams in a category as universal cones."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from msr.brief import Brief
from msr.category.categories.functors import Functor
from msr.category.sets.elements import element_graph
from msr.category.sets.natural_transformations import MOST, transformation_table
from msr.category.sets.presheaves import CoPresheaf, Presheaf, SetFunctor
from msr.category.sets.representability import universal_elements
from msr.category.sets.set_functors import constant, constant_copresheaf, corepresentable, restricted
from msr.errors import ConfigError
from msr.groups.immutable import frozen
from msr.permutations import Indices

__all__ = ["Cones", "colimit", "colimits_of", "cones", "limit", "limits_of"]


@dataclass(frozen=True, eq=False, repr=False)
class Cones(Brief):
    """The presheaf of cones over a diagram, and the cones themselves.

    Attributes:
        presheaf: at each object ``X`` the cones from it; an arrow ``X′ → X`` is composed with each leg.
        legs: for each object ``X``, ``(cones, objects of the diagram)``: the arrows from ``X`` of which each consists.
    """

    presheaf: Presheaf
    legs: tuple[Indices, ...]


def limit(functor: SetFunctor, *, most: int = MOST) -> Indices:
    """The limit of a functor to sets: all families of an element at each object that every map respects,
    ``(families, n_obj)``.

    Without objects there is one family, the empty one.
    Raises: DataError for more than ``most`` families.
    """
    C = functor.category
    point = constant_copresheaf(C, 1) if isinstance(functor, CoPresheaf) else constant(C, 1)
    return transformation_table(point, functor, most=most) - functor.offsets[:-1]


def colimit(functor: SetFunctor) -> tuple[int, tuple[Indices, ...]]:
    """The colimit of a functor to sets: how many elements it has, and for each object which of them each element is.

    It is the set of connected components of the category of elements.
    """
    graph = element_graph(functor)
    offsets = functor.offsets
    parts = (graph.components[a:b] for a, b in pairwise(offsets))
    return graph.n_components, tuple(frozen(part.astype(np.int64)) for part in parts)


def cones(diagram: Functor, *, most: int = MOST) -> Cones:
    """All cones over a diagram ``D: J → C``: families of arrows ``X → D(j)`` that commute with every ``D(φ)``.

    Raises: DataError for more than ``most`` cones from one object.
    """
    if not isinstance(diagram, Functor):
        raise ConfigError(f"cones: a diagram is a Functor; got {diagram!r}")
    C = diagram.target
    legs = []
    for X in C.objects:
        families = limit(restricted(corepresentable(C, X), diagram), most=most)
        homs = [C.hom(X, int(d)) for d in diagram.obj_map]
        columns = [hom[families[:, j]] for j, hom in enumerate(homs)]
        legs.append(np.stack(columns, axis=1) if columns else families)
    numbers = [{row.tobytes(): k for k, row in enumerate(rows)} for rows in legs]
    maps = []
    for f in range(C.n_mor):
        composed = np.ascontiguousarray(C.comp[legs[C.dst[f]], f])
        maps.append(np.array([numbers[C.src[f]][row.tobytes()] for row in composed], dtype=np.int64))
    presheaf = Presheaf.known(C, [len(rows) for rows in legs], maps, f"cones over {diagram.name}")
    return Cones(presheaf, tuple(frozen(rows) for rows in legs))


def limits_of(diagram: Functor, *, most: int = MOST) -> tuple[tuple[int, Indices], ...]:
    """All limits of a diagram in its category: the apex, and the legs, ``(objects of the diagram,)`` arrows.

    They represent the presheaf of cones, so they are isomorphic; the empty tuple says that there is no limit. The limit
    of the empty diagram is a terminal object, that of two objects without arrows their product.
    """
    found = cones(diagram, most=most)
    return tuple((X, found.legs[X][u]) for X, u in universal_elements(found.presheaf))


def colimits_of(diagram: Functor, *, most: int = MOST) -> tuple[tuple[int, Indices], ...]:
    """All colimits of a diagram in its category: limits in the opposite one; legs go from the diagram's objects."""
    return limits_of(diagram.op(), most=most)
