"""The benchmarks' networks and losses in JAX, with our parameters' names and layouts. Needs jax and optax."""

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

__all__ = ["conv4", "cross_entropy", "mean_squared_error", "share_linear"]

Params = dict[str, Array]


def share_linear(params: Params, x: Array) -> Array:
    """``x Wᵀ`` with ``W = reshape(U v)``, for ``sharing.U (out · in, k)`` and ``v (k,)``.

    Shapes: ``x (..., in) -> (..., out)``.
    """
    weight = (params["sharing.U"] @ params["v"]).reshape(-1, x.shape[-1])
    return x @ weight.T


def conv4(params: Params, x: Array) -> Array:
    """The network of :func:`tasks.networks.conv4` with batch norms of the batch, channels innermost.

    Shapes: ``x (images, 1, 28, 28) -> (images, ways)``; the parameters are torch's, by the names of its modules.
    """
    x = jnp.transpose(x, (0, 2, 3, 1))
    for block in range(4):
        first = 4 * block
        filters = jnp.transpose(params[f"{first}.weight"], (2, 3, 1, 0))
        x = lax.conv_general_dilated(x, filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = x + params[f"{first}.bias"]
        mean = x.mean((0, 1, 2))
        variance = jnp.square(x - mean).mean((0, 1, 2))
        x = (x - mean) * lax.rsqrt(variance + 1e-5) * params[f"{first + 1}.weight"] + params[f"{first + 1}.bias"]
        x = _pooled(jax.nn.relu(x))
    return x.reshape(len(x), -1) @ params["17.weight"].T + params["17.bias"]


def _pooled(x: Array) -> Array:
    """The maximum of each 2 by 2 window, ``(images, h, w, channels)``, without the odd last row and column.

    Of four slices, because XLA's slope of a window's maximum takes longer on a CPU. Where entries are equal it divides
    the slope among them; after a ReLU those are zeros, whose slope is zero.
    """
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    above = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    below = jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2])
    return jnp.maximum(above, below)


def mean_squared_error(prediction: Array, y: Array) -> Array:
    """The mean of the squared differences."""
    return jnp.square(prediction - y).mean()


def cross_entropy(prediction: Array, y: Array) -> Array:
    """The mean cross entropy of the labels ``y (images,)``."""
    return optax.softmax_cross_entropy_with_integer_labels(prediction, y).mean()
