"""Rotation and flip tasks: which models find how the filters of a convolution turn into one another (Table 2).

Source: arXiv:2007.02933, section 5.2. Models: MAML on a convolution with the released code's inner rate (``conv``),
with one that suits its loss (``conv-tuned``), and in closed form (``conv-ridge``); MSR with Kronecker factors
(``msr-kron``, the published one) and with a dense ``U``, adapted by gradient steps (``msr-dense``) or in closed form
(``msr-ridge``); and a convolution that is given the true span (``oracle-sgd``, ``oracle-ridge``).
"""

import math
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.figures.rotation import draw_filters, table
from experiments.shared.closed_form import found_dimension
from msr.episodes import Episodes
from msr.errors import ConfigError
from msr.layers import ReparamConv2d
from msr.meta import SGD, InnerSolver, Learner, MetaParameters, OuterLoop, Ridge, evaluate, from_module
from msr.report import figures
from msr.runs import judging
from msr.runs.command import main
from msr.runs.config import INNER_STEPS, NOISE, STEPS, TASKS, CommonConfig, chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import estimate_or_none, finite_or_none, over_rows
from msr.runs.training import restored, train
from msr.sharing import DenseSharing, SharingFactory
from msr.span.angles import span_cosine
from msr.statistics.estimate import Estimate
from msr.tasks.base import generator_for
from tasks import RotationTasks
from tasks.rotation import condensed, rotation_defect

DENSE = ("msr-dense", "msr-ridge")
MODELS = ("conv", "conv-tuned", "conv-ridge", "msr-kron", *DENSE, "oracle-sgd", "oracle-ridge")
RATE = 0.1  # the reference's start of the learned inner rate
K_MAX = math.pi / 2  # the defect is measured on waves of at least 4 pixels
CHUNK = 32  # tasks whose images are in memory at a time


@dataclass(frozen=True)
class Config(CommonConfig):
    """Learn how the filters of a convolution turn into one another, and compare with the truth."""

    group: str = option("c8", "turns by 90 or 45 degrees, c4 or c8; with flips d4 or d8; the paper has c8 and d8")
    models: str = option(",".join(MODELS), "comma list")
    k: str = option("", "numbers each task fits in the dense models, comma list, or auto; default: the true 18, and 36")
    inner_steps: int = option(1, "gradient steps of the inner loop (1 in the released code)", **INNER_STEPS)
    outer_steps: int = option(
        0, "outer steps; 0: 1000 by gradient; closed form 400, or 50 without a pattern", **STEPS | {"least": 0}
    )
    tasks: int = option(8000, "meta-training tasks to draw from", **TASKS)
    test_tasks: int = option(300, "held-out tasks to report on", **TASKS)
    batch: int = option(32, "tasks an outer step", **TASKS)
    shots: int = option(1, "support examples a task, of 20", least=1, most=19)
    size: int = option(32, "height and width of an image", least=1, most=10**4)
    kernel: int = option(3, "height and width of a filter, odd", least=1, most=99)
    noise: float = option(0.0, "standard deviation of noise on y", **NOISE)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        super().check()
        chosen(self.models, MODELS, "model")
        _numbers(self.k)
        figures.require()
        if self.data:
            self.leave("tasks", "kernel", because="describes filters that are made here; with --data the file decides")
        if self.k and not set(DENSE) & set(chosen(self.models, MODELS, "model")):
            raise ConfigError(f"--k is for the dense models, {' and '.join(DENSE)}; none was chosen")

    def bytes_needed(self) -> dict[str, float]:
        """Images of one chunk of tasks; windows and outputs of all that are held in memory; steps and their draws."""
        if self.data:
            return {}
        window = self.kernel**2
        condensed = 4.0 * window * (window + 8)  # the fewest channels are 8
        steps = self.outer_steps or 1000
        return {
            "--size": 4.0 * CHUNK * 20 * self.size**2 * 9,
            "--kernel": 8.0 * 8 * window * window**2,
            "--test-tasks or --kernel": condensed * self.test_tasks,
            "--tasks, --batch or --outer-steps": condensed * min(self.tasks, steps * self.batch),
            "--batch or --outer-steps": 8.0 * steps * self.batch,
        }


@dataclass(frozen=True)
class Arm:
    """One line of the table: a model, the size of its ``v`` where that is free (else 0), a seed."""

    model: str
    k: int
    seed: int

    def __str__(self) -> str:
        return f"{self.name}-seed{self.seed}"

    @property
    def name(self) -> str:
        """The arm without its seed."""
        return f"{self.model}-k{self.k}" if self.k else self.model

    @property
    def closed_form(self) -> bool:
        """Whether tasks adapt in closed form rather than by gradient steps."""
        return self.model.endswith("ridge")


@dataclass(frozen=True)
class Data:
    """A family, its first held-out tasks (condensed), their true filters, and the span of all."""

    family: RotationTasks
    test: Episodes
    filters: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Training:
    """The training tasks that a run will draw, condensed, in the order of ``tasks``; and how long that took."""

    tasks: Tensor
    episodes: Episodes
    seconds: float

    def select(self, tasks: Tensor) -> Episodes:
        """The episodes of tasks with these indices, all among ``tasks``."""
        return self.episodes.select(torch.searchsorted(self.tasks, tasks))


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, figures and a table."""
    if config.quick:
        config = replace(config, outer_steps=config.outer_steps or 20, test_tasks=min(config.test_tasks, 20))
    first = load_data(config, config.seed)
    models = chosen(config.models, MODELS, "model")
    sizes = _numbers(config.k) or [first.truth.shape[1] * i for i in (1, 2)]
    if config.k == "auto":
        sizes = [found_dimension(first.family, make_condensed, config.kernel)]
    arms = [
        Arm(model, k, seed)
        for seed in range(config.seed, config.seed + config.seeds)
        for model in models
        for k in (sizes if model in DENSE else [0])
    ]
    for arm in arms:
        build(arm, config, first)  # every fault of the flags shows before anything is written
    folder = RunFolder("rotation", config)
    for seed in dict.fromkeys(arm.seed for arm in arms):
        left = [arm for arm in arms if arm.seed == seed and str(arm) not in folder.rows]
        if left:
            data = first if seed == config.seed else load_data(config, seed)
            training = draw_training(data.family, config, max(outer_steps(arm, config) for arm in left))
            for arm in left:
                folder.finish_arm(str(arm), run_arm(arm, config, data, training, folder))
    zero = estimate_or_none(first.test.query_y.square().flatten(1).mean(1))
    turning = defects(first.filters, first.family)
    truth = {"defect": turning, "defect_k_max": K_MAX, "dimension": first.truth.shape[1]}
    results = folder.finish(zero_predictor_mse=zero, truth=truth, summary=summarise(folder, arms))
    inside = energy_inside(first.filters, first.truth)
    many = len({arm.seed for arm in arms}) > 1
    of_first = {arm.name: folder.rows[str(arm)] for arm in reversed(arms)}
    print(table(summarise(folder, arms), of_first, many, zero, turning, inside))
    print(f"\nresults: {results}", file=sys.stderr)
    draw(config, first, folder, arms)


def load_data(config: Config, seed: int) -> Data:
    """The family that a config describes, and its test tasks."""
    common = {"size": config.size, "noise": config.noise, "shots": config.shots, "queries": max(20 - config.shots, 1)}
    if config.data:
        family = RotationTasks.from_filters(Path(config.data), config.group, seed=seed, **common)  # type: ignore[arg-type]
    else:
        family = RotationTasks(
            group=config.group,
            kernel=config.kernel,
            n_train=config.tasks,
            n_test=config.test_tasks,
            seed=seed,
            **common,  # type: ignore[arg-type]
        )
    tasks = torch.arange(min(config.test_tasks, family.n_tasks("test") or config.test_tasks))
    test = make_condensed(family, "test", tasks).to(config.device)
    return Data(family, test, family.filters("test", tasks), family.true_span())


def make_condensed(family: RotationTasks, split: str, tasks: Tensor) -> Episodes:
    """The tasks with images of one window: the same squared losses, gradients and ridge fits for every convolution.

    So the models below are the real convolutions, on ten images of 3×3 pixels instead of twenty of 32×32. It makes an
    outer step tens of times faster; see :func:`tasks.rotation.condensed`.
    """
    parts = [condensed(family.episodes(split, some), family.kernel) for some in tasks.split(CHUNK)]  # type: ignore[arg-type]
    return Episodes(*(torch.cat(part) for part in zip(*parts, strict=True)))


def draw_training(family: RotationTasks, config: Config, steps: int) -> Training:
    """Every task that ``steps`` outer steps will ask for, made once: all arms of a seed see the same ones."""
    start = time.perf_counter()
    drawn = [family.draw("train", step, config.batch) for step in range(steps)]
    tasks = torch.cat(drawn).unique()
    episodes = make_condensed(family, "train", tasks).to(config.device)
    seconds = time.perf_counter() - start
    print(f"seed {family.seed}: {len(tasks)} tasks made in {seconds:.1f} s", file=sys.stderr, flush=True)
    return Training(tasks, episodes, seconds)


def build(arm: Arm, config: Config, data: Data) -> nn.Module:
    """The arm's convolution."""
    family, generator = data.family, generator_for(arm.seed, "init", arm.name)
    sharing: DenseSharing | SharingFactory | None = None
    if arm.model.startswith("oracle"):
        basis = data.truth.to(torch.get_default_dtype())
        sharing = DenseSharing.from_matrix(basis, family.weight_shape, learn=False)
    elif arm.model in DENSE:
        # As for translation: a random start of v costs gradient steps hundreds of outer steps to unlearn.
        sharing = partial(DenseSharing, k=arm.k, init="scaled" if arm.closed_form else "reference")
    convolution = partial(ReparamConv2d, 1, family.channels, family.kernel, bias=False, generator=generator)
    layer = convolution() if sharing is None else convolution(sharing=sharing)
    # Square factors start as identities, so MAML and the published MSR start as the same function.
    return layer.fold() if arm.model.startswith("conv") else layer


def solver_of(arm: Arm, config: Config, data: Data) -> InnerSolver:
    """Gradient steps with learned rates, or the closed form with a learned penalty.

    The loss is a mean over ``C`` channels, so that on white images a step of rate ``C/2`` is the exact fit, up to the
    correlations of the pixels. From 0.1, Adam can move a rate by about one in a thousand steps of 1e-3.
    """
    if arm.closed_form:
        return Ridge(penalty=1e-5)
    tuned = arm.model in ("conv-tuned", "oracle-sgd")
    return SGD(steps=config.inner_steps, rate=data.family.channels / 2 if tuned else RATE)


def outer_steps(arm: Arm, config: Config) -> int:
    """As asked, or what each solver needs; without a pattern the closed form has only its start to learn."""
    needed = {"conv-ridge": 50}.get(arm.model, 400 if arm.closed_form else 1000)
    return config.outer_steps or needed


def outer_loop(arm: Arm, config: Config, data: Data) -> OuterLoop:
    """The reference's Adam for gradient steps; a faster one with a cosine decay for the closed form."""
    problem, shared, initial = from_module(build(arm, config, data).to(config.device))
    learner = Learner(
        problem,
        solver_of(arm, config, data),
        batching=config.batching,  # type: ignore[arg-type]
        chunk_size=config.chunk_size or None,
        trace="auto",
    )
    rate, beta = (2e-2, 0.95) if arm.closed_form else (1e-3, 0.999)
    optimizer = partial(torch.optim.Adam, lr=rate, betas=(0.9, beta), fused=True)
    decay = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=outer_steps(arm, config))
    return OuterLoop(learner, learner.init(shared, initial), optimizer, scheduler=decay if arm.closed_form else None)


def run_arm(arm: Arm, config: Config, data: Data, training: Training, folder: RunFolder) -> Row:
    """Train one arm and evaluate it on the held-out tasks."""
    loop = outer_loop(arm, config, data)
    learner, few = loop.learner, data.test.select(slice(0, 100))

    def sample(step: int) -> tuple[Tensor, Episodes]:
        tasks = data.family.draw("train", step, config.batch)
        return tasks, training.select(tasks)

    trained = train(
        loop,
        folder,
        str(arm),
        sample,
        outer_steps(arm, config),
        measure=lambda: evaluate(learner, loop.params, [few]).mean,
    )
    filters = adapted_filters(learner, loop.params, data.test, data.family)
    losses = learner.losses(loop.params, data.test)
    row: Row = {
        "model": arm.model,
        "k": arm.k or None,
        "seed": arm.seed,
        **judging.judged("query_mse", losses),
        **trained.row(),
        "energy": energy_inside(filters, data.truth),
        "defect": defects(filters, data.family),
        "inner": {name.removeprefix("log_"): _plain(name, value) for name, value in loop.params.inner.items()},
        "outer_steps": loop.steps_done,
        "seconds": round(trained.seconds, 3),
        "data_seconds": round(training.seconds, 3),
        "batching": learner.batching,
        "n_adapted": sum(p.numel() for p in loop.params.initial.values()),
        "n_shared": sum(p.numel() for p in loop.params.shared.values()),
    }
    if not arm.closed_form:
        row["inner_gain"] = judging.stability(str(arm), learner, loop.params, data.test, losses)
    if "sharing.U" in loop.params.shared:
        row["span_cosine"] = finite_or_none(span_cosine(loop.params.shared["sharing.U"].cpu(), data.truth))
    return row


def adapted_filters(learner: Learner, params: MetaParameters, episodes: Episodes, family: RotationTasks) -> Tensor:
    """What the adapted convolutions do to unit images: their filters ``(tasks, channels, 1, kernel, kernel)``."""
    adapted = learner.adapt(params, episodes.support_x, episodes.support_y)
    n = family.kernel**2
    units = torch.eye(n, device=episodes.support_x.device).reshape(n, 1, family.kernel, family.kernel)
    filters = []
    with torch.no_grad():
        for i in range(episodes.n_tasks):
            y = learner.problem.predict({**params.shared, **{name: v[i] for name, v in adapted.items()}}, units)
            filters.append(y.flatten(1).mT.reshape(family.weight_shape))
    return torch.stack(filters).cpu()


def energy_inside(filters: Tensor, truth: Tensor) -> Row | None:
    """``‖P vec W‖² / ‖vec W‖²`` with ``P`` on the true span: 1 when the filters turn into one another as they should.

    The interval is over tasks; None where a filter is not finite.
    """
    w, tiny = filters.flatten(1).double(), torch.finfo(torch.float64).tiny
    return estimate_or_none((w @ truth).square().sum(1) / w.square().sum(1).clamp_min(tiny))


def defects(filters: Tensor, family: RotationTasks) -> dict[str, float | None]:
    """The defect of each generator, and of the turn by 90°, the smallest that a grid has exactly; None: not finite."""
    group = family.symmetry
    elements = sorted({*group.generators, int(family.group[1:]) // 4})
    defect = partial(rotation_defect, filters, family.group, family.fields, k_max=K_MAX)
    return {group.label(h): finite_or_none(defect(h)) for h in elements}


def draw(config: Config, data: Data, folder: RunFolder, arms: list[Arm]) -> None:
    """Figures of the first seed: the filters of one held-out task beside the truth, the span, the curves."""
    of_seed = [arm for arm in arms if arm.seed == config.seed]
    series, panels, patterns = {}, {"truth": data.filters[0]}, {}
    one = data.test.select(slice(0, 1)).to("cpu")
    for arm in of_seed:
        series[arm.name] = judging.curve(folder.metrics(str(arm)))
        found = restored(folder, str(arm), build(arm, config, data), solver_of(arm, config, data))
        if arm.model.startswith("oracle") or found is None:
            continue
        learner, params = found
        panels[arm.name] = adapted_filters(learner, params, one, data.family)[0]
        if "sharing.U" in params.shared:
            patterns[arm.name] = params.shared["sharing.U"]
    folder.draw("curve.png", figures.curves(series, ylabel="query MSE of 100 held-out tasks", log=True))
    draw_filters(panels, data.family, folder)
    if patterns:
        folder.draw("span.png", figures.span_cosines(patterns, data.truth))


def summarise(folder: RunFolder, arms: list[Arm]) -> list[Row]:
    """Mean over seeds for each arm; the interval is over seeds."""
    lines = []
    for name in dict.fromkeys(arm.name for arm in arms):
        rows = [folder.rows[str(arm)] for arm in arms if arm.name == name]
        line: Row = {
            "arm": name,
            "query_mse": over_rows(rows, "query_mse", "mean"),
            "query_mse_median": over_rows(rows, "query_mse_median"),
            "diverged": sum(row["diverged"] for row in rows),
            "energy": over_rows(rows, "energy", "mean"),
            "seconds": Estimate.of([row["seconds"] for row in rows]).to_dict(),
        }
        line["defect"] = {h: judging.largest_or_none([row["defect"][h] for row in rows]) for h in rows[0]["defect"]}
        if "span_cosine" in rows[0]:
            line["span_cosine_min"] = min((c for row in rows if (c := row["span_cosine"]) is not None), default=None)
        lines.append(line)
    return lines


def _plain(name: str, value: Tensor) -> float | None:
    return finite_or_none(value.exp() if name.startswith("log_") else value)


def _numbers(text: str) -> list[int]:
    """A comma list of positive whole numbers from the command line, none twice; empty for ``auto``."""
    names = [] if text == "auto" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not name.isdecimal() or len(name) > 9 or int(name) < 1:
            raise ConfigError(f"--k needs whole numbers of at least 1, with commas between, or auto; got {name!r}")
    return list(dict.fromkeys(map(int, names)))


if __name__ == "__main__":
    sys.exit(main(Config, run))
