"""Sign tests of one null hypothesis: independent numbers, each of which is symmetric about zero.

Given the sizes ``|zᵢ|``, the signs are then fair coins, so a test that looks at signs alone holds its level for any
sizes, however unequal or heavy-tailed they are. All are one-sided: they reject where the sum is too large.

- :func:`sign_flip_p_values` compares the sum with sums of the same sizes under random signs. It is exact, and needs
  draws; its smallest p-value is set by their number.
- :func:`symmetric_p_value` is a formula. It is larger than the exact p-value, but reaches any smallness, and admits a
  floor of rounding.
- :func:`msr.statistics.betting.e_against_symmetry` gives an e-value, which may be averaged over splits.

The first two stay apart, since they give different numbers for the same data, and each is calibrated where it is used.
"""

import math

import torch
from scipy.stats import norm
from torch import Tensor

from msr.statistics.randomisation import randomisation_p_value

__all__ = ["symmetric_p_value", "sign_flip_p_values"]

# P(Σ εᵢ aᵢ ≥ z) ≤ this · P(N ≥ z) for random signs ε and Σ a² = 1. The constant, 3.18, is the smallest that serves: at
# z = √2 two equal numbers attain it.
_SIGN_FACTOR = 1 / (4 * float(norm.sf(math.sqrt(2))))

FLIPS = 9999
"""Random choices of all signs, so that no p-value is below 1e-4: far below any level in use. Chosen by hand."""

ALL_FLIPS = 12
"""Up to so many numbers all 2^n choices of signs are looked at instead, at most 4096."""

TIE = 1e-12
"""Sums closer than this share of the sum of sizes are equal: the same numbers added in another order differ by some
1e-16 of it. Chosen by hand."""

# Signs held in memory at once: 2^22 of eight bytes are 32 MiB.
_SIGNS_AT_ONCE = 2**22
# Rows of signs drawn in one call, at most.
_ROWS_AT_ONCE = 1111


def symmetric_p_value(values: Tensor, floor: Tensor | float = 0.0) -> float:
    """P-value of the null that independent numbers are symmetric about zero, against a mean above zero.

    ``p = c · P(N ≥ Σ v / √(Σ v² + floor²))`` with ``c = 3.18`` and a standard normal ``N``. The bound holds for any
    sizes and any number of them: it needs neither moments nor equal scales. Numbers that have mean zero and are not
    symmetric are covered as far as the factor 3.18 goes. It is 1 at most, and 1 where all numbers and floors are zero.

    Shapes: ``values (n,)``; ``floor``, the size of the rounding of each value, ``(n,)`` or one number for their sum.
    Source: Bentkus and Dzindzalieta (2015, doi:10.3150/13-BEJ580).
    """
    size = math.sqrt(float(values.square().sum() + torch.as_tensor(floor).square().sum()))
    if size == 0:
        return 1.0
    return min(1.0, _SIGN_FACTOR * float(norm.sf(float(values.sum()) / size)))


def sign_flip_p_values(
    values: Tensor, seed: int, *, flips: int = FLIPS, all_flips: int = ALL_FLIPS, tie: float = TIE
) -> Tensor:
    """P-value of each column, of the null that its numbers are symmetric about zero, against a sum above zero.

    The share of choices of signs whose sum is at least as large as the sum observed. Up to ``all_flips`` rows all
    choices are looked at, so no p-value is below ``2^-rows``; beyond that ``flips`` random ones and the observed one.

    Args:
        seed: of the random signs.
        flips: how many random choices.
        all_flips: up to how many rows all choices are looked at.
        tie: sums that differ by less than this share of the sum of sizes are equal.

    Shapes: ``values (n, columns)``, float64, gives ``(columns,)``. The rows must be independent.
    """
    n = len(values)
    total = values.sum(0)
    # The same numbers summed in another order differ in their last digits, and still count as equal.
    least = total - tie * values.abs().sum(0)
    if n <= all_flips:
        return (_all_signs(n) @ values >= least).double().mean(0)
    generator = torch.Generator().manual_seed(seed)
    # A random byte is eight random signs, drawn at once.
    signs_of_byte = _all_signs(8)
    at_least = torch.zeros(values.shape[1], dtype=torch.float64)
    # The generator gives the same bytes however the rows are cut.
    rows = max(1, min(_ROWS_AT_ONCE, _SIGNS_AT_ONCE // n))
    for first in range(0, flips, rows):
        drawn = torch.randint(256, (min(rows, flips - first), (n + 7) // 8), generator=generator)
        at_least += (signs_of_byte[drawn].flatten(1)[:, :n] @ values >= least).sum(0)
    p_values = [randomisation_p_value(int(count), flips) for count in at_least.tolist()]
    return torch.tensor(p_values, dtype=torch.float64)


def _all_signs(n: int) -> Tensor:
    """Every choice of ``n`` signs, one in each row, ``(2^n, n)``: 1 or −1 in float64."""
    return 1.0 - 2.0 * ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1).double()
