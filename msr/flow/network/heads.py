"""Whole projections of attention, taken apart head by head."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

__all__ = ["HeadWeights", "heads_of"]


class HeadWeights(NamedTuple):
    """The attention's fields of a :class:`~msr.flow.network.BlockWeights`."""

    Q: Tensor
    K: Tensor
    V: Tensor
    query_bias: Tensor | None
    constant: Tensor | None


def heads_of(
    projections: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None,
    output: tuple[Tensor, Tensor | None],
    heads: int,
) -> HeadWeights:
    """The weights of each head, from those of all: queries, keys and values, and the output's weight and bias.

    Fewer keys and values than queries are shared by as many queries each, one after the other.

    Shapes: ``projections``: ``(heads · k, d)``, and for keys and values perhaps fewer heads; ``biases`` alike, without
    ``d``; ``output (d, heads · k)`` and ``(d,)``.
    """
    q, k, v = (weight.unflatten(0, (-1, len(projections[0]) // heads)) for weight in projections)
    query_bias, _, value_bias = (None, None, None) if biases is None else biases
    weight, constant = output
    if value_bias is not None:
        each = _shared(value_bias.unflatten(0, (len(v), -1)), heads)
        constant = weight @ each.flatten() + (0 if constant is None else constant)
    return HeadWeights(
        Q=q,
        K=_shared(k, heads),
        V=weight.unflatten(1, (heads, -1)).transpose(0, 1) @ _shared(v, heads),
        query_bias=None if query_bias is None else query_bias.unflatten(0, (heads, -1)),
        constant=constant,
    )


def _shared(parts: Tensor, heads: int) -> Tensor:
    """Keys or values of each head, ``(heads, ...)``, of perhaps fewer ones."""
    return parts.repeat_interleave(heads // len(parts), 0)
