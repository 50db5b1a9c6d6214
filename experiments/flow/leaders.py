"""Leaders: without a norm, tokens on a line end by looking at the first or the last of them, and at no other.

The attention matrix goes to one of zeros and ones, of rank 1 or 2, and does so doubly exponentially.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.flow.rounding import rounded
from experiments.shared.studies import Study
from msr.flow import AttentionFlow
from msr.report import figures, format_table
from msr.runs.folder import Row
from msr.statistics.shares import upper_share

__all__ = ["LeaderStudy", "interval"]

NEAR = 1e-3
"""How far entries may be from 0 and 1."""
_STEP = 0.05
"""Of time. The weights at the end differ by 1e-10 from those of a quarter of it."""
_LOOKS = 40
_LEAST = 1e-20
"""The smallest distance that is drawn."""


@dataclass(frozen=True)
class LeaderStudy(Study):
    """Tokens uniform on [−1, 1], with ``V = Q = K = 1``.

    Attributes:
        sizes: numbers of tokens, and the times to which they are followed.
        starts: random starts of a seed.
    """

    name = "leaders"

    sizes: tuple[tuple[int, float], ...] = ((8, 8.0), (8, 10.0), (20, 8.0), (20, 10.0))
    starts: int = 50

    def variants(self) -> dict[str, bool]:
        """A line for each number of tokens and time."""
        return {f"n={n} T={T:g}": True for n, T in self.sizes}

    def row(self, variant: str, seed: int) -> Row:
        """How far the attention of each start is from zeros and ones, and how many starts end in which rank."""
        n, T = next((n, T) for n, T in self.sizes if f"n={n} T={T:g}" == variant)
        generator = torch.Generator().manual_seed(seed)
        tokens = 2 * torch.rand(self.starts, n, 1, generator=generator, dtype=torch.float64) - 1
        steps = round(T / _STEP)
        flow = AttentionFlow(1, 1.0, norm="none", step="unproj_rk4")
        path = flow.flow(tokens, T, steps, path=True)
        looks = [round(k * steps / _LOOKS) for k in range(_LOOKS + 1)]
        distances = torch.stack([_distance(flow.attention(path[k])) for k in looks])
        final = flow.attention(path[-1])
        hit = (final > 0.5).any(-2)
        order = tokens[..., 0].argsort(-1)
        extremal = torch.zeros_like(hit).scatter(-1, order[:, [0, -1]], True)
        right = distances[-1] < NEAR
        ranks = hit.sum(-1)
        return {
            "n": n,
            "T": T,
            "starts": self.starts,
            "near": int(right.sum()),
            "rank1": int((right & (ranks == 1)).sum()),
            "rank2": int((right & (ranks == 2)).sum()),
            "only_extremal": int((right & ~(hit & ~extremal).any(-1)).sum()),
            "worst": float(distances[-1].max()),
            "times": [k * _STEP for k in looks],
            "distances": [rounded(line, 3) for line in distances.mT.tolist()],
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """Counts over all starts of all seeds, with exact 95% intervals of the shares."""
        total = sum(row["starts"] for row in rows)
        counts = {key: sum(row[key] for row in rows) for key in ("near", "rank1", "rank2", "only_extremal")}
        return {
            "n": rows[0]["n"],
            "T": rows[0]["T"],
            "starts": total,
            **counts,
            "share_near": interval(counts["near"], total),
            "share_rank1": interval(counts["rank1"], counts["near"]),
            "worst": max(row["worst"] for row in rows),
        }

    def table(self, lines: list[Row]) -> str:
        """A row for each number of tokens and time."""
        header = [
            "leaders", "T", f"within {NEAR:g} of zeros and ones", "of these rank 1", "rank 2", "share of rank 1",
            "first and last alone",
        ]  # fmt: skip
        cells = []
        for line in lines:
            share, low, high = line["share_rank1"]
            cells.append(
                [
                    f"n = {line['n']}",
                    f"{line['T']:g}",
                    f"{line['near']} of {line['starts']}",
                    str(line["rank1"]),
                    str(line["rank2"]),
                    "—" if share is None else f"{share:.3f} ({low:.3f} to {high:.3f})",
                    f"{line['only_extremal']} of {line['near']}",
                ]
            )
        return format_table(header, cells)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``leaders.png``: how far attention is from zeros and ones against time; of each ``n`` the longest run."""
        longest: dict[int, list[Row]] = {}
        for found in rows.values():
            n = found[0]["n"]
            if n not in longest or found[0]["T"] > longest[n][0]["T"]:
                longest[n] = found
        series: dict[str, tuple[list[float], list[float]]] = {}
        for n, found in longest.items():
            distances = np.concatenate([row["distances"] for row in found])
            for name, share in (("median start", 0.5), ("one in ten is slower", 0.9)):
                line = np.quantile(distances, share, axis=0)
                shown = line > _LEAST
                series[f"n = {n}, {name}"] = (np.array(found[0]["times"])[shown].tolist(), line[shown].tolist())
        picture = figures.curves(series, ylabel="largest distance of a weight to 0 and 1", log=True, xlabel="time t")
        return {"leaders.png": picture}


def interval(count: int, draws: int, level: float = 0.95) -> tuple[float | None, float, float]:
    """A share, and its exact two-sided interval of Clopper and Pearson; the share is None of no draws."""
    if draws == 0:
        return None, 0.0, 1.0
    half = (1 - level) / 2
    return count / draws, 1 - upper_share(draws - count, draws, half), upper_share(count, draws, half)


def _distance(weights: Tensor) -> Tensor:
    """The largest distance of a weight to 0 or 1, of each element of a batch."""
    return torch.minimum(weights, 1 - weights).flatten(1).amax(1)
