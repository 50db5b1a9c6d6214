"""What encoders learn from a context whose exact functions are known: groups and noise on the binary cube, and digits.

Four studies, on contexts of which everything can be computed:

- *census*: a group has one singular value of 1 for each orbit, whatever its elements' weights are; a generator that is
  missed, or invented, shows in the count;
- *targets*: how well functions of the points fit to a context, and that the exact functions, and learned ones, leave
  just what does not;
- *learned*: every objective, trained on the group C6 and then noise: how near its encoder comes to the exact functions;
- *digits*: images closed under quarter turns with an RBF context: singular functions are pure in the characters of C4,
  and the group before the RBF context is the context of the orbits.

Source: arXiv:2505.01557 for contexts and objectives. The studies are not in the paper.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from experiments.shared.cube import BITS, cube, flips, targets
from msr.contexture import GroupContext, PoolContext, Spectrum, TableContext, convolve, spectrum
from msr.contexture.learning import Schedule, learn
from msr.contexture.measures import compatibility, principal_angle, probe_error, squared_correlation
from msr.contexture.objectives import (
    KISE,
    SVME,
    LowRank,
    NonContrastive,
    Objective,
    SpectralContrastive,
    VICSurrogate,
)
from msr.groups import FiniteGroup, cyclic, dihedral, symmetric
from msr.report import figures, format_table
from msr.representations import grid_rotations
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags
from msr.runs.flags import chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import over_rows
from tasks.pictures import needed

STUDIES = ("census", "targets", "learned", "digits")
NOISE = 0.2
"""The chance that a bit is flipped."""
FUNCTIONS = 4
"""Outputs of an encoder of the study of objectives."""
ANGLE = 1.0
"""Degrees from the exact functions at which an encoder counts as right."""
FEW = 40
"""Images of a ``--quick`` run."""

_Census = tuple[Callable[[], FiniteGroup], dict[int, float] | None]
CENSUS: dict[str, _Census] = {
    "C6": (lambda: cyclic(6), None),
    "D6": (lambda: dihedral(6), None),
    "S6": (lambda: symmetric(6), None),
    "C3 in C6": (lambda: cyclic(6), {0: 1 / 3, 2: 1 / 3, 4: 1 / 3}),
    "turns by 1 and 3": (lambda: cyclic(6), {1: 0.5, 3: 0.5}),
    "lazy walk on C6": (lambda: cyclic(6), {0: 0.4, 1: 0.3, 5: 0.3}),
    "half a step": (lambda: cyclic(6), {0: 0.5, 1: 0.5}),
}
"""The group of each line of the census, and the chances of its elements; None for equal ones."""

OBJECTIVES: dict[str, Objective | VICSurrogate] = {
    "SVME": SVME(),
    "SVME, weight 2": SVME(2.0),
    "SVME, weight 10": SVME(10.0),
    "KISE": KISE(),
    "low rank": LowRank(),
    "spectral contrastive": SpectralContrastive(),
    "non-contrastive": NonContrastive(),
    "VIC surrogate": VICSurrogate(),
}
"""The objectives that are trained, by name; the default one is the first."""


@dataclass(frozen=True)
class Config(SeedFlags):
    """Exact and learned functions of contexts on the binary cube and on digits."""

    studies: str = option(",".join(STUDIES), f"comma list of {', '.join(STUDIES)}")
    steps: int = option(1500, "gradient steps of an encoder at most", least=1, most=10**6)
    images: int = option(250, "images of the study of digits, before they are turned", least=8, most=1000)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        figures.require()
        chosen(self.studies, STUDIES, "study")


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A line of a study, with a seed: a group, a target's group, an objective, or a draw of images."""

    study: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        """The study and the line."""
        return f"{self.study} {self.variant}"


def run(config: Config) -> None:
    """Compute every arm that has no row yet, then write results, tables and figures."""
    all_arms = [arm for study in chosen(config.studies, STUDIES, "study") for arm in arms_of(study, config)]
    folder = RunFolder("contexture", config)
    compute = {"census": census, "targets": fit_of_targets, "learned": learned, "digits": closure}
    arms.run_arms(
        folder,
        all_arms,
        lambda arm: compute[arm.study](arm, config),
        tell=lambda row: ", ".join(
            f"{key} {_shown(row[key])}" for key in ("unit_values", "angle", "share", "purity") if key in row
        ),
    )
    summary = arms.summarise(folder, all_arms, summary_line)
    arms.publish(folder, table(summary), summary=summary)
    draw(folder, all_arms)


def arms_of(study: str, config: Config) -> list[Arm]:
    """The arms of a study. Without anything random in it, it has one seed."""
    seeds = list(config.all_seeds)
    variants: dict[str, tuple[list[str], list[int]]] = {
        "census": (list(CENSUS), seeds[:1]),
        "targets": (["C6", "D6"], seeds),
        "learned": (list(OBJECTIVES), seeds),
        "digits": (["C4"], seeds),
    }
    names, own = variants[study]
    return [Arm(study, name, seed) for name in names for seed in own]


def census(arm: Arm, config: Config) -> Row:
    """The row of a group: its singular values by the table, how many are 1, and how far the characters are off."""
    make, chances = CENSUS[arm.variant]
    group = make()
    elements = None
    if chances is not None:
        elements = np.zeros(group.order)
        elements[list(chances)] = list(chances.values())
    context = GroupContext(cube(group), elements)
    values = torch.cat([torch.ones(1, dtype=torch.float64), spectrum(context).values])
    seen, times = np.unique(values.numpy().round(6), return_counts=True)
    return {
        "unit_values": int((values > 1 - 1e-9).sum()),
        "orbits": context.unit_values,
        "off_by_characters": float((context.spectrum_by_characters() - values).abs().max()),
        "values": {f"{value:g}": int(count) for value, count in zip(seen[::-1], times[::-1], strict=True)},
    }


def fit_of_targets(arm: Arm, config: Config) -> Row:
    """The row of a group: each target's compatibility, squared, and what exact and learned functions leave of it."""
    group = cyclic(6) if arm.variant == "C6" else dihedral(6)
    context = GroupContext(cube(group))
    found = spectrum(context)
    d = context.unit_values - 1
    trained = learn(context, _signs(), d, spectrum=found, schedule=_schedule(config), seed=arm.seed)
    assert trained.captured is not None
    known: Row = {}
    for name, target in targets().items():
        variance = float(target.var(correction=0))
        known[name] = {
            "compatibility2": compatibility(context, target) ** 2,
            "left_by_exact": probe_error(context.weights, found.functions[:, :d], target) / variance,
            "left_by_learned": probe_error(context.weights, trained.captured.functions, target) / variance,
        }
    worst = max(abs(line["left_by_exact"] - line["left_by_learned"]) for line in known.values())
    return {
        "functions": d,
        "r2": squared_correlation(found, trained.captured.functions, d),
        "worst_difference": worst,
        "targets": known,
    }


def noisy_turns() -> tuple[TableContext, Spectrum]:
    """The group C6 of the cube and then noise, and its spectrum."""
    context = convolve(GroupContext(cube(cyclic(6))), flips(NOISE))
    assert isinstance(context, TableContext)
    return context, spectrum(context)


def learned(arm: Arm, config: Config) -> Row:
    """The row of an objective: how near its encoder is to the exact functions, its loss, its optimum and its time."""
    context, found = noisy_turns()
    objective = OBJECTIVES[arm.variant]
    began = time.process_time()
    trained = learn(
        context, _signs(), FUNCTIONS, objective=objective, spectrum=found, schedule=_schedule(config), seed=arm.seed
    )
    seconds = time.process_time() - began
    assert trained.captured is not None
    optimum = objective.optimum(found, FUNCTIONS) if isinstance(objective, Objective) else None
    return {
        "angle": principal_angle(found, trained.captured.functions, FUNCTIONS),
        "share": trained.share,
        "rank": len(trained.captured.squares),
        "steps": trained.steps,
        "cpu_seconds": round(seconds, 2),
        "loss": trained.losses[-1],
        "optimum": optimum,
        "curve": trained.curve,
    }


def closure(arm: Arm, config: Config) -> Row:
    """The row of a draw of digits, closed under quarter turns: are singular functions pure, is the quotient right?"""
    images = torch.from_numpy(needed("sklearn.datasets", "images").load_digits().images)
    count = FEW if config.quick else config.images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(arm.seed))
    turns = grid_rotations(images.shape[-1])
    points = torch.cat([turns.act(g, images[order[:count]]) for g in turns.group.elements]).flatten(1)
    context = PoolContext.rbf(points)
    found = spectrum(context)
    # The turn of a point is the point that is ``count`` places on.
    moved = torch.arange(len(points)).roll(-count)
    kept = min(60, len(found.values))
    purity = []
    for start, stop in found.blocks():
        if stop > kept:
            break
        block = found.functions[:, start:stop]
        turned = block.mT @ (found.weights[:, None] * block[moved])
        # A pure block is mapped to itself, so that the turn is an orthogonal matrix on it.
        purity.append(float(torch.linalg.svdvals(turned).min()))
    both = spectrum(context.moved(turns))
    orbit = _orbit_context(context, count)
    values = both.values[: count - 1]
    return {
        "images": count,
        "purity": min(purity),
        "quotient_difference": float((values - spectrum(orbit).values).abs().max()),
        "left_beside": float(both.values[count - 1 :].max()),
        "first_value": float(found.values[0]),
    }


def _orbit_context(context: PoolContext, count: int) -> TableContext:
    """The context of orbits: the chance to come from one to any point of another."""
    table = torch.from_numpy(np.asarray(context.conditional))
    rows = table[:count].reshape(count, -1, count).sum(dim=1)
    return TableContext(rows, name="orbits")


def _signs() -> Tensor:
    """The points of the cube as an encoder gets them: a number −1 or 1 for each bit."""
    return torch.from_numpy(BITS).float() * 2 - 1


def _schedule(config: Config) -> Schedule:
    """How long encoders are trained."""
    return Schedule(steps=20 if config.quick else config.steps, enough=0.999999)


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """A summary row of one line of a study over its seeds."""
    first = variant[0]
    line: Row = {"study": first.study, "variant": first.variant, "runs": len(rows)}
    if first.study == "census":
        return line | {key: rows[0][key] for key in ("unit_values", "orbits", "off_by_characters", "values")}
    if first.study == "targets":
        return line | {
            "functions": rows[0]["functions"],
            "r2_least": min(row["r2"] for row in rows),
            "worst_difference": max(row["worst_difference"] for row in rows),
            "compatibility2": {name: value["compatibility2"] for name, value in rows[0]["targets"].items()},
        }
    if first.study == "digits":
        return line | {
            "purity_least": min(row["purity"] for row in rows),
            "quotient_difference": max(row["quotient_difference"] for row in rows),
            "left_beside": max(row["left_beside"] for row in rows),
        }
    angles = [row["angle"] for row in rows]
    return line | {
        "right": sum(angle <= ANGLE for angle in angles),
        "angle_median": median(angles),
        "angle_worst": max(angles),
        "share": over_rows(rows, "share"),
        "rank_least": min(row["rank"] for row in rows),
        "cpu_seconds_median": median(row["cpu_seconds"] for row in rows),
        "cpu_seconds_most": max(row["cpu_seconds"] for row in rows),
        "loss_median": median(row["loss"] for row in rows),
        "optimum": rows[0]["optimum"],
    }


def table(summary: list[Row]) -> str:
    """The summary as Markdown tables, one for each study."""
    of = {study: [line for line in summary if line["study"] == study] for study in STUDIES}
    parts = []
    if of["census"]:
        lines = [
            [
                line["variant"],
                str(line["orbits"]),
                str(line["unit_values"]),
                ", ".join(f"{value} × {count}" for value, count in line["values"].items()),
                f"{line['off_by_characters']:.0e}",
            ]
            for line in of["census"]
        ]
        parts.append(format_table(["group", "orbits", "values of 1", "all values", "characters off by"], lines))
    if of["targets"]:
        names = list(of["targets"][0]["compatibility2"])
        lines = [
            [
                line["variant"],
                *(f"{line['compatibility2'][name]:.3f}" for name in names),
                f"{line['r2_least']:.4f}",
                f"{line['worst_difference']:.4f}",
            ]
            for line in of["targets"]
        ]
        headers = ["group", *names, "R² of learned, least", "left by learned − exact, worst"]
        parts.append(format_table(headers, lines))
    if of["learned"]:
        parts.append(
            format_table(
                [
                    "objective",
                    f"within {ANGLE:g}°",
                    "angle°",
                    "worst",
                    "captured %",
                    "functions, least",
                    "CPU s (most)",
                    "loss",
                    "optimum",
                ],
                [_objective_cells(line) for line in of["learned"]],
            )
        )
    if of["digits"]:
        lines = [
            [
                line["variant"],
                f"{line['purity_least']:.6f}",
                f"{line['quotient_difference']:.0e}",
                f"{line['left_beside']:.0e}",
            ]
            for line in of["digits"]
        ]
        parts.append(format_table(["digits closed under", "purity, least", "group * RBF − orbits", "beside"], lines))
    return "\n\n".join(parts)


def _objective_cells(line: Row) -> list[str]:
    """The cells of an objective's row."""
    return [
        line["variant"],
        f"{line['right']} of {line['runs']}",
        f"{line['angle_median']:.2f}",
        f"{line['angle_worst']:.2f}",
        f"{100 * line['share']['mean']:.2f}",
        str(line["rank_least"]),
        f"{line['cpu_seconds_median']:.1f} ({line['cpu_seconds_most']:.1f})",
        f"{line['loss_median']:.4f}",
        "" if line["optimum"] is None else f"{line['optimum']:.4f}",
    ]


def draw(folder: RunFolder, all_arms: list[Arm]) -> None:
    """Write the figure ``learned.png``: what is left to learn, against the steps, for each objective and seed."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    kinds = {}
    for arm in all_arms:
        if arm.study == "learned" and str(arm) in folder.rows:
            curve = folder.rows[str(arm)]["curve"]
            series[str(arm)] = ([step for step, _ in curve], [max(100 * (1 - share), 1e-5) for _, share in curve])
            kinds[str(arm)] = arm.variant
    if series:
        figure = figures.curves(series, ylabel="not captured, % of what can be", log=True, xlabel="step", kinds=kinds)
        folder.draw("learned.png", figure)


def _shown(value: object) -> str:
    """A number in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(Config, run))
