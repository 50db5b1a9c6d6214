"""Functions that call nothing which has an exact form, so that they run without looking at each call of torch.

To look at each call costs a tenth of a small outer step under vmap. Only functions and layers whose code is torch's or
this package's are known to need none; the calls of a network's own ``forward`` are looked at.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as library

from msr.modules import PackageModule

__all__ = ["LAYERS", "LOSSES", "KnownFunction", "is_plain_function", "is_plain_module", "no_hooks_for_all"]

_LAYERS = (
    "Identity Flatten Unflatten Linear Bilinear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d "
    "AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d MaxPool1d MaxPool2d MaxPool3d "
    "ReLU LeakyReLU ELU SELU GELU SiLU Softplus Sigmoid Tanh"
)
LAYERS = frozenset(getattr(nn, name) for name in _LAYERS.split())
_LOSSES = (
    "mse_loss l1_loss smooth_l1_loss huber_loss cross_entropy nll_loss binary_cross_entropy "
    "binary_cross_entropy_with_logits"
)
LOSSES = frozenset(getattr(F, name) for name in _LOSSES.split())
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class KnownFunction(ABC):
    """A function of this package that knows whether what it calls has an exact form."""

    @property
    @abstractmethod
    def is_plain(self) -> bool:
        """Whether it calls nothing that has an exact form."""


def is_plain_function(function: Callable) -> bool:
    """Whether a function is known to need no exact form: one of torch's losses, or one that knows it of itself."""
    if isinstance(function, KnownFunction):
        return function.is_plain
    return isinstance(function, type(F.mse_loss)) and function in LOSSES


def is_plain_module(module: nn.Module) -> bool:
    """Whether all layers of a module are of known classes, with their classes' own ``forward`` and no hook.

    A layer of this package says so of its own class (:class:`msr.modules.PackageModule`).
    """
    return all(_is_plain(part) for part in module.modules())


def no_hooks_for_all() -> bool:
    """Whether no hook for all modules is registered, which could call anything."""
    has_hook = getattr(library, "_has_any_global_hook", None)  # not public, so a version of torch may lack it
    return has_hook is not None and not has_hook()


def _is_plain(part: nn.Module) -> bool:
    """Whether one module, its parts aside, is of a known class, with that class's own ``forward`` and no hook."""
    kind = type(part)
    # The exact class counts: a subclass may have a forward that calls anything.
    known = kind in LAYERS or kind is nn.Sequential or (issubclass(kind, PackageModule) and kind.is_plain)
    return known and "forward" not in vars(part) and not any(getattr(part, name, None) for name in _HOOKS)
