"""Phase diagrams of a flow: how far tokens have merged, by temperature and time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from msr.brief import Brief
from msr.errors import ConfigError, DataError, ShapeError
from msr.flow.arguments import finite_number, real_values, token_count
from msr.flow.clustering.clusters import cluster_counts, mean_cosine, merged_share
from msr.flow.dynamics.sphere import uniform_on_sphere

__all__ = ["Flow", "PhaseDiagram", "phase_diagram"]


class Flow(Protocol):
    """What is asked of a flow here: :meth:`msr.flow.AttentionFlow.flow`, or what can be called as it."""

    def flow(self, X: Tensor, T: float, steps: Any = "safe", *, start: float = 0.0) -> Tensor:
        """Tokens ``(batch, n, d)`` that a time ``T`` takes on from the time ``start``."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class PhaseDiagram(Brief):
    """How far tokens have merged at each inverse temperature and time, in the mean over random starts.

    Attributes:
        betas: ``(B,)`` float64, in the order given.
        times: ``(T,)`` float64, increasing.
        shares: ``(B, T)``: the share of pairs that are merged.
        counts: ``(B, T)``: the number of clusters.
        cosines: ``(B, T)``: the mean cosine of pairs.
        n: tokens.
        d: their dimension.
        batch: random starts, the same ones for every ``β``.

    Raises: ShapeError; DataError for shares outside 0 to 1.
    """

    betas: Tensor
    times: Tensor
    shares: Tensor
    counts: Tensor
    cosines: Tensor
    n: int
    d: int
    batch: int

    def __post_init__(self) -> None:
        shape = (len(self.betas), len(self.times))
        for name in ("shares", "counts", "cosines"):
            if getattr(self, name).shape != shape:
                raise ShapeError(f"{name} must be {shape}, betas by times; got {tuple(getattr(self, name).shape)}")
        if not bool(((self.shares >= 0) & (self.shares <= 1)).all()):
            raise DataError("a share of pairs is not from 0 to 1")

    def crossing_times(self, share: float = 0.5) -> Tensor:
        """The time at which the share of merged pairs first passes a level, ``(B,)``; infinite where it does not.

        Between two times the share is taken to be linear. Before the first one nothing is known: a share that is above
        the level there crosses at that time at the latest, which is the answer.
        """
        level = finite_number(share, "share")
        if not 0 < level <= 1:
            raise ConfigError(f"share must be above 0, and at most 1; got {level}")
        above = self.shares >= level
        place = above.to(torch.int64).argmax(1)
        before = (place - 1).clamp(min=0)
        low, high = (self.shares.gather(1, i[:, None])[:, 0] for i in (before, place))
        # Where the first time is above the level, both are the same place.
        part = torch.where(high > low, (level - low) / (high - low).clamp(min=torch.finfo(high.dtype).tiny), 1.0)
        times = self.times[before] + part * (self.times[place] - self.times[before])
        return torch.where(above.any(1), times, torch.inf)


def phase_diagram(
    flow_at: Callable[[float], Flow],
    betas: Any,
    times: Any,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    tol: float = 1e-3,
    step: float | None = None,
) -> PhaseDiagram:
    """How far tokens have merged at each inverse temperature and time: see :class:`PhaseDiagram`.

    Tokens start uniform on the sphere, the same ones for each ``β``.

    Args:
        flow_at: the flow of an inverse temperature, such as ``lambda beta: AttentionFlow(d, beta)``.
        betas: inverse temperatures, ``(B,)``.
        times: above 0 and increasing, ``(T,)``.
        shape: of the tokens, ``(batch, n, d)``.
        generator: where the starts are drawn from; they are on its device.
        tol: pairs with a cosine of at least ``1 − tol`` are merged.
        step: the longest step in time; by default the flow chooses.

    Raises: ConfigError for times that do not increase, no step, or sizes that are none; NonFiniteError; DataError.
    """
    temperatures = real_values(betas, "betas").to(torch.float64).flatten()
    moments = real_values(times, "times").to(torch.float64).flatten()
    if bool((moments <= 0).any()) or bool((moments.diff() <= 0).any()):
        raise ConfigError(f"times must be above 0 and increasing; got {moments.tolist()[:8]}")
    longest = None if step is None else finite_number(step, "step")
    if longest is not None and longest <= 0:
        raise ConfigError(f"step must be above 0; got {step}")
    if len(shape) != 3:
        raise ConfigError(f"shape must be (batch, n, d), the sizes of the tokens; got {tuple(shape)}")
    batch, n, d = (token_count(size, name) for size, name in zip(shape, ("batch", "n", "d"), strict=True))
    tokens = uniform_on_sphere(n, d, batch, generator=generator)
    with torch.no_grad():
        rows = [_measured(flow_at(beta), tokens, moments.tolist(), tol, longest) for beta in temperatures.tolist()]
    shares, counts, cosines = torch.stack(rows).unbind(-1)
    return PhaseDiagram(temperatures.cpu(), moments.cpu(), shares, counts, cosines, n=n, d=d, batch=batch)


def _measured(flow: Flow, tokens: Tensor, times: list[float], tol: float, longest: float | None) -> Tensor:
    """The share of merged pairs, the number of clusters and the mean cosine at each time, ``(times, 3)``."""
    measured = []
    now = 0.0
    for time in times:
        # A quotient that is whole but for rounding is whole.
        steps = "safe" if longest is None else max(1, math.ceil((time - now) / longest - 1e-9))
        tokens = flow.flow(tokens, time - now, steps, start=now)
        now = time
        measures = merged_share(tokens, tol), cluster_counts(tokens, tol), mean_cosine(tokens)
        measured.append(torch.stack([m.to(torch.float64).mean() for m in measures]).cpu())
    return torch.stack(measured)
