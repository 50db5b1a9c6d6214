"""Scores between tokens, and what is made of them: weights, means, partition; a block of rows at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from msr.arrays import is_wrapped

__all__ = ["BLOCK", "Kind", "Scores", "fused_applies", "log_partition", "means", "weights"]

Kind = Literal["sa", "usa"]

BLOCK = 2**22
"""Scores that are in memory at once: 32 MB in double precision. All 4,096² scores would take 134 MB, several times."""

_FEWEST_ROWS = 64  # of a block: fewer make a loop over tokens, and are slower than the products they save memory for


@dataclass(frozen=True, eq=False)
class Scores:
    """``β⟨Q x_i, K x_j⟩ + M_ij``, as its factors.

    Attributes:
        queries: ``β Q x_i``, ``(batch, heads, n, k)``.
        keys: ``K x_j``, of the same shape, or with one head for all.
        bias: ``M``, ``(batch or 1, heads or 1, n, n)``, or None.
    """

    queries: Tensor
    keys: Tensor
    bias: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Batch, heads and tokens."""
        bias_heads = 1 if self.bias is None else self.bias.shape[1]
        return len(self.queries), max(self.queries.shape[1], self.keys.shape[1], bias_heads), self.queries.shape[2]

    def rows(self, batch: slice, tokens: slice) -> Tensor:
        """The scores of some rows of some elements of the batch, ``(…, heads, rows, n)``."""
        scores = self.queries[batch, :, tokens] @ self.keys[batch].mT
        if self.bias is None:
            return scores
        return scores + (self.bias if len(self.bias) == 1 else self.bias[batch])[:, :, tokens]

    @property
    def needs_gradient(self) -> bool:
        """Whether a graph is being recorded through the scores."""
        parts = [part for part in (self.queries, self.keys, self.bias) if part is not None]
        return torch.is_grad_enabled() and any(part.requires_grad for part in parts)


def weights(scores: Tensor, kind: Kind) -> Tensor:
    """The weights of all tokens for some of them: softmax for ``sa``, ``exp(score)/n`` for ``usa``.

    Shapes: ``scores (..., rows, n)``; so is the result.
    """
    # torch's softmax subtracts the largest score of each row. The exponential of `usa` is what it is.
    return torch.softmax(scores, -1) if kind == "sa" else scores.exp() / scores.shape[-1]


def means(scores: Scores, values: Tensor, kind: Kind, *, block: int = BLOCK, fused: bool | None = None) -> Tensor:
    """``Σ_j A_ij y_j`` for values ``y`` and the weights ``A`` of the scores.

    With more than ``block`` scores in all they are made block by block, also for the gradient, and never kept. torch's
    own fused attention does the same faster, where it applies; its second derivatives are not defined.

    Args:
        scores: of ``n`` tokens.
        values: ``(batch, 1, n, d)``.
        kind: ``sa`` or ``usa``.
        block: scores in memory at once; at least 64 rows of one element of the batch are.
        fused: whether torch's fused attention is taken: by default where it applies and a block is not enough.

    Shapes: the result is ``(batch, heads, n, d)``.
    """
    batch, heads, n = scores.shape
    if fused or (fused is None and batch * heads * n * n > block and fused_applies(scores, values, kind)):
        return _fused(scores, values)

    def part(elements: slice, tokens: slice) -> Tensor:
        return weights(scores.rows(elements, tokens), kind) @ values[elements]

    return _blockwise(part, scores, block, scores.needs_gradient or (torch.is_grad_enabled() and values.requires_grad))


def log_partition(scores: Scores, block: int = BLOCK) -> Tensor:
    """``log Z_i``, the logarithm of ``Σ_j exp(score_ij)``, ``(batch, heads, n)``: block by block, as :func:`means`."""

    def part(elements: slice, tokens: slice) -> Tensor:
        return scores.rows(elements, tokens).logsumexp(-1, keepdim=True)

    return _blockwise(part, scores, block, scores.needs_gradient).squeeze(-1)


def fused_applies(scores: Scores, values: Tensor, kind: Kind) -> bool:
    """Whether torch's fused attention computes the same, in bounded memory and with a gradient.

    Only its kernel for the CPU knows double precision; elsewhere torch would make all scores at once. It has no
    gradient of a bias, and no rule for function transforms or forward derivatives. Biases with -inf are left to our own
    blocks: torch does not say what its kernel makes of a row whose first scores are all -inf (2.13 is right).

    Shapes: as :func:`means`.
    """
    parts = [scores.queries, scores.keys, values]
    return (
        kind == "sa"
        and all(part.device.type == "cpu" and not is_wrapped(part) for part in parts)
        and all(unpack_dual(part).tangent is None for part in parts)
        and (scores.bias is None or _takes(scores.bias))
    )


def _takes(bias: Tensor) -> bool:
    """Whether torch's fused attention may have this bias."""
    return not is_wrapped(bias) and not bias.requires_grad and not bool(torch.isneginf(bias).any())


def _fused(scores: Scores, values: Tensor) -> Tensor:
    """The means of softmax by torch's fused attention, ``(batch, heads, n, d)``."""
    batch, heads, n = scores.shape
    d = values.shape[-1]
    # The kernel takes one width for queries, keys and values. Zeros add nothing to the scores, and are cut off again.
    width = max(d, scores.queries.shape[-1])
    queries, keys, wide = (
        pad(part, (0, width - part.shape[-1])).expand(batch, heads, n, width)
        for part in (scores.queries, scores.keys, values)
    )
    bias = None if scores.bias is None else scores.bias.expand(batch, heads, n, n)
    return scaled_dot_product_attention(queries, keys, wide, attn_mask=bias, scale=1.0)[..., :d]


def _blockwise(part: Callable[[slice, slice], Tensor], scores: Scores, block: int, graph: bool) -> Tensor:
    """``part(elements of the batch, rows)`` for all of them, put together along both axes.

    Where a ``graph`` is recorded it keeps no scores, which would be all of them in the end.
    """
    batch, heads, n = scores.shape
    if batch * heads * n * n <= block:
        return part(slice(None), slice(None))
    if graph and not is_wrapped(scores.queries):
        part = _forgetting(part)
    rows = min(n, max(_FEWEST_ROWS, block // (heads * n)))
    elements = max(1, block // (heads * n * rows))
    together = []
    for first in range(0, batch, elements):
        some = slice(first, first + elements)
        together.append(torch.cat([part(some, slice(row, row + rows)) for row in range(0, n, rows)], dim=2))
    return torch.cat(together)


def _forgetting(part: Callable[[slice, slice], Tensor]) -> Callable[[slice, slice], Tensor]:
    """The same function, which computes its scores again for the gradient instead of keeping them."""

    def run(elements: slice, tokens: slice) -> Tensor:
        return checkpoint(part, elements, tokens, use_reentrant=False, preserve_rng_state=False)

    return run
