"""Values that cannot change after they are made: groups, representations, and the arrays that they hold."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from msr.errors import ShapeError

__all__ = ["Immutable", "as_array", "frozen", "refrozen"]


class Immutable:
    """A base class whose instances refuse that attributes are set or deleted (AttributeError), since they are compared
    and cached.

    Constructors write with ``self.__dict__.update(...)``, and so do cached properties. Pickled and copied instances get
    their arrays back read-only.
    """

    name: str
    plural: ClassVar[str] = "values"
    """What instances of the class are called in the messages of errors, such as "groups"."""

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"{self.name}: {self.plural} are immutable; build another instead of setting {key!r}")

    def __delattr__(self, key: str) -> None:
        raise AttributeError(f"{self.name}: {self.plural} are immutable; {key!r} cannot be removed")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(refrozen(state))


def as_array(values: ArrayLike | torch.Tensor, name: str) -> NDArray[Any]:
    """A NumPy array from an array, a tensor (detached, on the CPU) or nested lists; its dtype is kept, and where it can
    be the memory is shared.

    ``name`` begins the message of the ShapeError that rows of different length raise.
    """
    if isinstance(values, torch.Tensor):
        return np.asarray(values.detach().cpu())
    try:
        return np.asarray(values)
    except ValueError:
        lengths = sorted({np.shape(row) for row in values}) if isinstance(values, Iterable) else []
        shown = ", ".join(map(str, lengths[:4]))
        raise ShapeError(f"{name}: all rows must have the same length; got {shown}") from None


def frozen(array: NDArray) -> NDArray:
    """A copy of the array that cannot be written to."""
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def refrozen(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a pickled or copied value, a new dictionary in which each array is a read-only copy.

    NumPy hands arrays back writable. Arrays inside of other values stay as they are.
    """
    return {key: frozen(value) if isinstance(value, np.ndarray) else value for key, value in state.items()}
