"""Bets against a null hypothesis: an e-value is what a bettor who starts with 1 owns after betting on the data.

Where the null holds, the mean of an e-value is at most 1, so it is ``1/α`` or more with probability at most ``α``
(Markov's inequality), and ``1 / e`` is a p-value. E-values may be averaged, with weights that were fixed beforehand,
however they depend on each other; p-values may not.

Null hypotheses, for independent numbers:

- :func:`e_against_nonnegative_mean`: the clipped mean is zero or more. It speaks for a *small* mean.
- :func:`capped_mean_p_value`: the capped mean is a limit or more. It speaks for a small mean too, of numbers of which
  most are far below the limit. It could be written as a bet of the first kind, and is not: it averages over several
  clips, and over 20 sizes of the bet instead of 5, so it gives other p-values.
- :func:`e_against_symmetry`: the numbers are symmetric around zero. It speaks for a *positive* mean.

Sources: Waudby-Smith and Ramdas, arXiv:2010.09686; de la Peña, 1999; Vovk and Wang, arXiv:1912.06116.
"""

import math

import torch
from torch import Tensor

__all__ = ["capped_mean_p_value", "e_against_nonnegative_mean", "e_against_symmetry"]

# Sizes of the bet, as shares of the largest that cannot lose everything, from timid to bold. The average over them
# needs no tuning: it loses a factor of 5 at most against the best of them. Chosen by hand.
_BETS = torch.tensor([0.1, 0.2, 0.4, 0.65, 0.95], dtype=torch.float64)
# The same for the bet against a limit: 20 of them, since there the best size depends on the data more.
_FINE_BETS = torch.linspace(0.05, 0.999, 20, dtype=torch.float64)
# Effects to bet on against symmetry: the sum in its own standard errors. A bet on d wins where the sum is above d / 2.
_EFFECTS = torch.tensor([2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
CLIPS = (4.0, 16.0, 64.0, 256.0)
"""Where numbers are cut in the bet against a limit, in multiples of the limit. The smallest is the cap of the null
hypothesis. Larger ones leave more of large and of negative numbers as they are, at the price of a wider range. Chosen
by hand."""

# Logarithm of the largest e-value that is returned, since exp(709) is the last that float64 holds.
_LARGEST_LOG = 700.0


def e_against_nonnegative_mean(values: Tensor, reach: float) -> float:
    """E-value against the null ``E min(z, reach) ≥ 0``: large where the numbers are negative.

        mean over λ of Π (1 − λ zᵢ / reach),   0 < λ < 1, z clipped to ±reach

    Clipping from below makes the numbers larger, so it favours the null. ``reach`` has the unit of the numbers, and
    must be fixed before they are seen.

    Shapes: ``values (n,)``, independent; 1 for no number.
    """
    z = (values / reach).clamp(-1, 1)
    log_wealth = torch.log1p(-_BETS[:, None] * z[None]).sum(1)
    return _mixed(log_wealth)


def e_against_symmetry(values: Tensor) -> float:
    """E-value against the null that each number is symmetric around 0 or below: large where they are positive.

        mean over effects d of exp(l S − l² V / 2),   S = Σ zᵢ, V = Σ zᵢ², l = d / √V

    A number ``z`` that is symmetric has ``E exp(l z − l² z²/2) ≤ 1`` for every ``l``, however heavy its tails are.
    ``V`` depends on the data; but given the sizes ``|zᵢ|``, which fix ``V``, signs alone vary, so ``l`` may use it.

    Shapes: ``values (n,)``, independent; 1 where all are zero, or there are none. Without a unit: multiplying all
    numbers by the same positive factor changes nothing.
    """
    size = float(values.square().sum().sqrt())
    if size == 0:
        return 1.0
    effect = float(values.sum()) / size
    return _mixed(_EFFECTS * effect - _EFFECTS.square() / 2)


def capped_mean_p_value(values: Tensor, limit: float, *, clips: tuple[float, ...] = CLIPS) -> float:
    """P-value of the null ``E min(s, c · limit) ≥ limit``, ``c = 4``: small where most numbers are far below it.

    One over the e-value that averages bets over their sizes and over clips. For a clip ``d`` a number counts
    as ``−(d − c) · limit`` at least and as ``d · limit`` at most. Both leave a mean no smaller than that of the null,
    which favours the null.

    Args: ``clips``: where numbers are cut, in multiples of the limit, smallest first; that one is ``c``.
    Shapes: ``values (n,)``, independent. ``limit`` has their unit, and must be fixed before they are seen.
    """
    log_wealth = []
    for clip in clips:
        # Numbers are mapped to [0, 1] first, where a bet of λ / (1 − m) against the mean m cannot lose everything.
        low = -(clip - clips[0]) * limit
        high = clip * limit
        x = (values.clamp(low, high) - low) / (high - low)
        m = (limit - low) / (high - low)
        bets = _FINE_BETS / (1 - m)
        log_wealth.append(torch.log1p(bets[:, None] * (m - x)).sum(1))
    every = torch.cat(log_wealth)
    return min(1.0, float(torch.exp(math.log(len(every)) - torch.logsumexp(every, 0))))


def _mixed(log_wealth: Tensor) -> float:
    """The mean of what several bettors own, from the logarithms ``(bettors,)``; at most ``exp(700)``."""
    return math.exp(min(float(torch.logsumexp(log_wealth, 0)) - math.log(len(log_wealth)), _LARGEST_LOG))
