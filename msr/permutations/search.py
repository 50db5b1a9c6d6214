"""Permutations of inputs and outputs that keep a coloured matrix: ``colours[q(i), p(j)] = colours[i, j]``."""

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
"""Entries that our own search may read, some ten seconds' worth; no pattern of a group took a hundredth of it."""


@dataclass(frozen=True, eq=False)
class Automorphisms:
    """Generators ``(r, in)`` and ``(r, out)``, row ``g`` sending point ``i`` to ``[g, i]``, and the group's order."""

    generators_in: Indices
    generators_out: Indices
    order: int


def automorphisms(colours: Indices, *, backend: Literal["auto", "own", "canonaut"] = "auto") -> Automorphisms:
    """All pairs of permutations that keep the colours of a matrix ``(out, in)``.

    The matrix is a complete bipartite graph with coloured edges; a pair is an automorphism of it that does not swap the
    two sides. Our own search refines partitions and backtracks. Where it has read too much and ``auto`` is asked for,
    ``canonaut``, a port of nauty, takes over, if it is installed. The answer is the same group.

    Raises: ShapeError for no matrix of whole numbers; MissingExtraError where ``canonaut`` is asked for or needed and
    not there; ConfigError where ``backend="own"`` gives up.
    Source: Ravanbakhsh, Schneider and Póczos, arXiv:1702.08389; McKay, 1981; Junttila and Kaski, 2007.
    """
    given = np.asarray(colours)
    if given.ndim != 2 or given.size == 0 or given.dtype.kind not in "iu":
        raise ShapeError(f"colours must be whole numbers (out, in), at least one; got {given.dtype} {given.shape}")
    if backend not in ("auto", "own", "canonaut"):
        raise ConfigError(f"backend must be auto, own or canonaut; got {backend!r}")
    values: Indices = np.unique(given, return_inverse=True)[1].reshape(given.shape).astype(np.int64)
    n = values.shape[1]
    moves, order = _by_canonaut(values) if backend == "canonaut" else _by_own_search(values, backend)
    for move in moves:
        assert keeps(values, move[:n], move[n:] - n), "an automorphism does not keep the colours"
    return Automorphisms(moves[:, :n], moves[:, n:] - n, order)


def _by_own_search(colours: Indices, backend: str) -> tuple[Indices, int]:
    try:
        return Search(colours, _MOST_READ).run()
    except SearchTooLong:
        m, n = colours.shape
        said = f"the search for the automorphisms of {m} x {n} colours was given up after {_MOST_READ:.0e} entries read"
    if backend == "own":
        raise ConfigError(f'{said}; try backend="auto" with pip install "msr[discover]", which brings another engine')
    if importlib.util.find_spec("canonaut") is None:
        raise MissingExtraError(f'{said}; pip install "msr[discover]" brings an engine for hard cases, taken by itself')
    return _by_canonaut(colours)


def _by_canonaut(colours: Indices) -> tuple[Indices, int]:
    """Colours in binary, a layer of points for each digit, with each point tied to itself in the layer above."""
    try:
        raw = importlib.import_module("canonaut").raw
    except ModuleNotFoundError as error:
        if error.name != "canonaut":
            raise
        raise MissingExtraError('canonaut is not installed; pip install "msr[discover]", or backend="own"') from None
    m, n = colours.shape
    size, layers = m + n, max(1, int(colours.max()).bit_length())
    every = np.arange(size)
    edges = [np.stack([layer * size + every - size, layer * size + every], 1) for layer in range(1, layers)]
    for layer in range(layers):
        rows, columns = np.nonzero((colours >> layer) & 1)
        edges.append(layer * size + np.stack([columns, n + rows], 1))
    paint = np.repeat(np.arange(2 * layers), [n, m] * layers)
    pairs = [(int(a), int(b)) for a, b in np.concatenate(edges)]
    found = raw.canonize(layers * size, pairs, colors=paint.tolist(), generators=True)
    moves = np.asarray([g[:size] for g in found.generators], dtype=np.int64).reshape(-1, size)
    # Its order is rounded to a float and a power of ten; the generators give it exactly.
    about = int(found.group_size1 * 2.0**40) * 10**found.group_size2 >> 40
    return moves, Chain(moves, about=about).order if len(moves) else 1
