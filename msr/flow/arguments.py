"""What the functions of this room accept: finite numbers, whole numbers, names, tokens; a message for each mistake."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.flow.dynamics.mlp import real_tensor
from msr.groups.group import whole_number

__all__ = ["KINDS", "check_exponential", "finite_number", "real_values", "token_batch", "token_count", "word_of"]

KINDS = ("sa", "usa")
"""Kinds of attention: ``sa`` weighs tokens by a softmax, ``usa`` by the exponentials over ``n``."""

_LARGEST = 700.0
"""Largest ``|β|`` for which ``e^β`` is a float64."""


def check_exponential(beta: float, kind: str) -> None:
    """Raise NonFiniteError for a ``β`` at which the speed of ``usa``, ``e^β``, is no float."""
    if kind == "usa" and abs(beta) > _LARGEST:
        raise NonFiniteError(f"beta = {beta}: e^beta leaves the range of floats; usa takes at most {_LARGEST:.0f}")


def finite_number(value: Any, name: str) -> float:
    """A real number as a float. Raises: ConfigError for what is none, a truth value among them; NonFiniteError."""
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    try:
        number = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
        is_number = not isinstance(value, (bool, str, bytes))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
        is_number = False
    if not is_number:
        raise ConfigError(f"{name} must be a real number; got {str(value)[:40]!r}")
    if not math.isfinite(number):
        raise NonFiniteError(f"{name} must be finite; got {number}")
    return number


def token_count(value: Any, name: str, least: int = 1) -> int:
    """A whole number of at least ``least``. Raises: ConfigError."""
    number = None if isinstance(value, bool) else whole_number(value)
    if number is None or number < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}; got {str(value)[:40]!r}")
    return number


def word_of(value: Any, name: str, words: Sequence[str]) -> str:
    """One of some words. Raises: ConfigError."""
    if value not in words:
        raise ConfigError(f"{name} must be one of {', '.join(words)}; got {str(value)[:40]!r}")
    return str(value)


def real_values(given: Any, name: str) -> Tensor:
    """What a caller gives as a tensor of any shape: a floating one keeps its precision and history, others are float64.

    Numbers of Python, alone or in lists, are float64 too, and not of torch's default precision: closed forms are
    compared to more digits than that has. Raises: DataError for what holds no real numbers, or none; NonFiniteError.
    """
    value = as_tensor(given, name)
    if value.dtype == torch.get_default_dtype() and not isinstance(given, (Tensor, np.ndarray)):
        # A list of numbers: once more, without a rounding to the default precision on the way.
        parts = isinstance(given, (list, tuple)) and any(isinstance(row, Tensor) for row in given)
        value = value if parts else as_tensor(np.asarray(given), name)
    value = real_tensor(value, name)
    if value.numel() == 0:
        raise DataError(f"{name} holds no number; got shape {tuple(value.shape)}")
    return value if value.is_floating_point() else value.to(torch.float64)


def token_batch(given: Any, name: str = "X") -> Tensor:
    """Tokens ``(n, d)`` or ``(batch, n, d)`` as ``(batch, n, d)``. Raises: ShapeError, DataError, NonFiniteError."""
    values = real_values(given, name)
    if values.ndim not in (2, 3):
        raise ShapeError(f"{name} must be tokens (n, d), or a batch of them (batch, n, d); got {tuple(values.shape)}")
    return values if values.ndim == 3 else values[None]
