"""The mode number: which wave grows fastest on tokens spread evenly over the sphere, and so how many clusters begin.

The table is exact, in any dimension. On the circle it is held against the flow itself: an even ring of tokens is
perturbed by small waves of all degrees with random phases, and the growth of each is measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.shared.studies import Study
from msr.flow import AttentionFlow, mode_number, mode_rates
from msr.flow.dynamics.attention import Kind
from msr.report import figures, format_table
from msr.runs.folder import Row

__all__ = ["ModeStudy", "growth_rates"]

_WAVE = 1e-5
"""Radians: how far the waves move a token at most, over the number of waves. Of two opposite perturbations the
difference is taken, so that the error is of its square."""
_STEPS = 10
"""Of fourth order in the time in which the fastest wave grows by e: an error of 8e-7 of the rate."""


@dataclass(frozen=True)
class ModeStudy(Study):
    """Mode numbers of spheres, and rates of waves on a ring.

    Attributes:
        dims: dimensions of the table.
        table_betas: inverse temperatures of the table.
        ring: tokens of the ring.
        measured: inverse temperatures at which rates are measured.
        unnormalised: those at which they are measured without softmax's normalisation.
    """

    name = "modes"

    dims: tuple[int, ...] = (2, 3, 4)
    table_betas: tuple[float, ...] = (1, 2, 4, 9, 16, 25, 49, 100)
    ring: int = 512
    measured: tuple[float, ...] = (4, 25, 100)
    unnormalised: tuple[float, ...] = (25,)

    def variants(self) -> dict[str, bool]:
        """The table, then a ring for each kind and ``β``."""
        rings = [f"ring sa β={beta:g}" for beta in self.measured] + [
            f"ring usa β={beta:g}" for beta in self.unnormalised
        ]
        return {"table": False} | dict.fromkeys(rings, True)

    def row(self, variant: str, seed: int) -> Row:
        """Mode numbers by dimension; or the rates of a ring's waves, measured and exact."""
        if variant == "table":
            numbers = {f"d={d}": [mode_number(beta, d) for beta in self.table_betas] for d in self.dims}
            return {"betas": list(self.table_betas), "numbers": numbers}
        _, written, word = variant.split()
        kind: Kind = "usa" if written == "usa" else "sa"
        beta = float(word.removeprefix("β="))
        most = math.ceil(2 * math.sqrt(2 * beta))
        exact = mode_rates(torch.arange(1, most + 1), beta, 2, kind)
        generator = torch.Generator().manual_seed(seed)
        found = growth_rates(AttentionFlow(2, beta, kind=kind), self.ring, most, float(exact.max()), generator)
        return {
            "kind": kind,
            "beta": beta,
            "degrees": list(range(1, most + 1)),
            "exact": exact.tolist(),
            "measured": found.tolist(),
            "off": float(((found - exact).abs() / exact.max()).max()),
            "fastest": 1 + int(found.argmax()),
            "second": float(found.sort().values[-2] / found.max()),
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """The table; or over the seeds the largest error of a rate, relative to the largest rate."""
        if variant == "table":
            return {key: rows[0][key] for key in ("betas", "numbers")}
        first = rows[0]
        return {
            "kind": first["kind"],
            "beta": first["beta"],
            "number": mode_number(first["beta"], 2),
            "fastest": sorted({row["fastest"] for row in rows}),
            "second": first["second"],
            "largest": max(first["exact"]),
            "off_most": max(row["off"] for row in rows),
        }

    def table(self, lines: list[Row]) -> str:
        """Two tables: mode numbers, and the rings."""
        parts = []
        for line in lines:
            if "numbers" in line:
                header = ["mode number, β", *(f"{beta:g}" for beta in line["betas"])]
                cells = [[name.replace("=", " = "), *map(str, found)] for name, found in line["numbers"].items()]
                cells.append(["√(2β)", *(f"{math.sqrt(2 * beta):.1f}" for beta in line["betas"])])
                parts.append(format_table(header, cells))
        rings = [line for line in lines if "kind" in line]
        if rings:
            header = [f"ring of {self.ring}", "β", "mode number", "fastest wave", "its rate", "second", "off at most"]
            cells = [
                [
                    line["kind"],
                    f"{line['beta']:g}",
                    str(line["number"]),
                    ", ".join(map(str, line["fastest"])),
                    f"{line['largest']:.4g}",
                    f"{line['second']:.3f} of it",
                    f"{line['off_most']:.0e} of it",
                ]
                for line in rings
            ]
            parts.append(format_table(header, cells))
        return "\n\n".join(parts)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``mode_numbers.png``, against ``β``; ``mode_rates.png``, exact ones as lines and measured ones as dots."""
        drawn = {}
        if "table" in rows:
            betas = [0.25 * k for k in range(1, 401)]
            series = {f"d = {d}": (betas, [float(mode_number(beta, d)) for beta in betas]) for d in self.dims}
            series["√(2β)"] = (betas, [math.sqrt(2 * beta) for beta in betas])
            drawn["mode_numbers.png"] = figures.curves(
                series, ylabel="degree of the fastest wave", log=False, xlabel="inverse temperature β"
            )
        curves: dict[str, tuple[list[float], list[float]]] = {}
        for variant, found in rows.items():
            if variant == "table" or found[0]["kind"] != "sa":
                continue
            label = f"β = {found[0]['beta']:g}"
            means = torch.tensor([row["measured"] for row in found], dtype=torch.float64).mean(0)
            curves[label] = (found[0]["degrees"], found[0]["exact"])
            curves[f"{label}, measured"] = (found[0]["degrees"], means.tolist())
        if curves:
            drawn["mode_rates.png"] = figures.curves(
                curves,
                ylabel=f"growth rate (line: exact, dots: ring of {self.ring} tokens)",
                log=False,
                xlabel="degree of the wave",
                kinds={name: name.removesuffix(", measured") for name in curves},
                dots=[name for name in curves if name.endswith("measured")],
            )
        return drawn


def growth_rates(flow: AttentionFlow, n: int, most: int, fastest: float, generator: torch.Generator) -> Tensor:
    """The rates at which waves of the degrees 1 to ``most`` grow on an even ring of ``n`` tokens, ``(most,)``.

    Args:
        flow: of tokens on the circle.
        n: tokens.
        most: the largest degree.
        fastest: about the largest rate, which says how long to look.
        generator: of the phases of the waves.
    """
    degrees = torch.arange(1, most + 1, dtype=torch.float64)
    phases = 2 * math.pi * torch.rand(most, generator=generator, dtype=torch.float64)
    angles = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    wave = _WAVE / most * torch.cos(degrees[:, None] * angles + phases[:, None]).sum(0)
    moved = angles + torch.stack([wave, -wave])
    time = 1 / fastest
    tokens = flow.flow(torch.stack([moved.cos(), moved.sin()], -1), time, _STEPS)
    # The angle between the two rings, by their sines and cosines: it is small, and so keeps its digits.
    plus, minus = tokens.unbind(0)
    sine = minus[:, 0] * plus[:, 1] - minus[:, 1] * plus[:, 0]
    apart = torch.atan2(sine, (plus * minus).sum(-1))
    grown = torch.fft.rfft(apart)[1 : most + 1]
    begun = torch.fft.rfft(2 * wave)[1 : most + 1]
    return torch.log((grown / begun).real) / time
