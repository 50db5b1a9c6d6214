"""Kinds: whether permutations generate all permutations of their points, or all even ones, at any number of points."""

import math

import numpy as np
import torch

from msr.errors import ConfigError
from msr.permutations import Indices, cycle_lengths, orbit_labels, parity_of

__all__ = ["KINDS", "check_kind", "swap_and_cycle"]

KINDS = ("symmetric", "alternating")
"""All permutations of the points, and all even ones."""

_FEW_POINTS = 7
"""Most points for which the order is computed: from 8 on there is a prime as :func:`_shows_all_even` needs it."""
_SLOTS = 10
"""Fewest elements that are multiplied with one another for random elements, as is usual for product replacement."""
_TRIES = 40
"""Random elements tried for each unit of ``log n``. About ``log 2 / log n`` of a group that holds all even permutations
show it, so that all fail with a probability near ``2^-40``, were they uniform.
"""


def swap_and_cycle(generators: Indices) -> tuple[int, int] | None:
    """The places of the swap ``(0 1)`` and of the cycle ``i ↦ i + 1`` where these are the two generators; else None.

    Shapes: ``generators (r, n)``.
    """
    if len(generators) != 2:
        return None
    points = np.arange(generators.shape[1])
    swap = points.copy()
    swap[:2] = swap[:2][::-1]
    for places in ((0, 1), (1, 0)):
        if np.array_equal(generators[list(places)], [swap, np.roll(points, -1)]):
            return places
    return None


def check_kind(kind: str, generators: Indices, name: str) -> None:
    """Raise ConfigError unless the permutations are shown to generate a group of this kind.

    A wrong kind gives a wrong order, wrong draws and wrong elements, so what cannot be shown is refused too.

    Shapes: ``generators (r, n)``, each of which moves something.
    """
    if kind not in KINDS:
        raise ConfigError(f"{name}: kind must be None or one of {', '.join(KINDS)}; got {kind!r}")
    n = generators.shape[1]
    odd = [k for k, g in enumerate(generators) if parity_of(g) < 0]
    if kind == "alternating" and odd:
        raise ConfigError(f"{name} is not alternating: generator {odd[0]} is odd; leave kind out")
    if kind == "symmetric" and n > 1 and not odd:
        raise ConfigError(f"{name} is not symmetric: all its generators are even; leave kind out")
    # Up to two points the parities say it all.
    if n > 2 and not _holds_all_even(generators):
        raise ConfigError(
            f"{name}: its generators were not seen to make all {'even ' * bool(not odd)}permutations of {n} points, so "
            f"it is not taken to be {kind}; leave kind out, or make the group by msr.groups.{kind}"
        )


def _holds_all_even(generators: Indices) -> bool:
    """Whether the group of the generators ``(r, n)`` was seen to hold all even permutations of its ``n ≥ 3`` points.

    True is certain. False is certain up to 7 points, and else leaves the probability of :data:`_TRIES`.
    """
    n = generators.shape[1]
    # These two pairs are known to, and random products of them take long to become random.
    if swap_and_cycle(generators) is not None or _is_three_and_long_cycle(generators):
        return True
    if orbit_labels(generators).any():
        return False
    if n <= _FEW_POINTS:
        from sympy.combinatorics import Permutation  # type: ignore[import-untyped]
        from sympy.combinatorics.perm_groups import PermutationGroup as SympyGroup  # type: ignore[import-untyped]

        order = int(SympyGroup([Permutation(g.tolist()) for g in generators]).order())
        return order >= math.factorial(n) // 2
    # Product replacement (Celler et al. 1995): elements are multiplied with one another, each step gives an element.
    slots = [generators[k % len(generators)] for k in range(max(_SLOTS, len(generators) + 1))]
    element: Indices = np.arange(n)
    # A generator of its own, so that no draw of the caller's changes.
    random = torch.Generator().manual_seed(0)
    for _ in range(math.ceil(_TRIES * math.log(n)) + 5 * len(slots)):
        i, j = torch.randperm(len(slots), generator=random)[:2].tolist()
        slots[i] = slots[i][slots[j]]
        element = element[slots[i]]
        if _shows_all_even(element):
            return True
    return False


def _is_three_and_long_cycle(generators: Indices) -> bool:
    """Whether the generators ``(r, n)`` are ``(0 1 2)`` and the cycle ``i ↦ i + 1`` of an odd number of points, all of
    them or all but the first: those of :func:`msr.groups.alternating`.
    """
    n = generators.shape[1]
    points = np.arange(n)
    three = np.concatenate((np.roll(points[:3], -1), points[3:]))
    first = 1 - n % 2
    long = np.concatenate((points[:first], np.roll(points[first:], -1)))
    return np.array_equal(generators, [three, long])


def _shows_all_even(element: Indices) -> bool:
    """Whether a permutation ``(n,)`` of a transitive group has a cycle of prime length ``p`` with ``n/2 < p < n − 2``.

    Blocks of points would have to be as long as the cycle, so the group is primitive; a power of the element is a
    ``p``-cycle that leaves three points in place, and such a group holds all even permutations (Jordan).
    Source: Seress, Permutation Group Algorithms (2003), section 10.2.
    """
    n = len(element)
    longest = max(cycle_lengths(element))
    # No other cycle is as long, and a prime divides the length of no shorter one.
    return n / 2 < longest < n - 2 and all(longest % d for d in range(2, math.isqrt(longest) + 1))
