"""What filters learn from queries that are turned and flipped: MSR's own idea on real images, made visible.

Support images are plain. Query images are turned by a random number of quarter turns and flipped, in training and in
testing. A learner that adapts on plain images and is judged on turned ones has to be invariant by itself. Three things
are looked at, for MAML, for MSR, and for MSR whose kernels have three free numbers (a true restriction, which the
paper's square factors are not):

- accuracy with turned or unturned support and query images, a table of two by two;
- the kernels: which share of their energy turns and flips change, in the factor C, in the filters that tasks start
  from, and in what adapting adds; with a certificate, and with what discovery finds in them;
- the answers: how many stay the same when a query image is turned.

The images are padded until their sides are multiples of 16 (Omniglot's 28 become 32), and the head sees averages over
the image, so that a network of invariant kernels is invariant exactly.

Source: arXiv:2007.02933, section 6 and algorithm 2; the study is not in the paper.
"""

import math
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from experiments.few_shot.data import Images
from experiments.few_shot.flags import FewShotFlags, quick
from experiments.few_shot.methods import METHODS, Method, Network, factors_of
from experiments.few_shot.readings import GROUPS, ORBITS, discovered, kernels_of, read_kernels
from experiments.few_shot.training import outer_loop, shares_right
from msr.episodes import Episodes
from msr.kron import apply_factors
from msr.meta import OuterLoop
from msr.report import figures, format_table
from msr.runs import arms
from msr.runs.command import main
from msr.runs.flags import chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.training import batches_of, train, trained_params, trained_row
from msr.statistics.estimate import Estimate
from tasks.augmentation import N_RANDOM, turn_and_flip
from tasks.images import ImageTasks
from tasks.networks import convolutions_of_conv4

MODELS = {"maml": ("maml", 9), "msr": ("msr", 9), "msr-3": ("msr", 3)}
"""The method of each model, and how many columns its kernel's factor has."""
SIDES = 16
"""The sides of the images become multiples of this, since four poolings halve them."""
MEASURED = 40
"""Held-out tasks that the curves are measured on."""
ROUNDING = 1e-6
"""What adapting adds to filters, relative to their size, is taken for rounding below this."""
READ = 20
"""Held-out tasks whose adapted filters are read."""
Part = Literal["none", "square"]
PARTS: tuple[Part, ...] = ("none", "square")
SHOWN = {"none": "plain", "square": "turned"}


@dataclass(frozen=True)
class Config(FewShotFlags):
    """Few-shot characters whose query images are turned by quarter turns and flipped; --data as experiments.omniglot.

    Without --data or --download, scikit-learn's digits stand in: enough to see it run, too few classes for a result.
    """

    models: str = option("maml,msr,msr-3", f"comma list of {', '.join(MODELS)}")

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib or the ``--engine``."""
        super().check()
        chosen(self.models, tuple(MODELS), "model")


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A model with a seed."""

    model: str
    seed: int

    @property
    def name(self) -> str:
        """The model."""
        return self.model

    @property
    def method(self) -> Method:
        """What the model's tasks share and adapt."""
        return METHODS[MODELS[self.model][0]]


def run(config: Config) -> None:
    """Train every arm that has no result yet, then write results, tables and figures."""
    if config.quick:
        config = quick(config)
    images = config.images()
    images = replace(images, train=images.train.padded_to(SIDES), test=images.test.padded_to(SIDES))
    models = chosen(config.models, tuple(MODELS), "model")
    all_arms = [Arm(model, seed) for seed in config.all_seeds for model in models]
    for queries in (config.queries, config.test_queries):
        # Every fault of the flags shows before anything is written.
        family(config, images, config.seed, "none", "square", queries)
    folder = RunFolder("invariance", config)
    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config, images, folder),
        draw=partial(draw, config, folder),
        measures="accuracy",
    )
    head = f"data: {images.name}, {len(images.train.names)} classes to train on, {len(images.test.names)} to test on"
    tables = [accuracy_table(folder, all_arms), kernel_table(folder, all_arms), discovery_lines(folder, all_arms)]
    arms.publish(folder, "\n\n".join([head, *tables]), data=images.name)
    draw(config, folder, all_arms)


def family(config: Config, images: Images, seed: int, support: Part, query: Part, queries: int) -> ImageTasks:
    """Tasks whose support and query images are plain (``none``) or turned and flipped (``square``), with so many query
    images a class. The same images are in all four kinds.
    """
    return ImageTasks(
        images.train,
        images.test,
        ways=config.ways,
        shots=config.shots,
        queries=queries,
        support=support,
        query=query,
        seed=seed,
    )


def run_arm(arm: Arm, config: Config, images: Images, folder: RunFolder) -> Row:
    """The row of one arm: right answers in four kinds of tasks, what kernels see, and how steady answers are."""
    network = Network(config.ways, config.width, images.train.image_shape, taps=MODELS[arm.model][1], pooled=True)
    loop = outer_loop(arm.method, network, config, arm.seed)
    tasks = partial(family, config, images, arm.seed)
    n_test = config.test_tasks_of(images)
    few = min(MEASURED, n_test)
    queries = config.test_queries
    trained = train(
        loop,
        folder,
        str(arm),
        batches_of(tasks("none", "square", config.queries), config.batch, config.device),
        config.steps_of(images),
        seconds=config.seconds,
        measure=lambda: Estimate.of(shares_right(loop, tasks("none", "square", queries), config.device, few)).mean,
        best="highest",
    )
    accuracy = {
        f"{support}-{query}": Estimate.of(
            shares_right(loop, tasks(support, query, queries), config.device, n_test)
        ).to_dict()
        for support in PARTS
        for query in PARTS
    }
    plain = tasks("none", "none", queries).episodes("test", torch.arange(min(READ, n_test))).to(config.device)
    sets = kernel_sets(loop, plain)
    return {
        "inner": arm.method.solver,
        "accuracy": accuracy,
        "steady": steady_share(loop, plain),
        "kernels": {kind: {at: asdict(read_kernels(k)) for at, k in layers.items()} for kind, layers in sets.items()},
        "found": found_in(sets, arm.seed, most=1 if config.quick else None),
        "rates": {name: float(rate.mean()) for name, rate in loop.params.inner.items() if name.startswith("rate.")},
        **trained_row(loop, trained),
    }


def found_in(sets: dict[str, dict[str, Tensor]], seed: int, most: int | None = None) -> dict[str, dict[str, str]]:
    """What discovery says of the kernels of each set and layer, or of the first ``most`` layers of each set."""
    return {
        kind: {
            at: discovered(kernels, of_a_factor=kind == "factor C", seed=seed)
            for at, kernels in list(layers.items())[:most]
        }
        for kind, layers in sets.items()
    }


def kernel_sets(loop: OuterLoop, episodes: Episodes) -> dict[str, dict[str, Tensor]]:
    """Kernels ``(n, 9)`` of each layer: the columns of the factor C, the filters where tasks start, what adapting adds.

    The first set is left out for a network without factors. A layer that adapting does not move, but for rounding, has
    kernels of zeros in the last set.
    """
    params = loop.params
    adapted = loop.learner.adapt(params, episodes.support_x, episodes.support_y)
    factors = factors_of(params.shared)
    sets: dict[str, dict[str, Tensor]] = {"factor C": {}, "filters": {}, "adaptation": {}}
    for number, layer in enumerate(convolutions_of_conv4()):
        at = f"layer {number}"
        if factors:
            own = [factors[f"{layer}.{factor}"] for factor in "ABC"]
            sets["factor C"][at] = own[2].mT.cpu()
            start, moved = (apply_factors(own, v) for v in (params.initial[f"{layer}.v"], adapted[f"{layer}.v"]))
        else:
            start, moved = params.initial[f"{layer}.weight"], adapted[f"{layer}.weight"]
        sets["filters"][at] = kernels_of(start).cpu()
        added = moved.reshape(len(moved), *start.shape) - start
        if added.norm() < ROUNDING * len(moved) ** 0.5 * start.norm():
            added = torch.zeros_like(added)
        sets["adaptation"][at] = kernels_of(added).cpu()
    return {kind: layers for kind, layers in sets.items() if layers}


@torch.no_grad()
def steady_share(loop: OuterLoop, episodes: Episodes) -> float:
    """The share of query images whose answer stays the same under all seven other turns and flips of the query set.

    Batch norm looks at the whole set, so all its images are turned alike.
    """
    turned = []
    for turn in range(4):
        for mirror in (0.25, 0.75):
            images = episodes.query_x.flatten(0, 1)
            numbers = torch.zeros(len(images), N_RANDOM)
            numbers[:, 0] = turn / 4
            numbers[:, 1] = mirror
            moved = turn_and_flip(images.cpu(), numbers).to(images.device).unflatten(0, episodes.query_x.shape[:2])
            turned.append(answers(loop, episodes._replace(query_x=moved)))
    stacked = torch.stack(turned)
    return float((stacked == stacked[:1]).all(0).double().mean())


def answers(loop: OuterLoop, episodes: Episodes) -> Tensor:
    """The class that each query image is given after adapting to its task, ``(tasks, images)``."""
    adapted = loop.learner.adapt(loop.params, episodes.support_x, episodes.support_y)
    scores = [
        loop.learner.problem.predict({**loop.params.shared, **{n: v[task] for n, v in adapted.items()}}, x)
        for task, x in enumerate(episodes.query_x)
    ]
    return torch.stack(scores).argmax(-1)


def accuracy_table(folder: RunFolder, all_arms: list[Arm]) -> str:
    """Right answers in per cent by what is turned, support / query, with 95% intervals over tasks, or over seeds."""
    lines = []
    for model, variant in arms.by_name(all_arms).items():
        rows = [folder.rows[str(arm)] for arm in variant]
        cells = [_cell([row["accuracy"][f"{support}-{query}"] for row in rows]) for support in PARTS for query in PARTS]
        steady = Estimate.of([row["steady"] for row in rows]).mean
        steps = Estimate.of([float(row["outer_steps"]) for row in rows]).mean
        seconds = Estimate.of([row["seconds"] for row in rows]).mean
        lines.append([model, *cells, f"{100 * steady:.0f}", f"{steps:.0f}", f"{seconds:.0f}"])
    kinds = [f"{SHOWN[support]} / {SHOWN[query]}" for support in PARTS for query in PARTS]
    return format_table(["support / query:", *kinds, "steady %", "steps", "seconds"], lines)


def kernel_table(folder: RunFolder, all_arms: list[Arm]) -> str:
    """What turns and flips change of kernels, in per cent of their energy, with the verdict of the certificate.

    Shares are means over seeds; the verdict is how many seeds were certified.
    """
    lines = []
    for model, variant in arms.by_name(all_arms).items():
        rows = [folder.rows[str(arm)] for arm in variant]
        for kind, layers in rows[0]["kernels"].items():
            for at in layers:
                readings = [row["kernels"][kind][at] for row in rows]
                cells = [_seen(readings, group) for group in GROUPS]
                lines.append([model, kind, at, *cells])
    names = [f"{group} %" for group in GROUPS]
    return format_table(["model", "kernels", "", *names], lines)


def discovery_lines(folder: RunFolder, all_arms: list[Arm]) -> str:
    """What discovery says of the kernels of the first seed of each model, a line a layer."""
    lines = []
    for variant in arms.by_name(all_arms).values():
        for kind, layers in folder.rows[str(variant[0])]["found"].items():
            lines += [f"{variant[0]}, {kind}, {at}: {said[:160]}" for at, said in layers.items()]
    return "\n".join(lines)


def _cell(estimates: list[Row]) -> str:
    """Per cent with a 95% interval: over seeds where there are several, else over tasks."""
    over_seeds = Estimate.of([estimate["mean"] for estimate in estimates])
    half = over_seeds.ci95 if len(estimates) > 1 else estimates[0]["ci95"]
    return f"{100 * over_seeds.mean:.1f}" + ("" if half is None or math.isnan(half) else f" ± {100 * half:.1f}")


def _seen(readings: list[Row], group: str) -> str:
    """The mean share of energy in per cent, and in how many of the readings the kernels are certified as invariant."""
    shares = [reading["seen"][group] for reading in readings]
    if None in shares:
        return "nothing"
    share = Estimate.of(shares).mean
    certified = sum(reading["verdict"][group] == "certified" for reading in readings)
    return f"{100 * share:.1f}" + (f", certified {certified} of {len(readings)}" if certified else "")


def draw(config: Config, folder: RunFolder, all_arms: list[Arm]) -> None:
    """Write ``curve.png``, and for each model with factors ``kernels-MODEL.png``: what its C makes of kernels.

    Of each layer ``C Cᵀ`` is drawn, the nine places in the order of their orbits (four corners, four edges, the
    middle), and beside it the part that turns and flips keep, which has one value in each block. Of an invariant C the
    two are the same.
    """
    by_name = {str(arm): arm for arm in all_arms}
    kinds = {str(arm): arm.model for arm in all_arms}
    label = "accuracy on held-out tasks, turned queries"
    arms.draw_curves(folder, by_name, label, log=False, kinds=kinds)
    for arm in all_arms:
        if arm.method.factors == "none" or arm.seed != config.seed:
            continue
        learned = trained_params(folder, str(arm))
        if learned is None:
            continue
        factors = factors_of(learned[0].shared)
        panels = {}
        tops = {}
        for number, layer in enumerate(convolutions_of_conv4()):
            C = factors[f"{layer}.C"].cpu()
            gram = C @ C.mT
            rep = GROUPS["turns and flips"]
            mean = torch.stack([rep.matrix(g).to(gram) for g in rep.group.elements]).mean(0)
            order = [place for orbit in ORBITS for place in orbit]
            for name, matrix in (("C Cᵀ", gram), ("kept by turns", mean @ gram @ mean)):
                panels[f"layer {number}: {name}"] = matrix[order][:, order]
                tops[f"layer {number}: {name}"] = float(gram.abs().max())
        title = f"{arm.model}: C Cᵀ, places in the order corners (4), edges (4), middle"
        folder.draw(
            f"kernels-{arm.model}.png",
            figures.matrices(panels, columns=4, title=title, axes=("place", "place"), tops=tops),
        )


if __name__ == "__main__":
    sys.exit(main(Config, run))
