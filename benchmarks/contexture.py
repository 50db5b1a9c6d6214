"""Are exact spectra those of scikit-learn's and deeptime's, and how fast; and how soon does an encoder reach them with
our loss and with kooplearn's and NCP's?

*Spectra.* The same context goes to each solver in the form that it takes, which is made before the clock starts: the
table ``P(a|x)`` to ours, the dual kernel to scikit-learn's KernelPCA, covariances of one-hot pairs to deeptime's VAMP,
the scaled table to SciPy's svds. Squared values and the span of the first functions must agree to 1e-8 first.

*Encoders.* The 64 points of the binary cube, turned by C6 and then changed by noise, of which four functions are to be
learned. Every loss gets the same pairs of points and contexts, two networks with the same start, and Adam with the same
falling rate; the losses take turns, 50 steps each, and the clock stops while the largest angle between the encoder and
the exact functions is measured. An encoder is a table here: both networks are evaluated at the 64 points once a step,
and pairs look their values up, so that the clock sees the loss more than the network. Of a rival's penalties the one
with the least angle on a seed of its own was taken; our losses have their defaults.

Networks start with random biases. With biases of 0, as :func:`msr.contexture.learning.perceptron` has them, a network
of tanh is an odd function of signs, and three of the four functions are even: all losses then start at a saddle, and
what is measured is how soon noise takes them off it.

kooplearn's VampLoss has the value and the gradient of its formula written out by ``solve``, to rounding, and was as far
away after 400 steps of 4,096 pairs (89°). The gradient of a square ``s²`` is ``2 s``: little for a function that an
encoder does not have yet, where the other losses have a term that is linear.

``pip install "msr[bench]"`` brings deeptime and kooplearn; without them their rows say so.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness.command import command, duration, say
from benchmarks.harness.context_rivals import (
    Arm,
    Found,
    covariances,
    kernel_pca,
    of_pairs,
    rivals,
    svds_of,
    vamp,
    why_not,
)
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.timing import alternate, ratio
from msr.contexture import JointContext, PoolContext, Spectrum, TableContext, spectrum
from msr.contexture.learning import perceptron
from msr.contexture.measures import captured, principal_angle
from msr.contexture.objectives import (
    KISE,
    SVME,
    LowRank,
    Objective,
    batch_moments,
    exact_moments,
    kernel_batch_moments,
)
from msr.report import figures as draw

AGREE = 1e-8
"""How far squared values, and the sine of the largest angle, may be apart."""
VAMP_POINTS = 1000
"""Most points given to VAMP, which takes a minute at 2,000."""
KERNEL_POINTS = 5000
"""Most points given to KernelPCA, whose kernel and its copy take 6 GB at 20,000."""
SPAN = 5
"""Functions whose span is compared, or a few more where that would cut an eigenspace."""
VALUES = 10
"""Values that the iterative solvers are asked for."""
NEIGHBOURS = 30
FUNCTIONS = 4
"""Functions that an encoder is to learn."""
DEGREES = (10.0, 5.0, 1.0)
EVERY = 50
"""Steps between two looks at the angle."""
RATE = 3e-3
BIAS = 0.5
"""The standard deviation of biases at the start."""
TRIAL = 1000
"""The seed on which penalties are chosen; those that are reported are below it."""
COUNTS = "no training: the spectrum of the counts of all these pairs"


def run(*, quick: bool, rounds: int = 3, seeds: int = 10, steps: int = 800, batch: int = 512) -> dict[str, Any]:
    """Compare spectra; choose penalties; train encoders by every loss, each on ``seeds`` seeds."""
    sizes: list[tuple[int, int | None]] = [(500, None), (1000, None), (2000, None), (5000, VALUES), (20_000, VALUES)]
    if quick:
        rounds, seeds, steps, batch = 1, 2, 20, 128
        sizes = [(60, None), (200, VALUES)]
    spectra = []
    for n, k in sizes:
        spectra.append(compare_spectra(n, k, rounds))
        say(f"{n} points: {', '.join(f'{name} {duration(s)}' for name, s in spectra[-1]['seconds'].items())}")
    return {"rounds": rounds, "spectra": spectra, **compare_losses(seeds, steps, batch)}


def compare_spectra(n: int, k: int | None, rounds: int) -> dict[str, Any]:
    """The row of random points: how far each rival's spectrum is from ours, median seconds, and ratios to ours.

    All values of an RBF context where ``k`` is None, else the ``k`` largest of a sparse context of neighbours.
    Raises: ArithmeticError where two solvers disagree.
    """
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    context = PoolContext.rbf(points) if k is None else PoolContext.neighbours(points, NEIGHBOURS)
    calls: dict[str, Callable[[], Found]] = {}
    missing = {}
    if n <= KERNEL_POINTS:
        kernel = context.dual_kernel().numpy()
        calls["KernelPCA"] = lambda: kernel_pca(kernel, k)
    else:
        missing["KernelPCA"] = f"not run: its kernel and a copy take {16e-9 * n**2:.1f} GB"
    if k is not None:
        count = k
        calls["svds"] = lambda: svds_of(context.root, count)
        missing["VAMP"] = "not run: it takes dense covariances"
    elif n > VAMP_POINTS:
        missing["VAMP"] = f"not run above {VAMP_POINTS:,} points"
    elif reason := why_not("deeptime.decomposition"):
        missing["VAMP"] = f"not run: {reason}"
    else:
        moments = covariances(context)
        calls["VAMP"] = lambda: vamp(moments)

    def ours() -> Spectrum:
        return spectrum(context, k, solver="dense" if k is None else "iterative")

    exact = ours()
    apart = {name: differences(exact, call()) for name, call in calls.items()}
    for name, (squares, sine) in apart.items():
        if not max(squares, sine) <= AGREE:
            raise ArithmeticError(f"{n} points: {name} differs by {squares:.2g} in squares and {sine:.2g} in functions")
    times = alternate({"msr": ours, **calls}, rounds=rounds, seconds=0.1)
    return {
        "context": context.name,
        "points": n,
        "values": k,
        "apart": apart,
        "seconds": {name: statistics.median(laps) for name, laps in times.items()},
        "ratio": {name: ratio(laps, times["msr"]) for name, laps in times.items() if name != "msr"},
        "missing": missing,
    }


def differences(exact: Spectrum, found: Found) -> tuple[float, float]:
    """How far a rival's squared values are from ours, and the sine of the largest angle between the first functions.

    Values that a rival leaves out count as 0. No eigenspace is cut.
    """
    ours = exact.squares.numpy()
    theirs = np.zeros(len(ours))
    shared = min(len(ours), len(found.squares))
    theirs[:shared] = found.squares[:shared]
    d = exact.whole(SPAN)
    vectors = np.sqrt(exact.weights.numpy())[:, None] * exact.functions[:, :d].numpy()
    others = found.vectors[:, :d]
    return float(np.abs(ours - theirs).max()), float(np.linalg.norm(vectors - others @ (others.T @ vectors), ord=2))


class Problem:
    """The cube turned by C6, each of whose bits is then flipped with the chance 0.2; and its exact spectrum."""

    def __init__(self) -> None:
        bits = np.indices((2,) * 6).reshape(6, -1).T
        turned = np.stack([np.roll(bits, step, axis=1) for step in range(6)])
        flipped = (turned[:, :, None] != bits).sum(-1)
        table = (0.2**flipped * 0.8 ** (6 - flipped)).mean(0)
        self.context = TableContext(table, name="turns, flips", of_points=True)
        self.exact = spectrum(self.context)
        self.inputs = torch.from_numpy(bits * 2.0 - 1).float()
        self.joint = torch.from_numpy(np.asarray(self.context.joint)).flatten()
        self.kernel = self.context.dual_kernel().float()

    def pairs(self, count: int, generator: torch.Generator) -> Tensor:
        """The numbers of that many points and contexts, ``(count, 2)``, drawn from the joint distribution."""
        cells = torch.multinomial(self.joint, count, replacement=True, generator=generator)
        return torch.stack([cells // self.context.n, cells % self.context.n], dim=1)

    def angle(self, functions: Tensor) -> float:
        """The largest angle between functions ``(64, d)`` and the first exact ones, in degrees."""
        return principal_angle(self.exact, functions, FUNCTIONS)


def our_arms(problem: Problem) -> list[Arm]:
    """Our losses on pairs; with the kernel between the points of a batch; and on exact moments, without a batch."""

    def pairs(objective: Objective) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda points, contexts: objective.loss(batch_moments(points, contexts[:, None]))

    def kernel(points: Tensor, contexts: Tensor, batch: Tensor, free: Tensor) -> Tensor:
        chosen = batch[:, 0]
        return KISE().loss(kernel_batch_moments(points[chosen], problem.kernel[chosen][:, chosen]))

    def exact(points: Tensor, contexts: Tensor, batch: Tensor, free: Tensor) -> Tensor:
        return SVME().loss(exact_moments(problem.context, points, contexts))

    return [
        Arm("msr SVME(1), the default", FUNCTIONS, of_pairs(pairs(SVME()))),
        Arm("msr LowRank()", FUNCTIONS, of_pairs(pairs(LowRank()))),
        Arm("msr KISE(1), given the kernel", FUNCTIONS, kernel),
        Arm("msr SVME(1), exact moments", FUNCTIONS, exact),
    ]


class Training:
    """An encoder that is trained by one loss: its networks, its clock, and the angle at each look."""

    def __init__(self, problem: Problem, arm: Arm, steps: int, seed: int):
        self.problem = problem
        self.loss = arm.loss
        generator = torch.Generator().manual_seed(seed)
        self.encoder = _network(arm.outputs, generator)
        self.second = _network(arm.outputs, generator)
        # The spread that NCP's authors give the numbers of their singular values; the other losses have none.
        self.free = nn.Parameter(torch.randn(arm.outputs, generator=generator) * 2 / arm.outputs)
        trained = [*self.encoder.parameters(), *self.second.parameters(), self.free]
        self.adam = torch.optim.Adam(trained, lr=RATE)
        self.falling = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, steps)
        self.seconds: list[float] = []
        self.angles: list[float] = []

    def advance(self, batches: Tensor) -> None:
        """A step for each of the batches ``(steps, b, 2)``, timed; then a look, which is not."""
        inputs = self.problem.inputs
        start = time.perf_counter()
        for batch in batches:
            self.adam.zero_grad()
            self.loss(self.encoder(inputs), self.second(inputs), batch, self.free).backward()
            self.adam.step()
            self.falling.step()
        took = time.perf_counter() - start
        self.seconds.append(took + (self.seconds[-1] if self.seconds else 0.0))
        with torch.no_grad():
            found = captured(self.problem.context, self.encoder(inputs)).functions
        # Of an output more than functions, the best functions in the span count.
        self.angles.append(self.problem.angle(found[:, :FUNCTIONS]))


def _network(outputs: int, generator: torch.Generator) -> nn.Module:
    """A perceptron with random biases."""
    network = perceptron(6, outputs, generator=generator)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.bias, std=BIAS, generator=generator)
    return network


def train(problem: Problem, arms: list[Arm], steps: int, batch: int, seed: int) -> tuple[list[Training], Tensor]:
    """Train by each loss on the same pairs, in turns of 50 steps; and how often each pair was drawn, ``(64, 64)``."""
    generator = torch.Generator().manual_seed(seed)
    trainings = [Training(problem, arm, steps, seed) for arm in arms]
    counts = torch.zeros(problem.context.n, problem.context.n, dtype=torch.float64)
    # kooplearn's penalty draws from the global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, steps, EVERY):
            pairs = problem.pairs(min(EVERY, steps - start) * batch, generator)
            counts.index_put_((pairs[:, 0], pairs[:, 1]), torch.ones((), dtype=torch.float64), accumulate=True)
            for training in trainings:
                training.advance(pairs.unflatten(0, (-1, batch)))
    return trainings, counts


def compare_losses(seeds: int, steps: int, batch: int) -> dict[str, Any]:
    """The penalties that were tried; the seconds and angles of each loss and seed; and those of counts alone."""
    problem = Problem()
    tried, missing = rivals(FUNCTIONS)
    candidates = [arm for arms in tried.values() for arm in arms]
    trials, _ = train(problem, candidates, steps, batch, TRIAL)
    ends = {(arm.name, arm.choice): trial.angles[-1] for arm, trial in zip(candidates, trials, strict=True)}
    chosen = [min(arms, key=lambda arm: ends[arm.name, arm.choice]) for arms in tried.values()]
    taken = {(arm.name, arm.choice) for arm in chosen}
    arms = [*our_arms(problem), *chosen]
    curves: dict[str, list[dict[str, list[float]]]] = {arm.name: [] for arm in arms}
    alone: list[dict[str, float]] = []
    for seed in range(seeds):
        trainings, counts = train(problem, arms, steps, batch, seed)
        for arm, training in zip(arms, trainings, strict=True):
            curves[arm.name].append({"seconds": training.seconds, "angles": training.angles})
        start = time.perf_counter()
        functions = spectrum(JointContext(counts, counts=True)).functions[:, :FUNCTIONS]
        alone.append({"seconds": time.perf_counter() - start, "angle": problem.angle(functions)})
        shown = (f"{name} {runs[-1]['angles'][-1]:.1f}°" for name, runs in curves.items())
        say(f"seed {seed}: {', '.join(shown)}")
    return {
        "steps": steps,
        "batch": batch,
        "tried": [
            {"loss": name, "choice": choice, "angle": angle, "taken": (name, choice) in taken}
            for (name, choice), angle in ends.items()
        ],
        "choices": {arm.name: arm.choice for arm in arms},
        "curves": curves,
        "counts": alone,
        "missing": missing,
    }


def reached(runs: list[dict[str, list[float]]], degrees: float, steps: int) -> list[tuple[int, float]]:
    """The step and the second of the first look within so many degrees, for each seed that has one."""
    first = []
    for one in runs:
        look = next((look for look, angle in enumerate(one["angles"]) if angle <= degrees), None)
        if look is not None:
            first.append((min(EVERY * (look + 1), steps), one["seconds"][look]))
    return first


def _reached(runs: list[dict[str, list[float]]], degrees: float, steps: int) -> str:
    """A cell: how many seeds came within so many degrees, and the median and range of steps and seconds of those."""
    first = reached(runs, degrees, steps)
    if not first:
        return f"0 of {len(runs)}"
    at = [step for step, _ in first]
    seconds = [second for _, second in first]
    return (
        f"{len(first)} of {len(runs)}: {statistics.median(at):g} steps ({min(at)} to {max(at)}), "
        f"{duration(statistics.median(seconds))} ({duration(min(seconds))} to {duration(max(seconds))})"
    )


def _ends(angles: list[float]) -> str:
    """A cell: the median and range of angles."""
    return f"{statistics.median(angles):.1f}° ({min(angles):.1f}° to {max(angles):.1f}°)"


def _times(of: list[float]) -> str:
    """A ratio of a rival's time to ours."""
    middle, least, most = of
    return f"{middle:.2f}x ({least:.2f} to {most:.2f})"


def tables(results: dict[str, Any]) -> Tables:
    """Spectra; losses; and the penalties that were tried."""
    names = ("KernelPCA", "VAMP", "svds")
    spectra = []
    for row in results["spectra"]:
        wanted = "all" if row["values"] is None else str(row["values"])
        line = [row["context"], f"{row['points']:,}", wanted, duration(row["seconds"]["msr"])]
        for name in names:
            if name in row["seconds"]:
                apart = max(row["apart"][name])
                line.append(f"{duration(row['seconds'][name])}, {_times(row['ratio'][name])}, apart {apart:.0e}")
            else:
                line.append(row["missing"].get(name, ""))
        spectra.append(line)
    steps = results["steps"]
    lines = []
    for name, runs in results["curves"].items():
        mean = statistics.median(one["seconds"][-1] for one in runs) / steps
        cells = [_reached(runs, degrees, steps) for degrees in DEGREES]
        ends = _ends([one["angles"][-1] for one in runs])
        lines.append([name, results["choices"][name], duration(mean), *cells, ends])
    alone = results["counts"]
    seconds = duration(statistics.median(one["seconds"] for one in alone))
    lines.append([COUNTS, "", f"{seconds} in all", *[""] * len(DEGREES), _ends([one["angle"] for one in alone])])
    for name, reason in results["missing"].items():
        lines.append([name, f"not run: {reason}", *[""] * (len(DEGREES) + 2)])
    tried = [
        [one["loss"], one["choice"], f"{one['angle']:.1f}°", "taken" if one["taken"] else ""]
        for one in results["tried"]
    ]
    within = [f"within {degrees:g}°" for degrees in DEGREES]
    seeds = len(alone)
    return {
        f"Spectra; medians, and the ratio of a rival's time to ours with its range over {results['rounds']} rounds: "
        "above 1 ours is faster": (["context", "points", "values", "msr", *names], spectra),
        f"Encoders: {seeds} seeds, {steps} steps of {results['batch']} pairs, Adam with a rate from {RATE:g} to 0; the "
        f"first look, one in {EVERY} steps, within an angle, median and range over the seeds that came there": (
            ["loss", "penalty", "a step", *within, "at the end"],
            lines,
        ),
        "Penalties tried on a seed of their own, and the angle at the end": (
            ["loss", "penalty", "at the end", ""],
            tried,
        ),
    }


def headlines(results: dict[str, Any]) -> list[Headline]:
    """The largest spectrum that ours and each rival find, and the way to 5 degrees with our default loss and theirs."""
    lines = []
    for name in ("KernelPCA", "VAMP", "svds"):
        rows = [row for row in results["spectra"] if name in row["seconds"]]
        # Of KernelPCA all values are the harder problem; it is the one that both solve densely.
        rows = [row for row in rows if row["values"] is None] or rows
        if rows:
            row = max(rows, key=lambda row: row["points"])
            wanted = "all" if row["values"] is None else f"{row['values']}"
            what = f"spectrum of a context, {row['points']:,} points, {wanted} values"
            beside = f"{name} {duration(row['seconds'][name])}"
            lines.append(Headline(what, duration(row["seconds"]["msr"]), beside, _times(row["ratio"][name])))
        elif reasons := [row["missing"][name] for row in results["spectra"] if name in row["missing"]]:
            lines.append(Headline("spectrum of a context", "", f"{name} {reasons[0]}"))
    degrees = DEGREES[1]
    default = next(iter(results["curves"]))
    ours = _brief(results["curves"][default], degrees, results["steps"])
    what = f"an encoder within {degrees:g}° of the exact functions"
    for name, runs in results["curves"].items():
        if name != default:
            lines.append(Headline(what, ours, f"{name} {_brief(runs, degrees, results['steps'])}"))
    lines += [Headline(what, ours, f"{name} not run: {reason}") for name, reason in results["missing"].items()]
    return lines


def _brief(runs: list[dict[str, list[float]]], degrees: float, steps: int) -> str:
    """How many seeds came within so many degrees, and their median steps and seconds."""
    first = reached(runs, degrees, steps)
    if not first:
        return f"0 of {len(runs)} seeds"
    at = statistics.median(step for step, _ in first)
    seconds = statistics.median(second for _, second in first)
    return f"{len(first)} of {len(runs)} seeds, {at:g} steps, {duration(seconds)}"


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """The median angle of each loss against the steps."""
    series = {}
    for name, runs in results["curves"].items():
        # Few looks, evenly spread on a logarithmic axis.
        last = len(runs[0]["angles"]) - 1
        looks = sorted({min(2**power - 1, last) for power in range(last.bit_length() + 1)} | {last})
        angles = [statistics.median(one["angles"][look] for one in runs) for look in looks]
        series[name] = ([min(EVERY * (look + 1), results["steps"]) for look in looks], angles)
    title = "From the exact functions, median of seeds"
    return {"contexture_angles": draw.scaling(series, xlabel="steps", ylabel="degrees", title=title)}


if __name__ == "__main__":
    command(__file__)
