"""Permutations as integer arrays: orbits, and the law that an action keeps."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from msr.errors import AxiomError, ShapeError

__all__ = [
    "Indices", "as_array", "check_permutation_action", "cycle_lengths", "cycles", "frozen", "inverse_of",
    "orbit_labels", "parity_of", "power_of", "refrozen",
]  # fmt: skip

Indices: TypeAlias = NDArray[np.integer[Any]]


def as_array(values: ArrayLike | torch.Tensor, name: str) -> NDArray[Any]:
    """An array from an array, a tensor or nested lists; ShapeError for rows of different length."""
    if isinstance(values, torch.Tensor):
        return np.asarray(values.detach().cpu())
    try:
        return np.asarray(values)
    except ValueError:
        sizes = sorted({np.shape(row) for row in values}) if isinstance(values, Iterable) else []
        raise ShapeError(f"{name}: all rows must have the same length; got {', '.join(map(str, sizes[:4]))}") from None


def frozen(array: NDArray) -> NDArray:
    """A private copy that cannot be written to."""
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def refrozen(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a pickled or copied value with its arrays read-only again: numpy hands them back writable."""
    return {key: frozen(value) if isinstance(value, np.ndarray) else value for key, value in state.items()}


def orbit_labels(permutations: Indices) -> Indices:
    """Which orbit each point is in, under permutations ``(r, n)``; orbits are numbered by their first point."""
    r, n = permutations.shape
    rows = np.broadcast_to(np.arange(n, dtype=np.int32), (r, n)).ravel()
    edges = (np.ones(r * n, dtype=np.int8), (rows, permutations.astype(np.int32, copy=False).ravel()))
    count, labels = connected_components(coo_array(edges, shape=(n, n)), directed=False)
    first = np.empty(count, dtype=np.int64)
    first[labels[::-1]] = np.arange(n - 1, -1, -1)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(count)
    return rank[labels]


def check_permutation_action(
    permutations: Indices, table: Indices, generators: tuple[int, ...], name: str, labels: Sequence[str] | None = None
) -> None:
    """Raise AxiomError unless ``permutations[g][permutations[h]] = permutations[g·h]``, the identity fixing all.

    With ``g`` among the generators this is enough: every element is a product of them.
    """

    def called(g: int) -> str:
        return f"{g} ({labels[g]})" if labels is not None else str(g)

    n = permutations.shape[1]
    wrong = np.flatnonzero((np.sort(permutations, axis=1) != np.arange(n)).any(axis=1))
    if len(wrong):
        shown = permutations[wrong[0]][:12].tolist()
        raise AxiomError(f"{name}: element {called(int(wrong[0]))} is no permutation of 0 to {n - 1}: {shown}")
    if not np.array_equal(permutations[0], np.arange(n)):
        raise AxiomError(f"{name}: the identity must move no point; it gives {permutations[0][:12].tolist()}")
    for g in generators:
        broken = np.argwhere(permutations[g][permutations] != permutations[table[g]])
        if len(broken):
            h, i = broken[0].tolist()
            raise AxiomError(
                f"{name}: no homomorphism: for elements g = {called(g)} and h = {called(h)}, g·(h·i) differs from "
                f"(g·h)·i at point i = {i}. Convention: permutations[g, i] is where g sends i; "
                "an array that lists where each point comes from holds the inverses"
            )


def cycles(p: Indices) -> str:
    """``(0 1)(2 4 3)``, points from 0; ``e`` for the identity."""
    image, seen, parts = [int(i) for i in p], set(), []
    for start in range(len(image)):
        if start in seen:
            continue
        cycle, at = [start], image[start]
        while at != start:
            cycle.append(at)
            at = image[at]
        seen.update(cycle)
        if len(cycle) > 1:
            parts.append(f"({' '.join(map(str, cycle))})")
    return "".join(parts) or "e"


def parity_of(p: Indices) -> float:
    """1 for an even permutation, −1 for an odd one."""
    return -1.0 if (len(p) - len(cycle_lengths(p))) % 2 else 1.0


def cycle_lengths(p: Indices) -> list[int]:
    """Of all cycles, those of points that stay included; their least common multiple is the order."""
    image, lengths = np.asarray(p).tolist(), []
    seen = [False] * len(image)
    for start in range(len(image)):
        length, at = 0, start
        while not seen[at]:
            seen[at] = True
            at, length = image[at], length + 1
        if length:
            lengths.append(length)
    return lengths


def inverse_of(p: Indices) -> Indices:
    """``p⁻¹``."""
    back = np.empty_like(p)
    back[p] = np.arange(len(p), dtype=p.dtype)
    return back


def power_of(p: Indices, n: int) -> Indices:
    """``p^n`` by squaring; ``n`` may be negative."""
    result, square, n = np.arange(len(p), dtype=p.dtype), inverse_of(p) if n < 0 else p, abs(n)
    while n:
        if n & 1:
            result = result[square]
        square, n = square[square], n >> 1
    return result
