"""Attention: the fused kernels have no second derivative."""

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ATEN", "PYTHON"]


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(q kᵀ scale + mask) v``; the softmax in float32 at least, and zero for a query that may see nothing."""
    if is_causal and attn_mask is not None:
        raise ValueError("scaled_dot_product_attention: give attn_mask or is_causal=True, not both")
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query * scale) @ key.mT
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    blind = None
    if attn_mask is not None:
        hidden = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask == -torch.inf
        blind = hidden.all(-1, keepdim=True)
        # Of a query that sees nothing no entry is hidden: a softmax of minus infinities has nan for a slope.
        hidden = hidden & ~blind
        if attn_mask.dtype != torch.bool:
            scores = scores + attn_mask.masked_fill(attn_mask == -torch.inf, 0)
        scores = scores.masked_fill(hidden, -torch.inf)
    weights = torch.softmax(scores, -1)
    if blind is not None:
        weights = weights.masked_fill(blind, 0)
    weights = F.dropout(weights, dropout_p) if dropout_p else weights
    return weights.to(value.dtype) @ value


def _with(function: Any, **names: Any) -> Any:
    """The same Python function, with other meanings of some global names."""
    code, scope = function.__code__, {**function.__globals__, **names}
    other = types.FunctionType(code, scope, function.__name__, function.__defaults__, function.__closure__)
    other.__kwdefaults__ = function.__kwdefaults__
    return other


# Its own question whether a mode is running would send it around: recording runs another one outside of ours.
_OURS = {"scaled_dot_product_attention": _attention, "has_torch_function": lambda tensors: False}

PYTHON: dict[Any, Any] = {
    F.multi_head_attention_forward: _with(F.multi_head_attention_forward, **_OURS),
}
ATEN: dict[str, Any] = {"scaled_dot_product_attention": _attention}
