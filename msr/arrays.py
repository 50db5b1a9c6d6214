"""Tensors from what callers give: NumPy arrays, whatever converts to one, and lists of numbers."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from msr.errors import DataError, ShapeError

__all__ = ["as_tensor", "is_wrapped", "kind_of", "takes_arrays"]

_F = TypeVar("_F", bound=Callable)
# Type codes of NumPy for which every version of torch has a dtype.
_NUMBERS = "?bhilqBfdeFD"


def as_tensor(value: Any, name: str) -> Tensor:
    """``value`` as a dense tensor; ``name`` is what the caller calls it.

    A dense tensor is returned as it is, with its history. A sparse one is made dense. An array shares its memory where
    torch can read that, and keeps its dtype; Python numbers take torch's default dtype.

    Raises: DataError for what holds no numbers, or hides some of them (a masked array); ShapeError for rows of unequal
    lengths, naming the lengths.
    """
    if isinstance(value, Tensor):
        if value.is_nested:
            raise _ragged(name, [len(part) for part in value.unbind()], "nested tensor")
        return value if value.layout == torch.strided else value.to_dense()
    if isinstance(value, (list, tuple)):
        return _stacked(value, name)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{name} is a masked array, and a tensor has no mask; fill it, or leave those entries out")
    if isinstance(value, (str, bytes, dict, set)) or value is None or callable(value):
        raise _no_tensor(value, name)
    return _of_array(value, name)


def takes_arrays(*names: str) -> Callable[[_F], _F]:
    """A decorator that turns the arguments of these names into tensors, by :func:`as_tensor`, before the call.

    Some arguments are passed on as they are: None where it is the default, and a callable where the annotation allows
    one (a map in place of its weight). Each item of a mapping, where the annotation has one, and each of ``*arguments``
    is turned by itself. An argument that is a dense tensor costs one type check.
    """

    def decorated(function: _F) -> _F:
        parameters = list(inspect.signature(function).parameters.values())
        by_place = {
            place: _Accepted.of(p)
            for place, p in enumerate(parameters)
            if p.name in names and p.kind is not p.VAR_POSITIONAL
        }
        by_name = {accepted.name: accepted for accepted in by_place.values()}
        # The place of ``*arguments``, if these are to be turned.
        rest = next((i for i, p in enumerate(parameters) if p.name in names and p.kind is p.VAR_POSITIONAL), None)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            for place, accepted in by_place.items():
                if place < len(args) and not _is_dense(args[place]):
                    args = (*args[:place], accepted.converted(args[place]), *args[place + 1 :])
            for name in names:
                if name in kwargs and not _is_dense(kwargs[name]):
                    kwargs[name] = by_name[name].converted(kwargs[name])
            if rest is not None:
                args = (*args[:rest], *(as_tensor(value, parameters[rest].name) for value in args[rest:]))
            return function(*args, **kwargs)

        return run  # type: ignore[return-value]

    return decorated


class _Accepted(NamedTuple):
    """What an argument may be beside a tensor: None, a callable, or a mapping of tensors."""

    name: str
    optional: bool
    callable: bool
    mapping: bool

    @classmethod
    def of(cls, parameter: inspect.Parameter) -> "_Accepted":
        """What a parameter accepts, read from its default and the text of its annotation."""
        kinds = str(parameter.annotation)
        return cls(parameter.name, parameter.default is None, "Callable" in kinds, "Mapping" in kinds)

    def converted(self, value: Any) -> Any:
        """The value as a tensor; a mapping with each item as one; None or a callable as it is where it is accepted."""
        if (value is None and self.optional) or (self.callable and callable(value)):
            return value
        if self.mapping and isinstance(value, Mapping):
            return {key: as_tensor(item, f"{self.name}[{key!r}]") for key, item in value.items()}
        return as_tensor(value, self.name)


def _is_dense(value: Any) -> bool:
    """Whether a value is a tensor that needs no conversion."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_nested


def is_wrapped(tensor: Tensor) -> bool | None:
    """Whether a function transform (``vmap``, ``grad``) has wrapped a tensor, so that its numbers cannot be read.

    torch's own test is not public; None for a version of torch without it.
    """
    test = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", None)
    return None if test is None else test(tensor)


def kind_of(value: Any) -> str:
    """What a value is, for a message: its type, and its shape where it has one."""
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")


def _of_array(value: Any, name: str) -> Tensor:
    """A tensor from whatever NumPy can convert, sharing its memory where torch allows that.

    Raises: DataError for what NumPy cannot convert, or is no array of numbers; ``name`` is its name in messages.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # conversion is the object's own code, which can fail in any way
        raise _no_tensor(value, name) from error
    if array.dtype.char not in _NUMBERS:
        raise DataError(f"{name} must hold numbers that torch knows; got an array of {array.dtype}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    # torch warns of memory that it must not write to, and has no negative strides.
    if not array.flags.writeable or any(step < 0 for step in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def _stacked(rows: list | tuple, name: str) -> Tensor:
    """A tensor from a list of tensors, arrays, or nested lists of numbers, stacked along a new first axis.

    Raises: ShapeError for rows of unequal shapes; DataError for what holds no numbers.
    """
    if any(isinstance(row, Tensor) for row in rows):
        parts = [as_tensor(row, name) for row in rows]
        if len({part.shape for part in parts}) > 1:
            raise _ragged(name, [len(part) if part.ndim else 1 for part in parts], "list")
        return torch.stack(parts)
    try:
        array = np.asarray(rows)
    except ValueError as error:
        lengths = [len(row) if hasattr(row, "__len__") else 1 for row in rows]
        raise _ragged(name, lengths, "list") from error
    if any(isinstance(row, np.ndarray) for row in rows):
        return _of_array(array, name)
    if array.dtype.char not in _NUMBERS:
        raise _no_tensor(rows, name)
    return torch.as_tensor(rows)


def _ragged(name: str, lengths: list[int], kind: str) -> ShapeError:
    """The error, to be raised, for rows that do not stack: of unequal lengths, or of equal lengths and unequal shapes.

    Args:
        name: what the caller calls the rows together.
        lengths: of the rows along their first axis.
        kind: what holds the rows, such as ``list``.
    """
    shown = ", ".join(map(str, lengths[:8])) + (", …" if len(lengths) > 8 else "")
    if len(set(lengths)) == 1:
        return ShapeError(
            f"{name} is a {kind} of {len(lengths)} tensors of different shapes; they need one shape to be stacked"
        )
    return ShapeError(
        f"{name} is a {kind} of unequal lengths ({shown}); a tensor needs equal ones: pad to {max(lengths)} and leave "
        "the padding out of what is computed"
    )


def _no_tensor(value: Any, name: str) -> DataError:
    """The error, to be raised, for a value that holds no numbers."""
    return DataError(f"{name} must be a tensor, an array or numbers; got {kind_of(value)}")
