"""Theorem 3: what a functor to another category carries over, and where it fails to be a full embedding."""

from dataclasses import dataclass

import numpy as np

from msr.brief import Brief
from msr.category.categories.functors import Functor
from msr.category.sets.natural_transformations import count_transformations
from msr.category.sets.presheaves import Presheaf
from msr.category.sets.representability import representing_objects
from msr.category.sets.set_functors import representable
from msr.category.universal.kan import extension_along
from msr.errors import ConfigError
from msr.permutations import Indices

__all__ = ["Embedding", "embedding_of"]


@dataclass(frozen=True, eq=False, repr=False)
class Embedding(Brief):
    """What a functor ``F: C → B`` carries over to ``B`` of the structure of ``C``.

    Attributes:
        functor: ``F``.
        holds: whether the theorem's condition holds: ``F`` is full and faithful. Decided on Hom sets; equal numbers of
            transformations are not enough.
        not_faithful: the pairs of objects on whose Hom sets ``F`` sends two arrows to one.
        not_full: the pairs for which it misses an arrow.
        injective_on_objects: whether different objects go to different ones; with ``holds``, a full embedding.
        hom: ``|Hom(X, Y)|`` in ``C``, ``(n_obj, n_obj)``.
        hom_images: how many arrows ``F`` reaches from each ``Hom(X, Y)``, likewise.
        transformations: ``|Nat(F^h_X, F^h_Y)|``, likewise; always ``|Hom(F X, F Y)|`` in ``B``.
        extended: ``F^(h_X)`` for each object, presheaves on ``B``.
        recovered: for each object the objects of ``B`` that represent ``F^(h_X)``: ``F X`` and those isomorphic to it.
        aligned: whether ``F X`` is among these for every object: ``F^`` is feature-aligned. It is for every functor.
    """

    functor: Functor
    holds: bool
    not_faithful: tuple[tuple[int, int], ...]
    not_full: tuple[tuple[int, int], ...]
    injective_on_objects: bool
    hom: Indices
    hom_images: Indices
    transformations: Indices
    extended: tuple[Presheaf, ...]
    recovered: tuple[tuple[int, ...], ...]
    aligned: bool

    @property
    def is_full_embedding(self) -> bool:
        """Whether ``F`` is full, faithful, and one-to-one on objects."""
        return self.holds and self.injective_on_objects

    @property
    def counts_agree(self) -> bool:
        """Whether ``|Nat(F^h_X, F^h_Y)| = |Hom(X, Y)|`` for all pairs: necessary for ``holds``, and not sufficient."""
        return bool(np.array_equal(self.transformations, self.hom))


def embedding_of(functor: Functor) -> Embedding:
    """Whether a functor carries the structure of its source over, which Hom sets fail, and what becomes of them.

    Between groups only isomorphisms do. Raises: ConfigError for what is no functor.
    """
    if not isinstance(functor, Functor):
        raise ConfigError(f"embedding_of: a Functor is needed; got {functor!r}")
    C = functor.source
    extended = tuple(extension_along(functor, representable(C, X)) for X in C.objects)
    counts = [[count_transformations(S, T) for T in extended] for S in extended]
    recovered = tuple(representing_objects(presheaf) for presheaf in extended)
    return Embedding(
        functor=functor,
        holds=functor.is_fully_faithful,
        not_faithful=functor.not_faithful,
        not_full=functor.not_full,
        injective_on_objects=functor.is_injective_on_objects,
        hom=C.hom_count,
        hom_images=functor.hom_images,
        transformations=np.array(counts, dtype=np.int64).reshape(C.n_obj, C.n_obj),
        extended=extended,
        recovered=recovered,
        aligned=all(int(functor.obj_map[X]) in objects for X, objects in enumerate(recovered)),
    )
