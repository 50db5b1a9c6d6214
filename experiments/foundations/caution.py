"""The caution: a prompt whose answers have the right number everywhere need not solve the task.

Pointwise isomorphism is not natural isomorphism: sets of equal size at every object say nothing of how arrows move the
answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.foundations.small import two_prompts
from experiments.shared.studies import Study
from msr.category import best_prompts, group_sets, representable, solves_naturally, solves_pointwise
from msr.groups import FiniteGroup, cyclic, dihedral, direct_product, symmetric
from msr.report import figures, format_table
from msr.runs.folder import Row

__all__ = ["GROUPS", "CautionStudy"]

GROUPS: dict[str, Callable[[], FiniteGroup]] = {
    "C2": lambda: cyclic(2),
    "C3": lambda: cyclic(3),
    "C4": lambda: cyclic(4),
    "V4": lambda: direct_product(cyclic(2), cyclic(2)),
    "C6": lambda: cyclic(6),
    "S3": lambda: symmetric(3),
    "D4": lambda: dihedral(4),
}
TIE = "two prompts of equal sizes"


@dataclass(frozen=True)
class CautionStudy(Study):
    """Sets of as many elements as a group has: all look right pointwise, and one is."""

    name = "caution"

    def variants(self) -> dict[str, bool]:
        """A line for each group, and one for a category in which two prompts have equal sizes."""
        return dict.fromkeys([*GROUPS, TIE], False)

    def row(self, variant: str, seed: int) -> Row:
        """How many tasks there are of the size of the prompt, pointwise and natural."""
        if variant == TIE:
            C = two_prompts()
            found = best_prompts(representable(C, 0))
            return {
                "answers": [int(n) for n in C.hom_count[:, 0]],
                "prompts": len(found.best),
                "pointwise": sum(found.pointwise),
                "natural": sum(found.natural),
            }
        group = GROUPS[variant]()
        tasks = group_sets(group, group.order)
        return {
            "answers": [group.order],
            "tasks": len(tasks),
            "pointwise": sum(solves_pointwise(T) for T in tasks),
            "natural": sum(solves_naturally(T) for T in tasks),
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """The row itself: nothing is random."""
        return rows[0]

    def table(self, lines: list[Row]) -> str:
        """A row for each group, and one for the tie."""
        header = ["caution", "answers", "tasks of that size", "a prompt has the sizes", "a prompt solves"]
        cells = [
            [
                line["variant"],
                ", ".join(map(str, line["answers"])),
                str(line["tasks"]) if "tasks" in line else f"1, by {line['prompts']} prompts",
                str(line["pointwise"]),
                str(line["natural"]),
            ]
            for line in lines
        ]
        return format_table(header, cells)

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """``caution.png``: of each group the tasks whose sizes a prompt has, and those that it solves."""
        shown = {
            f"{variant}, {row['answers'][0]} answers": {
                "a prompt has the sizes": float(row["pointwise"]),
                "a prompt solves": float(row["natural"]),
            }
            for variant, (row, *_) in rows.items()
            if "tasks" in row
        }
        if not shown:
            return {}
        return {"caution.png": figures.bars(shown, ylabel="tasks", title="Equal sizes are not enough", log=True)}
