"""From the rows of a learned pattern to classes of equal weights: several cuts of one hierarchical clustering."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage, maxdists
from torch import Tensor

from msr.discovery.thresholds import THRESHOLDS
from msr.errors import ConfigError
from msr.permutations import Indices, orbit_mean_errors, reynolds_operator

__all__ = ["MAX_WEIGHTS", "Colouring", "Rows", "aligned", "colourings", "noise_floor", "parted", "rows_of"]

MAX_WEIGHTS = 12_000
"""Largest number of weights that is clustered. A limit of memory: the distances of all pairs take 0.6 GB then."""


@dataclass(frozen=True, eq=False)
class Rows:
    """A row of numbers for each weight of a layer, with the row's error.

    Rows ``r_e`` and ``r_f`` of two weights satisfy ``r_e · r_f = E[W_e W_f]`` over tasks. So two weights that are equal
    in every task have equal rows, and lengths and distances of rows do not depend on the basis chosen for the span.

    Attributes:
        values: ``(out · in, k)``, row-major over ``(out, in)``.
        errors: ``(out · in,)``, estimated root-mean-square distance of each row from its true value.
        shape: ``(out, in)``.
    """

    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def error(self) -> float:
        """Error of a row, root mean square over all rows."""
        return float(np.sqrt((self.errors**2).mean()))

    @property
    def size(self) -> float:
        """Length of a row, root mean square over all rows."""
        return float(np.sqrt((self.values**2).sum(1).mean()))

    def relative_error(self, of: NDArray[np.bool_] | slice = slice(None)) -> float:
        """Root sum of squares of the errors of the rows ``of (out · in,)``, over that of their lengths; no unit.

        It is infinite where these rows are zero but have an error, and 0 where no row is selected.
        """
        squared_error = (self.errors[of] ** 2).sum()
        squared_size = (self.values[of] ** 2).sum()
        if squared_size > 0:
            return float(np.sqrt(squared_error / squared_size))
        return math.inf if squared_error > 0 else 0.0

    def constant_on(self, orbitals: Indices) -> bool:
        """Whether every row equals the mean of its orbital, up to five standard errors of both (``orbit_errors``).

        A distance of less than ``orbit_distance`` of the typical length of a row is no difference. ``orbitals`` is
        ``(out · in,)``.
        """
        limits = THRESHOLDS()
        mean = self.averaged(orbitals)
        distance = np.linalg.norm(self.values - mean.values, axis=1)
        error = np.hypot(self.errors, mean.errors)
        allowed = np.maximum(limits.orbit_errors * error, limits.orbit_distance * self.size)
        return bool((distance <= allowed).all())

    def averaged(self, orbitals: Indices) -> "Rows":
        """The rows, each replaced by the mean over its orbital (Reynolds operator), with the errors of the means.

        The error of a mean of ``s`` independent rows is smaller by ``√s``.
        """
        values = reynolds_operator(torch.from_numpy(self.values), orbitals).numpy()
        return Rows(values, orbit_mean_errors(self.errors, orbitals), self.shape)


@dataclass(frozen=True, eq=False)
class Colouring:
    """Classes of weights, and how clearly they are separated.

    Attributes:
        colours: ``(out, in)``, the class of each weight, numbered from 0; there are ``n_colours`` classes.
        within: distance of the two means that the last merge inside a class joined, in the units of the rows; 0 where
            nothing was merged.
        above: distance of the two means that the first merge between classes would join, likewise; infinite where
            nothing is left to merge.
    """

    colours: Indices
    n_colours: int
    within: float
    above: float


def parted(cut: Colouring, labels: Indices) -> Colouring:
    """The same classes, except that weights with different ``labels (out, in)`` are never in one class.

    ``within`` and ``above`` stay those of the classes before.
    """
    pairs = cut.colours * (int(labels.max()) + 1) + labels
    colours = np.unique(pairs, return_inverse=True)[1].reshape(labels.shape)
    return replace(cut, colours=colours, n_colours=int(colours.max()) + 1)


def rows_of(U: Tensor, v0: Tensor) -> NDArray[np.float64]:
    """The rows ``U L`` with ``L Lᵀ = I + v0 v0ᵀ``, the second moment of the tasks' filters.

    The fit normalises filters to ``v ~ (v0, I)``, so ``U L Lᵀ Uᵀ = E[W Wᵀ]``, as :class:`Rows` needs.
    """
    k = U.shape[1]
    second_moment = torch.eye(k, dtype=torch.float64) + torch.outer(v0, v0)
    return (U.double() @ torch.linalg.cholesky(second_moment)).numpy()


def aligned(rows: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows ``(weights, k)`` times the matrix ``(k, k)`` that brings them nearest to the rows ``to``: least squares.

    Two fits of one span differ by a change of basis, which is no error. Any matrix is allowed, not only an orthogonal
    one: two sets of tasks also differ by chance in how much they use each direction of the span.
    """
    return rows @ np.linalg.lstsq(rows, to, rcond=None)[0]


def noise_floor(rows: Rows) -> float:
    """Distance of the means of two classes up to which they may be equal, in the units of the rows.

    It is four times the error of a row (``class_noise``), or a share of the length of a row that float32 data cannot
    tell from nothing (``class_distance``), whichever is larger.
    """
    limits = THRESHOLDS()
    return max(limits.class_noise * rows.error, limits.class_distance * rows.size)


def colourings(rows: Rows) -> list[Colouring]:
    """Classes by Ward's clustering of the rows, cut at several heights, finest classes first.

    One cut is always at the level that noise alone reaches (:func:`noise_floor`). The others, ``class_cuts`` (8) at
    most, are at the largest ratios of neighbouring heights above it. Ward's linkage is used because single linkage
    joins different classes through chains of noisy rows: on the same rows it found the right classes half as often.

    Raises: ConfigError for more than :data:`MAX_WEIGHTS` weights.
    """
    if len(rows.values) > MAX_WEIGHTS:
        raise ConfigError(f"a layer of {len(rows.values)} weights is too large to cluster; at most {MAX_WEIGHTS}")
    if len(rows.values) == 1:
        return [Colouring(np.zeros(rows.shape, dtype=np.int64), 1, 0.0, np.inf)]
    limits = THRESHOLDS()
    # The squared distance of two rows is E (W_e − W_f)² over tasks, so the clustering sees the differences of the
    # weights themselves, in whatever basis the span is written.
    tree = linkage(rows.values, "ward")
    # Ward's height is √(2ab/(a+b)) times the distance between the means of two classes of a and b rows. Dividing by
    # that factor leaves the distance, which does not grow with the classes and can be compared with a row's error.
    sizes = np.concatenate([np.ones(len(rows.values)), tree[:, 3]])
    a, b = (sizes[tree[:, i].astype(int)] for i in (0, 1))
    distances = tree.copy()
    distances[:, 2] = tree[:, 2] / np.sqrt(2 * a * b / (a + b))
    # Distances need not grow towards the root, so a cut uses the largest one in the subtree below each merge.
    largest = maxdists(distances)
    bounds = np.concatenate([[0.0], np.sort(largest), [np.inf]])
    floor = noise_floor(rows)
    # Every height between two neighbouring bounds gives the same classes. Gaps below the noise floor do not count.
    low = np.maximum(bounds[:-1], floor)
    high = bounds[1:]
    ratios = high / low
    gaps = np.flatnonzero((ratios >= limits.class_gap) & (high > floor))
    at_noise = int(np.searchsorted(bounds[1:], floor, side="right"))
    widest = gaps[np.argsort(ratios[gaps])[::-1]][: limits.class_cuts]
    cuts = []
    for merges in sorted({at_noise, *widest.tolist()}):
        labels = fcluster(tree, bounds[merges], "monocrit", monocrit=largest)
        colours = np.unique(labels, return_inverse=True)[1].reshape(rows.shape)
        cuts.append(Colouring(colours, int(colours.max()) + 1, float(bounds[merges]), float(bounds[merges + 1])))
    return cuts
