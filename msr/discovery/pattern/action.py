"""What a group moves: the inputs and outputs, or both signs of each; and the automorphisms of coloured weights."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.pattern.classes import Colouring, Rows
from msr.permutations import reynolds_operator
from msr.permutations.actions import Indices
from msr.permutations.search import Automorphisms, automorphisms

__all__ = ["Points"]

_Kind = TypeVar("_Kind", bound=np.generic)

# An input or output whose weights are smaller than this many of their errors carries none; and one that is this much
# weaker than others must be known this well, since weak points look alike to a rough fit.
_NOTHING = 2.0
_WEAK, _KNOWN = 0.1, 8.0


@dataclass(frozen=True, eq=False)
class Points:
    """``n`` inputs and ``m`` outputs of a layer, each one point; ``signed``: each two points, ``+`` and ``−``.

    Signed permutations send ``+j`` to ``±j′`` and ``−j`` to ``∓j′``. They are what an odd activation, such as tanh,
    lets through. As permutations of twice the points, ``j`` and ``j + n``, all else stays as it is.

    Attributes:
        ties: ``(n, n)``, what permutations of inputs must keep between them, or None.
        factors: ``(m, n)``, of which weights times these a permutation speaks, where units differ; or None.
    """

    n: int
    m: int
    ties: Indices | None
    signed: bool
    factors: NDArray[np.float64] | None = None

    @property
    def columns(self) -> int:
        """Points of the inputs."""
        return 2 * self.n if self.signed else self.n

    @property
    def lines(self) -> int:
        """Points of the outputs."""
        return 2 * self.m if self.signed else self.m

    def rows(self, rows: Rows) -> Rows:
        """A row for each weight between points."""
        if not self.signed:
            return rows
        A = rows.values.reshape(self.m, self.n, -1)
        both = np.concatenate([np.concatenate([A, -A], 1), np.concatenate([-A, A], 1)])
        errors = self.both_signs(rows.errors.reshape(self.m, -1)).ravel()
        return Rows(both.reshape(-1, both.shape[2]), errors, (2 * self.m, 2 * self.n))

    def both_signs(self, labels: NDArray[_Kind]) -> NDArray[_Kind]:
        """Of the weights ``(m, n)``, on all weights between points."""
        return np.tile(labels, (2, 2)) if self.signed else labels

    def average(self, U: Tensor, orbits: Indices) -> Tensor:
        """The nearest span of invariant weights, ``(m n, k)``."""
        if self.factors is None:
            return self._average(U, orbits)
        factors = torch.from_numpy(self.factors).reshape(-1, 1)
        return self._average(U * factors, orbits) / factors

    def _average(self, U: Tensor, orbits: Indices) -> Tensor:
        if not self.signed:
            return reynolds_operator(U, orbits)
        A = U.view(self.m, self.n, -1)
        both = torch.cat([torch.cat([A, -A], 1), torch.cat([-A, A], 1)])
        mean = reynolds_operator(both.flatten(0, 1), orbits).view(both.shape)
        return mean[: self.m, : self.n].flatten(0, 1)

    def plain(self, colours: NDArray[_Kind]) -> NDArray[_Kind]:
        """Of what is said of all weights between points, that of the weights themselves, ``(m, n)``."""
        return colours[: self.m, : self.n]

    def says_nothing(self, generators_in: Indices, generators_out: Indices) -> bool:
        """Whether the group is what every layer has: nothing, or the change of all signs at once."""
        for p, q in zip(generators_in, generators_out, strict=True):
            for moved in (p, q):
                every = np.arange(len(moved))
                opposite = (every + len(moved) // 2) % len(moved)
                if not (moved == every).all() and not (self.signed and (moved == opposite).all()):
                    return False
        return True

    def moved(self, orbits: Indices) -> NDArray[np.bool_]:
        """Of all weights between points: whether the orbit ties one to another, or to its own negative."""
        if not self.signed:
            return np.asarray(np.bincount(orbits)[orbits] > 1)
        i, j = np.divmod(np.arange(len(orbits)), self.columns)
        sign = (i >= self.m) ^ (j >= self.n)
        weight = (i % self.m) * self.n + j % self.n
        pairs = np.unique(np.stack([orbits, 2 * weight + sign], 1), axis=0)
        return np.asarray(np.bincount(pairs[:, 0])[orbits] > 1)

    def relabelling(self, generator: np.random.Generator) -> tuple[Indices, Indices]:
        """Random permutations of the inputs and of the outputs."""
        s, t = generator.permutation(self.n), generator.permutation(self.m)
        if self.signed:
            s, t = np.concatenate([s, s + self.n]), np.concatenate([t, t + self.m])
        return s, t

    def used(self, rows: Rows) -> tuple[Indices, Indices]:
        """Inputs and outputs that carry weight, known well enough."""
        squares = ((rows.values**2).sum(1), rows.errors**2)
        strength, error = (one.reshape(rows.shape) for one in squares)

        def carries(axis: int) -> Indices:
            size, wrong = (np.sqrt(one.mean(axis)) for one in (strength, error))
            weak = np.minimum(_KNOWN * wrong, _WEAK * rows.size)
            return np.flatnonzero(size > np.maximum(np.maximum(_NOTHING * wrong, weak), 1e-5 * rows.size))

        return carries(0), carries(1)

    def unknown(self, rows: Rows, most: float) -> int:
        """How many inputs and outputs seem to carry nothing, with errors of more than this share of a usual weight."""
        error = (rows.errors**2).reshape(rows.shape)
        found = 0
        for axis, used in enumerate(self.used(rows)):
            vague = np.sqrt(error.mean(axis)) > most * rows.size
            vague[used] = False
            found += int(vague.sum())
        return found // 2 if self.signed else found

    def automorphisms(self, cut: Colouring, rows: Rows) -> Automorphisms:
        """Of the points that carry weight; those that carry none can be swapped at will, and stay."""
        lines, columns = cut.colours.shape
        used_in, used_out = self.used(rows)
        if len(used_in) == 0 or len(used_out) == 0:
            return Automorphisms(np.empty((0, columns), np.int64), np.empty((0, lines), np.int64), 1)
        seen = _tied(
            cut.colours[np.ix_(used_out, used_in)],
            _part(self._ties_in(), used_in),
            _part(self._ties_out(), used_out),
        )
        small = automorphisms(seen)
        r = len(small.generators_in)
        p, q = np.tile(np.arange(columns), (r, 1)), np.tile(np.arange(lines), (r, 1))
        p[:, used_in] = used_in[small.generators_in[:, : len(used_in)]]
        q[:, used_out] = used_out[small.generators_out[:, : len(used_out)]]
        if self.signed:
            # The change of all signs is that of the points that carry nothing too.
            opposite_in, opposite_out = (np.roll(np.arange(size), size // 2) for size in (columns, lines))
            every = (p[:, used_in] == opposite_in[used_in]).all(1) & (q[:, used_out] == opposite_out[used_out]).all(1)
            p[every], q[every] = opposite_in, opposite_out
        return Automorphisms(p, q, small.order)

    def _ties_in(self) -> Indices | None:
        return _signs(self.n, self.ties) if self.signed else self.ties

    def _ties_out(self) -> Indices | None:
        return _signs(self.m, None) if self.signed else None


def _signs(points: int, ties: Indices | None) -> Indices:
    """Ties of both signs: a point, its opposite, and the others with what tied them before."""
    before = np.zeros((points, points), np.int64) if ties is None else ties
    doubled = np.tile(before, (2, 2)) * 2 + 2
    every = np.arange(2 * points)
    doubled[every, every] = 0
    doubled[every, (every + points) % (2 * points)] = 1
    return doubled


def _part(ties: Indices | None, points: Indices) -> Indices | None:
    return None if ties is None else ties[np.ix_(points, points)]


def _tied(colours: Indices, ties_in: Indices | None, ties_out: Indices | None) -> Indices:
    """Rows and columns that stand for inputs and outputs as if they were of the other side.

    A row for each input meets the inputs by what ties them to it, so it can only move where its input does.
    """
    m, n = colours.shape
    more_rows = 0 if ties_in is None else len(ties_in)
    more_columns = 0 if ties_out is None else len(ties_out)
    fresh = int(colours.max()) + 1
    whole = np.full((m + more_rows, n + more_columns), fresh)
    whole[:m, :n] = colours
    if ties_in is not None:
        whole[m:, :n] = ties_in + fresh + 3
        fresh = int(whole.max())
    if ties_out is not None:
        whole[:m, n:] = ties_out + fresh + 3
        whole[m:, n:] = fresh + 2
    return whole
