"""A way out of inference mode, in which no gradient can be taken."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from msr.trees import mapped

__all__ = ["outside_inference_mode"]

_F = TypeVar("_F", bound=Callable)


def outside_inference_mode(method: _F) -> _F:
    """The method, made to run under ``torch.no_grad()`` instead where inference mode is on around the call.

    An inner loop takes gradients, in evaluation too. In inference mode that gives an error, or silently no step at all,
    by the version of torch and the library that takes the steps. Tensors that were made in inference mode are copied,
    since autograd refuses them from then on.
    """

    @functools.wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_inference_mode_enabled():
            return method(self, *args, **kwargs)
        with torch.inference_mode(mode=False), torch.no_grad():
            # no_grad(), because the caller asked for no history of the result either.
            return method(self, *mapped(_usable, args), **mapped(_usable, kwargs))

    return run  # type: ignore[return-value]


def _usable(leaf: Any) -> Any:
    """A copy of a tensor that was made in inference mode; anything else as it is."""
    return leaf.clone() if isinstance(leaf, Tensor) and leaf.is_inference() else leaf
