"""Biases that hide tokens from each other."""

import torch
from torch import Tensor

from msr.flow.arguments import token_count

__all__ = ["causal_bias"]


def causal_bias(n: int) -> Tensor:
    """The bias under which token ``i`` sees the tokens ``j ≤ i`` alone: 0 there, and -inf elsewhere.

    Shapes: the result is ``(n, n)`` float64. Raises: ConfigError unless ``n`` is a whole number above 0.
    """
    n = token_count(n, "n")
    return torch.full((n, n), -torch.inf, dtype=torch.float64).triu(1)
