"""What a context, and an encoder that has learned it, are worth for tasks: for one, and for the worst of all."""

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from msr.arrays import takes_arrays
from msr.contexture.contexts.base import SCALE, Context
from msr.contexture.measures.encoders import captured, checked_encoder, orthonormal, trace_gap
from msr.contexture.spectra import Spectrum
from msr.errors import ConfigError, DataError, ShapeError

__all__ = ["compatibility", "probe_error", "trace_gap_bound", "worst_error", "worst_error_bound"]


@takes_arrays("target")
def compatibility(context: Context, target: Tensor) -> float:
    """``ρ = |T* f~| / |f~|``, 0 to 1: the largest correlation of a target ``f(X)`` with any function of ``A``.

    ``ρ²`` is the share of the target's variance that is known from ``A``.
    Shapes: ``target (n,)``, its value at each point.
    Raises: ShapeError, NonFiniteError; DataError for a constant target.
    Source: Definition 13 of arXiv:2505.01557.
    """
    values = torch.from_numpy(context.on_points(target[:, None]))
    centred = values - context.weights @ values
    variance = float(context.weights @ centred.square())
    if variance <= (np.finfo(np.float64).eps * len(values) * float(values.abs().max())) ** 2:
        raise DataError(f"{context.name}: the target is the same at all points")
    kept = float((context.weights[:, None] * centred * context.smoothed(centred)).sum())
    return math.sqrt(min(1.0, max(0.0, kept / variance)))


@takes_arrays("weights", "encoder", "target")
def probe_error(weights: Tensor, encoder: Tensor, target: Tensor) -> float:
    """``min_{w, b} E(w·Φ(X) + b − f(X))²``: the error of the best linear probe in the whole distribution.

    Shapes: ``weights (n,)``, the probabilities of the points; ``encoder (n, d)``; ``target (n,)``.
    Units: those of the target, squared.
    Raises: ShapeError, NonFiniteError; DataError for a constant encoder, or weights that do not sum to 1.
    Source: Definition 15 of arXiv:2505.01557.
    """
    values = checked_encoder(target[:, None] if target.ndim == 1 else target, len(weights), "the target")
    if values.shape[1] != 1:
        raise ShapeError(f"one target is needed, ({len(weights)},); got the shape {tuple(target.shape)}")
    if abs(float(weights.sum()) - 1) > SCALE:
        raise DataError(f"the weights of the points sum to {float(weights.sum()):.6g}, and probabilities to 1")
    basis = orthonormal(weights, encoder)
    centred = values[:, 0] - weights @ values[:, 0]
    scaled = weights.sqrt() * centred
    return float((scaled - basis @ (basis.mT @ scaled)).square().sum())


@takes_arrays("encoder")
def worst_error(spectrum: Spectrum, encoder: Tensor, eps: float) -> float:
    """``err(Φ; F_ε)``: the largest probe error of any target of variance 1 with compatibility at least ``1 − ε``.

    ``min_{η ≥ 0} λ_max((I − Q Qᵀ) + η (S² − (1 − ε)² I))`` in the coordinates of all ``n − 1`` singular functions, with
    an orthonormal basis ``Q`` of the centred encoder: strong duality holds, as there is one quadratic constraint
    beside the sphere.

    Shapes: ``encoder (n, d)``.
    Raises: ConfigError for an ``eps`` not from 0 to 1, or a spectrum that is not complete; DataError where no target is
    so compatible: ``ε < 1 − s_1``.
    Source: Definition 15 of arXiv:2505.01557; the dual form is derived here.
    """
    _check_eps(spectrum, eps)
    if not spectrum.complete:
        raise ConfigError(f"{spectrum.name}: the worst target may be any function, so all values are needed")
    basis = orthonormal(spectrum.weights, encoder)
    inside = (spectrum.weights.sqrt()[:, None] * spectrum.functions).mT @ basis
    outside = np.eye(len(inside)) - (inside @ inside.mT).numpy()
    excess = spectrum.squares.numpy() - (1 - eps) ** 2

    def bound(eta: float) -> float:
        return float(np.linalg.eigvalsh(outside + np.diag(eta * excess))[-1])

    # The bound is convex in η, and its least value may be approached only as η grows without end.
    top = 1.0
    while top < 1e9 and bound(2 * top) < bound(top):
        top *= 2
    best = minimize_scalar(bound, bounds=(0, 2 * top), method="bounded", options={"xatol": 1e-12 * top, "maxiter": 500})
    return min(max(float(best.fun), 0.0), bound(0.0))


def worst_error_bound(spectrum: Spectrum, d: int, eps: float) -> float:
    """``(s_1² − (1 − ε)²) / (s_1² − s_{d+1}²)``: the least :func:`worst_error` that an encoder with ``d`` outputs can
    have.

    An encoder that has learned the context has it. Others may have it too.
    Raises: ConfigError for a ``d`` unknown, or an ``eps`` outside of ``1 − s_1 ≤ ε ≤ 1 − √((s_1² + s_2²)/2)``, where it
    holds.
    Source: Theorem 16 of arXiv:2505.01557.
    """
    squares = _padded_squares(spectrum, max(d + 1, 2))
    low = 1 - math.sqrt(squares[0])
    high = 1 - math.sqrt((squares[0] + squares[1]) / 2)
    if d < 1 or not low - 1e-12 <= eps <= high + 1e-12:
        raise ConfigError(f"d must be at least 1, and eps from {low:.6g} to {high:.6g}; got {d} and {eps}")
    if squares[0] - squares[d] <= 1e-9:
        return 1.0  # d cuts the first eigenspace, and a function of it is missed
    return (squares[0] - (1 - eps) ** 2) / (squares[0] - squares[d])


@takes_arrays("encoder")
def trace_gap_bound(context: Context, spectrum: Spectrum, encoder: Tensor, eps: float) -> float:
    """``(s_1² − (1 − ε)² + s_1 TG) / (s_1² − TG²)``: at least the :func:`worst_error` of any encoder, infinity if
    ``TG ≥ s_1``.

    Shapes: ``encoder (n, d)``. Raises: as :func:`worst_error`, :func:`captured` and :func:`trace_gap`.
    Source: Theorem 24 of arXiv:2505.01557, with the rooted :func:`trace_gap`.
    """
    _check_eps(spectrum, eps)
    gap = trace_gap(spectrum, captured(context, encoder))
    first = float(spectrum.values[0])
    return (first**2 - (1 - eps) ** 2 + first * gap) / (first**2 - gap**2) if gap < first else math.inf


def _check_eps(spectrum: Spectrum, eps: float) -> None:
    """Raise ConfigError for an ``eps`` not from 0 to 1, DataError where no target is so compatible."""
    if not 0 <= eps <= 1:
        raise ConfigError(f"eps must be from 0 to 1; got {eps}")
    largest = float(spectrum.values[0]) if len(spectrum.values) else 0.0
    if eps < 1 - largest - 1e-12:
        raise DataError(f"{spectrum.name}: no target has a compatibility of {1 - eps:.6g}; the most is {largest:.6g}")


def _padded_squares(spectrum: Spectrum, count: int) -> list[float]:
    """The first ``count`` of the ``s_i²``, 0 beyond the number of functions. Raises: ConfigError for values unknown."""
    if len(spectrum.values) < count and not spectrum.complete:
        raise ConfigError(f"{spectrum.name}: {count} values are needed, and {len(spectrum.values)} are known")
    squares = spectrum.squares[:count].tolist()
    return squares + [0.0] * (count - len(squares))
