"""How does the cost of a meta-gradient grow with tasks, examples, signal length and filter size, and what bounds it?

One reparameterised layer ``n → n`` with a dense pattern of ``k`` columns, ridge and three gradient steps, each quantity
varied alone. Exponents are fitted on the upper sizes. The bound is what this machine needs at least for the same
operations: each at the rate of the best matrix product, or of a copy of as many bytes, or of a call that does nothing,
whichever is slowest, measured in the same run; and the pages of memory that the kernel handed out anew, at its rate.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.harness.account import Account, Machine, exponent, measure_machine, page_faults, products_alone, waiting
from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.timing import alternate
from msr.episodes import Episodes
from msr.layers import ReparamLinear
from msr.meta import SGD, Learner, MetaParameters, Ridge, from_module
from msr.report import figures as draw
from msr.sharing import DenseSharing

BASE = {"tasks": 32, "examples": 4, "n": 64, "k": 8}
AXES: dict[str, tuple[int, ...]] = {
    "tasks": (4, 8, 16, 32, 64, 128, 256, 512),
    "examples": (2, 4, 8, 16, 32, 64, 128),
    "n": (16, 32, 64, 96, 128, 192, 256),
    "k": (2, 4, 8, 16, 32, 64, 128),
}
WORDS = {"tasks": "tasks", "examples": "support and query examples, each", "n": "n", "k": "k"}
STEPS = 3
SOLVERS: dict[str, Ridge | SGD] = {"ridge": Ridge(1e-2), f"sgd, {STEPS} steps": SGD(STEPS)}
UPPER = 5


def setting(
    solver: Ridge | SGD, device: str, *, tasks: int, examples: int, n: int, k: int
) -> tuple[Learner, MetaParameters, Episodes]:
    """A learner of one layer ``n → n`` with a dense pattern of ``k`` columns, its parameters, and one batch of noise.

    ``examples`` is the number of support examples of a task, and that of its query examples too.
    """
    generator = torch.Generator(device).manual_seed(0)
    sharing = partial(DenseSharing, k=k)
    layer = ReparamLinear(n, n, bias=False, sharing=sharing, generator=generator, device=device)
    problem, shared, initial = from_module(layer)
    learner = Learner(problem, solver, batching="vmap", trace=True)
    parts = (torch.randn(tasks, examples, n, generator=generator, device=device) for _ in range(4))
    return learner, learner.init(shared, initial), Episodes(*parts)


def flops_by_hand(solver: str, tasks: int, examples: int, n: int, k: int) -> int:
    """The flops of one meta-gradient by its leading terms, two flops a multiplication.

    A product of two things that are both differentiated counts thrice. ``solver`` is a key of :data:`SOLVERS`.

    A prediction is ``W = U v`` (n²k) and ``x Wᵀ`` (examples · n²). Ridge: the Jacobian (examples · n²k a task), its
    Gram matrix (examples · n k²), the residual, the prediction on the query set. A gradient step: a prediction, and
    the same two products backwards; the first step starts from the same ``v`` for all tasks.
    """
    T = tasks
    s = examples
    query = T * n * n * (3 * k + 2 * s)
    if solver == "ridge":
        jacobian = T * s * n * n * 2 * k + 3 * n * n * k * k
        return 2 * (jacobian + 3 * T * s * n * k * k + 2 * T * s * n * n + query)
    steps = T * n * n * (STEPS * (4 * s + 6 * k) - 3 * k)
    return 2 * (steps + query)


def gradient(learner: Learner, params: MetaParameters, episodes: Episodes) -> object:
    """One meta-gradient, the computation that is timed and counted."""
    return learner.meta_gradient(params, episodes)


def sweep(solver: str, axis: str, sizes: tuple[int, ...], machine: Machine, device: str, rounds: int) -> dict[str, Any]:
    """Times and counts of a meta-gradient as one quantity is varied alone, with the exponents of their growth.

    The sizes take turns in each round. Each exponent, fitted on the upper sizes, is a pair of the slope and half of its
    95% interval.

    Args:
        solver: a key of :data:`SOLVERS`.
        axis: a key of :data:`AXES`, the quantity that takes the ``sizes``; everything else stays at :data:`BASE`.
        machine: the rates that the bound is made from.
    """
    calls: dict[str, Callable[[], object]] = {}
    counts: list[dict[str, Any]] = []
    for size in sizes:
        shape = {**BASE, axis: size}
        call = partial(gradient, *setting(SOLVERS[solver], device, **shape))
        call()  # records
        with Account() as account:
            call()
        faults = page_faults(call)
        least = machine.least_seconds(account.operations, faults)
        time_of: dict[str, float] = {}
        for op in account.operations:
            time_of[op.name] = time_of.get(op.name, 0.0) + op.seconds
        slowest = max(time_of, key=lambda name: time_of[name])
        counts.append(
            {
                "size": size,
                "operations": len(account.operations),
                "flops": account.flops,
                "flops_by_hand": flops_by_hand(solver, **shape),
                "bytes": account.bytes,
                "faults": faults,
                "bound": sum(least.values()),
                "bound_by": least,
                "products_alone": products_alone(account.operations, device),
                "slowest": [slowest, time_of[slowest] / sum(time_of.values())],
            }
        )
        calls[str(size)] = waiting(call, device)
    times = alternate(calls, rounds=rounds, seconds=0.1 if rounds > 2 else 0.02)
    for count, laps in zip(counts, times.values(), strict=True):
        count["seconds"] = [statistics.median(laps), min(laps), max(laps)]
    upper = counts[-UPPER:]
    at = [count["size"] for count in upper]
    exponents = {key: exponent(at, [count[key] for count in upper]) for key in ("flops", "bytes", "bound")}
    exponents["seconds"] = exponent(at, [count["seconds"][0] for count in upper])
    return {"solver": solver, "axis": axis, "points": counts, "upper": len(upper), "exponents": exponents}


def run(*, quick: bool = False, device: str = "cpu", rounds: int = 5) -> dict[str, Any]:
    """Measure the machine's own rates, then the cost of a meta-gradient along each quantity, for each solver."""
    machine = measure_machine(device, quick=quick)
    say(f"products: {max(machine.products.values()) / 1e9:.0f} GFLOP/s at best; copies: {_rates(machine.copies)}")
    sweeps = []
    for solver in SOLVERS:
        for axis, sizes in AXES.items():
            if quick and axis != "tasks":
                continue
            done = sweep(solver, axis, sizes[:3] if quick else sizes, machine, device, 2 if quick else rounds)
            sweeps.append(done)
            slope, half = done["exponents"]["seconds"]
            say(f"{solver}, {axis}: exponent {slope:.2f} ± {half:.2f}")
    rates = {
        "products": {str(n): rate for n, rate in machine.products.items()},
        "copies": {str(n): rate for n, rate in machine.copies.items()},
        "call": machine.dispatch,
        "fault": machine.fault,
    }
    return {"device": device, "base": BASE, "rounds": 2 if quick else rounds, "rates": rates, "sweeps": sweeps}


def _rates(rates: dict[Any, float]) -> str:
    """Rates of copies, in bytes a second by the number of bytes, in words."""
    return ", ".join(f"{rate / 1e9:.0f} GB/s at {_size(int(n))}" for n, rate in rates.items())


def _size(n: int) -> str:
    """A number of bytes in words, in binary units rounded down."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}"
        n //= 1024
    return f"{n} GiB"


def _slope(pair: list[float]) -> str:
    """An exponent as a table shows it, from its slope and half of its interval."""
    slope, half = pair
    return f"{slope:.2f} ± {half:.2f}"


def tables(results: dict[str, Any]) -> Tables:
    """A table of exponents; and one of the largest size of each sweep, its time against the bound."""
    base = ", ".join(f"{key} {value}" for key, value in results["base"].items())
    header = ["solver, what grows", "sizes", "fitted on", "time", "flops", "bytes", "bound"]
    slopes = []
    ends = []
    for line in results["sweeps"]:
        name = f"{line['solver']}: {WORDS[line['axis']]}"
        points = line["points"]
        slope = line["exponents"]
        upper = points[-line["upper"] :]
        ranges = f"{points[0]['size']} to {points[-1]['size']}", f"{upper[0]['size']} to {upper[-1]['size']}"
        slopes.append([name, *ranges, *(_slope(slope[key]) for key in ("seconds", "flops", "bytes", "bound"))])
        last = points[-1]
        seconds = last["seconds"][0]
        binds = max(last["bound_by"], key=lambda key: last["bound_by"][key])
        ends.append(
            [
                f"{line['solver']}: {WORDS[line['axis']]} {last['size']}",
                duration(seconds),
                f"{last['flops'] / 1e6:.3g}",
                f"{last['flops'] / last['flops_by_hand']:.2f}",
                f"{last['flops'] / seconds / 1e9:.3g}",
                f"{last['bytes'] / 1e6:.3g}",
                f"{last['bytes'] / seconds / 1e9:.3g}",
                f"{100 * last['bound'] / seconds:.0f}%, {binds}",
                f"{100 * last['bound_by']['pages'] / seconds:.0f}%",
                f"{100 * last['products_alone'] / seconds:.0f}%",
                f"{last['slowest'][0].removeprefix('aten.')} {100 * last['slowest'][1]:.0f}%",
            ]
        )
    rates = results["rates"]
    products = ", ".join(f"{rate / 1e9:.0f} at {n}" for n, rate in rates["products"].items())
    counted = [
        "solver, largest size",
        "time",
        "Mflop",
        "counted / by hand",
        "GFLOP/s",
        "MB",
        "GB/s",
        "bound / time, mostly by",
        "fresh pages / time",
        "its products alone / time",
        "slowest operation",
    ]
    return {
        f"Exponents of the cost of one meta-gradient, least squares on logarithms with 95% intervals; the rest stays "
        f"at {base}": (header, slopes),
        f"The largest size of each. Plain matrix products in the same run reached {products} GFLOP/s, copies "
        f"{_rates(rates['copies'])}; a call that does nothing takes {duration(rates['call'])}, a fresh page "
        f"{duration(rates['fault'])}": (counted, ends),
    }


def headlines(results: dict[str, Any]) -> list[Headline]:
    """The exponent of the time of each sweep, beside the exponent of its bound."""
    lines = []
    for line in results["sweeps"]:
        slope = line["exponents"]
        last = line["points"][-1]
        what = f"exponent of a meta-gradient's cost, {line['solver']}, in {WORDS[line['axis']]}"
        reached = f"bound is {100 * last['bound'] / last['seconds'][0]:.0f}% of the time at {last['size']}"
        lines.append(Headline(what, _slope(slope["seconds"]), f"{_slope(slope['bound'])} of the bound", reached))
    return lines


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """A picture for each quantity: both solvers, measured and bound."""
    drawn = {}
    for axis in dict.fromkeys(line["axis"] for line in results["sweeps"]):
        series: dict[str, Any] = {}
        for line in results["sweeps"]:
            if line["axis"] == axis:
                sizes = [point["size"] for point in line["points"]]
                laps = [[1e3 * point["seconds"][i] for point in line["points"]] for i in range(3)]
                slope = line["exponents"]["seconds"][0]
                series[f"{line['solver']} (exponent {slope:.2f})"] = [sizes, *laps]
                series[f"{line['solver']}: bound"] = [sizes, [1e3 * point["bound"] for point in line["points"]]]
        title = f"Cost of a meta-gradient as {axis} grow" + ("" if axis in ("tasks", "examples") else "s")
        drawn[f"scaling_{axis}"] = draw.scaling(series, xlabel=WORDS[axis], ylabel="ms", title=title)
    return drawn


if __name__ == "__main__":
    command(__file__)
