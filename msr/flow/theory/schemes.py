"""Where a network normalises is how fast its tokens move: one equation for six schemes, on equiangular tokens.

Tokens ``x_i = r θ_i`` with ``⟨θ_i, θ_j⟩ = g`` for ``i ≠ j``, ``B = V = I``; attention looks at the directions. With
``p = e^β / Z`` and ``q = e^{βg} / Z`` (``Z`` the softmax's sum, or ``n`` for USA),

    ``g' = 2 q (1−g) ((n−1) g + 1) / s``,    ``⟨θ, A⟩ = p + (n−1) q g``,
    ``|A|² = (p−q)² + (2 (p−q) q + n q²) (1 + (n−1) g)``.

=========  ==================================  =====================  =====================
scheme     speed ``s``                         ``r'``                 ``1 − g`` in the end
=========  ==================================  =====================  =====================
``post``   1                                   0                      ``e^{−2t}``
``pre``    ``r``                               ``⟨θ, A⟩``             ``t^{−2}``
``mix``    ``post`` up to ``τ``, then ``pre``                         ``t^{−2}``
``peri``   ``r |A|``                           ``⟨θ, A⟩ / |A|``       ``t^{−2}``
``ngpt``   ``|A|``                             0                      ``e^{−2t}``
``sqrt``   ``r √(1+t)``                        ``⟨θ, A⟩ / √(1+t)``    ``t^{−1}``
=========  ==================================  =====================  =====================

Source: Karagodin, Ge, Polyanskiy and Rigollet, arXiv:2510.22026; the factor ``√(1+t)`` is this package's convention.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from msr.arrays import is_wrapped
from msr.brief import Brief
from msr.errors import ConfigError, DataError, NonFiniteError
from msr.flow.arguments import KINDS, check_exponential, finite_number, real_values, token_count, word_of
from msr.flow.theory.equiangular import angle_coordinate, cosine_of_coordinate
from msr.flow.theory.passages import checked_times, solved

__all__ = ["SCHEMES", "SchemePath", "late_decay", "scheme_path", "scheme_rate"]

SCHEMES = ("post", "pre", "mix", "peri", "ngpt", "sqrt")
"""Schemes of normalisation: see the table of this module."""


@dataclass(frozen=True, eq=False, repr=False)
class SchemePath(Brief):
    """Equiangular tokens under a scheme of normalisation.

    Attributes:
        scheme: its name.
        times: ``(times,)`` float64.
        cosines: ``(times,)`` float64: ``g``, the product of the directions of two tokens.
        radii: ``(times,)`` float64: ``r``, the norm of a token.

    Raises: DataError for radii that are not above 0, or products outside −1 to 1.
    """

    scheme: str
    times: Tensor
    cosines: Tensor
    radii: Tensor

    def __post_init__(self) -> None:
        if bool((self.radii <= 0).any()) or bool((self.cosines.abs() > 1).any()):
            raise DataError(f"{self.scheme}: a radius is not above 0, or a cosine is not from -1 to 1")


def scheme_rate(
    g: Any, n: int, beta: float, norm: str, *, radius: Any = 1.0, t: Any = 0.0,
    tau: float = 1.0, kind: str = "sa",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The rates ``g'`` and ``r'`` of equiangular tokens under a scheme of normalisation, differentiable.

    Args:
        g: products of directions.
        n: tokens, at least 2.
        beta: inverse temperature.
        norm: the scheme: ``post``, ``pre``, ``mix``, ``peri``, ``ngpt`` or ``sqrt``.
        radius: norms ``r`` of the tokens.
        t: times, of which ``mix`` and ``sqrt`` need to know.
        tau: the time at which ``mix`` goes over from ``post`` to ``pre``.
        kind: ``sa`` or ``usa``.

    Shapes: ``g``, ``radius`` and ``t`` are broadcast against each other; both rates have that shape.

    Raises: ConfigError; NonFiniteError; DataError.
    """
    n, beta, norm, tau, kind = _checked(n, beta, norm, tau, kind)
    products = real_values(g, "g")
    radii = real_values(radius, "radius").to(products)
    times = real_values(t, "t").to(products)
    _check_ranges(products, radii, times, n)
    products, radii, times = torch.broadcast_tensors(products, radii, times)
    own, other = _weights(products, n, beta, kind)
    along = own + (n - 1) * other * products
    size = _length(products, own, other, n)
    if norm in ("peri", "ngpt") and not is_wrapped(size) and bool((size == 0).any()):
        raise NonFiniteError(
            f"|A| is 0, by which {norm} divides: at beta = {beta:g} the mean of a simplex is its centre"
        )
    one, none = torch.ones_like(products), torch.zeros_like(products)
    slow = torch.sqrt(1 + times)
    late = times >= tau
    speed, growth = {
        "post": (one, none),
        "pre": (radii, along),
        "mix": (torch.where(late, radii, one), torch.where(late, along, none)),
        "peri": (radii * size, along / size),
        "ngpt": (size, none),
        "sqrt": (radii * slow, along / slow),
    }[norm]
    return 2 * other * (1 - products) * ((n - 1) * products + 1) / speed, growth


def scheme_path(
    times: Any, n: int, beta: float, norm: str, *, start: float = 0.0, radius: float = 1.0, tau: float = 1.0,
    kind: str = "sa",
) -> SchemePath:  # fmt: skip
    """Equiangular tokens under a scheme of normalisation at each time, right to about 1e-11.

    Args:
        times: at least 0, in any order.
        n: tokens, at least 2.
        beta: inverse temperature.
        norm: the scheme.
        start: ``g(0)``, above ``−1/(n−1)`` and below 1.
        radius: ``r(0)``, above 0.
        tau: the time at which ``mix`` goes over from ``post`` to ``pre``, at least 0.
        kind: ``sa`` or ``usa``.

    Raises: ConfigError; DataError; NonFiniteError; PrecisionError where the solver gives up.
    """
    n, beta, norm, tau, kind = _checked(n, beta, norm, tau, kind)
    moments = checked_times(times)
    start = finite_number(start, "start")
    radius = finite_number(radius, "radius")
    if not -1 / (n - 1) < start < 1:
        raise ConfigError(f"start must be between {-1 / (n - 1):.6g} and 1, where tokens stay; got {start}")
    if radius <= 0:
        raise ConfigError(f"radius must be above 0; got {radius}")

    def rates(t: float, state: NDArray[np.float64]) -> Sequence[float]:
        g = float(cosine_of_coordinate(state[0], n))
        r = float(state[1])
        # The formulas of `_weights` and `_length` for floats, which a solver asks for thousands of times.
        if kind == "usa":
            own, other = math.exp(beta) / n, math.exp(beta * g) / n
        else:
            gap = beta * (1 - g) - math.log(n - 1)
            own, other = expit(gap), expit(-gap) / (n - 1)
        along = own + (n - 1) * other * g
        more = own - other
        squared = more**2 + (2 * more * other + n * other**2) * (1 + (n - 1) * g)
        size = math.sqrt(squared) if norm in ("peri", "ngpt") else 1.0
        pre = norm in ("pre", "peri", "sqrt") or (norm == "mix" and t >= tau)
        slow = math.sqrt(1 + t) if norm == "sqrt" else 1.0
        speed = (r if pre else 1.0) * size * slow
        # In the coordinate y the factors (1 − g) and 1 + (n−1) g cancel, and nothing is small near the end.
        return 2 * n * other / speed, along / (size * slow) if pre else 0.0

    path = solved(rates, [angle_coordinate(start, n), radius], moments, stops=[tau] if norm == "mix" else [])
    cosines = torch.from_numpy(cosine_of_coordinate(path[:, 0], n))
    return SchemePath(norm, torch.from_numpy(moments), cosines, torch.from_numpy(path[:, 1].copy()))


def late_decay(norm: str) -> tuple[str, float]:
    """How ``1 − g`` goes to 0 in the end, SA: ``("exponential", 2)`` for ``e^{−2t}``, ``("power", 2)`` for ``t^{−2}``.

    Raises: ConfigError for no scheme.
    """
    norm = word_of(norm, "norm", SCHEMES)
    if norm in ("post", "ngpt"):
        return "exponential", 2.0
    return "power", 1.0 if norm == "sqrt" else 2.0


def _weights(g: Tensor, n: int, beta: float, kind: str) -> tuple[Tensor, Tensor]:
    """``p`` and ``q``: the weight of a token itself, and of each other one."""
    if kind == "usa":
        return torch.exp(torch.full_like(g, beta)) / n, torch.exp(beta * g) / n
    gap = beta * (1 - g) - math.log(n - 1)
    return torch.sigmoid(gap), torch.sigmoid(-gap) / (n - 1)


def _length(g: Tensor, own: Tensor, other: Tensor, n: int) -> Tensor:
    """``|A|``."""
    more = own - other
    return torch.sqrt(more**2 + (2 * more * other + n * other**2) * (1 + (n - 1) * g))


def _checked(n: int, beta: float, norm: str, tau: float, kind: str) -> tuple[int, float, str, float, str]:
    """The arguments after their checks. Raises: ConfigError; NonFiniteError."""
    n = token_count(n, "n", 2)
    beta = finite_number(beta, "beta")
    kind = word_of(kind, "kind", KINDS)
    check_exponential(beta, kind)
    tau = finite_number(tau, "tau")
    if tau < 0:
        raise ConfigError(f"tau must be at least 0; got {tau}")
    return n, beta, word_of(norm, "norm", SCHEMES), tau, kind


def _check_ranges(g: Tensor, radius: Tensor, t: Tensor, n: int) -> None:
    """Raise ConfigError for a state that no equiangular tokens have."""
    if any(map(is_wrapped, (g, radius, t))):
        return  # under a transform of torch the numbers cannot be read
    slack = 16 * torch.finfo(g.dtype).eps
    if bool((g.detach() < -1 / (n - 1) - slack).any()) or bool((g.detach() > 1 + slack).any()):
        raise ConfigError(f"g must be from {-1 / (n - 1):.6g} to 1, the products of {n} equiangular tokens")
    if bool((radius <= 0).any()):
        raise ConfigError(f"radius must be above 0; got {float(radius.min())}")
    if bool((t < 0).any()):
        raise ConfigError(f"t must be at least 0; got {float(t.min())}")
