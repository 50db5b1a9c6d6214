"""Distributions of tasks whose symmetry and breaking are known, and files drawn from them.

A task is ``y = f_i(x) + noise`` with ``f_i(x) = W_i x``, and for some a part that is not linear. The truth about a
group is of the whole distribution of tasks, which is what a certificate speaks of: each task's share

    b_i = E ‖D⁻¹ (f_i − P f_i)‖² / E,    P f = the mean of Q⁻¹ f(P x) over the group,

of what varies within a task, ``D`` the sizes of the outputs' signal there, ``E`` its mean square in units of ``D``.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from benchmarks.calibration_files.patterns import elements, pair_orbits, random_elements
from msr.permutations import Indices

__all__ = [
    "ALPHA", "CAP", "EPS", "Cell", "Expected", "File", "Inputs", "Problem", "Tasks", "Truth", "ar_noise", "balanced",
    "capped_share", "fresh", "gaussian", "gaussian_inputs", "mean_share", "on_pattern", "solved",
]  # fmt: skip

Array: TypeAlias = NDArray[np.float64]
Draw: TypeAlias = np.random.Generator
Expected: TypeAlias = Literal["found", "none", "open"]

EPS = 0.05
"""The tolerance of the benchmark, at which tasks are made to break a group."""
ALPHA = 0.01
"""The error rate that is asked for."""
CAP = 4.0
"""A task's share of energy is capped at so many ``ε²`` where files are made; a certificate is judged by its own cap."""

_SAMPLE_NUMBERS = 2_000_000  # weights of the sample of tasks that the truth is taken from
_MOST_TASKS = 20_000
# The sample where tasks are not linear: the truth is then a mean over examples too.
_CURVED_TASKS = 160
_CURVED_EXAMPLES = 400
_CHUNKS = 20  # parts of the sample that are in memory at once, one at a time
_ELEMENTS = 12  # elements of a large group that stand for its mean
_MOST_KNOWN = 300  # truths that a problem remembers


@dataclass(frozen=True, eq=False)
class Tasks:
    """Weights ``(tasks, out, in)``, and ``curved``, which gives what is added to ``W x``; None for linear tasks.

    ``curved(x, which)`` takes the inputs ``(tasks, examples, in)`` of the tasks in the slice ``which``.
    """

    W: Array
    curved: Callable[[Array, slice], Array] | None = None

    def __call__(self, x: Array, which: slice = slice(None)) -> Array:
        """The outputs of the tasks in the slice ``which``, without noise.

        Shapes: ``x (tasks, examples, in) -> (tasks, examples, out)``, where the tasks are those of the slice.
        """
        y = np.matmul(x, self.W[which].transpose(0, 2, 1))
        return y if self.curved is None else y + self.curved(x, which)


@dataclass(frozen=True, eq=False)
class Inputs:
    """A distribution of inputs: ``draw(generator, tasks, examples)`` gives ``(tasks, examples, in)``.

    ``covariance (in, in)`` is that of the inputs within a task; None where it has to be estimated.
    """

    draw: Callable[[Draw, int, int], Array]
    covariance: Array | None = None


@dataclass(frozen=True)
class Truth:
    """How much a distribution of tasks breaks a group.

    Attributes:
        mean: the mean share of energy.
        capped: the same with each task's share capped.
        exceptions: the share of the tasks that exceed the cap.
        error: standard error of the capped mean; 0 where the distribution was scaled on this very sample.
    """

    mean: float
    capped: float
    exceptions: float
    error: float


def gaussian(draw: Draw, signal: Array, level: float) -> Array:
    """White noise of standard deviation ``level``, of the shape of the signal, which is in units of its size."""
    return level * draw.standard_normal(signal.shape)


def gaussian_inputs(n: int, offset: float | Array = 0.0) -> Inputs:
    """White inputs on an offset, one number or one for each input."""
    return Inputs(lambda draw, tasks, examples: draw.standard_normal((tasks, examples, n)) + offset, np.eye(n))


def ar_noise(rho: float) -> Callable[[Draw, Array, float], Array]:
    """A function like :func:`gaussian` whose noise follows an autoregression of first order over a task's examples.

    ``rho`` is the correlation between an example and the next.
    """

    def noise(draw: Draw, signal: Array, level: float) -> Array:
        out = draw.standard_normal(signal.shape)
        for e in range(1, signal.shape[1]):
            out[:, e] = rho * out[:, e - 1] + math.sqrt(1 - rho**2) * out[:, e]
        return level * out

    return noise


@dataclass(eq=False)
class Problem:
    """A distribution of files.

    Attributes:
        orbits: ``(out, in)``, of the largest group that every task keeps.
        tasks: ``(draw, count) -> Tasks``.
        noise: ``(draw, signal in units of its root mean square, level)`` in the same units.
        finish: what is done to ``x`` and ``y`` at last, such as repeating rows.
        sizes: of a file: ``(tasks, examples)``, one of them; levels: of the noise, one of them.
        boundary: the orbits of the group whose breaking was made to lie at the limit.
        seed: of the sample from which the truth is taken.
    """

    orbits: Indices
    tasks: Callable[[Draw, int], Tasks]
    inputs: Inputs
    noise: Callable[[Draw, Array, float], Array] = gaussian
    finish: Callable[[Draw, Array, Array], tuple[Array, Array]] | None = None
    sizes: tuple[tuple[int, int], ...] = ((200, 16), (400, 20))
    levels: tuple[float, ...] = (0.1,)
    boundary: Indices | None = None
    seed: int = 0
    _known: dict[str, Any] = field(default_factory=dict, repr=False)
    _truths: dict[tuple[bytes, float], Truth] = field(default_factory=dict, repr=False)

    @property
    def curved(self) -> bool:
        """Whether tasks have a part that is not linear."""
        return self._sample().curved is not None

    def file(self, draw: Draw) -> "File":
        """Draw a file: its size and level of noise, the tasks, inputs and noise, changed by ``finish`` at last."""
        count, examples = self.sizes[draw.integers(len(self.sizes))]
        level = self.levels[draw.integers(len(self.levels))]
        tasks = self.tasks(draw, count)
        x = self.inputs.draw(draw, count, examples)
        y = tasks(x)
        size = self.signal()
        y = y + size * self.noise(draw, y / size, level)
        if self.finish is not None:
            x, y = self.finish(draw, x, y)
        return File(x, y, level, tasks)

    def signal(self) -> float:
        """Root mean square of what varies in a task, noise apart, over outputs."""
        return float(np.sqrt(np.mean(self._sizes() ** 2)))

    def truth(self, moves_in: Indices, moves_out: Indices, cap: float = CAP * EPS**2) -> Truth:
        """How much the tasks break the group of these generators ``(r, in)`` and ``(r, out)``; it is remembered.

        ``cap`` is the share of energy at which a task's is capped.
        """
        orbits = pair_orbits(moves_in, moves_out)
        key = (orbits.tobytes(), cap)
        if key not in self._truths:
            b = self.shares(moves_in, moves_out)
            capped = np.minimum(b, cap)
            at_boundary = self.boundary is not None and np.array_equal(orbits, self.boundary)
            error = 0.0 if at_boundary else float(capped.std() / math.sqrt(len(b)))
            if len(self._truths) >= _MOST_KNOWN:
                self._truths.clear()
            self._truths[key] = Truth(float(b.mean()), float(capped.mean()), float((b > cap).mean()), error)
        return self._truths[key]

    def shares(self, moves_in: Indices, moves_out: Indices, tasks: Tasks | None = None) -> Array:
        """``b``, the share of energy that breaks a group, of each given task, or of the sample: ``(tasks,)``.

        Raises: ValueError for given tasks that are not linear.
        """
        given = tasks
        tasks = tasks or self._sample()
        if tasks.curved is not None:
            if given is not None:
                raise ValueError("what breaks a group in tasks that are not linear is known on average alone")
            return self._curved_shares(moves_in, moves_out)
        broken = tasks.W - averaged(tasks.W, pair_orbits(moves_in, moves_out))
        rows = np.einsum("toi,ij,toj->to", broken, self._covariance(), broken, optimize=True)
        return _in_units(rows, self._sizes())

    def forget(self) -> None:
        """Free the memory of the sample, which can be drawn again."""
        self._known.pop("sample", None)

    def _curved_shares(self, moves_in: Indices, moves_out: Indices) -> Array:
        """``b`` of each task of a smaller sample; of a large group, without bias from two sets of elements."""
        tasks = self._sample()
        sizes = self._sizes()
        draw = np.random.default_rng([self.seed, 2])
        n = moves_in.shape[1]
        both = np.concatenate([moves_in, moves_out + n], axis=1)
        every = elements(both, 2 * _ELEMENTS)
        x = self.inputs.draw(draw, len(tasks.W), _CURVED_EXAMPLES)
        products = []
        for which in _chunks(len(tasks.W), _CHUNKS):
            outputs = tasks(x[which], which)
            if every is not None:
                first = second = outputs - _group_mean(tasks, x[which], which, every, n)
            else:
                some = (random_elements(both, _ELEMENTS, draw) for _ in range(2))
                first, second = (outputs - _group_mean(tasks, x[which], which, part, n) for part in some)
            first, second = (part - part.mean(1, keepdims=True) for part in (first, second))
            products.append((first * second).sum(1) / (_CURVED_EXAMPLES - 1))
        return _in_units(np.concatenate(products), sizes)

    def _sample(self) -> Tasks:
        """The tasks that the truth is taken from, always the same; drawn once, until :meth:`forget`."""
        if "sample" not in self._known:
            draw = np.random.default_rng([self.seed, 1])
            sample = self.tasks(draw, 2)
            count = _CURVED_TASKS
            if sample.curved is None:
                count = min(_MOST_TASKS, max(500, _SAMPLE_NUMBERS // sample.W[0].size))
            # The same seed again: the first draw only told of what kind the tasks are.
            self._known["sample"] = self.tasks(np.random.default_rng([self.seed, 1]), count)
        return self._known["sample"]

    def _covariance(self) -> Array:
        """The covariance ``(in, in)`` of inputs within a task, as given or estimated once from a fixed sample."""
        if self.inputs.covariance is not None:
            return self.inputs.covariance
        if "covariance" not in self._known:
            x = self.inputs.draw(np.random.default_rng([self.seed, 3]), 400, 250)
            x = x - x.mean(1, keepdims=True)
            self._known["covariance"] = np.einsum("tei,tej->ij", x, x) / (400 * 249)
        return self._known["covariance"]

    def _sizes(self) -> Array:
        """``D``: the root mean square of each output's signal within a task, ``(out,)``; computed once."""
        if "sizes" not in self._known:
            tasks = self._sample()
            if tasks.curved is None:
                square = np.einsum("toi,ij,toj->o", tasks.W, self._covariance(), tasks.W, optimize=True) / len(tasks.W)
            else:
                x = self.inputs.draw(np.random.default_rng([self.seed, 2]), len(tasks.W), _CURVED_EXAMPLES)
                square = tasks(x).var(1, ddof=1).mean(0)
            self._known["sizes"] = np.sqrt(square)
        return self._known["sizes"]


@dataclass(frozen=True, eq=False)
class File:
    """A file: what ``discover`` is given, the level of its noise, and the tasks without noise."""

    x: Array
    y: Array
    level: float
    tasks: Tasks


@dataclass(frozen=True, eq=False)
class Cell:
    """A kind of file.

    Attributes:
        part: ``null``, where wrong answers are counted; ``power``; or ``families``.
        expected: what a good answer is: ``found``, the largest group that all tasks keep; ``none``; or ``open``, where
            "cannot tell" is as good as that group.
        name: of the cell, in words.
        make: ``variant -> Problem``; file ``i`` is of variant ``i % variants``.
        variants: how many problems the cell has.
        labels: what a table groups by, such as the noise.
    """

    name: str
    part: Literal["null", "power", "families"]
    expected: Expected
    make: Callable[[int], Problem]
    variants: int = 1
    labels: tuple[str, ...] = ()


def averaged(W: Array, orbits: Indices) -> Array:
    """Weights ``(tasks, out, in)``, each replaced by the mean over its orbit."""
    flat = orbits.ravel()
    counts = np.bincount(flat)
    member = np.zeros((flat.size, len(counts)))
    member[np.arange(flat.size), flat] = 1.0
    return (W.reshape(len(W), -1) @ member / counts)[:, flat].reshape(W.shape)


def _in_units(rows: Array, sizes: Array) -> Array:
    """Energies ``rows (tasks, out)`` in units of ``sizes²``, averaged over the outputs with a signal: ``(tasks,)``."""
    used = sizes > 1e-9 * sizes.max()
    return rows[:, used] @ (sizes[used] ** -2.0) / used.sum()


def _chunks(count: int, parts: int) -> list[slice]:
    """Slices that cut ``count`` tasks into nearly equal parts."""
    ends = np.linspace(0, count, min(parts, count) + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]


def _group_mean(tasks: Tasks, x: Array, which: slice, some: Indices, n: int) -> Array:
    """The mean over elements of ``Q⁻¹ f(P x)``, where ``(P x)[p(j)] = x[j]``, for the tasks in the slice ``which``.

    Shapes: ``x (tasks, examples, in)``; ``some (elements, in + out)`` permutes the ``n`` inputs, and then the outputs,
    which are numbered on from ``n``; the result is ``(tasks, examples, out)``.
    """
    total = np.zeros(())
    for element in some:
        back = np.argsort(element[:n])
        total = total + tasks(x[..., back], which)[..., element[n:] - n]
    return total / len(some)


def fresh(problem: Problem, **changes: Any) -> Problem:
    """A problem with changed fields, which remembers nothing of what was computed of the old one."""
    return replace(problem, **changes, _known={}, _truths={})


def on_pattern(orbits: Indices, spread: Array | None = None) -> Callable[[Draw, int], Array]:
    """A function ``(draw, tasks) -> (tasks, out, in)`` that draws Gaussian weights which are constant on orbits.

    Their standard deviation is ``spread (orbits,)``, or 1 where that is None, over the root of the number of inputs.
    """
    count = int(orbits.max()) + 1
    size = (np.ones(count) if spread is None else spread) / math.sqrt(orbits.shape[1])
    return lambda draw, tasks: (draw.standard_normal((tasks, count)) * size)[:, orbits]


def balanced(fine: Indices, coarse: Indices) -> Callable[[Array], Array]:
    """A function from numbers ``(tasks, orbits)`` to weights of the small group, less their mean over the large group.

    ``fine`` and ``coarse`` are the orbits ``(out, in)`` of the small and of the large group.
    """
    return lambda v: v[:, fine] - averaged(v[:, fine], coarse)


def capped_share(b: Array) -> float:
    """The mean of ``min(b, cap)`` over tasks in units of ``ε²``, where the cap is :data:`CAP` of these units."""
    return float(np.minimum(b, CAP * EPS**2).mean()) / EPS**2


def mean_share(b: Array) -> float:
    """The mean of ``b`` in units of ``ε²``."""
    return float(b.mean()) / EPS**2


def solved(
    make: Callable[[float], Problem], wanted: float, generators: tuple[Indices, Indices], of: Callable[[Array], float]
) -> Problem:
    """The problem whose scale of what breaks a group makes ``of(b)`` the wanted number, to a few parts in 1e6.

    Its ``boundary`` is that group's orbits.

    Args:
        make: the problem of a scale.
        generators: of the group, on inputs and on outputs.
        of: a number from the shares ``b (tasks,)`` of the sample, such as :func:`mean_share`.

    Raises: ArithmeticError where no scale up to 1e4 does it.
    """

    def above(scale: float) -> float:
        """The logarithm of ``of(b)`` over the wanted number, at a scale."""
        return math.log(of(make(scale).shares(*generators)) / wanted)

    # Double the scale twice until it breaks the group enough, then solve between the last two.
    low = 0.0
    high = 1e-2
    while above(high) < 0:
        low = high
        high = 4 * high
        if high > 1e4:
            raise ArithmeticError(f"nothing breaks the group by {wanted} of the tolerance")
    scale = optimize.brentq(above, low or 1e-6, high, rtol=1e-6)
    return fresh(make(scale), boundary=pair_orbits(*generators))
