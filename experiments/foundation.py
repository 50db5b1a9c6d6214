"""What can a prompt do, and what needs fine tuning? The power of foundation models on finite categories, exactly.

Seven studies, each within seconds:

- *tables*: the fifteen tables of the theory that were computed beforehand by other code, every number again;
- *prompting*: how many of all tasks of a pretext task a prompt solves, also for groups that discovery named;
- *downstream*: labels, places, masks and poses: which of them a prompt solves, and which need fine tuning;
- *surrogate*: the best features of a length: their error is the tail of the contexture's spectrum for density ratios,
  and not for log-probabilities or PMI;
- *transfer*: relations carried to objects that were never seen, by a map learned on pairs, with controls;
- *caution*: answers of the right number everywhere are not a solution;
- *naturality*: equivariance is naturality, by one checker, also on windows and partial symmetries.

Source: Yang Yuan, "On the Power of Foundation Models" (ICML 2023, arXiv:2211.16327).
"""

import sys
from dataclasses import dataclass

from experiments.foundations.caution import CautionStudy
from experiments.foundations.downstream import DownstreamStudy
from experiments.foundations.naturalities import NaturalityStudy
from experiments.foundations.prompting import PromptingStudy
from experiments.foundations.reading import plain_table, sentences
from experiments.foundations.surrogates import SurrogateStudy
from experiments.foundations.tables import TableStudy
from experiments.foundations.transfers import TransferStudy
from experiments.shared.studies import Study, run_studies, tables_of
from msr.report import figures
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags
from msr.runs.flags import chosen, option
from msr.runs.folder import RunFolder

STUDIES = ("tables", "prompting", "downstream", "surrogate", "transfer", "caution", "naturality")
QUICK_SIZE = 4
"""The largest size of tasks that are listed one by one in a ``--quick`` run."""


@dataclass(frozen=True)
class Config(SeedFlags):
    """Prompting, fine tuning and transfer on finite categories, each number exact or beside its control."""

    seeds: int = option(5, "how many seeds, counted from the first, where anything is random", least=1, most=10**4)
    studies: str = option(",".join(STUDIES), f"comma list of {', '.join(STUDIES)}")
    size: int = option(8, "largest size of a task in the study of prompting", least=1, most=40)
    pairs: int = option(20, "known pairs, of 40, in the study of transfer", least=2, most=38)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        figures.require()
        studies = chosen(self.studies, STUDIES, "study")
        for flag, study in (("size", "prompting"), ("pairs", "transfer")):
            if study not in studies:
                self.refuse_flags(flag, because=f"is of the study of {study}, which is left out")


def run(config: Config) -> None:
    """Compute every arm that has no row yet, then write results, tables and figures."""
    studies = studies_of(config)
    folder = RunFolder("foundation", config)
    summary = run_studies(folder, studies, config.all_seeds)
    said = sentences(summary)
    parts = [plain_table(summary), *said, tables_of(studies, summary)]
    arms.publish(folder, "\n\n".join(part for part in parts if part), summary=summary, says=said)


def studies_of(config: Config) -> list[Study]:
    """The studies that were asked for, in their sizes."""
    every: list[Study] = [
        TableStudy(tries=6) if config.quick else TableStudy(),
        PromptingStudy(config.size, QUICK_SIZE) if config.quick else PromptingStudy(config.size),
        DownstreamStudy(),
        SurrogateStudy(),
        TransferStudy(config.pairs, (4, 6)) if config.quick else TransferStudy(config.pairs),
        CautionStudy(),
        NaturalityStudy(),
    ]
    named = {study.name: study for study in every}
    return [named[name] for name in chosen(config.studies, STUDIES, "study")]


if __name__ == "__main__":
    sys.exit(main(Config, run))
