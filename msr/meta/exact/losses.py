"""Losses that have no second derivative in torch, or none under ``vmap``."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import _reduction

__all__ = ["ATEN", "PYTHON"]


def _reduced(loss: Tensor, size_average: bool | None, reduce: bool | None, reduction: str) -> Tensor:
    """The loss of each example, their mean, or their sum, by ``reduction``: ``"none"``, ``"mean"`` or ``"sum"``.

    ``size_average`` and ``reduce`` are torch's older names of that option, which take its place where they are given.
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def _multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``Σ_{j ≠ y} w_y max(0, margin − x_y + x_j)^p / C`` of each example, reduced (:func:`_reduced`); ``y`` is the
    target, ``C`` the number of classes, ``w`` 1 by default.
    """
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    # gather and scatter want an axis for the class.
    index = target.unsqueeze(-1)
    excess = torch.relu(margin - input.gather(-1, index) + input)
    excess = excess if p == 1 else excess.square()
    if weight is not None:
        excess = excess * weight[index]
    others = torch.ones_like(input, dtype=torch.bool).scatter(-1, index, False)
    return _reduced(excess.masked_fill(~others, 0).sum(-1) / input.shape[-1], size_average, reduce, reduction)


def _multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``Σ_{y, i} max(0, 1 − x_y + x_i) / C`` of each example, reduced (:func:`_reduced`).

    ``y`` are the targets, which stand before the first −1, ``i`` all other classes, and ``C`` is the number of classes.
    """
    classes = input.shape[-1]
    # A running product stays 0 after the first negative entry, which ends the list of targets.
    valid = (target >= 0).long().cumprod(-1).bool()
    index = target.clamp(min=0)
    chosen = valid.unsqueeze(-1) & (index.unsqueeze(-1) == torch.arange(classes, device=input.device))
    excess = torch.relu(1 - input.gather(-1, index).unsqueeze(-1) + input.unsqueeze(-2))
    counts = valid.unsqueeze(-1) & ~chosen.any(-2, keepdim=True)
    return _reduced(excess.masked_fill(~counts, 0).sum((-2, -1)) / classes, size_average, reduce, reduction)


def _gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """``½ (log var + (input − target)² / var)``, with ``var`` at least ``eps``; with ``full``, plus ``½ log 2π``;
    ``reduction`` as in :func:`_reduced`.

    A negative variance is an error. Under ``vmap`` values cannot be read, so there the loss is nan instead.
    """
    var = torch.as_tensor(var, dtype=input.dtype, device=input.device)
    negative = var < 0
    try:
        is_bad = bool(negative.any())
    except RuntimeError:  # under vmap, or while an operation is recorded
        is_bad = False
    if is_bad:
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape and input.shape[:-1] == var.shape and var.ndim:
        var = var.unsqueeze(-1)
        negative = negative.unsqueeze(-1)
    # The value is clamped, but the slope is that of the variance itself, as in torch.
    var = var + (var.clamp(min=eps) - var).detach()
    loss = 0.5 * (torch.log(var) + (input - target).square() / var)
    if full:
        loss = loss + 0.9189385332046727  # log(2π) / 2
    return _reduced(torch.where(negative, torch.nan, loss), None, None, reduction)


PYTHON: dict[Any, Any] = {
    F.multi_margin_loss: _multi_margin_loss,
    F.multilabel_margin_loss: _multilabel_margin_loss,
    F.gaussian_nll_loss: _gaussian_nll_loss,
}
ATEN: dict[str, Any] = {}
