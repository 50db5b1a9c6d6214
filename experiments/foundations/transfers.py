"""Structure transfer, CLIP in small: a linear map learned on some pairs carries relations to objects it never saw."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from experiments.shared.studies import Study
from msr.category import paired_problem, structure_transfer
from msr.report import figures, format_table
from msr.runs.folder import Row
from msr.runs.judging import over_rows

__all__ = ["MEASURES", "PROBLEMS", "TransferStudy"]

PROBLEMS = {
    "full embedding": (True, 0.0),
    "full embedding, 5% noise": (True, 0.05),
    "not full": (False, 0.0),
}
"""Whether the functor behind the pairs is full, and the noise on the relations of the first side."""
MEASURES = ("across", "within", "trained", "unaligned", "shuffled", "least", "fullness")
_FLOOR = 1e-16
"""The smallest error that is drawn."""


@dataclass(frozen=True)
class TransferStudy(Study):
    """Two sides with real-valued relations between their objects, of which some are paired.

    Attributes:
        known: pairs of the table.
        fewer: numbers of known pairs that are tried as well, where they are below it.
        objects: of the first side, each with a partner. ``others``: of the second side, without one.
        rank: how many numbers tell an object's relations, and the length of the features.
    """

    name = "transfer"

    known: int = 20
    fewer: tuple[int, ...] = (3, 4, 5, 6, 8, 12)
    objects: int = 40
    others: int = 20
    rank: int = 6

    @property
    def shown(self) -> list[int]:
        """All numbers of known pairs that are tried, in order."""
        return [*(count for count in self.fewer if count < self.known), self.known]

    def variants(self) -> dict[str, bool]:
        """A line for each problem."""
        return dict.fromkeys(PROBLEMS, True)

    def row(self, variant: str, seed: int) -> Row:
        """Every measure for each number of known pairs."""
        full, noise = PROBLEMS[variant]
        generator = torch.Generator().manual_seed(seed)
        problem = paired_problem(self.objects, self.others, self.rank, full=full, generator=generator)
        size = float(problem.source.square().mean().sqrt())
        disturbed = torch.randn(problem.source.shape, generator=generator, dtype=torch.float64)
        source = problem.source + noise * size * disturbed
        found = [
            structure_transfer(source, problem.target, problem.pairs, train, self.rank, generator=generator)
            for train in self.shown
        ]
        return {
            "pairs": self.shown,
            "curves": {key: [getattr(result, key) for result in found] for key in MEASURES},
            **{key: getattr(found[-1], key) for key in MEASURES},
            "determined": [result.determined for result in found],
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """Means with intervals at the largest number of known pairs, and the means of ``across`` for each number."""
        return {
            "pairs": rows[0]["pairs"],
            "held_out": self.objects - rows[0]["pairs"][-1],
            "across_by_pairs": np.mean([row["curves"]["across"] for row in rows], axis=0).tolist(),
            **{key: over_rows(rows, key) for key in MEASURES},
        }

    def table(self, lines: list[Row]) -> str:
        """A row for each problem."""
        if not lines:
            return ""
        header = [
            f"transfer, {lines[0]['pairs'][-1]} of {self.objects} pairs known", "missing of Hom", "held out", "known",
            "not aligned", "wrong pairs", "features alone",
        ]  # fmt: skip
        keys = ("fullness", "across", "trained", "unaligned", "shuffled", "least")
        return format_table(header, [[line["variant"], *(_shown(line[key]) for key in keys)] for line in lines])

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``transfer.png``: the error on held-out objects against the number of known pairs, with controls."""
        series: dict[str, tuple[list[float], list[float]]] = {}
        for variant, found in rows.items():
            lines = {variant: "across"}
            if variant == next(iter(PROBLEMS)):
                lines |= {"control: not aligned": "unaligned", "control: wrong pairs": "shuffled"}
            for name, key in lines.items():
                means = np.mean([row["curves"][key] for row in found], axis=0)
                series[name] = (found[0]["pairs"], np.maximum(means, _FLOOR).tolist())
        picture = figures.curves(
            series, ylabel="relative error of Hom, held-out objects", log=True, xlabel="known pairs"
        )
        return {"transfer.png": picture} if series else {}


def _shown(estimate: Row) -> str:
    """A mean with its interval; of a rounding error the size alone."""
    mean = estimate["mean"]
    if abs(mean) < 1e-6:
        return "0" if mean == 0 else f"{mean:.0e}"
    return f"{mean:.3f}" + ("" if estimate["ci95"] is None else f" ± {estimate['ci95']:.3f}")
