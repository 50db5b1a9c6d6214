"""Batch norm for few-shot learning: the statistics of the set at hand, and derivatives that vmap gets right."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

try:
    from torch._C._functorch import TransformType
    from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
except ImportError:  # not public, so a torch may lack them: then norms stay written out
    retrieve_all_functorch_interpreters = None  # type: ignore[assignment]

__all__ = ["SetNorm", "fused_norms", "use_set_statistics"]

_fused = False


class SetNorm(nn.Module):
    """``(x − mean) / √(var + ε) · weight + bias`` over all axes but the channels'; no running statistics.

    Written out in elementary operations on purpose. The fused ``batch_norm`` of torch 2.13 gives wrong derivatives with
    no warning: second ones under ``torch.func.vmap`` (pytorch/functorch issue 534), gradients of forward-mode ones, and
    third ones. A gradient of a gradient it does right; :func:`fused_norms` says where nothing else is asked for.
    Shapes: ``(n, channels, ...)`` to the same; ``weight, bias (channels,)`` or None.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm):
        super().__init__()
        self.eps = norm.eps
        self.register_parameter("weight", norm.weight)
        self.register_parameter("bias", norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a set."""
        if _fused and not _under_vmap():
            fused = torch.backends.cudnn.enabled
            return torch.batch_norm(x, self.weight, self.bias, None, None, True, 0.0, self.eps, fused)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean = x.mean(axes, keepdim=True)
        centred = x - mean
        scale = torch.rsqrt(centred.square().mean(axes, keepdim=True) + self.eps)
        if self.weight is not None:
            scale = scale * self.weight.view(shape)
        y = centred * scale
        return y if self.bias is None else y + self.bias.view(shape)


def _under_vmap() -> bool:
    """Whether any ``vmap`` is running, an inner one as in ``jacfwd`` included; what it maps over does not matter."""
    if retrieve_all_functorch_interpreters is None:
        return True
    return any(level.key() == TransformType.Vmap for level in retrieve_all_functorch_interpreters())


@contextlib.contextmanager
def fused_norms(enabled: bool) -> Iterator[None]:
    """Let norms run fused, which is several times faster on large images, where no ``vmap`` is running.

    Only for functions of which gradients and gradients of gradients are taken, both in reverse mode, and no others.
    """
    global _fused
    before, _fused = _fused, enabled
    try:
        yield
    finally:
        _fused = before


def use_set_statistics(module: nn.Module) -> nn.Module:
    """Replace every batch norm, in place, by one that uses the set it is given; parameter names stay."""
    norms: dict[nn.Module, nn.Module] = {}
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            norms[part] = SetNorm(part)
    for part in list(module.modules()):
        for name, child in list(part._modules.items()):  # named_children() hides a module's second name
            if child in norms:
                setattr(part, name, norms[child])
    return norms.get(module, module)
