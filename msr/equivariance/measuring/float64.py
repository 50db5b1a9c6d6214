"""What a function gives in float64, where that can be had: what a coarser precision rounds away is seen there."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Function, outputs
from msr.representations import AnyRepresentation

__all__ = ["Finer"]

_IN_PLACE = ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__", "__ifloordiv__")


class Finer:
    """A function as it would be in float64: a copy of a module, a function as it is, else one that is made to."""

    def __init__(self, f: Function, rep_in: AnyRepresentation, inside: Interior):
        self.f, self.rep_in, self.inside = f, rep_in, inside
        self._copy: Function | None = None

    def rows(self, x: Tensor, *, whatever_it_takes: bool = False) -> Tensor | None:
        """``f(x)``, ``(rows, dim)``; None where it cannot be had.

        ``whatever_it_takes``: a function that holds a float32 module refuses float64, so each of torch's functions that
        it calls is given float64 in the place of what it was given.
        """
        found = self._tried(self._own_copy, x)
        if found is None and whatever_it_takes:
            found = self._tried(self._made_finer, x)
        return found

    def _tried(self, call: Callable[[Tensor], Any], x: Tensor) -> Tensor | None:
        try:
            y = outputs(call, x.double() if x.is_floating_point() else x, self.rep_in, self.inside)
        except Exception:  # it need not take float64, nor be copied
            return None
        return y.reshape(len(x), -1) if y.dtype == torch.float64 else None

    def _own_copy(self, x: Tensor) -> Any:
        if self._copy is None:
            self._copy = copy.deepcopy(self.f).double() if isinstance(self.f, nn.Module) else self.f
        return self._copy(x)

    def _made_finer(self, x: Tensor) -> Any:
        with _InFloat64():
            return self.f(x)


class _InFloat64(TorchFunctionMode):
    """Every function of torch is given float64, and gives it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        changes = name in _IN_PLACE or (name.endswith("_") and not name.endswith("__"))
        if (changes or kwargs.get("inplace") or kwargs.get("out") is not None) and any(
            isinstance(value, Tensor) and _finer(value) is not value for value in (*args[:1], kwargs.get("out"))
        ):
            raise NotImplementedError("a copy would be changed in the place of the tensor itself")
        if name in ("float", "half", "bfloat16"):
            return _finer(args[0])
        args, kwargs = tree_map(_finer, args), tree_map(_finer, kwargs)
        return tree_map(_finer, func(*args, **kwargs))


def _finer(value: Any) -> Any:
    """float64 in the place of what is coarser, of tensors and of dtypes; anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.double()
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    return value
