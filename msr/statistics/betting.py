"""E-values: how much a bettor wins against a null hypothesis. If it holds, the mean is at most 1, whatever the numbers.

So an e-value of ``1/α`` or more has probability at most ``α`` (Markov), and e-values may be averaged, with weights that
were fixed beforehand, however they depend on each other. Sources: Waudby-Smith and Ramdas, arXiv:2010.09686; de la
Peña, 1999; Vovk and Wang, arXiv:1912.06116.
"""

import math

import torch
from scipy import stats
from torch import Tensor

__all__ = ["against_nothing", "against_positive", "most_exceptions"]

# Shares of the largest bet, from timid to all: a mixture of bets needs no tuning.
_BETS = torch.tensor([0.1, 0.2, 0.4, 0.65, 0.95], dtype=torch.float64)
# Sizes of an effect, in its own standard errors, to bet on against symmetry.
_EFFECTS = torch.tensor([2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
_MOST = 700.0  # the exponent at which float64 ends


def against_positive(values: Tensor, reach: float) -> float:
    """Against the null ``E min(z, reach) ≥ 0``, of independent numbers ``z``: large where they are negative.

        mean over λ of Π (1 − λ zᵢ / reach),   0 < λ < 1, z clipped to ±reach

    Clipping from below makes the numbers larger, so it is on the safe side. ``reach`` must be fixed beforehand.
    """
    z = (values / reach).clamp(-1, 1)
    gains = torch.log1p(-_BETS[:, None] * z[None]).sum(1)
    return _mixed(gains)


def against_nothing(values: Tensor) -> float:
    """Against the null that each number is symmetric around 0 or below: large where they are positive.

        mean over effects d of exp(l S − l² V / 2),   S = Σ zᵢ, V = Σ zᵢ², l = d / √V

    A number ``z`` that is symmetric has ``E exp(l z − l² z²/2) ≤ 1`` for every ``l``, however heavy its tails. ``V``
    is not known beforehand; given the sizes ``|zᵢ|`` the signs alone are random, and ``V`` is fixed.
    """
    spread = float(values.square().sum().sqrt())
    if spread == 0:
        return 1.0
    ratio = float(values.sum()) / spread
    return _mixed(_EFFECTS * ratio - _EFFECTS.square() / 2)


def most_exceptions(seen: int, tasks: int, alpha: float) -> float:
    """The share of tasks that may be such as ``seen`` of them are: its exact upper bound at level ``alpha``.

    Source: Clopper and Pearson, 1934. Where none was seen it is ``1 − α^(1/tasks)``, about ``log(1/α) / tasks``.
    """
    return 1.0 if seen >= tasks else float(stats.beta.ppf(1 - alpha, seen + 1, tasks - seen))


def _mixed(gains: Tensor) -> float:
    return math.exp(min(float(torch.logsumexp(gains, 0)) - math.log(len(gains)), _MOST))
