"""Embeddings and one-hot vectors: torch's have rules for ``vmap`` that are missing or wrong."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from msr.errors import ModelError

__all__ = ["ATEN", "PYTHON"]


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of the identity matrix, on a new last axis; under ``vmap``, which hides the largest label, ``num_classes``
    must be given.
    """
    if num_classes <= 0:
        return F.one_hot(tensor, num_classes)  # looks for the largest label, or raises torch's own error
    # A scatter raises an error for an index that is no class, as torch does.
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
    """Rows of a table, with no gradient for the padding row; gradients are never sparse.

    Under ``vmap`` torch leaves out the padding row of the first task's table only.
    Raises: ModelError for ``max_norm``, which would write into the table.
    """
    if max_norm is not None:
        raise ModelError(
            "an embedding with max_norm writes into its weights while it predicts, so a task would not be judged with "
            "the weights that it fitted; give max_norm=None"
        )
    if padding_idx is not None:
        if not -len(weight) <= padding_idx < len(weight):
            return F.embedding(input, weight, padding_idx)  # raises torch's own error
        row = torch.arange(len(weight), device=weight.device) == padding_idx % len(weight)
        # The row keeps its value, and no gradient passes through it.
        weight = torch.where(row.unsqueeze(-1), weight.detach(), weight)
    # −1 stands for no padding row, whose gradient was cut above.
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
    """Sums, means or maxima (``mode``) of the rows of each bag, without rows at ``padding_idx``; an empty bag gives
    zero.

    Indices of one axis are cut into bags by ``offsets``; each row of indices of two axes is a bag.
    """
    rows = _embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    member = torch.ones_like(input, dtype=torch.bool)  # which indices are in which bag, (bags, indices)
    if padding_idx is not None:
        member = input != padding_idx % len(weight)
    if input.ndim == 1:
        if offsets is None:
            raise ValueError("embedding_bag: indices in one row need offsets")
        # The last offset is then the end of the last bag, and no start.
        starts = offsets[:-1] if include_last_offset else offsets
        place = torch.arange(len(input), device=input.device)
        ends = torch.cat([starts[1:], place.new_full((1,), len(input))])
        if include_last_offset:
            ends = offsets[1:]
        member = member & (place >= starts.unsqueeze(-1)) & (place < ends.unsqueeze(-1))
        rows = rows.unsqueeze(0)
    mask = member.unsqueeze(-1)
    if mode == "max":
        largest = rows.masked_fill(~mask, -torch.inf).max(-2).values
        # An empty bag gives zero, as in torch.
        return largest.masked_fill(~mask.any(-2), 0)
    total = rows.masked_fill(~mask, 0).sum(-2)
    return total if mode == "sum" else total / mask.sum(-2).clamp(min=1)


PYTHON: dict[Any, Any] = {F.embedding: _embedding, F.embedding_bag: _embedding_bag}
ATEN: dict[str, Any] = {"one_hot": _one_hot}
