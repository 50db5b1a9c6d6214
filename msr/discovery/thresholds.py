"""All decision constants of a discovery, in the order of the walk: each with its unit, its reason and its calibration.

Code asks ``THRESHOLDS().name`` at the moment of the decision, so that a study can move a constant for the length of a
``with THRESHOLDS.moved(name=…)`` block. How tasks are read and measured comes first
(:class:`~msr.discovery.task_thresholds.TaskThresholds`); how groups are proposed, tested and named follows here.
"""

from dataclasses import dataclass

from msr.discovery.task_thresholds import TaskThresholds, by_hand
from msr.thresholds import Current, threshold

__all__ = ["THRESHOLDS", "Thresholds"]


@dataclass(frozen=True)
class Thresholds(TaskThresholds):
    """Every number that decides an answer of :func:`msr.discovery.discover`."""

    # --- pattern.learning: the span that some tasks teach ---------------------------------------------------------
    half_examples_per_input: int = by_hand(
        2,
        "examples, in the halves of all tasks of one length, for each input",
        "Tasks of a length with fewer teach nothing: their halves could not show every input.",
    )

    # --- pattern.classes: which weights are one and the same ------------------------------------------------------
    class_noise: float = threshold(
        4.0,
        unit="standard errors of a row",
        reason="Class means closer than this may differ by noise alone, and are merged. Larger proposes larger groups.",
        calibrated="derived: two rows of one class differ by √2 errors, seldom by 3, and means of two halves by less",
    )
    class_distance: float = by_hand(
        1e-4,
        "share of the root mean square of a row",
        "Class means closer than this are merged however small the errors are: float32 data tell no more apart.",
    )
    class_gap: float = by_hand(
        1.3,
        "ratio of neighbouring heights of the merges",
        "A cut is tried where heights jump by this much; smaller tries more cuts, whose groups share the error rate.",
    )
    class_cuts: int = by_hand(
        8,
        "cuts at the widest gaps, beside the one at the noise",
        "Each cut proposes a group; more cost time and share the error rate.",
    )
    orbit_errors: float = by_hand(
        5.0,
        "standard errors of a row and of its orbit mean together",
        "A group is kept by the fitted weights if no row is further from its orbit mean. Smaller is stricter.",
    )
    orbit_distance: float = by_hand(
        3e-4,
        "share of the root mean square of a row",
        "The same where errors are tiny: a smaller distance from the orbit mean is no difference.",
    )

    # --- pattern.action: which inputs and outputs a group can move ------------------------------------------------
    point_errors: float = by_hand(
        2.0,
        "standard errors of its weights",
        "An input or output whose weights are smaller carries none, and stays in place.",
    )
    point_weak: float = by_hand(
        0.1,
        "share of the root mean square of a row",
        "Points weaker than this look alike to a rough fit, so they must be known better (point_weak_errors).",
    )
    point_weak_errors: float = by_hand(
        8.0,
        "standard errors of its weights",
        "A weak input or output counts only above so many. Larger is stricter.",
    )
    point_least: float = by_hand(
        1e-5,
        "share of the root mean square of a row",
        "Weights smaller than this count as zero, however well they are known.",
    )

    # --- pattern.refinement, pattern.partial -----------------------------------------------------------------------
    distinct_errors: float = by_hand(
        6.0,
        "standard errors of a difference of two sums",
        "Two inputs or two outputs differ beyond it: chance must not do that in any of all pairs. Larger is safer.",
    )
    partial_overlap: float = by_hand(
        0.5,
        "share of all inputs and outputs in the domain",
        "A partial symmetry on less of the points is taken to be chance.",
    )
    partial_silent: float = by_hand(
        0.5,
        "share of all weights in one class",
        "A class with as many is taken for the weights of zero, which say nothing about where points go.",
    )
    partial_most: int = by_hand(
        4,
        "partial symmetries",
        "More of them are not listed in an answer.",
    )

    # --- pattern.candidates, verdict.estimators, verdict.testing: which groups are tested, and by what -------------
    weights_resolved: float = by_hand(
        0.1,
        "error over size, root mean square",
        "Weights are known well up to it. Smaller demands more data before 'none' is said.",
    )
    classes_clear: float = by_hand(
        1.5,
        "times class_noise",
        "The finest classes are clear if their first merge is at least this high. Larger is safer for 'none'.",
    )
    group_share: float = by_hand(
        0.5,
        "share of the outputs' energy, from weights that the group moves",
        "A group that moves less is named only if the weights keep it up to their errors: breaking it costs little.",
    )
    groups_most: int = by_hand(
        12,
        "groups that one split tests",
        "All share the error rate, so more would leave each with less power.",
    )
    pair_bias: float = by_hand(
        0.2,
        "relative error of what breaks a group, from pairs on random weights",
        "Inputs that bias the pairs downwards by more forbid them. Smaller is safer.",
    )
    pair_bias_tasks: tuple[int, ...] = by_hand(
        (100, 300),
        "tasks, one number for each look",
        "A bias of the pairs must be seen at each look before pairs are given up: once may be chance.",
    )
    squares_skew: float = by_hand(
        3.0,
        "times the spread of the estimate",
        "Pairs with so much more noise are as good as least squares, whose noise is skewed and so clipped further out.",
    )
    least_squares_tasks: float = by_hand(
        0.8,
        "share of the tasks",
        "Least squares are used only if they reach as many.",
    )
    scale_tasks: int = by_hand(
        64,
        "tasks that taught",
        "They show how far noise spreads the estimates, which fixes the clip before the test looks.",
    )
    span_test_tasks: int = by_hand(
        64,
        "tasks that test",
        "So many are tested for linearity with the learned span, which costs more than least squares.",
    )
    teaching_doubt: float = by_hand(
        10.0,
        "e-value against 'breaks no more than the tolerance'",
        "From there on the tasks that taught a group break it themselves, and more tasks are asked to teach.",
    )
    direction_least: float = by_hand(
        0.01,
        "share of the largest singular value",
        "Weaker directions, in which the learned pattern breaks a group, are not tested apart.",
    )

    # --- verdict.evidence, verdict.certification: the tests of one group -------------------------------------------
    kept_share: float = by_hand(
        1 / 20,
        "share of the tolerance, as a size",
        "A group that breaks less counts as kept: measured numbers and simulators are not exact.",
    )
    excess_cap: float = by_hand(
        3.0,
        "times the squared tolerance",
        "A task's excess counts up to this, since a mean of unbounded numbers cannot be bounded. See also noise_cap.",
    )
    noise_cap: float = by_hand(
        3.0,
        "standard deviations of an estimate's noise, if symmetric",
        "An excess counts at least up to so many, so that noise alone is seldom clipped.",
    )
    noise_cap_skewed: float = by_hand(
        8.0,
        "standard deviations of an estimate's noise, if skewed",
        "The same for squares: to clip their long upper tail sooner would lower their mean.",
    )
    exception_errors: float = by_hand(
        8.0,
        "standard deviations of an estimate's noise",
        "A task with a larger excess is named as an exception. Larger names fewer.",
    )
    exceptions_most: float = by_hand(
        0.05,
        "share of the tasks",
        "A group may be named beside as many exceptions, and counts as kept by the others.",
    )
    preferred_share: float = threshold(
        0.6,
        unit="share of the error rate",
        reason="It goes to showing that the best-fitting group is within the tolerance. All shares add up to 1.",
        calibrated="chosen by hand; with other_share, against_share and two certificate_share it adds up to 1",
    )
    other_share: float = by_hand(
        0.075,
        "share of the error rate",
        "The other groups divide it, for showing that they are within the tolerance.",
    )
    against_share: float = by_hand(
        0.075,
        "share of the error rate",
        "All groups divide it, for showing that they break more than the tolerance, or anything at all.",
    )
    certificate_share: float = by_hand(
        1 / 8,
        "share of the error rate",
        "One share bounds how many tasks are exceptions, and one what is not linear.",
    )
    veto_share: float = by_hand(
        0.1,
        "share of the error rate",
        "A check that can only take a name back runs at this level: it must err less often than the test that names.",
    )

    # --- verdict.specificity, verdict.advice ----------------------------------------------------------------------
    relabellings: int = threshold(
        99,
        unit="random relabellings of the named group",
        reason="They say how special the group is. The least share they can show is 1 / (1 + their number).",
        calibrated="chosen so that this least share is 1%",
    )
    advised_tolerances: tuple[float, ...] = by_hand(
        (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3),
        "tolerance (eps)",
        "The tolerances that are tried, smallest first, where a group may hold but is not shown within the given one.",
    )
    unlearned_breaking: float = by_hand(
        0.1,
        "share of the outputs' energy",
        "Tasks that break a proposed group by more hold weights that were not learned; the hint says so.",
    )

    # --- verdict.findings, verdict.doubts, assembly, answer.sentences: from the evidence to the answer -------------
    suspicion: float = by_hand(
        2.0,
        "e-value against 'the group is kept'",
        "From there on all splits are heard before the group is named. Smaller is safer, and costs time.",
    )
    serial_tasks: int = by_hand(
        240,
        "tasks",
        "So many show whether the noise of neighbouring examples is correlated.",
    )
    continuous_errors: tuple[float, ...] = by_hand(
        (5.0, 2.0),
        "relative errors of a row",
        "Eigenvalues closer than this are equal. The wide one sees through noise; the narrow one follows if it fails.",
    )
    continuous_tolerance_least: float = by_hand(
        1e-5,
        "relative difference of eigenvalues",
        "However small the errors, eigenvalues closer than this are equal.",
    )
    continuous_tolerance_most: float = by_hand(
        0.1,
        "relative difference of eigenvalues",
        "However large the errors, eigenvalues further apart than this differ.",
    )
    nonlinear_bound_useful: float = by_hand(
        0.25,
        "share of the outputs' energy",
        "A bound on what is not linear that is no lower is no help, and the sentence says so.",
    )


THRESHOLDS = Current(Thresholds())
"""The constants that hold now: ``THRESHOLDS().name`` reads one, ``THRESHOLDS.moved(name=…)`` moves some."""
