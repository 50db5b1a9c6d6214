"""Two nonlinear equivariant layers: what fits the ``v`` of both, five gradient steps or Gauss-Newton.

Each task is ``y = W₂ σ(W₁ x)`` with both maps equivariant, regular to regular representation. Models: ``msr`` learns
the patterns of both layers, each with as many numbers as the truth has (``msr-double``: twice as many); ``oracle`` is
given the true spans. Solvers: ``sgd`` with learned rates; Gauss-Newton with the gradient through the steps
(``gn-unrolled``) or of the minimum (``gn-implicit``).

Query errors are compared, not spans: the network is the same for ``W₁ → P W₁, W₂ → W₂ P⁻¹`` with any matrix ``P`` that
σ commutes with, so a learned pattern is only one of many. What no such choice changes is how equivariant the adapted
networks are, ``‖f(ρx) − ρ f(x)‖ / ‖f(x)‖`` for the true group, so that is measured.
"""

import math
import sys
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from msr.episodes import Episodes
from msr.equivariance import equivariance_error as defects_on
from msr.errors import ConfigError, NonFiniteError
from msr.groups import cyclic, dihedral
from msr.layers import ReparamLinear
from msr.meta import SGD, GaussNewton, InnerSolver, Learner, OuterLoop, from_module
from msr.report import figures, format_table
from msr.representations import regular
from msr.runs.command import main
from msr.runs.config import NOISE, RATE, STEPS, TASKS, CommonConfig, chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import cell, curve, estimate_or_none, finite_or_none, judged, median, over_rows
from msr.runs.training import train
from msr.sharing import DenseSharing
from msr.tasks import FiniteGroupTasks
from msr.tasks.base import generator_for

GROUPS = {"c8": lambda: cyclic(8), "d4": lambda: dihedral(4)}
MODELS = ("msr", "msr-double", "oracle")
INNER: dict[str, float] = {"least": 1, "most": 10**4}
SOLVERS = ("sgd", "gn-unrolled", "gn-implicit")


@dataclass(frozen=True)
class Config(CommonConfig):
    """Learn the sharing of two layers at once, by gradient steps and by Gauss-Newton."""

    group: str = option("c8", "hidden group of order 8: c8 or d4")
    nonlinearity: str = option("relu", "between the layers: relu or tanh")
    models: str = option(",".join(MODELS), "comma list")
    solvers: str = option(",".join(SOLVERS), "comma list: how a task fits")
    inner_steps: int = option(5, "steps of sgd and of gn-unrolled", **INNER)
    implicit_steps: int = option(20, "steps of gn-implicit, which needs to arrive; its memory does not grow", **INNER)
    sgd_steps: int = option(8000, "outer steps of sgd; with an oracle a quarter", **STEPS)
    gn_steps: int = option(800, "outer steps of Gauss-Newton; with an oracle a quarter", **STEPS)
    sgd_rate: float = option(0.1, "start of sgd's inner rates, which are learned on a log scale", **RATE)
    outer_rate: float = option(1e-3, "Adam's rate for sgd", **RATE)
    tasks: int = option(8000, "meta-training tasks to draw from", **TASKS)
    test_tasks: int = option(300, "held-out tasks to report on", **TASKS)
    batch: int = option(32, "tasks an outer step", **TASKS)
    shots: int = option(8, "support examples a task, of 24", least=1, most=23)
    noise: float = option(0.0, "standard deviation of noise on y", **NOISE)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        super().check()
        chosen(self.models, MODELS, "model")
        chosen(self.solvers, SOLVERS, "solver")
        if self.group not in GROUPS:
            raise ConfigError(f"unknown group {self.group!r}; known: {', '.join(GROUPS)}")
        figures.require()
        if self.data:
            raise ConfigError("--data cannot be read here: this runner needs to know the truth of the tasks it makes")

    def bytes_needed(self) -> dict[str, float]:
        """Examples: 24 a task, of 8 inputs and 8 outputs."""
        return {"--batch": 4.0 * 24 * 16 * self.batch, "--test-tasks": 4.0 * 24 * 16 * self.test_tasks}


@dataclass(frozen=True)
class Arm:
    """One line of the table: a model, how it adapts, a seed."""

    model: str
    solver: str
    seed: int

    def __str__(self) -> str:
        return f"{self.name}-seed{self.seed}"

    @property
    def name(self) -> str:
        """The arm without its seed."""
        return f"{self.model}-{self.solver}"

    def outer_steps(self, config: Config) -> int:
        """As configured; an oracle has only the start of ``v`` and the solver's own numbers to learn."""
        steps = config.sgd_steps if self.solver == "sgd" else config.gn_steps
        return max(steps // 4, 1) if self.model == "oracle" else steps


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, a figure and a table."""
    if config.quick:
        config = replace(config, sgd_steps=16, gn_steps=8, test_tasks=min(config.test_tasks, 20))
    arms = [
        Arm(model, solver, seed)
        for seed in range(config.seed, config.seed + config.seeds)
        for model in chosen(config.models, MODELS, "model")
        for solver in chosen(config.solvers, SOLVERS, "solver")
    ]
    first = family_of(config, config.seed)
    for arm in arms:
        solver_of(arm, config)  # every fault of the flags shows before anything is written
    folder = RunFolder("deep", config)
    for arm in arms:
        if str(arm) not in folder.rows:
            folder.finish_arm(str(arm), run_arm(arm, config, folder))
    zero = estimate_or_none(test_set(first, config).query_y.square().flatten(1).mean(1))
    lines = summarise(config, folder, arms)
    results = folder.finish(zero_predictor_mse=zero, summary=lines)
    print(table(lines, zero, config))
    print(f"\nresults: {results}", file=sys.stderr)
    series = {}
    for arm in arms:
        if arm.seed == config.seed:
            series[arm.name] = curve(folder.metrics(str(arm)))
    label = f"median query MSE of {min(config.test_tasks, 100)} held-out tasks"
    folder.draw("curve.png", figures.curves(series, ylabel=label, log=True))


def family_of(config: Config, seed: int) -> FiniteGroupTasks:
    """Tasks of two layers, regular to regular representation."""
    rep = regular(GROUPS[config.group]())
    return FiniteGroupTasks(
        rep_in=rep,
        rep_out=rep,
        hidden=rep,
        nonlinearity=config.nonlinearity,  # type: ignore[arg-type]
        noise=config.noise,
        shots=config.shots,
        queries=24 - config.shots,
        n_train=config.tasks,
        n_test=config.test_tasks,
        seed=seed,
    )


def test_set(family: FiniteGroupTasks, config: Config) -> Episodes:
    """All held-out tasks."""
    return family.episodes("test", torch.arange(config.test_tasks)).to(config.device)


def build(arm: Arm, family: FiniteGroupTasks) -> nn.Sequential:
    """Two layers without biases, as the tasks have none."""
    generator, layers = generator_for(arm.seed, "init", arm.model), []
    for span in family.truth.spans:
        n = math.isqrt(span.shape[0])
        sharing = partial(DenseSharing, k=span.shape[1] * (2 if arm.model == "msr-double" else 1))
        if arm.model == "oracle":  # columns of the length that makes weights of the tasks' size from v ~ N(0, 1)
            matrix = span.to(torch.get_default_dtype()) * math.sqrt(n / span.shape[1])
            given = DenseSharing.from_matrix(matrix, (n, n), learn=False)
            layers.append(ReparamLinear(n, n, bias=False, sharing=given, generator=generator))
        else:
            layers.append(ReparamLinear(n, n, bias=False, sharing=sharing, generator=generator))
    return nn.Sequential(layers[0], nn.ReLU() if family.nonlinearity == "relu" else nn.Tanh(), layers[1])


def solver_of(arm: Arm, config: Config) -> InnerSolver:
    """The inner loop of an arm."""
    if arm.solver == "sgd":
        return SGD(steps=config.inner_steps, rate=config.sgd_rate, scale="log")
    if arm.solver == "gn-unrolled":
        return GaussNewton(steps=config.inner_steps, damping=0.1)
    return GaussNewton(steps=config.implicit_steps, damping=0.1, gradient="implicit", curvature="gauss_newton")


def outer_loop(arm: Arm, config: Config, family: FiniteGroupTasks) -> OuterLoop:
    """Adam with a cosine decay and a clipped gradient; gradient steps bear a smaller rate than Gauss-Newton."""
    problem, shared, initial = from_module(build(arm, family).to(config.device))
    learner = Learner(
        problem,
        solver_of(arm, config),
        batching=config.batching,  # type: ignore[arg-type]
        chunk_size=config.chunk_size or None,
        trace=False if config.quick else "auto",  # a few steps take less time than recording one
    )
    rate, beta = (config.outer_rate, 0.999) if arm.solver == "sgd" else (2e-2, 0.95)
    return OuterLoop(
        learner,
        learner.init(shared, initial),
        partial(torch.optim.Adam, lr=rate, betas=(0.9, beta)),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=arm.outer_steps(config)),
        clip_norm=1.0,
    )


def run_arm(arm: Arm, config: Config, folder: RunFolder) -> Row:
    """Train one arm and evaluate it on the held-out tasks; one that diverges is judged where it last was finite."""
    family = family_of(config, arm.seed)
    loop, test = outer_loop(arm, config, family), test_set(family, config)
    few = test.select(slice(0, 100))

    def sample(step: int) -> tuple[Tensor, Episodes]:
        tasks = family.draw("train", step, config.batch)
        return tasks, family.episodes("train", tasks).to(config.device)

    trained = train(
        loop, folder, str(arm), sample, arm.outer_steps(config), measure=lambda: median(query_mse(loop, few))
    )
    return {
        "model": arm.model,
        "solver": arm.solver,
        "seed": arm.seed,
        **judged("query_mse", query_mse(loop, test)),
        **trained.row(),
        "equivariance_error": equivariance_error(loop, test, family),
        "outer_steps": loop.steps_done,
        "seconds": round(trained.seconds, 3),
        "batching": loop.learner.batching,
        "n_adapted": sum(p.numel() for p in loop.params.initial.values()),
        "n_shared": sum(p.numel() for p in loop.params.shared.values()),
        "inner": {name: finite_or_none(value.exp()) for name, value in loop.params.inner.items()},
    }


@torch.no_grad()
def query_mse(loop: OuterLoop, episodes: Episodes) -> Tensor:
    """Of each task after adapting, ``(tasks,)``."""
    return loop.learner.losses(loop.params, episodes).cpu()


@torch.no_grad()
def equivariance_error(loop: OuterLoop, episodes: Episodes, family: FiniteGroupTasks) -> float | None:
    """The defect of the adapted networks: of each the worst over generators, then the median over tasks, or None.

    The defect is that of :func:`msr.equivariance.equivariance_error` on the task's query inputs: 0 commutes with the
    group, 1 is what unrelated outputs give, √2 is the worst. A network whose outputs are not finite counts as the worst.
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


def summarise(config: Config, folder: RunFolder, arms: list[Arm]) -> list[Row]:
    """Over seeds for each arm; medians at equal outer steps and at equal time are read off the curves.

    Equal means: what the arm of the same model and seed with the fewest steps, or seconds, had; one that diverged does
    not count, and keeps its last value.
    """
    lines = []
    for name in dict.fromkeys(arm.name for arm in arms):
        own = [arm for arm in arms if arm.name == name]
        rows = [folder.rows[str(arm)] for arm in own]
        line: Row = {"arm": name, "outer_steps": sorted(row["outer_steps"] for row in rows)}
        for key in ("query_mse_median", "equivariance_error", "seconds"):
            line[key] = over_rows(rows, key)
        line["query_mse"] = over_rows(rows, "query_mse", "mean")
        line["diverged"] = sum(row["diverged_at"] is not None for row in rows)
        for key, axis in (("at_equal_steps", "step"), ("at_equal_seconds", "seconds")):
            found = []
            for arm in own:
                rivals = [a for a in arms if (a.model, a.seed) == (arm.model, arm.seed)]
                finished = [a for a in rivals if folder.rows[str(a)]["diverged_at"] is None]
                ends = [_measured(folder, a, needed=True)[-1][axis] for a in finished]
                before = [m["test"] for m in _measured(folder, arm) if m[axis] <= min(ends, default=math.inf)]
                found += before[-1:]
            line[key] = estimate_or_none(found) if len(found) == len(own) else None
        lines.append(line)
    return lines


def _measured(folder: RunFolder, arm: Arm, *, needed: bool = False) -> list[Row]:
    """An arm's lines with a test value, or null in its place; not those of other events."""
    return [line for line in folder.metrics(str(arm), needed="test" if needed else None) if "test" in line]


def table(lines: list[Row], zero: Row | None, config: Config) -> str:
    """The results as text, with intervals over seeds."""
    head = ["arm", "median query MSE", "mean", "at equal steps", "at equal time", "equivariance error"]
    body = [["zero predictor", "", "none" if zero is None else f"{zero['mean']:.2e}", "", "", "", "", "", ""]]
    for line in lines:
        keys = ("query_mse_median", "query_mse", "at_equal_steps", "at_equal_seconds", "equivariance_error")
        cells = [cell(line[key], 1) for key in keys]
        ends = f"{line['diverged']} of {config.seeds} diverged" if line["diverged"] else ""
        steps = " to ".join(str(n) for n in dict.fromkeys((line["outer_steps"][0], line["outer_steps"][-1])))
        body.append([line["arm"], *cells, steps, f"{line['seconds']['mean']:.1f}", ends])
    return format_table([*head, "steps", "seconds", "note"], body)


if __name__ == "__main__":
    sys.exit(main(Config, run))
