"""Leaving inference mode, in which no slope can be taken."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from msr.trees import mapped

__all__ = ["outside_inference_mode"]

_F = TypeVar("_F", bound=Callable)


def outside_inference_mode(method: _F) -> _F:
    """Run a method as under ``torch.no_grad()`` where inference mode is on around the call.

    An inner loop takes slopes, in evaluation too, and what inference mode does to a slope depends on the version of
    torch and on the library that takes the steps: an error, or a step that is lost with no word. Tensors that were made
    in inference mode are copied, since autograd refuses them ever after.
    """

    @functools.wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_inference_mode_enabled():
            return method(self, *args, **kwargs)
        with torch.inference_mode(mode=False), torch.no_grad():
            return method(self, *mapped(_normal, args), **mapped(_normal, kwargs))

    return run  # type: ignore[return-value]


def _normal(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) and leaf.is_inference() else leaf
