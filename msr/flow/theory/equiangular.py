"""Equiangular tokens, ``⟨x_i, x_j⟩ = g`` for all ``i ≠ j``: they stay so, and ``g`` follows one scalar equation.

``B = V = I`` on the sphere. In the coordinate ``y = log((1 + (n−1) g) / (1 − g))``, which is 0 for orthogonal tokens,
infinite for one point and minus infinity for the simplex,

    SA: ``y' = 2n / (e^{β(1−g)} + n − 1)``,    USA: ``y' = 2 e^{βg}``,

so that at ``β = 0`` it is ``y = y(0) + 2t``. Everything here is computed in it.

Source: Geshkovski, Letrouit, Polyanskiy and Rigollet, arXiv:2312.10794, section 6.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.arrays import is_wrapped
from msr.errors import ConfigError
from msr.flow.arguments import KINDS, check_exponential, finite_number, real_values, token_count, word_of
from msr.flow.theory.passages import checked_times, exponential, log_passage_time, solved, steep_places

__all__ = [
    "angle_coordinate", "cosine_of_coordinate", "equiangular_path", "equiangular_rate", "equiangular_time", "late_rate",
]  # fmt: skip


def equiangular_rate(g: Any, n: int, beta: float, kind: str = "sa") -> Tensor:
    """The rate ``g'`` of the product of any two of ``n`` equiangular tokens, differentiable.

    SA: ``g' = 2 e^{βg} (1−g) ((n−1)g + 1) / (e^β + (n−1) e^{βg})``; USA: ``g' = (2/n) e^{βg} (1−g) ((n−1)g + 1)``.

    Shapes: ``g`` of any; the result has the same.

    Args:
        g: products, from ``−1/(n−1)`` to 1.
        n: tokens, at least 2.
        beta: inverse temperature, of either sign.
        kind: ``sa`` or ``usa``.

    Raises: ConfigError for products that no equiangular tokens have; NonFiniteError; DataError.
    """
    n, beta, kind = _checked(n, beta, kind)
    products = real_values(g, "g")
    _check_products(products, n)
    spread = (1 - products) * ((n - 1) * products + 1)
    if kind == "usa":
        return 2 / n * torch.exp(beta * products) * spread
    # The weight of another token as a sigmoid: no exponential of it leaves the range of floats.
    other = torch.sigmoid(math.log(n - 1) - beta * (1 - products)) / (n - 1)
    return 2 * other * spread


def equiangular_path(times: Any, n: int, beta: float, kind: str = "sa", *, start: float = 0.0) -> Tensor:
    """The product ``g(t)`` of equiangular tokens at each time, ``(times,)`` float64, right to about 1e-11.

    For ``β = 0`` it is the closed form; orthogonal tokens then have ``g = (e^{2t} − 1) / (e^{2t} + n − 1)``.

    Args:
        times: at least 0, in any order.
        n: tokens, at least 2.
        beta: inverse temperature.
        kind: ``sa`` or ``usa``.
        start: ``g(0)``, from ``−1/(n−1)`` (a simplex, which stays) to 1 (one point).

    Raises: ConfigError; DataError; NonFiniteError; PrecisionError where the solver gives up.
    """
    n, beta, kind = _checked(n, beta, kind)
    moments = checked_times(times)
    first = angle_coordinate(_checked_product(start, n, "start"), n)
    if math.isinf(first):
        return torch.full((len(moments),), float(start), dtype=torch.float64)
    if beta == 0:
        path = first + 2 * moments
    else:
        path = solved(lambda _, y: [float(np.exp(_log_speed(y, n, beta, kind)[0]))], [first], moments)[:, 0]
    return torch.from_numpy(cosine_of_coordinate(path, n))


def equiangular_time(
    n: int, beta: float, kind: str = "sa", *, start: float = 0.0, level: float = 0.999, log: bool = False
) -> float:
    """The time at which equiangular tokens reach ``g = level``, by quadrature; infinite where no float holds it.

    The curve of phase diagrams: the share of merged pairs jumps along it as the dimension grows.

    Args:
        n: tokens, at least 2.
        beta: inverse temperature, of any size.
        kind: ``sa`` or ``usa``.
        start: ``g(0)``, above ``−1/(n−1)``.
        level: at least ``start`` and below 1.
        log: its natural logarithm instead, which is finite for every ``β``, and −∞ where ``start`` is the level.

    Raises: ConfigError for a level that is never reached.
    """
    n = token_count(n, "n", 2)
    beta = finite_number(beta, "beta")
    kind = word_of(kind, "kind", KINDS)
    first = _checked_product(start, n, "start")
    last = _checked_product(level, n, "level")
    if not -1 / (n - 1) < first <= last < 1:
        raise ConfigError(
            f"level {last} is never reached from start {first}: products rise from above {-1 / (n - 1):.6g} "
            "towards 1, and get there in infinite time"
        )
    places = steep_places(first, last, beta, lambda g: angle_coordinate(g, n))
    logarithm = log_passage_time(lambda y: -_log_speed(y, n, beta, kind), places)
    return logarithm if log else exponential(logarithm)


def late_rate(beta: float, kind: str = "sa") -> float:
    """The rate at which ``1 − ⟨x_i, x_j⟩`` goes to 0 in the end, ``B = V = I``: 2 for SA, ``2 e^β`` for USA.

    Raises: ConfigError; NonFiniteError for a rate that no float holds.
    """
    _, beta, kind = _checked(2, beta, kind)
    return 2.0 if kind == "sa" else 2 * math.exp(beta)


def angle_coordinate(g: float, n: int) -> float:
    """``y = log((1 + (n−1) g) / (1 − g))``, infinite at the two fixed points."""
    if g >= 1:
        return math.inf
    above = 1 + (n - 1) * g
    return math.log(above) - math.log1p(-g) if above > 0 else -math.inf


def cosine_of_coordinate(y: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The product ``g`` whose coordinate is ``y``, of any shape: ``(e^y − 1) / (e^y + n − 1)``."""
    # By e^{−|y|}, which is at most 1, on either side.
    small = np.exp(-np.abs(y))
    return np.where(y > 0, -np.expm1(-np.abs(y)) / (1 + (n - 1) * small), np.expm1(-np.abs(y)) / (small + n - 1))


def _log_speed(y: NDArray[np.float64], n: int, beta: float, kind: str) -> NDArray[np.float64]:
    """``log y'``."""
    if kind == "usa":
        return math.log(2) + beta * cosine_of_coordinate(y, n)
    # 1 − g = n / (e^y + n − 1), without the difference of two numbers near 1.
    small = np.exp(-np.abs(y))
    distance = np.where(y > 0, n * small / (1 + (n - 1) * small), n / (small + n - 1))
    return math.log(2 * n) - np.logaddexp(beta * distance, math.log(n - 1))


def _checked(n: int, beta: float, kind: str) -> tuple[int, float, str]:
    """The arguments after their checks. Raises: ConfigError; NonFiniteError for a ``β`` whose exponential is none."""
    n = token_count(n, "n", 2)
    beta = finite_number(beta, "beta")
    kind = word_of(kind, "kind", KINDS)
    check_exponential(beta, kind)
    return n, beta, kind


def _checked_product(value: float, n: int, name: str) -> float:
    """A product that ``n`` equiangular tokens can have. Raises: ConfigError; NonFiniteError."""
    number = finite_number(value, name)
    _check_products(torch.tensor(number, dtype=torch.float64), n, name)
    return number


def _check_products(products: Tensor, n: int, name: str = "g") -> None:
    """Raise ConfigError for a product below ``−1/(n−1)`` or above 1, but for rounding."""
    if is_wrapped(products):
        return  # under a transform of torch the numbers cannot be read
    values = products.detach()
    slack = 16 * torch.finfo(values.dtype).eps
    wrong = values[(values < -1 / (n - 1) - slack) | (values > 1 + slack)]
    if wrong.numel():
        raise ConfigError(
            f"{name} must be from {-1 / (n - 1):.6g} to 1, the products of {n} equiangular tokens; "
            f"got {float(wrong.flatten()[0])}"
        )
