"""How fast is the attention flow: beside a loop over tokens and a short script, beside the solvers of torchdiffeq and
torchode at equal error, and with the number of tokens?

*Steps.* Steps of order 4 from the same tokens: ours, a loop over tokens in NumPy, and the vectorised script of twenty
lines that one would write in torch, which checks nothing and knows no other norm, bias, head or stepper. All must give
the same tokens to 1e-10 first.

*Equal error.* Orthogonal tokens stay equiangular, so the product of any two is known to 1e-11. Each method is given
the loosest of a ladder of settings (steps, or tolerances a half decade apart) at which its largest error of a product
is below the target, and these take turns. Solvers of other libraries get the script's field, which is the cheaper one.

*Cost.* One velocity: seconds, and the bytes of tensors alive at once, counted at torch's dispatcher (what a fused
kernel keeps for itself is not seen by it), for blocks and for all scores at once. Exponents are slopes among the
four largest sizes.

``pip install "msr[bench]"`` brings torchdiffeq; torchode is installed by its own name. A missing one is a row that says
so.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.account import exponent
from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.flow_rivals import SOLVERS, Field, Solver, field_of, loop_steps, script_steps, why_not
from benchmarks.harness.memory import Allocations
from benchmarks.harness.timing import alternate, ratio
from msr.flow import AttentionFlow, equiangular_path, uniform_on_sphere
from msr.memory import readable_size
from msr.report import figures as draw

AGREE = 1e-10
"""How far tokens of two ways may be apart before they are compared."""
STEPS = 30
DT = 0.1
TARGETS = (1e-6, 1e-9)
"""Largest errors of a product."""
OURS = "msr rk4"
MOST = 2**14
"""Steps at most."""
Shown = Callable[[], object]


def run(*, quick: bool, rounds: int = 5, seconds: float = 0.2) -> dict[str, Any]:
    """Steps a second; seconds to an error; cost with tokens and with their dimension; fused attention or blocks."""
    shapes = [(1, 4, 3), (1, 8, 3), (1, 16, 3), (1, 32, 3), (1, 128, 16), (64, 32, 3)]
    problems = [(8, 1.0, 3.0), (8, 4.0, 10.0), (128, 1.0, 5.0)]
    widths, many, wide = [16, 64, 256, 1024], [64, 128, 256, 512, 1024, 2048, 4096], [16, 64]
    if quick:
        rounds, seconds = 1, 0.01
        shapes, problems, widths, many, wide = shapes[:2], problems[:1], [4, 8, 16], [64, 96, 128], [4]
    steps = []
    for shape in shapes:
        steps.append(compare_steps(*shape, rounds, seconds))
        say(f"{shape}: {', '.join(f'{name} {duration(s)}' for name, s in steps[-1]['seconds'].items())}")
    errors = []
    missing = {library: reason for library in ("torchdiffeq", "torchode") if (reason := why_not(library))}
    for problem in problems:
        for target in TARGETS[:1] if quick else TARGETS:
            errors.append(compare_errors(*problem, target, rounds, seconds, missing))
            found = {name: duration(way["seconds"]) for name, way in errors[-1]["ways"].items()}
            say(f"{problem} to {target:g}: {', '.join(f'{name} {took}' for name, took in found.items())}")
    growth = [cost(512 if not quick else 64, d, rounds, seconds) for d in widths]
    kernels = [compare_kernels(n, d, min(rounds, 3), seconds) for d in wide for n in many]
    say(f"{many[-1]} tokens: {', '.join(f'{name} {duration(s)}' for name, s in kernels[-1]['seconds'].items())}")
    return {
        "rounds": rounds,
        "steps": steps,
        "errors": errors,
        "missing": missing,
        "versions": {name: version(name) for name in ("torchdiffeq", "torchode") if name not in missing},
        "growth": growth,
        "kernels": kernels,
    }


def compare_steps(batch: int, n: int, d: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds a step of a shape of tokens by each way, and ratios to ours. Raises: ArithmeticError where they differ.

    The loop over tokens has no axis of batches, and is left out where there are several sets.
    """
    X = uniform_on_sphere(n, d, batch, generator=torch.Generator().manual_seed(0))
    flow = AttentionFlow(d, 2.0)

    def ours() -> Tensor:
        return flow.flow(X, STEPS * DT, STEPS)

    def script() -> Tensor:
        return script_steps(X, 2.0, DT, STEPS)

    def loop() -> Tensor:
        return torch.from_numpy(loop_steps(X[0].numpy(), 2.0, DT, STEPS)[None])

    ways: dict[str, Callable[[], Tensor]] = {"msr": ours, "script": script}
    if batch == 1:
        ways["loop over tokens"] = loop
    with torch.no_grad():
        apart = {name: float((call() - ours()).abs().max()) for name, call in ways.items()}
        for name, difference in apart.items():
            if not difference <= AGREE:
                raise ArithmeticError(f"{(batch, n, d)}: {name} differs by {difference:.2g} after {STEPS} steps")
        times = alternate(dict(ways), rounds=rounds, seconds=seconds)
    return {
        "batch": batch,
        "n": n,
        "d": d,
        "apart": apart,
        "seconds": {name: statistics.median(laps) / STEPS for name, laps in times.items()},
        "ratio": {name: ratio(laps, times["msr"]) for name, laps in times.items() if name != "msr"},
    }


def compare_errors(
    n: int, beta: float, T: float, target: float, rounds: int, seconds: float, missing: dict[str, str]
) -> dict[str, Any]:
    """For each method the loosest setting that reaches the error: that, its evaluations, and seconds in turns.

    A method that no setting brings there has ``setting`` None.
    """
    exact = float(equiangular_path([T], n, beta)[0])
    start = torch.eye(n, dtype=torch.float64)
    calls: dict[str, Shown] = {}
    ways: dict[str, dict[str, Any]] = {}
    with torch.no_grad():
        for name, (ladder, take) in methods(n, beta, T, missing).items():
            for setting in ladder:
                counted = Counted(field_of(beta))
                error = error_of(take(counted, start, setting), exact)
                if error <= target:
                    # Of ours the evaluations are known by their number a step; a solver's are counted in its field.
                    evaluations = counted.calls or (4 * int(setting) if name == OURS else None)
                    ways[name] = {"setting": setting, "error": error, "evaluations": evaluations}
                    calls[name] = partial(take, field_of(beta), start, setting)
                    break
            else:
                ways[name] = {"setting": None, "seconds": None}
        times = alternate(calls, rounds=rounds, seconds=seconds)
    for name, laps in times.items():
        ways[name]["seconds"] = statistics.median(laps)
        if name != OURS and OURS in times:
            ways[name]["ratio"] = ratio(laps, times[OURS])
    return {"n": n, "beta": beta, "T": T, "target": target, "exact": exact, "ways": ways}


def methods(
    n: int, beta: float, T: float, missing: dict[str, str]
) -> dict[str, tuple[Sequence[float], Callable[[Field, Tensor, float], Tensor]]]:
    """By name, the settings of each method from loose to sharp, and what it makes of a field, tokens and a setting.

    Our steppers have their own field, and leave the one that is given.
    """
    steps = [
        float(count) for count in dict.fromkeys(round(2 ** (k / 2)) for k in range(2, 2 * int(math.log2(MOST)) + 1))
    ]
    tolerances = [10 ** (-k / 2) for k in range(4, 26)]
    fixed = AttentionFlow(n, beta)
    found: dict[str, tuple[Sequence[float], Callable[[Field, Tensor, float], Tensor]]] = {
        OURS: (steps, lambda _, X, setting: fixed.flow(X, T, int(setting)))
    }
    if "torchdiffeq" not in missing:

        def adaptive(_: Field, X: Tensor, setting: float) -> Tensor:
            return AttentionFlow(n, beta, step="adaptive", tolerance=setting).flow(X, T, 1)

        found["msr adaptive"] = (tolerances, adaptive)
    for name, (library, solve) in SOLVERS.items():
        if library not in missing:
            found[name] = (tolerances, partial(_solved, solve, T))
    return found


def _solved(solve: Solver, T: float, field: Field, X: Tensor, tolerance: float) -> Tensor:
    """A solver's tokens, in the order of arguments of a method."""
    return solve(field, X, T, tolerance)


class Counted:
    """A field that counts how often it was evaluated."""

    def __init__(self, field: Field):
        self._field = field
        self.calls = 0

    def __call__(self, X: Tensor) -> Tensor:
        """The field's value."""
        self.calls += 1
        return self._field(X)


def error_of(tokens: Tensor, exact: float) -> float:
    """The largest error of a product of two tokens ``(n, d)`` that should all be the same number."""
    products = tokens @ tokens.mT
    apart = (products - exact).abs().fill_diagonal_(0)
    # The length of a token is no product of two: solvers of other libraries leave the sphere by their error.
    return float(apart.max())


def cost(n: int, d: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds of one velocity, bytes alive at once, and what all scores alone would take."""
    X = uniform_on_sphere(n, d, generator=torch.Generator().manual_seed(0))
    flow = AttentionFlow(d, 2.0)
    with torch.no_grad():
        with Allocations() as account:
            flow.velocity(X)
        times = alternate({"velocity": lambda: flow.velocity(X)}, rounds=rounds, seconds=seconds)["velocity"]
    return {"n": n, "d": d, "seconds": statistics.median(times), "peak": account.peak, "scores": 8 * n * n}


def compare_kernels(n: int, d: int, rounds: int, seconds: float) -> dict[str, Any]:
    """One velocity by torch's fused attention, by our blocks, and with all scores at once, in turns."""
    X = uniform_on_sphere(n, d, generator=torch.Generator().manual_seed(0))
    flows = {
        "fused": AttentionFlow(d, 2.0, fused=True),
        "blocks": AttentionFlow(d, 2.0, fused=False),
        "all at once": AttentionFlow(d, 2.0, fused=False, block=n * n),
    }
    peaks = {}
    values = {}
    with torch.no_grad():
        for name, flow in flows.items():
            with Allocations() as account:
                values[name] = flow.velocity(X)
            peaks[name] = account.peak
        apart = max(float((value - values["all at once"]).abs().max()) for value in values.values())
        if not apart <= AGREE:
            raise ArithmeticError(f"{n} tokens of {d} numbers: velocities differ by {apart:.2g}")
        calls: dict[str, Shown] = {name: partial(flow.velocity, X) for name, flow in flows.items()}
        times = alternate(calls, rounds=rounds, seconds=seconds)
    return {
        "n": n,
        "d": d,
        "apart": apart,
        "peaks": peaks,
        "seconds": {name: statistics.median(laps) for name, laps in times.items()},
        "ratio": {name: ratio(laps, times["fused"]) for name, laps in times.items() if name != "fused"},
    }


def _times(of: Sequence[float]) -> str:
    """A ratio with its range."""
    middle, least, most = of
    return f"{middle:.2f}x ({least:.2f} to {most:.2f})"


def tables(results: dict[str, Any]) -> Tables:
    """Steps; equal error; cost; and kernels."""
    steps = []
    for row in results["steps"]:
        shape = f"{row['n']} tokens, d = {row['d']}" + (f", {row['batch']} sets" if row["batch"] > 1 else "")
        cells = [
            f"{duration(row['seconds'][name])}, {_times(row['ratio'][name])}" if name in row["ratio"] else ""
            for name in ("script", "loop over tokens")
        ]
        steps.append([shape, f"{1 / row['seconds']['msr']:,.0f}", duration(row["seconds"]["msr"]), *cells])
    errors = []
    for row in results["errors"]:
        what = f"{row['n']} tokens, β = {row['beta']:g}, t = {row['T']:g}, to {row['target']:g}"
        errors += [[what, *_cells(name, way)] for name, way in row["ways"].items()]
    errors += [["", f"{library} not run: {why}", *[""] * 4] for library, why in results["missing"].items()]
    growth = [
        [
            f"{row['n']:,} tokens, d = {row['d']:,}",
            duration(row["seconds"]),
            readable_size(row["peak"]),
            readable_size(row["scores"]),
        ]
        for row in results["growth"]
    ]
    d = results["kernels"][0]["d"]
    slopes = {
        name: _slope([(row["n"], row["seconds"][name]) for row in results["kernels"] if row["d"] == d])
        for name in ("fused", "all at once")
    }
    slopes["dimension"] = _slope([(row["d"], row["seconds"]) for row in results["growth"]])
    kernels = [
        [
            f"{row['n']:,} tokens, d = {row['d']}",
            f"{duration(row['seconds']['fused'])}, {readable_size(row['peaks']['fused'])}",
            *(
                f"{duration(row['seconds'][name])}, {_times(of)}, {readable_size(row['peaks'][name])}"
                for name, of in row["ratio"].items()
            ),
            f"{row['apart']:.0e}",
        ]
        for row in results["kernels"]
    ]
    known = [f"{name} {number}" for name, number in results["versions"].items()]
    beside = f" ({', '.join(known)})" if known else ""
    return {
        f"A step of order 4; ratios of seconds to ours, with their range over {results['rounds']} rounds: above 1 ours "
        "is faster": (["tokens", "msr, steps a second", "msr", "script", "loop over tokens"], steps),
        f"The loosest setting at which no product is off by more than the target; ratios to our fixed steps{beside}": (
            ["problem", "method", "setting", "error", "evaluations", "seconds"],
            errors,
        ),
        "One velocity by torch's fused attention, by our blocks, and with all scores at once: seconds, ratios to the "
        "first, and the most alive at once. Among the largest numbers of tokens, d = "
        f"{d}, time grows as their power {slopes['fused']} fused, and {slopes['all at once']} "
        "with all at once": (["tokens", "fused", "blocks", "all at once", "apart"], kernels),
        f"One velocity as it is chosen; among these dimensions time grows as their power {slopes['dimension']}": (
            ["tokens", "seconds", "most alive at once", "all scores alone"],
            growth,
        ),
    }


def _slope(points: list[tuple[int, float]]) -> str:
    """The power with which seconds grow, of the four largest sizes at most."""
    sizes, seconds = zip(*points[-4:], strict=True)
    slope, half = exponent(sizes, seconds)
    return f"{slope:.2f} ± {half:.2f}"


def _cells(name: str, way: dict[str, Any]) -> list[str]:
    """The cells of a method."""
    if way["setting"] is None:
        return [name, "none reaches it", "", "", ""]
    setting = way["setting"]
    of = "" if "ratio" not in way else f", {_times(way['ratio'])}"
    count = way["evaluations"]
    return [
        name,
        f"{setting:.0f} steps" if name == OURS else f"tolerance {setting:.1e}",
        f"{way['error']:.1e}",
        "" if count is None else str(count),
        f"{duration(way['seconds'])}{of}",
    ]


def headlines(results: dict[str, Any]) -> list[Headline]:
    """A step beside the loop and the script; the smaller error beside each library; the largest number of tokens."""
    lines = []
    row = results["steps"][min(3, len(results["steps"]) - 1)]
    for name, of in row["ratio"].items():
        what = f"a step of the flow, {row['n']} tokens, d = {row['d']}"
        lines.append(
            Headline(what, duration(row["seconds"]["msr"]), f"{name} {duration(row['seconds'][name])}", _times(of))
        )
    row = results["errors"][-1]
    what = f"{row['n']} tokens to an error of {row['target']:g}"
    ours = duration(row["ways"][OURS]["seconds"])
    for library in ("torchdiffeq", "torchode"):
        if library in results["missing"]:
            lines.append(Headline(what, ours, f"{library} not run: {results['missing'][library]}"))
            continue
        ran = {
            name: way for name, way in row["ways"].items() if name.startswith(library) and way["seconds"] is not None
        }
        if not ran or "ratio" not in next(iter(ran.values())):
            lines.append(Headline(what, ours, f"{library} does not reach it"))
            continue
        name = min(ran, key=lambda name: ran[name]["seconds"])
        lines.append(Headline(what, ours, f"{name} {duration(ran[name]['seconds'])}", _times(ran[name]["ratio"])))
    row = results["kernels"][-1]
    what = f"velocity of {row['n']:,} tokens, d = {row['d']}"
    fused, whole = (
        f"{duration(row['seconds'][name])}, {readable_size(row['peaks'][name])}" for name in ("fused", "all at once")
    )
    lines.append(Headline(what, fused, f"all scores at once {whole}", _times(row["ratio"]["all at once"])))
    return lines


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a velocity against the number of tokens, by each way."""
    d = results["kernels"][0]["d"]
    rows = [row for row in results["kernels"] if row["d"] == d]
    sizes = [row["n"] for row in rows]
    series = {name: (sizes, [row["seconds"][name] for row in rows]) for name in rows[0]["seconds"]}
    return {"flow_tokens": draw.scaling(series, xlabel="tokens", ylabel="seconds", title=f"One velocity, d = {d}")}


if __name__ == "__main__":
    command(__file__)
