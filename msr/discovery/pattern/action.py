"""How a group acts on a layer: what its permutations move, and the automorphisms of coloured weights."""

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.pattern.classes import Colouring, Rows
from msr.discovery.thresholds import THRESHOLDS
from msr.permutations import Indices, reynolds_operator
from msr.permutations.search import Automorphisms, automorphisms

__all__ = ["Points"]

_Kind = TypeVar("_Kind", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Points:
    """The points that permutations move: the ``n`` inputs and ``m`` outputs of a layer, or both signs of each.

    Without ``signed`` each input and each output is one point. With it each is two points, ``+j`` (number ``j``) and
    ``−j`` (number ``j + n``). A signed permutation sends ``+j`` to ``±j′`` and ``−j`` to ``∓j′``, so it is an ordinary
    permutation of twice the points. Signed permutations commute with odd activations such as tanh.

    A layer then has ``lines × columns`` weights between points, ``(m, n)`` or ``(2m, 2n)``; the weight between two
    points of opposite sign is the negative of the layer's weight.

    Attributes:
        n, m: numbers of inputs and of outputs.
        ties: ``(n, n)``, labels of pairs of inputs that a permutation must keep, as for the taps of a convolution; or
            None where inputs move freely.
        signed: whether signed permutations are meant.
        factors: ``(m, n)``. A symmetry speaks of the weights times these, where coordinates were brought to other
            units for the fit; None where they were not.
    """

    n: int
    m: int
    ties: Indices | None
    signed: bool
    factors: NDArray[np.float64] | None = None
    _searched: dict[tuple[tuple[int, ...], bytes], Automorphisms] = field(default_factory=dict, init=False, repr=False)

    @property
    def columns(self) -> int:
        """Number of points of the inputs."""
        return 2 * self.n if self.signed else self.n

    @property
    def lines(self) -> int:
        """Number of points of the outputs."""
        return 2 * self.m if self.signed else self.m

    def rows(self, rows: Rows) -> Rows:
        """The rows of all weights between points, from the rows of the layer's weights ``(m, n)``.

        Without ``signed`` they are the same; with it a weight between points of opposite sign has the negative row.
        """
        if not self.signed:
            return rows
        A = rows.values.reshape(self.m, self.n, -1)
        signed = np.concatenate([np.concatenate([A, -A], 1), np.concatenate([-A, A], 1)])
        errors = self.both_signs(rows.errors.reshape(self.m, -1)).ravel()
        return Rows(signed.reshape(-1, signed.shape[2]), errors, (2 * self.m, 2 * self.n))

    def both_signs(self, labels: NDArray[_Kind]) -> NDArray[_Kind]:
        """Labels ``(m, n)`` of the layer's weights, repeated for all weights between points ``(lines, columns)``."""
        return np.tile(labels, (2, 2)) if self.signed else labels

    def plain(self, colours: NDArray[_Kind]) -> NDArray[_Kind]:
        """The part of labels ``(lines, columns)`` that belongs to the layer's weights themselves, ``(m, n)``."""
        return colours[: self.m, : self.n]

    def average(self, U: Tensor, orbitals: Indices) -> Tensor:
        """The weights ``U (m n, k)``, each replaced by the mean of its orbital: the part that the group keeps.

        This is the Reynolds operator. ``orbitals (lines · columns,)`` are those of weights between points. Where
        coordinates have units of their own, the mean is taken of the weights in their original units.
        """
        if self.factors is None:
            return self._average(U, orbitals)
        factors = torch.from_numpy(self.factors).reshape(-1, 1)
        return self._average(U * factors, orbitals) / factors

    def _average(self, U: Tensor, orbitals: Indices) -> Tensor:
        """As :meth:`average`, with the mean taken in the units in which ``U (m n, k)`` is."""
        if not self.signed:
            return reynolds_operator(U, orbitals)
        A = U.view(self.m, self.n, -1)
        signed = torch.cat([torch.cat([A, -A], 1), torch.cat([-A, A], 1)])
        mean = reynolds_operator(signed.flatten(0, 1), orbitals).view(signed.shape)
        return mean[: self.m, : self.n].flatten(0, 1)

    def is_trivial(self, generators_in: Indices, generators_out: Indices) -> bool:
        """Whether each generator leaves all points in place or, for signed points, changes all signs of a side at once.

        Such a group says nothing of a layer. Each side is looked at by itself: a generator that changes the signs of
        one side and leaves the other in place counts as trivial too, though only a layer of zeros keeps it.

        Shapes: ``generators_in (r, columns)``, ``generators_out (r, lines)``; row ``g`` of both is one generator.
        """
        for p, q in zip(generators_in, generators_out, strict=True):
            for permutation in (p, q):
                identity = np.arange(len(permutation))
                opposite = (identity + len(permutation) // 2) % len(permutation)
                is_identity = bool((permutation == identity).all())
                changes_all_signs = self.signed and bool((permutation == opposite).all())
                if not is_identity and not changes_all_signs:
                    return False
        return True

    def moved(self, orbitals: Indices) -> NDArray[np.bool_]:
        """Whether the group moves each weight between points: ties it to another weight, or to its own negative.

        Shapes: ``orbitals (lines · columns,)``; the result is ``(lines · columns,)``.
        """
        if not self.signed:
            return np.asarray(np.bincount(orbitals)[orbitals] > 1)
        # Each weight of the layer stands in four places, twice with each sign. An orbital that holds the same weight
        # twice with one sign ties nothing, so places are first reduced to (weight, sign).
        i, j = np.divmod(np.arange(len(orbitals)), self.columns)
        sign = (i >= self.m) ^ (j >= self.n)
        weight = (i % self.m) * self.n + j % self.n
        pairs = np.unique(np.stack([orbitals, 2 * weight + sign], 1), axis=0)
        return np.asarray(np.bincount(pairs[:, 0])[orbitals] > 1)

    def relabelling(self, generator: np.random.Generator) -> tuple[Indices, Indices]:
        """Random permutations of the points of inputs ``(columns,)`` and of outputs ``(lines,)``.

        Signed points move in pairs: ``−j`` goes to the negative of where ``+j`` goes, and no sign changes.
        """
        s = generator.permutation(self.n)
        t = generator.permutation(self.m)
        if self.signed:
            s = np.concatenate([s, s + self.n])
            t = np.concatenate([t, t + self.m])
        return s, t

    def used(self, rows: Rows) -> tuple[Indices, Indices]:
        """The numbers of the points whose weights are certainly not zero: ``(inputs, outputs)``, two sorted arrays.

        ``rows`` are those of all weights between points, as from :meth:`rows`. A point is unused if its weights (root
        mean square) are below a few of their standard errors. A point with weak weights must be known better than that,
        because all weak points look alike in a rough fit and would seem to be interchangeable.
        """
        limits = THRESHOLDS()
        # An input is one column of weights, which a symmetry moves as a whole: size and error are means over the
        # column, or over the row for an output.
        squared_size = (rows.values**2).sum(1).reshape(rows.shape)
        squared_error = (rows.errors**2).reshape(rows.shape)

        def along(axis: int) -> Indices:
            """Numbers of the points whose weights, root mean square over ``axis``, are large enough."""
            size = np.sqrt(squared_size.mean(axis))
            error = np.sqrt(squared_error.mean(axis))
            weak = np.minimum(limits.point_weak_errors * error, limits.point_weak * rows.size)
            least = np.maximum(np.maximum(limits.point_errors * error, weak), limits.point_least * rows.size)
            return np.flatnonzero(size > least)

        return along(0), along(1)

    def unknown(self, rows: Rows, most: float) -> int:
        """How many inputs and outputs are not :meth:`used`, but known so badly that they may carry weight.

        They are known badly if their weights have an error, root mean square, of more than ``most`` times the typical
        size of a row. ``rows`` are those of weights between points; the two signs of one input or output count once.
        """
        squared_error = (rows.errors**2).reshape(rows.shape)
        count = 0
        for axis, used in enumerate(self.used(rows)):
            vague = np.sqrt(squared_error.mean(axis)) > most * rows.size
            vague[used] = False
            count += int(vague.sum())
        return count // 2 if self.signed else count

    def automorphisms(self, cut: Colouring, rows: Rows) -> Automorphisms:
        """The group of all permutations of used points that keep the classes of weights and the ties between points.

        Its generators ``(r, columns)`` and ``(r, lines)`` act on all points, of which unused ones stay in place: they
        could all be swapped without any effect, which would say nothing. Only a generator that changes the signs of all
        used points changes those of the unused ones too. If no input or no output is used the group has order 1 and no
        generator. The arrays are new; searches are kept, so that the same classes are not searched twice. ``rows``, of
        weights between points, say which points are used.

        Raises: MissingExtraError as :func:`~msr.permutations.search.automorphisms`, where the search is too long.
        """
        lines, columns = cut.colours.shape
        used_in, used_out = self.used(rows)
        if len(used_in) == 0 or len(used_out) == 0:
            return Automorphisms(np.empty((0, columns), np.int64), np.empty((0, lines), np.int64), 1)
        graph = _with_ties(
            cut.colours[np.ix_(used_out, used_in)],
            _restricted(self._ties_in(), used_in),
            _restricted(self._ties_out(), used_out),
        )
        # Splits, views and numbers of teaching tasks propose the same classes again and again: three of four searches
        # of a discovery would repeat an earlier one.
        key = (graph.shape, graph.tobytes())
        if key not in self._searched:
            self._searched[key] = automorphisms(graph)
        small = self._searched[key]
        count = len(small.generators_in)
        p = np.tile(np.arange(columns), (count, 1))
        q = np.tile(np.arange(lines), (count, 1))
        # The first columns and rows of the graph are the used points; those after them only carry the ties.
        p[:, used_in] = used_in[small.generators_in[:, : len(used_in)]]
        q[:, used_out] = used_out[small.generators_out[:, : len(used_out)]]
        if self.signed:
            # A generator that changes the signs of all used points changes those of the unused ones as well, so that
            # it is recognised as the change of all signs at once, which every layer has.
            opposite_in = np.roll(np.arange(columns), columns // 2)
            opposite_out = np.roll(np.arange(lines), lines // 2)
            all_in = (p[:, used_in] == opposite_in[used_in]).all(1)
            all_out = (q[:, used_out] == opposite_out[used_out]).all(1)
            p[all_in & all_out] = opposite_in
            q[all_in & all_out] = opposite_out
        return Automorphisms(p, q, small.order)

    def _ties_in(self) -> Indices | None:
        """Labels of pairs of input points that a permutation must keep, ``(columns, columns)``; None without any."""
        return _signed_ties(self.n, self.ties) if self.signed else self.ties

    def _ties_out(self) -> Indices | None:
        """Labels of pairs of output points that a permutation must keep, ``(lines, lines)``; None without signs."""
        return _signed_ties(self.m, None) if self.signed else None


def _signed_ties(points: int, ties: Indices | None) -> Indices:
    """Ties between both signs of points, ``(2 · points, 2 · points)``.

    The label is 0 from a point to itself and 1 to its opposite, so that the two signs of a point move together. Between
    other points it depends on their label in ``ties (points, points)`` alone, all of which are equal for None.
    """
    before = np.zeros((points, points), np.int64) if ties is None else ties
    doubled = np.tile(before, (2, 2)) * 2 + 2
    every = np.arange(2 * points)
    doubled[every, every] = 0
    doubled[every, (every + points) % (2 * points)] = 1
    return doubled


def _restricted(ties: Indices | None, points: Indices) -> Indices | None:
    """The ties among the points with these numbers, ``(len(points), len(points))``; None where there are no ties."""
    return None if ties is None else ties[np.ix_(points, points)]


def _with_ties(colours: Indices, ties_in: Indices | None, ties_out: Indices | None) -> Indices:
    """The coloured weights with auxiliary rows and columns that make automorphisms keep the ties.

    One row is added for each input, coloured by that input's ties to all inputs. An automorphism must then move the row
    together with its input, and so keeps the ties. Columns are added for outputs in the same way.

    Shapes: ``colours (m, n)``, ``ties_in (n, n)``, ``ties_out (m, m)``; the result is ``(m + n, n + m)``, less the part
    for ties that are None. The colours of weights, of ties and of the remaining corner are all different.
    """
    m, n = colours.shape
    more_rows = 0 if ties_in is None else len(ties_in)
    more_columns = 0 if ties_out is None else len(ties_out)
    free_colour = int(colours.max()) + 1
    whole = np.full((m + more_rows, n + more_columns), free_colour)
    whole[:m, :n] = colours
    if ties_in is not None:
        whole[m:, :n] = ties_in + free_colour + 3
        free_colour = int(whole.max())
    if ties_out is not None:
        whole[:m, n:] = ties_out + free_colour + 3
        whole[m:, n:] = free_colour + 2
    return whole
