"""Permutations as integer arrays: the law of an action, cycles, parity, inverses and powers."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from msr.errors import AxiomError

__all__ = ["Indices", "check_permutation_action", "cycle_lengths", "cycles", "inverse_of", "parity_of", "power_of"]

Indices: TypeAlias = NDArray[np.integer[Any]]
"""An array of whole numbers of any width: images of points, labels of orbits, or places in another array."""


def check_permutation_action(
    permutations: Indices, table: Indices, generators: tuple[int, ...], name: str, labels: Sequence[str] | None = None
) -> None:
    """Raise AxiomError unless the permutations are an action: ``permutations[g][permutations[h]] = permutations[g·h]``.

    Checked for ``g`` among the generators and all ``h``, which is enough, since every element is a product of
    generators. Each row must also be a permutation, and row 0 must move no point, as element 0 is the identity.

    Args:
        permutations: ``(order, n)``; row ``g`` holds where element ``g`` sends each point.
        table: the multiplication table, ``(order, order)``, with ``table[g, h] = g·h``.
        generators: elements that generate the group.
        name: what the action is called in messages.
        labels: names of the elements for messages.
    """

    def label_of(g: int) -> str:
        return f"{g} ({labels[g]})" if labels is not None else str(g)

    n = permutations.shape[1]
    wrong = np.flatnonzero((np.sort(permutations, axis=1) != np.arange(n)).any(axis=1))
    if len(wrong):
        shown = permutations[wrong[0]][:12].tolist()
        raise AxiomError(f"{name}: element {label_of(int(wrong[0]))} is no permutation of 0 to {n - 1}: {shown}")
    if not np.array_equal(permutations[0], np.arange(n)):
        raise AxiomError(f"{name}: the identity must move no point; got {permutations[0][:12].tolist()}")
    for g in generators:
        broken = np.argwhere(permutations[g][permutations] != permutations[table[g]])
        if len(broken):
            h, i = broken[0].tolist()
            raise AxiomError(
                f"{name}: no homomorphism: for elements g = {label_of(g)} and h = {label_of(h)}, g·(h·i) differs from "
                f"(g·h)·i at point i = {i}. Convention: permutations[g, i] is where g sends i; "
                "an array that lists where each point comes from holds the inverses"
            )


def cycles(p: Indices) -> str:
    """A permutation in cycle notation, points from 0: ``(0 1)(2 4 3)``; ``e`` for the identity.

    Each cycle begins with its least point, and cycles are in the order of these; fixed points are left out.
    """
    image = [int(i) for i in p]
    visited: set[int] = set()
    written = []
    for start in range(len(image)):
        if start in visited:
            continue
        cycle = [start]
        point = image[start]
        while point != start:
            cycle.append(point)
            point = image[point]
        visited.update(cycle)
        if len(cycle) > 1:
            written.append(f"({' '.join(map(str, cycle))})")
    return "".join(written) or "e"


def parity_of(p: Indices) -> float:
    """The sign of a permutation: 1 for an even one, −1 for an odd one."""
    # The cycles are the components of the graph of the permutation, which are counted without a loop in Python.
    n = len(p)
    graph = csr_array((np.ones(n), np.asarray(p, dtype=np.int32), np.arange(n + 1, dtype=np.int32)), shape=(n, n))
    cycles = connected_components(graph, directed=False, return_labels=False)
    return -1.0 if (n - cycles) % 2 else 1.0


def cycle_lengths(p: Indices) -> list[int]:
    """The lengths of all cycles, fixed points included; their least common multiple is the order of ``p``.

    They are in the order of the least points of the cycles, not sorted by length.
    """
    image = np.asarray(p).tolist()
    lengths = []
    visited = [False] * len(image)
    for start in range(len(image)):
        length = 0
        point = start
        while not visited[point]:
            visited[point] = True
            point = image[point]
            length += 1
        if length:
            lengths.append(length)
    return lengths


def inverse_of(p: Indices) -> Indices:
    """The inverse permutation ``p⁻¹``, in the integer type of ``p``."""
    inverse = np.empty_like(p)
    inverse[p] = np.arange(len(p), dtype=p.dtype)
    return inverse


def power_of(p: Indices, n: int) -> Indices:
    """``p^n`` by repeated squaring; ``n`` may be negative or zero."""
    result: Indices = np.arange(len(p), dtype=p.dtype)
    square = inverse_of(p) if n < 0 else p
    exponent = abs(n)
    while exponent:
        if exponent & 1:
            result = result[square]
        square = square[square]
        exponent >>= 1
    return result
