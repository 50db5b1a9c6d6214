"""Symmetries of the hypothesis class: permutations that map the set of all layers of a span to itself."""

import numpy as np

from msr.permutations import Indices
from msr.permutations.search import Automorphisms, automorphisms

__all__ = ["class_automorphisms"]


def class_automorphisms(colours: Indices) -> Automorphisms:
    """All pairs of permutations ``(P, Q)`` with ``(Q ⊗ P) U = U R`` for some matrix ``R``.

    ``U`` is the span of all weights that are constant on each class of ``colours``. Such a pair sends classes of
    weights to classes, so it takes every layer of the span to a layer of the span, though not to the same one. The
    symmetries of each single layer are those with ``R = I``. They are a normal subgroup, so all the pairs lie in its
    normaliser. For circular convolutions, for example, one side may be shifted alone, and the taps may be rescaled.

    Shapes: ``colours (out, in)``. Raises: ShapeError, MissingExtraError as
    :func:`~msr.permutations.search.automorphisms`.
    """
    given = np.asarray(colours)
    m, n = given.shape
    values = np.unique(given, return_inverse=True)[1].reshape(m, n)
    count = int(values.max()) + 1
    # Incidence graph: one row for each weight, joined to its input, its output and its class. Permutations of rows and
    # columns that keep it are the pairs wanted, with the permutation of classes that they cause.
    incidence = np.zeros((m * n + 1, n + m + count), dtype=np.int64)
    i, j = np.divmod(np.arange(m * n), n)
    rows = np.arange(m * n)
    incidence[rows, j] = 1
    incidence[rows, n + i] = 1
    incidence[rows, n + m + values.ravel()] = 1
    # The last row colours the three kinds of columns, so that an input never goes to an output or to a class.
    incidence[-1] = np.repeat([2, 3, 4], [n, m, count])
    group = automorphisms(incidence)
    return Automorphisms(group.generators_in[:, :n], group.generators_in[:, n : n + m] - n, group.order)
