"""The second moments of two encoders, of which every objective here is a function."""

from dataclasses import dataclass

import torch
from scipy.sparse import issparse
from torch import Tensor

from msr.arrays import takes_arrays
from msr.contexture.contexts.base import SMALL, Context
from msr.contexture.contexts.tables import TableContext
from msr.errors import ShapeError

__all__ = [
    "Moments",
    "batch_moments",
    "exact_moments",
    "exact_pair_moments",
    "kernel_batch_moments",
    "pair_batch_moments",
]


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of the centred encoders ``Φ~`` of points and ``Ψ~`` of contexts, ``d`` numbers each.

    Attributes:
        first: ``(2, d, d)``, two estimates of the covariance of the first encoder, or of the only one, from different
            points, so that a product of them is an unbiased estimate of a square. Both are the same where the moments
            are exact.
        second: ``(2, d, d)``, likewise of the second encoder; None where there is one.
        cross: ``(d, d)``: ``E[Φ~(X) Ψ~(A)ᵀ]`` for two encoders; for one, ``E[Φ~(X) Φ~(X')ᵀ]`` of two points of the same
            context, or ``E[Ψ~(A) Ψ~(A')ᵀ]`` of two contexts of the same point.
    """

    first: Tensor
    second: Tensor | None
    cross: Tensor


@takes_arrays("points", "contexts")
def exact_moments(context: Context, points: Tensor, contexts: Tensor | None = None) -> Moments:
    """The moments in the whole distribution of a context on finitely many points, with derivatives.

    Shapes: ``points (n, d)``, the encoder's values at the points; ``contexts (m, d)``, those of a second encoder at the
    values of ``A``. Without them, one encoder of points: ``cross`` is over two points of the same context.
    Raises: ShapeError; ConfigError for a second encoder and a context that is known by its kernel.
    """
    weights = context.weights.to(points)
    centred = _centred(points, weights, context.name)
    covariance = centred.mT @ (weights[:, None] * centred)
    if contexts is None:
        return Moments(torch.stack([covariance, covariance]), None, centred.mT @ _smoothed(context, centred, weights))
    context.needs_conditional("a second encoder, of contexts,")
    assert isinstance(context, TableContext)
    marginal = context.marginal.to(contexts)
    other = _centred(contexts, marginal, context.name)
    joint = context.operator("joint", points)
    return Moments(
        torch.stack([covariance, covariance]),
        (other.mT @ (marginal[:, None] * other)).expand(2, -1, -1),
        centred.mT @ (joint @ other),
    )


@takes_arrays("contexts")
def exact_pair_moments(context: TableContext, contexts: Tensor) -> Moments:
    """The moments of one encoder of contexts, ``contexts (m, d)``: ``cross`` is over two contexts of the same point.

    Raises: ShapeError; ConfigError for a context that is known by its kernel.
    """
    context.needs_conditional("an encoder of contexts")
    marginal = context.marginal.to(contexts)
    other = _centred(contexts, marginal, context.name)
    covariance = other.mT @ (marginal[:, None] * other)
    mean = context.operator("conditional", contexts) @ other
    return Moments(covariance.expand(2, -1, -1), None, mean.mT @ (context.weights.to(contexts)[:, None] * mean))


@takes_arrays("points", "contexts")
def batch_moments(points: Tensor, contexts: Tensor) -> Moments:
    """The moments of a batch: points, and several contexts of each.

    Shapes: ``points (b, d)``, ``contexts (b, draws, d)``. Both are centred by the batch's own means, which biases the
    moments by a share of ``1/b``.
    Raises: ShapeError, also for fewer than 4 points, which have no two halves with a covariance.
    """
    if points.ndim != 2 or contexts.ndim != 3 or contexts.shape[::2] != points.shape:
        raise ShapeError(
            f"points (b, d) and contexts (b, draws, d) are needed; got {tuple(points.shape)} and "
            f"{tuple(contexts.shape)}"
        )
    first = points - points.mean(dim=0)
    second = contexts - contexts.mean(dim=(0, 1))
    return Moments(_halves(first), _halves(second.transpose(0, 1)), first.mT @ second.mean(dim=1) / len(points))


@takes_arrays("contexts")
def pair_batch_moments(contexts: Tensor) -> Moments:
    """The moments of one encoder of contexts in a batch: several contexts of each point, ``contexts (b, draws, d)``.

    ``cross`` is over all pairs of two different draws of the same point.
    Raises: ShapeError for fewer than 2 draws, or fewer than 4 points.
    """
    if contexts.ndim != 3 or contexts.shape[1] < 2:
        raise ShapeError(f"contexts (b, draws, d) with 2 draws at least are needed; got {tuple(contexts.shape)}")
    draws = contexts.shape[1]
    centred = contexts - contexts.mean(dim=(0, 1))
    sums = centred.sum(dim=1)
    # The product of the sums holds each draw with itself too.
    own = torch.einsum("bri,brj->ij", centred, centred)
    cross = (sums.mT @ sums - own) / (len(contexts) * draws * (draws - 1))
    return Moments(_halves(centred.transpose(0, 1)), None, cross)


@takes_arrays("points", "kernel")
def kernel_batch_moments(points: Tensor, kernel: Tensor) -> Moments:
    """The moments of one encoder in a batch of points whose dual kernel is known.

    Shapes: ``points (b, d)``; ``kernel (b, b)``, between the points of the batch. The diagonal of the kernel is left
    out, since a point is no independent partner of itself: the estimate is unbiased but for the centring.
    Raises: ShapeError.
    """
    b = len(points)
    if points.ndim != 2 or kernel.shape != (b, b):
        raise ShapeError(
            f"points (b, d) and a kernel (b, b) are needed; got {tuple(points.shape)} and {tuple(kernel.shape)}"
        )
    centred = points - points.mean(dim=0)
    others = kernel - torch.diag(kernel.diagonal())
    return Moments(_halves(centred), None, centred.mT @ (others @ centred) / (b * (b - 1)))


def _centred(values: Tensor, weights: Tensor, name: str) -> Tensor:
    """Values ``(n, d)`` without their means. Raises: ShapeError unless there is a row for each weight."""
    if values.ndim != 2 or len(values) != len(weights):
        raise ShapeError(f"{name}: values ({len(weights)}, d) are needed; got {tuple(values.shape)}")
    return values - weights @ values


def _smoothed(context: Context, values: Tensor, weights: Tensor) -> Tensor:
    """``P(x) (T T* f)(x)`` of functions ``(n, d)``, with derivatives."""
    scale = weights.sqrt()[:, None]
    root = context.root
    # Two products with a dense table of many columns cost more than one with the kernel of the points.
    wide = root is not None and 2 * root.shape[1] > context.n and (not issparse(root) or context.n**2 <= SMALL)
    if root is None or wide:
        return scale * (context.operator("gram", values) @ (scale * values))
    operator = context.operator("root", values)
    return scale * (operator @ (operator.mT @ (scale * values)))


def _halves(values: Tensor) -> Tensor:
    """The covariances ``(2, d, d)`` of the even and of the odd points of ``(…, b, d)``, which are centred."""
    if values.shape[-2] < 4:
        raise ShapeError(f"a batch needs 4 points at least, two for each of two covariances; got {values.shape[-2]}")
    flat = [values[..., start::2, :].reshape(-1, values.shape[-1]) for start in (0, 1)]
    return torch.stack([half.mT @ half / len(half) for half in flat])
