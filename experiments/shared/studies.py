"""Runners that consist of studies: each has lines, a row for each line and seed, a table and figures."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from msr.runs import arms
from msr.runs.folder import Row, RunFolder

__all__ = ["Study", "StudyArm", "run_studies", "tables_of"]


class Study(ABC):
    """One question of a runner, and what is computed for it. A study is a frozen dataclass whose fields are its
    sizes.
    """

    name: ClassVar[str]

    @abstractmethod
    def variants(self) -> dict[str, bool]:
        """The lines of the study, by name, and whether anything is random in each: one seed is enough if not."""

    @abstractmethod
    def row(self, variant: str, seed: int) -> Row:
        """The numbers of one line with one seed, as JSON holds them."""

    @abstractmethod
    def line(self, variant: str, rows: list[Row]) -> Row:
        """A summary of one line over its seeds."""

    @abstractmethod
    def table(self, lines: list[Row]) -> str:
        """The summary of the study as Markdown."""

    def figures(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """The figures of matplotlib, by the names of their files, from the rows of each line."""
        return {}


@dataclass(frozen=True)
class StudyArm(arms.Arm):
    """A line of a study, with a seed."""

    study: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        """The study and the line."""
        return f"{self.study} {self.variant}"


def run_studies(folder: RunFolder, studies: Sequence[Study], seeds: Sequence[int]) -> list[Row]:
    """Compute every arm that has no row yet and write all figures; the summary, a row for each line of each study."""
    named = {study.name: study for study in studies}
    every = [
        StudyArm(study.name, variant, seed)
        for study in studies
        for variant, random in study.variants().items()
        for seed in (seeds if random else seeds[:1])
    ]
    arms.run_arms(folder, every, lambda arm: named[arm.study].row(arm.variant, arm.seed))

    def line(variant: list[StudyArm], rows: list[Row]) -> Row:
        first = variant[0]
        return {
            "study": first.study,
            "variant": first.variant,
            "runs": len(rows),
            **named[first.study].line(first.variant, rows),
        }

    for study in studies:
        rows: dict[str, list[Row]] = {}
        for arm in every:
            if arm.study == study.name:
                rows.setdefault(arm.variant, []).append(folder.rows[str(arm)])
        for name, figure in study.figures(rows).items():
            folder.draw(name, figure)
    return arms.summarise(folder, every, line)


def tables_of(studies: Sequence[Study], summary: Sequence[Row]) -> str:
    """The tables of all studies, one after the other."""
    return "\n\n".join(study.table([line for line in summary if line["study"] == study.name]) for study in studies)
