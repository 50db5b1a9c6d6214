"""Biases that hide tokens from each other."""

import torch
from torch import Tensor

from msr.errors import ConfigError

__all__ = ["causal_bias"]


def causal_bias(n: int) -> Tensor:
    """The bias under which token ``i`` sees the tokens ``j ≤ i`` alone: 0 there, and -inf elsewhere.

    Shapes: the result is ``(n, n)`` float64. Raises: ConfigError unless ``n`` is a whole number above 0.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ConfigError(f"n must be a whole number above 0; got {n!r}")
    return torch.full((n, n), -torch.inf, dtype=torch.float64).triu(1)
