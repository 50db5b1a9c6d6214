"""The fifteen tables of the theory, computed beforehand by other code, beside what this package computes."""

from collections.abc import Callable
from dataclasses import dataclass

from experiments.foundations import category_tables, group_tables
from experiments.foundations.cases import Case
from experiments.foundations.random_tables import random_cases
from experiments.shared.studies import Study
from msr.report import format_table
from msr.runs.folder import Row

__all__ = ["TABLES", "TableStudy"]

_Made = tuple[str, Callable[[], list[Case]]]
TABLES: dict[str, _Made] = {
    "T1": ("sets that four turns act on", group_tables.four_turns),
    "T2": ("maps between orbits of four turns", group_tables.orbits),
    "T3": ("sets that seven other groups act on", group_tables.other_groups),
    "T4": ("maps between the orbits of a group", group_tables.marks),
    "T5": ("balanced products: what fine tuning gives", group_tables.products),
    "T6": ("dimensions of equivariant layers", group_tables.layers),
    "T7": ("the Yoneda lemma on objects", category_tables.yoneda),
    "T8": ("the Yoneda lemma on every task of an arrow", category_tables.arrow),
    "T9": ("graphs and their homomorphisms", category_tables.graphs),
    "T10": ("idempotent maps", category_tables.idempotents),
    "T11": ("the same answer everywhere", category_tables.same_answer),
    "T12": ("homomorphisms of groups", group_tables.homomorphisms),
    "T13": ("what is no full embedding", category_tables.embeddings),
    "T14": ("linear functors on two parallel arrows", category_tables.quivers),
}
"""What each table is about, and what computes it; T15 is random."""


@dataclass(frozen=True)
class TableStudy(Study):
    """Tables T1 to T15.

    Attributes:
        tries: random categories of a seed in T15.
    """

    name = "tables"

    tries: int = 60

    def variants(self) -> dict[str, bool]:
        """A line for each table."""
        return dict.fromkeys(TABLES, False) | {"T15": True}

    def row(self, variant: str, seed: int) -> Row:
        """Every number of a table, expected beside computed."""
        if variant == "T15":
            title = f"four theorems, each on {self.tries} random categories a seed"
            cases = random_cases(seed, self.tries)
        else:
            title, make = TABLES[variant]
            cases = make()
        return {"title": title, "cases": [found.as_row() for found in cases]}

    def line(self, variant: str, rows: list[Row]) -> Row:
        """How many numbers are right, and which are not."""
        cases = [found for row in rows for found in row["cases"]]
        return {
            "title": rows[0]["title"],
            "right": sum(found["right"] for found in cases),
            "of": len(cases),
            "wrong": [found for found in cases if not found["right"]],
        }

    def table(self, lines: list[Row]) -> str:
        """A row for each table."""
        cells = [
            [
                line["variant"],
                line["title"],
                f"{line['right']} of {line['of']}",
                "; ".join(f"{w['what']}: {w['expected']} expected, {w['computed']} computed" for w in line["wrong"]),
            ]
            for line in lines
        ]
        return format_table(["table", "about", "right", "wrong"], cells)
