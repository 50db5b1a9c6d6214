"""A test of the null hypothesis that independent numbers are symmetric about zero, valid for any tails and sizes."""

import math

import torch
from scipy.stats import norm
from torch import Tensor

__all__ = ["symmetric_p_value"]

# The least c with P(Σ εᵢ aᵢ ≥ z) ≤ c · P(N ≥ z) for all z, random signs ε and Σ a² = 1; it is about 3.18.
_SIGN_FACTOR = 1 / (4 * float(norm.sf(math.sqrt(2))))


def symmetric_p_value(values: Tensor, floor: Tensor | float = 0.0) -> float:
    """P-value of the null that independent numbers are symmetric about zero, against a mean above zero.

    ``p = c · P(N ≥ Σ v / √(Σ v² + floor²))`` with ``c = 3.18``. Under the null, given the sizes ``|v|``, the signs are
    fair coins, so the bound holds for any sizes and any number of them: neither moments nor equal scales are needed.
    Numbers that have mean zero and are not symmetric are covered as far as the factor 3.18 goes.

    Shapes: ``values (count,)``; ``floor``, a number or ``(count,)``, is what rounding may have added to each number.
    Source: Bentkus and Dzindzalieta (2015, doi:10.3150/13-BEJ580).
    """
    size = math.sqrt(float(values.square().sum() + torch.as_tensor(floor).square().sum()))
    if size == 0:
        return 1.0
    return min(1.0, _SIGN_FACTOR * float(norm.sf(float(values.sum()) / size)))
