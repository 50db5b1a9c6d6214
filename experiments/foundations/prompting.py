"""Prompt power: of all tasks that a pretext task leaves to be asked, how many a prompt solves, size by size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from experiments.foundations.named import HIDDEN, named_group
from experiments.foundations.small import chain, diamond, idempotent, parallel_pair
from experiments.shared.studies import Study
from msr.category import FinCat, from_group, masked_completions, prompt_power, rotation_prediction
from msr.groups import cyclic, dihedral, direct_product, symmetric
from msr.report import figures, format_table
from msr.runs.folder import Row

__all__ = ["PRETEXTS", "PromptingStudy"]

WORDS = ("aa", "ab", "ba")
"""The words of the pretext task of masking."""

_Made = tuple[str, Callable[[], FinCat]]
PRETEXTS: dict[str, _Made] = {
    "C2": ("one image and its mirror image", lambda: from_group(cyclic(2))),
    "C3": ("one object, three turns", lambda: from_group(cyclic(3))),
    "C4": ("one image, four quarter turns", lambda: from_group(cyclic(4))),
    "V4": ("one image, two mirrors", lambda: from_group(direct_product(cyclic(2), cyclic(2)))),
    "C6": ("one object, six turns", lambda: from_group(cyclic(6))),
    "S3": ("three things in any order", lambda: from_group(symmetric(3))),
    "D4": ("one image, quarter turns and mirrors", lambda: from_group(dihedral(4))),
    "S4": ("four things in any order", lambda: from_group(symmetric(4))),
    "rotation, aut": ("two images, each with its quarter turns", lambda: rotation_prediction(2, "aut").category),
    "rotation, orbit": ("two images, each turned one an object", lambda: rotation_prediction(2, "orbit").category),
    "chain": ("three views, each a part of the next", lambda: chain(3)),
    "diamond": ("a whole, two halves, what both share", diamond),
    "parallel pair": ("things, and pairs of them (arcs of a graph)", parallel_pair),
    "idempotent": ("one object and its summary", idempotent),
    "masking": (f"words {', '.join(WORDS)} and what a mask leaves", lambda: masked_completions(WORDS).category),
}
"""What each pretext task relates, in words, and its category."""
DRAWN = ("C2", "C4", "D4", "rotation, orbit", "chain", "diamond", "parallel pair", "idempotent", "masking")
"""The pretext tasks of the figure."""


@dataclass(frozen=True)
class PromptingStudy(Study):
    """How many of the tasks of size 0 to ``n`` on each category are representable, up to natural isomorphism.

    Attributes:
        size: the largest size of a task, which is the number of answers at all objects together.
        listed: the largest size on categories that are no groupoids, whose tasks are listed one by one.
    """

    name = "prompting"

    size: int = 8
    listed: int = 6

    def variants(self) -> dict[str, bool]:
        """A line for each pretext task, and for each group that is hidden in tasks and named by discovery."""
        return dict.fromkeys([*PRETEXTS, *(f"named {hidden}" for hidden in HIDDEN)], False)

    def row(self, variant: str, seed: int) -> Row:
        """The counts by size; None where discovery named no group."""
        if variant in PRETEXTS:
            words, make = PRETEXTS[variant]
            C = make()
            up_to = self.size if C.is_groupoid else min(self.size, self.listed)
        else:
            found = named_group(variant.removeprefix("named "), seed)
            if found is None:
                return {"words": "discovery cannot tell", "size": None, "tasks": None, "promptable": None}
            words = f"the group {found.name} that discovery named"
            C = from_group(found.group)
            up_to = self.size
        power = prompt_power(C, up_to)
        return {"words": words, "size": up_to, "tasks": list(power.tasks), "promptable": list(power.promptable)}

    def line(self, variant: str, rows: list[Row]) -> Row:
        """The counts, and all sizes together."""
        row = rows[0]
        if row["tasks"] is None:
            return row
        return {
            **row,
            "all_tasks": sum(row["tasks"]),
            "all_promptable": sum(row["promptable"]),
            "power": sum(row["promptable"]) / sum(row["tasks"]),
            "first": next((n for n, count in enumerate(row["promptable"]) if count), None),
        }

    def table(self, lines: list[Row]) -> str:
        """A row for each pretext task."""
        header = ["pretext task", "it relates", "size", "tasks up to it", "a prompt solves", "share", "first at size"]
        cells = []
        for line in lines:
            if line["tasks"] is None:
                cells.append([line["variant"], line["words"], *[""] * 5])
                continue
            first = "none" if line["first"] is None else str(line["first"])
            counts = [str(line[key]) for key in ("size", "all_tasks", "all_promptable")]
            cells.append([line["variant"], line["words"], *counts, f"{100 * line['power']:.1f}%", first])
        return format_table(header, cells)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``prompting.png``: the share that a prompt solves of all tasks up to a size, against the size."""
        series: dict[str, tuple[list[float], list[float]]] = {}
        kinds: dict[str, str] = {}
        for variant, (row, *_) in rows.items():
            hidden = variant.removeprefix("named ")
            if row["tasks"] is not None and hidden in DRAWN:
                tasks = list(accumulate(row["tasks"]))[1:]
                solved = list(accumulate(row["promptable"]))[1:]
                series[variant] = (
                    list(range(1, row["size"] + 1)),
                    [100 * a / b for a, b in zip(solved, tasks, strict=True)],
                )
                kinds[variant] = hidden
        if not series:
            return {}
        picture = figures.curves(
            series,
            ylabel="% solved by a prompt (dots: named)",
            log=False,
            xlabel="answers of a task, at most",
            kinds=kinds,
            dots=[name for name in series if name not in DRAWN],
        )
        return {"prompting.png": picture}
