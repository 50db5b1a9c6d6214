"""From a fitted span to colourings of the weights: which ones are one and the same, at several levels."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage, maxdists
from torch import Tensor

from msr.errors import ConfigError
from msr.permutations.actions import Indices

__all__ = ["MAX_WEIGHTS", "NOISE", "Colouring", "Rows", "aligned", "colourings", "parted", "rows_of"]

MAX_WEIGHTS = 12_000
"""Most weights of a layer that are clustered: their distances take 0.6 GB then."""

# Means up to this many errors of a row apart are what noise makes: two rows of one class differ by √2 errors, seldom by
# 3, and the means of two halves of a class by less.
NOISE = 4.0
_FLOOR = 1e-4  # of the size of a row: what float32 data tell apart
# A weight this many errors from the mean of its class differs from it, and never less than this share of its size.
_FURTHEST = 5.0
_EXACT = 3e-4
_LEVELS = 8
_RATIO = 1.3  # a step between two heights that is worth a look


@dataclass(frozen=True, eq=False)
class Rows:
    """A row for each weight, ``(out · in, k)``, with ``r_e · r_f = E[W_e W_f]`` over tasks, so no gauge is left.

    ``errors``: how far each row is from the truth, ``(out · in,)``, root mean square.
    """

    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def error(self) -> float:
        """Root mean square over all rows."""
        return float(np.sqrt((self.errors**2).mean()))

    @property
    def size(self) -> float:
        """Root mean square of a row."""
        return float(np.sqrt((self.values**2).sum(1).mean()))

    def relative_error(self, of: NDArray[np.bool_] | slice = slice(None)) -> float:
        """Of these rows together; infinite where they are zero, and 0 where there is none."""
        wrong, size = (self.errors[of] ** 2).sum(), (self.values[of] ** 2).sum()
        return float(np.sqrt(wrong / size)) if size > 0 else math.inf if wrong > 0 else 0.0

    def constant_on(self, orbits: Indices) -> bool:
        """Whether no row is further from the mean of its orbit than errors bring it."""
        mean = self.averaged(orbits)
        away, error = np.linalg.norm(self.values - mean.values, axis=1), np.hypot(self.errors, mean.errors)
        return bool((away <= np.maximum(_FURTHEST * error, _EXACT * self.size)).all())

    def averaged(self, orbits: Indices) -> "Rows":
        """Each row replaced by the mean over its orbit, whose error is smaller by the root of the orbit's size."""
        counts = np.bincount(orbits).astype(float)
        sums = np.zeros((len(counts), self.values.shape[1]))
        np.add.at(sums, orbits, self.values)
        errors = np.sqrt(np.bincount(orbits, weights=self.errors**2)) / counts
        return Rows((sums / counts[:, None])[orbits], errors[orbits], self.shape)


@dataclass(frozen=True, eq=False)
class Colouring:
    """Classes of weights ``(out, in)``, and the gap around them.

    Attributes:
        within, above: the distance of the means in the last merge inside the classes and in the first between them.
    """

    colours: Indices
    n_colours: int
    within: float
    above: float


def parted(cut: Colouring, labels: Indices) -> Colouring:
    """The classes with those of different labels told apart."""
    colours = np.unique(cut.colours * (int(labels.max()) + 1) + labels, return_inverse=True)[1].reshape(labels.shape)
    return replace(cut, colours=colours, n_colours=int(colours.max()) + 1)


def rows_of(U: Tensor, v0: Tensor) -> NDArray[np.float64]:
    """``U L`` with ``L Lᵀ = I + v0 v0ᵀ``, the second moment of the tasks' filters."""
    k = U.shape[1]
    second = torch.eye(k, dtype=torch.float64) + torch.outer(v0, v0)
    return (U.double() @ torch.linalg.cholesky(second)).numpy()


def aligned(rows: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows in the gauge that brings them nearest, by least squares.

    Any matrix may do it, not an orthogonal one alone: two sets of tasks differ by chance in how much they use each
    direction, which is no error of the span.
    """
    return rows @ np.linalg.lstsq(rows, to, rcond=None)[0]


def colourings(rows: Rows) -> list[Colouring]:
    """Ward's clustering of the rows, cut where the heights jump, finest first; always with the cut at the noise.

    Single linkage would chain through noise: on the same rows it finds half as often.
    Raises: ConfigError for more weights than can be clustered.
    """
    if len(rows.values) > MAX_WEIGHTS:
        raise ConfigError(f"a layer of {len(rows.values)} weights is too large to cluster; at most {MAX_WEIGHTS}")
    if len(rows.values) == 1:
        return [Colouring(np.zeros(rows.shape, dtype=np.int64), 1, 0.0, np.inf)]
    tree = linkage(rows.values, "ward")
    # Ward's height is √(2ab/(a+b)) times the distance between the means of two classes of a and b rows. That distance
    # does not grow with the classes, so it can be held against the error of a row.
    sizes = np.concatenate([np.ones(len(rows.values)), tree[:, 3]])
    a, b = (sizes[tree[:, i].astype(int)] for i in (0, 1))
    steps = tree.copy()
    steps[:, 2] = tree[:, 2] / np.sqrt(2 * a * b / (a + b))
    largest = maxdists(steps)  # in the subtree below each merge
    bounds = np.concatenate([[0.0], np.sort(largest), [np.inf]])
    floor = max(NOISE * rows.error, _FLOOR * rows.size)
    # Between two merges the classes are the same; a cut lies in the widest gaps, measured against the noise.
    low, high = np.maximum(bounds[:-1], floor), bounds[1:]
    ratios = high / low
    gaps = np.flatnonzero((ratios >= _RATIO) & (high > floor))
    noise = int(np.searchsorted(bounds[1:], floor, side="right"))
    chosen = sorted({noise, *gaps[np.argsort(ratios[gaps])[::-1]][:_LEVELS].tolist()})
    found = []
    for merges in chosen:
        labels = fcluster(tree, bounds[merges], "monocrit", monocrit=largest)
        colours = np.unique(labels, return_inverse=True)[1].reshape(rows.shape)
        found.append(Colouring(colours, int(colours.max()) + 1, float(bounds[merges]), float(bounds[merges + 1])))
    return found
