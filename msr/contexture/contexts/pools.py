"""Contexts on a pool of points in space: a point's context is a point of the pool that lies near."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from msr.contexture.contexts.base import Matrix, float_matrix
from msr.contexture.contexts.tables import TableContext
from msr.errors import ConfigError, DataError, ShapeError
from msr.memory import refuse_if_larger

__all__ = ["PoolContext", "median_square"]

_CHUNK = 2**24  # distances that are computed at a time: 128 MB of float64
_MEDIAN = 2000  # points whose distances tell the median
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
        super().__init__(rows(inputs), weights, name)
        self.__dict__.update(pool=at, _rows=rows)

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
        width = gamma

        def rows(new: Tensor) -> Matrix:
            logits = -width * torch.cdist(new, pool, compute_mode="donot_use_mm_for_euclid_dist").square()
            return logits.softmax(dim=1).numpy()

        return cls(pool, rows, weights=weights, name=name)

    @classmethod
    def neighbours(cls, points: Any, k: int, weights: Any = None, name: str | None = None) -> "PoolContext":
        """``P(a|x) = 1/k`` on the ``k`` points of the pool nearest to ``x``, among them a point of the pool itself.

        Of points at the same distance the first are taken. The table is sparse. It is not symmetric: a point may be
        nobody's neighbour but its own.
        Raises: ShapeError, NonFiniteError; ConfigError unless ``k`` is from 1 to the number of points.
        """
        name = name or f"{k} neighbours"
        pool = _points(points, f"{name}: the points")
        if not 1 <= k <= len(pool):
            raise ConfigError(f"{name}: k must be from 1 to the number of points, {len(pool)}; got {k}")

        def rows(new: Tensor) -> Matrix:
            near = np.concatenate([_nearest(part, pool, k) for part in new.split(max(1, _CHUNK // len(pool)))])
            starts = np.arange(0, k * len(new) + 1, k)
            return csr_matrix((np.full(near.size, 1 / k), near.ravel(), starts), shape=(len(new), len(pool)))

        return cls(pool, rows, weights=weights, name=name)

    def conditional_rows(self, points: Any) -> Matrix:
        """``P(a|x)`` for new points ``(new, p)``: ``(new, m)``. Raises: ShapeError, NonFiniteError."""
        new = _points(points, f"{self.name}: the points")
        if new.shape[1] != self.pool.shape[1]:
            raise ShapeError(f"{self.name}: points of {self.pool.shape[1]} numbers are needed; got {new.shape[1]}")
        return self.__dict__["_rows"](new)


def median_square(points: Tensor) -> float:
    """The median of the squared distances between two different points of the first 2,000, drawn by a fixed seed.

    Raises: DataError where it is 0: most points are the same.
    """
    chosen = points
    if len(points) > _MEDIAN:
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
        chosen = points[order[:_MEDIAN]]
    squares = torch.pdist(chosen).square()
    median = float(squares.median()) if len(squares) else 0.0
    if median == 0:
        raise DataError("most points are the same, so that no scale can be read off their distances; give gamma")
    return median


def _points(points: Any, name: str) -> Tensor:
    """Points ``(n, p)`` as float64. Raises: ShapeError, NonFiniteError."""
    return torch.from_numpy(np.asarray(float_matrix(points, name)))


def _nearest(new: Tensor, pool: Tensor, k: int) -> np.ndarray:
    """The numbers of the ``k`` nearest points of the pool, ``(new, k)``; of equal distances the first."""
    squares = torch.cdist(new, pool, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    if k == len(pool):
        return np.broadcast_to(np.arange(k), (len(new), k))
    # All that lie nearer than the k-th distance, and of those at it the first: a partition alone would leave them to
    # chance.
    bound = np.partition(squares, k - 1, axis=1)[:, k - 1 : k]
    nearer = squares < bound
    at = squares == bound
    wanted = k - nearer.sum(axis=1, keepdims=True)
    chosen = nearer | (at & (np.cumsum(at, axis=1) <= wanted))
    return np.nonzero(chosen)[1].reshape(len(new), k)
