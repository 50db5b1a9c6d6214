"""The cells in which wrong answers are counted: files that are easily taken for symmetric, or that hide a symmetry."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.calibration_files.patterns import blocks, of_colours, pair_orbits, ring
from benchmarks.calibration_files.problems import (
    CAP,
    Array,
    Cell,
    Draw,
    Expected,
    Inputs,
    Problem,
    Tasks,
    ar_noise,
    balanced,
    capped_share,
    fresh,
    gaussian,
    gaussian_inputs,
    mean_share,
    on_pattern,
    solved,
)
from msr.permutations import Indices
from msr.permutations.search import automorphisms

__all__ = ["BASES", "CURVES", "FRUCHT", "PAIRS", "null_cells", "plain"]


def of_everything(n: int) -> Indices:
    """The pattern of all permutations of the points, which act in the same way on inputs and outputs."""
    return 1 - np.eye(n, dtype=np.int64)


BASES: list[Callable[[], Indices]] = [
    lambda: ring(7),
    lambda: ring(5, flips=False),
    lambda: ring(7, flips=False),
    lambda: blocks(3, 2),
    lambda: blocks(2, 3),
    lambda: of_everything(5),
    lambda: ring(6),
    lambda: ring(4, flips=False),
]
"""Groups that are found easily in plain files."""

PAIRS: list[Callable[[], tuple[Indices, Indices]]] = [
    lambda: (ring(3), ring(3, flips=False)),
    lambda: (ring(4), ring(4, flips=False)),
    lambda: (of_everything(4), ring(4)),
    lambda: (ring(6), ring(6, flips=False)),
    lambda: (of_everything(6), blocks(3, 2)),
]
"""A larger group that tasks nearly keep, and a smaller one that they keep; both are transitive."""

STRESS_SIZES = ((100, 12), (200, 16), (400, 20))
STRESS_LEVELS = (0.05, 0.1, 0.3)


def _base(variant: int) -> Indices:
    """The pattern of one of :data:`BASES`."""
    return of_colours(BASES[variant % len(BASES)]())


def _generators(orbits: Indices) -> tuple[Indices, Indices]:
    """Generators of the largest group with this pattern, on inputs and on outputs."""
    group = automorphisms(orbits)
    return group.generators_in, group.generators_out


def plain(orbits: Indices, **options: Any) -> Problem:
    """Files of Gaussian weights that are constant on the orbits ``(out, in)``, with white inputs.

    ``options`` are fields of :class:`Problem`; ``inputs`` among them replaces the white ones.
    """
    weights = on_pattern(orbits)
    inputs = options.pop("inputs", None) or gaussian_inputs(orbits.shape[1])
    return Problem(orbits, lambda draw, count: Tasks(weights(draw, count)), inputs, **options)


# --- What breaks a group ----------------------------------------------------------------------------------------------


def breaking(
    variant: int,
    shape: str,
    wanted: float,
    share: float = 0.0,
    inputs: Callable[[int, int], Inputs] | None = None,
    **options: Any,
) -> Problem:
    """Weights that keep the small group of a pair, and break the large one by a known amount.

    Args:
        variant: which pair of :data:`PAIRS`.
        shape: the distribution of the breaking part.
        wanted: the capped mean of ``b`` in units of ``ε²``; for exceptions the plain mean.
        share: of the tasks that are exceptions; 0 where all tasks break the group.
        inputs: their distribution; the options: other fields of Problem. Neither changes the breaking.
    """
    options = {"sizes": STRESS_SIZES, "levels": STRESS_LEVELS, **options}
    coarse, fine = (of_colours(direction) for direction in PAIRS[variant % len(PAIRS)]())
    kept = on_pattern(coarse)
    breaking_part = balanced(fine, coarse)
    count = int(fine.max()) + 1
    direction = breaking_part(np.random.default_rng(variant).standard_normal((1, count)))

    def broken(draw: Draw, tasks: int) -> Array:
        """The breaking part of each task before it is scaled, ``(tasks, out, in)``."""
        if shape == "one direction":
            return np.repeat(direction / np.linalg.norm(direction), tasks, axis=0)
        B = breaking_part(draw.standard_normal((tasks, count)))
        if shape == "Gaussian":
            return B
        B = B / np.linalg.norm(B, axis=(1, 2), keepdims=True)
        if shape == "log-normal size":
            return B * np.exp(draw.standard_normal((tasks, 1, 1)))
        return B * (draw.random((tasks, 1, 1)) < share) if share else B

    def make(scale: float) -> Problem:
        """The files whose breaking part has this scale."""

        def tasks(draw: Draw, count: int) -> Tasks:
            W = kept(draw, count)
            return Tasks(W + scale * broken(draw, count))

        own_inputs = gaussian_inputs(len(fine)) if inputs is None else inputs(len(fine), variant)
        return Problem(fine, tasks, own_inputs, seed=variant, **options)

    return solved(make, wanted, _generators(coarse), mean_share if share else capped_share)


def _breaking_cells() -> list[Cell]:
    """Cells in which all tasks break a group near the tolerance, or some tasks far beyond it."""
    cells = []
    for shape in ("constant", "Gaussian", "one direction", "log-normal size"):
        for words, times in (("at the tolerance", 1.0001), ("1.2 times the tolerance", 1.44)):
            make = functools.partial(breaking, shape=shape, wanted=times)
            cells.append(Cell(f"breaks: {shape}, {words}", "null", "open", make, len(PAIRS)))
    for percent in (1, 2, 5):
        p = percent / 100
        sizes = {"just past the cap": 1.69 * CAP * p, "6% in the mean": 1.44, "10% in the mean": 4.0}
        for words, wanted in sizes.items():
            make = functools.partial(breaking, shape="exceptions", wanted=wanted, share=p)
            cells.append(Cell(f"exceptions: {percent}%, {words}", "null", "open", make, len(PAIRS)))
    return cells


def half_and_half(_: int) -> Problem:
    """Files in which half of the tasks, at random, keep D8, and the other half C8 alone."""
    coarse = of_colours(ring(8))
    fine = of_colours(ring(8, flips=False))
    of_all = on_pattern(coarse)
    of_half = on_pattern(fine)

    def tasks(draw: Draw, count: int) -> Tasks:
        first = draw.random((count, 1, 1)) < 0.5
        return Tasks(np.where(first, of_all(draw, count), of_half(draw, count)))

    return Problem(fine, tasks, gaussian_inputs(8), sizes=((400, 20),))


# --- Tasks that are not linear ----------------------------------------------------------------------------------------


def _softmax(h: Array) -> Array:
    """The softmax of ``2 h`` over the last axis."""
    e = np.exp(2 * h - (2 * h).max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


CURVES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "relu": lambda h, g, x: np.maximum(h, 0),
    "abs": lambda h, g, x: np.abs(h),
    "cubic": lambda h, g, x: h * h * h,
    "products": lambda h, g, x: h * g,
    "sign": lambda h, g, x: np.sign(h),
    "sin": lambda h, g, x: np.sin(2 * h),
    "tanh": lambda h, g, x: np.tanh(3 * h),
    "tanh squared": lambda h, g, x: np.tanh(3 * h) ** 2,
    "softmax": lambda h, g, x: _softmax(h),
    "saturating": lambda h, g, x: h**2 / (1 + h**2),
    "threshold": lambda h, g, x: np.where(h > 1, 1.0, 0.0),
    "interaction": lambda h, g, x: h * np.roll(x, 1, -1),
}
"""Functions of two circular convolutions ``h, g`` of unit size, and of the inputs ``x`` themselves."""


def curved(_: int, kind: str, linear: Indices, share: float) -> Problem:
    """Tasks whose linear part keeps a large group, and whose nonlinear part keeps C8 alone.

    Args:
        kind: of the nonlinear part, a key of :data:`CURVES`.
        linear: colours of pairs, whose automorphisms are the large group.
        share: the root of the mean share of energy by which the nonlinear part breaks the large group, to 1% of the
            share of energy.
    """
    coarse = of_colours(linear)
    fine = of_colours(ring(8, flips=False))
    kept = on_pattern(coarse)
    filters = on_pattern(fine)
    act = CURVES[kind]

    def make(scale: float) -> Problem:
        def tasks(draw: Draw, count: int) -> Tasks:
            W = kept(draw, count)
            first = filters(draw, count)
            second = filters(draw, count)
            size = math.sqrt(8) / np.linalg.norm(first, axis=(1, 2), keepdims=True)
            other = math.sqrt(8) / np.linalg.norm(second, axis=(1, 2), keepdims=True)
            first = first * size
            second = second * other

            def add(x: Array, which: slice) -> Array:
                h = np.matmul(x, first[which].transpose(0, 2, 1))
                g = np.matmul(x, second[which].transpose(0, 2, 1)) if kind == "products" else h
                return scale * act(h, g, x)

            return Tasks(W, add)

        return Problem(fine, tasks, gaussian_inputs(8), sizes=((200, 24), (400, 30)), levels=(0.05, 0.1, 0.3))

    return _scaled_curve(make, share, _generators(coarse))


def _scaled_curve(make: Callable[[float], Problem], share: float, generators: tuple[Indices, Indices]) -> Problem:
    """The problem whose scale ``s`` makes the tasks break the group of the generators by ``share²`` in the mean.

    ``b = s² A / (E₀ + s C + s² F)``, so a few steps reach the scale, to 1% of ``b``.

    Args:
        make: the problem of a scale.
        share: the root of the wanted mean share of energy.
    """
    scale = 0.3
    wanted = share**2
    for _ in range(8):
        problem = make(scale)
        b = problem.truth(*generators).mean
        if abs(b / wanted - 1) < 0.01:
            break
        scale *= min(4.0, max(0.25, math.sqrt(wanted / b)))
    return problem


def _curved_cells() -> list[Cell]:
    """Cells in which a part that is not linear breaks the group of the linear part."""
    cells = []
    for kind in CURVES:
        make = functools.partial(curved, kind=kind, linear=of_everything(8), share=0.08)
        cells.append(Cell(f"not linear: {kind}, S8 breaks 8%", "null", "open", make))
    for name, linear, percent in (("S8", of_everything(8), 15), ("D8", ring(8), 15), ("D8", ring(8), 7)):
        make = functools.partial(curved, kind="tanh squared", linear=linear, share=percent / 100)
        cells.append(Cell(f"not linear: tanh squared, {name} breaks {percent}%", "null", "open", make))
    return cells


# --- Inputs, noise and rows of all kinds ------------------------------------------------------------------------------


def with_inputs(
    variant: int, inputs: Callable[[int, int], Inputs], free: Callable[[int], Array] | None = None
) -> Problem:
    """Files of one of :data:`BASES` with other inputs.

    Args:
        inputs: the distribution, from the number of inputs and the variant.
        free: from the number of inputs, orthonormal directions ``(in, r)`` that inputs never take, on which weights are
            then zero; None where inputs take all directions.
    """
    orbits = _base(variant)
    n = orbits.shape[1]
    problem = plain(orbits, inputs=inputs(n, variant))
    return problem if free is None else _without(problem, free(n))


def _without(problem: Problem, free: Array) -> Problem:
    """The problem with weights that are zero along some directions of the inputs, orthonormal ``(in, r)``."""
    weights = problem.tasks
    projector = np.eye(len(free)) - free @ free.T
    return fresh(problem, tasks=lambda draw, count: Tasks(weights(draw, count).W @ projector))


def _offset(n: int, variant: int, size: float) -> Inputs:
    """White inputs on one offset for all."""
    return gaussian_inputs(n, size)


def _own_offsets(n: int, variant: int, size: float) -> Inputs:
    """White inputs, each on an offset of its own, which are normal numbers of this size."""
    return gaussian_inputs(n, size * np.random.default_rng(variant).standard_normal(n))


def _binary(n: int, variant: int) -> Inputs:
    """Independent inputs that are 0 or 1, each with probability one half."""
    return Inputs(lambda draw, t, e: draw.integers(0, 2, (t, e, n)).astype(float), np.eye(n) / 4)


def _counts(n: int, variant: int) -> Inputs:
    """Independent inputs that are Poisson counts of mean 2."""
    return Inputs(lambda draw, t, e: draw.poisson(2.0, (t, e, n)).astype(float), 2 * np.eye(n))


def _chained(n: int, variant: int) -> Inputs:
    """Gaussian inputs with correlation ``0.8^d`` between those that are ``d`` places apart."""
    second = 0.8 ** np.abs(np.arange(n)[:, None] - np.arange(n))
    root = np.linalg.cholesky(second)
    return Inputs(lambda draw, t, e: draw.standard_normal((t, e, n)) @ root.T, second)


def _sum_zero(n: int, variant: int) -> Inputs:
    """Gaussian inputs that add up to zero in each example."""

    def draw_them(draw: Draw, tasks: int, examples: int) -> Array:
        x = draw.standard_normal((tasks, examples, n))
        return x - x.mean(-1, keepdims=True)

    return Inputs(draw_them, np.eye(n) - 1 / n)


def _composition(n: int, variant: int) -> Inputs:
    """Inputs that are uniform on the shares which add up to one."""
    second = (np.eye(n) - 1 / n) / (n * (n + 1))
    return Inputs(lambda draw, t, e: draw.dirichlet(np.ones(n), (t, e)), second)


def _ones(n: int) -> Array:
    """The unit vector with equal entries, as a column ``(n, 1)``."""
    return np.full((n, 1), n**-0.5)


def one_hot(variant: int) -> Problem:
    """Files of nine inputs, three places of three letters in one-hot code; the group moves the places.

    There is one output for each place. The group is C3 for an odd variant, and else S3.
    """
    places = np.array([[1, 2, 0], [1, 0, 2]])[: 2 - variant % 2]
    moves = (places[:, :, None] * 3 + np.arange(3)).reshape(len(places), 9)
    orbits = pair_orbits(moves, places)

    def letters(draw: Draw, tasks: int, examples: int) -> Array:
        return np.eye(3)[draw.integers(0, 3, (tasks, examples, 3))].reshape(tasks, examples, 9)

    block = np.kron(np.eye(3), np.full((3, 1), 3**-0.5)).astype(np.float64)
    covariance = (np.eye(9) - block @ block.T) / 3
    problem = plain(orbits, inputs=Inputs(letters, covariance), sizes=((200, 30), (400, 40)))
    return _without(problem, block)


def with_noise(
    variant: int, noise: Callable[[Draw, Array, float], Array], levels: tuple[float, ...] = (0.1, 0.3)
) -> Problem:
    """Files of one of :data:`BASES` with other noise, at one of the levels."""
    return plain(_base(variant), noise=noise, levels=levels)


def _student(draw: Draw, signal: Array, level: float) -> Array:
    """Noise of Student's t with two degrees of freedom, which has no variance."""
    return level * draw.standard_t(2, signal.shape)


def _log_normal(draw: Draw, signal: Array, level: float) -> Array:
    """Log-normal noise of mean 0; 2.16 is its standard deviation."""
    return level * (np.exp(draw.standard_normal(signal.shape)) - math.exp(0.5)) / 2.16


def _outliers(draw: Draw, signal: Array, level: float) -> Array:
    """Gaussian noise, and on one number in a hundred an outlier of ten times the signal's size."""
    rare = draw.random(signal.shape) < 0.01
    return level * draw.standard_normal(signal.shape) + 10 * rare * draw.standard_normal(signal.shape)


def _gains(draw: Draw, signal: Array, level: float) -> Array:
    """Gaussian noise, and each example's signal times a random gain of standard deviation 20%."""
    return level * draw.standard_normal(signal.shape) + 0.2 * draw.standard_normal((*signal.shape[:2], 1)) * signal


def _uneven(draw: Draw, signal: Array, level: float) -> Array:
    """Gaussian noise whose level is log-normal over tasks."""
    return level * np.exp(0.7 * draw.standard_normal((len(signal), 1, 1))) * draw.standard_normal(signal.shape)


def with_rows(
    variant: int, finish: Callable[[Draw, Array, Array], tuple[Array, Array]], sizes: tuple[tuple[int, int], ...]
) -> Problem:
    """Files of one of :data:`BASES` whose rows ``finish`` changes after all else, such as by repeating some.

    ``sizes`` are the numbers of tasks and examples that a file may have before that.
    """
    return plain(_base(variant), finish=finish, sizes=sizes, levels=(0.1, 0.3))


def _thrice(draw: Draw, x: Array, y: Array) -> tuple[Array, Array]:
    """Every row three times."""
    return np.tile(x, (1, 3, 1)), np.tile(y, (1, 3, 1))


def _padded(draw: Draw, x: Array, y: Array) -> tuple[Array, Array]:
    """A task has fewer different rows than places; the other places repeat some of them."""
    tasks, examples = x.shape[:2]
    different = draw.integers(examples // 3, examples + 1, (tasks, 1))
    repeated = np.floor(draw.random((tasks, examples)) * different).astype(int)
    rows = np.where(np.arange(examples) < different, np.arange(examples), repeated)[:, :, None]
    return np.take_along_axis(x, rows, 1), np.take_along_axis(y, rows, 1)


def _own_bias(draw: Draw, x: Array, y: Array) -> tuple[Array, Array]:
    """A constant added to the outputs of each task."""
    return x, y + 5 * y.std() * draw.standard_normal((len(y), 1, y.shape[2]))


def _stressed_breaking_cells() -> list[Cell]:
    """Groups broken at the tolerance, with noise, inputs and rows that violate what tests assume."""
    stresses: dict[str, dict[str, Any]] = {
        "AR(0.9) noise": {"noise": ar_noise(0.9)},
        "Student t2 noise": {"noise": _student, "levels": (0.1,)},
        "log-normal noise": {"noise": _log_normal},
        "1% outliers": {"noise": _outliers, "levels": (0.1,)},
        "gains of examples": {"noise": _gains, "levels": (0.1,)},
        "noise of its own size in each task": {"noise": _uneven},
        "binary inputs": {"inputs": _binary},
        "offset 20": {"inputs": functools.partial(_offset, size=20.0)},
        "three or four examples": {"sizes": ((100, 4), (150, 3), (400, 4)), "levels": (0.1,)},
        "rows three times": {"finish": _thrice, "sizes": ((200, 8), (400, 6))},
        "rows repeated to fill up": {"finish": _padded, "sizes": ((200, 18), (400, 24))},
    }
    cells = []
    for words, options in stresses.items():
        make = functools.partial(breaking, shape="constant", wanted=1.0001, **options)
        cells.append(Cell(f"breaks: constant, at the tolerance, {words}", "null", "open", make, len(PAIRS)))
    return cells


def _stress_cells() -> list[Cell]:
    """Cells of a group that all tasks keep, with inputs, noise and rows of all kinds."""
    count = len(BASES)

    def cell(name: str, make: Callable[..., Problem], expected: Expected = "found", **options: Any) -> Cell:
        return Cell(name, "null", expected, functools.partial(make, **options), count)

    cells = [
        cell(f"offset {c} on all inputs", with_inputs, inputs=functools.partial(_offset, size=float(c)))
        for c in (0, 3, 10, 20, 50, 100)
    ]
    cells += [
        cell(
            f"offsets of size {c}, one for each input",
            with_inputs,
            inputs=functools.partial(_own_offsets, size=float(c)),
        )
        for c in (10, 100)
    ]
    cells += [
        cell("inputs: binary", with_inputs, inputs=_binary),
        cell("inputs: counts", with_inputs, inputs=_counts),
        cell("inputs: neighbours correlated", with_inputs, inputs=_chained),
        cell("inputs: add up to zero", with_inputs, inputs=_sum_zero, free=_ones),
        cell("inputs: compositions", with_inputs, inputs=_composition, free=_ones),
        Cell("inputs: one-hot", "null", "found", one_hot, 2),
        cell("noise: AR(0.5) over examples", with_noise, noise=ar_noise(0.5)),
        cell("noise: AR(0.9) over examples", with_noise, noise=ar_noise(0.9)),
        cell("noise: Student t2", with_noise, "open", noise=_student),
        cell("noise: log-normal", with_noise, noise=_log_normal),
        cell("noise: 1% outliers", with_noise, "open", noise=_outliers),
        cell("noise: a gain of its own for each example", with_noise, noise=_gains, levels=(0.1,)),
        cell("noise: of its own size in each task", with_noise, noise=_uneven, levels=(0.1,)),
        cell("noise: as large as the signal", with_noise, "open", noise=gaussian, levels=(1.0,)),
        cell("rows: each three times", with_rows, finish=_thrice, sizes=((400, 8),)),
        cell("rows: repeated to fill up", with_rows, finish=_padded, sizes=((400, 24),)),
        cell("rows: a bias of its own for each task", with_rows, finish=_own_bias, sizes=((200, 16), (400, 20))),
        Cell("half of the tasks keep D8, half C8", "null", "found", half_and_half),
    ]
    return cells


# --- Lattices, from few examples --------------------------------------------------------------------------------------


def lattice(*sizes: int, mix: bool = False) -> tuple[Indices, Array]:
    """Pairs of points on a torus coloured by their distances along the axes, and their Euclidean distances.

    With ``mix`` the distances along the axes count in any order. Shapes: both ``(points, points)``.
    """
    points = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), 1)
    gap = np.abs(points[:, None] - points)
    gap = np.minimum(gap, np.array(sizes) - gap)
    return _by_gap(np.sort(gap, 2) if mix else gap)


def copper() -> tuple[Indices, Array]:
    """Colours and distances of pairs, as of :func:`lattice`, for 32 atoms of a strained face-centred cubic crystal.

    It is strained along one axis, so its symmetries are 32 shifts by 16 point symmetries.
    """
    points = np.array([p for p in itertools.product(range(4), repeat=3) if sum(p) % 2 == 0])
    gap = np.abs(points[:, None] - points)
    gap = np.minimum(gap, 4 - gap)
    gap[..., 1:] = np.sort(gap[..., 1:], 2)
    return _by_gap(gap)


def _by_gap(gap: Indices) -> tuple[Indices, Array]:
    """Colours of pairs from distances along each axis ``(points, points, axes)``, and their Euclidean distances."""
    n = len(gap)
    colours = np.unique(gap.reshape(n * n, -1), axis=0, return_inverse=True)[1].reshape(n, n)
    return colours, np.sqrt((gap**2).sum(-1))


LATTICES: list[Callable[[], tuple[Indices, Array]]] = [
    lambda: lattice(6),
    lambda: lattice(8),
    lambda: lattice(3, 4),
    lambda: lattice(4, 4, mix=True),
    lambda: lattice(24),
    copper,
    lambda: lattice(6, 6, mix=True),
    lambda: lattice(48),
]


def _few(n: int) -> tuple[tuple[int, int], ...]:
    """Numbers of tasks and of examples, which are fewer than the ``n`` inputs or hardly more, as ``sizes`` of files."""
    return tuple((tasks, e) for tasks in (80, 100, 120, 150) for e in (n // 2, n - 1, n + 8))


def springs(variant: int, impurity: bool = False) -> Problem:
    """Files of couplings that decay with distance on one of :data:`LATTICES`, and vary by a third between tasks.

    With ``impurity`` those of the first point differ by half, so that only symmetries which keep this point are left.
    """
    colours, far = LATTICES[variant % len(LATTICES)]()
    n = len(colours)
    rng = np.random.default_rng(variant)
    first = np.unique(colours, return_index=True)[1]
    size = np.exp(-far.ravel()[first]) * rng.choice([-1.0, 1.0], len(first))

    def tasks(draw: Draw, count: int) -> Tasks:
        W = ((1 + 0.3 * draw.standard_normal((count, len(size)))) * size)[:, colours]
        if impurity:
            other = ((0.5 + 0.3 * draw.standard_normal((count, len(size)))) * size)[:, colours]
            W[:, 0, :] = other[:, 0, :]
            W[:, :, 0] = other[:, :, 0]
        return Tasks(W)

    marked = colours.copy()
    if impurity:
        marked[0, :] += len(size)
        marked[1:, 0] += len(size)
    return Problem(of_colours(marked), tasks, gaussian_inputs(n), sizes=_few(n), levels=(0.05,), seed=variant)


def nearly_cubic(_: int) -> Problem:
    """Files of copper whose couplings keep a group of order 512 exactly, and the cubic one of order 1,536 up to 3%."""
    colours, far = copper()
    cubic = _by_gap(np.round(far[..., None] ** 2).astype(int))[0]
    fine = of_colours(colours)
    coarse = of_colours(cubic)
    kept = on_pattern(coarse, np.exp(-np.sqrt(_first(far, coarse))))
    breaking_part = balanced(fine, coarse)
    decay = np.exp(-_first(far, fine))

    def make(scale: float) -> Problem:
        def tasks(draw: Draw, count: int) -> Tasks:
            W = kept(draw, count)
            return Tasks(W + scale * breaking_part(draw.standard_normal((count, len(decay))) * decay))

        return Problem(fine, tasks, gaussian_inputs(32), sizes=((120, 24), (120, 40)), levels=(0.05,))

    return fresh(solved(make, 0.36, _generators(coarse), mean_share), boundary=None)


def _first(values: Array, orbits: Indices) -> Array:
    """The value at the first pair of each orbit, ``(orbits,)``, of values at all pairs."""
    return np.asarray(values.ravel()[np.unique(orbits, return_index=True)[1]])


# --- Without symmetry -------------------------------------------------------------------------------------------------


def random_span(variant: int) -> Problem:
    """Files of weights in a random span of a few dimensions, which has no symmetry; sizes depend on the variant."""
    rng = np.random.default_rng(variant)
    m = int(rng.integers(3, 9))
    n = int(rng.integers(4, 9))
    k = int(rng.integers(2, 9))
    U = rng.standard_normal((k, m, n)) / math.sqrt(k * n)

    def tasks(draw: Draw, count: int) -> Tasks:
        return Tasks(np.tensordot(draw.standard_normal((count, k)), U, 1))

    return Problem(
        np.arange(m * n).reshape(m, n), tasks, gaussian_inputs(n), sizes=((200, 16), (400, 20)), seed=variant
    )


FRUCHT = (-5, -2, -4, 2, 5, -2, 2, 5, -2, -5, 4, 2)
"""Frucht's graph: the step from each of twelve points on a ring to its third neighbour."""


def heat(variant: int, frucht: bool) -> Problem:
    """Files of diffusion on a graph without automorphisms, for a different time in each task.

    The graph is Frucht's, or else a random one that depends on the variant.
    """
    A = np.zeros((12, 12), dtype=np.int64)
    for i, step in enumerate(FRUCHT):
        for j in ((i + 1) % 12, (i + step) % 12):
            A[i, j] = A[j, i] = 1
    rng = np.random.default_rng(variant)
    while not frucht:
        n = int(rng.integers(7, 13))
        half = np.triu(rng.random((n, n)) < 0.4, 1)
        A = (half + half.T).astype(np.int64)
        if automorphisms(A + 2 * np.eye(n, dtype=np.int64)).order == 1:
            break
    n = len(A)
    values, vectors = np.linalg.eigh(np.diag(A.sum(1)) - A)

    def tasks(draw: Draw, count: int) -> Tasks:
        times = draw.uniform(0.2, 1.5, (count, 1))
        return Tasks((vectors * np.exp(-times * values)[:, None, :]) @ vectors.T)

    sizes = ((400, 40), (400, 20))
    orbits = np.arange(n * n).reshape(n, n)
    return Problem(orbits, tasks, gaussian_inputs(n), sizes=sizes, levels=(0.02,), seed=variant)


def _other_cells() -> list[Cell]:
    """Cells of lattices with few examples, and cells without symmetry."""
    return [
        Cell("few examples: lattices", "null", "found", springs, len(LATTICES)),
        Cell(
            "few examples: lattices with an impurity",
            "null",
            "open",
            functools.partial(springs, impurity=True),
            len(LATTICES),
        ),
        Cell("few examples: copper", "null", "found", lambda variant: springs(5)),
        Cell("few examples: copper with an impurity", "null", "open", lambda variant: springs(5, impurity=True)),
        Cell("few examples: copper, nearly cubic", "null", "open", nearly_cubic),
        Cell("no symmetry: random weights", "null", "none", random_span, 25),
        Cell("no symmetry: heat on Frucht's graph", "null", "none", functools.partial(heat, frucht=True)),
        Cell("no symmetry: heat on random graphs", "null", "none", functools.partial(heat, frucht=False), 25),
    ]


def null_cells() -> list[Cell]:
    """All cells of the part ``null``."""
    return [*_breaking_cells(), *_stressed_breaking_cells(), *_curved_cells(), *_stress_cells(), *_other_cells()]
