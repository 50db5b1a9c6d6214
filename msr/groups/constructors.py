"""The finite groups that people name: each is a function that returns a group, with a table where that is small."""

from collections.abc import Sequence
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msr.errors import ConfigError
from msr.groups.closure import as_permutations, listed_group
from msr.groups.finite import MAX_ORDER, FiniteGroup
from msr.groups.permutation_group import MAX_POINTS, CircleGroup, PermutationGroup
from msr.permutations import Indices

__all__ = [
    "alternating", "cyclic", "dihedral", "frobenius", "from_permutations", "from_table", "quaternion", "symmetric",
    "trivial",
]  # fmt: skip


def from_table(table: ArrayLike, name: str = "G", *, labels: Sequence[str] | None = None) -> FiniteGroup:
    """The group with this Cayley table, ``table[g, h] = g·h``, element 0 the identity; every axiom is checked."""
    return FiniteGroup(table, name, labels=labels)


def trivial() -> FiniteGroup:
    """The group of one element, ``C1``, with one point."""
    return FiniteGroup([[0]], "C1", points=[[0]])


def cyclic(n: int) -> Any:
    """``C_n``: addition modulo ``n``; element ``k`` turns ``n`` points on a circle by ``k``. ``n`` is at most 1000000.

    Up to ``MAX_ORDER`` it is a :class:`FiniteGroup`. Above there is no table: it is a :class:`CircleGroup`, with
    elements numbered in the same way.
    """
    _positive("cyclic", n)
    if n > MAX_ORDER:
        return CircleGroup(n)

    def table() -> NDArray[Any]:
        elements = np.arange(n)
        return (elements[:, None] + elements) % n

    return FiniteGroup.known(
        n, f"C{n}", [1] if n > 1 else [], table=table, labels=lambda: _powers("r", n), points=table, degree=n,
        recipe=(cyclic, n),
    )  # fmt: skip


def dihedral(n: int) -> Any:
    """``D_n``, order ``2n``: the symmetries of a regular ``n``-gon, ``⟨r, s | rⁿ = s² = e, s r s = r⁻¹⟩``.

    Element ``k + n f`` is ``r^k s^f``; it sends corner ``i`` to ``k + (−1)^f i`` modulo ``n``, and the corners are the
    points of the group. For ``n`` of 1 and 2 different elements may move the corners alike. ``n`` is at most 1000000;
    for orders above ``MAX_ORDER`` there is no table, and the group is a :class:`CircleGroup`.
    """
    _positive("dihedral", n)
    if 2 * n > MAX_ORDER:
        return CircleGroup(n, mirrors=True)
    # Element number k + n f is r^k s^f, and s turns r into its inverse.
    k = np.tile(np.arange(n), 2)
    f = np.repeat([0, 1], n)
    sign = 1 - 2 * f

    def points() -> NDArray[Any]:
        return (k[:, None] + sign[:, None] * np.arange(n)) % n

    def labels() -> list[str]:
        rotations = _powers("r", n)
        return [*rotations, "s", *(f"{r}s" for r in rotations[1:])]

    return FiniteGroup.known(
        2 * n, f"D{n}", [1, n] if n > 1 else [1], labels=labels, recipe=(dihedral, n),
        table=lambda: (k[:, None] + sign[:, None] * k) % n + n * (f[:, None] ^ f),
        points=points, degree=n,
    )  # fmt: skip


def symmetric(n: int) -> Any:
    """``S_n``: all permutations of ``n`` points; a :class:`PermutationGroup` without a table from ``n = 8`` on."""
    _positive("symmetric", n)
    swap = [1, 0, *range(2, n)]
    cycle = [*range(1, n), 0]
    chosen = [swap, cycle] if n > 1 else [[0]]
    # 20! is far beyond any table, and larger factorials only take time.
    if factorial(min(n, 20)) > MAX_ORDER:
        return PermutationGroup(chosen, f"S{n}", kind="symmetric")
    return from_permutations(chosen, f"S{n}")


def alternating(n: int) -> Any:
    """``A_n``: the even permutations of ``n`` points; a :class:`PermutationGroup` without a table from ``n = 8`` on."""
    _positive("alternating", n)
    if factorial(min(n, 20)) // 2 > MAX_ORDER:
        # A three-cycle and a long cycle of odd length, which leaves point 0 where it is for even n.
        three = [1, 2, 0, *range(3, n)]
        long = [*range(1, n), 0] if n % 2 else [0, *range(2, n), 1]
        return PermutationGroup([three, long], f"A{n}", kind="alternating")
    cycles = []
    # The three-cycles (0 1 i) generate A_n.
    for i in range(2, n):
        p = np.arange(n)
        p[[0, 1, i]] = [1, i, 0]
        cycles.append(p)
    return from_permutations(cycles or [np.arange(n)], f"A{n}")


def quaternion(order: int = 8) -> FiniteGroup:
    """``Q8 = {±1, ±i, ±j, ±k}``; for a larger order ``4m`` the dicyclic group. It comes without points.

    The presentation is ``⟨a, x | a^2m = e, x² = a^m, x a x⁻¹ = a⁻¹⟩``. Element ``k + 2m f`` is ``a^k x^f``; for ``Q8``,
    ``a = i`` and ``x = j``.
    Raises: ConfigError for an order that is no multiple of 4 from 8 to ``MAX_ORDER``.
    """
    if order < 8 or order % 4:
        raise ConfigError(f"quaternion: the order is a multiple of 4, from 8 on; got {order}")
    if order > MAX_ORDER:
        raise ConfigError(f"quaternion: order {order} is more than {MAX_ORDER}, the largest table")
    n = order // 2
    k = np.tile(np.arange(n), 2)
    f = np.repeat([0, 1], n)

    def table() -> Indices:
        # x² = a^m, and m is half of n = 2m: two factors x add m to the exponent.
        carry = (f[:, None] & f) * (n // 2)
        return (k[:, None] + (1 - 2 * f)[:, None] * k + carry) % n + n * (f[:, None] ^ f)

    def labels() -> list[str]:
        if order == 8:
            return ["1", "i", "-1", "-i", "j", "k", "-j", "-k"]
        powers = _powers("a", n)
        return [*powers, "x", *(f"{a}x" for a in powers[1:])]

    return FiniteGroup.known(order, f"Q{order}", [1, n], table=table, labels=labels, recipe=(quaternion, order))


def frobenius(p: int, q: int) -> Any:
    """``C_p ⋊ C_q``, of order ``pq``: the maps ``x → a x + b`` modulo the prime ``p`` with ``a^q = 1``, on ``p``
    points.

    Up to ``MAX_ORDER`` elements it is a :class:`FiniteGroup`, beyond a :class:`PermutationGroup`.
    Raises: ConfigError unless ``p`` is a prime from 3 to 1000000 and ``q``, above 1, divides ``p − 1``.
    """
    if p > 10**6:
        raise ConfigError(f"frobenius: p is at most 1000000; got {p}")
    prime = p > 2 and all(p % d for d in range(2, int(p**0.5) + 1))
    if not prime or q < 2 or (p - 1) % q:
        raise ConfigError(
            f"frobenius: needs a prime p above 2 and a q above 1 that divides p - 1, such as 7 and 3; got {p} and {q}"
        )
    points = np.arange(p)
    # The group of units is cyclic of order p − 1, so these powers are q-th roots of 1, and one of them has order q.
    powers = (pow(a, (p - 1) // q, p) for a in range(2, p))
    # An element of the multiplicative group of order q: its power q / d is not 1 for any prime d that divides q.
    factor = next(a for a in powers if all(pow(a, q // d, p) != 1 for d in _prime_factors(q)))
    generators = [(points + 1) % p, points * factor % p]
    name = f"C{p}:C{q}"
    if p * q > MAX_ORDER:
        return PermutationGroup(generators, name, order=p * q)
    return from_permutations(generators, name)


def from_permutations(generators: Sequence[ArrayLike], name: str = "G") -> Any:
    """The group that permutations generate; ``generator[i]`` is where it sends point ``i``.

    Up to ``MAX_ORDER`` elements it is a :class:`FiniteGroup`, whose elements are numbered breadth first from the
    identity, and labelled by their cycles (points from 0). Beyond, it is a :class:`PermutationGroup`, which lists none.
    Shapes: each generator ``(n,)``.
    Raises: AxiomError for something that is no permutation; ShapeError for permutations of different length;
    ConfigError for no generator.
    """
    moves = as_permutations(generators, name)
    recipe = (from_permutations, tuple(map(tuple, moves.tolist())), name)
    return listed_group(moves, name, recipe) or PermutationGroup(moves, name)


def _prime_factors(n: int) -> list[int]:
    """The different primes that divide ``n``, in rising order; none for 1."""
    primes = []
    d = 2
    while d * d <= n:
        if n % d == 0:
            primes.append(d)
            while n % d == 0:
                n //= d
        d += 1
    return [*primes, n] if n > 1 else primes


def _powers(letter: str, n: int) -> list[str]:
    """The first ``n`` names of powers of a letter: ``e, r, r2, r3, …``."""
    return ["e", letter, *(f"{letter}{k}" for k in range(2, n))][:n]


def _positive(what: str, n: int) -> None:
    """Raise ConfigError unless ``n`` is from 1 to ``MAX_POINTS``; ``what`` is the name of the function, for the
    message.
    """
    if n < 1:
        raise ConfigError(f"{what}: n must be at least 1; got {n}")
    if n > MAX_POINTS:
        raise ConfigError(f"{what}: {n} points are more than {MAX_POINTS}")
