"""Translation tasks of rank 1, 2 or 5: which models learn the shared filters, and which the pattern (Table 1)?

Source: arXiv:2007.02933, section 5.1. Models: MAML on a fully connected, a locally connected and a convolutional
layer; MSR, which meta-learns ``U``; MTSR, which fits ``U`` and every task's ``v`` jointly, with no query set; and an
oracle that is given the true ``U``. Each is adapted by a few gradient steps (``sgd``) or in closed form (``ridge``).
"""

import math
import sys
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from experiments.figures.translation import draw_patterns, draw_weights, table
from experiments.shared.closed_form import SpanFit, fit_span_or_reason, parse_k
from experiments.shared.layers import LocallyConnected1d, with_pattern
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError
from msr.layers import ReparamLinear
from msr.meta import SGD, InnerSolver, Learner, OuterLoop, Ridge, evaluate, from_module
from msr.report import figures
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import DataFlags, DeviceFlags, EngineFlags, SeedFlags, TaskFlags, TrainingFlags
from msr.runs.flags import EXAMPLES, INNER_STEPS, SIZE, STEPS, chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import (
    finite_or_none,
    judged,
    least_cosine,
    over_seeds,
    stability,
    zero_predictor,
)
from msr.runs.training import Trained, batches_of, restored, train, trained_params, trained_row, with_adam
from msr.sharing import DenseSharing
from msr.span.angles import span_cosine
from msr.tasks import FileTasks, KeptTasks, TaskFamily, generator_for
from tasks import TranslationTasks

MODELS = ("fc", "lc", "conv", "msr", "mtsr", "oracle")
INNERS = ("sgd", "ridge", "direct")
RATE = 0.1
"""The start of the learned inner rate in the released code."""
REFERENCE_K = {1: 3, 2: 6, 5: 30}
"""Numbers that a task fits in the released code, by rank."""
EXAMPLES_OF_A_TASK = 20
"""Support and query together, as in the paper."""
MEASURED = 100
"""Held-out tasks that the curves are measured on."""


@dataclass(frozen=True)
class Config(TaskFlags, EngineFlags, DataFlags, TrainingFlags, DeviceFlags, SeedFlags):
    """Learn how translation tasks share their weights, and compare with the truth."""

    rank: int = option(
        2, "filters mixed at each position; 1 is a convolution, the paper has 1, 2, 5", least=1, most=1000
    )
    models: str = option("conv,msr,mtsr,oracle", "comma list of fc, lc, conv, msr, mtsr, oracle")
    inner: str = option("sgd,ridge,direct", "comma list: gradient steps, closed form, U in closed form too (msr only)")
    inner_steps: int = option(3, "gradient steps of the inner loop (the released code has 1)", **INNER_STEPS)
    outer_steps: int = option(0, "outer steps; 0: 1000 for sgd, 400 a rank for ridge", **STEPS | {"least": 0})
    shots: int = option(1, "support examples a task, of 20", **EXAMPLES)
    k: str = option("0", "numbers each task fits; 0: kernel x rank (sgd at rank 5: 30, as the paper); auto: found")
    init: Literal["auto", "scaled", "reference"] = option(
        "auto", "start of U and v: scaled, reference (the paper's code), auto: reference for sgd"
    )
    boundary: Literal["valid", "circular"] = option("valid", "valid (the paper's) or circular")
    kernel: int = option(3, "taps of a filter", **SIZE)
    length: int = option(70, "length of a signal", **SIZE)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib or the ``--engine``."""
        super().check()
        models = chosen(self.models, MODELS, "model")
        inners = chosen(self.inner, INNERS, "inner solver")
        # The direct arm fits its tasks in closed form as well.
        if self.engine != "torch" and {"ridge", "direct"} & set(inners):
            raise ConfigError(f"--engine {self.engine} takes gradient steps only; give --inner sgd, or --engine torch")
        figures.require()
        if self.data:
            because = "describes tasks that are made here; with --data the file decides"
            self.refuse_flags("tasks", "length", "boundary", "noise", because=because)
        parse_k(self.k)
        if self.k == "auto" and not {"msr", "mtsr"} & set(models):
            raise ConfigError(f"--k auto is for msr and mtsr, whose k is free; got --models {self.models}")
        if inners == ["direct"] and "msr" not in models:
            raise ConfigError(f"--inner direct finds U, which --models msr alone learns; got --models {self.models}")

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of the true span in double precision, and of the examples of a step and of held-out tasks in single.

        Empty with ``--data``, where the file decides.
        """
        if self.data:
            return {}
        # The bytes of a task's x and y in single precision.
        examples = 8 * self.length * max(EXAMPLES_OF_A_TASK, self.shots + 1)
        span = 8.0 * self.length * max(1, self.length - self.kernel + 1) * self.kernel * self.rank
        return {
            "--length, --kernel or --rank": span,
            "--batch, --length or --shots": examples * self.batch,
            "--test-tasks, --length or --shots": examples * self.test_tasks,
        }


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A model and the solver by which it adapts, with a seed."""

    model: str
    inner: str
    seed: int

    @property
    def name(self) -> str:
        """``MODEL-SOLVER``."""
        return f"{self.model}-{self.inner}"


def joint_name(arm: Arm) -> str:
    """The name, of metrics and checkpoint, of MTSR's joint fit, which is the same for every solver of a seed."""
    return f"mtsr-joint-seed{arm.seed}"


@dataclass(frozen=True)
class Data:
    """A family, the shape of its layer, its first held-out tasks, its true span, and the span in closed form.

    ``weight_shape`` is ``(out, in)``. ``truth (out · in, k)`` is None where it is not known. ``direct`` is None where
    no closed form was asked for, or none exists for the reason ``why_not``, which is empty otherwise.
    """

    family: TaskFamily
    weight_shape: tuple[int, int]
    test: Episodes
    truth: Tensor | None
    direct: SpanFit | None
    why_not: str


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, a table and figures."""
    if config.quick:
        config = replace(config, outer_steps=config.outer_steps or 20, test_tasks=min(config.test_tasks, 20))
    first = load_data(config, config.seed)
    all_arms = [
        Arm(model, inner, seed)
        for seed in config.all_seeds
        for inner in chosen(config.inner, INNERS, "inner solver")
        for model in chosen(config.models, MODELS, "model")
        if inner != "direct" or (model == "msr" and first.direct)
    ]
    for arm in all_arms:
        build(arm, config, first)  # every fault of the flags shows before anything is written
    folder = RunFolder("translation", config)
    if first.why_not:
        print(f"the direct arm is left out: {first.why_not}", file=sys.stderr, flush=True)

    @lru_cache(maxsize=1)  # the arms of one seed come one after another
    def data_of(seed: int) -> Data:
        """:func:`load_data`, once for each seed."""
        return first if seed == config.seed else load_data(config, seed)

    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config, data_of(arm.seed), folder),
        draw=partial(draw, config, first, folder),
        measures="query MSE",
    )
    zero = zero_predictor(first.test)
    summary = arms.summarise(folder, all_arms, summary_line)
    text = table(summary, list(folder.rows.values()), config.seeds > 1, zero)
    arms.publish(folder, text, zero_predictor_mse=zero, summary=summary)
    draw(config, first, folder, all_arms)


def load_data(config: Config, seed: int) -> Data:
    """The family that a config describes for a seed, its held-out tasks, and the span in closed form where needed.

    Raises: DataError for a file of ``--data`` that does not fit, and where every arm needs a span and none is found.
    """
    family: TaskFamily
    if config.data:
        family = FileTasks(Path(config.data), shots=config.shots, seed=seed)
        shape = _weight_shape(family)
    else:
        made = TranslationTasks(
            rank=config.rank,
            kernel=config.kernel,
            length=config.length,
            boundary=config.boundary,
            noise=config.noise,
            shots=config.shots,
            queries=max(EXAMPLES_OF_A_TASK - config.shots, 1),
            n_train=config.tasks,
            n_test=config.test_tasks,
            seed=seed,
        )
        shape = made.weight_shape
        # The arms of a seed train on the same tasks.
        family = KeptTasks(made)
    n_test = min(config.test_tasks, family.n_tasks("test") or config.test_tasks)
    test = family.episodes("test", torch.arange(n_test)).to(config.device)
    k = parse_k(config.k)
    inners = chosen(config.inner, INNERS, "inner solver")
    span: SpanFit | None = None
    why_not = ""
    if k == "auto" or ("direct" in inners and "msr" in chosen(config.models, MODELS, "model")):
        # Without a span there is nothing to run where all arms need it; else the direct arm alone is left out.
        required = k == "auto" or inners == ["direct"]
        span, why_not = fit_span_or_reason(family, k or config.kernel * config.rank, required=required)
    return Data(family, shape, test, family.true_span(), span, why_not)


def _weight_shape(family: FileTasks) -> tuple[int, int]:
    """The shape ``(out, in)`` of a layer from the last axis of a file's x to that of its y.

    Raises: DataError where x and y differ in other axes, or y holds no real numbers.
    """
    x = family.arrays["x"]
    y = family.arrays["y"]
    if min(x.ndim, y.ndim) < 3 or x.shape[2:-1] != y.shape[2:-1] or y.dtype.kind != "f":
        raise DataError(
            f"{family.path}: this runner maps the last axis of x to that of y, both real numbers "
            f"(tasks, examples, ..., length); x is {x.shape} {x.dtype}, y is {y.shape} {y.dtype}"
        )
    return (y.shape[-1], x.shape[-1])


def build(arm: Arm, config: Config, data: Data) -> nn.Module:
    """The arm's layer before training, from signals to signals. Raises: ConfigError where data and model do not fit.

    For the solver ``direct`` it is the layer with the pattern and the start that were found in closed form.
    """
    m, n = data.weight_shape
    generator = generator_for(arm.seed, "init", arm.model)
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
        assert data.direct is not None
        pattern = DenseSharing.from_matrix(data.direct.span.U.float(), (m, n))
        solved = ReparamLinear(n, m, bias=False, sharing=pattern, generator=generator)
        with torch.no_grad():
            solved.v.copy_(data.direct.span.v0)
        return solved
    sharing = partial(DenseSharing, k=size_of_filter(arm, config, data), init=start_of(arm, config))
    return ReparamLinear(n, m, bias=False, sharing=sharing, generator=generator)


def size_of_filter(arm: Arm, config: Config, data: Data) -> int:
    """``k``, the length of ``v`` of a learned pattern: as asked by ``--k``, as found with ``auto``, or the default."""
    k = parse_k(config.k)
    if k == "auto" and data.direct:
        return data.direct.span.k
    return default_k(arm, config) if k in (0, "auto") else int(k)


def start_of(arm: Arm, config: Config) -> Literal["scaled", "reference"]:
    """How a learned pattern and its filter start.

    A random start of ``v``, which ``scaled`` makes, takes gradient steps hundreds of outer steps to unlearn; the closed
    form does not depend on where ``v`` starts. MTSR's joint fit is in closed form, whatever adapts afterwards.
    """
    if config.init != "auto":
        return config.init
    return "reference" if arm.inner == "sgd" and arm.model != "mtsr" else "scaled"


def default_k(arm: Arm, config: Config) -> int:
    """The default ``k``: kernel times rank, the true dimension, or the released code's for MSR by gradient steps.

    That is 30 at rank 5 with a kernel of 3, which gradient steps need.
    """
    if arm.model == "msr" and arm.inner == "sgd" and config.kernel == 3:
        return REFERENCE_K.get(config.rank, config.kernel * config.rank)
    return config.kernel * config.rank


def solver_of(arm: Arm, config: Config, data: Data) -> InnerSolver:
    """The solver by which an arm adapts: gradient steps with learned rates, or the closed form.

    The penalty of the closed form is learned; where ``U`` was found in closed form too, it is known and stays.
    """
    if arm.inner == "direct":
        assert data.direct is not None
        return Ridge(penalty=data.direct.span.penalty(config.shots * data.weight_shape[0]), learn=False)
    return SGD(steps=config.inner_steps, rate=RATE) if arm.inner == "sgd" else Ridge(penalty=1e-5)


def learner_for(layer: nn.Module, solver: InnerSolver, config: Config) -> Learner:
    """The learner that adapts a layer by a solver; the layer is moved to the config's device in place.

    It records the layer's small operations once and replays them.
    """
    # Of the engines, torch alone has closed forms.
    engine = config.engine if isinstance(solver, SGD) else "torch"
    return Learner(
        from_module(layer.to(config.device)).problem,
        solver,
        batching=config.batching,
        chunk_size=config.chunk_size or None,
        trace="auto",
        engine=engine,
    )


def outer_loop(learner: Learner, layer: nn.Module, inner: str, steps: int, device: str, rate: float) -> OuterLoop:
    """An outer loop by Adam for a learner and its layer, which is moved to the device in place.

    Args:
        inner: the inner solver, ``sgd``, ``ridge`` or ``direct``: with ``ridge`` the rate falls to zero along a cosine.
        steps: outer steps over which it falls.
        rate: Adam's learning rate.
    """
    _, shared, initial = from_module(layer.to(device))
    beta = 0.999 if inner == "sgd" else 0.95
    decay_steps = steps if inner == "ridge" else None
    return with_adam(learner, shared, initial, rate, beta=beta, decay_steps=decay_steps, fused=True)


def run_arm(arm: Arm, config: Config, data: Data, folder: RunFolder) -> Row:
    """The row of one arm, which is trained and then evaluated on the held-out tasks; MTSR is first fitted jointly.

    Checkpoints and metrics are written to the folder.
    """
    layer = build(arm, config, data)
    steps = 0 if arm.inner == "direct" else outer_steps(arm.inner, config)
    rate = 1e-3 if arm.inner == "sgd" else 2e-2
    joint = Trained()
    pattern = None
    if arm.model == "mtsr":
        pattern, joint = fit_jointly(arm, config, data, layer, outer_steps("ridge", config), folder)
        layer = with_pattern(pattern.cpu(), data.weight_shape, RATE)
        # With the pattern known, only the start of v and the solver's numbers remain to be learned.
        steps = max(steps // 4, 1)
        rate = 1e-2
    learner = learner_for(layer, solver_of(arm, config, data), config)
    loop = outer_loop(learner, layer, arm.inner, steps, config.device, rate)
    few = data.test.select(slice(0, MEASURED))
    trained = train(
        loop,
        folder,
        str(arm),
        batches_of(data.family, config.batch, config.device),
        steps,
        measure=lambda: evaluate(learner, loop.params, [few]).mean,
    )
    losses = learner.losses(loop.params, data.test)
    row: Row = {
        **judged("query_mse", losses),
        **trained_row(loop, trained),
    }
    if arm.model == "mtsr":
        assert pattern is not None
        row |= joint.row() if joint.diverged_at is not None else {}
        row["outer_steps"] += joint.steps
        row["seconds"] = round(joint.seconds + trained.seconds, 3)
        row["n_shared"] += pattern.numel()
    if arm.inner == "direct":
        assert data.direct is not None
        row["seconds"] = round(data.direct.seconds, 3)
    if arm.inner == "sgd":
        row["inner_gain"] = stability(str(arm), learner, loop.params, data.test, losses)
    if data.direct is not None and (arm.inner == "direct" or (config.k == "auto" and arm.model in ("msr", "mtsr"))):
        row["found"] = data.direct.summary()
    learned = loop.params.shared.get("sharing.U", pattern)
    if learned is not None and data.truth is not None:
        row["span_cosine"] = finite_or_none(span_cosine(learned.cpu(), data.truth))
    return row


def outer_steps(inner: str, config: Config) -> int:
    """How many outer steps a solver is trained for: as asked, or 1000 for ``sgd``, else 400 a rank."""
    return config.outer_steps or (1000 if inner == "sgd" else 400 * config.rank)


def fit_jointly(
    arm: Arm, config: Config, data: Data, layer: nn.Module, steps: int, folder: RunFolder
) -> tuple[Tensor, Trained]:
    """MTSR: the ``U`` that, with every task's ``v``, minimises the loss on all examples together, and how it went.

    Each ``v`` is solved exactly for the present ``U`` and held constant while ``U`` takes a step. At the minimum over
    ``v`` that is the gradient of the joint loss (envelope theorem), so no table of filters is kept. For the learner,
    support and query are the same examples, and nothing is differentiated through the fit.
    """
    learner = learner_for(layer, Ridge(penalty=1e-8, learn=False, first_order=True), config)
    loop = outer_loop(learner, layer, "ridge", steps, config.device, 2e-2)

    batches = batches_of(data.family, config.batch, config.device)

    def all_examples(step: int) -> tuple[Tensor, Episodes]:
        """The tasks of an outer step, with all of their examples both as support and as query."""
        tasks, episodes = batches(step)
        x, y = episodes.examples()
        return tasks, Episodes(x, y, x, y)

    trained = train(loop, folder, joint_name(arm), all_examples, steps)
    return loop.params.shared["sharing.U"], trained


def draw(config: Config, data: Data, folder: RunFolder, all_arms: list[Arm]) -> None:
    """Write the figures of the first seed: the curves, the weights of adapted tasks, the patterns, and span cosines.

    Arms without a checkpoint are left out; the figures of patterns are of ``msr`` and ``mtsr`` alone.
    """
    of_seed = [arm for arm in all_arms if arm.seed == config.seed]
    label = f"query MSE of {MEASURED} held-out tasks"
    arms.draw_curves(folder, {f"{arm.model}, {arm.inner}": arm for arm in of_seed}, label, log=True)
    patterns = {}
    for arm in of_seed:
        layer = build(arm, config, data)
        solver = solver_of(arm, config, data)
        if arm.model == "msr" and (trained := restored(folder, str(arm), layer, solver)):
            learner, params = trained
            patterns[f"msr, {arm.inner}"] = params.shared["sharing.U"]
            draw_weights(arm.name, learner, params, data.test, data.truth, folder)
        elif arm.model == "mtsr" and (joint := trained_params(folder, joint_name(arm))):
            # One joint fit serves every solver that adapts afterwards.
            patterns["mtsr"] = joint[0].shared["sharing.U"]
    if patterns:
        draw_patterns(patterns, data.truth, data.weight_shape, folder)


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """A summary row of one variant: estimates over its seeds, which have the arms ``variant`` and the ``rows``."""
    names = {"model": variant[0].model, "inner": variant[0].inner}
    return {**names, **over_seeds(rows, "query_mse"), **least_cosine(rows)}


if __name__ == "__main__":
    sys.exit(main(Config, run))
