"""Batch norm for few-shot learning: the statistics of the set at hand, and derivatives that vmap gets right."""

import torch
from torch import Tensor, nn
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters

__all__ = ["SetNorm", "use_set_statistics"]


class SetNorm(nn.Module):
    """``(x − mean) / √(var + ε) · weight + bias`` over all axes but the channels'; no running statistics.

    Written out in elementary operations on purpose. Under ``torch.func.vmap`` the fused ``batch_norm`` gives wrong
    second derivatives with no warning (torch 2.13; pytorch/functorch issue 534), and those are what differentiating
    through an inner loop needs.
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
        if not _under_vmap():
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
    return any(level.key() == TransformType.Vmap for level in retrieve_all_functorch_interpreters())


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
