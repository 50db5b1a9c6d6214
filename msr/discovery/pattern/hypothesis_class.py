"""The weaker symmetry: permutations that keep the set of all layers, though not each layer."""

import numpy as np

from msr.permutations.actions import Indices
from msr.permutations.search import Automorphisms, automorphisms

__all__ = ["class_automorphisms"]


def class_automorphisms(colours: Indices) -> Automorphisms:
    """All pairs of permutations with ``(Q ⊗ P) U = U R`` for some ``R``: classes of weights go to classes.

    Here ``U`` is the span of all weights that are equal on each class. These maps take every layer of the span to
    another one of it. They hold the symmetries of the layers themselves, with ``R = I``, as a normal subgroup; circular
    convolutions, for example, may be shifted on one side alone, or have their taps rescaled.

    Shapes: ``colours (out, in)``. Raises: ShapeError as :func:`~msr.permutations.search.automorphisms`.
    """
    given = np.asarray(colours)
    m, n = given.shape
    values = np.unique(given, return_inverse=True)[1].reshape(m, n)
    count = int(values.max()) + 1
    # A row for each weight, which meets its input, its output and its class; a last row keeps those three kinds apart.
    incidence = np.zeros((m * n + 1, n + m + count), dtype=np.int64)
    i, j = np.divmod(np.arange(m * n), n)
    rows = np.arange(m * n)
    incidence[rows, j] = incidence[rows, n + i] = incidence[rows, n + m + values.ravel()] = 1
    incidence[-1] = np.repeat([2, 3, 4], [n, m, count])
    found = automorphisms(incidence)
    return Automorphisms(found.generators_in[:, :n], found.generators_in[:, n : n + m] - n, found.order)
