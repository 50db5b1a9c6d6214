"""The staircase of a flow: its energy rests while clusters live, and rises where two of them merge."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from msr.brief import Brief
from msr.errors import ConfigError, ShapeError
from msr.flow.arguments import finite_number, token_batch, token_count
from msr.flow.clustering.clusters import cluster_counts

__all__ = ["EnergyFlow", "Staircase", "staircase"]

_AT_ONCE = 256
"""Points of a path that are in memory together. Chosen by hand."""
_HALVINGS = 30
"""Halvings of a step in which the number of clusters falls: a time to a billionth of the step."""


class EnergyFlow(Protocol):
    """What is asked of a flow here: two methods of :class:`msr.flow.AttentionFlow`."""

    def flow(self, X: Tensor, T: float, steps: Any, path: bool = False, start: float = 0.0) -> Tensor:
        """Tokens ``(n, d)`` that a time ``T`` takes on from the time ``start``; as a path ``(steps + 1, n, d)``."""
        ...

    def energy(self, X: Tensor) -> Tensor:
        """The energy of tokens ``(n, d)``, a scalar, or of ``(batch, n, d)``, ``(batch,)``."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Staircase(Brief):
    """The energy and the number of clusters along one path, and when clusters merged.

    Attributes:
        times: ``(steps + 1,)`` float64, from 0 on.
        energies: ``(steps + 1,)``.
        counts: ``(steps + 1,)`` int64: the number of clusters.
        merges: ``(merges,)`` float64: the times at which the number falls to a new least one, one entry for each
            cluster that is gone; found within their step by halving it.
        final: ``(n, d)``: the tokens at the end.

    Raises: ShapeError.
    """

    times: Tensor
    energies: Tensor
    counts: Tensor
    merges: Tensor
    final: Tensor

    def __post_init__(self) -> None:
        if not self.times.shape == self.energies.shape == self.counts.shape:
            raise ShapeError("times, energies and counts of a staircase need one entry for each point of the path")


def staircase(flow: EnergyFlow, X: Any, T: float, steps: int, *, tol: float = 1e-3) -> Staircase:
    """Follow tokens, and tell when clusters merge: see :class:`Staircase`.

    Args:
        flow: with ``flow(X, T, steps)`` and ``energy(X)``.
        X: tokens ``(n, d)``.
        T: the length of the path, above 0.
        steps: of the path.
        tol: tokens with a cosine of at least ``1 − tol`` are joined into clusters.

    Raises: ShapeError for a batch; ConfigError; NonFiniteError.
    """
    tokens = token_batch(X)
    if tokens.shape[0] != 1:
        raise ShapeError(f"a staircase is of one set of tokens (n, d); got a batch {tuple(tokens.shape)}")
    state = tokens[0]
    T = finite_number(T, "T")
    steps = token_count(steps, "steps")
    if T <= 0:
        raise ConfigError(f"T must be above 0; got {T}")
    dt = T / steps
    merges: list[float] = []
    counts = [cluster_counts(state, tol).reshape(1)]
    least = int(counts[0])
    with torch.no_grad():
        energies = [flow.energy(state).reshape(1)]
        for first in range(0, steps, _AT_ONCE):
            size = min(_AT_ONCE, steps - first)
            # A stretch of the path at once: energies and clusters of all its points cost as much as those of one.
            points = flow.flow(state, size * dt, size, path=True, start=first * dt)
            energies.append(flow.energy(points[1:]))
            counts.append(cluster_counts(points[1:], tol))
            for k, count in enumerate(counts[-1].tolist()):
                # Two clusters gone in one step are two merges, each with its time.
                while least > count:
                    least -= 1
                    merges.append(_first_time(flow, points[k], (first + k) * dt, dt, least, tol))
            state = points[-1]
    return Staircase(
        torch.arange(steps + 1, dtype=torch.float64) * dt,
        torch.cat(energies),
        torch.cat(counts),
        torch.tensor(merges, dtype=torch.float64),
        state,
    )


def _first_time(flow: EnergyFlow, state: Tensor, now: float, dt: float, most: int, tol: float) -> float:
    """The time after which there are at most so many clusters, in a step of length ``dt`` at whose end there are."""
    low = 0.0
    high = dt
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if int(cluster_counts(flow.flow(state, middle, 1, start=now), tol)) <= most:
            high = middle
        else:
            low = middle
    return now + high
