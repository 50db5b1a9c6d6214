"""The phase diagram: which share of all pairs of tokens has merged, by inverse temperature and time.

Tokens start uniform on the sphere. As the dimension grows their products go to zero, all at the same pace, and the
share jumps from 0 to 1 along the exact time at which orthogonal tokens come to a cosine of .999.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.flow.rounding import rounded
from experiments.shared.studies import Study
from msr.flow import AttentionFlow, equiangular_time, phase_diagram
from msr.report import figures, format_table
from msr.runs.folder import Row
from msr.statistics.estimate import Estimate

__all__ = ["PhaseStudy"]

_STEP = 0.25
"""Of time. Shares differ by 5e-4 at most from those of a fifth of it, for β up to 9."""
_TIMES = (1.0, 2.0, 3.0, *np.arange(4, 10, 0.25).tolist(), *np.arange(10.0, 31.0).tolist())
"""Dense where most of the curve lies: between two of them a share is taken to be linear."""
_FULL = 0.999
"""The share of pairs at which all but a few have merged."""


@dataclass(frozen=True)
class PhaseStudy(Study):
    """Shares of merged pairs on a plane of inverse temperatures and times, for some dimensions.

    Attributes:
        n: tokens.
        dims: dimensions, a line each.
        starts: random starts of a seed, over which shares are means.
        betas: inverse temperatures.
        times: at which tokens are looked at.
    """

    name = "phases"

    n: int = 32
    dims: tuple[int, ...] = (3, 128)
    starts: int = 4
    betas: tuple[float, ...] = field(default_factory=lambda: tuple(np.linspace(0, 7, 15).tolist()))
    times: tuple[float, ...] = field(default_factory=lambda: _TIMES)

    def variants(self) -> dict[str, bool]:
        """A line for each dimension."""
        return {f"d={d}": True for d in self.dims}

    def row(self, variant: str, seed: int) -> Row:
        """Shares ``(betas, times)``, and the times at which half, and 99.9%, of all pairs have merged."""
        d = int(variant.removeprefix("d="))
        generator = torch.Generator().manual_seed(seed)
        shape = (self.starts, self.n, d)
        diagram = phase_diagram(
            lambda beta: InSpan(beta, min(self.n, d)), self.betas, self.times, shape, generator, step=_STEP
        )
        return {
            "n": self.n,
            "d": d,
            "starts": self.starts,
            "betas": list(self.betas),
            "times": list(self.times),
            "half": _finite(diagram.crossing_times(0.5)),
            "full": _finite(diagram.crossing_times(_FULL)),
            "shares": [rounded(line, 4) for line in diagram.shares.tolist()],
            "clusters_at_end": rounded(diagram.counts[:, -1].tolist(), 4),
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """Over the seeds: both times of each ``β``, None where a seed does not get there, beside the exact one."""
        return {
            "d": rows[0]["d"],
            "betas": list(self.betas),
            "exact": [equiangular_time(self.n, beta) for beta in self.betas],
            "half": [_over([row["half"][k] for row in rows]) for k in range(len(self.betas))],
            "full": [_over([row["full"][k] for row in rows]) for k in range(len(self.betas))],
            "clusters_at_end": [_over([row["clusters_at_end"][k] for row in rows]) for k in range(len(self.betas))],
        }

    def table(self, lines: list[Row]) -> str:
        """A row for each whole ``β``: the exact time, and those of each dimension."""
        header = ["β", "exact t(.999)"]
        for line in lines:
            header += [f"d = {line['d']}: half of all pairs", "99.9%", "clusters at the end"]
        cells = []
        for k, beta in enumerate(self.betas):
            if beta != int(beta):
                continue
            cells.append([f"{beta:g}", f"{lines[0]['exact'][k]:.2f}"])
            for line in lines:
                cells[-1] += [_cell(line["half"][k]), _cell(line["full"][k]), _cell(line["clusters_at_end"][k])]
        return format_table(header, cells)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``phases.png``: the shares, in the mean over seeds, and the exact curve on them."""
        panels = {}
        for variant, found in rows.items():
            shares = np.mean([row["shares"] for row in found], axis=0)
            panels[f"n = {self.n}, {variant.replace('=', ' = ')}"] = shares.tolist()
        betas = np.linspace(min(self.betas), max(self.betas), 200)
        curve = [equiangular_time(self.n, float(beta)) for beta in betas]
        picture = figures.fields(
            panels,
            across=self.times,
            up=self.betas,
            xlabel="time t",
            ylabel="inverse temperature β",
            label="share of pairs with cosine > .999",
            lines={"exact, orthogonal tokens": (curve, betas.tolist())},
        )
        return {"phases.png": picture}


class InSpan:
    """The flow of ``n`` tokens in the coordinates of a basis of their span, which they do not leave.

    With ``B = V = I`` rotations commute with the flow, so that 128 numbers of each of 32 tokens can be 32.
    """

    def __init__(self, beta: float, dim: int):
        self._flow = AttentionFlow(dim, beta)
        self._dim = dim

    def flow(self, X: Tensor, T: float, steps: Any = "safe", *, start: float = 0.0) -> Tensor:
        """Tokens ``(batch, n, d)`` that a time ``T`` takes on."""
        if X.shape[-1] == self._dim:
            return self._flow.flow(X, T, steps, start=start)
        basis, coordinates = torch.linalg.qr(X.mT)
        return self._flow.flow(coordinates.mT.contiguous(), T, steps, start=start) @ basis.mT


def _finite(times: Tensor) -> list[float | None]:
    """Times, with None for those that never come."""
    return [float(time) if torch.isfinite(time) else None for time in times]


def _over(values: list[float | None]) -> Row | None:
    """The mean over seeds with its interval; None where a seed has no value."""
    present = [value for value in values if value is not None]
    return Estimate.of(present).to_dict() if len(present) == len(values) else None


def _cell(estimate: Row | None) -> str:
    """A mean with its interval, or a dash."""
    if estimate is None:
        return "—"
    return f"{estimate['mean']:.2f}" + ("" if estimate["ci95"] is None else f" ± {estimate['ci95']:.2f}")
