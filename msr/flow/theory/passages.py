"""How long a scalar flow takes from one value to another, by quadrature; and its path, by an adaptive solver.

Both work in a coordinate ``y`` in which the flow is slow and smooth up to its fixed points: ``y' = exp(s(y))``. Then a
time is ``∫ exp(−s) dy``, a smooth integral, whose size is kept apart as a logarithm, as it may be no float.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from msr.errors import ConfigError, PrecisionError
from msr.flow.arguments import real_values

__all__ = ["RELATIVE", "checked_times", "exponential", "log_passage_time", "solved", "steep_places"]

RELATIVE = 1e-12
"""Relative error that the solver is asked for: what float64 gives to a flow without much cancellation."""
_AGREE = 1e-10
"""How far two quadratures may differ, relative to the larger one. They agree to 1e-14 but for the rounding of ``βg`` in
the exponent, which is 1e-16 times ``β``."""
_ABSOLUTE = 1e-13
"""Absolute error of a solver's coordinates, which are of the size of 1."""


def log_passage_time(
    log_slowness: Callable[[NDArray[np.float64]], NDArray[np.float64]], places: Sequence[float]
) -> float:
    """The logarithm of ``∫ exp(log_slowness(y)) dy`` from the first place to the last one.

    By Gauss-Legendre rules of two orders between places, which must agree.

    Args:
        log_slowness: ``−log y'`` of an array, smooth within a panel.
        places: ends of the panels, increasing: :func:`steep_places`.

    Raises: PrecisionError where the two rules do not agree.
    """
    ends = np.asarray(places)
    if len(ends) < 2 or ends[0] == ends[-1]:
        return -math.inf
    # No panel is wider than 1, on which a smooth function of y is a polynomial as good as exactly.
    ends = np.concatenate(
        [np.linspace(low, high, max(1, math.ceil(high - low)), endpoint=False) for low, high in pairwise(ends)]
        + [ends[-1:]]
    )
    # The largest integrand is taken out, so that what is left is between 0 and 1 whatever its size.
    size = float(log_slowness(ends).max())
    rough, fine = (
        float((np.exp(log_slowness(nodes) - size) * weights).sum())
        for nodes, weights in (_rule(ends, order) for order in (16, 24))
    )
    if not abs(rough - fine) <= _AGREE * fine:
        raise PrecisionError(f"the time was found only up to {abs(rough - fine) / fine:.1e} of itself")
    return size + math.log(fine)


def _rule(ends: NDArray[np.float64], order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of a Gauss-Legendre rule on each panel, ``(panels, order)``."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    half = np.diff(ends)[:, None] / 2
    return ends[:-1, None] + half * (nodes + 1), half * weights


def exponential(logarithm: float) -> float:
    """``exp``, and infinity where that is no float."""
    return math.exp(logarithm) if logarithm < math.log(np.finfo(np.float64).max) else math.inf


def steep_places(start: float, level: float, scale: float, coordinate: Callable[[float], float]) -> list[float]:
    """Panels for an integrand that falls as ``exp(−scale (g − start))``, or rises so for a negative scale.

    They end at ``start``, at ``level`` and at distances 1/4, 1/2, 1, 2, … over ``|scale|`` from the steep end. In one
    panel a steep integrand would fall between the nodes of a quadrature, which then takes it for zero.

    Args:
        start: the first value of ``g``.
        level: the last one.
        scale: the rate, of either sign.
        coordinate: ``y`` of a value ``g``.
    """
    width = level - start
    inner = []
    step = 0.25 / abs(scale) if scale else width
    while step < width:
        inner.append(start + step if scale > 0 else level - step)
        step *= 2
    return [coordinate(g) for g in sorted({start, *inner, level})]


def checked_times(times: Any, name: str = "times") -> NDArray[np.float64]:
    """Times as a float64 array of one axis, in their order, without history.

    Raises: DataError for what holds no real numbers, or none; NonFiniteError; ConfigError for a time below 0.
    """
    array = real_values(times, name).detach().cpu().to(torch.float64).numpy().ravel()
    if (array < 0).any():
        raise ConfigError(f"{name} must be at least 0; got {array.min()}")
    return array


def solved(
    rates: Callable[[float, NDArray[np.float64]], Sequence[float] | NDArray[np.float64]],
    start: Sequence[float],
    times: NDArray[np.float64],
    stops: Sequence[float] = (),
) -> NDArray[np.float64]:
    """The solution of an ordinary differential equation at some times, ``(times, coordinates)``, from time 0 on.

    Args:
        rates: ``(t, y)`` to ``y'``.
        start: ``y`` at time 0.
        times: at least 0, in any order.
        stops: times at which the rates jump, where the solver starts anew. On both sides of one the rates are taken
            from its own side: a solver that steps over a jump would lose its order there.

    Raises: PrecisionError where the solver gives up.
    """
    order = np.argsort(times, kind="stable")
    result = np.empty((len(times), len(start)))
    last = float(times.max())
    ends = [0.0, *sorted(t for t in stops if 0 < t < last), last]
    state = np.asarray(start, dtype=np.float64)
    result[times == 0] = state
    for low, high in pairwise(ends):
        inside = [k for k in order if low < times[k] <= high]
        if high <= low:
            continue
        # Rates at the very end of a piece belong to it: just below the stop, not to what follows.
        below = math.nextafter(high, low)
        answer = solve_ivp(
            lambda t, y, below=below: rates(min(t, below), y),
            (low, high), state, method="DOP853", rtol=RELATIVE, atol=_ABSOLUTE, dense_output=True,
        )  # fmt: skip
        if not answer.success:
            raise PrecisionError(f"the flow was not followed beyond t = {answer.t[-1]:.6g}: {answer.message}")
        for k in inside:
            result[k] = answer.sol(times[k])
        state = answer.y[:, -1]
    return result
