"""Rules that certify from draws: each is a value that states a null hypothesis about defects, and tests it.

All are one-sided and read the same way: the null hypothesis says that the defect is *too large*, so that rejecting it
certifies. Where the null holds, it is rejected with probability α at most. ``p_refute`` belongs to the opposite null,
that the defect is within the tolerance.

A defect ``d`` belongs to one draw. It has no unit: 0 means equivariant, 1 is what unrelated outputs give, √2 is the
largest there is. What it was divided by must have been fixed before the draws.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from jaxtyping import Float
from scipy import stats
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, NonFiniteError
from msr.statistics.levels import check_level
from msr.statistics.shares import draws_needed, upper_share

__all__ = ["Mean", "Outcome", "Sampled", "Tail", "Verdict", "ZeroFailure"]

Verdict: TypeAlias = Literal["certified", "refuted", "cannot tell"]

LARGEST = math.sqrt(2)
"""The largest defect: both outputs are as far from the centre as they can be, on opposite sides."""


@dataclass(frozen=True)
class Outcome:
    """The result of a rule on some draws: p-values, an estimate and its bound.

    Attributes:
        null: the null hypothesis in words.
        p_value: of the null; small certifies.
        p_refute: of the opposite null, that the defect is within the tolerance; small refutes.
        estimate: of the quantity in the null: a share of draws, or a mean defect.
        bound: the one-sided ``1 − α`` upper bound of the same quantity.
        hint: why these draws could not have certified, or "".
    """

    null: str
    p_value: float
    p_refute: float
    estimate: float
    bound: float
    hint: str = ""

    def verdict(self, alpha: float) -> Verdict:
        """``certified`` if the null is rejected at level ``alpha``, ``refuted`` if only the opposite null is.

        Otherwise ``cannot tell``. ``alpha`` is a probability.
        """
        if self.p_value <= alpha:
            return "certified"
        return "refuted" if self.p_refute <= alpha else "cannot tell"


@dataclass(frozen=True)
class Tail:
    """The rule with the null hypothesis ``P(d > ε) ≥ η``, tested by how many draws fail (exact binomial test).

    Args:
        eta: the share η of draws whose defect may be above ε, strictly between 0 and 1.

    The bound is that of Clopper and Pearson (1934), :func:`msr.statistics.shares.upper_share`.
    """

    eta: float = 0.05
    name: ClassVar[Literal["tail"]] = "tail"

    def __post_init__(self) -> None:
        check_level("eta", self.eta)

    @takes_arrays("defects")
    def judge(self, defects: Float[Tensor, " draws"], eps: float, alpha: float) -> Outcome:
        """Test independent defects ``(draws,)`` in [0, √2]; ``eps`` is a defect, ``alpha`` a probability.

        Raises: ConfigError for no draws; NonFiniteError for nan or infinity.
        """
        return _tail(self.eta, defects, eps, alpha)


@dataclass(frozen=True)
class ZeroFailure:
    """The rule with the null hypothesis of :class:`Tail`, but rejected only if no draw fails: ``p = (1 − η)^n``.

    Args:
        eta: the share η of draws whose defect may be above ε, strictly between 0 and 1.

    It takes :func:`draws_needed` draws, 59 by default.
    """

    eta: float = 0.05
    name: ClassVar[Literal["zero-failure"]] = "zero-failure"

    def __post_init__(self) -> None:
        check_level("eta", self.eta)

    @takes_arrays("defects")
    def judge(self, defects: Float[Tensor, " draws"], eps: float, alpha: float) -> Outcome:
        """Test independent defects ``(draws,)`` in [0, √2]; ``eps`` is a defect, ``alpha`` a probability.

        Raises: ConfigError for no draws; NonFiniteError for nan or infinity.
        """
        tail = _tail(self.eta, defects, eps, alpha)
        p_value = (1 - self.eta) ** len(defects) if tail.estimate == 0 else 1.0
        return Outcome(tail.null, p_value, tail.p_refute, tail.estimate, tail.bound, tail.hint)


@dataclass(frozen=True)
class Mean:
    """The rule with the null hypothesis ``E min(d, cap · ε) ≥ ε``, tested by an empirical Bernstein bound on that mean.

    ``bound = mean + √(2 V ln(2/α) / n) + 7 R ln(2/α) / (3 (n − 1))`` with the sample variance ``V`` and the range
    ``R = min(cap · ε, √2)``.

    Args:
        cap: a defect counts up to this multiple of ε, above 1. The cap makes the range follow the tolerance: without
            it, 64 draws cannot exclude a rare defect of √2 for any ε below about 0.2, whatever the test. So a rare
            large defect counts as ``cap · ε`` at most. Where rare failures matter take :class:`Tail`, or ``cap=inf``
            and many draws.

    Source: Maurer and Pontil, arXiv:0907.3740, theorem 4.
    """

    cap: float = 2.0
    name: ClassVar[Literal["mean"]] = "mean"

    def __post_init__(self) -> None:
        if not self.cap > 1:
            raise ConfigError(f"the cap is a multiple of eps, above 1; got {self.cap}")

    @takes_arrays("defects")
    def judge(self, defects: Float[Tensor, " draws"], eps: float, alpha: float) -> Outcome:
        """Test independent defects ``(draws,)`` in [0, √2]; ``eps`` is a defect, ``alpha`` a probability.

        Raises: ConfigError for fewer than two draws; NonFiniteError for nan or infinity.
        """
        _check_defects(defects)
        n = len(defects)
        if n < 2:
            raise ConfigError(f"the mean rule needs at least 2 draws; got {n}")
        largest = min(self.cap * eps, LARGEST)
        capped = defects.clamp(max=largest)
        mean = float(capped.mean())
        # The bound is mean + spread · √L + slope · L for L = ln(2/level).
        spread = math.sqrt(2 * float(capped.var()) / n)
        slope = 7 * largest / (3 * (n - 1))

        def bound(level: float) -> float:
            """The upper bound on the mean of capped defects, wrong with probability ``level`` at most."""
            log = math.log(2 / level)
            return mean + spread * math.sqrt(log) + slope * log

        def p_value(gap: float) -> float:
            """The level at which the bound lies just ``gap`` away from the mean: a quadratic equation for √L.

            It is 1 for a gap that is not positive.
            """
            if gap <= 0:
                return 1.0
            root = (-spread + math.sqrt(spread**2 + 4 * slope * gap)) / (2 * slope)
            return min(1.0, 2 * math.exp(-(root**2)))

        enough = slope * math.log(2 / alpha) < eps
        hint = "" if enough else "too few draws: even defects of zero could not certify"
        quantity = f"E min(d, {largest:.3g})" if largest < LARGEST else "E d"
        return Outcome(
            f"{quantity} >= {eps:g}", p_value(eps - mean), p_value(mean - eps), mean, min(bound(alpha), largest), hint
        )


Sampled: TypeAlias = Tail | ZeroFailure | Mean
"""The rules that decide from draws."""


def _tail(eta: float, defects: Float[Tensor, " draws"], eps: float, alpha: float) -> Outcome:
    """The exact binomial test of the null ``P(d > ε) ≥ η``, by the number of draws whose defect is above ``eps``.

    The estimate is the share of these draws, and the bound is an upper one on their probability, at level ``alpha``.

    Raises: ConfigError for no draws; NonFiniteError for nan or infinity.
    """
    _check_defects(defects)
    n = len(defects)
    failures = int((defects > eps).sum())
    p_value = float(stats.binom.cdf(failures, n, eta))
    # The opposite null, P(d > ε) ≤ η, is rejected by many failures.
    p_refute = float(stats.binom.sf(failures - 1, n, eta))
    needed = draws_needed(alpha, eta)
    hint = f"at least {needed} draws are needed for this eta and alpha" if n < needed else ""
    null = f"P(d > {eps:g}) >= {eta:g}"
    return Outcome(null, p_value, p_refute, failures / n, upper_share(failures, n, alpha), hint)


def _check_defects(defects: Float[Tensor, " draws"]) -> None:
    """Raise ConfigError unless defects are ``(draws,)`` with at least one, NonFiniteError for nan or infinity."""
    if defects.ndim != 1 or len(defects) == 0:
        raise ConfigError(f"defects must be (draws,), at least one; got {tuple(defects.shape)}")
    if not defects.isfinite().all():
        raise NonFiniteError("some defect is nan or infinite, which must not read as a pass")
