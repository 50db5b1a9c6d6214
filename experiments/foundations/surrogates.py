"""Rank-r surrogates of a pretext table: whose error is the tail of the contexture's spectrum, and whose is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from experiments.shared.cube import cube, flips
from experiments.shared.studies import Study
from msr.category import PretextTable, contexture_tail, next_tokens, positive_pairs, surrogate
from msr.contexture import Context, GroupContext, TableContext, convolve
from msr.groups import cyclic
from msr.report import figures, format_table
from msr.runs.folder import Row

__all__ = ["KINDS", "SOURCES", "TEXT", "SurrogateStudy"]

TEXT = (
    "a model reads many words and guesses which word comes next; what it learns of a word is which words it meets. "
    "two words that meet the same words are the same to the model, and a prompt can only ask what they meet. "
    "to tell them apart one has to train again, with answers that no reading gives"
)
"""The text whose next letters are counted."""
KINDS = {"density_ratio": "density ratio", "log_prob": "log-probability", "pmi": "PMI"}
SOURCES = ("next letters", "turned bits")
_RANK = 4
"""The rank of the table."""


@dataclass(frozen=True)
class SurrogateStudy(Study):
    """Errors of the best features of each length, pairs weighed by how often both objects occur.

    Attributes:
        ranks: the longest features that are looked at.
    """

    name = "surrogate"

    ranks: int = 16

    def variants(self) -> dict[str, bool]:
        """A line for each source of pairs and kind of number."""
        return {f"{source}, {kind}": False for source in SOURCES for kind in KINDS.values()}

    def row(self, variant: str, seed: int) -> Row:
        """The error of each rank beside the tail of the contexture, and how far both are apart."""
        source, _, words = variant.partition(", ")
        kind = next(kind for kind, name in KINDS.items() if name == words)
        table, context = _pairs(source)
        most = min(self.ranks, min(table.values.shape) - 1)
        numbers = table.to(kind)  # type: ignore[arg-type]
        errors = torch.tensor(
            [surrogate(numbers, r, weights="marginals").squared_error for r in range(most + 1)], dtype=torch.float64
        )
        tails = torch.tensor([contexture_tail(context, r) for r in range(most + 1)], dtype=torch.float64)
        shapes = errors / errors[0] - tails / tails[0]
        return {
            "objects": list(table.values.shape),
            "errors": errors.tolist(),
            "tails": tails.tolist(),
            "off": float((errors - tails).abs().max()),
            "off_in_shape": float(shapes.abs().max()),
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """The row itself: nothing is random."""
        return rows[0]

    def table(self, lines: list[Row]) -> str:
        """A row for each source and kind."""
        header = [
            "surrogate", "objects", f"error of rank {_RANK}", "tail of the contexture", "apart at most",
            "in shares of rank 0",
        ]  # fmt: skip
        cells = [
            [
                line["variant"],
                " by ".join(map(str, line["objects"])),
                f"{line['errors'][_RANK]:.4f}",
                f"{line['tails'][_RANK]:.4f}",
                f"{line['off']:.1g}",
                f"{line['off_in_shape']:.1g}",
            ]
            for line in lines
        ]
        return format_table(header, cells)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``surrogate.png``: errors against the rank, for the next letters, on the tail of the contexture."""
        series: dict[str, tuple[list[float], list[float]]] = {}
        dots = []
        for variant, (row, *_) in rows.items():
            source, _, words = variant.partition(", ")
            if source == SOURCES[0]:
                ranks = [float(rank) for rank in range(len(row["errors"]))]
                series.setdefault("tail of the contexture", (ranks, row["tails"]))
                series[words] = (ranks, row["errors"])
                dots.append(words)
        picture = figures.curves(
            series, ylabel="squared error of the best features", log=True, xlabel="length of the features", dots=dots
        )
        return {"surrogate.png": picture} if series else {}


@lru_cache(maxsize=2)
def _pairs(source: str) -> tuple[PretextTable, Context]:
    """A table of pretext pairs that all occur, and the context of the same pairs."""
    if source == SOURCES[0]:
        # Laplace's rule: the logarithm of a pair that never occurs would be no number.
        table = next_tokens(TEXT).to("density_ratio", smoothing=1)
        return table, table.context()
    context = convolve(GroupContext(cube(cyclic(6))), flips(0.2))
    assert isinstance(context, TableContext)
    return positive_pairs(context), context
