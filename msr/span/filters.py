"""Least squares of every task's filter at once, from the moments of the tasks."""

import torch
from torch import Tensor

from msr.span.moments import Moments, triangle_places
from msr.span.thresholds import THRESHOLDS

__all__ = ["Filters", "second_moment"]

_BATCH_NUMBERS = 2**18  # of normal equations that are solved at once: 2 MiB in float64


class Filters:
    """Least squares of each task's filter ``v`` for one span: ``(Uᵀ(I ⊗ XᵀX)U) v = Uᵀ vec(YᵀX)``.

    Shapes: ``span (m n, k)``, the ``U`` above.
    """

    def __init__(self, span: Tensor, m: int, n: int):
        self.span = span
        self.k = span.shape[1]
        # Uᵀ(I ⊗ XᵀX)U is linear in XᵀX: (a, b) ↦ Σ_ij (XᵀX)_ij Σ_r U_ria U_rjb. The inner sums do not depend on the
        # task and are made once.
        rows = span.reshape(m, n * self.k)
        products = (rows.mT @ rows).view(n, self.k, n, self.k)
        # They are symmetric in (i, j) after adding the transpose, and in (a, b): a quarter of them is enough.
        upper = torch.triu_indices(n, n)
        pairs = torch.triu_indices(self.k, self.k)
        both = products[upper[0], :, upper[1]] + products[upper[1], :, upper[0]]
        once_on_the_diagonal = torch.where(upper[0] == upper[1], 0.5, 1.0).double()
        packed = both.flatten(1).index_select(1, pairs[0] * self.k + pairs[1])
        self._products = packed.mul_(once_on_the_diagonal[:, None])
        self._places = triangle_places(self.k).flatten()

    def fit(self, moments: Moments, damping: float | None = None) -> tuple[Tensor, float]:
        """Each task's filter ``(tasks, k)``, and the squared residual ``Σ ‖Y − X Wᵀ‖²`` that all these filters leave.

        ``damping`` is relative to the mean of the diagonal of the normal equations; by default it is
        ``least_damping``, which only makes them solvable.
        """
        damping = THRESHOLDS().least_damping if damping is None else damping
        filters = moments.cross.new_empty(len(moments.cross), self.k)
        residuals = torch.empty_like(moments.energy)
        for batch in self._batches(len(filters)):
            part = moments.select(batch)
            normal = self._normal(part)
            right = part.cross @ self.span
            v = torch.cholesky_solve(right.unsqueeze(2), _factor(normal, damping)).squeeze(2)
            # ‖Y − X Wᵀ‖² = ‖Y‖² − 2 vᵀ b + vᵀ A v, which holds for any v; damping has moved v off the minimum.
            curvature = ((normal @ v.unsqueeze(2)).squeeze(2) * v).sum(1)
            residuals[batch] = part.energy - 2 * (right * v).sum(1) + curvature
            filters[batch] = v
        # Rounding can make the residual of a perfect fit negative.
        return filters, float(residuals.clamp_min(0).sum())

    def damped(self, moments: Moments, damping: float | None = None) -> tuple[Tensor, Tensor]:
        """Damped fits ``(tasks, k)``, and ``Σ (A + c I)⁻¹ A (k, k)`` over tasks, with ``A v = b`` the normal equations.

        The matrix, over the number of tasks, is the part of a filter that a damped fit keeps on average.

        ``damping`` is relative to the mean of the diagonal of ``A``; by default it is ``most_damping``.
        """
        damping = THRESHOLDS().most_damping if damping is None else damping
        filters = moments.cross.new_empty(len(moments.cross), self.k)
        kept = filters.new_zeros(self.k, self.k)
        for batch in self._batches(len(filters)):
            part = moments.select(batch)
            normal = self._normal(part)
            right = torch.cat([(part.cross @ self.span).unsqueeze(2), normal], 2)
            solved = torch.cholesky_solve(right, _factor(normal, damping))
            filters[batch] = solved[:, :, 0]
            # The columns after the first are the damped solution for each column of A: what is found of each true
            # filter.
            kept += solved[:, :, 1:].sum(0)
        return filters, kept

    def _batches(self, count: int) -> list[slice]:
        """Slices that cover ``count`` tasks, few at a time: a task's equations may be far larger than its moments."""
        size = max(1, _BATCH_NUMBERS // self.k**2)
        return [slice(first, min(first + size, count)) for first in range(0, count, size)]

    def _normal(self, moments: Moments) -> Tensor:
        """``Uᵀ(I ⊗ XᵀX)U`` of each task, ``(tasks, k, k)``."""
        return (moments.gram @ self._products).index_select(1, self._places).view(-1, self.k, self.k)


def _factor(normal: Tensor, damping: float) -> Tensor:
    """Cholesky factors ``(tasks, k, k)`` of ``A + c I``; ``c`` is ``damping`` times the mean diagonal of ``A``."""
    scale = damping * normal.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(normal.dtype).tiny)
    damped = normal.clone()
    damped.diagonal(dim1=1, dim2=2).add_(scale[:, None])
    return torch.linalg.cholesky(damped)


def second_moment(a: Tensor, b: Tensor) -> Tensor:
    """An estimate of ``E[v vᵀ] (k, k)`` that noise does not bias, from filters ``(tasks, k)`` of two halves.

    The errors of the two halves are independent, so their products have mean zero. The estimate is symmetric, but noise
    may give it negative eigenvalues.
    """
    products = a.mT @ b
    return (products + products.mT) / (2 * len(a))
