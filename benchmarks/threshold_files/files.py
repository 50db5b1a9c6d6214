"""All files by name, and which of them show which constant."""

import functools

from benchmarks.calibration_files.files import cells, file_of
from benchmarks.threshold_files.discovery_files import discovery_files
from benchmarks.threshold_files.known import Known, asked_of_discovery
from benchmarks.threshold_files.span_files import span_files

__all__ = ["COMMON", "OWN", "known", "names"]

Named = tuple[str, int]
"""The name of a file, and its number among the files of that name; there is one of most."""

COMMON: tuple[Named, ...] = (
    ("family: S3 on itself, noise 0", 0),
    ("power: C7 on itself, noise 0.1, 100 tasks", 0),
    ("no symmetry: random weights", 0),
    ("exceptions: 5%, 10% in the mean", 0),
    ("breaks: constant, at the tolerance, offset 20", 0),
    ("noise: AR(0.9) over examples", 0),
    ("power: C7 on itself, noise 0.3, 100 tasks", 0),
)
"""Cells of the calibration: with and without noise, without a group, with exceptions, at the tolerance, and with too
little said by the data for an answer. Constants without files of their own are moved on these."""


def _one(*names: str) -> tuple[Named, ...]:
    """The only files of these names."""
    return tuple((name, 0) for name in names)


_OWN_OF_DISCOVERY: dict[str, tuple[Named, ...]] = {
    "fewest_examples": _one("short tasks"),
    "fewest_fresh_tasks": _one("fresh tasks"),
    "piece_rows_per_input": _one("one data set of 3,000 rows"),
    "piece_rows_spare": _one("one data set of 3,000 rows"),
    "piece_rows_fewest": _one("one data set of 700 rows"),
    "pieces_most": _one("one data set of 3,000 rows"),
    "unit_gap": _one("three units"),
    "rounding_noted": _one("rounded outputs"),
    "rounding_refused": _one("rounded outputs"),
    "rounding_alone": _one("rounded outputs"),
    "null_variance": _one("inputs of share 1.4e-9 in a direction"),
    "teaching_shares[2]": _one("power: D4 on itself, noise 0.5, 100 tasks"),
    "first_teachers_most": _one("500 tasks"),
    "form_rounding": _one("slightly curved"),
    "feature_variance": _one("inputs of share 1.4e-6 in a direction"),
    "feature_variance_pooled": _one("7 inputs, 8 examples"),
    "features_most": _one("8 inputs", "12 inputs"),
    "freedom_per_feature": _one("3 inputs, 60 examples"),
    "residual_block": _one("3 inputs, 200 examples"),
    "residual_block_per_input": _one("22 inputs, 130 examples"),
    "span_below_per_input": _one("12 inputs, 16 examples"),
    "span_below_spare": _one("one input"),
    "kernel_share_least": _one("7 inputs, 13 examples"),
    "span_equations_fewest": _one("7 inputs, 5 examples"),
    "mixtures_fewest": _one("16 inputs, 6 examples"),
    "mixture_equations": _one("16 inputs, 6 examples"),
    "span_tasks_fewest": _one("one reflection"),
    "least_squares_condition": _one("inputs of share 1.4e-6 in a direction"),
    "pair_parts_centred": _one("own offsets"),
    "pair_weights_large": _one("12 inputs"),
    "mean_errors": _one("own offsets, slight"),
    "output_mean_spread": _one("centred outputs"),
    "input_spread_excess": _one("own sizes, slight", "own sizes"),
    "short_task": _one("short tasks"),
    "bias_share_least": _one("own biases"),
    "bias_equations": _one("two lengths"),
    "bias_known_tasks": _one("two lengths"),
    "half_examples_per_input": _one("short tasks"),
    "class_noise": _one("no symmetry: heat on random graphs"),
    "class_distance": _one("gain of 1.4e-4"),
    "class_gap": _one("no symmetry: heat on random graphs", "nested pairs"),
    "class_cuts": _one("nested pairs"),
    "orbit_errors": (("breaks: Gaussian, at the tolerance", 1),),
    "orbit_distance": _one("gain of 4e-4"),
    "point_errors": _one("weak input, in noise"),
    "point_weak": _one("weak input, a tenth"),
    "point_weak_errors": _one("weak input, a twelfth"),
    "point_least": _one("tied input"),
    "distinct_errors": _one("small layer"),
    "partial_overlap": _one("small image"),
    "partial_silent": _one("one zero"),
    "partial_most": _one("small image"),
    "weights_resolved": _one("regular graph"),
    "classes_clear": _one("regular graph, weights close"),
    "group_share": (("no symmetry: random weights", 2),),
    "groups_most": _one("nested pairs"),
    "pair_bias": _one("inputs from few rows"),
    "pair_bias_tasks[0]": _one("inputs from few rows"),
    "pair_bias_tasks[1]": _one("inputs from few rows"),
    "squares_skew": _one("unlearned weights, long tasks"),
    "least_squares_tasks": _one(
        "unequal inputs, a sixth of the tasks short", "unequal inputs, a third of the tasks short"
    ),
    "span_test_tasks": _one("7 inputs, 8 examples"),
    "teaching_doubt": _one("unlearned weights, few"),
    "exceptions_most": _one("many exceptions"),
    "veto_share": _one("correlated noise"),
    "unlearned_breaking": _one("unlearned weights, many"),
    "suspicion": _one("exceptions: 5%, just past the cap"),
    "nonlinear_bound_useful": _one("7 inputs, 13 examples, noisy"),
}

_OWN_OF_SPAN: dict[str, tuple[Named, ...]] = {
    "lost_direction": _one("span: dependent inputs"),
    "least_edge": _one("span: fixed inputs"),
    "null_width": _one("span: large layer"),
    "dense_weights": _one("span: large layer"),
    "sketch_guess": _one("span: large layer"),
    "sketch_surplus": _one("span: large layer"),
    "sketch_growth": _one("span: large layer"),
    "sketch_signal": _one("span: large layer"),
    "stability_surplus": _one("span: large layer"),
    "covered_reach": _one("span: correlated inputs"),
    "perfect_fit": _one("span: slight noise"),
    "least_degrees": _one("span: few numbers"),
    "surplus_share": _one("span: large layer"),
    "widening": _one("span: hidden directions"),
    "numbers_share": _one("span: few numbers"),
    "examples_share": _one("span: few tasks"),
    "covered_share": _one("span: some short tasks"),
    "rounding": _one("span: weak direction"),
    "slope_share": _one("span: some short tasks"),
    "random_signs": _one("span: some short tasks"),
    "all_signs": _one("span: few tasks"),
    "least_variance": _one("span: one weight"),
    "least_penalty": _one("span: one weight"),
}

OWN: dict[str, dict[str, tuple[Named, ...]]] = {"discovery": _OWN_OF_DISCOVERY, "span": _OWN_OF_SPAN}
"""For each room the constants, or elements of them, that change nothing on :data:`COMMON`, and the files made for them.

Where a file answers both to a doubled and to a halved constant it is the only one."""


def names() -> set[str]:
    """The names of all files that there are, cells of the calibration included."""
    return {*discovery_files(), *span_files(), *cells()}


@functools.cache
def known(name: str, number: int) -> Known:
    """The file of this name and number, as a question whose right answer is known."""
    made = {**discovery_files(), **span_files()}
    if name in made:
        return made[name]()
    file, problem = file_of(name, number)
    return asked_of_discovery(file, problem)
