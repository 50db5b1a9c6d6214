"""How does the memory of a meta-gradient grow with the steps of the inner loop?

A network of two reparameterised layers, 8 tasks side by side, nothing recorded. The number is the most bytes of tensors
alive at once during one meta-gradient, beyond parameters and data; it is counted, not timed, so it repeats exactly.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.harness.command import command, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.memory import Allocations
from msr.episodes import Episodes
from msr.layers import ReparamLinear
from msr.meta import SGD, GaussNewton, Learner, from_module
from msr.sharing import DenseSharing

STEPS = (1, 2, 5, 10, 20, 50)
SOLVERS: dict[str, SGD | GaussNewton] = {
    "SGD, unrolled": SGD(rate=0.01),
    "Gauss-Newton dense, unrolled": GaussNewton(system="dense"),
    "Gauss-Newton cg, unrolled": GaussNewton(system="cg", cg_steps=4),
    "Gauss-Newton dense, implicit": GaussNewton(system="dense", gradient="implicit"),
    "Gauss-Newton cg, implicit": GaussNewton(system="cg", gradient="implicit", cg_steps=4),
}


def peak_bytes(name: str, steps: int, *, quick: bool) -> int:
    """The most bytes alive at once during one meta-gradient with this solver and as many inner steps."""
    gen = torch.Generator().manual_seed(0)
    n, k = (8, 8) if quick else (64, 32)
    layer = partial(ReparamLinear, n, n, bias=False, sharing=partial(DenseSharing, k=k), generator=gen)
    problem, shared, initial = from_module(nn.Sequential(layer(), nn.Tanh(), layer()))
    x, y = (torch.randn(8, 4, n, generator=gen) for _ in range(2))
    learner = Learner(problem, replace(SOLVERS[name], steps=steps), batching="vmap")
    params = learner.init(shared, initial)
    episodes = Episodes(x, y, x, y)
    with Allocations() as made:
        learner.meta_gradient(params, episodes)
    return made.peak


def run(*, quick: bool) -> dict[str, Any]:
    """Peak bytes by solver and inner steps."""
    rows = []
    for name in SOLVERS:
        rows.append({"solver": name, "peak_bytes": [peak_bytes(name, steps, quick=quick) for steps in STEPS]})
        say(f"{name}: {rows[-1]['peak_bytes']}")
    return {"steps": list(STEPS), "rows": rows}


def tables(results: dict[str, Any]) -> Tables:
    """One row a solver."""
    head = ["inner solver", *[f"{steps} step{'s' * (steps > 1)}" for steps in results["steps"]], "last / first"]
    rows = [
        [
            r["solver"],
            *[f"{b / 2**20:.2f}" for b in r["peak_bytes"]],
            f"{r['peak_bytes'][-1] / r['peak_bytes'][0]:.2f}x",
        ]
        for r in results["rows"]
    ]
    return {"Peak memory of one meta-gradient, MiB": (head, rows)}


def headlines(results: dict[str, Any]) -> list[Headline]:
    """Peak memory of each solver with implicit gradients at the most inner steps, beside that at the fewest."""
    lines = []
    for row in results["rows"]:
        if row["solver"].endswith("implicit"):
            first = row["peak_bytes"][0]
            last = row["peak_bytes"][-1]
            what = f"memory of {results['steps'][-1]} inner steps, {row['solver']}"
            lines.append(
                Headline(what, f"{last / 2**20:.2f} MiB", f"1 step: {first / 2**20:.2f} MiB", f"{last / first:.2f}x")
            )
    return lines


if __name__ == "__main__":
    command(__file__)
