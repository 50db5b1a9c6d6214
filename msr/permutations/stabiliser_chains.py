"""Orders of permutation groups by a stabiliser chain: random elements build it, a bound or a check proves it.

A chain has base points ``b_1, b_2, …``. Level ``i`` is the subgroup that fixes the base points before ``b_i``, and the
orbit of ``b_i`` under it. The order of the group is the product of the lengths of the orbits. To *sift* an element is
to multiply it, level by level, by an element of the chain that takes the image of ``b_i`` back to ``b_i``; elements of
the group end at the identity.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from msr.errors import ConfigError
from msr.permutations.actions import Indices, cycle_lengths, parity_of
from msr.permutations.work_budget import spend

__all__ = ["Chain", "OrderNotProven", "is_giant", "random_elements"]

_MOST_CHECKED = 3e9
"""Images of points that a proof without an upper bound may look up: about half a minute."""
_CHEAP = 3e7
"""Images of points that are looked up before another upper bound is asked for: about a third of a second."""
_QUIET = 3
"""Rounds of random elements that add nothing before the chain is checked. Chosen by hand; a chain that is still too
short after them is completed by the check."""
_PLACES = 48
"""Random elements that product replacement keeps. Chosen by hand."""
_WARM_UP = 12
"""Rounds of product replacement before its elements are used. Chosen by hand."""
_FEW_GENERATORS = 8
"""Up to so many generators product replacement begins with the generators themselves."""


class OrderNotProven(ConfigError):
    """A proof of the order of a group would take too long."""


class Chain:
    """A stabiliser chain, with the exact order of the group that permutations generate.

    It is built and proven when it is made, the same way each time: after that ``order`` is exact. While it is built,
    ``order`` is the product of the lengths of the orbits so far, which never exceeds the order of the group, so it is
    proven where it reaches an upper bound. Without a bound Schreier's generators of every level are sifted: where all
    of them end at the identity the chain is complete.

    Args:
        generators: ``(r, n)``; without any, the order is 1.
        most: an upper bound of the order, or its value where that is known.
        about: the order up to rounding, with a relative error far below one in twice the degree. An orbit that lacks a
            point makes the product smaller by more than that, so an order this close is exact.
        bound: computes an upper bound, or None where it knows none; called only where a proof without it would take
            long.
        first: base points to begin with, also such as no element moves.

    Attributes: ``order``; ``base``, the base points in order; ``degree``, the number ``n`` of points.
    Raises: OrderNotProven where a proof without a bound would take too long; WorkSpent where a budget of steps is.
    Source: Sims, 1970; Leon, *On an algorithm for finding a base and a strong generating set*, 1980.
    """

    def __init__(
        self,
        generators: Indices,
        most: int | None = None,
        about: int | None = None,
        *,
        bound: Callable[[], int | None] | None = None,
        first: Sequence[int] = (),
    ):
        self.degree = generators.shape[1]
        self._most = most
        self._about = about
        # Transversals take memory: a short type halves it.
        generators = generators.astype(np.int16 if self.degree < 2**15 else np.int32)
        self.base: list[int] = []
        # Of each level: elements that take the points of the orbit to the base point, (orbit, n); the row of a point in
        # the orbit, or -1, (n,); the orbit of the base point; and generators, with those of deeper levels.
        self._transversals: list[Indices] = []
        self._positions: list[Indices] = []
        self._orbits: list[Indices] = []
        self._generators: list[list[Indices]] = []
        self.order = 1
        for b in first:
            self._deepen(b, generators.dtype)
        for g in generators:
            self._add(g)
        # The generators of the first level where there are any, which generate the whole group.
        kept = next((level for level in self._generators if level), None)
        if kept is not None and not self._reached():
            self._add_random(np.stack(kept))
        if not self._reached() and bound is not None and self._work(len(self.base) - 1) > min(_CHEAP, _MOST_CHECKED):
            bounds = [limit for limit in (self._most, bound()) if limit is not None]
            self._most = min(bounds, default=None)
        if kept is not None and not self._reached():
            self._check()

    def order_of_first(self, count: int) -> int:
        """How many different images the group gives to the first ``count`` base points, taken together as a tuple."""
        return math.prod(len(points) for points in self._orbits[:count])

    def contains(self, rows: Indices) -> bool:
        """Whether all of these permutations ``(k, n)``, or a single one ``(n,)``, are elements."""
        return bool((self._sifted(np.atleast_2d(rows)) == np.arange(self.degree)).all())

    def _reached(self) -> bool:
        """Whether the order is proven: it equals its upper bound, or is the one that is known up to rounding."""
        twice = 2 * self.degree
        return self.order == self._most or (self._about is not None and self.order * twice > self._about * (twice - 1))

    def _add_random(self, generators: Indices) -> None:
        """Add random elements of the group of ``generators`` until three rounds add nothing, or the order is proven."""
        quiet = 0
        for rows in random_elements(generators, np.random.default_rng(0)):
            before = self.order
            residues = self._sifted(rows)
            for row in residues[(residues != np.arange(self.degree)).any(1)]:
                self._add(row)
                if self._reached():
                    return
            quiet = 0 if self.order > before else quiet + 1
            if quiet == _QUIET:
                return

    def _check(self) -> None:
        """Sift all of Schreier's generators, deepest level first, and add those that do not end at the identity.

        Raises: OrderNotProven where that would take too long.
        """
        level = len(self.base) - 1
        while level >= 0:
            if not self._generators[level]:  # all elements of this level fix its base point
                level -= 1
                continue
            if self._work(level) > _MOST_CHECKED:
                raise OrderNotProven(
                    f"the order of this group on {self.degree} points is at least {self.order}, and to prove it would "
                    "take too long; give the order, as automorphisms(...) tells it: name_group(..., order=...)"
                )
            generators = np.stack(self._generators[level])
            orbit = self._orbits[level]
            transversal = self._transversals[level]
            position = self._positions[level]
            added = False
            for x, to_base in zip(orbit.tolist(), transversal, strict=True):
                # Schreier's generator: from the base point to x, on by a generator, and back to the base point.
                from_base = np.argsort(to_base)
                spend(10 + len(generators) * (5 + self.degree / 100))
                rows = np.stack([transversal[position[g[x]]][g[from_base]] for g in generators])
                residues = self._sifted(rows, level + 1)
                missing = residues[(residues != np.arange(self.degree)).any(1)]
                for row in missing:
                    self._add(row)
                if len(missing):
                    added = True
                    break
            level = len(self.base) - 1 if added else level - 1

    def _work(self, level: int) -> int:
        """Images of points that a check looks up in this level and in all levels with earlier base points."""
        each = (len(self._orbits[i]) * len(self._generators[i]) * (len(self.base) - i) for i in range(level + 1))
        return sum(each) * self.degree

    def _sifted(self, rows: Indices, start: int = 0) -> Indices:
        """The residues ``(k, n)`` of elements after sifting from a level on; the identity for those that the chain
        holds.
        """
        rows = np.array(rows)
        spend(10 * (len(self.base) - start) + rows.size * (len(self.base) - start) / 100)
        # An element whose image of a base point lies outside the orbit is sifted no further.
        active = np.ones(len(rows), dtype=bool)
        for level in range(start, len(self.base)):
            where = self._positions[level][rows[:, self.base[level]]]
            active &= where >= 0
            if not active.any():
                break
            rows[active] = np.take_along_axis(self._transversals[level][where[active]], rows[active], 1)
        return rows

    def _add(self, element: Indices) -> None:
        """Sift an element, add the residue to every level whose earlier base points it fixes, and update the order.

        Where the residue fixes all base points, a point that it moves becomes a new one. An element that the chain
        holds changes nothing.
        """
        residue = self._sifted(element[None])[0]
        moved_points = np.flatnonzero(residue != np.arange(self.degree))
        if len(moved_points) == 0:
            return
        deepest = next((i for i, b in enumerate(self.base) if residue[b] != b), len(self.base))
        if deepest == len(self.base):
            # It fixes all base points: a point that it moves becomes a new one.
            self._deepen(int(moved_points[0]), element.dtype)
        for level in range(deepest + 1):
            self._generators[level].append(residue)
            self._extend(level, residue)
        self.order = 1
        for points in self._orbits:
            self.order *= len(points)

    def _deepen(self, b: int, dtype: np.dtype[Any]) -> None:
        """Add the base point ``b``, at the end, which no element of its level moves yet.

        Args: ``dtype``: the integer type in which the elements of its transversal are kept.
        """
        self.base.append(b)
        position = np.full(self.degree, -1)
        position[b] = 0
        self._positions.append(position)
        self._orbits.append(np.asarray([b]))
        self._transversals.append(np.arange(self.degree, dtype=dtype)[None])
        self._generators.append([])

    def _extend(self, level: int, new: Indices) -> None:
        """Close the orbit of a level, with its transversal, under one more generator ``new``.

        The list of the level's generators must hold ``new`` already.
        """
        position = self._positions[level]
        orbit = [self._orbits[level]]
        transversal = [self._transversals[level]]
        if (position[new[orbit[0]]] >= 0).all():
            return
        count = len(orbit[0])
        frontier = orbit[0]
        rows = transversal[0]
        # The orbit is closed under the earlier generators, so its points need only be moved by the new one; points
        # that are reached then are moved by all.
        moves = [new]
        while len(frontier):
            reached = []
            reached_rows = []
            for g in moves:
                spend(10)
                images = g[frontier]
                fresh = np.flatnonzero(position[images] < 0)
                if len(fresh):
                    position[images[fresh]] = count + np.arange(len(fresh))
                    count += len(fresh)
                    reached.append(images[fresh])
                    spend(30 + len(fresh) * self.degree / 200)
                    # Back by the inverse of g, and on from there.
                    reached_rows.append(rows[fresh][:, np.argsort(g)])
            if not reached:
                break
            frontier = np.concatenate(reached)
            rows = np.concatenate(reached_rows)
            orbit.append(frontier)
            transversal.append(rows)
            moves = self._generators[level]
        self._orbits[level] = np.concatenate(orbit)
        self._transversals[level] = np.concatenate(transversal)


def random_elements(generators: Indices, rng: np.random.Generator) -> Iterator[Indices]:
    """Rounds of ``k`` = 24 random elements ``(k, n)``, without end, by product replacement in many places at once.

    There must be a generator. Each round multiplies half of the elements that are kept by the other half or their
    inverses, and gives them. The elements of one round are not independent, and not uniform; nothing that is proven
    depends on either.

    Source: Celler, Leedham-Green, Murray, Niemeyer and O'Brien, *Generating random elements of a finite group*, 1995.
    """
    r, n = generators.shape
    kept = generators[np.arange(_PLACES) % r]
    if r > _FEW_GENERATORS:
        # Each place begins with the product of about half of the generators in random order: among many generators of
        # few points each, a single one is far from a random element.
        kept = np.tile(np.arange(n, dtype=generators.dtype), (_PLACES, 1))
        for g in generators[rng.permutation(r)]:
            chosen = rng.random(_PLACES) < 0.5
            kept[chosen] = g[kept[chosen]]
    rounds_to_skip = _WARM_UP
    while True:
        spend(200 + _PLACES * n / 20)
        order = rng.permutation(_PLACES)
        replaced = order[: _PLACES // 2]
        others = order[_PLACES // 2 :]
        factor = kept[others]
        inverted = rng.random(len(others)) < 0.5
        factor[inverted] = np.argsort(factor[inverted], 1)
        # From the left in half of the rounds, and from the right in the others.
        first, second = (factor, kept[replaced]) if rng.random() < 0.5 else (kept[replaced], factor)
        kept[replaced] = np.take_along_axis(first, second, 1)
        if rounds_to_skip:
            rounds_to_skip -= 1
            continue
        yield kept[replaced]


def is_giant(generators: Indices, tries: int = 8) -> str | None:
    """``S`` or ``A`` for a transitive group that is proven to be symmetric or alternating (a *giant*), else None.

    An element with a cycle of prime length ``p``, ``n/2 < p < n − 2``, has a power that is that cycle alone. A
    transitive group with such a power is primitive, and by Jordan's theorem (1873) contains the alternating group.
    Random elements of a giant have such a cycle often. None is no proof of the contrary; below 8 points there is no
    such ``p``, and it is always None.

    Args: ``generators``: ``(r, n)``, of a transitive group, which is not checked; ``tries``: how many rounds of random
    elements are looked at.
    """
    n = generators.shape[1]
    primes = {p for p in range(n // 2 + 1, n - 2) if all(p % d for d in range(2, int(p**0.5) + 1))}
    if not primes or len(generators) == 0:
        return None
    for rows, _ in zip(random_elements(generators, np.random.default_rng(0)), range(tries), strict=False):
        for row in rows:
            if not primes.isdisjoint(cycle_lengths(row)):
                return "A" if all(parity_of(g) > 0 for g in generators) else "S"
    return None
