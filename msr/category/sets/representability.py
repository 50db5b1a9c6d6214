"""Which functors to sets are representable: all universal elements."""

import numpy as np

from msr.category.sets.presheaves import SetFunctor

__all__ = ["is_representable", "representing_objects", "universal_elements"]


def universal_elements(functor: SetFunctor) -> tuple[tuple[int, int], ...]:
    """All pairs of an object ``X`` and an element ``u`` at it through which the functor is ``Hom(−, X)``.

    That is, for a presheaf ``T``, ``f ↦ T(f)(u)`` is a bijection from ``Hom(Y, X)`` to ``T(Y)`` for every ``Y``; for a
    copresheaf it is one from ``Hom(X, Y)``. They are in the order of the objects, then of the elements; there are as
    many at ``X`` as ``X`` has automorphisms, or none. The empty tuple says that the functor is not representable.
    """
    n = functor.n_elements
    found = []
    for X in functor.category.objects:
        # All arrows together must reach each element once. An arrow from Y reaches one at Y, so this is a bijection
        # at each object.
        if functor.sizes[X] and len(functor.acting_on(X)) == n:
            reached = np.sort(functor.images_of(X), axis=0)
            each = (reached == np.arange(n)[:, None]).all(axis=0)
            found += [(X, int(u)) for u in np.flatnonzero(each)]
    return tuple(found)


def is_representable(functor: SetFunctor) -> bool:
    """Whether a presheaf is naturally isomorphic to some ``Hom(−, X)``, or a copresheaf to some ``Hom(X, −)``."""
    return bool(universal_elements(functor))


def representing_objects(functor: SetFunctor) -> tuple[int, ...]:
    """The objects that represent the functor; they are isomorphic to each other. Empty where it is not
    representable.
    """
    return tuple(sorted({X for X, _ in universal_elements(functor)}))
