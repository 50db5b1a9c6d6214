"""Tokens spread evenly over the sphere: how fast a small wave of each degree grows, and which one wins.

At the uniform law of ``S^{d−1}``, ``B = V = I``, a perturbation by a spherical harmonic of degree ``k`` grows as
``e^{λ_k t}``. With the Funk-Hecke factors ``c_k = Γ(d/2) (2/β)^{d/2−1} I_{k+d/2−1}(β)`` of ``e^{β⟨x,y⟩}``,

    USA: ``λ_k = k (k+d−2) c_k / β``,    SA: ``λ_k = k (k+d−2) c_k / (β c_0)``.

The fastest degree is the number of clusters that form first, about ``√(2β)``.

Source: Bruno, Pasqualotto and Agazzi, arXiv:2410.23228; the rates at the uniform law are computed here.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln, ive
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError, NonFiniteError
from msr.flow.arguments import KINDS, finite_number, token_count, word_of
from msr.memory import refuse_if_larger

__all__ = ["mode_number", "mode_rates"]

_SMALLEST = 1e-280
"""Below it a scaled Bessel function is computed by its series: denormal numbers have lost digits."""
_MOST_BETA = 1e9
"""Largest ``|β|``: SciPy's scaled Bessel functions of an argument above some 2e9 are nan."""


@takes_arrays("degrees")
def mode_rates(degrees: Tensor, beta: float, d: int, kind: str = "sa", *, log: bool = False) -> Tensor:
    """The growth rates ``λ_k`` of waves on the uniform sphere of ``R^d``, float64.

    Shapes: ``degrees`` of any; the result has the same.

    On the circle, ``d = 2``, they are ``k² I_k(β) / β`` for ``usa`` and ``k² I_k(β) / (β I_0(β))`` for ``sa``. For
    ``β = 0`` they are the limit, ``(d−1)/d`` for ``k = 1`` and 0 for all others; for ``β`` below 0 even degrees decay.

    Args:
        degrees: ``k``, whole numbers from 0 on.
        beta: inverse temperature.
        d: the dimension of the tokens, at least 2.
        kind: ``sa`` or ``usa``.
        log: ``log |λ_k|`` instead, which keeps what no float holds: the rates of ``usa`` at large ``β``.

    Raises: ConfigError, for a ``β`` above 1e9 in size as well; NonFiniteError for rates that no float holds; DataError
    where a tiny one would take too much memory.
    """
    beta = finite_number(beta, "beta")
    if abs(beta) > _MOST_BETA:
        raise ConfigError(f"beta must be at most {_MOST_BETA:.0e} in size: Bessel functions end there; got {beta}")
    d = token_count(d, "d", 2)
    kind = word_of(kind, "kind", KINDS)
    if degrees.is_floating_point() or degrees.is_complex() or degrees.dtype == torch.bool or degrees.numel() == 0:
        raise ConfigError(f"degrees must be whole numbers; got {degrees.dtype} of shape {tuple(degrees.shape)}")
    k = degrees.detach().cpu().numpy().astype(np.int64)
    if (k < 0).any():
        raise ConfigError(f"degrees must be at least 0; got {int(k.min())}")
    with np.errstate(divide="ignore"):
        # At k = 0 nothing grows: the law stays what it is.
        logarithm = np.log(k.astype(np.float64) * (k + d - 2.0)) + _log_over_beta(k, abs(beta), d)
    if kind == "sa":
        logarithm -= _log_factor(np.zeros(1), abs(beta), d)
    else:
        # Both factors come over e^|β|. For SA it cancels, and added to both it would cost the digits that tell degrees.
        logarithm += abs(beta)
    if log:
        return torch.from_numpy(np.asarray(logarithm))
    if (logarithm > math.log(np.finfo(np.float64).max)).any():
        raise NonFiniteError(f"a rate at beta = {beta} leaves the range of floats; ask for log=True")
    # c_k(−β) = (−1)^k c_k(β), which is divided by −β.
    signs = np.where((k % 2 == 0) & (beta < 0), -1.0, 1.0)
    return torch.from_numpy(np.asarray(signs * np.exp(logarithm)))


def mode_number(beta: float, d: int) -> int:
    """The degree ``k`` of the wave that grows fastest on the uniform sphere of ``R^d``: ``argmax k (k+d−2) c_k``.

    It is the same for ``sa`` and ``usa``. The next degree is often almost as fast (0.99 at ``β = 100``): a flow from
    random tokens shows both.

    Raises: ConfigError for a ``β`` below 0, or above 1e9; NonFiniteError.
    """
    beta = finite_number(beta, "beta")
    if not 0 <= beta <= _MOST_BETA:
        raise ConfigError(f"mode_number needs attraction, a beta from 0 to {_MOST_BETA:.0e}; got {beta}")
    # Orders far above √(2β) have lost to it: I_k(β) falls as exp(−k² / 2β), and k (k+d−2) I rises once and falls once.
    most = math.ceil(3 * math.sqrt(2 * beta)) + 4
    rates = mode_rates(torch.arange(1, most + 1), beta, d, log=True)
    return 1 + int(rates.argmax())


def _log_factor(k: NDArray, beta: float, d: int) -> NDArray[np.float64]:
    """``log (c_k e^{−β})`` for ``β ≥ 0``: ``c_0`` is 1 at 0."""
    order = k + d / 2 - 1
    if beta == 0:
        return np.where(k == 0, 0.0, -np.inf)
    return math.lgamma(d / 2) + (d / 2 - 1) * math.log(2 / beta) + _log_bessel(order, beta)


def _log_over_beta(k: NDArray, beta: float, d: int) -> NDArray[np.float64]:
    """``log (c_k e^{−β} / β)`` for ``β ≥ 0`` and ``k`` from 1 on; at 0 the limit, ``1/d`` for ``k = 1``."""
    if beta == 0:
        return np.where(k == 1, -math.log(d), -np.inf)
    return _log_factor(k, beta, d) - math.log(beta)


def _log_bessel(orders: NDArray, x: float) -> NDArray[np.float64]:
    """``log (I_v(x) e^{−x})`` for orders at least 0 and ``x > 0``, also where it leaves the range of floats."""
    values = np.asarray(ive(orders, x))
    known = values > _SMALLEST
    result = np.empty(values.shape)
    result[known] = np.log(values[known])
    for place in np.argwhere(~known):
        result[tuple(place)] = _log_series(float(orders[tuple(place)]), x) - x
    return result


def _log_series(v: float, x: float) -> float:
    """``log I_v(x)`` by its power series, whose terms are all positive: it is asked for where ``v`` is large."""
    quarter = 2 * math.log(x / 2)
    # Terms rise up to m(m + v) = x²/4 and fall faster than a geometric series from twice that place on.
    top = (math.sqrt(v * v + x * x) - v) / 2
    refuse_if_larger(64.0 * top, f"the series of I_{v:g}({x:g})", advice="give smaller degrees, or a smaller beta")
    m = np.arange(math.ceil(2 * top) + 60, dtype=np.float64)
    steps = quarter - np.log(m[1:]) - np.log(m[1:] + v)
    terms = np.concatenate([[0.0], np.cumsum(steps)])
    largest = float(terms.max())
    return v * math.log(x / 2) - float(gammaln(v + 1)) + largest + math.log(float(np.exp(terms - largest).sum()))
