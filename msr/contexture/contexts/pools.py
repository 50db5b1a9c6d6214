"""Contexts on a pool of points in space: a point's context is a point of the pool that lies near."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from msr.contexture.contexts.base import SCALE, Matrix, element_chances, float_matrix
from msr.contexture.contexts.tables import TableContext
from msr.errors import ConfigError, DataError, ShapeError
from msr.memory import refuse_if_larger
from msr.representations import Representation

__all__ = ["PoolContext", "median_square"]

_CHUNK = 2**24  # distances that are computed at a time: 128 MB of float64
_MEDIAN = 2000  # points whose distances tell the median
_MOST_ELEMENTS = 10_000  # of a group that moves the points; each costs a table
_AUTOMATIC = 4.0  # the width of an automatic RBF context, in inverse medians of squared distances


class PoolContext(TableContext):
    """A context of a finite variable ``A`` that is a point of a pool, and can be asked about new points too.

    Args:
        pool: ``(m, p)``, the points that ``A`` can be.
        rows: gives ``P(a|x)``, ``(new, m)``, for points ``(new, p)``.
        points: ``(n, p)``, the points of the context; by default those of the pool.
        weights: ``P(x)``, ``(n,)``; by default all points weigh the same.

    Attributes:
        pool: ``(m, p)`` float64.

    Raises: as :class:`TableContext`.
    """

    pool: Tensor

    def __init__(
        self, pool: Any, rows: Callable[[Tensor], Matrix], points: Any = None, weights: Any = None, name: str = "pool"
    ):
        at = _points(pool, f"{name}: the pool")
        inputs = at if points is None else _points(points, f"{name}: the points")
        if inputs.shape[1] != at.shape[1]:
            raise ShapeError(f"{name}: points have {inputs.shape[1]} numbers each, and those of the pool {at.shape[1]}")
        super().__init__(rows(inputs), weights, name, of_points=points is None)
        self.__dict__.update(pool=at, _rows=rows, _points=None if points is None else inputs)

    @classmethod
    def rbf(
        cls, points: Any, gamma: float | None = None, weights: Any = None, name: str | None = None
    ) -> "PoolContext":
        """``P(a|x) ∝ exp(−γ ‖x − a‖²)`` over the points themselves, ``(n, p)``.

        ``gamma``: by default 4 over the median of the squared distances between points.
        Raises: ShapeError, NonFiniteError; ConfigError for a ``gamma`` that is not above 0; DataError where all points
        are the same and there is no default, or where the table does not fit into memory.
        """
        name = name or "rbf"
        pool = _points(points, f"{name}: the points")
        if gamma is None:
            gamma = _AUTOMATIC / median_square(pool)
        if not 0 < gamma < np.inf:
            raise ConfigError(f"{name}: gamma must be above 0; got {gamma}")
        refuse_if_larger(3 * 8.0 * len(pool) ** 2, f"an RBF context of {len(pool)} points", advice="take neighbours")
        return cls(pool, _Bell(pool, float(gamma)), weights=weights, name=name)

    @classmethod
    def neighbours(cls, points: Any, k: int, weights: Any = None, name: str | None = None) -> "PoolContext":
        """``P(a|x) = 1/k`` on the ``k`` points of the pool nearest to ``x``, among them a point of the pool itself.

        Of points at the same distance the first are taken: where points come twice, a later copy may be no neighbour of
        its own. The table is sparse. It is not symmetric: a point may be nobody's neighbour but its own.
        Raises: ShapeError, NonFiniteError; ConfigError unless ``k`` is from 1 to the number of points.
        """
        name = name or f"{k} neighbours"
        pool = _points(points, f"{name}: the points")
        if not isinstance(k, (int, np.integer)) or not 1 <= k <= len(pool):
            raise ConfigError(f"{name}: k must be a whole number from 1 to the number of points, {len(pool)}; got {k}")

        return cls(pool, _Nearest(pool, k), weights=weights, name=name)

    @classmethod
    def masked(
        cls,
        points: Any,
        hidden: float,
        *,
        masks: int = 8,
        gamma: float | None = None,
        seed: int = 0,
        weights: Any = None,
        name: str | None = None,
    ) -> "PoolContext":
        """Some numbers of a point are hidden: ``A`` says which were kept, and a point of the pool that is near in them.

        One of ``masks`` random masks is drawn, each of which hides every number with the chance ``hidden`` (and keeps
        at least one), and then a point by :meth:`rbf` on the kept numbers. It is the convex mixture of these contexts.
        Numbers that are the same at all points are hidden always. ``pool`` holds the points once for each mask.
        Raises: ShapeError, NonFiniteError; ConfigError unless ``hidden`` is from 0 to below 1 and ``masks`` is at least
        1; DataError as :meth:`rbf`, for a mask whose kept numbers are all the same.
        """
        name = name or f"mask {hidden:g}"
        pool = _points(points, f"{name}: the points")
        if not 0 <= hidden < 1 or masks < 1:
            raise ConfigError(f"{name}: hidden must be from 0 to below 1 and masks at least 1; got {hidden}, {masks}")
        varying = torch.nonzero((pool != pool[0]).any(dim=0)).flatten()
        if not len(varying):
            raise DataError(f"{name}: all points are the same")
        masks_of = _masks(len(varying), hidden, masks, torch.Generator().manual_seed(seed))
        kept = tuple(varying[mask] for mask in masks_of)
        refuse_if_larger(3 * 8.0 * masks * len(pool) ** 2, f"{masks} masked contexts of {len(pool)} points")
        widths = [_AUTOMATIC / median_square(pool[:, mask]) if gamma is None else gamma for mask in kept]
        parts = tuple(_Bell(pool[:, mask], width) for mask, width in zip(kept, widths, strict=True))
        return cls(pool.repeat(masks, 1), _Masked(parts, kept), pool, weights, name)

    def moved(self, representation: Representation, elements: Any = None, name: str | None = None) -> "PoolContext":
        """A random element of a group moves the point, then this context is drawn: ``P(a|x) = Σ_g w(g) P(a|g x)``.

        The group alone says nothing about points in space, none of which lies on the orbit of another.
        ``elements (order,)`` are the probabilities of the elements, by default equal.
        Raises: ShapeError for a representation of another dimension; ShapeError, DataError for the probabilities.
        """
        name = name or f"{representation.group.name} * {self.name}"
        if representation.dim != self.pool.shape[1]:
            raise ShapeError(
                f"{name}: {representation.name} acts on {representation.dim} numbers, and points have "
                f"{self.pool.shape[1]}"
            )
        order = len(representation.group.elements)
        if order > _MOST_ELEMENTS:
            raise ConfigError(f"{name}: each of {order} elements makes a table, and {_MOST_ELEMENTS} is the most")
        chances = element_chances(elements, order, name)
        rows = _Moved(self.__dict__["_rows"], representation, chances)
        return PoolContext(self.pool, rows, self.__dict__["_points"], self.weights, name)

    def conditional_rows(self, points: Any) -> Matrix:
        """``P(a|x)`` for new points ``(new, p)``: ``(new, m)``. Raises: ShapeError, NonFiniteError, DataError."""
        new = _points(points, f"{self.name}: the points")
        if new.shape[1] != self.pool.shape[1]:
            raise ShapeError(f"{self.name}: points of {self.pool.shape[1]} numbers are needed; got {new.shape[1]}")
        rows = self.__dict__["_rows"](new)
        off = np.abs(np.asarray(rows.sum(axis=1)).ravel() - 1)
        if not (off <= SCALE).all():  # a nan is refused too
            first = int(np.argmin(off <= SCALE))
            raise DataError(
                f"{self.name}: the probabilities of new point {first} miss the sum 1 by {off[first]:.3g}; "
                "is it far from all others?"
            )
        return rows


@dataclass(frozen=True)
class _Bell:
    """``P(a|x) ∝ exp(−γ ‖x − a‖²)`` on a pool. These are classes, and no closures, so that contexts can be pickled."""

    pool: Tensor
    gamma: float

    def __call__(self, new: Tensor) -> Matrix:
        table = np.empty((len(new), len(self.pool)))
        step = max(1, _CHUNK // len(self.pool))
        for start in range(0, len(new), step):
            part = new[start : start + step]
            squares = torch.cdist(part, self.pool, compute_mode="donot_use_mm_for_euclid_dist").square()
            table[start : start + step] = (-self.gamma * squares).softmax(dim=1).numpy()
        return table


@dataclass(frozen=True)
class _Nearest:
    """``P(a|x) = 1/k`` on the ``k`` points of a pool nearest to ``x``."""

    pool: Tensor
    k: int

    def __call__(self, new: Tensor) -> Matrix:
        m = len(self.pool)
        near = np.concatenate([_nearest(part, self.pool, self.k) for part in new.split(max(1, _CHUNK // m))])
        starts = np.arange(0, self.k * len(new) + 1, self.k)
        return csr_matrix((np.full(near.size, 1 / self.k), near.ravel(), starts), shape=(len(new), m))


@dataclass(frozen=True)
class _Masked:
    """One of several contexts, each on the columns that it keeps."""

    parts: tuple[_Bell, ...]
    kept: tuple[Tensor, ...]

    def __call__(self, new: Tensor) -> Matrix:
        tables = [part(new[:, mask]) for part, mask in zip(self.parts, self.kept, strict=True)]
        return np.concatenate(tables, axis=1) / len(tables)


@dataclass(frozen=True)
class _Moved:
    """A context of the point that a random element of a group makes of ``x``."""

    rows: Callable[[Tensor], Matrix]
    representation: Representation
    chances: NDArray[np.float64]

    def __call__(self, new: Tensor) -> Matrix:
        total: Any = None
        # Added up one by one, so that only two tables are in memory.
        for element in np.flatnonzero(self.chances):
            part = self.chances[element] * self.rows(self.representation.act_flat(int(element), new))
            total = part if total is None else total + part
        return total


def median_square(points: Tensor) -> float:
    """The median of the squared distances between points that differ, among at most 2,000 drawn by a fixed seed.

    Shapes: ``points (n, p)``. Raises: DataError where all points are the same.
    """
    chosen = points
    if len(points) > _MEDIAN:
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
        chosen = points[order[:_MEDIAN]]
    squares = torch.pdist(chosen).square()
    apart = squares[squares > 0]
    if not len(apart):
        raise DataError("all points are the same, so that no scale can be read off their distances; give gamma")
    return float(apart.median())


def _points(points: Any, name: str) -> Tensor:
    """Points ``(n, p)`` as float64. Raises: ShapeError, NonFiniteError."""
    return torch.from_numpy(np.asarray(float_matrix(points, name)))


def _masks(columns: int, hidden: float, count: int, generator: torch.Generator) -> list[Tensor]:
    """Random sets of columns that are kept, at least one in each."""
    kept = []
    for _ in range(count):
        chances = torch.rand(columns, generator=generator)
        mask = torch.nonzero(chances >= hidden).flatten()
        kept.append(mask if len(mask) else chances.argmax()[None])
    return kept


def _nearest(new: Tensor, pool: Tensor, k: int) -> np.ndarray:
    """The numbers of the ``k`` nearest points of the pool, ``(new, k)``; of equal distances the first."""
    if k == len(pool):
        return np.broadcast_to(np.arange(k), (len(new), k))
    # Squares of numbers far from 1 are no numbers, and who is nearest does not depend on the unit.
    unit = max(float(pool.abs().max()), float(new.abs().max())) or 1.0
    if not 1e-100 < unit < 1e100:
        new, pool = new / unit, pool / unit
    distances = torch.cdist(new, pool, compute_mode="donot_use_mm_for_euclid_dist")
    least, places = distances.topk(k + 1, largest=False)
    nearest = places[:, :k].sort().values.numpy()
    # Where the next distance is the same, which of the points were chosen is left to chance.
    tied = np.flatnonzero((least[:, k - 1] == least[:, k]).numpy())
    if len(tied):
        nearest[tied] = _first_of_equal(distances[torch.from_numpy(tied)].numpy(), k)
    return nearest


def _first_of_equal(distances: np.ndarray, k: int) -> np.ndarray:
    """The places of the ``k`` least distances in each row ``(new, m)``; of equal ones the first."""
    bound = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    nearer = distances < bound
    at = distances == bound
    wanted = k - nearer.sum(axis=1, keepdims=True)
    chosen = nearer | (at & (np.cumsum(at, axis=1) <= wanted))
    return np.nonzero(chosen)[1].reshape(len(distances), k)
