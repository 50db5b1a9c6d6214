"""Activations, distances, embeddings and losses that have no second derivative, or none under ``vmap``."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import _reduction

from msr.errors import ModelError

__all__ = ["ATEN", "PYTHON"]


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    inside = (input > -3) & (input < 3)
    return torch.where(inside, (input + 3) / 6, (input >= 3).to(input.dtype))


def _prelu(input: Tensor, weight: Tensor) -> Tensor:
    shape = [1] * input.ndim
    if weight.numel() > 1:
        if input.ndim < 2 or weight.numel() != input.shape[1]:
            return torch.prelu(input, weight)  # says what is wrong
        shape[1] = -1
    return torch.where(input > 0, input, weight.reshape(shape) * input)


def _glu(input: Tensor, dim: int = -1) -> Tensor:
    if input.shape[dim] % 2:
        return F.glu(input, dim)  # says what is wrong
    value, gate = input.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _distance(difference: Tensor, p: float) -> Tensor:
    """``‖·‖_p`` along the last axis, with zero for a slope where it is zero, as torch has it."""
    size = difference.abs()
    if p == 0:
        return (size != 0).sum(-1).to(size.dtype)
    if p == 1:
        return size.sum(-1)
    if p == float("inf"):
        return size.amax(-1)
    nothing = size == 0
    if p == 2:
        total = difference.square().sum(-1)
    else:
        total = size.masked_fill(nothing, 1).pow(p).masked_fill(nothing, 0).sum(-1)
    same = total == 0
    total = total.masked_fill(same, 1)
    return (total.sqrt() if p == 2 else total.pow(1 / p)).masked_fill(same, 0)


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1] or p < 0:
        return torch.cdist(x1, x2, p)  # says what is wrong
    return _distance(x1.unsqueeze(-2) - x2.unsqueeze(-3), p)


def _pdist(input: Tensor, p: float = 2.0) -> Tensor:
    if input.ndim != 2 or p < 0:
        return torch.pdist(input, p)  # says what is wrong
    i, j = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return _distance(input[i] - input[j], p)


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes <= 0:
        return F.one_hot(tensor, num_classes)
    # A scatter refuses an index that is no class, as torch does.
    zeros = torch.zeros(*tensor.shape, num_classes, dtype=tensor.dtype, device=tensor.device)
    return zeros.scatter(-1, tensor.unsqueeze(-1), 1)


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a table. Under ``vmap`` torch looks for the padding row in the first task's table alone."""
    if max_norm is not None:
        raise ModelError(
            "an embedding with max_norm writes into its weights while it predicts, so a task would not be judged with "
            "the weights that it fitted; give max_norm=None"
        )
    if padding_idx is not None:
        if not -len(weight) <= padding_idx < len(weight):
            return F.embedding(input, weight, padding_idx)  # says what is wrong
        row = torch.arange(len(weight), device=weight.device) == padding_idx % len(weight)
        weight = torch.where(row.unsqueeze(-1), weight.detach(), weight)
    return torch.embedding(weight, input, -1, scale_grad_by_freq, False)


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of rows; ``member`` says which indices are in which bag, ``(bags, indices)``."""
    rows = _embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    kept = torch.ones_like(input, dtype=torch.bool)
    if padding_idx is not None:
        kept = input != padding_idx % len(weight)
    if input.ndim == 1:
        if offsets is None:
            raise ValueError("embedding_bag: indices in one row need offsets")
        starts = offsets[:-1] if include_last_offset else offsets
        place = torch.arange(len(input), device=input.device)
        ends = torch.cat([starts[1:], place.new_full((1,), len(input))])
        if include_last_offset:
            ends = offsets[1:]
        kept = kept & (place >= starts.unsqueeze(-1)) & (place < ends.unsqueeze(-1))
        rows = rows.unsqueeze(0)
    mask = kept.unsqueeze(-1)
    if mode == "max":
        least = rows.masked_fill(~mask, -torch.inf).max(-2).values
        return least.masked_fill(~mask.any(-2), 0)
    total = rows.masked_fill(~mask, 0).sum(-2)
    return total if mode == "sum" else total / mask.sum(-2).clamp(min=1)


_SQUARES = 1024  # a sequence as long is no longer written out as a square


def _logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """``log Σ_{j ≤ i} exp x_j``, each sum of its own: the gradient of the fused one has nan for a slope at zeros.

    Such zeros come with every Jacobian, whose rows are gradients of one number each.
    """
    if input.ndim == 0 or input.shape[dim] > _SQUARES or not input.is_floating_point():
        return torch.logcumsumexp(input, dim)
    rows = input.movedim(dim, -1)
    n = rows.shape[-1]
    later = torch.ones(n, n, dtype=torch.bool, device=input.device).triu(1)
    sums = rows.unsqueeze(-2).expand(*rows.shape[:-1], n, n).masked_fill(later, -torch.inf).logsumexp(-1)
    return sums.movedim(-1, dim)


def _reduced(loss: Tensor, size_average: bool | None, reduce: bool | None, reduction: str) -> Tensor:
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
    """``Σ_{j ≠ y} w_y max(0, margin − x_y + x_j)^p / C``."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    index = target.unsqueeze(-1)
    gap = torch.relu(margin - input.gather(-1, index) + input)
    gap = gap if p == 1 else gap.square()
    if weight is not None:
        gap = gap * weight[index]
    others = torch.ones_like(input, dtype=torch.bool).scatter(-1, index, False)
    return _reduced(gap.masked_fill(~others, 0).sum(-1) / input.shape[-1], size_average, reduce, reduction)


def _multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``Σ_{y, i} max(0, 1 − x_y + x_i) / C`` over the classes ``y`` before the first −1, and ``i`` none of them."""
    classes = input.shape[-1]
    valid = (target >= 0).long().cumprod(-1).bool()
    index = target.clamp(min=0)
    chosen = valid.unsqueeze(-1) & (index.unsqueeze(-1) == torch.arange(classes, device=input.device))
    gap = torch.relu(1 - input.gather(-1, index).unsqueeze(-1) + input.unsqueeze(-2))
    counts = valid.unsqueeze(-1) & ~chosen.any(-2, keepdim=True)
    return _reduced(gap.masked_fill(~counts, 0).sum((-2, -1)) / classes, size_average, reduce, reduction)


def _gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """``½ (log var + (input − target)² / var)``; where ``vmap`` hides a negative variance, the loss there is nan."""
    var = torch.as_tensor(var, dtype=input.dtype, device=input.device)
    negative = var < 0
    try:
        found = bool(negative.any())
    except RuntimeError:  # under vmap, or while an operation is recorded
        found = False
    if found:
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape and input.shape[:-1] == var.shape and var.ndim:
        var, negative = var.unsqueeze(-1), negative.unsqueeze(-1)
    # Clamped as torch does it, with a slope everywhere.
    var = var + (var.clamp(min=eps) - var).detach()
    loss = 0.5 * (torch.log(var) + (input - target).square() / var)
    if full:
        loss = loss + 0.9189385332046727  # log(2π) / 2
    return _reduced(torch.where(negative, torch.nan, loss), None, None, reduction)


PYTHON: dict[Any, Any] = {
    F.hardsigmoid: _hardsigmoid,
    F.glu: _glu,
    F.embedding: _embedding,
    F.embedding_bag: _embedding_bag,
    F.multi_margin_loss: _multi_margin_loss,
    F.multilabel_margin_loss: _multilabel_margin_loss,
    F.gaussian_nll_loss: _gaussian_nll_loss,
    torch.functional.cdist: _cdist,
}
ATEN: dict[str, Any] = {
    "hardsigmoid": _hardsigmoid,
    "glu": _glu,
    "prelu": _prelu,
    "pdist": _pdist,
    "cdist": _cdist,
    "one_hot": _one_hot,
    "logcumsumexp": _logcumsumexp,
}
