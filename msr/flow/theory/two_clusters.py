"""Two clusters, each at one point, of masses ``a`` and ``1 − a``: how fast they meet. ``B = V = I`` on the sphere.

With ``g`` the product of the two points, ``g = tanh y`` and ``g' = (1 − g²) y'``:

    SA: ``y' = (1−a) / (a e^{β(1−g)} + 1−a) + a / ((1−a) e^{β(1−g)} + a)``,    USA: ``y' = e^{βg}`` for every ``a``.

The time in which two clusters merge grows as ``e^{β(1−g)} / (2β (1−g²))``: clusters are metastable at large ``β``.

Source: Geshkovski, Koubbi, Polyanskiy and Rigollet, arXiv:2410.06833.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.arrays import is_wrapped
from msr.errors import ConfigError
from msr.flow.arguments import KINDS, check_exponential, finite_number, real_values, word_of
from msr.flow.theory.passages import checked_times, exponential, log_passage_time, solved, steep_places

__all__ = ["merging_time", "two_cluster_path", "two_cluster_rate"]


def two_cluster_rate(g: Any, beta: float, mass: float = 0.5, kind: str = "sa") -> Tensor:
    """The rate ``g'`` of the product of two clusters, differentiable.

    Shapes: ``g`` of any; the result has the same.

    Args:
        g: products of the two points, from −1 to 1.
        beta: inverse temperature, of either sign.
        mass: the share ``a`` of the first cluster, between 0 and 1; it does not matter for ``usa``.
        kind: ``sa`` or ``usa``.

    Raises: ConfigError; NonFiniteError; DataError.
    """
    beta, mass, kind = _checked(beta, mass, kind)
    check_exponential(beta, kind)
    products = real_values(g, "g")
    # Under a transform of torch the numbers cannot be read.
    if not is_wrapped(products) and bool((products.abs() > 1 + 16 * torch.finfo(products.dtype).eps).any()):
        raise ConfigError(f"g must be from -1 to 1; got {float(products.detach().abs().max())} in size")
    spread = 1 - products**2
    if kind == "usa":
        return spread * torch.exp(beta * products)
    odds = math.log(mass) - math.log1p(-mass)
    distance = beta * (1 - products)
    return spread * (torch.sigmoid(-odds - distance) + torch.sigmoid(odds - distance))


def two_cluster_path(times: Any, beta: float, mass: float = 0.5, kind: str = "sa", *, start: float = 0.0) -> Tensor:
    """The product ``g(t)`` of two clusters at each time, ``(times,)`` float64, right to about 1e-11.

    Args:
        times: at least 0, in any order.
        beta: inverse temperature.
        mass: the share of the first cluster.
        kind: ``sa`` or ``usa``.
        start: ``g(0)``; −1 and 1 stay as they are.

    Raises: ConfigError; DataError; NonFiniteError; PrecisionError where the solver gives up.
    """
    beta, mass, kind = _checked(beta, mass, kind)
    check_exponential(beta, kind)
    moments = checked_times(times)
    first = _checked_product(start, "start")
    if abs(first) == 1:
        return torch.full((len(moments),), first, dtype=torch.float64)
    path = solved(lambda _, y: np.exp(_log_speed(y, beta, mass, kind)), [math.atanh(first)], moments)
    return torch.from_numpy(np.tanh(path[:, 0]))


def merging_time(
    beta: float, mass: float = 0.5, kind: str = "sa", *, start: float = 0.0, level: float = 0.999, log: bool = False
) -> float:
    """The time in which two clusters come from the product ``start`` to ``level``, by quadrature; stable for any β.

    For equal masses and SA it is ``∫ (1 + e^{β(1−g)}) / (2 (1−g²)) dg``. Infinite where no float holds it.

    Args:
        beta: inverse temperature, of any size.
        mass: the share of the first cluster.
        kind: ``sa`` or ``usa``.
        start: above −1.
        level: at least ``start``, and below 1.
        log: the natural logarithm of the time instead, which is finite for every ``β``, and −∞ for no time at all.

    Raises: ConfigError for a level that is never reached.
    """
    beta, mass, kind = _checked(beta, mass, kind)
    first = _checked_product(start, "start")
    last = _checked_product(level, "level")
    if not -1 < first <= last < 1:
        raise ConfigError(
            f"level {last} is never reached from start {first}: the product rises from above -1 towards 1, and gets "
            "there in infinite time"
        )
    places = steep_places(first, last, beta, math.atanh)
    logarithm = log_passage_time(lambda y: -_log_speed(y, beta, mass, kind), places)
    return logarithm if log else exponential(logarithm)


def _log_speed(y: NDArray[np.float64], beta: float, mass: float, kind: str) -> NDArray[np.float64]:
    """``log y'`` at ``g = tanh y``."""
    if kind == "usa":
        return beta * np.tanh(y)
    # 1 − tanh y = 2 e^{−y} / (e^y + e^{−y}), without the difference of two numbers near 1.
    small = np.exp(-2 * np.abs(y))
    distance = beta * 2 * np.where(y > 0, small, 1) / (1 + small)
    first = math.log(mass)
    second = math.log1p(-mass)
    return np.logaddexp(
        second - np.logaddexp(first + distance, second),
        first - np.logaddexp(second + distance, first),
    )


def _checked(beta: float, mass: float, kind: str) -> tuple[float, float, str]:
    """The arguments after their checks. Raises: ConfigError; NonFiniteError."""
    beta = finite_number(beta, "beta")
    mass = finite_number(mass, "mass")
    if not 0 < mass < 1:
        raise ConfigError(f"mass is the share of the first of two clusters, between 0 and 1; got {mass}")
    return beta, mass, word_of(kind, "kind", KINDS)


def _checked_product(value: float, name: str) -> float:
    """A product of unit vectors. Raises: ConfigError; NonFiniteError."""
    number = finite_number(value, name)
    if not -1 <= number <= 1:
        raise ConfigError(f"{name} must be from -1 to 1; got {number}")
    return number
