"""Orders of permutation groups by a stabiliser chain: random elements build it, a bound or a check proves it."""

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
"""Images of points that are looked up before another upper bound is asked for."""
_QUIET = 3
"""Rounds of random elements that add nothing before the chain is checked."""


class OrderNotProven(ConfigError):
    """To prove the order of a group would take too long."""


class Chain:
    """Base points, and for each the orbit under what fixes those before it, with elements that lead back.

    ``order`` is the product of the lengths of the orbits. It never exceeds the order of the group, so that it is proven
    where it reaches an upper bound; where none is given, Schreier's generators of every level are checked.

    Args:
        generators: ``(r, n)``.
        most: an upper bound of the order, or its value where that is known.
        about: the order up to rounding, with a relative error far below one in twice the degree. An orbit that is too
            short by a point makes the product smaller than that, so that an order this close is exact.
        bound: makes an upper bound, asked for only where a proof without it would take long.
        first: base points to begin with.

    Raises: OrderNotProven where a proof without a bound would take too long.
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
        self._most, self._about = most, about
        # Transversals take memory: a short type halves it.
        generators = generators.astype(np.int16 if self.degree < 2**15 else np.int32)
        self.base: list[int] = []
        self._back: list[Indices] = []  # (orbit, n): the element that takes the point back to the base point
        self._place: list[Indices] = []  # (n,): the row of a point of the orbit, or -1
        self._points: list[Indices] = []  # the orbit
        self._strong: list[list[Indices]] = []  # generators of each level, those of the deeper ones included
        self.order = 1
        for b in first:
            self._deepen(b, generators.dtype)
        for g in generators:
            self._add(g)
        kept = next((strong for strong in self._strong if strong), None)
        if kept is not None and not self._reached():
            # What was kept generates the same group.
            self._draw(np.stack(kept))
        if not self._reached() and bound is not None and self._work(len(self.base) - 1) > min(_CHEAP, _MOST_CHECKED):
            least = [limit for limit in (self._most, bound()) if limit is not None]
            self._most = min(least, default=None)
        if kept is not None and not self._reached():
            self._check()

    def order_of_first(self, count: int) -> int:
        """The number of ways in which elements move the first base points."""
        return math.prod(len(points) for points in self._points[:count])

    def contains(self, rows: Indices) -> bool:
        """Whether all of these permutations ``(k, n)`` are elements."""
        return bool((self._sifted(np.atleast_2d(rows)) == np.arange(self.degree)).all())

    def _reached(self) -> bool:
        """Whether the order is as large as it can be."""
        twice = 2 * self.degree
        return self.order == self._most or (self._about is not None and self.order * twice > self._about * (twice - 1))

    def _draw(self, generators: Indices) -> None:
        quiet = 0
        for rows in random_elements(generators, np.random.default_rng(0)):
            before = self.order
            left = self._sifted(rows)
            for row in left[(left != np.arange(self.degree)).any(1)]:
                self._add(row)
                if self._reached():
                    return
            quiet = 0 if self.order > before else quiet + 1
            if quiet == _QUIET:
                return

    def _check(self) -> None:
        """Sift all of Schreier's generators, deepest level first; what does not vanish is added."""
        level = len(self.base) - 1
        while level >= 0:
            if not self._strong[level]:  # the elements found so far fix its point
                level -= 1
                continue
            if self._work(level) > _MOST_CHECKED:
                raise OrderNotProven(
                    f"the order of this group on {self.degree} points is at least {self.order}, and to prove it would "
                    "take too long; give the order, as automorphisms(...) tells it: name_group(..., order=...)"
                )
            strong = np.stack(self._strong[level])
            points, back, place = self._points[level], self._back[level], self._place[level]
            added = False
            for x, home in zip(points.tolist(), back, strict=True):
                # From the base point to x, on by a generator, and home from there.
                out = np.argsort(home)
                spend(10 + len(strong) * (5 + self.degree / 100))
                rows = np.stack([back[place[g[x]]][g[out]] for g in strong])
                left = self._sifted(rows, level + 1)
                wrong = left[(left != np.arange(self.degree)).any(1)]
                for row in wrong:
                    self._add(row)
                if len(wrong):
                    added = True
                    break
            level = len(self.base) - 1 if added else level - 1

    def _work(self, level: int) -> int:
        """Images of points that a check of a level and those before it looks up."""
        each = (len(self._points[i]) * len(self._strong[i]) * (len(self.base) - i) for i in range(level + 1))
        return sum(each) * self.degree

    def _sifted(self, rows: Indices, start: int = 0) -> Indices:
        """What is left of elements when those that lead back are taken off, level by level."""
        rows = np.array(rows)
        spend(10 * (len(self.base) - start) + rows.size * (len(self.base) - start) / 100)
        alive = np.ones(len(rows), dtype=bool)
        for level in range(start, len(self.base)):
            where = self._place[level][rows[:, self.base[level]]]
            alive &= where >= 0
            if not alive.any():
                break
            rows[alive] = np.take_along_axis(self._back[level][where[alive]], rows[alive], 1)
        return rows

    def _add(self, element: Indices) -> None:
        """Sift an element, and add what is left of it to every level whose base points before it stay fixed."""
        rest = self._sifted(element[None])[0]
        moved = np.flatnonzero(rest != np.arange(self.degree))
        if len(moved) == 0:
            return
        deepest = next((i for i, b in enumerate(self.base) if rest[b] != b), len(self.base))
        if deepest == len(self.base):
            self._deepen(int(moved[0]), element.dtype)
        for level in range(deepest + 1):
            self._strong[level].append(rest)
            self._extend(level, rest)
        self.order = 1
        for points in self._points:
            self.order *= len(points)

    def _deepen(self, b: int, dtype: np.dtype[Any]) -> None:
        """One more base point, which nothing moves yet."""
        self.base.append(b)
        place = np.full(self.degree, -1)
        place[b] = 0
        self._place.append(place)
        self._points.append(np.asarray([b]))
        self._back.append(np.arange(self.degree, dtype=dtype)[None])
        self._strong.append([])

    def _extend(self, level: int, new: Indices) -> None:
        """Close an orbit under one more generator."""
        place = self._place[level]
        points, back = [self._points[level]], [self._back[level]]
        if (place[new[points[0]]] >= 0).all():
            return
        count = len(points[0])
        frontier, rows, moves = points[0], back[0], [new]
        while len(frontier):
            reached, homes = [], []
            for g in moves:
                spend(10)
                images = g[frontier]
                fresh = np.flatnonzero(place[images] < 0)
                if len(fresh):
                    place[images[fresh]] = count + np.arange(len(fresh))
                    count += len(fresh)
                    reached.append(images[fresh])
                    spend(30 + len(fresh) * self.degree / 200)
                    homes.append(rows[fresh][:, np.argsort(g)])
            if not reached:
                break
            frontier, rows = np.concatenate(reached), np.concatenate(homes)
            points.append(frontier)
            back.append(rows)
            moves = self._strong[level]
        self._points[level], self._back[level] = np.concatenate(points), np.concatenate(back)


def random_elements(generators: Indices, rng: np.random.Generator) -> Iterator[Indices]:
    """Rounds of random elements ``(k, n)`` without end, by product replacement in many places at once."""
    r, n = generators.shape
    places, warm = 48, 12
    slots = generators[np.arange(places) % r]
    if r > 8:
        # Products of about half of the generators, in random order: many of them at once are far from any one of them.
        slots = np.tile(np.arange(n, dtype=generators.dtype), (places, 1))
        for g in generators[rng.permutation(r)]:
            taken = rng.random(places) < 0.5
            slots[taken] = g[slots[taken]]
    while True:
        spend(200 + places * n / 20)
        order = rng.permutation(places)
        one, other = order[: places // 2], order[places // 2 :]
        factor = slots[other]
        turned = rng.random(len(other)) < 0.5
        factor[turned] = np.argsort(factor[turned], 1)
        # In half of the rounds from the left, in the others from the right.
        first, second = (factor, slots[one]) if rng.random() < 0.5 else (slots[one], factor)
        slots[one] = np.take_along_axis(first, second, 1)
        if warm:
            warm -= 1
            continue
        yield slots[one]


def is_giant(generators: Indices, tries: int = 8) -> str | None:
    """``S`` or ``A`` where a transitive group holds all even permutations of its points, else None.

    An element with a cycle of prime length ``p``, ``n/2 < p < n − 2``, has a power that is that cycle alone. A
    transitive group with it is primitive, and by Jordan's theorem (1873) holds the alternating group. Random elements
    of such a group have one often, so that None is no proof of the contrary.
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
