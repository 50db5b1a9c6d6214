"""Files for the constants of discovery: each names what it holds that other files do not."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.calibration_files.nulls import FRUCHT, plain
from benchmarks.calibration_files.patterns import of_colours, pair_orbits, ring
from benchmarks.calibration_files.problems import (
    Array,
    Draw,
    Inputs,
    Problem,
    Tasks,
    ar_noise,
    balanced,
    fresh,
    gaussian_inputs,
    on_pattern,
)
from benchmarks.threshold_files.known import Known, asked_of_discovery, drawn
from msr.permutations import Indices

__all__ = ["discovery_files"]

_FLOAT32 = 2.0**-23
"""The relative rounding of float32."""


def _problem(orbits: Indices, tasks: int, examples: int, noise: float = 0.1, inputs: Inputs | None = None) -> Problem:
    """Weights that are constant on a pattern, in files of one size and one level of noise."""
    return plain(orbits, sizes=((tasks, examples),), levels=(noise,), inputs=inputs)


def _with_weights(problem: Problem, weights: Callable[[Draw, int], Array]) -> Problem:
    """The problem with other weights: a function ``(draw, tasks) -> (tasks, out, in)``."""
    return fresh(problem, tasks=lambda draw, count: Tasks(weights(draw, count)))


def _finished(problem: Problem, finish: Callable[[Draw, Array, Array], tuple[Array, Array]]) -> Problem:
    """The problem with inputs and outputs that are changed at last."""
    return fresh(problem, finish=finish)


def _dihedral(n: int) -> Indices:
    return of_colours(ring(n))


def _own_weights(m: int, n: int) -> Indices:
    """The pattern without a symmetry: every weight by itself."""
    return np.arange(m * n).reshape(m, n)


def _scaled(pattern: Indices, scale: Array) -> Callable[[Draw, int], Array]:
    """Weights that are constant on a pattern, and then multiplied one by one."""
    weights = on_pattern(pattern)
    return lambda draw, count: weights(draw, count) * scale


def _file(name: str, problem: Problem, lengths: Sequence[int] | None = None, **options: object) -> Known:
    return asked_of_discovery(drawn(name, problem), problem, lengths, **options)


# --- What the caller gives -------------------------------------------------------------------------------------------


def short_tasks(name: str) -> Known:
    """Of 130 tasks most have twenty examples, twelve have four, and six have two."""
    return _file(name, _problem(_dihedral(7), 130, 20), [20] * 112 + [4] * 12 + [2] * 6)


def two_lengths(name: str) -> Known:
    """Two tasks of five have twenty examples, the others eight."""
    return _file(name, _problem(_dihedral(7), 120, 20), [20] * 48 + [8] * 72)


def unequal_inputs(name: str, long: int) -> Known:
    """The size of the inputs differs between tasks, and some of the 120 are too short for least squares."""

    def inputs(draw: Draw, tasks: int, examples: int) -> Array:
        return draw.standard_normal((tasks, examples, 7)) * np.exp(0.4 * draw.standard_normal((tasks, 1, 1)))

    problem = _problem(_dihedral(7), 120, 20, inputs=Inputs(inputs, np.exp(2 * 0.4**2) * np.eye(7)))
    return _file(name, problem, [20] * long + [10] * (120 - long))


def fresh_tasks(name: str) -> Known:
    """The caller keeps thirty of 120 tasks for the test."""
    return _file(name, _problem(_dihedral(7), 120, 20), fresh=[place < 30 for place in range(120)])


def one_data_set(name: str, rows: int) -> Known:
    """The rows of one layer of four inputs, which are cut into pieces."""
    layer = on_pattern(_dihedral(4))(np.random.default_rng(0), 1)
    problem = _with_weights(_problem(_dihedral(4), 1, rows), lambda draw, count: np.repeat(layer, count, axis=0))
    file = drawn(name, problem)
    return asked_of_discovery(replace(file, x=file.x[0], y=file.y[0]), problem)


# --- Units, digits, directions ---------------------------------------------------------------------------------------


def three_units(name: str) -> Known:
    """Three sets of three inputs, of sizes 1, 2.2 and 9, which are turned together with three outputs."""
    unit = np.repeat(np.array([1.0, 2.2, 9.0]), 3)
    pattern = of_colours(np.concatenate([ring(3) + 3 * i for i in range(3)], 1))
    inputs = Inputs(lambda draw, t, e: draw.standard_normal((t, e, 9)) * unit, np.diag(unit**2))
    return _file(name, _with_weights(_problem(pattern, 120, 24, inputs=inputs), _scaled(pattern, 1 / unit)))


def rounded_outputs(name: str) -> Known:
    """Outputs in float32 beside offsets that take digits: rounding is up to 7% of what varies, and 60% of one more."""
    pattern = _dihedral(5)
    with_sixth = np.concatenate([pattern, np.full((1, 5), pattern.max() + 1)])
    weights = on_pattern(pattern)

    def finish(draw: Draw, x: Array, y: Array) -> tuple[Array, Array]:
        shares = np.array([0.015, 0.007, 0.07, 0.0, 0.0])
        offsets = shares * y[..., :5].std() / _FLOAT32
        # The sixth output has no weights. It takes two values, whose standard deviation is half of their distance.
        large = 1e6
        sixth = large + draw.integers(0, 2, y.shape[:2]) * 2 * large * _FLOAT32 / 0.6
        whole = np.concatenate([y[..., :5] + offsets, sixth[..., None]], 2)
        return x, whole.astype(np.float32).astype(np.float64)

    problem = _with_weights(
        _problem(with_sixth, 120, 20),
        lambda draw, count: np.concatenate([weights(draw, count), np.zeros((count, 1, 5))], 1),
    )
    return _file(name, _finished(problem, finish))


def narrow_inputs(name: str, share: float) -> Known:
    """Noise-free tasks whose inputs nearly add up to zero: in that direction they have a tiny share of the variance."""

    def inputs(draw: Draw, tasks: int, examples: int) -> Array:
        x = draw.standard_normal((tasks, examples, 5))
        return x - (1 - math.sqrt(share)) * x.mean(-1, keepdims=True)

    covariance = np.eye(5) - (1 - share) / 5
    return _file(name, _problem(_dihedral(5), 120, 20, 0.0, inputs=Inputs(inputs, covariance)))


def own_offsets(name: str, size: float, tasks: int, examples: int) -> Known:
    """The inputs of each task have a mean of their own."""

    def inputs(draw: Draw, tasks: int, examples: int) -> Array:
        return draw.standard_normal((tasks, examples, 7)) + size * draw.standard_normal((tasks, 1, 7))

    return _file(name, _problem(_dihedral(7), tasks, examples, inputs=Inputs(inputs, np.eye(7))))


def own_sizes(name: str, size: float) -> Known:
    """The inputs of each task have a size of their own."""

    def inputs(draw: Draw, tasks: int, examples: int) -> Array:
        return draw.standard_normal((tasks, examples, 7)) * np.exp(size * draw.standard_normal((tasks, 1, 1)))

    covariance = math.exp(2 * size**2) * np.eye(7)
    return _file(name, _problem(_dihedral(7), 200, 12, inputs=Inputs(inputs, covariance)))


def few_rows(name: str) -> Known:
    """The inputs of all tasks are drawn from the same 25 rows, which biases pairs of examples by a fifth."""

    def inputs(draw: Draw, tasks: int, examples: int) -> Array:
        rows = draw.standard_normal((25, 7))
        return rows[draw.random((tasks, 25)).argsort(1)[:, :examples]]

    # Of the files of this name it is one in which the bias is seen by a hundred tasks, and not by fifty.
    problem = _problem(_dihedral(7), 320, 12, inputs=Inputs(inputs, np.eye(7)))
    return asked_of_discovery(drawn(name, problem, 2), problem, eps=0.5)


def centred_outputs(name: str) -> Known:
    """A part of the mean of each task's outputs was taken off before."""
    problem = _problem(_dihedral(7), 200, 12)
    return _file(name, _finished(problem, lambda draw, x, y: (x, y - 0.4 * y.mean(1, keepdims=True))))


def own_biases(name: str) -> Known:
    """Each task has biases of its own, of a tenth of the outputs."""
    problem = _problem(_dihedral(7), 150, 16)

    def finish(draw: Draw, x: Array, y: Array) -> tuple[Array, Array]:
        return x, y + 0.1 * draw.standard_normal((len(y), 1, y.shape[2]))

    return _file(name, _finished(problem, finish))


def correlated_noise(name: str) -> Known:
    """The noise of neighbouring examples has a correlation of 0.05."""
    # Of the files of this name it is one in which the correlation is hardly seen.
    problem = fresh(_problem(_dihedral(7), 150, 16), noise=ar_noise(0.05))
    return asked_of_discovery(drawn(name, problem, 12), problem)


# --- Sizes of tasks and of layers ------------------------------------------------------------------------------------


def points(
    name: str, n: int, tasks: int, examples: int, noise: float = 0.1, flips: bool = True, number: int = 0
) -> Known:
    """A dihedral, or a cyclic, group of ``n`` points on inputs and outputs, in tasks of this number and size.

    ``number``: of the file among those of its name, where only some show a constant.
    """
    problem = _problem(of_colours(ring(n, flips=flips)), tasks, examples, noise)
    return asked_of_discovery(drawn(name, problem, number), problem)


def one_input(name: str) -> Known:
    """Four outputs of a single input, in tasks of four examples."""
    return _file(name, _problem(np.zeros((4, 1), dtype=np.int64), 150, 4, 0.02))


def many_inputs(name: str) -> Known:
    """Two outputs of two kinds of eleven inputs, in tasks of 130 examples."""
    return _file(name, _problem(np.repeat(np.arange(4).reshape(2, 2), 11, 1), 80, 130))


def one_reflection(name: str) -> Known:
    """Ten inputs and outputs that one reflection exchanges in pairs: fifty weights of their own, in few examples."""
    move = np.arange(10).reshape(5, 2)[:, ::-1].reshape(1, 10)
    return _file(name, _problem(pair_orbits(move, move), 200, 16, 0.02), k=50)


# --- What is nearly a symmetry ---------------------------------------------------------------------------------------


def unequal_gain(name: str, gain: float) -> Known:
    """Noise-free tasks in which one output of a dihedral group is larger than the others by a small share of itself."""
    scale = np.ones((7, 1))
    scale[0] += gain
    marked = ring(7)
    marked[0] += 7
    return _file(name, _with_weights(_problem(of_colours(marked), 120, 20, 0.0), _scaled(_dihedral(7), scale)))


def weak_inputs(name: str, size: float, tasks: int, examples: int, noise: float) -> Known:
    """Beside the inputs of a dihedral group there is one whose weights are weaker than theirs."""
    pattern = np.concatenate([ring(5), np.full((5, 1), 6)], 1)
    problem = _problem(of_colours(pattern), tasks, examples, noise)
    return _file(name, _with_weights(problem, _scaled(of_colours(pattern), np.array([1.0] * 5 + [size]))))


def tied_input(name: str) -> Known:
    """Beside the inputs of a dihedral group there is one with the weights of the first, at 1.4e-5 of their size."""
    pattern = np.concatenate([ring(5), ring(5)[:, :1] + 5], 1)
    weights = on_pattern(_dihedral(5))

    def with_copy(draw: Draw, count: int) -> Array:
        W = weights(draw, count)
        return np.concatenate([W, 1.4e-5 * W[:, :, :1]], 2)

    return _file(name, _with_weights(_problem(of_colours(pattern), 120, 20, 0.0), with_copy))


def nested_pairs(name: str) -> Known:
    """Eight pairs of inputs whose weights differ, in each pair by less than half as much as in the one before."""
    gaps = 0.5 * 0.45 ** np.arange(8)
    gains = np.stack([1 + gaps, 1 - gaps], 1).ravel()
    pairs = np.repeat(np.arange(16).reshape(2, 8), 2, 1)
    return _file(name, _with_weights(_problem(_own_weights(2, 16), 120, 24, 1e-5), _scaled(pairs, gains)))


def much_unlearned(name: str, size: float, examples: int, noise: float) -> Known:
    """Beside weights that keep a dihedral group there are smaller ones in all dimensions, of which few are learned."""
    kept = on_pattern(_dihedral(7))
    others = on_pattern(_own_weights(7, 7), np.full(49, size))
    problem = _problem(_own_weights(7, 7), 100, examples, noise)
    return _file(name, _with_weights(problem, lambda draw, count: kept(draw, count) + others(draw, count)))


def many_exceptions(name: str) -> Known:
    """Seven tasks of a hundred break a dihedral group, by as much as they keep it."""
    coarse = _dihedral(6)
    fine = of_colours(ring(6, flips=False))
    kept = on_pattern(coarse)
    breaking = balanced(fine, coarse)
    count_of_weights = int(fine.max()) + 1

    def weights(draw: Draw, count: int) -> Array:
        exceptional = np.arange(count)[:, None, None] < 0.07 * count
        part = breaking(draw.standard_normal((count, count_of_weights))) / math.sqrt(6)
        return kept(draw, count) + exceptional * part

    return _file(name, _with_weights(_problem(fine, 150, 20, 0.05), weights))


# --- Without a symmetry ----------------------------------------------------------------------------------------------


def small_layer(name: str) -> Known:
    """A layer of four weights of their own, in short noisy tasks."""
    return _file(name, _problem(_own_weights(2, 2), 100, 6, 0.3))


def regular_graph(name: str, noise: float, near: float) -> Known:
    """Three weights, for the points, the edges and the other pairs of a regular graph that has no symmetry.

    ``near``: how far the weights of edges and of points are apart, in units of their size.
    """
    edges = np.zeros((12, 12), dtype=np.int64)
    for i, step in enumerate(FRUCHT):
        for j in ((i + 1) % 12, (i + step) % 12):
            edges[i, j] = edges[j, i] = 1
    colours = edges + 2 * np.eye(12, dtype=np.int64)

    def weights(draw: Draw, count: int) -> Array:
        v = draw.standard_normal((count, 3)) / math.sqrt(12)
        v[:, 2] = math.sqrt(1 - near**2) * v[:, 1] + near * v[:, 2]
        return v[:, colours]

    return _file(name, _with_weights(_problem(_own_weights(12, 12), 120, 12, noise), weights))


def small_image(name: str) -> Known:
    """A convolution of 2 by 2 taps on an image of 4 by 4 points, without padding: only its interior is translated."""
    colours = np.zeros((3, 3, 4, 4), dtype=np.int64)
    for i, j, a, b in np.ndindex(3, 3, 2, 2):
        colours[i, j, i + a, j + b] = 1 + 2 * a + b
    return _file(name, _zeros_and(colours.reshape(9, 16), 150, 24))


def one_zero(name: str) -> Known:
    """Three weights that move along by one from the first output to the second, and one weight of zero in each."""
    return _file(name, _zeros_and(np.array([[1, 2, 3, 0], [0, 1, 2, 3]]), 150, 20))


def _zeros_and(colours: Indices, tasks: int, examples: int) -> Problem:
    """Weights of zero for the colour 0 and of their own for the other colours, without a symmetry."""
    count_of_weights = int(colours.max())

    def weights(draw: Draw, count: int) -> Array:
        own = draw.standard_normal((count, count_of_weights)) / math.sqrt(count_of_weights)
        return np.concatenate([np.zeros((count, 1)), own], 1)[:, colours]

    m, n = colours.shape
    return Problem(
        _own_weights(m, n),
        lambda draw, count: Tasks(weights(draw, count)),
        gaussian_inputs(n),
        sizes=((tasks, examples),),
        levels=(0.02,),
    )


def slightly_curved(name: str) -> Known:
    """Noise-free tasks with squares of the inputs that make 1e-5 of the outputs, as rounding of float32 might."""
    weights = on_pattern(_dihedral(5))

    def tasks(draw: Draw, count: int) -> Tasks:
        return Tasks(weights(draw, count), lambda x, which: 1e-5 * (x**2 - 1))

    return _file(name, fresh(_problem(_dihedral(5), 120, 16, 0.0), tasks=tasks))


def discovery_files() -> dict[str, Callable[[], Known]]:
    """All of them, by name."""
    make = functools.partial
    files: dict[str, Callable[[str], Known]] = {
        "short tasks": short_tasks,
        "two lengths": two_lengths,
        "unequal inputs, a sixth of the tasks short": make(unequal_inputs, long=102),
        "unequal inputs, a third of the tasks short": make(unequal_inputs, long=84),
        "fresh tasks": fresh_tasks,
        "one data set of 3,000 rows": make(one_data_set, rows=3000),
        "one data set of 700 rows": make(one_data_set, rows=700),
        "three units": three_units,
        "rounded outputs": rounded_outputs,
        "inputs of share 1.4e-9 in a direction": make(narrow_inputs, share=1.4e-9),
        "inputs of share 1.4e-6 in a direction": make(narrow_inputs, share=1.4e-6),
        "own offsets, slight": make(own_offsets, size=0.1, tasks=200, examples=20),
        "own offsets": make(own_offsets, size=1.0, tasks=120, examples=12),
        "own sizes, slight": make(own_sizes, size=0.07),
        "own sizes": make(own_sizes, size=0.14),
        "inputs from few rows": few_rows,
        "centred outputs": centred_outputs,
        "own biases": own_biases,
        "correlated noise": correlated_noise,
        "500 tasks": make(points, n=7, tasks=500, examples=20),
        "8 inputs": make(points, n=8, tasks=120, examples=20),
        "12 inputs": make(points, n=12, tasks=300, examples=20, noise=0.3),
        "3 inputs, 60 examples": make(points, n=3, tasks=150, examples=60),
        "3 inputs, 200 examples": make(points, n=3, tasks=80, examples=200, number=2),
        "7 inputs, 5 examples": make(points, n=7, tasks=300, examples=5, noise=0.02, flips=False, number=2),
        "7 inputs, 8 examples": make(points, n=7, tasks=150, examples=8, number=2),
        "7 inputs, 13 examples": make(points, n=7, tasks=150, examples=13, number=2),
        "7 inputs, 13 examples, noisy": make(points, n=7, tasks=150, examples=13, noise=0.2),
        "12 inputs, 16 examples": make(points, n=12, tasks=150, examples=16),
        "16 inputs, 6 examples": make(points, n=16, tasks=200, examples=6, noise=0.02, number=2),
        "one input": one_input,
        "22 inputs, 130 examples": many_inputs,
        "one reflection": one_reflection,
        "gain of 1.4e-4": make(unequal_gain, gain=1.4e-4),
        "gain of 4e-4": make(unequal_gain, gain=4e-4),
        "weak input, a tenth": make(weak_inputs, size=0.12, tasks=150, examples=20, noise=0.1),
        "weak input, a twelfth": make(weak_inputs, size=0.08, tasks=150, examples=20, noise=0.05),
        "weak input, in noise": make(weak_inputs, size=0.03, tasks=80, examples=8, noise=0.5),
        "tied input": tied_input,
        "nested pairs": nested_pairs,
        "unlearned weights, few": make(much_unlearned, size=0.06, examples=16, noise=0.1),
        "unlearned weights, many": make(much_unlearned, size=0.35, examples=12, noise=0.1),
        "unlearned weights, long tasks": make(much_unlearned, size=0.2, examples=40, noise=0.05),
        "many exceptions": many_exceptions,
        "small layer": small_layer,
        "regular graph": make(regular_graph, noise=0.3, near=1.0),
        "regular graph, weights close": make(regular_graph, noise=0.2, near=0.5),
        "small image": small_image,
        "one zero": one_zero,
        "slightly curved": slightly_curved,
    }
    return {name: make(file, name) for name, file in files.items()}
