"""Is a context any good, before any task is known: the metric τ, and what it does not see."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import curve_fit
from torch import Tensor

from msr.brief import Brief
from msr.contexture.spectra import Spectrum
from msr.errors import ConfigError, DataError

__all__ = ["Usefulness", "usefulness"]

_ONE = 1e-9
"""How far below 1 a squared singular value may be and still be 1, up to rounding."""
_ALIKE = 0.02
"""How near to ``1 + β`` the least τ may be before it is taken to say nothing: contexts that are far too weak and far
too strong both land there. Chosen by hand; the exact cases are within 1e-6."""


@dataclass(frozen=True, eq=False, repr=False)
class Usefulness(Brief):
    """A spectrum judged without a task. Smaller τ is better, among contexts of one kind; across kinds it is no order.

    Attributes:
        curve: ``(d0,)`` float64: ``τ_d = 1/(1 − s_{d+1}²) + β Σ_{i≤d} s_i² / Σ_{i≤d0} s_i²`` for ``d`` from 1.
        tau: the least of the curve.
        dimension: the ``d`` at which it is least, a proposal for the width of an encoder.
        energy: ``Σ s_i²`` over all values: τ looks at shares of it only, so that a context that says next to nothing
            can have a small τ.
        decay: the rate ``λ`` of the best fit ``s_i² ≈ exp(−λ i)``, by least squares: large for a weak association.
        abstains: whether τ is within 2% of ``1 + β``, where contexts that are far too weak meet those far too strong,
            or infinite: no value among those known is below 1.

    Source: section 5 of arXiv:2505.01557.
    """

    curve: Tensor
    tau: float
    dimension: int
    energy: float
    decay: float
    abstains: bool


def usefulness(spectrum: Spectrum, d0: int | None = None, beta: float = 1.0) -> Usefulness:
    """Judge a context by its spectrum: see :class:`Usefulness`.

    Args:
        spectrum: complete, or with two values at least.
        d0: the largest dimension thought of; by default 512, or as many as the values that are known allow.
        beta: what the second term weighs.

    Raises: ConfigError for a ``d0`` that needs unknown values, or a ``beta`` not above 0; DataError for a context that
    says nothing about its points: all values are 0.
    """
    if not 0 < beta < np.inf:
        raise ConfigError(f"beta must be above 0; got {beta}")
    known = len(spectrum.values)
    most = known if spectrum.complete else known - 1
    if most < 1:
        raise ConfigError(f"{spectrum.name}: {known} values are known, and two at least are needed; ask for more")
    last = min(512, most) if d0 is None else d0
    if not 1 <= last <= most:
        raise ConfigError(f"{spectrum.name}: d0 must be from 1 to {most}; got {last}")
    squares = torch.cat([spectrum.squares, torch.zeros(1, dtype=torch.float64)])[: last + 1]
    total = float(squares[:last].sum())
    if total <= 0:
        raise DataError(f"{spectrum.name}: all singular values are 0: the context says nothing about its points")
    # A value of 1 behind the functions that are kept makes the first term infinite.
    gaps = 1 - squares[1:]
    approximation = torch.where(gaps > _ONE, 1 / gaps.clamp(min=_ONE), torch.inf)
    curve = approximation + beta * squares[:last].cumsum(0) / total
    best = int(curve.argmin())
    tau = float(curve[best])
    return Usefulness(
        curve=curve,
        tau=tau,
        dimension=best + 1,
        energy=spectrum.energy,
        decay=_decay(squares[:last].numpy()),
        abstains=not np.isfinite(tau) or abs(tau - 1 - beta) <= _ALIKE * (1 + beta),
    )


def _decay(squares: np.ndarray) -> float:
    """The rate of the best fit ``s_i² ≈ exp(−λ i)``, ``i`` from 0 for the constant function, whose value is 1."""
    values = np.concatenate([[1.0], squares])
    places = np.arange(len(values), dtype=np.float64)
    start = -np.log(max(float(values[1]), 1e-12))
    rate, _ = curve_fit(lambda i, rate: np.exp(-rate * i), places, values, p0=[start], bounds=(0, np.inf))
    return float(rate[0])
