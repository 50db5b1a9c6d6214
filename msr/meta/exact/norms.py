"""Norms: statistics in float32 at least, and derivatives of every order in every mode.

The fused norms of torch 2.13 give wrong derivatives with no warning: second ones under ``torch.func.vmap``
(pytorch/functorch issue 534), gradients of forward-mode derivatives, and third ones. A gradient of a gradient is right,
where both are in reverse mode and outside of ``vmap``; :func:`fused_norms` marks code that needs no other derivative.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from msr.meta.exact.levels import gradients_alone

__all__ = ["ATEN", "PYTHON", "fused_norms", "set_norm"]

_HALVES = (torch.float16, torch.bfloat16)


class _Fused(threading.local):
    """Whether code around allows fused norms (:func:`fused_norms`), thread by thread."""

    allowed = False


_fused = _Fused()


@contextlib.contextmanager
def fused_norms(enabled: bool) -> Iterator[None]:
    """Let norms within the block, in this thread, run fused where :func:`_runs_fused` finds that right: several times
    as fast on large images.

    Only for code of which no other derivatives are taken than gradients, and gradients of gradients, in reverse mode.
    ``enabled=False`` changes nothing, also within a block that allows it.
    """
    before = _fused.allowed
    # An inner block does not forbid what an outer one allows: the outer one knows which derivatives will be taken.
    _fused.allowed = enabled or before
    try:
        yield
    finally:
        _fused.allowed = before


def _runs_fused() -> bool:
    """Whether a norm may run fused here: a :func:`fused_norms` block around allows it, and at most two gradients in
    reverse mode are being taken.

    False under ``vmap``, in forward mode, for a third gradient, and where torch does not tell.
    """
    return _fused.allowed and gradients_alone()


def _wide(x: Tensor) -> Tensor:
    """The tensor itself, or in float32 where it is in half precision."""
    return x.float() if x.dtype in _HALVES else x


def _normal(x: Tensor, axes: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """``(x − mean) / √(var + ε)``, the mean, and ``1/√(var + ε)``, of an ``x`` in float32 or more.

    The variance is the biased one; the last two keep ``axes``, with size 1.
    """
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    scale = torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)
    return centred * scale, mean, scale


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """``y · weight + bias`` in the type ``dtype``, where weight and bias broadcast to ``y``; None leaves either out."""
    if weight is not None:
        y = y * weight
    return (y if bias is None else y + bias).to(dtype)


def set_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Batch norm of a set ``(n, channels, ...)`` by its own statistics, with the biased variance; the result has the
    type of ``x``.
    """
    if _runs_fused():
        return torch.batch_norm(x, weight, bias, None, None, True, 0.0, eps, torch.backends.cudnn.enabled)
    axes = [0, *range(2, x.ndim)]
    shape = _channel_shape(x)
    wide = _wide(x)
    centred = wide - wide.mean(axes, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)
    if weight is not None:
        # Scale and weight are one factor for each channel: multiplied first, they cost one pass over the positions
        # less.
        scale = scale * weight.view(shape)
    y = centred * scale
    y = y if bias is None else y + bias.view(shape)
    return y if y.dtype == x.dtype else y.to(x.dtype)


def _channel_shape(x: Tensor) -> list[int]:
    """The shape in which one number for each channel broadcasts to ``x``."""
    return [1, -1] + [1] * (x.ndim - 2)


def _shaped(parameter: Tensor | None, shape: list[int]) -> Tensor | None:
    """A parameter in another shape, as a view; None for None."""
    return None if parameter is None else parameter.view(shape)


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """Layer norm over the last axes, in the type of ``input``; with the arguments of ``torch.layer_norm``."""
    if _runs_fused():
        return torch.layer_norm(input, normalized_shape, weight, bias, eps).to(input.dtype)
    if tuple(input.shape[input.ndim - len(normalized_shape) :]) != tuple(normalized_shape):
        return torch.layer_norm(input, normalized_shape, weight, bias, eps)  # raises torch's own error
    y, _, _ = _normal(_wide(input), list(range(-len(normalized_shape), 0)), eps)
    return _affine(y, weight, bias, input.dtype)


def _native_layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm over the last axes, the means, and ``1/√(var + ε)``, both with these axes at size 1, as
    ``torch.native_layer_norm`` gives them.
    """
    y, mean, scale = _normal(_wide(input), list(range(-len(normalized_shape), 0)), eps)
    return _affine(y, weight, bias, input.dtype), mean, scale


def _rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """``x / √(mean x² + ε) · weight`` over the last axes, ``ε`` by default the precision, with the mean in float32 at
    least: torch 2.5 forms it in half precision, where it overflows.
    """
    if tuple(input.shape[input.ndim - len(normalized_shape) :]) != tuple(normalized_shape):
        return torch.rms_norm(input, normalized_shape, weight, eps)  # raises torch's own error
    wide = _wide(input)
    eps = torch.finfo(wide.dtype).eps if eps is None else eps
    mean_square = wide.square().mean(list(range(-len(normalized_shape), 0)), keepdim=True)
    return _affine(wide * torch.rsqrt(mean_square + eps), weight, None, input.dtype)


def _batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Batch norm with the arguments of ``torch.batch_norm``, in the type of ``input``.

    In training it uses the set's own statistics, and updates the running ones in place where there are any; otherwise
    it uses the running ones.
    """
    if not training:
        if running_mean is None or running_var is None:
            return torch.batch_norm(input, weight, bias, None, None, False, momentum, eps, cudnn_enabled)  # raises
        shape = _channel_shape(input)
        scale = torch.rsqrt(_wide(running_var) + eps)
        y = (_wide(input) - running_mean.view(shape)) * scale.view(shape)
        return _affine(y, _shaped(weight, shape), _shaped(bias, shape), input.dtype)
    if running_mean is not None and running_var is not None:
        _update_running(input, [0, *range(2, input.ndim)], running_mean, running_var, momentum)
    return set_norm(input, weight, bias, eps)


def _native_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The result, the mean and ``1/√(var + ε)`` of the set, ``(channels,)`` each; the last two are empty outside of
    training.
    """
    y = _batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)
    if not training:
        return y, input.new_empty(0), input.new_empty(0)
    var, mean = torch.var_mean(_wide(input), [0, *range(2, input.ndim)], correction=0)
    return y, mean, torch.rsqrt(var + eps)


def _update_running(x: Tensor, axes: list[int], mean: Tensor, var: Tensor, momentum: float) -> None:
    """Update the running ``mean`` and ``var`` ``(channels,)`` in place as torch does, with the unbiased variance over
    ``axes``.

    Where ``axes`` leave the examples apart (instance norm), the mean of their statistics is used.
    """
    with torch.no_grad():
        set_var, set_mean = (part.reshape(-1, x.shape[1]).mean(0) for part in torch.var_mean(_wide(x.detach()), axes))
        mean.mul_(1 - momentum).add_(momentum * set_mean.to(mean.dtype))
        var.mul_(1 - momentum).add_(momentum * set_var.to(var.dtype))


def _python_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm with the arguments and the check of the set's size of ``torch.nn.functional.batch_norm``."""
    if training:
        F._verify_batch_size(list(input.shape))  # type: ignore[attr-defined]
    return _batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)


def _instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Instance norm with the arguments of ``torch.instance_norm``, in the type of ``input``.

    With ``use_input_stats`` it uses each example's own statistics, and updates the running ones in place where there
    are any; otherwise it uses the running ones.
    """
    if not use_input_stats:
        return _batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps)
    if _runs_fused():
        y = torch.instance_norm(
            input, weight, bias, running_mean, running_var, True, momentum, eps, torch.backends.cudnn.enabled
        )
        return y.to(input.dtype)
    axes = list(range(2, input.ndim))
    shape = _channel_shape(input)
    if running_mean is not None and running_var is not None:
        _update_running(input, axes, running_mean, running_var, momentum)
    y, _, _ = _normal(_wide(input), axes, eps)
    return _affine(y, _shaped(weight, shape), _shaped(bias, shape), input.dtype)


def _python_instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Instance norm with the arguments and the check of sizes of ``torch.nn.functional.instance_norm``."""
    if use_input_stats:
        F._verify_spatial_size(input.shape)  # type: ignore[attr-defined]
    return _instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``v g / ‖v‖``: see :func:`_weight_norm_interface`."""
    return _weight_norm_interface(v, g, dim)[0]


def _weight_norm_interface(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """``v g / ‖v‖`` and ``‖v‖``, the norm, in float32 at least, over all axes but ``dim``, which stay with size 1; as
    in torch, over all axes, a scalar, where ``dim`` is −1.
    """
    wide = _wide(v)
    if dim == -1:
        norm = wide.square().sum().sqrt()
    else:
        norm = wide.square().sum([axis for axis in range(v.ndim) if axis != dim], keepdim=True).sqrt()
    return (wide * (_wide(g) / norm)).to(v.dtype), norm


PYTHON: dict[Any, Any] = {
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.batch_norm: _python_batch_norm,
    F.instance_norm: _python_instance_norm,
}
ATEN: dict[str, Any] = {
    "layer_norm": _layer_norm,
    "native_layer_norm": _native_layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    "native_batch_norm": _native_batch_norm,
    "instance_norm": _instance_norm,
    "_weight_norm": _weight_norm,
    "_weight_norm_interface": _weight_norm_interface,
}
