"""Normalisation as speed: the same attention, divided by six different speeds, and how fast tokens then merge.

Orthogonal tokens stay equiangular, so that the cosine of any two follows one equation; particles are held against it.
In the end ``1 − g`` falls as ``e^{−2t}``, ``t^{−2}`` or ``t^{−1}``, by where the network normalises.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.flow.rounding import rounded
from experiments.shared.studies import Study
from msr.flow import AttentionFlow, late_decay, on_sphere, scheme_path
from msr.flow.theory.schemes import SCHEMES
from msr.report import figures, format_table
from msr.runs.folder import Row

__all__ = ["EARLY", "SchemeStudy", "distance_of"]

EARLY = (0.5, 1.0, 2.0, 3.0)
"""Times at which cosines are listed."""
_TAU = 1.0
_STEP = 0.05
_LATE_STEP = 0.25
"""From the time 5 on, where tokens are near each other and all is slow."""
_WINDOWS = {"exponential": (5.0, 9.0), "power": (1e4, 1e5)}
"""Times between which the late decay is read off the equation."""


@dataclass(frozen=True)
class SchemeStudy(Study):
    """The cosine of two tokens against time, a line for each scheme.

    Attributes:
        n: tokens, orthogonal at the start.
        beta: the inverse temperature.
        end: how long particles are followed, where ``1 − g`` falls as a power of time.
    """

    name = "normalisation"

    n: int = 16
    beta: float = 1.0
    end: float = 100.0

    def variants(self) -> dict[str, bool]:
        """A line for each scheme."""
        return dict.fromkeys(SCHEMES, False)

    def row(self, variant: str, seed: int) -> Row:
        """``1 − g`` by the equation and of particles, and the late decay of both."""
        kind, expected = late_decay(variant)
        end = self.end if kind == "power" else _WINDOWS[kind][1]
        times = [k * _STEP for k in range(1, round(5 / _STEP) + 1)]
        times += [5 + k * _LATE_STEP for k in range(1, round((end - 5) / _LATE_STEP) + 1)]
        found = self._particles(variant, times)
        exact = (1 - scheme_path(times, self.n, self.beta, variant, tau=_TAU).cosines).tolist()
        places = [times.index(t) for t in EARLY]
        window = _WINDOWS[kind]
        ends = (1 - scheme_path(window, self.n, self.beta, variant, tau=_TAU).cosines).tolist()
        # What particles show is the decay at the end of their time, and so is what they are compared with.
        last = (times[-1] / 2, times[-1]) if kind == "power" else window
        at = [min(range(len(times)), key=lambda k: abs(times[k] - t)) for t in last]
        moments = [times[k] for k in at]
        kept = np.unique(np.geomspace(1, len(times), 120).round().astype(int)) - 1
        return {
            "decay": kind,
            "expected": expected,
            "early": [1 - found[k] for k in places],
            "early_exact": [1 - exact[k] for k in places],
            "off": max(abs(a - b) for a, b in zip(found, exact, strict=True)),
            "exponent": _exponent(kind, window, ends),
            "particles_exponent": _exponent(kind, moments, [found[k] for k in at]),
            "exponent_then": _exponent(kind, moments, [exact[k] for k in at]),
            "times": rounded([times[k] for k in kept]),
            "distances": rounded([found[k] for k in kept], 9),
            "exact": rounded([exact[k] for k in kept], 9),
        }

    def _particles(self, norm: str, times: list[float]) -> list[float]:
        """``1 − g`` of particles at the times."""
        flow = AttentionFlow(self.n, self.beta, norm=norm, tau=_TAU if norm == "mix" else None)  # type: ignore[arg-type]
        first = round(5 / _STEP)
        # Radii move, so the tokens of one path begin the next one as they are.
        early = flow.flow(torch.eye(self.n, dtype=torch.float64), 5.0, first, path=True)
        late = flow.flow(early[-1], times[-1] - 5.0, len(times) - first, path=True, start=5.0)
        return distance_of(torch.cat([early[1:], late[1:]])).tolist()

    def line(self, variant: str, rows: list[Row]) -> Row:
        """What the row holds, without its curves."""
        return {key: value for key, value in rows[0].items() if key not in ("times", "distances", "exact")}

    def table(self, lines: list[Row]) -> str:
        """A row for each scheme."""
        header = [
            "normalisation", *(f"g({t:g})" for t in EARLY), "particles off at most", "1 − g in the end",
            "exponent found", "of particles", "exact then",
        ]  # fmt: skip
        cells = []
        for line in lines:
            law = f"e^(−{line['expected']:g}t)" if line["decay"] == "exponential" else f"t^−{line['expected']:g}"
            cells.append(
                [
                    line["variant"],
                    *(f"{g:.5f}" for g in line["early"]),
                    f"{line['off']:.0e}",
                    law,
                    *(f"{line[key]:.4f}" for key in ("exponent", "particles_exponent", "exponent_then")),
                ]
            )
        return format_table(header, cells)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``normalisation.png``: ``1 − g`` against time, by the equation as lines and of particles as dots."""
        series: dict[str, tuple[list[float], list[float]]] = {}
        dots = []
        for variant, (row,) in rows.items():
            series[variant] = (row["times"], row["exact"])
            series[f"{variant}, particles"] = (row["times"][::6], row["distances"][::6])
            dots.append(f"{variant}, particles")
        picture = figures.curves(
            series,
            ylabel="1 − cosine of two tokens",
            log=True,
            xlabel="time t",
            xlog=True,
            kinds={name: name.removesuffix(", particles") for name in series},
            dots=dots,
        )
        return {"normalisation.png": picture}


def distance_of(tokens: Tensor) -> Tensor:
    """``1 − g`` of equiangular tokens, from the directions of the first two: half the square of their distance.

    Shapes: ``tokens (..., n, d)``; the result is ``(...)``.
    """
    directions = on_sphere(tokens[..., :2, :])
    # By their difference: one minus a cosine near 1 would have no digits left.
    return (directions[..., 0, :] - directions[..., 1, :]).square().sum(-1) / 2


def _exponent(kind: str, times: Any, distances: list[float]) -> float:
    """The rate of an exponential, or the exponent of a power of time, between two times."""
    first, last = (math.log(t) if kind == "power" else t for t in times)
    return (math.log(distances[0]) - math.log(distances[1])) / (last - first)
