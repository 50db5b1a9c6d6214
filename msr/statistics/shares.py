"""Shares: how large may the probability of a failure be, given how many of ``n`` independent draws failed?"""

import math

from scipy import stats

from msr.statistics.levels import check_level

__all__ = ["draws_needed", "upper_share"]


def upper_share(count: int, draws: int, alpha: float) -> float:
    """The one-sided exact upper bound of a probability, where ``count`` of ``draws`` independent draws were cases.

    It is the largest ``p`` with ``P(Binomial(draws, p) ≤ count) ≥ α``, and it is below the true probability with
    probability ``alpha`` at most. Without a single case it is ``1 − α^(1/draws)``, about ``ln(1/α) / draws``; it is 1
    where all draws were cases, or there was none.

    Args:
        count: how many draws were cases.
        draws: how many there were.
        alpha: the level α, a probability.

    Source: Clopper and Pearson, 1934.
    """
    return 1.0 if count >= draws else float(stats.beta.ppf(1 - alpha, count + 1, draws - count))


def draws_needed(alpha: float = 0.05, eta: float = 0.05) -> int:
    """How many draws without a single failure certify ``P(d > ε) < η`` at level α.

    ``⌈ln α / ln(1 − η)⌉``, 59 by default.

    Args:
        alpha: the level, a probability: how often such a certificate may be wrong.
        eta: the share of draws that may fail.

    Raises: ConfigError unless both lie strictly between 0 and 1.
    """
    check_level("alpha", alpha)
    check_level("eta", eta)
    return math.ceil(math.log(alpha) / math.log1p(-eta))
