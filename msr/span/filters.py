"""Least squares of every task's filter at once, from moments."""

import torch
from torch import Tensor

from msr.span.moments import Moments

__all__ = ["EXACT", "DAMPING", "Filters", "covered", "extrapolated", "places"]

# Of fits to half of a task's examples, relative to the mean of the diagonal: the most and the least.
DAMPING = 1e-3
EXACT = 1e-10
_EQUATIONS = 2**18  # numbers of normal equations that are solved at once
# A task's inputs miss no direction when it has so many examples for each input, and their squared size is in every
# direction at least this share of the mean (Gaussian inputs of so many examples reach 0.011).
_EXAMPLES_AN_INPUT = 1.25
_LEAST_REACH = 0.005


class Filters:
    """Least squares of each task's filter for one span: ``(Uᵀ(I ⊗ XᵀX)U) v = Uᵀ vec(YᵀX)``."""

    def __init__(self, span: Tensor, m: int, n: int):
        self.span, self.k = span, span.shape[1]
        rows = span.reshape(m, n * self.k)
        products = (rows.mT @ rows).view(n, self.k, n, self.k).transpose(1, 2)
        products = products + products.transpose(0, 1)
        above, pairs = torch.triu_indices(n, n), torch.triu_indices(self.k, self.k)
        twice = torch.where(above[0] == above[1], 0.5, 1.0).double()
        # Symmetric on both sides, so a quarter of the products is enough.
        packed = products[above[0], above[1]] * twice[:, None, None]
        self._products = packed[:, pairs[0], pairs[1]]
        self._places = places(self.k).flatten()

    def fit(self, moments: Moments, damping: float = EXACT) -> tuple[Tensor, float]:
        """Filters ``(tasks, k)`` and ``Σ ‖Y − fit‖²``; ``damping`` is relative to the mean of the diagonal."""
        found, lost = moments.cross.new_empty(len(moments.cross), self.k), torch.empty_like(moments.energy)
        for part in self._some(len(found)):
            some = moments.select(part)
            normal, right = self._normal(some), some.cross @ self.span
            v = torch.cholesky_solve(right.unsqueeze(2), _factor(normal, damping)).squeeze(2)
            lost[part] = some.energy - 2 * (right * v).sum(1) + ((normal @ v.unsqueeze(2)).squeeze(2) * v).sum(1)
            found[part] = v
        return found, float(lost.clamp_min(0).sum())

    def damped(self, moments: Moments, damping: float = DAMPING) -> tuple[Tensor, Tensor]:
        """Damped fits, and the sum over tasks of the part of a filter that they find, ``(k, k)``."""
        found = moments.cross.new_empty(len(moments.cross), self.k)
        kept = found.new_zeros(self.k, self.k)
        for part in self._some(len(found)):
            some = moments.select(part)
            normal = self._normal(some)
            right = torch.cat([(some.cross @ self.span).unsqueeze(2), normal], 2)
            solved = torch.cholesky_solve(right, _factor(normal, damping))
            found[part] = solved[:, :, 0]
            kept += solved[:, :, 1:].sum(0)
        return found, kept

    def _some(self, count: int) -> list[slice]:
        """Some tasks at a time, since the equations of one may be many times its moments."""
        size = max(1, _EQUATIONS // self.k**2)
        return [slice(first, min(first + size, count)) for first in range(0, count, size)]

    def _normal(self, moments: Moments) -> Tensor:
        return (moments.gram @ self._products)[:, self._places].view(-1, self.k, self.k)


def _factor(normal: Tensor, damping: float) -> Tensor:
    scale = damping * normal.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(normal.dtype).tiny)
    eye = torch.eye(normal.shape[1], dtype=normal.dtype)
    return torch.linalg.cholesky(normal + scale[:, None, None] * eye)


def covered(halves: Moments, m: int, n: int) -> Tensor:
    """Which tasks have inputs in every direction, ``(tasks,)``, by the moments of both halves of their examples."""
    enough = halves.numbers.sum(1) >= _EXAMPLES_AN_INPUT * m * n
    if enough.any():
        gram = halves.gram[enough].sum(1)[:, places(n)]
        least = _LEAST_REACH * gram.diagonal(dim1=1, dim2=2).mean(1)
        shifted = gram - least[:, None, None] * torch.eye(n, dtype=gram.dtype)
        enough[enough.clone()] = torch.linalg.cholesky_ex(shifted).info == 0
    return enough


def places(size: int) -> Tensor:
    """Where the pair ``(i, j)`` lies among the pairs with ``i ≤ j``, ``(size, size)``."""
    places = torch.zeros(size, size, dtype=torch.long)
    above = torch.triu_indices(size, size)
    places[above[0], above[1]] = torch.arange(above.shape[1])
    return places + places.triu(1).mT


def extrapolated(history: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Anderson's next iterate, ``Σ αᵢ (xᵢ + fᵢ)`` from points and their steps, ``Σ αᵢ = 1`` and ``‖Σ αᵢ fᵢ‖`` least.

    Alternating least squares on noise-free tasks of few examples loses 0.6 of its error an iteration; with the last
    five looked at it needs half as many. The gauge of a span stays as it is in an iteration, so spans can be added.
    Source: Anderson, 1965; Walker and Ni, 2011.
    """
    steps = torch.stack([step.flatten() for _, step in history])
    gram = steps @ steps.mT
    size, eye = gram.diagonal().mean(), torch.eye(len(gram), dtype=gram.dtype)
    if size == 0:  # nothing moves any more
        return history[-1][0]
    weights = torch.linalg.solve(gram / size + 1e-12 * eye, torch.ones(len(gram), dtype=gram.dtype))
    weights = weights / weights.sum()
    return sum((w * (point + step) for w, (point, step) in zip(weights, history, strict=True)), torch.zeros(()))
