"""Outer steps side by side: the same model, the same batches, gradients proven equal before anything is timed."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.harness import jax_steps
from benchmarks.harness.account import Account, Alone, Machine, page_faults
from benchmarks.harness.command import duration
from benchmarks.harness.contract import Headline, Table, Tables
from benchmarks.harness.jax_steps import InJax, JaxStep
from benchmarks.harness.peers import Gradient, available
from benchmarks.harness.timing import alternate, ratio
from msr.episodes import Episodes
from msr.meta import Learner, OuterLoop
from msr.meta.problem import MetaParameters

__all__ = ["RATE", "Sides", "bound", "compare", "headlines", "tables"]

RATE = 0.1
"""The start of the learned rates."""


class Sides(NamedTuple):
    """What is compared: our learners by name, first the one that counts, with their start, and the peers' model.

    ``names`` has, for each of our parameters, its name in the peers' module.
    """

    learners: dict[str, Learner]
    params: MetaParameters
    module: nn.Module
    names: dict[str, str]  # of our parameters in the peers' model


def compare(
    make: Callable[[torch.dtype], Sides],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    batches: list[Episodes],
    draw: Callable[[int], Episodes] | None,
    in_jax: Callable[[], dict[str, InJax]],
    steps: int,
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """A row for each of our learners and each peer: outer steps a second, and its time as a multiple of our first's.

    A peer that cannot be imported has a row with the reason. Raises: AssertionError unless all meta-gradients agree.

    Args:
        make: the sides in a precision: float64 to compare gradients, float32 to be timed.
        batches: are drawn beforehand and shared by all.
        draw: the batch of an outer step; with it each side is also timed drawing its own. None to leave that out.
        in_jax: the problem in JAX, by the names of its rows; called only where JAX is there.
        steps: of the inner loop.
        rounds, seconds: of :func:`~benchmarks.harness.timing.alternate`.
    """
    peers, missing = available()
    why = jax_steps.why_not()
    if why is not None:
        missing["jax"] = why
    problems = in_jax() if why is None else {}
    _prove_equal(make(torch.float64), peers, problems, loss, _cast(batches[0], torch.float64), steps)
    sides = make(torch.float32)
    for problem in problems.values():
        _prove_near(sides, problem, batches[0], steps)
    calls: dict[str, Callable[[Any], object]] = {}
    for label, learner in sides.learners.items():
        calls[label] = OuterLoop(learner, sides.params, _adam).step
    for label, peer in peers.items():
        net = copy.deepcopy(sides.module)
        rates = _rates(sides)
        adam = _adam([{"params": [*net.parameters(), *rates.values()]}])

        def step(episodes: Episodes, peer: Any = peer, net: Any = net, rates: Any = rates, adam: Any = adam) -> None:
            adam.zero_grad()
            peer(net, rates, loss, episodes, steps)
            adam.step()

        calls[label] = step
    compiled = {label: JaxStep(problem, sides.params, steps) for label, problem in problems.items()}
    timed: dict[str, dict[str, Callable[[], object]]] = {}
    timed["drawn before"] = {n: partial(_next, call, iter(_forever(batches))) for n, call in calls.items()}
    if compiled:
        arrays = [JaxStep.converted(batch) for batch in batches]
        timed["drawn before"] |= {n: partial(_next, call, iter(_forever(arrays))) for n, call in compiled.items()}
    if draw is not None:
        timed["drawn in the step"] = {n: partial(_next, call, map(draw, _count())) for n, call in calls.items()}
        for name, call in compiled.items():
            converted = map(JaxStep.converted, map(draw, _count()))
            timed["drawn in the step"][name] = partial(_next, call, converted)
    rows: list[dict[str, Any]] = []
    first = next(iter(sides.learners))
    for how, functions in timed.items():
        times = alternate(functions, rounds=rounds, seconds=seconds)
        for name, laps in times.items():
            middle, low, high = ratio(laps, times[first])
            rows.append(
                {"inner_steps": steps, "batches": how, "who": name, "steps_per_s": 1 / sorted(laps)[len(laps) // 2]}
                | {"ratio": middle, "ratio_min": low, "ratio_max": high}
            )
    rows += [{"inner_steps": steps, "who": name, "missing": reason} for name, reason in missing.items()]
    return rows


def bound(sides: Sides, episodes: Episodes, machine: Machine, *, rounds: int, seconds: float) -> dict[str, Any]:
    """What a recorded meta-gradient has to do, by one worker, and the least time that this machine needs for it.

    It has the numbers of operations, flops and bytes; the time of ``rounds``, of ``seconds`` each; the bound of
    :meth:`~benchmarks.harness.account.Machine.least_seconds` by what binds; and the products and convolutions alone.
    """
    learner = next(learner for learner in sides.learners.values() if learner.trace and learner.workers == 1)
    call = partial(learner.meta_gradient, sides.params, episodes)
    call()  # records
    with Account() as account:
        call()
    with Alone() as alone:
        call()
    least = machine.least_seconds(account.operations, page_faults(call))
    (laps,) = alternate({"": call}, rounds=rounds, seconds=seconds).values()
    return {
        "operations": len(account.operations),
        "flops": account.flops,
        "bytes": account.bytes,
        "least": sum(least.values()),
        "least_by": least,
        "products_alone": alone.seconds,
        "seconds": [sorted(laps)[len(laps) // 2], min(laps), max(laps)],
    }


def _adam(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Adam on the parameters of all groups together, as one group, since each further group costs a call."""
    return torch.optim.Adam([p for group in groups for p in group["params"]], lr=1e-3, fused=True)


def _prove_equal(
    sides: Sides,
    peers: dict[str, Gradient],
    problems: dict[str, InJax],
    loss: Callable,
    episodes: Episodes,
    steps: int,
) -> None:
    """Raise AssertionError unless all sides compute the same meta-gradient on ``episodes``.

    The sides must be in float64, since rounding at a kink can change a gradient by per cents.
    """
    gradients = [learner.meta_gradient(sides.params, episodes).gradient for learner in sides.learners.values()]
    for peer in peers.values():
        net = copy.deepcopy(sides.module)
        rates = _rates(sides)
        peer(net, rates, loss, episodes, steps)
        parameters = dict(net.named_parameters())
        shared, initial = ({n: _gradient(parameters[sides.names[n]]) for n in group} for group in sides.params[:2])
        inner = {f"rate.{n}": _gradient(rates[sides.names[n]]) for n in sides.params.initial}
        gradients.append(MetaParameters(shared, initial, inner))
    gradients += [JaxStep.meta_gradient(problem, sides.params, episodes, steps) for problem in problems.values()]
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-6, atol=1e-10)


def _prove_near(sides: Sides, problem: InJax, episodes: Episodes, steps: int) -> None:
    """Raise AssertionError unless JAX's meta-gradient in float32 is ours, tensor by tensor, up to the problem's share.

    A tensor whose gradient is nothing but rounding (a bias in front of a batch norm) may be apart by that share of a
    hundredth of the norm of all tensors together.
    """
    ours = next(iter(sides.learners.values())).meta_gradient(sides.params, episodes).gradient
    theirs = JaxStep.meta_gradient(problem, sides.params, episodes, steps)
    whole = float(torch.stack([leaf.norm() for leaf in ours.leaves()]).norm())
    for own, other in zip(ours.leaves(), theirs.leaves(), strict=True):
        assert other.dtype == own.dtype == torch.float32
        apart = float((other - own).norm())
        allowed = problem.single * max(float(own.norm()), whole / 100)
        assert apart <= allowed, f"gradients in float32 are {apart:.1e} apart, more than {allowed:.1e}"


def _gradient(parameter: Tensor) -> Tensor:
    """The gradient that a peer left in a parameter."""
    assert parameter.grad is not None
    return parameter.grad


def _rates(sides: Sides) -> dict[str, Tensor]:
    """A new learned rate, which starts at :data:`RATE`, by the peers' name of each parameter that tasks adapt."""
    return {sides.names[n]: p.new_tensor(RATE).requires_grad_() for n, p in sides.params.initial.items()}


def _cast(episodes: Episodes, dtype: torch.dtype) -> Episodes:
    """The episodes in a precision; whole numbers, such as labels, stay."""
    return Episodes(*(part.to(dtype) if part.is_floating_point() else part for part in episodes))


def _next(call: Callable[[Any], object], batches: Iterator[Any]) -> object:
    """What ``call`` gives for the next batch, which is taken from the iterator."""
    return call(next(batches))


def _forever(batches: list[Any]) -> Iterator[Any]:
    """The batches in turn, again and again."""
    while True:
        yield from batches


def _count() -> Iterator[int]:
    """The numbers 1, 2, 3 and so on."""
    step = 0
    while True:
        yield (step := step + 1)


def tables(results: dict[str, Any]) -> Tables:
    """One table; a peer that is not there says why."""
    cells = []
    for row in results["rows"]:
        if "missing" in row:
            cells.append([str(row["inner_steps"]), "", row["who"], "not here", row["missing"]])
        else:
            spread = f"{row['ratio']:.3g}x ({row['ratio_min']:.3g} to {row['ratio_max']:.3g})"
            cells.append([str(row["inner_steps"]), row["batches"], row["who"], f"{row['steps_per_s']:.4g}", spread])
    threads = results["threads"]
    header = ["inner steps", "batches", "who", "outer steps/s", "time, in ours (range over rounds)"]
    made = {f"Outer steps a second, {threads} thread{'s' * (threads > 1)}": (header, cells)}
    if "bounds" in results:
        made["What bounds a meta-gradient of ours, recorded, by one worker"] = _bounds(results)
    return made


def _bounds(results: dict[str, Any]) -> Table:
    """The table of what was counted, against the machine's own rates."""
    header = [
        "inner steps", "time", "operations", "MFLOP", "MB read and written", "least time",
        "of it by flops, bytes, calls", "products and convolutions alone",
    ]  # fmt: skip
    cells = []
    for row in results["bounds"]:
        middle = row["seconds"][0]
        parts = [duration(row["least_by"][name]) for name in ("flops", "bytes", "calls")]
        alone = f"{duration(row['products_alone'])}, {row['products_alone'] / middle:.0%} of the time"
        counted = [f"{row['flops'] / 1e6:.3g}", f"{row['bytes'] / 1e6:.3g}", duration(row["least"])]
        cells.append(
            [str(row["inner_steps"]), duration(middle), str(row["operations"]), *counted, ", ".join(parts), alone]
        )
    return header, cells


def headlines(results: dict[str, Any], what: str) -> list[Headline]:
    """Our outer steps a second, of the first learner, beside those of each peer, with batches drawn before.

    ``what`` names the problem.
    """
    rows = [row for row in results["rows"] if row.get("batches") == "drawn before"]
    ours = {row["inner_steps"]: row["steps_per_s"] for row in reversed(rows) if row["who"].startswith("msr")}
    return [
        Headline(
            f"{what}, {row['inner_steps']} inner step{'s' * (row['inner_steps'] > 1)}: outer steps a second",
            f"{ours[row['inner_steps']]:.3g}",
            f"{row['who']} {row['steps_per_s']:.3g}",
            f"{row['ratio']:.3g}x",
        )
        for row in rows
        if not row["who"].startswith("msr")
    ]
