"""Batch norm for few-shot learning: the statistics of the set at hand, and derivatives that vmap gets right."""

import torch
from torch import Tensor, nn

from msr.meta.exact import set_norm
from msr.modules import PackageModule, with_parts_replaced

__all__ = ["SetNorm", "use_set_statistics"]

# The compiler of torch 2.14 fails on tensors that are parts of a graph already, which an inner loop's are. The first
# name is not public, and a version of torch may lack it. The public one imports the whole compiler at once, which is a
# third of the time that this package takes to be imported; the first one waits for a call.
_without_compiler = getattr(torch, "_disable_dynamo", torch.compiler.disable)


class SetNorm(PackageModule, plain=True):  # it runs its exact form itself
    """``(x − mean) / √(var + ε) · weight + bias`` over all axes but the channels', with the biased variance; no running
    statistics.

    Written out in elementary operations (:mod:`msr.meta.exact.norms` says why), with statistics in float32 where ``x``
    is in half precision; the result has the type of ``x``.
    Shapes: ``(n, channels, ...)`` to the same; ``weight, bias (channels,)`` or None.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm):
        super().__init__()
        self.eps = norm.eps
        self.register_parameter("weight", norm.weight)
        self.register_parameter("bias", norm.bias)

    @_without_compiler
    def forward(self, x: Tensor) -> Tensor:
        """The set ``x (n, channels, ...)`` normalised by its own statistics, of the same shape and type."""
        return set_norm(x, self.weight, self.bias, self.eps)


def use_set_statistics(module: nn.Module) -> nn.Module:
    """Replace every batch norm, in place, by one that uses the set it is given, in ``eval()`` too, and return the
    module.

    Parameters stay the same tensors under the same names. For a module that is a batch norm itself, what replaces it is
    returned.
    """
    # One twin for each norm, also where a network uses it at several places.
    norms: dict[nn.Module, nn.Module] = {
        part: SetNorm(part) for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)
    }
    return with_parts_replaced(module, norms)
