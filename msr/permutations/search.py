"""Automorphisms of a coloured matrix: pairs of permutations with ``colours[q(i), p(j)] = colours[i, j]``."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Literal

import numpy as np

from msr.errors import ConfigError, MissingExtraError, ShapeError
from msr.permutations.actions import Indices
from msr.permutations.refinement import Search, SearchTooLong, keeps
from msr.permutations.stabiliser_chains import Chain

__all__ = ["Automorphisms", "automorphisms", "keeps"]

_MOST_READ = 5e9
"""Entries that our own search may read: some ten seconds. No pattern of a group that was tried took a hundredth."""


@dataclass(frozen=True, eq=False)
class Automorphisms:
    """The automorphism group of a matrix: generators ``(r, in)`` and ``(r, out)``, and its exact order.

    Row ``g`` of both arrays is one generator, which sends input or output ``i`` to ``[g, i]``. The trivial
    group has no generators, ``r = 0``.
    """

    generators_in: Indices
    generators_out: Indices
    order: int


def automorphisms(colours: Indices, *, backend: Literal["auto", "own", "canonaut"] = "auto") -> Automorphisms:
    """All pairs of permutations that keep the colours of a matrix ``(out, in)``.

    Colours are any whole numbers, of which only equality counts.

    The matrix is a complete bipartite graph with coloured edges, and a pair of permutations is an automorphism of the
    graph that does not swap its two sides. Our own search refines partitions and backtracks. With ``auto``, where our
    own search gives up, ``canonaut``, a port of nauty, takes over, if it is installed. The group is the same.

    Raises: ShapeError for no matrix of whole numbers, or an empty one; MissingExtraError where ``canonaut`` is asked
    for or needed and not there; ConfigError where ``backend="own"`` gives up, and for an unknown backend.
    Source: Ravanbakhsh, Schneider and Póczos, arXiv:1702.08389; McKay, 1981; Junttila and Kaski, 2007.
    """
    matrix = np.asarray(colours)
    if matrix.ndim != 2 or matrix.size == 0 or matrix.dtype.kind not in "iu":
        raise ShapeError(f"colours must be whole numbers (out, in), at least one; got {matrix.dtype} {matrix.shape}")
    if backend not in ("auto", "own", "canonaut"):
        raise ConfigError(f"backend must be auto, own or canonaut; got {backend!r}")
    values: Indices = np.unique(matrix, return_inverse=True)[1].reshape(matrix.shape).astype(np.int64)
    n = values.shape[1]
    moves, order = _by_canonaut(values) if backend == "canonaut" else _by_own_search(values, backend)
    for move in moves:
        assert keeps(values, move[:n], move[n:] - n), "an automorphism does not keep the colours"
    return Automorphisms(moves[:, :n], moves[:, n:] - n, order)


def _by_own_search(colours: Indices, backend: str) -> tuple[Indices, int]:
    """Generators ``(r, in + out)`` and the order, by our own search; colours ``(out, in)`` are numbered from 0.

    With ``backend="auto"``, ``canonaut`` takes over where it gives up.
    Raises: ConfigError where it gives up with ``"own"``; MissingExtraError where ``canonaut`` is needed and not there.
    """
    try:
        return Search(colours, _MOST_READ).run()
    except SearchTooLong:
        m, n = colours.shape
        gave_up = (
            f"the search for the automorphisms of {m} x {n} colours was given up after {_MOST_READ:.0e} entries read"
        )
    if backend == "own":
        raise ConfigError(
            f'{gave_up}; try backend="auto" with pip install "msr[discover]", which brings another engine'
        )
    if importlib.util.find_spec("canonaut") is None:
        raise MissingExtraError(
            f'{gave_up}; pip install "msr[discover]" brings an engine for hard cases, taken by itself'
        )
    return _by_canonaut(colours)


def _by_canonaut(colours: Indices) -> tuple[Indices, int]:
    """Generators ``(r, in + out)`` and the order from ``canonaut``, which takes graphs without colours on edges.

    Colours ``(out, in)`` are numbered from 0. A colour is written in binary, with a copy of all points for each digit;
    copies of a point are joined by edges.

    Raises: MissingExtraError where it is not installed.
    """
    try:
        raw = importlib.import_module("canonaut").raw
    except ModuleNotFoundError as error:
        if error.name != "canonaut":
            raise
        raise MissingExtraError('canonaut is not installed; pip install "msr[discover]", or backend="own"') from None
    m, n = colours.shape
    size = m + n
    layers = max(1, int(colours.max()).bit_length())
    points = np.arange(size)
    edges = [np.stack([layer * size + points - size, layer * size + points], 1) for layer in range(1, layers)]
    for layer in range(layers):
        rows, columns = np.nonzero((colours >> layer) & 1)
        edges.append(layer * size + np.stack([columns, n + rows], 1))
    paint = np.repeat(np.arange(2 * layers), [n, m] * layers)
    pairs = [(int(a), int(b)) for a, b in np.concatenate(edges)]
    answer = raw.canonize(layers * size, pairs, colors=paint.tolist(), generators=True)
    moves = np.asarray([g[:size] for g in answer.generators], dtype=np.int64).reshape(-1, size)
    # It gives the order rounded, as a float times a power of ten; a stabiliser chain makes that exact.
    about = int(answer.group_size1 * 2.0**40) * 10**answer.group_size2 >> 40
    return moves, Chain(moves, about=about).order if len(moves) else 1
