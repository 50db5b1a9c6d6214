"""Orbits of a permutation group on points, and orbitals: its orbits on pairs of points, here the weights of a layer."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from msr.permutations.actions import Indices

__all__ = ["orbit_labels", "orbitals", "relabelled_orbitals"]


def orbit_labels(permutations: Indices) -> Indices:
    """The number of the orbit in which each point lies; orbits are numbered in the order of their first points.

    Orbits are the connected components of the graph with an edge from every point to each of its images, so generators
    of the group are enough.

    Shapes: ``permutations (r, n)``; the result is ``(n,)``. Without any permutation every point is its own orbit.
    """
    r, n = permutations.shape
    if r == 0:
        return np.arange(n)
    # Row i of the sparse matrix holds the r images of point i. The indices have 32 bits and the entries are float64
    # because scipy's graph routines would convert anything else, which takes longer than the search itself.
    images = permutations.astype(np.int32, copy=False).T.ravel()
    row_starts = np.arange(0, r * n + 1, r, dtype=np.int32)
    edges = csr_array((np.ones(r * n), images, row_starts), shape=(n, n))
    count, labels = connected_components(edges, directed=False)
    # scipy does not promise an order of the components: they are renumbered by their first points. Written backwards,
    # the last value that remains in `first` is that of the smallest point.
    first = np.empty(count, dtype=np.int64)
    first[labels[::-1]] = np.arange(n - 1, -1, -1)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(count)
    return rank[labels]


def orbitals(generators_in: Indices, generators_out: Indices) -> Indices:
    """The orbitals of a group: its orbits on weights ``(i, j)``, of which ``(p, q)`` makes ``(q(i), p(j))``.

    An equivariant weight matrix is constant on each of them. They are numbered in the order of their first weights,
    row by row. The arguments are not checked; :func:`msr.representations.pair_orbits` does that.

    Shapes: ``(r, in)`` and ``(r, out)``, row ``g`` of both being one generator; the result is ``(out · in,)``.
    """
    r, n = generators_in.shape
    m = generators_out.shape[1]
    # 32 bits hold every weight that fits into memory, at half the size.
    rows = generators_out[:, :, None].astype(np.int32) * n
    columns = generators_in[:, None, :].astype(np.int32)
    return orbit_labels((rows + columns).reshape(r, m * n))


def relabelled_orbitals(labels: Indices, s: Indices, t: Indices) -> Indices:
    """The orbitals of the conjugate group, whose inputs are renamed by ``s`` and whose outputs by ``t``.

    The orbitals of ``(s p s⁻¹, t q t⁻¹)`` are the images of those of ``(p, q)``: weight ``(i, j)`` becomes
    ``(t(i), s(j))`` and keeps its label. The result has the numbers of ``labels``, not those of :func:`orbitals`.

    Shapes: ``labels (out · in,)``, ``s (in,)``, ``t (out,)``; the result is ``(out · in,)``.
    """
    relabelled = np.empty_like(labels)
    relabelled[(t[:, None] * len(s) + s[None]).ravel()] = labels
    return relabelled
