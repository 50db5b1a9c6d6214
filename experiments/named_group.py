"""What does a group that discovery names buy an encoder? From linear tasks to a name, a context, and fewer labels.

A hidden group permutes eight places. First, discovery looks at linear tasks on these places and names the group, or
says that it cannot tell. Then comes another problem of the same places: the 256 texts of eight bits, functions of them
that the hidden group leaves as they are, and few labelled points. An encoder is trained on a context of the points, and
a ridge regression on its outputs learns the function. Four contexts are compared: *none*, where some bits are flipped;
*named*, where the group that discovery named moves the point before (where it named none, that is *none*); *true*; and
*too large*, where all permutations of the places do. All have equally many functions; *none, all functions* is the
exact limit of what flipped bits alone can give. A group that is named has one unit singular value for each of its
orbits on the points, so that the count tells a group that is too small or too large from the true one. Where the orbits
are the true ones, *named* and *true* are two trainings on one context.

The pattern, that a named group should serve as well as the true one, is of this package; the problem is made here.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.shared.cube import cube, flips, points
from msr.contexture import GroupContext, Spectrum, TableContext, convolve, spectrum
from msr.contexture.learning import Schedule, learn
from msr.contexture.objectives import LowRank
from msr.discovery import Discovery, discover
from msr.groups import cyclic, dihedral, direct_product, from_permutations, quaternion
from msr.permutations import Indices, orbit_labels
from msr.permutations.reynolds import orbit_means
from msr.report import figures, format_table
from msr.representations import Representation, natural, regular
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags
from msr.runs.flags import chosen, counts, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import decimals, over_rows
from msr.statistics.estimate import Estimate
from msr.tasks import FiniteGroupTasks
from tasks.pictures import needed

PLACES = 8
GROUPS: dict[str, Callable[[], Representation]] = {
    "C8": lambda: natural(cyclic(8)),
    "D8": lambda: natural(dihedral(8)),
    "Q8": lambda: regular(quaternion(8)),
    "C4 x C2": lambda: regular(direct_product(cyclic(4), cyclic(2))),
}
"""The hidden groups, each as it permutes the eight places."""
CONTEXTS = ("none", "too large", "named", "true")
DEGREE = 3
"""Of the polynomials that are learned."""
NOISE_ON_LABELS = 0.1
"""In units of the size of the functions."""
PENALTIES = tuple(10.0**power for power in np.linspace(-3, 3, 13))
"""Penalties of the ridge regression; the one is taken that is best at labelled points left out."""
QUICK_STEPS = 20
QUICK_TASKS = 120


@dataclass(frozen=True)
class Config(SeedFlags):
    """Name a hidden group, and learn functions that it leaves as they are from few labels."""

    groups: str = option(",".join(GROUPS), "comma list of hidden groups")
    tasks: str = option("100,200,400,800", "comma list: linear tasks that discovery is given")
    noise: float = option(0.3, "noise on the outputs of tasks, in units of their size", least=0, most=100)
    flip: float = option(0.2, "the chance that a bit is flipped", above=0, below=0.5)
    functions: int = option(12, "outputs of an encoder", least=1, most=29)
    labels: int = option(32, "labelled points", least=4, most=256)
    targets: int = option(50, "functions that are learned from labels, each drawn anew", least=2, most=10_000)
    steps: int = option(1000, "gradient steps of an encoder at most", least=1, most=10**6)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        figures.require()
        chosen(self.groups, tuple(GROUPS), "group")
        counts("tasks", self.tasks, 2, 10**6)


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A hidden group and a number of tasks, with a seed."""

    group: str
    tasks: int
    seed: int

    @property
    def name(self) -> str:
        """``GROUP-tasksCOUNT``."""
        return f"{self.group}-tasks{self.tasks}"


def run(config: Config) -> None:
    """Compute every arm that has no row yet, then write results, a table and a figure."""
    sizes = [QUICK_TASKS] if config.quick else counts("tasks", config.tasks, 2, 10**6)
    all_arms = [
        Arm(group, size, seed)
        for group in chosen(config.groups, tuple(GROUPS), "group")
        for seed in config.all_seeds
        for size in sizes
    ]
    folder = RunFolder("named_group", config)
    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config),
        tell=lambda row: (
            f"{row['verdict']} {row['name'] or ''}, errors "
            + ", ".join(f"{context} {row[context]['mean']:.3f}" for context in CONTEXTS)
        ),
    )
    summary = arms.summarise(folder, all_arms, summary_line)
    arms.publish(folder, table(summary), summary=summary)
    draw(folder, summary)


def run_arm(arm: Arm, config: Config) -> Row:
    """The row of an arm: what discovery named, whether its orbits are the true ones, and the error with each context.

    An error is the mean over targets of the mean square over all points, in units of the target's variance, with its
    interval.
    """
    truth = GROUPS[arm.group]()
    answer = discover(*_tasks(truth, arm, config), seed=arm.seed, threads=torch.get_num_threads())
    named = _named(answer)
    ones = points(PLACES).sum(1)
    orbits = {
        "none": None,
        "too large": ones,
        "named": None if named is None else _orbits(named),
        "true": _orbits(truth),
    }
    steps = QUICK_STEPS if config.quick else config.steps
    generator = torch.Generator().manual_seed(arm.seed)
    target = _targets(orbits["true"], config.targets, generator)
    seen = torch.stack([torch.randperm(len(ones), generator=generator)[: config.labels] for _ in target])
    noise = NOISE_ON_LABELS * torch.randn(seen.shape, generator=generator, dtype=torch.float64)
    row: Row = {
        "verdict": answer.verdict,
        "name": answer.group.name if named is not None and answer.group is not None else None,
        "rightly": None if named is None else bool(np.array_equal(_orbits(named), _orbits(truth))),
        "units_true": _units(truth),
        "units_named": None if named is None else _units(named),
    }
    errors = {}
    for number, (context, labels) in enumerate(orbits.items()):
        key = None if labels is None else labels.tobytes()
        # Each is trained from another start, so that two encoders of one context differ as two trainings do.
        start = len(CONTEXTS) * arm.seed + number
        outputs, row[f"share_{context}"] = _encoded(key, config.flip, config.functions, steps, start)
        errors[context] = _errors(outputs, target, seen, noise)
    _, found = _context(None, config.flip)
    errors["none, all functions"] = _errors(found.functions * found.values, target, seen, noise)
    bits = torch.from_numpy(points(PLACES)).double()
    return row | {
        **{context: _estimate(values) for context, values in errors.items()},
        "bits": _estimate(_errors(2 * bits - 1, target, seen, noise)),
        # Of the same targets and labels, so that their difference is known better than each of them.
        "named_less_true": _estimate(errors["named"] - errors["true"]),
        "none_less_named": _estimate(errors["none"] - errors["named"]),
    }


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """A group and a number of tasks over the seeds: how often it was named, rightly and wrongly, and mean errors."""
    keys = (*CONTEXTS, "bits", "none, all functions", "named_less_true", "none_less_named")
    answered = [row for row in rows if row["name"] is not None]
    return {
        "group": variant[0].group,
        "tasks": variant[0].tasks,
        "runs": len(rows),
        "named_rightly": sum(row["rightly"] for row in answered),
        "named_wrongly": sum(not row["rightly"] for row in answered),
        "units_true": rows[0]["units_true"],
        "units_named": sorted({row["units_named"] for row in answered}),
        **{key: over_rows(rows, key, "mean") for key in keys},
    }


def table(summary: list[Row]) -> str:
    """The summary as a Markdown table, a row for each group and number of tasks."""
    lines = [
        [
            line["group"],
            str(line["tasks"]),
            f"{line['named_rightly']} of {line['runs']}",
            str(line["named_wrongly"]),
            f"{', '.join(map(str, line['units_named'])) or 'none'} ({line['units_true']})",
            *(decimals(line[key], 3) for key in ("bits", "none, all functions", *CONTEXTS)),
            decimals(line["named_less_true"], 3),
        ]
        for line in summary
    ]
    headers = [
        "hidden group",
        "tasks",
        "named rightly",
        "wrongly",
        "unit values of named (true)",
        "error of the bits",
        "none, all functions",
        *CONTEXTS,
        "named − true",
    ]
    return format_table(headers, lines)


def draw(folder: RunFolder, summary: Sequence[Row]) -> None:
    """Write the figure ``named_group.png``: errors with the four contexts against the number of tasks, by group."""
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for line in summary:
        for context in CONTEXTS:
            if line[context] is not None:
                across, up = panels.setdefault(line["group"], {}).setdefault(context, ([], []))
                across.append(line["tasks"])
                up.append(line[context]["mean"])
    if panels:
        figure = figures.points(panels, xlabel="linear tasks that discovery was given", ylabel="error, all points")
        folder.draw("named_group.png", figure)


def _tasks(truth: Representation, arm: Arm, config: Config) -> tuple[Tensor, Tensor]:
    """Linear tasks that the hidden group leaves as they are: inputs and outputs of 20 examples each."""
    family = FiniteGroupTasks(
        rep_in=truth, rep_out=truth, noise=config.noise, shots=1, queries=19, n_train=arm.tasks, n_test=None,
        seed=arm.seed,
    )  # fmt: skip
    return family.episodes("train", torch.arange(arm.tasks)).examples()


def _named(answer: Discovery) -> Representation | None:
    """The group that discovery named, as it permutes the places of inputs; None where it named none.

    Inputs and outputs are the same places, so a group that moves them differently is of no use here.
    """
    if answer.verdict != "found":
        return None
    inputs, outputs = answer.generators()
    if not np.array_equal(inputs, outputs):
        return None
    group = from_permutations(list(inputs), name="named")
    return natural(group)


def _orbits(action: Representation) -> Indices:
    """The orbit of each point, ``(256,)``, under a group that permutes the places."""
    moves = cube(action).permutations
    assert moves is not None
    return orbit_labels(moves)


def _units(action: Representation) -> int:
    """How many singular values of the group's context on the points are 1, that of the constant among them."""
    return 1 + int((spectrum(GroupContext(cube(action))).values > 1 - 1e-9).sum())


@lru_cache(maxsize=16)
def _context(orbits: bytes | None, flip: float) -> tuple[TableContext, Spectrum]:
    """A random point of the same orbit, and then flipped bits; flipped bits alone for None. With its spectrum.

    A random element of a group takes a point to a random one of its orbit, so this is the context of the group.
    """
    noise = flips(flip, PLACES)
    if orbits is None:
        return noise, spectrum(noise)
    labels = np.frombuffer(orbits, dtype=np.int64)
    same = (labels[:, None] == labels).astype(float)
    moved = TableContext(same / same.sum(1, keepdims=True), name="orbits", of_points=True)
    context = convolve(moved, noise)
    assert isinstance(context, TableContext)
    return context, spectrum(context)


@lru_cache(maxsize=8)
def _encoded(orbits: bytes | None, flip: float, d: int, steps: int, seed: int) -> tuple[Tensor, float | None]:
    """The functions of an encoder trained on a context, and the share of what can be captured that it captured.

    Each function has the size of its singular value, so that a ridge regression prefers what the context knows well.
    The low-rank loss is the one that learns functions of small singular values soonest here.
    """
    context, found = _context(orbits, flip)
    signs = torch.from_numpy(points(PLACES)).float() * 2 - 1
    trained = learn(
        context, signs, d, objective=LowRank(), spectrum=found, schedule=Schedule(steps=steps, rate=1e-2), seed=seed
    )
    assert trained.captured is not None
    what = trained.captured
    return what.functions * what.squares.sqrt(), trained.share


def _targets(orbits: Indices, count: int, generator: torch.Generator) -> Tensor:
    """Functions that a group leaves as they are, ``(count, 256)``, of mean 0 and mean square 1.

    Each is a random polynomial of degree :data:`DEGREE` in the signs of the bits, averaged over the orbits of points.
    """
    signs = torch.from_numpy(points(PLACES)).double() * 2 - 1
    products = [
        signs[:, list(some)].prod(1) for degree in range(1, DEGREE + 1) for some in combinations(range(PLACES), degree)
    ]
    weights = torch.randn(count, len(products), generator=generator, dtype=torch.float64)
    labels = torch.from_numpy(orbits)
    values = orbit_means(weights @ torch.stack(products), labels, int(labels.max()) + 1)[:, labels]
    values = values - values.mean(1, keepdim=True)
    return values / values.square().mean(1, keepdim=True).sqrt()


def _errors(outputs: Tensor, targets: Tensor, seen: Tensor, noise: Tensor) -> Tensor:
    """The mean square error over all points of a ridge regression on an encoder's outputs, for each target.

    Shapes: ``outputs (256, d)``, ``targets (count, 256)``; ``seen (count, labels)``, the labelled points of each
    target, and ``noise`` on their labels; the result is ``(count,)``.
    """
    linear: Any = needed("sklearn.linear_model", "contexture")
    errors = []
    for target, places, off in zip(targets, seen, noise, strict=True):
        model = linear.RidgeCV(alphas=PENALTIES).fit(outputs[places].numpy(), (target[places] + off).numpy())
        predicted = torch.from_numpy(model.predict(outputs.numpy()))
        errors.append((predicted - target).square().mean())
    return torch.stack(errors)


def _estimate(values: Tensor) -> Row:
    """A mean over targets with its interval."""
    return Estimate.of(values).to_dict()


if __name__ == "__main__":
    sys.exit(main(Config, run))
