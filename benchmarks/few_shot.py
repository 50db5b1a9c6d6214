"""How many outer steps a second in few-shot classification with conv-4, against JAX, higher, learn2learn and TorchOpt?

MAML of second order with a learned rate for each tensor, Adam; 8 tasks of 5 ways, 5 support and 75 query images of
28 by 28, four blocks of 32 channels. The numbers are random: only time is measured. Same network and batches for all,
gradients proven equal first.

A second table says what bounds ours; the products and convolutions alone are the share of the step that no rewriting
around them can take away.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.harness import steps as _steps
from benchmarks.harness.account import Machine, measure_machine
from benchmarks.harness.command import command, say
from benchmarks.harness.contract import Headline
from benchmarks.harness.jax_steps import InJax
from msr.episodes import Episodes
from msr.meta import SGD, Learner, from_module
from tasks.networks import conv4

WAYS = 5
"""Classes of a task; each has one support image."""

tables = _steps.tables


def batch(tasks: int, generator: torch.Generator) -> Episodes:
    """Random images and labels of so many tasks, 5 support and 75 query images each."""
    x = torch.randn(tasks, 80, 1, 28, 28, generator=generator)
    y = torch.randint(WAYS, (tasks, 80), generator=generator)
    return Episodes.split(x, y, WAYS)


def compare(
    steps: int, rounds: int, seconds: float, tasks: int, machine: Machine | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of our learners and of each peer at ``steps`` inner steps, as of :func:`benchmarks.harness.steps.compare`,
    and what bounds ours on a machine, as of :func:`benchmarks.harness.steps.bound`; empty without one.

    ``rounds`` and ``seconds`` are those of the timing, and ``tasks`` is the number in a batch.
    """
    solver = SGD(steps, rate=_steps.RATE)
    threads = torch.get_num_threads()
    generator = torch.Generator().manual_seed(1)

    def make(dtype: torch.dtype) -> _steps.Sides:
        """Our learners and the peers' network in a precision, all from the same start."""
        module = conv4(WAYS, running_statistics=False, generator=torch.Generator().manual_seed(0)).to(dtype)
        problem, shared, initial = from_module(module, F.cross_entropy)
        loop = partial(Learner, problem, solver, batching="loop", channels_last=True)
        learners = {
            "msr": loop(trace=True, workers=threads),
            "msr, one worker": loop(trace=True),
            "msr, not recorded": loop(),
            "msr, vmap": Learner(problem, solver, batching="vmap"),
        }
        if threads == 1:
            del learners["msr, one worker"]
        return _steps.Sides(learners, learners["msr"].init(shared, initial), module, {name: name for name in initial})

    batches = [batch(tasks, generator) for _ in range(3)]
    rows = _steps.compare(
        make,
        F.cross_entropy,
        batches=batches,
        draw=None,
        in_jax=in_jax,
        steps=steps,
        rounds=rounds,
        seconds=seconds,
    )
    if machine is None:
        return rows, {}
    bound = _steps.bound(make(torch.float32), batches[0], machine, rounds=rounds, seconds=seconds)
    return rows, {"inner_steps": steps, **bound}


def in_jax() -> dict[str, InJax]:
    """The problem in JAX, with the tasks one after another and side by side."""
    from benchmarks.harness import jax_networks as networks

    # Rounding at a kink changes a gradient by more than rounding does elsewhere.
    one = InJax(networks.conv4, networks.cross_entropy, "map", single=1e-2)
    return {"jax, lax.map": one, "jax, vmap": one._replace(over="vmap")}


def run(*, quick: bool, rounds: int = 5) -> dict[str, Any]:
    """Time outer steps with 1 and with 5 inner steps."""
    machine = measure_machine(quick=quick)
    rows: list[dict[str, Any]] = []
    bounds: list[dict[str, Any]] = []
    for steps in (1,) if quick else (1, 5):
        timed, bound = compare(steps, 1 if quick else rounds, 0.01 if quick else 1.0, 2 if quick else 8, machine)
        rows += timed
        bounds.append(bound)
        say(f"{steps} inner steps done")
    return {"threads": torch.get_num_threads(), "rows": rows, "bounds": bounds}


def headlines(results: dict[str, Any]) -> list[Headline]:
    """Our outer steps a second beside those of each peer."""
    return _steps.headlines(results, "conv-4 few-shot")


if __name__ == "__main__":
    command(__file__)
