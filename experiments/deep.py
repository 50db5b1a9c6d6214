"""Two nonlinear equivariant layers: which solver fits the ``v`` of both, five gradient steps or Gauss-Newton?

Each task is ``y = W₂ σ(W₁ x)`` with both maps equivariant, regular to regular representation. Models: ``msr`` learns
the patterns of both layers, each with as many numbers as the truth has (``msr-double``: twice as many); ``oracle`` is
given the true spans. Solvers: ``sgd`` with learned rates; Gauss-Newton with the gradient through the steps
(``gn-unrolled``) or of the minimum (``gn-implicit``).

Query errors are compared, and not spans: the network is the same for ``W₁ → P W₁, W₂ → W₂ P⁻¹`` with any matrix ``P``
that σ commutes with, so a learned pattern is only one of many. No such choice changes how equivariant the adapted
networks are, so that is measured: their defect (:func:`msr.equivariance.equivariance_error`) under the true group.
"""

import math
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from msr.episodes import Episodes
from msr.equivariance import equivariance_error as defects_on
from msr.errors import NonFiniteError
from msr.groups import cyclic, dihedral
from msr.layers import ReparamLinear
from msr.meta import SGD, GaussNewton, InnerSolver, Learner, OuterLoop, from_module
from msr.report import figures, format_table
from msr.representations import regular
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import BatchingFlags, DeviceFlags, SeedFlags, TaskFlags, TrainingFlags
from msr.runs.flags import RATE, STEPS, chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import (
    cell,
    estimate_or_none,
    finite_or_none,
    judged,
    median,
    over_rows,
    over_seeds,
    zero_predictor,
)
from msr.runs.training import batches_of, train, trained_row, with_adam
from msr.sharing import DenseSharing
from msr.tasks import FiniteGroupTasks, generator_for

GROUPS = {"c8": lambda: cyclic(8), "d4": lambda: dihedral(4)}
MODELS = ("msr", "msr-double", "oracle")
SOLVERS = ("sgd", "gn-unrolled", "gn-implicit")
EXAMPLES = 24
"""Examples of a task, support and query together."""
MEASURED = 100
"""Held-out tasks that the curves are measured on."""
INNER: dict[str, float] = {"least": 1, "most": 10**4}  # the range of inner steps: without any, nothing is fitted

# Chosen by hand for Gauss-Newton, which bears a larger outer rate than gradient steps do.
GAUSS_NEWTON_RATE = 2e-2
DAMPING = 0.1
CLIP_NORM = 1.0  # of the outer gradient: single tasks of a nonlinear problem give wild ones


@dataclass(frozen=True)
class Config(TaskFlags, TrainingFlags, BatchingFlags, DeviceFlags, SeedFlags):
    """Learn the sharing of two layers at once, by gradient steps and by Gauss-Newton."""

    group: Literal["c8", "d4"] = option("c8", "hidden group of order 8")
    nonlinearity: Literal["relu", "tanh"] = option("relu", "between the layers")
    models: str = option(",".join(MODELS), "comma list")
    solvers: str = option(",".join(SOLVERS), "comma list: how a task fits")
    inner_steps: int = option(5, "steps of sgd and of gn-unrolled", **INNER)
    implicit_steps: int = option(20, "steps of gn-implicit, which needs to arrive; its memory does not grow", **INNER)
    sgd_steps: int = option(8000, "outer steps of sgd; with an oracle a quarter", **STEPS)
    gn_steps: int = option(800, "outer steps of Gauss-Newton; with an oracle a quarter", **STEPS)
    sgd_rate: float = option(0.1, "start of sgd's inner rates, which are learned on a log scale", **RATE)
    outer_rate: float = option(1e-3, "Adam's rate for sgd", **RATE)
    shots: int = option(8, "support examples a task, of 24", least=1, most=EXAMPLES - 1)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        chosen(self.models, MODELS, "model")
        chosen(self.solvers, SOLVERS, "solver")
        figures.require()

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of the examples of a step, and of the held-out tasks: 8 inputs and 8 outputs, in single precision."""
        of_task = 4.0 * EXAMPLES * 16
        return {"--batch": of_task * self.batch, "--test-tasks": of_task * self.test_tasks}


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A model and the solver by which it adapts, with a seed."""

    model: str
    solver: str
    seed: int

    @property
    def name(self) -> str:
        """``MODEL-SOLVER``."""
        return f"{self.model}-{self.solver}"

    def outer_steps(self, config: Config) -> int:
        """How many outer steps the arm takes: as configured for its solver, and a quarter of that for an oracle.

        An oracle has only the start of ``v`` and the solver's own numbers to learn.
        """
        steps = config.sgd_steps if self.solver == "sgd" else config.gn_steps
        return max(steps // 4, 1) if self.model == "oracle" else steps


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, a table and a figure."""
    if config.quick:
        config = replace(config, sgd_steps=16, gn_steps=8, test_tasks=min(config.test_tasks, 20))
    all_arms = [
        Arm(model, solver, seed)
        for seed in config.all_seeds
        for model in chosen(config.models, MODELS, "model")
        for solver in chosen(config.solvers, SOLVERS, "solver")
    ]
    first = family_of(config, config.seed)
    for arm in all_arms:
        solver_of(arm, config)  # every fault of the flags shows before anything is written
    folder = RunFolder("deep", config)
    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config, folder),
        draw=partial(draw, config, folder),
        measures="median query MSE",
    )
    zero = zero_predictor(test_set(first, config))
    summary = arms.summarise(folder, all_arms, partial(summary_line, folder, all_arms))
    arms.publish(folder, table(summary, zero, config), zero_predictor_mse=zero, summary=summary)
    draw(config, folder, all_arms)


def draw(config: Config, folder: RunFolder, all_arms: list[Arm]) -> None:
    """Write the figure of the first seed, ``curve.png``: the errors that were measured while its arms trained."""
    label = f"median query MSE of {min(config.test_tasks, MEASURED)} held-out tasks"
    arms.draw_curves(folder, {arm.name: arm for arm in all_arms if arm.seed == config.seed}, label, log=True)


def family_of(config: Config, seed: int) -> FiniteGroupTasks:
    """The tasks of a seed: two equivariant layers, from regular to regular representation of the config's group."""
    rep = regular(GROUPS[config.group]())
    return FiniteGroupTasks(
        rep_in=rep,
        rep_out=rep,
        hidden=rep,
        nonlinearity=config.nonlinearity,
        noise=config.noise,
        shots=config.shots,
        queries=EXAMPLES - config.shots,
        n_train=config.tasks,
        n_test=config.test_tasks,
        seed=seed,
    )


def test_set(family: FiniteGroupTasks, config: Config) -> Episodes:
    """All held-out tasks of a family, on the config's device."""
    return family.episodes("test", torch.arange(config.test_tasks)).to(config.device)


def build(arm: Arm, family: FiniteGroupTasks) -> nn.Sequential:
    """The arm's network before training: two reparameterised layers without biases, because the tasks have none.

    An oracle's patterns are the true spans, and are not learned; those of the other models are learned, from a random
    start that depends on the model and the seed.
    """
    generator = generator_for(arm.seed, "init", arm.model)
    layers = []
    for span in family.truth.spans:
        n = math.isqrt(span.shape[0])
        sharing = partial(DenseSharing, k=span.shape[1] * (2 if arm.model == "msr-double" else 1))
        if arm.model == "oracle":
            # With columns of this length a filter v ~ N(0, 1) gives weights of the tasks' size.
            matrix = span.to(torch.get_default_dtype()) * math.sqrt(n / span.shape[1])
            given = DenseSharing.from_matrix(matrix, (n, n), learn=False)
            layers.append(ReparamLinear(n, n, bias=False, sharing=given, generator=generator))
        else:
            layers.append(ReparamLinear(n, n, bias=False, sharing=sharing, generator=generator))
    return nn.Sequential(layers[0], nn.ReLU() if family.nonlinearity == "relu" else nn.Tanh(), layers[1])


def solver_of(arm: Arm, config: Config) -> InnerSolver:
    """The solver by which an arm adapts to a task. Raises: ConfigError for flags that cannot work."""
    if arm.solver == "sgd":
        return SGD(steps=config.inner_steps, rate=config.sgd_rate, scale="log")
    if arm.solver == "gn-unrolled":
        return GaussNewton(steps=config.inner_steps, damping=DAMPING)
    return GaussNewton(steps=config.implicit_steps, damping=DAMPING, gradient="implicit", curvature="gauss_newton")


def outer_loop(arm: Arm, config: Config, family: FiniteGroupTasks) -> OuterLoop:
    """An arm's network with its inner solver, to be trained by Adam with a cosine decay and a clipped gradient.

    Gradient steps bear a smaller outer rate than Gauss-Newton.
    """
    problem, shared, initial = from_module(build(arm, family).to(config.device))
    learner = Learner(
        problem,
        solver_of(arm, config),
        batching=config.batching,
        chunk_size=config.chunk_size or None,
        # A few steps take less time than recording one.
        trace=False if config.quick else "auto",
    )
    rate, beta = (config.outer_rate, 0.999) if arm.solver == "sgd" else (GAUSS_NEWTON_RATE, 0.95)
    steps = arm.outer_steps(config)
    return with_adam(learner, shared, initial, rate, beta=beta, decay_steps=steps, clip_norm=CLIP_NORM)


def run_arm(arm: Arm, config: Config, folder: RunFolder) -> Row:
    """The row of one arm, which is trained and then evaluated on the held-out tasks.

    One that diverges is judged at its last finite state. Checkpoints and metrics are written to the folder.
    """
    family = family_of(config, arm.seed)
    loop = outer_loop(arm, config, family)
    test = test_set(family, config)
    few = test.select(slice(0, MEASURED))
    trained = train(
        loop,
        folder,
        str(arm),
        batches_of(family, config.batch, config.device),
        arm.outer_steps(config),
        measure=lambda: median(query_mse(loop, few)),
    )
    return {
        **judged("query_mse", query_mse(loop, test)),
        **trained_row(loop, trained),
        "equivariance_error": equivariance_error(loop, test, family),
        "inner": {name: finite_or_none(value.exp()) for name, value in loop.params.inner.items()},
    }


@torch.no_grad()
def query_mse(loop: OuterLoop, episodes: Episodes) -> Tensor:
    """The mean squared error of each task's query set after adapting, ``(tasks,)``."""
    return loop.learner.losses(loop.params, episodes).cpu()


@torch.no_grad()
def equivariance_error(loop: OuterLoop, episodes: Episodes, family: FiniteGroupTasks) -> float | None:
    """The defect of the adapted networks: of each the worst over generators, then the median over tasks, or None.

    The defect is that of :func:`msr.equivariance.equivariance_error` on the task's query inputs: 0 commutes with the
    group, 1 is what unrelated outputs give, √2 is the worst. Outputs that are not finite count as an infinite defect.
    """
    adapted = loop.learner.adapt(loop.params, episodes.support_x, episodes.support_y)
    worst = []
    for i in range(episodes.n_tasks):
        weights = {**loop.params.shared, **{name: v[i] for name, v in adapted.items()}}
        network = partial(loop.learner.problem.predict, weights)
        try:
            defects = defects_on(network, episodes.query_x[i], family.rep_in, family.rep_out, "generators")
        except NonFiniteError:
            worst.append(math.inf)
        else:
            worst.append(defects.largest)
    return finite_or_none(median(torch.tensor(worst, dtype=torch.float64)))


def summary_line(folder: RunFolder, all_arms: list[Arm], variant: list[Arm], rows: list[Row]) -> Row:
    """A summary row of one variant: estimates over its seeds, of which ``variant`` are the arms and ``rows`` the rows.

    Medians at equal outer steps, and at equal time, are read off the curves, where the arm of the same model and seed
    with the fewest steps, or seconds, ended. An arm that diverged sets no such end, and keeps its last value.
    """
    line: Row = {"arm": variant[0].name, "outer_steps": sorted(row["outer_steps"] for row in rows)}
    line |= over_seeds(rows, "query_mse") | {"equivariance_error": over_rows(rows, "equivariance_error")}
    for key, axis in (("at_equal_steps", "step"), ("at_equal_seconds", "seconds")):
        values: list[float | None] = []
        for arm in variant:
            end = _common_end(folder, all_arms, arm, axis)
            before = [entry["test"] for entry in _measured(folder, arm) if entry[axis] <= end]
            values += before[-1:]
        line[key] = estimate_or_none(values) if len(values) == len(variant) else None
    return line


def _common_end(folder: RunFolder, all_arms: list[Arm], arm: Arm, axis: str) -> float:
    """Where the first of the arms with the same model and seed ended, among those that did not diverge.

    ``axis`` is ``step`` or ``seconds``, and the result is in that unit; infinity where all of them diverged.
    """
    rivals = [rival for rival in all_arms if (rival.model, rival.seed) == (arm.model, arm.seed)]
    finished = [rival for rival in rivals if folder.rows[str(rival)]["diverged_at"] is None]
    ends = [_measured(folder, rival, needed=True)[-1][axis] for rival in finished]
    return min(ends, default=math.inf)


def _measured(folder: RunFolder, arm: Arm, *, needed: bool = False) -> list[Row]:
    """The lines of an arm's metrics that hold a measured value, or null in its place, as ``test``.

    Raises: DataError if the value is ``needed`` and no line has it.
    """
    return [line for line in folder.metrics(str(arm), needed="test" if needed else None) if "test" in line]


def table(lines: list[Row], zero: Row | None, config: Config) -> str:
    """The results as a Markdown table, a row for each line of the summary, with intervals over the seeds.

    ``zero`` is the error of always predicting zero, or None.
    """
    head = ["arm", "median query MSE", "mean", "at equal steps", "at equal time", "equivariance error"]
    keys = ("query_mse_median", "query_mse", "at_equal_steps", "at_equal_seconds", "equivariance_error")
    body = [["zero predictor", "", "none" if zero is None else f"{zero['mean']:.2e}", "", "", "", "", "", ""]]
    for line in lines:
        cells = [cell(line[key], 1) for key in keys]
        note = f"{line['diverged']} of {config.seeds} diverged" if line["diverged"] else ""
        steps = " to ".join(str(n) for n in dict.fromkeys((line["outer_steps"][0], line["outer_steps"][-1])))
        body.append([line["arm"], *cells, steps, f"{line['seconds']['mean']:.1f}", note])
    return format_table([*head, "steps", "seconds", "note"], body)


if __name__ == "__main__":
    sys.exit(main(Config, run))
