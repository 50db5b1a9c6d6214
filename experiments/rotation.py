"""Rotation and flip tasks: which models learn how the filters of a convolution turn into one another (Table 2)?

Source: arXiv:2007.02933, section 5.2. Models: MAML on a convolution with the released code's inner rate (``conv``),
with one that suits its loss (``conv-tuned``), and in closed form (``conv-ridge``); MSR with Kronecker factors
(``msr-kron``, the published one) and with a dense ``U``, adapted by gradient steps (``msr-dense``) or in closed form
(``msr-ridge``); and a convolution that is given the true span (``oracle-sgd``, ``oracle-ridge``).
"""

import math
import sys
import time
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from experiments.figures.rotation import draw_filters, table
from experiments.shared.closed_form import dimension_of
from msr.episodes import Episodes
from msr.errors import ConfigError
from msr.layers import ReparamConv2d
from msr.meta import SGD, InnerSolver, Learner, MetaParameters, OuterLoop, Ridge, evaluate, from_module
from msr.report import figures
from msr.runs import arms, judging
from msr.runs.command import main
from msr.runs.config import BatchingFlags, DataFlags, DeviceFlags, SeedFlags, TaskFlags, TrainingFlags
from msr.runs.flags import INNER_STEPS, STEPS, chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import estimate_or_none, finite_or_none, least_cosine, over_rows, over_seeds
from msr.runs.processes.group import here
from msr.runs.training import restored, train, trained_row, with_adam
from msr.sharing import DenseSharing, SharingFactory
from msr.span.angles import span_cosine
from msr.tasks import Split, generator_for
from tasks import RotationTasks
from tasks.rotation import condensed, rotation_defect

DENSE = ("msr-dense", "msr-ridge")
MODELS = ("conv", "conv-tuned", "conv-ridge", "msr-kron", *DENSE, "oracle-sgd", "oracle-ridge")
RATE = 0.1
"""The start of the learned inner rate in the released code."""
K_MAX = math.pi / 2
"""Radians a pixel: the defect is measured on waves of at least 4 pixels."""
CHUNK = 32
"""Tasks whose images are in memory at a time. It changes no result: each task is condensed by itself."""
MEASURED = 100
"""Held-out tasks that the curves are measured on."""
EXAMPLES = 20
"""Examples of a task, support and query together, as in the paper."""
FIELDS = 3
"""Fields of a convolution that is made here, as in the paper."""
RIDGE_COPIES = 60
"""Matrices of weights by weights that an outer step of ``conv-ridge`` holds for a task; some 57 were measured."""


@dataclass(frozen=True)
class Config(TaskFlags, DataFlags, TrainingFlags, BatchingFlags, DeviceFlags, SeedFlags):
    """Learn how the filters of a convolution turn into one another, and compare with the truth."""

    group: Literal["c4", "c8", "d4", "d8"] = option(
        "c8", "turns by 90 or 45 degrees, c4 or c8; with flips d4 or d8; the paper has c8 and d8"
    )
    models: str = option(",".join(MODELS), "comma list")
    k: str = option("", "numbers each task fits in the dense models, comma list, or auto; default: the true 18, and 36")
    inner_steps: int = option(1, "gradient steps of the inner loop (1 in the released code)", **INNER_STEPS)
    outer_steps: int = option(
        0, "outer steps; 0: 1000 by gradient; closed form 400, or 50 without a pattern", **STEPS | {"least": 0}
    )
    shots: int = option(1, "support examples a task, of 20", least=1, most=EXAMPLES - 1)
    size: int = option(32, "height and width of an image", least=1, most=10**4)
    kernel: int = option(3, "height and width of a filter, odd", least=1, most=99)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        chosen(self.models, MODELS, "model")
        _counts(self.k)
        figures.require()
        if self.data:
            because = "describes filters that are made here; with --data the file decides"
            self.refuse_flags("tasks", "kernel", because=because)
        if self.k and not set(DENSE) & set(chosen(self.models, MODELS, "model")):
            raise ConfigError(f"--k is for the dense models, {' and '.join(DENSE)}; none was chosen")

    def bytes_needed(self) -> dict[str, float]:
        """Bytes of what is largest, by the flags that make it large; empty with ``--data``: the file decides.

        It is what is held at once of the images of a chunk, what the kernel alone makes large, condensed tasks, and
        the indices that steps draw.
        """
        if self.data:
            return {}
        order = int(self.group[1:]) * (2 if self.group.startswith("d") else 1)
        channels = FIELDS * order
        window = self.kernel**2
        places = max(self.size - self.kernel + 1, 1) ** 2
        # Images, their windows, and outputs: these, their noise, and what is made of them meanwhile; as measured.
        of_image = self.size**2 + window * places + (5 if self.noise else 3) * channels * places
        # The true span in double precision, of some kernel²/2 numbers a field, four times while it is made orthonormal.
        span = 4 * 8.0 * channels * window * (FIELDS * window / 2)
        # The closed form without a pattern: matrices of weights by weights, for one task at least.
        closed_form = RIDGE_COPIES * 4.0 * (channels * window) ** 2 if "conv-ridge" in self.models else 0.0
        condensed = 4.0 * window * (window + channels)
        steps = self.outer_steps or 1000
        return {
            "--size": 4.0 * CHUNK * EXAMPLES * of_image,
            "--kernel": max(span, closed_form),
            "--test-tasks or --kernel": condensed * self.test_tasks,
            "--tasks, --batch or --outer-steps": condensed * min(self.tasks, steps * self.batch),
            "--batch or --outer-steps": 8.0 * steps * self.batch,
        }


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A model, and the size ``k`` of its ``v`` where that is free (else 0), with a seed."""

    model: str
    k: int
    seed: int

    @property
    def name(self) -> str:
        """``MODEL``, or ``MODEL-kSIZE``."""
        return f"{self.model}-k{self.k}" if self.k else self.model

    @property
    def closed_form(self) -> bool:
        """Whether tasks adapt in closed form rather than by gradient steps."""
        return self.model.endswith("ridge")


@dataclass(frozen=True)
class Data:
    """A family, its first held-out tasks (``test``, condensed), their true filters, and the true span of all tasks.

    Shapes: ``filters (tasks, channels, 1, kernel, kernel)``, ``truth (channels · kernel², k)``, columns orthonormal.
    """

    family: RotationTasks
    test: Episodes
    filters: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Training:
    """The training tasks that a run will draw, condensed, in the order of ``tasks``; and the seconds that took.

    ``tasks (tasks,)`` are their indices in the family, ascending and each once.
    """

    tasks: Tensor
    episodes: Episodes
    seconds: float

    def select(self, tasks: Tensor) -> Episodes:
        """The episodes of tasks with these indices, all among ``tasks``."""
        return self.episodes.select(torch.searchsorted(self.tasks, tasks))


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, a table and figures."""
    if config.quick:
        config = replace(config, outer_steps=config.outer_steps or 20, test_tasks=min(config.test_tasks, 20))
    first = load_data(config, config.seed)
    all_arms = list_arms(config, first)
    for arm in all_arms:
        build(arm, config, first)  # every fault of the flags shows before anything is written
    folder = RunFolder("rotation", config)
    missing = arms.unfinished(folder, all_arms)

    @lru_cache(maxsize=1)  # the arms of one seed come one after another
    def drawn(seed: int) -> tuple[Data, Training]:
        """The data of a seed, and the training tasks that its unfinished arms will draw."""
        data = first if seed == config.seed else load_data(config, seed)
        steps = max(outer_steps(arm, config) for arm in missing if arm.seed == seed)
        return data, draw_training(data.family, config, steps)

    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config, *drawn(arm.seed), folder),
        draw=partial(draw, config, first, folder),
        measures="query MSE",
    )
    zero = judging.zero_predictor(first.test)
    turning = defects(first.filters, first.family)
    truth = {"defect": turning, "defect_k_max": K_MAX, "dimension": first.truth.shape[1]}
    summary = arms.summarise(folder, all_arms, summary_line)
    of_first = {name: folder.rows[str(variant[0])] for name, variant in arms.by_name(all_arms).items()}
    inside = energy_inside(first.filters, first.truth)
    text = table(summary, of_first, config.seeds > 1, zero, turning, inside)
    arms.publish(folder, text, zero_predictor_mse=zero, truth=truth, summary=summary)
    draw(config, first, folder, all_arms)


def list_arms(config: Config, first: Data) -> list[Arm]:
    """Every model with every seed, the dense ones with each ``k``.

    ``k`` is as asked by ``--k``; with ``auto`` it is found from the first seed's tasks; by default it is the true
    dimension, and twice that.
    """
    sizes = _counts(config.k) or [first.truth.shape[1], 2 * first.truth.shape[1]]
    if config.k == "auto":
        sizes = [dimension_of(first.family, make_condensed, config.kernel)]
    return [
        Arm(model, k, seed)
        for seed in config.all_seeds
        for model in chosen(config.models, MODELS, "model")
        for k in (sizes if model in DENSE else [0])
    ]


def load_data(config: Config, seed: int) -> Data:
    """The family that a config describes for a seed, with its held-out tasks, their filters and its true span.

    Raises: DataError for a file of ``--data`` that does not fit.
    """
    queries = max(EXAMPLES - config.shots, 1)
    if config.data:
        family = RotationTasks.from_filters(
            Path(config.data),
            config.group,
            size=config.size,
            noise=config.noise,
            shots=config.shots,
            queries=queries,
            seed=seed,
        )
    else:
        family = RotationTasks(
            group=config.group,
            size=config.size,
            kernel=config.kernel,
            fields=FIELDS,
            noise=config.noise,
            shots=config.shots,
            queries=queries,
            n_train=config.tasks,
            n_test=config.test_tasks,
            seed=seed,
        )
    tasks = torch.arange(min(config.test_tasks, family.n_tasks("test") or config.test_tasks))
    test = make_condensed(family, "test", tasks).to(config.device)
    return Data(family, test, family.filters("test", tasks), family.true_span())


def make_condensed(family: RotationTasks, split: Split, tasks: Tensor) -> Episodes:
    """The tasks with these indices, on images of one window, with the same squared loss for every convolution.

    Gradients and ridge fits are the same too.
    So the models below are the real convolutions, on ten images of 3×3 pixels instead of twenty of 32×32, which makes
    an outer step tens of times faster; see :func:`tasks.rotation.condensed`.
    """
    parts = [condensed(family.episodes(split, chunk), family.kernel) for chunk in tasks.split(CHUNK)]
    return Episodes(*(torch.cat(part) for part in zip(*parts, strict=True)))


def draw_training(family: RotationTasks, config: Config, steps: int) -> Training:
    """Every training task that ``steps`` outer steps will draw, made once, for all arms of a seed.

    Of several processes each makes those of its own shares. A line on stderr says how long it took, unless ``--quiet``
    was given.
    """
    start = time.perf_counter()
    drawn = [here().share(family.draw("train", step, config.batch)) for step in range(steps)]
    tasks = torch.cat(drawn).unique()
    episodes = make_condensed(family, "train", tasks).to(config.device)
    seconds = time.perf_counter() - start
    if not config.quiet:
        print(f"seed {family.seed}: {len(tasks)} tasks made in {seconds:.1f} s", file=sys.stderr, flush=True)
    return Training(tasks, episodes, seconds)


def build(arm: Arm, config: Config, data: Data) -> nn.Module:
    """The arm's convolution before training, from one channel to the family's channels, without a bias.

    It is a plain one for MAML, and else reparameterised: with Kronecker factors, a dense ``U`` that is learned, or the
    true span, which is not.
    """
    family = data.family
    generator = generator_for(arm.seed, "init", arm.name)
    sharing: DenseSharing | SharingFactory | None = None
    if arm.model.startswith("oracle"):
        basis = data.truth.to(torch.get_default_dtype())
        sharing = DenseSharing.from_matrix(basis, family.weight_shape, learn=False)
    elif arm.model in DENSE:
        # A random start of v, which "scaled" makes, takes gradient steps hundreds of outer steps to unlearn; the closed
        # form does not depend on where v starts.
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
    """How many outer steps an arm takes: as asked, or as many as its model and solver need."""
    # Without a pattern, the closed form has only its start and its penalty to learn.
    needed = {"conv-ridge": 50}.get(arm.model, 400 if arm.closed_form else 1000)
    return config.outer_steps or needed


def outer_loop(arm: Arm, config: Config, data: Data) -> OuterLoop:
    """The arm's convolution with its inner solver, to be trained by Adam.

    Gradient steps have the released code's rate; the closed form has a larger one, with a cosine decay.
    """
    problem, shared, initial = from_module(build(arm, config, data).to(config.device))
    learner = Learner(
        problem,
        solver_of(arm, config, data),
        batching=config.batching,
        chunk_size=config.chunk_size or None,
        trace="auto",
    )
    if not arm.closed_form:
        return with_adam(learner, shared, initial, 1e-3, fused=True)
    steps = outer_steps(arm, config)
    return with_adam(learner, shared, initial, 2e-2, beta=0.95, decay_steps=steps, fused=True)


def run_arm(arm: Arm, config: Config, data: Data, training: Training, folder: RunFolder) -> Row:
    """The row of one arm, which is trained on ``training`` and then evaluated on the held-out tasks of ``data``.

    Checkpoints and metrics are written to the folder.
    """
    loop = outer_loop(arm, config, data)
    learner = loop.learner
    few = data.test.select(slice(0, MEASURED))

    def sample(step: int) -> tuple[Tensor, Episodes]:
        tasks = data.family.draw("train", step, config.batch)
        return tasks, training.select(here().share(tasks))

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
        "k": arm.k or None,
        **judging.judged("query_mse", losses),
        **trained_row(loop, trained),
        "energy": energy_inside(filters, data.truth),
        "defect": defects(filters, data.family),
        "inner": {name.removeprefix("log_"): _plain(name, value) for name, value in loop.params.inner.items()},
        "data_seconds": round(training.seconds, 3),
    }
    if not arm.closed_form:
        row["inner_gain"] = judging.stability(str(arm), learner, loop.params, data.test, losses)
    if "sharing.U" in loop.params.shared:
        row["span_cosine"] = finite_or_none(span_cosine(loop.params.shared["sharing.U"].cpu(), data.truth))
    return row


def adapted_filters(learner: Learner, params: MetaParameters, episodes: Episodes, family: RotationTasks) -> Tensor:
    """The filters of the convolutions after adapting to each task's support set, read off their outputs on unit images.

    Shapes: the result is ``(tasks, channels, 1, kernel, kernel)``, on the CPU.
    """
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
    """The mean over tasks, with interval, of ``‖P vec W‖² / ‖vec W‖²``, where ``P`` projects on the true span.

    It is 1 when the filters turn into one another as they should, and None where a filter is not finite.

    Shapes: ``filters (tasks, channels, 1, kernel, kernel)``, ``truth (channels · kernel², k)``, columns orthonormal.
    """
    w = filters.flatten(1).double()
    tiny = torch.finfo(torch.float64).tiny
    return estimate_or_none((w @ truth).square().sum(1) / w.square().sum(1).clamp_min(tiny))


def defects(filters: Tensor, family: RotationTasks) -> dict[str, float | None]:
    """The defect, over all tasks, of each generator and of the turn by 90°, by the label of the group's element.

    A quarter turn is the smallest that a grid has exactly. None stands for a defect that is not finite; see
    :func:`tasks.rotation.rotation_defect`.
    """
    group = family.symmetry
    elements = sorted({*group.generators, int(family.group[1:]) // 4})
    defect = partial(rotation_defect, filters, family.group, family.fields, k_max=K_MAX)
    return {group.label(h): finite_or_none(defect(h)) for h in elements}


def draw(config: Config, data: Data, folder: RunFolder, all_arms: list[Arm]) -> None:
    """Write the figures of the first seed: curves, filters of one held-out task beside the truth, and span cosines.

    Arms without a checkpoint are left out, oracles appear in the curves alone, and there is no ``span.png`` where no
    pattern was learned.
    """
    of_seed = [arm for arm in all_arms if arm.seed == config.seed]
    label = f"query MSE of {MEASURED} held-out tasks"
    arms.draw_curves(folder, {arm.name: arm for arm in of_seed}, label, log=True)
    panels = {"truth": data.filters[0]}
    patterns = {}
    task = data.test.select(slice(0, 1)).to("cpu")
    for arm in of_seed:
        trained = restored(folder, str(arm), build(arm, config, data), solver_of(arm, config, data))
        if arm.model.startswith("oracle") or trained is None:
            continue
        learner, params = trained
        panels[arm.name] = adapted_filters(learner, params, task, data.family)[0]
        if "sharing.U" in params.shared:
            patterns[arm.name] = params.shared["sharing.U"]
    draw_filters(panels, data.family, folder)
    if patterns:
        folder.draw("span.png", figures.span_cosines(patterns, data.truth))


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """A summary row of one variant: estimates over its seeds, which have the ``rows``; of the defects the largest."""
    elements = rows[0]["defect"]
    return {
        "arm": variant[0].name,
        **over_seeds(rows, "query_mse"),
        "energy": over_rows(rows, "energy", "mean"),
        "defect": {h: judging.largest_or_none([row["defect"][h] for row in rows]) for h in elements},
        **least_cosine(rows),
    }


def _plain(name: str, value: Tensor) -> float | None:
    """The value of a number that a solver learns; under a name with ``log_`` before it, its logarithm is stored.

    None where it is not finite.
    """
    return finite_or_none(value.exp() if name.startswith("log_") else value)


def _counts(text: str) -> list[int]:
    """The counts of ``--k``, none twice; an empty list for ``auto`` or no text. Raises: ConfigError for other text."""
    names = [] if text == "auto" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not name.isdecimal() or len(name) > 9 or int(name) < 1:
            raise ConfigError(f"--k needs whole numbers of at least 1, with commas between, or auto; got {name!r}")
    return list(dict.fromkeys(map(int, names)))


if __name__ == "__main__":
    sys.exit(main(Config, run))
