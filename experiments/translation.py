"""Translation tasks of rank 1, 2 or 5: which models find the shared filters, and which find the pattern (Table 1).

Source: arXiv:2007.02933, section 5.1. Models: MAML on a fully connected, a locally connected and a convolutional
layer; MSR, which meta-learns ``U``; MTSR, which fits ``U`` and every task's ``v`` jointly, with no query set; and an
oracle that is given the true ``U``. Each is adapted by a few gradient steps (``sgd``) or in closed form (``ridge``).
"""

import math
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.figures.translation import draw_patterns, draw_weights, table
from experiments.shared.closed_form import FoundSpan, found_or_why_not, parse_k
from experiments.shared.models import LocallyConnected1d, with_pattern
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError
from msr.layers import ReparamLinear
from msr.meta import SGD, InnerSolver, Learner, OuterLoop, Ridge, evaluate, from_module
from msr.report import figures
from msr.runs.command import main
from msr.runs.config import EXAMPLES, INNER_STEPS, NOISE, SIZE, STEPS, TASKS, EngineConfig, chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import curve, estimate_or_none, finite_or_none, judged, over_rows, stability
from msr.runs.training import Trained, restored, train, trained_params
from msr.sharing import DenseSharing
from msr.span.angles import span_cosine
from msr.statistics.estimate import Estimate
from msr.tasks import TaskFamily
from msr.tasks.base import generator_for
from tasks import TranslationTasks
from tasks.files import FileTasks

MODELS = ("fc", "lc", "conv", "msr", "mtsr", "oracle")
INNERS = ("sgd", "ridge", "direct")
INITS = ("auto", "scaled", "reference")
RATE = 0.1  # the reference's start of the learned inner rate
REFERENCE_K = {1: 3, 2: 6, 5: 30}


@dataclass(frozen=True)
class Config(EngineConfig):
    """Learn how translation tasks share their weights, and compare with the truth."""

    rank: int = option(
        2, "filters mixed at each position; 1 is a convolution, the paper has 1, 2, 5", least=1, most=1000
    )
    models: str = option("conv,msr,mtsr,oracle", "comma list of fc, lc, conv, msr, mtsr, oracle")
    inner: str = option("sgd,ridge,direct", "comma list: gradient steps, closed form, U in closed form too (msr only)")
    inner_steps: int = option(3, "gradient steps of the inner loop (the released code has 1)", **INNER_STEPS)
    outer_steps: int = option(0, "outer steps; 0: 1000 for sgd, 400 a rank for ridge", **STEPS | {"least": 0})
    tasks: int = option(8000, "meta-training tasks to draw from", **TASKS)
    test_tasks: int = option(300, "held-out tasks to report on", **TASKS)
    batch: int = option(32, "tasks an outer step", **TASKS)
    shots: int = option(1, "support examples a task, of 20", **EXAMPLES)
    k: str = option("0", "numbers each task fits; 0: kernel x rank (sgd at rank 5: 30, as the paper); auto: found")
    init: str = option("auto", "start of U and v: scaled, reference (the paper's code), auto: reference for sgd")
    boundary: str = option("valid", "valid (the paper's) or circular")
    kernel: int = option(3, "taps of a filter", **SIZE)
    length: int = option(70, "length of a signal", **SIZE)
    noise: float = option(0.0, "standard deviation of noise on y", **NOISE)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        super().check()
        chosen(self.models, MODELS, "model")
        chosen(self.inner, INNERS, "inner solver")
        chosen(self.init, INITS, "init")
        if self.engine != "torch" and "ridge" in chosen(self.inner, INNERS, "inner solver"):
            raise ConfigError(f"--engine {self.engine} takes gradient steps only; give --inner sgd, or --engine torch")
        figures.require()
        if self.data:
            because = "describes tasks that are made here; with --data the file decides"
            self.leave("tasks", "length", "boundary", "noise", because=because)
        parse_k(self.k)
        if self.k == "auto" and not {"msr", "mtsr"} & set(chosen(self.models, MODELS, "model")):
            raise ConfigError(f"--k auto is for msr and mtsr, whose k is free; got --models {self.models}")
        if chosen(self.inner, INNERS, "inner solver") == ["direct"] and "msr" not in chosen(
            self.models, MODELS, "model"
        ):
            raise ConfigError(f"--inner direct finds U, which --models msr alone learns; got --models {self.models}")

    def bytes_needed(self) -> dict[str, float]:
        """The true span in double precision, or a learned pattern with its slope and Adam's two moments; examples."""
        if self.data:
            return {}
        numbers = 8 * self.length * max(20, self.shots + 1)  # of x and y in single precision
        span = 8.0 * self.length * max(1, self.length - self.kernel + 1) * self.kernel * self.rank
        return {
            "--length, --kernel or --rank": span,
            "--batch, --length or --shots": numbers * self.batch,
            "--test-tasks, --length or --shots": numbers * self.test_tasks,
        }


@dataclass(frozen=True)
class Arm:
    """One line of the table: a model, how it adapts, a seed."""

    model: str
    inner: str
    seed: int

    def __str__(self) -> str:
        return f"{self.model}-{self.inner}-seed{self.seed}"


def joint_name(arm: Arm) -> str:
    """The checkpoint of MTSR's joint fit, which is the same for every way to adapt afterwards."""
    return f"mtsr-joint-seed{arm.seed}"


@dataclass(frozen=True)
class Data:
    """A family, its layer's shape, its first held-out tasks, the truth if it is known, the span if it is found."""

    family: TaskFamily
    weight_shape: tuple[int, int]
    test: Episodes
    truth: Tensor | None
    found: FoundSpan | None
    why_not: str


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, figures and a table."""
    if config.quick:
        config = replace(config, outer_steps=config.outer_steps or 20, test_tasks=min(config.test_tasks, 20))
    first = load_data(config, config.seed)
    arms = [
        Arm(model, inner, seed)
        for seed in range(config.seed, config.seed + config.seeds)
        for inner in chosen(config.inner, INNERS, "inner solver")
        for model in chosen(config.models, MODELS, "model")
        if inner != "direct" or (model == "msr" and first.found)
    ]
    for arm in arms:
        build(arm, config, first)  # every fault of the flags shows before anything is written
    folder = RunFolder("translation", config)
    if first.why_not:
        print(f"the direct arm is left out: {first.why_not}", file=sys.stderr, flush=True)
    for arm in arms:
        if str(arm) not in folder.rows:
            data = first if arm.seed == config.seed else load_data(config, arm.seed)
            folder.finish_arm(str(arm), run_arm(arm, config, data, folder))
    zero = estimate_or_none(first.test.query_y.square().flatten(1).mean(1))
    results = folder.finish(zero_predictor_mse=zero, summary=summarise(folder, arms))
    many = len({arm.seed for arm in arms}) > 1
    print(table(summarise(folder, arms), list(folder.rows.values()), many, zero))
    print(f"\nresults: {results}", file=sys.stderr)
    draw(config, first, folder, arms)


def load_data(config: Config, seed: int) -> Data:
    """The family that a config describes, and its test tasks."""
    family: TaskFamily
    if config.data:
        family = FileTasks(Path(config.data), shots=config.shots, seed=seed)
        x, y = family.arrays["x"], family.arrays["y"]
        if min(x.ndim, y.ndim) < 3 or x.shape[2:-1] != y.shape[2:-1] or y.dtype.kind != "f":
            raise DataError(
                f"{config.data}: this runner maps the last axis of x to that of y, both real numbers "
                f"(tasks, examples, ..., length); x is {x.shape} {x.dtype}, y is {y.shape} {y.dtype}"
            )
        shape = (y.shape[-1], x.shape[-1])
    else:
        family = TranslationTasks(
            rank=config.rank,
            kernel=config.kernel,
            length=config.length,
            boundary=config.boundary,  # type: ignore[arg-type]
            noise=config.noise,
            shots=config.shots,
            queries=max(20 - config.shots, 1),
            n_train=config.tasks,
            n_test=config.test_tasks,
            seed=seed,
        )
        shape = family.weight_shape
    n_test = min(config.test_tasks, family.n_tasks("test") or config.test_tasks)
    test = family.episodes("test", torch.arange(n_test)).to(config.device)
    k, found, why = parse_k(config.k), None, ""
    inner, models = chosen(config.inner, INNERS, "inner solver"), chosen(config.models, MODELS, "model")
    if k == "auto" or ("direct" in inner and "msr" in models):
        only = k == "auto" or inner == ["direct"]
        found, why = found_or_why_not(family, k or config.kernel * config.rank, required=only)
    return Data(family, shape, test, family.true_span(), found, why)


def build(arm: Arm, config: Config, data: Data) -> nn.Module:
    """The arm's layer."""
    (m, n), generator = data.weight_shape, generator_for(arm.seed, "init", arm.model)
    if arm.model == "fc":
        layer = nn.Linear(n, m, bias=False, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            layer.weight.uniform_(-1 / math.sqrt(n), 1 / math.sqrt(n), generator=generator)
        return layer
    if arm.model in ("lc", "conv"):
        if m not in (n, n - config.kernel + 1):
            raise ConfigError(
                f"--models {arm.model}: with --kernel {config.kernel} an input of {n} gives {n - config.kernel + 1} or "
                f"{n} outputs, but the data has {m}"
            )
        return LocallyConnected1d(n, config.kernel, m, one_filter=arm.model == "conv", generator=generator)
    if arm.model == "oracle":
        if data.truth is None:
            raise ConfigError("--models oracle needs the truth, but the data has no array w of a known form")
        return with_pattern(data.truth, data.weight_shape, RATE)
    if arm.inner == "direct":
        assert data.found is not None
        span = data.found.span
        pattern = DenseSharing.from_matrix(span.U.float(), (m, n))
        found = ReparamLinear(n, m, bias=False, sharing=pattern, generator=generator)
        with torch.no_grad():
            found.v.copy_(span.v0)
        return found
    k = parse_k(config.k) or default_k(arm, config)
    if k == "auto":
        k = data.found.span.k if data.found else default_k(arm, config)
    # A random start of v, which "scaled" makes, costs gradient steps hundreds of outer steps to unlearn; the closed
    # form does not care where v starts.
    by_gradient = arm.inner == "sgd" and arm.model != "mtsr"  # MTSR's joint fit is in closed form either way
    init = ("reference" if by_gradient else "scaled") if config.init == "auto" else config.init
    sharing = partial(DenseSharing, k=k, init=init)  # type: ignore[arg-type]
    return ReparamLinear(n, m, bias=False, sharing=sharing, generator=generator)


def default_k(arm: Arm, config: Config) -> int:
    """Kernel times rank, the true dimension; the reference takes 30 at rank 5, which its gradient steps need."""
    if arm.model == "msr" and arm.inner == "sgd" and config.kernel == 3:
        return REFERENCE_K.get(config.rank, config.kernel * config.rank)
    return config.kernel * config.rank


def solver_of(arm: Arm, config: Config, data: Data) -> InnerSolver:
    """Gradient steps with learned rates, or the closed form with a penalty that is learned or, if direct, known."""
    if arm.inner == "direct":
        assert data.found is not None
        return Ridge(penalty=data.found.span.penalty(config.shots * data.weight_shape[0]), learn=False)
    return SGD(steps=config.inner_steps, rate=RATE) if arm.inner == "sgd" else Ridge(penalty=1e-5)


def learner_for(layer: nn.Module, solver: InnerSolver, config: Config) -> Learner:
    """The engine on this layer; ours records its small operations and replays them, and alone has closed forms."""
    engine = config.engine if isinstance(solver, SGD) else "torch"
    return Learner(
        from_module(layer.to(config.device)).problem,
        solver,
        batching=config.batching,  # type: ignore[arg-type]
        chunk_size=config.chunk_size or None,
        trace="auto",
        engine=engine,  # type: ignore[arg-type]
    )


def outer_loop(learner: Learner, layer: nn.Module, inner: str, steps: int, device: str, rate: float) -> OuterLoop:
    """The reference's Adam for gradient steps; a faster one with a cosine decay for the closed form."""
    _, shared, initial = from_module(layer.to(device))
    optimizer = partial(torch.optim.Adam, lr=rate, betas=(0.9, 0.999 if inner == "sgd" else 0.95), fused=True)
    decay = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max(steps, 1))
    scheduler = decay if inner == "ridge" else None
    return OuterLoop(learner, learner.init(shared, initial), optimizer, scheduler=scheduler)


def run_arm(arm: Arm, config: Config, data: Data, folder: RunFolder) -> Row:
    """Train one arm and evaluate it on the held-out tasks."""
    layer = build(arm, config, data)
    steps = 0 if arm.inner == "direct" else config.outer_steps or (1000 if arm.inner == "sgd" else 400 * config.rank)
    rate, joint, pattern = (1e-3 if arm.inner == "sgd" else 2e-2), Trained(), None
    if arm.model == "mtsr":
        pattern, joint = fit_jointly(arm, config, data, layer, config.outer_steps or 400 * config.rank, folder)
        layer = with_pattern(pattern.cpu(), data.weight_shape, RATE)
        steps, rate = max(steps // 4, 1), 1e-2
    learner = learner_for(layer, solver_of(arm, config, data), config)
    loop = outer_loop(learner, layer, arm.inner, steps, config.device, rate)
    few = data.test.select(slice(0, 100))
    trained = train(
        loop,
        folder,
        str(arm),
        partial(sample, data.family, config),
        steps,
        measure=lambda: evaluate(learner, loop.params, [few]).mean,
    )
    seconds = joint.seconds + trained.seconds
    if arm.inner == "direct":
        assert data.found is not None
        seconds = data.found.seconds
    losses = learner.losses(loop.params, data.test)
    row: Row = {
        "model": arm.model,
        "inner": arm.inner,
        "seed": arm.seed,
        **judged("query_mse", losses),
        **(joint if joint.diverged_at is not None else trained).row(),
        "outer_steps": loop.steps_done + joint.steps,
        "seconds": round(seconds, 3),
        "batching": learner.batching,
        "n_adapted": sum(p.numel() for p in loop.params.initial.values()),
        "n_shared": sum(p.numel() for p in loop.params.shared.values()) + (0 if pattern is None else pattern.numel()),
    }
    if arm.inner == "sgd":
        row["inner_gain"] = stability(str(arm), learner, loop.params, data.test, losses)
    if data.found is not None and (arm.inner == "direct" or (config.k == "auto" and arm.model in ("msr", "mtsr"))):
        row["found"] = data.found.summary()
    learned = loop.params.shared.get("sharing.U", pattern)
    if learned is not None and data.truth is not None:
        row["span_cosine"] = finite_or_none(span_cosine(learned.cpu(), data.truth))
    return row


def sample(family: TaskFamily, config: Config, step: int) -> tuple[Tensor, Episodes]:
    """The tasks of one outer step."""
    tasks = family.draw("train", step, config.batch)
    return tasks, family.episodes("train", tasks).to(config.device)


def fit_jointly(
    arm: Arm, config: Config, data: Data, layer: nn.Module, steps: int, folder: RunFolder
) -> tuple[Tensor, Trained]:
    """MTSR: ``U`` and every task's ``v`` minimise the loss on all examples together.

    Each ``v`` is solved exactly for the present ``U`` and held constant while ``U`` steps. At the minimum over ``v``
    that is the gradient of the joint loss (envelope theorem), so no table of filters is kept. In the engine's terms:
    support and query are the same examples, and nothing is differentiated through the fit.
    """
    learner = learner_for(layer, Ridge(penalty=1e-8, learn=False, first_order=True), config)
    loop = outer_loop(learner, layer, "ridge", steps, config.device, 2e-2)

    def everything(step: int) -> tuple[Tensor, Episodes]:
        tasks, e = sample(data.family, config, step)
        x, y = e.examples()
        return tasks, Episodes(x, y, x, y)

    trained = train(loop, folder, joint_name(arm), everything, steps)
    return loop.params.shared["sharing.U"], trained


def draw(config: Config, data: Data, folder: RunFolder, arms: list[Arm]) -> None:
    """Figures of the first seed: weights of adapted tasks, the pattern, the span, the curves."""
    of_seed = [arm for arm in arms if arm.seed == config.seed]
    series = {}
    for arm in of_seed:
        steps = folder.metrics(str(arm))
        if steps:  # what is fitted in closed form takes no steps
            series[f"{arm.model}, {arm.inner}"] = curve(steps)
    if series:
        folder.draw("curve.png", figures.curves(series, ylabel="query MSE of 100 held-out tasks", log=True))
    patterns = {}
    for arm in of_seed:
        layer, solver = build(arm, config, data), solver_of(arm, config, data)
        if arm.model == "msr" and (found := restored(folder, str(arm), layer, solver)):
            learner, params = found
            patterns[f"msr, {arm.inner}"] = params.shared["sharing.U"]
            draw_weights(f"msr-{arm.inner}", learner, params, data.test, data.truth, folder)
        elif arm.model == "mtsr" and (joint := trained_params(folder, joint_name(arm))):
            patterns["mtsr"] = joint[0].shared["sharing.U"]  # one joint fit serves both ways to adapt
    if patterns:
        draw_patterns(patterns, data.truth, data.weight_shape, folder)


def summarise(folder: RunFolder, arms: list[Arm]) -> list[Row]:
    """Mean over seeds for each model and solver; the interval is over seeds."""
    lines = []
    for model, inner in dict.fromkeys((arm.model, arm.inner) for arm in arms):
        rows = [folder.rows[str(arm)] for arm in arms if (arm.model, arm.inner) == (model, inner)]
        line: Row = {
            "model": model,
            "inner": inner,
            "query_mse": over_rows(rows, "query_mse", "mean"),
            "query_mse_median": over_rows(rows, "query_mse_median"),
            "diverged": sum(row["diverged"] for row in rows),
            "seconds": Estimate.of([row["seconds"] for row in rows]).to_dict(),
        }
        if "span_cosine" in rows[0]:
            line["span_cosine_min"] = min((c for row in rows if (c := row["span_cosine"]) is not None), default=None)
        lines.append(line)
    return lines


if __name__ == "__main__":
    sys.exit(main(Config, run))
