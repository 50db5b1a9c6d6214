"""Attention as a flow of tokens: the published pictures, each beside what is exactly known of it.

Seven studies, each with its figures:

- *phases*: which share of pairs has merged, by inverse temperature and time, with the exact curve of orthogonal tokens;
- *staircase*: energy and clusters of five tokens on a circle, with the exact times of merging;
- *scaling*: one step of attention at ``β = γ log n`` for up to a hundred million tokens, with the critical ``γ``;
- *modes*: which wave grows fastest on evenly spread tokens, and the growth of each, measured on a ring;
- *normalisation*: how fast tokens merge under six schemes of normalisation, particles against the equation;
- *leaders*: without a norm, tokens on a line end by looking at the first or the last alone;
- *network*: tokens of a small network by depth, untrained and trained, beside the flow and random weights.

Source: arXiv:2312.10794, 2305.05465, 2410.06833, 2510.05554, 2410.23228 and 2510.22026, in the order of what they say
of clusters, leaders, the staircase, scaling, modes and normalisation.
"""

import sys
from dataclasses import dataclass

from experiments.flow.leaders import LeaderStudy
from experiments.flow.modes import ModeStudy
from experiments.flow.networks import NetworkStudy
from experiments.flow.phases import PhaseStudy
from experiments.flow.scaling import ScalingStudy
from experiments.flow.schemes import SchemeStudy
from experiments.flow.stairs import StaircaseStudy
from experiments.shared.studies import Study, run_studies, tables_of
from msr.report import figures
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags
from msr.runs.flags import chosen, counts, option
from msr.runs.folder import RunFolder

STUDIES = ("phases", "staircase", "scaling", "modes", "normalisation", "leaders", "network")


@dataclass(frozen=True)
class Config(SeedFlags):
    """The flow beside its theory: phases, staircase, scaling, modes, normalisation, leaders, and a real network."""

    seeds: int = option(3, "how many seeds, counted from the first, where anything is random", least=1, most=10**4)
    studies: str = option(",".join(STUDIES), f"comma list of {', '.join(STUDIES)}")
    dims: str = option("3,128", "comma list: dimensions of the tokens of the phase diagrams")
    tokens: int = option(32, "tokens of the phase diagrams", least=2, most=4096)
    starts: int = option(4, "random starts of a seed in the phase diagrams", least=1, most=10**4)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        figures.require()
        studies = chosen(self.studies, STUDIES, "study")
        counts("dims", self.dims, 2, 10**6)
        if "phases" not in studies:
            self.refuse_flags("dims", "tokens", "starts", because="is of the study of phases, which is left out")

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of the tokens and scores of a phase diagram, in double precision."""
        wide = max(counts("dims", self.dims, 2, 10**6))
        return {"--tokens, --dims or --starts": 8.0 * self.starts * self.tokens * (wide + 6 * self.tokens)}


def run(config: Config) -> None:
    """Compute every arm that has no row yet, then write results, tables and figures."""
    studies = studies_of(config)
    folder = RunFolder("attention_flow", config)
    summary = run_studies(folder, studies, config.all_seeds)
    arms.publish(folder, tables_of(studies, summary), summary=summary)


def studies_of(config: Config) -> list[Study]:
    """The studies that were asked for, in their sizes."""
    known = {study.name: study for study in (_quick(config) if config.quick else _full(config))}
    return [known[name] for name in chosen(config.studies, STUDIES, "study")]


def _full(config: Config) -> list[Study]:
    """All studies in full."""
    dims = tuple(counts("dims", config.dims, 2, 10**6))
    return [
        PhaseStudy(config.tokens, dims, config.starts),
        StaircaseStudy(),
        ScalingStudy(),
        ModeStudy(),
        SchemeStudy(),
        LeaderStudy(),
        NetworkStudy(),
    ]


def _quick(config: Config) -> list[Study]:
    """All studies, with a few points each."""
    dims = tuple(counts("dims", config.dims, 2, 10**6))
    return [
        PhaseStudy(
            min(config.tokens, 16), dims, min(config.starts, 2), (1.0, 4.0), tuple(float(t) for t in range(2, 13))
        ),
        StaircaseStudy(betas=(3.0,)),
        ScalingStudy(powers=(1, 2, 8), sampled=(10,), d=512),
        ModeStudy(ring=128, measured=(4,), unnormalised=(4,)),
        SchemeStudy(end=20.0),
        LeaderStudy(sizes=((8, 8.0),), starts=20),
        NetworkStudy(layers=2, steps=10, followed=2),
    ]


if __name__ == "__main__":
    sys.exit(main(Config, run))
