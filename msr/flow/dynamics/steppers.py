"""Steps of an ordinary differential equation whose state is a tuple of tensors, and the walk over many of them."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from msr.arrays import is_wrapped
from msr.errors import ConfigError, MissingExtraError, NonFiniteError, PrecisionError

__all__ = ["Advance", "Rate", "State", "adaptive", "euler", "rk4", "usa_step", "walk"]

State = tuple[Tensor, ...]
Rate = Callable[[State, float], State]
"""The derivative of a state at a time."""
Settle = Callable[[State], State]
"""A state that rounding and truncation moved off its surface, brought back to it."""
Advance = Callable[[State, float, float], State]
"""The state at ``t + h`` from that at ``t``."""

_LOOK = 32  # steps after which the states are looked at: each look waits for a device to finish its work
_MOST_EVALUATIONS = 100_000  # of the derivative between two outputs of adaptive steps


def usa_step(beta: float, dt: float = 0.1) -> float:
    """A step at which no token of unnormalised attention turns by more than about ``dt`` radians.

    ``dt / max(√β e^(β − 1/2), 1)``: tokens move with a speed of at most about ``e^(β − 1/2) / √β``. For ``β`` below
    0.87 the turn can be up to 1.22 ``dt``.
    Raises: ConfigError for a ``dt`` that is not above 0, or a ``β`` that is no finite number.
    Source: the step of the authors of "A mathematical perspective on transformers".
    """
    if not (math.isfinite(beta) and dt > 0):
        raise ConfigError(f"beta must be finite and dt above 0; got {beta} and {dt}")
    if beta <= 0:
        return dt
    # A β of hundreds would overflow as a factor; as a power it gives a step of 0.
    return dt * math.exp(-max(0.5 * math.log(beta) + beta - 0.5, 0.0))


def rk4(rate: Rate, settle: Settle) -> Advance:
    """Classical Runge-Kutta steps of order 4; the state is settled after each whole step."""

    def advance(state: State, t: float, h: float) -> State:
        first = rate(state, t)
        second = rate(_moved(state, first, h / 2), t + h / 2)
        third = rate(_moved(state, second, h / 2), t + h / 2)
        fourth = rate(_moved(state, third, h), t + h)
        mean = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True))
        return settle(_moved(state, mean, h))

    return advance


def euler(rate: Rate, settle: Settle) -> Advance:
    """Euler steps, settled: of order 1."""

    def advance(state: State, t: float, h: float) -> State:
        return settle(_moved(state, rate(state, t), h))

    return advance


def adaptive(rate: Rate, settle: Settle, tolerance: float) -> Advance:
    """Steps of torchdiffeq's Dormand-Prince pair of order 8, whose sizes keep the error of each below a tolerance.

    The tolerance is of the largest error of any number of the state, relative to the number where that is above 1.
    Raises: MissingExtraError without torchdiffeq; when advanced, NonFiniteError and PrecisionError.
    """
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise MissingExtraError("adaptive steps need torchdiffeq: pip install 'msr[ode]'") from error

    def advance(state: State, t: float, h: float) -> State:
        if h == 0:
            return state
        count = 0

        def derivative(now: Tensor, packed: State) -> State:
            nonlocal count
            count += 1
            # Settled first, so that the norm of a token is constant to the method: where tokens repel each other, the
            # extension of the field off the sphere lets errors of the norm grow.
            result = rate(settle(packed), float(now))
            if not all(bool(torch.isfinite(part).all()) for part in result):
                raise NonFiniteError(_blown_up(float(now), float(now)))
            if count > _MOST_EVALUATIONS:
                raise PrecisionError(
                    f"adaptive steps from t = {t:g} to {t + h:g} are too small: {count - 1:,} evaluations came to "
                    f"t = {float(now):.6g}; give a larger tolerance or a shorter time"
                )
            return result

        times = torch.tensor([t, t + h], dtype=torch.float64, device=state[0].device)
        # The last step ends at t + h, since what is interpolated between steps has an error of a lower order. The
        # largest error decides, since a mean over a batch would hide that of one element.
        options = {"norm": _largest, "step_t": times[1:]}
        try:
            # atol + rtol |y| bounds the error.
            path = odeint(derivative, state, times, rtol=tolerance, atol=tolerance, method="dopri8", options=options)
        except AssertionError as error:
            raise PrecisionError(
                f"adaptive steps from t = {t:g} to {t + h:g} cannot keep the tolerance {tolerance:g}: {error}"
            ) from error
        return settle(tuple(part[-1] for part in path))

    return advance


@dataclass(frozen=True)
class Interval:
    """A time span, the number of its equal steps, and the times at which the field changes its formula."""

    start: float
    length: float
    steps: int
    breaks: tuple[float, ...] = ()

    def pieces(self, k: int) -> Iterator[tuple[float, float]]:
        """Beginnings and ends of the pieces of step ``k``: more than one where a break lies inside it."""
        low = self.start + self.length * k / self.steps
        high = self.start + self.length * (k + 1) / self.steps
        inside = [b for b in self.breaks if low < b < high]
        edges = [low, *inside, high]
        yield from itertools.pairwise(edges)


def walk(state: State, interval: Interval, advance: Advance, keep: Callable[[State, float], None]) -> State:
    """The last state of the walk over an interval; ``keep(state, t)`` is called after every step.

    Raises: NonFiniteError, with the step in which it happened, where a number is not finite any more.
    """
    whole = []
    for k in range(interval.steps):
        for low, high in interval.pieces(k):
            state = advance(state, low, high - low)
        keep(state, interval.start + interval.length * (k + 1) / interval.steps)
        if is_wrapped(state[0]):
            continue
        parts = [torch.isfinite(part).all() for part in state]
        whole.append(parts[0] if len(parts) == 1 else torch.stack(parts).all())
        if len(whole) == _LOOK or k == interval.steps - 1:
            _refuse_first_break(whole, k, interval)
            whole = []
    return state


def _refuse_first_break(whole: list[Tensor], last: int, interval: Interval) -> None:
    """Raise NonFiniteError for the first of the steps up to ``last`` whose state is not whole."""
    broken = (~torch.stack(whole)).nonzero().flatten().tolist()
    if broken:
        k = last - len(whole) + 1 + broken[0]
        size = interval.length / interval.steps
        raise NonFiniteError(
            _blown_up(interval.start + size * k, interval.start + size * (k + 1))
            + f" (step {k + 1} of {interval.steps}, each {size:.3g} long)"
        )


def _blown_up(low: float, high: float) -> str:
    """What is said of a flow that left the finite numbers between two times."""
    when = f"at t = {low:.6g}" if low == high else f"between t = {low:.6g} and t = {high:.6g}"
    return (
        f"the flow left the finite numbers {when}: tokens, scores or their exponentials grew too large, a radius "
        "reached 0, or an output that is divided by its norm vanished; take more steps, a shorter time, a smaller beta "
        "or another norm"
    )


def _moved(state: State, rate: State, h: float) -> State:
    """``state + h rate``."""
    return tuple(part + h * change for part, change in zip(state, rate, strict=True))


def _largest(errors: State) -> Tensor:
    """The largest absolute number, without a gradient: the sizes of steps are no part of what is differentiated."""
    return torch.stack([part.detach().abs().max() for part in errors]).max()
