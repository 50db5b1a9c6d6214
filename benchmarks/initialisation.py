"""Does the start of U and v matter? One layer on translation tasks, and a network of three layers.

Not a timing: query MSE of held-out tasks at several outer steps, for both starts, with intervals over seeds.
"""

import argparse
from functools import partial

import torch
from torch import nn

from benchmarks._timing import write
from msr.estimate import Estimate
from msr.layers import DenseSharing, ReparamLinear
from msr.meta import SGD, Learner, OuterLoop, Ridge, evaluate, from_module
from msr.report import format_table
from tasks import TranslationTasks

CHECKPOINTS = (0, 100, 300, 1000)


def network(layers: int, n: int, m: int, init: str, seed: int) -> nn.Module:
    """A reparameterised layer, or several with tanh between."""
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


def trajectory(layers: int, solver: SGD | Ridge, init: str, seed: int) -> list[float]:
    """Query MSE on 100 held-out tasks at each checkpoint."""
    family = TranslationTasks(rank=2, length=24, seed=seed, shots=1 if layers == 1 else 5)
    m, n = family.weight_shape
    problem, shared, initial = from_module(network(layers, n, m, init, seed))
    learner = Learner(problem, solver, batching="vmap")
    adam = partial(torch.optim.Adam, lr=1e-3 if isinstance(solver, SGD) else 2e-2)
    loop = OuterLoop(learner, learner.init(shared, initial), adam)
    test, values = family.episodes("test", torch.arange(100)), []
    for step in range(CHECKPOINTS[-1] + 1):
        if step in CHECKPOINTS:
            values.append(evaluate(learner, loop.params, [test]).mean)
        loop.step(family.episodes("train", family.draw("train", step, 32)))
    return values


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    settings = {
        "one layer, sgd": (1, SGD(3)),
        "one layer, ridge": (1, Ridge(1e-5)),
        "three layers, sgd": (3, SGD(3)),
    }
    rows, cells = [], []
    for name, (layers, solver) in settings.items():
        for init in ("reference", "scaled"):
            runs = [trajectory(layers, solver, init, seed) for seed in range(seeds)]
            estimates = [Estimate.of(values) for values in zip(*runs, strict=True)]
            rows.append({"setting": name, "init": init, "query_mse": [e.to_dict() for e in estimates]})
            cells.append([name, init, *(f"{e.mean:.3g} ± {e.ci95:.1g}" for e in estimates)])
    header = ["setting", "init", *(f"step {step}" for step in CHECKPOINTS)]
    print(format_table(header, cells))
    print(write("initialisation", {"checkpoints": CHECKPOINTS, "rows": rows}))
