"""Evaluate a function in float64, where that is possible, to see what a coarser precision rounds away."""

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

__all__ = ["InFloat64"]

_IN_PLACE = ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__", "__ifloordiv__")


class InFloat64:
    """Evaluates a function in float64: by a copy of the module, or as it is, or with torch's functions in float64."""

    def __init__(self, f: Function, rep_in: AnyRepresentation, inside: Interior):
        self.f = f
        self.rep_in = rep_in
        self.inside = inside
        self._copy: Function | None = None

    def rows(self, x: Tensor, *, whatever_it_takes: bool = False) -> Tensor | None:
        """``f(x)``, ``(rows, dim)`` float64; None where the function cannot be evaluated in float64.

        Args: ``whatever_it_takes``: where ``f`` refuses float64, as a plain function does that holds a float32 module,
        each of torch's functions that it calls gets its floating point arguments in float64.
        """
        y = self._tried(self._own_copy, x)
        if y is None and whatever_it_takes:
            y = self._tried(self._converted, x)
        return y

    def _tried(self, call: Callable[[Tensor], Any], x: Tensor) -> Tensor | None:
        """``call(x)`` on ``x`` in float64, ``(rows, dim)``; None where it raises, or returns another precision."""
        try:
            y = outputs(call, x.double() if x.is_floating_point() else x, self.rep_in, self.inside)
        except Exception:  # some functions do not take float64, and some modules cannot be copied
            return None
        # A function may convert inside; an output that is not float64 has been rounded on the way.
        return y.reshape(len(x), -1) if y.dtype == torch.float64 else None

    def _own_copy(self, x: Tensor) -> Any:
        """The value of a float64 copy of the module, which is made once and kept; of a plain function its own."""
        if self._copy is None:
            self._copy = copy.deepcopy(self.f).double() if isinstance(self.f, nn.Module) else self.f
        return self._copy(x)

    def _converted(self, x: Tensor) -> Any:
        """The value of the function itself, while torch's functions work in float64."""
        with _Float64Mode():
            return self.f(x)


class _Float64Mode(TorchFunctionMode):
    """Within this mode every function of torch gets its floating point arguments in float64, and returns float64.

    Conversions to float32 or half precision are skipped. Raises NotImplementedError for a function that works in place
    on a tensor of another floating point precision.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        # In-place functions would change the converted copy, and leave the tensor itself as it was.
        changes = name in _IN_PLACE or (name.endswith("_") and not name.endswith("__"))
        if (changes or kwargs.get("inplace") or kwargs.get("out") is not None) and any(
            isinstance(value, Tensor) and _as_float64(value) is not value for value in (*args[:1], kwargs.get("out"))
        ):
            raise NotImplementedError("a copy would be changed in the place of the tensor itself")
        if name in ("float", "half", "bfloat16"):
            return _as_float64(args[0])  # a conversion to a coarser precision is skipped
        args = tree_map(_as_float64, args)
        kwargs = tree_map(_as_float64, kwargs)
        return tree_map(_as_float64, func(*args, **kwargs))


def _as_float64(value: Any) -> Any:
    """A floating point tensor in float64, and float64 for a floating point dtype; anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.double()
    # A dtype may be an argument, as in x.to(torch.float32), which would round again.
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    return value
