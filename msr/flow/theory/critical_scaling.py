"""Attention over many tokens, ``β = γ log n``: below a critical ``γ`` it averages all, above it a token sees itself.

Source: Chen, Lin, Polyanskiy and Rigollet, arXiv:2510.05554; the curve at finite ``n`` is computed here.
"""

from typing import Any

import torch
from torch import Tensor

from msr.errors import ConfigError, DataError
from msr.flow.arguments import finite_number, real_values

__all__ = ["critical_cosine", "critical_exponent", "critical_limit", "inverse_participation"]


def critical_cosine(n: Any, rho: Any, gamma: Any) -> Tensor:
    """The cosine between two tokens after one step of attention at ``β = γ log n``, of equiangular unit tokens.

    With ``p = 1 / (1 + (n−1) n^{−γ(1−ρ)})``, ``q = (1−p)/(n−1)``, ``a = p − q`` and ``s = 1 + (n−1) ρ`` it is
    ``(a²ρ + 2aqs + q²ns) / (a² + 2aqs + q²ns)``. A token is replaced by its attention, not added to it.

    Args:
        n: tokens, at least 2; any real number, also of 1e300.
        rho: products of two tokens before the step, from ``−1/(n−1)`` to 1.
        gamma: at least 0. At ``γ = 1/(1−ρ)`` the limit for large ``n`` is ``4ρ/(1+3ρ)``: see :func:`critical_limit`.

    Shapes: all three are broadcast against each other, and the result has that shape, float64.

    Raises: ConfigError; NonFiniteError; DataError; ShapeError for shapes that do not fit.
    """
    tokens = real_values(n, "n").to(torch.float64)
    products = real_values(rho, "rho").to(torch.float64)
    scale = real_values(gamma, "gamma").to(torch.float64)
    if bool((tokens < 2).any()):
        raise ConfigError(f"n must be at least 2, for there to be another token; got {float(tokens.min())}")
    if bool((scale < 0).any()):
        raise ConfigError(f"gamma must be at least 0; got {float(scale.min())}")
    if bool((products > 1).any()) or bool((1 + (tokens - 1) * products < -1e-12 * tokens).any()):
        raise ConfigError("rho must be from -1/(n-1) to 1: no equiangular tokens have other products")
    others = tokens - 1
    # The logarithm of (n−1) n^{−γ(1−ρ)}: what all other tokens weigh together, beside 1 for the token itself.
    weight = torch.log(others) - scale * (1 - products) * torch.log(tokens)
    p = torch.sigmoid(-weight)
    q = torch.sigmoid(weight) / others
    own = p - q
    s = (1 + others * products).clamp(min=0)
    # Divided by n, so that n q ≤ 1 and s/n ≤ 1 keep every term in range.
    share = q * tokens
    common = 2 * own * share * (s / tokens) + share * share * (s / tokens)
    if bool((own * own + common == 0).any()):
        raise DataError("tokens whose sum is 0, at gamma = 0: all of their means are 0, and have no cosine")
    return (own * own * products + common) / (own * own + common)


def critical_exponent(rho: float) -> float:
    """The critical ``γ = 1 / (1 − ρ)`` of ``β = γ log n`` for tokens of products ``ρ``, from 0 up to below 1.

    Raises: ConfigError; NonFiniteError.
    """
    return 1 / (1 - _checked_product(rho))


def critical_limit(rho: float, gamma: float) -> float:
    """The limit of :func:`critical_cosine` for ever more tokens.

    1 below the critical ``γ``, ``4ρ/(1+3ρ)`` at it, ``ρ`` above. For ``ρ = 0`` the mean of all tokens is itself small,
    and the step lies at ``γ = 1/2``, with the value 1/2 there.

    Raises: ConfigError; NonFiniteError.
    """
    rho = _checked_product(rho)
    gamma = finite_number(gamma, "gamma")
    if gamma < 0:
        raise ConfigError(f"gamma must be at least 0; got {gamma}")
    critical = 0.5 if rho == 0 else critical_exponent(rho)
    if gamma == critical:
        return 0.5 if rho == 0 else 4 * rho / (1 + 3 * rho)
    return 1.0 if gamma < critical else rho


def inverse_participation(weights: Any) -> Tensor:
    """How many tokens an attention looks at: ``1 / Σ_j p_j²``, from 1 to their number, differentiable.

    Shapes: ``weights (…, n)``, at least 0; they are divided by their sum first. The result is ``(…,)``.

    Raises: DataError for a weight below 0, or a row without any; NonFiniteError.
    """
    values = real_values(weights, "weights")
    if values.ndim == 0:
        raise DataError("weights must have an axis of tokens; got a single number")
    if bool((values < 0).any()):
        raise DataError(f"weights must be at least 0; got {float(values.min())}")
    # By the largest weight first: neither squares nor sums of tiny or huge weights may leave the range of floats.
    top = values.amax(-1, keepdim=True)
    if bool((top == 0).any()):
        raise DataError("weights must not be 0 for all tokens: there is nothing to share out")
    scaled = values / top
    return scaled.sum(-1) ** 2 / (scaled * scaled).sum(-1)


def _checked_product(rho: float) -> float:
    """A product that any number of equiangular tokens can have. Raises: ConfigError; NonFiniteError."""
    rho = finite_number(rho, "rho")
    if not 0 <= rho < 1:
        raise ConfigError(f"rho must be at least 0 and below 1; got {rho}")
    return rho
