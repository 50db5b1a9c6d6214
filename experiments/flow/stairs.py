"""The staircase of the energy: clusters live long and merge fast, and the energy rests and jumps.

Five tokens on a circle, at angles that are given, so that nothing is random; beside the times of merging that a sharp
solver finds in the equations of the angles alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from experiments.flow.rounding import rounded
from experiments.shared.studies import Study
from msr.errors import PrecisionError
from msr.flow import AttentionFlow, staircase
from msr.report import figures, format_table
from msr.runs.folder import Row

__all__ = ["ANGLES", "StaircaseStudy", "exact_merges"]

ANGLES = (0.05, 0.20, 1.80, 2.90, 3.20)
"""Of the tokens, in radians, in their order on the circle."""
NEAR = 0.999
"""The cosine at which two tokens are of one cluster."""
_STEP = 0.1
_LONGEST = 1e5
_POINTS = 400
"""Points of a curve that are kept, evenly spaced in the logarithm of time."""


@dataclass(frozen=True)
class StaircaseStudy(Study):
    """Energy and clusters of five tokens on a circle, a line for each inverse temperature."""

    name = "staircase"

    betas: tuple[float, ...] = (3.0, 4.0)

    def variants(self) -> dict[str, bool]:
        """A line for each ``β``."""
        return {f"β={beta:g}": False for beta in self.betas}

    def row(self, variant: str, seed: int) -> Row:
        """Times of merging, found and exact; the number of clusters after each; and the energy over its maximum."""
        beta = float(variant.removeprefix("β="))
        exact = exact_merges(beta)
        angles = torch.tensor(ANGLES, dtype=torch.float64)
        tokens = torch.stack([angles.cos(), angles.sin()], -1)
        # Beyond the last merge by a tenth, so that the last step is seen to be flat.
        steps = math.ceil(1.1 * exact[-1] / _STEP)
        found = staircase(AttentionFlow(2, beta), tokens, steps * _STEP, steps, tol=1 - NEAR)
        merges = found.merges.tolist()
        energies = (found.energies * 2 * beta * math.exp(-beta)).numpy()
        places = np.unique(np.geomspace(1, steps, _POINTS).round().astype(int))
        return {
            "beta": beta,
            "merges": merges,
            "exact": exact,
            "worst": max(abs(a - b) for a, b in zip(merges, exact, strict=True)),
            "clusters": [len(ANGLES) - 1 - k for k in range(len(merges))],
            "least_rise": float(np.diff(energies).min()),
            "times": rounded((places * _STEP).tolist()),
            "energies": rounded(energies[places].tolist(), 9),
            "at_merges": rounded(np.interp(exact, np.arange(steps + 1) * _STEP, energies).tolist(), 9),
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """What the row holds, without its curve."""
        kept = ("beta", "merges", "exact", "worst", "clusters", "least_rise")
        return {key: rows[0][key] for key in kept}

    def table(self, lines: list[Row]) -> str:
        """A row for each ``β``: when so many clusters are left, and how far that is from the exact time."""
        counts = lines[0]["clusters"]
        cells = [[f"{line['beta']:g}", *(f"{t:.4f}" for t in line["merges"]), f"{line['worst']:.0e}"] for line in lines]
        return format_table(
            ["staircase, β", *(f"{k} cluster{'s' * (k > 1)} at t" for k in counts), "off at most"], cells
        )

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``staircase.png``: the energy over its maximum against time, and the exact times of merging on it."""
        series: dict[str, tuple[list[float], list[float]]] = {}
        for (row,) in rows.values():
            label = f"β = {row['beta']:g}"
            series[label] = (row["times"], row["energies"])
            series[f"{label} merges"] = (row["exact"], row["at_merges"])
        picture = figures.curves(
            series,
            ylabel="energy over its maximum (dots: exact merges)",
            log=False,
            xlabel="time t",
            xlog=True,
            kinds={name: name.removesuffix(" merges") for name in series},
            dots=[name for name in series if name.endswith("merges")],
        )
        return {"staircase.png": picture}


def exact_merges(beta: float, angles: Sequence[float] = ANGLES) -> list[float]:
    """The times at which tokens on a circle merge, by an eighth-order solver and roots of its dense output.

    Neighbours merge where the angle between them falls to that of the cosine :data:`NEAR`; ``n`` tokens in a row do so
    ``n − 1`` times before they are one cluster.

    Raises: PrecisionError where they are not by t = 1e5.
    """
    near = math.acos(NEAR)

    def rates(_: float, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        apart = theta[None, :] - theta[:, None]
        weights = np.exp(beta * (np.cos(apart) - 1))
        return (weights * np.sin(apart)).sum(1) / weights.sum(1)

    def closing(k: int) -> Callable[[float, NDArray[np.float64]], float]:
        def gap(_: float, theta: NDArray[np.float64]) -> float:
            return float(_gaps(theta)[k]) - near

        gap.direction = -1  # type: ignore[attr-defined]
        return gap

    def last(_: float, theta: NDArray[np.float64]) -> float:
        # The largest gap is the way around the circle: all are one cluster when the second largest is closed.
        return float(np.sort(_gaps(theta))[-2]) - near

    last.terminal = True  # type: ignore[attr-defined]
    events = [*(closing(k) for k in range(len(angles))), last]
    answer = solve_ivp(
        rates, (0.0, _LONGEST), np.asarray(angles), method="DOP853", rtol=1e-12, atol=1e-13, events=events
    )
    if answer.status != 1:
        raise PrecisionError(f"at beta = {beta:g} tokens are not one cluster by t = {answer.t[-1]:g}")
    times = [float(moments[0]) for moments in answer.t_events[:-1] if len(moments)]
    # The solver ends at the last of them, which it may or may not have seen twice.
    return sorted([*times, float(answer.t[-1])])[: len(angles) - 1]


def _gaps(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """The angles between neighbours, the last of them around the circle."""
    return np.diff(theta, append=theta[0] + 2 * math.pi)
