"""What a pattern and a layer tell each other, so that the pattern can be applied to data without building ``W``."""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["CONVOLVE", "Convolution", "PathCost", "apply_matrix"]

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
"""torch's convolution for each number of spatial axes."""


class PathCost(NamedTuple):
    """Multiplications that one way of applying a weight costs.

    A position is a row of a linear layer's input, an output pixel of a convolution (of one example), or an input pixel
    of a transposed convolution.

    Attributes:
        per_position: multiplications for each position.
        once: multiplications for each call, whatever the size of the input.
    """

    per_position: int
    once: int = 0


class Convolution(NamedTuple):
    """What a pattern may know of the convolution that it is applied in.

    Attributes:
        kernel_size: size of the kernel along each spatial axis.
        stride: step along each spatial axis.
        groups: number of groups into which the channels are split, as in ``nn.Conv2d``.
        is_transposed: whether the convolution is transposed; torch's weight is then ``(in, out / groups, *kernel)``,
            so its first axis belongs to the inputs.
        convolve: ``(x, weight) -> y``: the layer's own convolution (stride, padding, dilation) with another weight of
            the same kernel size, and without a bias.
    """

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    groups: int
    is_transposed: bool
    convolve: Callable[[Tensor, Tensor], Tensor]

    def mix_channels(
        self, x: Float[Tensor, "..."], matrix: Float[Tensor, "o c"], bias: Float[Tensor, " o"] | None = None
    ) -> Float[Tensor, "..."]:
        """``y[..., o, p] = Σ_c matrix[o, c] x[..., c, p] + bias[o]`` at each pixel ``p``: a 1×1 convolution.

        Shapes: ``x ([N,] c, *space)``, ``matrix (o, c)``, ``bias (o,)``; the result is ``([N,] o, *space)``.
        """
        ones = (1,) * len(self.kernel_size)
        return CONVOLVE[len(ones)](x, matrix.reshape(*matrix.shape, *ones), bias)


def apply_matrix(
    U: Float[Tensor, "out_in k"],
    v: Float[Tensor, " k"],
    x: Float[Tensor, "*batch in"],
    bias: Float[Tensor, " out"] | None,
    shape: tuple[int, int],
) -> Float[Tensor, "*batch out"]:
    """``y[i] = Σ_k (Σ_j U[i, j, k] x[j]) v[k] + bias[i]``: a linear layer by its pattern's matrix, without ``W``.

    Shapes: ``U (out · in, k)``, ``v (k,)``, ``x (*, in)``, ``bias (out,)``, ``shape (out, in)``; the result is
    ``(*, out)``.
    """
    n_out, n_in = shape
    # What depends on x alone comes first, so all tasks share one product with U, and the Jacobian in v is at hand.
    # With k outermost, U and both its uses are read row by row.
    by_filter = F.linear(x, U.mT.reshape(-1, n_in)).unflatten(-1, (-1, n_out))
    y = (by_filter * v.to(by_filter.dtype).flatten().unsqueeze(-1)).sum(-2)
    # Under autocast y is narrower than the bias, which must not widen it.
    return y if bias is None else y + bias.to(y.dtype)
