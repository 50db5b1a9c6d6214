"""Does the start of U and v matter? One layer on translation tasks, and a network of three layers.

Not a timing: query MSE of held-out tasks at several outer steps, for both starts, with intervals over seeds.
"""

from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.harness.command import command, say
from benchmarks.harness.contract import Headline, Tables
from msr.layers import ReparamLinear
from msr.meta import SGD, Learner, OuterLoop, Ridge, evaluate, from_module
from msr.report import figures as draw
from msr.sharing import DenseSharing
from msr.statistics.estimate import Estimate
from tasks import TranslationTasks

CHECKPOINTS = (0, 100, 300, 1000)
Init = Literal["scaled", "reference"]


def network(layers: int, n: int, m: int, init: Init, seed: int) -> nn.Module:
    """Reparameterised layers with tanh between, from ``n`` inputs to ``m`` outputs, and ``n`` numbers within."""
    generator = torch.Generator().manual_seed(seed)
    sharing = partial(DenseSharing, k=6, init=init)
    parts: list[nn.Module] = []
    for i in range(layers):
        last = i == layers - 1
        parts += [
            ReparamLinear(n, m if last else n, bias=False, sharing=sharing, generator=generator),
            nn.Tanh(),
        ]
    return nn.Sequential(*parts[:-1])


def trajectory(layers: int, solver: SGD | Ridge, init: Init, seed: int, checkpoints: tuple[int, ...]) -> list[float]:
    """Query MSE on 100 held-out tasks at each checkpoint: after so many outer steps, which ascend."""
    family = TranslationTasks(rank=2, length=24, seed=seed, shots=1 if layers == 1 else 5)
    m, n = family.weight_shape
    problem, shared, initial = from_module(network(layers, n, m, init, seed))
    learner = Learner(problem, solver, batching="vmap")
    adam = partial(torch.optim.Adam, lr=1e-3 if isinstance(solver, SGD) else 2e-2)
    loop = OuterLoop(learner, learner.init(shared, initial), adam)
    test = family.episodes("test", torch.arange(100))
    values = []
    for step in range(checkpoints[-1] + 1):
        if step in checkpoints:
            values.append(evaluate(learner, loop.params, [test]).mean)
        loop.step(family.episodes("train", family.draw("train", step, 32)))
    return values


def run(*, quick: bool = False, seeds: int = 3) -> dict[str, Any]:
    """Train with both starts in each setting, and estimate the query MSE at the checkpoints over seeds."""
    settings: dict[str, tuple[int, SGD | Ridge]] = {
        "one layer, sgd": (1, SGD(3)),
        "one layer, ridge": (1, Ridge(1e-5)),
        "three layers, sgd": (3, SGD(3)),
    }
    checkpoints, seeds = ((0, 2), 2) if quick else (CHECKPOINTS, seeds)
    rows = []
    starts: tuple[Init, ...] = ("reference", "scaled")
    for name, (layers, solver) in settings.items():
        for init in starts:
            runs = [trajectory(layers, solver, init, seed, checkpoints) for seed in range(seeds)]
            estimates = [Estimate.of(values) for values in zip(*runs, strict=True)]
            rows.append({"setting": name, "init": init, "query_mse": [e.to_dict() for e in estimates]})
            say(f"{name}, {init}: {estimates[-1]}")
    return {"checkpoints": checkpoints, "rows": rows}


def tables(results: dict[str, Any]) -> Tables:
    """Query MSE at the checkpoints."""
    header = ["setting", "start", *(f"step {step}" for step in results["checkpoints"])]
    cells = [[r["setting"], r["init"], *(_estimate(e) for e in r["query_mse"])] for r in results["rows"]]
    seeds = results["rows"][0]["query_mse"][0]["n"]
    return {f"Query MSE of 100 held-out tasks, mean and 95% interval over {seeds} seeds": (header, cells)}


def headlines(results: dict[str, Any]) -> list[Headline]:
    """The query MSE of the two starts at the last checkpoint, for each setting."""
    last = {(r["setting"], r["init"]): _estimate(r["query_mse"][-1]) for r in results["rows"]}
    return [
        Headline(
            f"query MSE after {results['checkpoints'][-1]} outer steps, {setting}",
            f"scaled start {last[setting, 'scaled']}",
            f"reference start {last[setting, 'reference']}",
        )
        for setting in dict.fromkeys(r["setting"] for r in results["rows"])
    ]


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """Query MSE against outer steps."""
    steps = results["checkpoints"]
    series = {f"{r['setting']}, {r['init']}": (steps, [e["mean"] for e in r["query_mse"]]) for r in results["rows"]}
    return {"initialisation": draw.curves(series, ylabel="query MSE", log=True)}


def _estimate(e: dict[str, Any]) -> str:
    """An estimate as a table shows it, mean and 95% interval."""
    return f"{e['mean']:.3g} ± {e['ci95']:.1g}"


if __name__ == "__main__":
    command(__file__)
