"""Statistical rules on defects in [0, √2]: each states a null hypothesis and rejects it wrongly at most at level α.

All are one-sided and read the same way: the null says that the defect is *too large*, so that rejecting it certifies.
``p_refute`` belongs to the opposite null, that the defect is within the tolerance. A defect is that of one draw, in
units that do not depend on the draws: they were fixed before.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scipy import stats
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, NonFiniteError

__all__ = ["Outcome", "Rule", "Verdict", "draws_needed", "mean_rule", "tail_rule", "zero_failure_rule"]

Rule: TypeAlias = Literal["auto", "exact", "tail", "zero-failure", "mean"]
Verdict: TypeAlias = Literal["certified", "refuted", "cannot tell"]

LARGEST = math.sqrt(2)


@dataclass(frozen=True)
class Outcome:
    """What a rule says: the null in words, both p-values, the estimate and the one-sided ``1 − α`` bound on it."""

    null: str
    p_value: float
    p_refute: float
    estimate: float
    bound: float
    hint: str = ""

    def verdict(self, alpha: float) -> Verdict:
        """Certified if the null is rejected at α, refuted if the opposite null is, else cannot tell."""
        if self.p_value <= alpha:
            return "certified"
        return "refuted" if self.p_refute <= alpha else "cannot tell"


def draws_needed(alpha: float = 0.05, eta: float = 0.05) -> int:
    """Draws without a single failure that certify ``P(d > ε) < η`` at level α.

    ``⌈ln α / ln(1 − η)⌉``, 59 by default.
    """
    check_level("alpha", alpha)
    check_level("eta", eta)
    return math.ceil(math.log(alpha) / math.log1p(-eta))


@takes_arrays("defects")
def tail_rule(defects: Tensor, eps: float, alpha: float, eta: float) -> Outcome:
    """Null: ``P(d > ε) ≥ η``. Exact binomial test of the number of failures, with the Clopper-Pearson upper bound.

    Source: Clopper and Pearson, 1934.
    """
    _check_defects(defects)
    n, k = len(defects), int((defects > eps).sum())
    p = float(stats.binom.cdf(k, n, eta))
    bound = 1.0 if k == n else float(stats.beta.ppf(1 - alpha, k + 1, n - k))
    # The opposite null, P(d > ε) ≤ η, is rejected by many failures.
    refute = float(stats.binom.sf(k - 1, n, eta))
    need = draws_needed(alpha, eta)
    hint = f"at least {need} draws are needed for this eta and alpha" if n < need else ""
    return Outcome(f"P(d > {eps:g}) >= {eta:g}", p, refute, k / n, bound, hint)


@takes_arrays("defects")
def zero_failure_rule(defects: Tensor, eps: float, alpha: float, eta: float) -> Outcome:
    """Null: ``P(d > ε) ≥ η``; rejected only if no draw fails, ``p = (1 − η)^n``. A single failure ends it."""
    tail = tail_rule(defects, eps, alpha, eta)
    p = (1 - eta) ** len(defects) if tail.estimate == 0 else 1.0
    return Outcome(tail.null, p, tail.p_refute, tail.estimate, tail.bound, tail.hint)


@takes_arrays("defects")
def mean_rule(defects: Tensor, eps: float, alpha: float, cap: float = 2.0) -> Outcome:
    """Null: ``E min(d, cap · ε) ≥ ε``. Empirical-Bernstein bound on the mean of the capped defects.

    ``bound = mean + √(2 V ln(2/α) / n) + 7 R ln(2/α) / (3 (n − 1))`` with the sample variance ``V`` and the range
    ``R = min(cap · ε, √2)``. The cap makes the range follow the tolerance: without it, 64 draws cannot exclude a rare
    defect of √2 for any ε below about 0.2, whatever the test. So a rare large defect counts as ``cap · ε`` at most;
    where rare failures matter use the tail rule, or ``cap=inf`` and many draws.
    Source: Maurer and Pontil, arXiv:0907.3740, theorem 4.
    """
    _check_defects(defects)
    n = len(defects)
    if not cap > 1:
        raise ConfigError(f"the cap is a multiple of eps, above 1; got {cap}")
    if n < 2:
        raise ConfigError(f"the mean rule needs at least 2 draws; got {n}")
    most = min(cap * eps, LARGEST)
    capped = defects.clamp(max=most)
    mean, spread = float(capped.mean()), math.sqrt(2 * float(capped.var()) / n)
    slope = 7 * most / (3 * (n - 1))

    def bound(level: float) -> float:
        log = math.log(2 / level)
        return mean + spread * math.sqrt(log) + slope * log

    def p_value(gap: float) -> float:
        """The level at which the bound is just ``gap`` away from the mean: a quadratic in ``√ln(2/p)``."""
        if gap <= 0:
            return 1.0
        root = (-spread + math.sqrt(spread**2 + 4 * slope * gap)) / (2 * slope)
        return min(1.0, 2 * math.exp(-(root**2)))

    hint = "" if slope * math.log(2 / alpha) < eps else "too few draws: even defects of zero could not certify"
    name = f"E min(d, {most:.3g})" if most < LARGEST else "E d"
    return Outcome(f"{name} >= {eps:g}", p_value(eps - mean), p_value(mean - eps), mean, min(bound(alpha), most), hint)


def _check_defects(defects: Tensor) -> None:
    if defects.ndim != 1 or len(defects) == 0:
        raise ConfigError(f"defects must be (draws,), at least one; got {tuple(defects.shape)}")
    if not defects.isfinite().all():
        raise NonFiniteError("some defect is nan or infinite, which must not read as a pass")


def check_level(name: str, value: float) -> None:
    """Raise ConfigError unless a probability lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ConfigError(f"{name} must be between 0 and 1; got {value}")
