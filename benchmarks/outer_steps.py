"""How many outer steps a second on the translation problem, against JAX, higher, learn2learn and TorchOpt?

Rank 1, 32 tasks a step, one support and 19 query examples, second order, learned rates, Adam: the protocol of
arXiv:2007.02933's released code. All sides get the same batches and first prove that their meta-gradients agree; a
second timing has each draw its own tasks within the step. JAX compiles the whole step, with Adam of optax.

A second table says what bounds ours: what a recorded meta-gradient computes, reads and writes, against the rates that
this machine reaches on plain products, copies and calls. Seven products hold the arithmetic, whatever the number of
inner steps; each further inner step adds about twenty operations so small that calling them is what they cost.
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
from benchmarks.harness.networks import ShareLinear
from msr.episodes import Episodes
from msr.layers import ReparamLinear
from msr.meta import SGD, Learner, from_module
from msr.sharing import DenseSharing
from msr.tasks import KeptTasks
from tasks import TranslationTasks

tables = _steps.tables


def compare(
    steps: int, rounds: int, seconds: float, tasks: int, machine: Machine | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of our learners and of each peer at ``steps`` inner steps, as of :func:`benchmarks.harness.steps.compare`,
    and what bounds ours on a machine, as of :func:`benchmarks.harness.steps.bound`; empty without one.

    ``rounds`` and ``seconds`` are those of the timing, and ``tasks`` is the number in a batch.
    """
    # As a runner draws them: each of the 8,000 tasks is made once.
    family = KeptTasks(TranslationTasks(rank=1))
    solver = SGD(steps, rate=_steps.RATE)

    def make(dtype: torch.dtype) -> _steps.Sides:
        """Our learners and the peers' layer in a precision, all from the same start."""
        pattern = partial(DenseSharing, k=3)
        generator = torch.Generator().manual_seed(0)
        layer = ReparamLinear(70, 68, bias=False, dtype=dtype, sharing=pattern, generator=generator)
        problem, shared, initial = from_module(layer)
        learners = {
            "msr": Learner(problem, solver, batching="vmap", trace=True),
            "msr, not recorded": Learner(problem, solver, batching="vmap"),
        }
        module = ShareLinear(shared["sharing.U"], initial["v"], 68)
        return _steps.Sides(learners, learners["msr"].init(shared, initial), module, {"sharing.U": "U", "v": "v"})

    def draw(step: int) -> Episodes:
        return family.episodes("train", family.draw("train", step, tasks))

    batches = [draw(step) for step in range(20)]
    rows = _steps.compare(
        make,
        F.mse_loss,
        batches=batches,
        draw=draw,
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
    """The problem in JAX; the tasks side by side, which is several times as fast there as ``lax.map``."""
    from benchmarks.harness import jax_networks as networks

    return {"jax": InJax(networks.share_linear, networks.mean_squared_error, "vmap", single=1e-4)}


def run(*, quick: bool, rounds: int = 9) -> dict[str, Any]:
    """Time outer steps with 1 and with 3 inner steps."""
    machine = measure_machine(quick=quick)
    rows: list[dict[str, Any]] = []
    bounds: list[dict[str, Any]] = []
    for steps in (1, 3):
        timed, bound = compare(steps, 1 if quick else rounds, 0.01 if quick else 0.4, 4 if quick else 32, machine)
        rows += timed
        bounds.append(bound)
        say(f"{steps} inner steps done")
    return {"threads": torch.get_num_threads(), "rows": rows, "bounds": bounds}


def headlines(results: dict[str, Any]) -> list[Headline]:
    """Our outer steps a second beside those of each peer."""
    return _steps.headlines(results, "translation")


if __name__ == "__main__":
    command(__file__)
