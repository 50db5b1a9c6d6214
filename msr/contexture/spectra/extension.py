"""Singular functions at points that a context was not made from."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from msr.contexture.contexts.base import Context
from msr.contexture.contexts.tables import TableContext
from msr.contexture.spectra.values import Spectrum
from msr.errors import ConfigError, DataError, ShapeError

__all__ = ["extend"]

FLOOR = 2e-2
"""The least singular value whose function is continued. Below it single points decide: on neighbours of the iris and
wine sets some ``ν_i`` are in the hundreds at an ``a`` that is hardly ever drawn, and a few new points made most of the
error of a probe."""


def extend(context: Context, spectrum: Spectrum, points: Any, *, floor: float = FLOOR) -> Tensor:
    """The singular functions at new points: ``μ_i(x) = Σ_a P(a|x) ν_i(a) / s_i``.

    Functions with ``s_i < floor`` are not continued, since the division would blow rounding and rare values up.

    Shapes: ``points (new, …)`` as the context takes them; the result is ``(new, kept)`` float64, the leading functions.
    Raises: ShapeError for the spectrum of another context; ConfigError for a context that is known on its own points
    only, or a ``floor`` that is not above 0; DataError where no function is left.
    Source: the values of ``T ν_i = s_i μ_i`` at ``x``.
    """
    if not floor > 0:
        raise ConfigError(f"floor must be above 0; got {floor}")
    if len(spectrum.weights) != context.n or not torch.equal(spectrum.weights, context.weights):
        raise ShapeError(f"the spectrum is of {spectrum.name}, and not of the context {context.name}")
    kept = int((spectrum.values >= floor).sum())
    if kept == 0:
        largest = float(spectrum.values.max()) if len(spectrum.values) else 0.0
        raise DataError(
            f"{context.name}: its largest value is {largest:.3g}, and functions below {floor:g} are not continued; the "
            "context is too weak (or give a smaller floor)"
        )
    values = spectrum.values[:kept]
    if isinstance(context, TableContext):
        assert spectrum.context_functions is not None
        rows = context.conditional_rows(points)
        return torch.from_numpy(np.asarray(rows @ spectrum.context_functions[:, :kept].numpy())) / values
    rows = context.kernel_rows(points)
    weighted = spectrum.functions[:, :kept] * spectrum.weights[:, None]
    return torch.from_numpy(np.asarray(rows @ weighted.numpy())) / values.square()
