"""The groups that people name: each is a function that returns a :class:`FiniteGroup`."""

from collections.abc import Sequence
from math import factorial

import numpy as np
from numpy.typing import ArrayLike

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups.finite import MAX_ORDER, FiniteGroup
from msr.groups.permutations import Indices

__all__ = [
    "alternating", "cyclic", "dihedral", "frobenius", "from_permutations", "from_table", "quaternion", "symmetric",
    "trivial",
]  # fmt: skip


def from_table(table: ArrayLike, name: str = "G", *, labels: Sequence[str] | None = None) -> FiniteGroup:
    """The group with this Cayley table, ``table[g, h] = g·h``, element 0 the identity; every axiom is checked."""
    return FiniteGroup(table, name, labels=labels)


def trivial() -> FiniteGroup:
    """The group of one element."""
    return FiniteGroup([[0]], "C1", points=[[0]])


def cyclic(n: int) -> FiniteGroup:
    """``C_n``: addition modulo ``n``; element ``k`` turns ``n`` points on a circle by ``k``."""
    _positive("cyclic", n, n)
    every = np.arange(n)
    table = (every[:, None] + every) % n
    return FiniteGroup(table, f"C{n}", labels=_powers("r", n), points=table, generators=[1] if n > 1 else [])


def dihedral(n: int) -> FiniteGroup:
    """``D_n``, order ``2n``: the symmetries of a regular ``n``-gon, ``⟨r, s | rⁿ = s² = e, s r s = r⁻¹⟩``.

    Element ``k + n f`` is ``r^k s^f``; it sends corner ``i`` to ``k + (−1)^f i`` modulo ``n``. For ``n`` of 1 and 2
    the corners do not tell all elements apart.
    """
    _positive("dihedral", n, 2 * n)
    k, f = np.tile(np.arange(n), 2), np.repeat([0, 1], n)
    sign = 1 - 2 * f
    table = (k[:, None] + sign[:, None] * k) % n + n * (f[:, None] ^ f)
    rotations = _powers("r", n)
    labels = [*rotations, "s", *(f"{r}s" for r in rotations[1:])]
    points = (k[:, None] + sign[:, None] * np.arange(n)) % n
    return FiniteGroup(table, f"D{n}", labels=labels, points=points, generators=[1, n] if n > 1 else [1])


def symmetric(n: int) -> FiniteGroup:
    """``S_n``: all permutations of ``n`` points, up to ``n = 7``."""
    _positive("symmetric", n, factorial(max(min(n, 20), 0)))
    swap = [1, 0, *range(2, n)]
    return from_permutations([swap, [*range(1, n), 0]] if n > 1 else [[0]], f"S{n}")


def alternating(n: int) -> FiniteGroup:
    """``A_n``: the even permutations of ``n`` points, up to ``n = 7``."""
    _positive("alternating", n, factorial(max(min(n, 20), 0)) // 2)
    cycles = []
    for i in range(2, n):
        p = np.arange(n)
        p[[0, 1, i]] = [1, i, 0]
        cycles.append(p)
    return from_permutations(cycles or [np.arange(n)], f"A{n}")


def quaternion(order: int = 8) -> FiniteGroup:
    """``Q8 = {±1, ±i, ±j, ±k}``; for a larger order ``4m`` the dicyclic group.

    ``⟨a, x | a^2m = e, x² = a^m, x a x⁻¹ = a⁻¹⟩``.
    Element ``k + 2m f`` is ``a^k x^f``; for ``Q8``, ``a = i`` and ``x = j``.
    """
    if order < 8 or order % 4:
        raise ConfigError(f"quaternion: the order is a multiple of 4, from 8 on; came {order}")
    _small_enough("quaternion", order)
    n = order // 2
    k, f = np.tile(np.arange(n), 2), np.repeat([0, 1], n)
    carry = (f[:, None] & f) * (n // 2)
    table = (k[:, None] + (1 - 2 * f)[:, None] * k + carry) % n + n * (f[:, None] ^ f)
    if order == 8:
        labels = ["1", "i", "-1", "-i", "j", "k", "-j", "-k"]
    else:
        powers = _powers("a", n)
        labels = [*powers, "x", *(f"{a}x" for a in powers[1:])]
    return FiniteGroup(table, f"Q{order}", labels=labels, generators=[1, n])


def frobenius(p: int, q: int) -> FiniteGroup:
    """``C_p ⋊ C_q``: ``x → a x + b`` modulo a prime ``p``, ``a`` in the group of ``q`` roots of 1; ``p`` points.

    Raises: ConfigError unless ``p`` is a prime above 2 and ``q``, above 1, divides ``p − 1``.
    """
    _small_enough("frobenius", p * q)
    prime = p > 2 and all(p % d for d in range(2, int(p**0.5) + 1))
    if not prime or q < 2 or (p - 1) % q:
        raise ConfigError(
            f"frobenius: needs a prime p above 2 and a q above 1 that divides p - 1, such as 7 and 3; came {p} and {q}"
        )
    points = np.arange(p)
    powers = (pow(a, (p - 1) // q, p) for a in range(2, p))
    factor = next(a for a in powers if all(pow(a, d, p) != 1 for d in range(1, q)))
    return from_permutations([(points + 1) % p, points * factor % p], f"C{p}:C{q}")


def from_permutations(generators: Sequence[ArrayLike], name: str = "G") -> FiniteGroup:
    """The group that permutations generate, by closure; ``generator[i]`` is where it sends point ``i``.

    Elements are numbered breadth first from the identity, and labelled by their cycles (points from 0).
    Shapes: each generator ``(n,)``.
    Raises: AxiomError for something that is no permutation; ShapeError for permutations of different length;
    ConfigError when the closure has more than ``MAX_ORDER`` elements.
    """
    arrays = _as_permutations(generators, name)
    n = len(arrays[0])
    elements: list[Indices] = [np.arange(n)]
    index = {elements[0].tobytes(): 0}
    # Each new element is a generator after an older one, so its row of the table is that one's, moved.
    parents: list[tuple[int, int]] = [(0, 0)]
    left: list[list[int]] = [[] for _ in arrays]
    at = 0
    while at < len(elements):
        for which, s in enumerate(arrays):
            image = s[elements[at]]
            key = image.tobytes()
            if key not in index:
                if len(elements) == MAX_ORDER:
                    raise ConfigError(
                        f"{name}: the permutations generate more than {MAX_ORDER} elements, too many for a table; "
                        "for the sharing pattern alone, msr.representations.pair_orbits takes the generators"
                    )
                index[key] = len(elements)
                elements.append(image)
                parents.append((which, at))
            left[which].append(index[key])
        at += 1
    order = len(elements)
    moves = np.array(left, dtype=np.int16)
    table = np.empty((order, order), dtype=np.int16)
    table[0] = np.arange(order)
    for g in range(1, order):
        which, parent = parents[g]
        table[g] = moves[which][table[parent]]
    chosen = list(dict.fromkeys(index[s.tobytes()] for s in arrays))
    labels = [_cycles(p) for p in elements]
    return FiniteGroup(table, name, labels=labels, points=np.stack(elements), generators=chosen)


def _as_permutations(generators: Sequence[ArrayLike], name: str) -> list[Indices]:
    arrays = [np.asarray(p) for p in generators]
    if not arrays:
        raise ConfigError(f"{name}: give at least one permutation; the identity alone makes the trivial group")
    for number, p in enumerate(arrays):
        if p.ndim != 1 or p.dtype.kind not in "iu" or len(p) == 0:
            raise ShapeError(
                f"{name}: generator {number} must be a list of point indices (n,); came {p.shape} {p.dtype}"
            )
        if len(p) != len(arrays[0]):
            raise ShapeError(
                f"{name}: permutations of different length: generator 0 moves {len(arrays[0])} points, generator "
                f"{number} moves {len(p)}; let the shorter one fix the points it does not move"
            )
        if not np.array_equal(np.sort(p), np.arange(len(p))):
            raise AxiomError(f"{name}: generator {number} is no permutation of 0 to {len(p) - 1}: {p[:12].tolist()}")
    return [p.astype(np.int64) for p in arrays]


def _cycles(p: Indices) -> str:
    seen, text = set(), ""
    for start in range(len(p)):
        cycle = []
        while start not in seen:
            seen.add(start)
            cycle.append(start)
            start = int(p[start])
        if len(cycle) > 1:
            text += f"({' '.join(map(str, cycle))})"
    return text or "e"


def _powers(letter: str, n: int) -> list[str]:
    return ["e", letter, *(f"{letter}{k}" for k in range(2, n))][:n]


def _positive(what: str, n: int, order: int) -> None:
    if n < 1:
        raise ConfigError(f"{what}: n must be at least 1; came {n}")
    _small_enough(what, order)


def _small_enough(what: str, order: int) -> None:
    if order > MAX_ORDER:
        raise ConfigError(
            f"{what}: order {order} is more than {MAX_ORDER}, the largest table; for the sharing pattern alone, "
            "msr.representations.pair_orbits takes the generators"
        )
