"""Attention, written out, since torch's fused kernels have no second derivative."""

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
    """``softmax(q kᵀ scale + mask) v``, with the softmax in float32 at least.

    The arguments are those of ``torch.nn.functional.scaled_dot_product_attention``. A query whose mask hides every key
    gives zero.
    """
    if is_causal and attn_mask is not None:
        raise ValueError("scaled_dot_product_attention: give attn_mask or is_causal=True, not both")
    if enable_gqa:
        # Grouped queries: several heads of queries share one head of keys and values.
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query * scale) @ key.mT
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if scores.dtype in (torch.float16, torch.bfloat16):
        # In half precision a softmax over many keys loses the small weights.
        scores = scores.float()
    sees_nothing = None
    if attn_mask is not None:
        hidden = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask == -torch.inf
        sees_nothing = hidden.all(-1, keepdim=True)
        # The slope of a softmax of nothing but minus infinities is nan. So a query that sees nothing is not masked
        # here; its weights are set to zero below.
        hidden = hidden & ~sees_nothing
        if attn_mask.dtype != torch.bool:
            scores = scores + attn_mask.masked_fill(attn_mask == -torch.inf, 0)
        scores = scores.masked_fill(hidden, -torch.inf)
    weights = torch.softmax(scores, -1)
    if sees_nothing is not None:
        weights = weights.masked_fill(sees_nothing, 0)
    weights = F.dropout(weights, dropout_p) if dropout_p else weights
    return weights.to(value.dtype) @ value


def _with(function: Any, **names: Any) -> Any:
    """The same Python function, in which some global names mean other objects."""
    code = function.__code__
    # A copy of the globals, so that torch's own function stays as it is.
    scope = {**function.__globals__, **names}
    other = types.FunctionType(code, scope, function.__name__, function.__defaults__, function.__closure__)
    other.__kwdefaults__ = function.__kwdefaults__
    return other


# The function asks whether a mode is running, and would then call itself through that mode again. While an operation is
# recorded there is one, outside of ours, so the answer is always no here.
_OURS = {"scaled_dot_product_attention": _attention, "has_torch_function": lambda tensors: False}

PYTHON: dict[Any, Any] = {
    F.multi_head_attention_forward: _with(F.multi_head_attention_forward, **_OURS),
}
ATEN: dict[str, Any] = {"scaled_dot_product_attention": _attention}
