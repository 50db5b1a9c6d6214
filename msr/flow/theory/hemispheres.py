"""Wendel's theorem: how likely random tokens lie in one open hemisphere, whence the flow takes them to one point."""

from scipy.special import betainc

from msr.flow.arguments import token_count

__all__ = ["wendel"]

_EXACT = 4096
"""Most tokens for which whole numbers are summed: a millisecond. Beyond, the incomplete beta function is as good."""


def wendel(n: int, d: int) -> float:
    """The probability that ``n`` independent uniform points of the sphere of ``R^d`` lie in one open hemisphere.

    ``2^{1−n} Σ_{k<d} C(n−1, k)``, which is 1 for ``n ≤ d``. Any law that is symmetric about 0 and gives no hyperplane a
    mass has the same one. Correctly rounded up to 4,096 points; beyond, to about twelve digits.

    Raises: ConfigError for less than one point or dimension.
    Source: Wendel, *A problem in geometric probability*, 1962.
    """
    n = token_count(n, "n")
    d = token_count(d, "d")
    if n <= d:
        return 1.0
    if n > _EXACT:
        # The sum is the chance of fewer than d heads in n − 1 tosses.
        return float(betainc(n - d, d, 0.5))
    total = 0
    term = 1
    for k in range(d):
        total += term
        term = term * (n - 1 - k) // (k + 1)
    return total / 2 ** (n - 1)
