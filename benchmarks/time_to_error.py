"""How long until a translation problem is learned: the time to a query error of 1e-1, 1e-2, 1e-3 and 1e-6?

Ranks 1, 2 and 5 of 70-point signals, one support example, no noise, 32 tasks an outer step, error over 100 held-out
tasks. Time is that of drawing tasks and learning, not of judging. Gradient steps start as the paper's code does, with
Adam at 4e-3 and a cosine decay: constant rates of 1e-3 (the paper's) and 3e-3 never reached 1e-3 in 4,000 steps of 5
inner steps, and 1e-3 and 2e-3 with the decay took longer. The direct finder sees the support and query examples of its
tasks.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.harness.command import command, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.networks import ShareLinear
from msr.layers import ReparamLinear
from msr.meta import SGD, InnerSolver, Learner, MetaParameters, OuterLoop, Ridge, evaluate, from_module
from msr.report import figures as drawing
from msr.sharing import DenseSharing
from msr.span import find_span, spectral_start
from tasks import TranslationTasks

TARGETS = (1e-1, 1e-2, 1e-3, 1e-6)  # query errors
TASKS = 500  # that the direct finder sees
FEW = 150  # that it sees where it is given few
Curve = list[tuple[float, int, float]]  # seconds, outer steps, error
Method = Callable[[int], Curve]


def chunks(family: TranslationTasks, n_tasks: int = TASKS) -> Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]:
    """A function that gives a pass over all examples of the first training tasks, in one chunk, for ``find_span``.

    They are drawn here, once, and not in the pass: drawing is part of the time.
    """
    x, y = family.episodes("train", torch.arange(n_tasks)).examples()
    x = x.flatten(2)
    y = y.flatten(2)
    return lambda: iter([(x, y)])


def layer_with(U: torch.Tensor, v: torch.Tensor) -> ReparamLinear:
    """A layer ``70 → 68`` with the pattern ``U (68 · 70, k)``, which stays learnable, and the filter ``v (k,)``."""
    sharing = DenseSharing.from_matrix(U.float(), (68, 70))
    layer = ReparamLinear(70, 68, bias=False, sharing=sharing, generator=torch.Generator())
    with torch.no_grad():
        layer.v.copy_(v)
    return layer


def random_layer(rank: int, seed: int, init: Literal["scaled", "reference"]) -> ReparamLinear:
    """A layer ``70 → 68`` that starts from a random pattern, with as many columns as the truth of a rank has."""
    sharing = partial(DenseSharing, k=3 * rank, init=init)
    return ReparamLinear(70, 68, bias=False, sharing=sharing, generator=torch.Generator().manual_seed(seed))


def judge(learner: Learner, params: MetaParameters, family: TranslationTasks) -> float:
    """The mean query error of the first 100 held-out tasks."""
    return evaluate(learner, params, [family.episodes("test", torch.arange(100))]).mean


def direct(rank: int, seed: int, k: Any, n_tasks: int = TASKS) -> Curve:
    """The one point of the curve of a span found without outer steps: spectral start and alternating least squares.

    ``k`` is the dimension, or ``auto`` to find it.
    """
    family = TranslationTasks(rank=rank, seed=seed)
    start = time.perf_counter()
    span = find_span(chunks(family, n_tasks), k=k)
    seconds = time.perf_counter() - start
    layer = layer_with(span.U, span.v0)
    problem, shared, initial = from_module(layer)
    learner = Learner(problem, Ridge(penalty=span.penalty(68), learn=False), batching="vmap", trace=True)
    return [(seconds, 0, judge(learner, learner.init(shared, initial), family))]


def spectral_then_ridge(rank: int, seed: int, outer_steps: int) -> Curve:
    """The curve of outer steps on the closed form from the spectral start alone, whose seconds are counted too."""
    family = TranslationTasks(rank=rank, seed=seed)
    start = time.perf_counter()
    U = spectral_start(chunks(family), k=3 * rank, evidence=False).span(3 * rank)
    seconds = time.perf_counter() - start
    layer = layer_with(U * (68 / (9 * rank)) ** 0.5, torch.zeros(3 * rank))
    rest = trained(family, layer, Ridge(penalty=1e-5), 5e-3, outer_steps, every=10)
    return [(seconds + s, steps, error) for s, steps, error in rest]


def trained(
    family: TranslationTasks,
    layer: ReparamLinear,
    solver: InnerSolver,
    rate: float,
    steps: int,
    *,
    every: int,
) -> Curve:
    """The curve of our outer loop, judged after every ``every`` of at most ``steps`` steps, until the last target.

    ``rate`` is Adam's at the start of a cosine decay.
    """
    problem, shared, initial = from_module(layer)
    learner = Learner(problem, solver, batching="vmap", trace=True)
    adam = partial(torch.optim.Adam, lr=rate, betas=(0.9, 0.95 if isinstance(solver, Ridge) else 0.999), fused=True)
    schedule = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)
    loop = OuterLoop(learner, learner.init(shared, initial), adam, scheduler=schedule)

    def step(i: int) -> None:
        loop.step(family.episodes("train", family.draw("train", i, 32)))

    return timed(step, lambda: judge(learner, loop.params, family), steps, every)


def timed(
    step: Callable[[int], None], error: Callable[[], float], steps: int, every: int, until: float = TARGETS[-1]
) -> Curve:
    """The curve of at most ``steps`` steps, in seconds of the steps alone, with the error after every ``every`` steps.

    It ends early where the error is ``until`` or less. ``step`` is called with the number of steps before it.
    """
    seconds = 0.0
    curve: Curve = []
    for i in range(steps):
        start = time.perf_counter()
        step(i)
        seconds += time.perf_counter() - start
        if (i + 1) % every == 0:
            curve.append((seconds, i + 1, error()))
            if curve[-1][2] <= until:
                break
    return curve


def on_higher(family: TranslationTasks, layer: ReparamLinear, inner_steps: int, rate: float, steps: int) -> Curve:
    """The curve of :func:`trained` with gradient steps, written with ``higher``, until the error is 1e-3."""
    import higher

    problem, shared, initial = from_module(layer)
    learner = Learner(problem, SGD(inner_steps), batching="vmap")
    model = ShareLinear(shared["sharing.U"], initial["v"], 68)
    alpha = torch.tensor(0.1, requires_grad=True)
    adam = torch.optim.Adam([model.U, model.v, alpha], lr=rate, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=steps)
    inner = torch.optim.SGD([model.v], lr=0.1)

    def step(i: int) -> None:
        adam.zero_grad()
        episodes = family.episodes("train", family.draw("train", i, 32))
        for sx, sy, qx, qy in zip(*episodes, strict=True):
            with higher.innerloop_ctx(model, inner, copy_initial_weights=False, override={"lr": [alpha]}) as (net, opt):
                for _ in range(inner_steps):
                    opt.step(F.mse_loss(net(sx), sy))
                (F.mse_loss(net(qx), qy) / 32).backward()
        adam.step()
        decay.step()

    def error() -> float:
        now = MetaParameters({"sharing.U": model.U.detach()}, {"v": model.v.detach()}, {"rate.v": alpha.detach()})
        return judge(learner, now, family)

    return timed(step, error, steps, 20, until=1e-3)


def first(curve: Curve, target: float) -> tuple[float, int] | None:
    """Seconds and outer steps at which the error was first at or below the target; None where it never was."""
    return next(((seconds, steps) for seconds, steps, error in curve if error <= target), None)


def ridge_from_random(rank: int, seed: int, steps: int) -> Curve:
    """The curve of outer steps on the closed form, from a random layer."""
    family = TranslationTasks(rank=rank, seed=seed)
    return trained(family, random_layer(rank, seed, "scaled"), Ridge(penalty=1e-5), 2e-2, steps, every=10)


def sgd_from_random(rank: int, seed: int, inner: int, rate: float, steps: int) -> Curve:
    """The curve of outer steps through ``inner`` gradient steps, started as the paper's code does."""
    family = TranslationTasks(rank=rank, seed=seed)
    return trained(family, random_layer(rank, seed, "reference"), SGD(inner, rate=0.1), rate, steps, every=20)


def sgd_on_higher(rank: int, seed: int, inner: int, rate: float, steps: int) -> Curve:
    """The curve of :func:`sgd_from_random`, written with ``higher``."""
    family = TranslationTasks(rank=rank, seed=seed)
    return on_higher(family, random_layer(rank, seed, "reference"), inner, rate, steps)


def methods(rank: int, *, quick: bool, seeds: int, sgd_steps: int, sgd_rate: float) -> dict[str, tuple[int, Method]]:
    """Every method by name, as a number of seeds and a function of the seed that gives a curve.

    ``sgd_steps`` are the outer steps of gradient methods, for each rank, and ``sgd_rate`` is Adam's rate for them.
    """
    k = 3 * rank
    steps = 20 if quick else 400 * rank
    result: dict[str, tuple[int, Method]] = {
        "direct, k found": (seeds, lambda seed: direct(rank, seed, "auto")),
        "direct, k given": (seeds, lambda seed: direct(rank, seed, k)),
        f"direct, k given, {FEW} tasks": (seeds, lambda seed: direct(rank, seed, k, FEW)),
        "spectral start, then ridge": (seeds, lambda seed: spectral_then_ridge(rank, seed, steps)),
        "ridge, random start": (seeds, lambda seed: ridge_from_random(rank, seed, steps)),
    }
    for inner in (1, 3, 5):
        sgd = partial(sgd_from_random, rank, inner=inner, rate=sgd_rate, steps=sgd_steps * rank)
        result[f"SGD, {inner} step{'s' * (inner > 1)}"] = (1, sgd)
    if rank == 1:
        on_peer = partial(sgd_on_higher, rank, inner=5, rate=sgd_rate, steps=sgd_steps)
        result["SGD, 5 steps, on higher"] = (1, on_peer)
    return result


def run(*, quick: bool, seeds: int = 3, sgd_steps: int = 1000, sgd_rate: float = 4e-3) -> dict[str, Any]:
    """Run every method on every rank; SGD and ``higher`` with the first seed only."""
    if quick:
        seeds = 1
        sgd_steps = 40
    rows = []
    for rank in (1, 2, 5):
        of_rank = methods(rank, quick=quick, seeds=seeds, sgd_steps=sgd_steps, sgd_rate=sgd_rate)
        for name, (n_seeds, method) in of_rank.items():
            curves = [method(seed) for seed in range(n_seeds)]
            rows.append(
                {
                    "rank": rank,
                    "method": name,
                    "last_error": [curve[-1][2] for curve in curves],
                    "last_seconds": [curve[-1][0] for curve in curves],
                    "times": {f"{t:g}": [first(curve, t) for curve in curves] for t in TARGETS},
                    "curve": curves[0],
                }
            )
            say(f"rank {rank}, {name}: {cells(rows[-1])}")
    return {"tasks": TASKS, "sgd_rate": sgd_rate, "rows": rows}


def seconds_to(row: dict[str, Any], target: float) -> float | None:
    """The median over seeds of the seconds to a query error; None if a seed did not get there."""
    hits = row["times"][f"{target:g}"]
    return None if None in hits else sorted(hit[0] for hit in hits)[len(hits) // 2]


def cells(row: dict[str, Any]) -> list[str]:
    """The seconds to each target as a table shows them, or "not reached"."""
    seconds = [seconds_to(row, target) for target in TARGETS]
    return ["not reached" if s is None else f"{s:.2f}" for s in seconds]


def tables(results: dict[str, Any]) -> Tables:
    """One table for each rank, a row for each method."""
    head = ["method", *[f"{t:g}" for t in TARGETS], "last error", "seconds in all", "seeds"]
    result: Tables = {}
    for row in results["rows"]:
        lines = result.setdefault(f"Rank {row['rank']}: seconds to a query error (median over seeds)", (head, []))[1]
        middle = len(row["last_error"]) // 2
        last = sorted(row["last_error"])[middle]
        total = sorted(row["last_seconds"])[middle]
        lines.append([row["method"], *cells(row), f"{last:.1e}", f"{total:.1f}", str(len(row["last_error"]))])
    return result


def headlines(results: dict[str, Any]) -> list[Headline]:
    """Seconds to an error of 1e-3 at rank 1, beside SGD on ``higher``, and at rank 5."""
    rows = {(row["rank"], row["method"]): row for row in results["rows"]}
    ours = seconds_to(rows[1, f"direct, k given, {FEW} tasks"], 1e-3)
    theirs = seconds_to(rows[1, "SGD, 5 steps, on higher"], 1e-3)
    lines = []
    if ours is not None:
        beside = "not reached" if theirs is None else f"{theirs:.0f} s (higher, SGD, 5 steps)"
        ratio = "" if theirs is None else f"{theirs / ours:.0f}x"
        lines.append(Headline("rank 1 to an error of 1e-3, k given", f"{ours:.2f} s", beside, ratio))
    five = seconds_to(rows[5, "direct, k found"], 1e-3)
    if five is not None:
        lines.append(Headline("rank 5 to an error of 1e-3, k found", f"{five:.2f} s"))
    return lines


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """A figure for each rank: query error against seconds, of the first seed, for each method."""
    by_name = {}
    for rank in (1, 2, 5):
        series = {
            row["method"]: ([point[0] for point in row["curve"]], [point[2] for point in row["curve"]])
            for row in results["rows"]
            if row["rank"] == rank
        }
        figure = drawing.curves(series, ylabel="query error of 100 held-out tasks", log=True, xlabel="seconds")
        figure.axes[0].set_xscale("log")
        figure.axes[0].set_title(f"rank {rank}")
        for line in figure.axes[0].lines:
            if np.size(line.get_xdata()) == 1:
                line.set_marker("o")
        figure.axes[0].legend(fontsize="small", ncols=2)
        by_name[f"time_to_error_rank{rank}"] = figure
    return by_name


if __name__ == "__main__":
    command(__file__)
