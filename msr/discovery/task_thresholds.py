"""Decision constants of the first half of a discovery: how tasks are read, and what is measured of them.

The second half, how groups are proposed and judged, follows in :mod:`msr.discovery.thresholds`, which holds both
together. Tolerances that only keep rounding out, and limits of memory or time, are no decisions: they stand beside the
code that uses them. Each constant changes an answer when it is doubled or halved: ``python -m benchmarks.thresholds``
shows on which file.
"""

from dataclasses import dataclass
from typing import Any

from msr.thresholds import threshold

__all__ = ["TaskThresholds", "by_hand"]


def by_hand(value: Any, unit: str, reason: str) -> Any:
    """A :func:`~msr.thresholds.threshold` that was chosen by hand: the repository records no study of its value."""
    return threshold(value, unit=unit, reason=reason, calibrated="chosen by hand; no study of it is recorded")


@dataclass(frozen=True)
class TaskThresholds:
    """How tasks are taken in, tested for linearity, and measured against a group; in the order of the walk."""

    # --- data.intake: what a caller gives, as tasks ---------------------------------------------------------------
    fewest_tasks: int = by_hand(
        80,
        "different tasks",
        "Tasks must both teach a pattern and test groups; with fewer the verdict is 'cannot tell'. More is safer.",
    )
    fewest_examples: int = by_hand(
        3,
        "different examples of a task",
        "A task with fewer is left out: a line with an offset passes through any two examples, so they test nothing.",
    )
    fewest_fresh_tasks: int = by_hand(
        20,
        "tasks that the caller keeps for the test",
        "Fewer have little power to show that a group holds. More is safer.",
    )
    piece_rows_per_input: int = by_hand(
        2,
        "rows for each input, in a piece of one data set",
        "Pieces that count as tasks need more rows than inputs, so that least squares of each leave residuals.",
    )
    piece_rows_spare: int = by_hand(
        6,
        "rows of a piece beyond those for each input",
        "With few inputs a multiple of them would be too few rows to leave residuals.",
    )
    piece_rows_fewest: int = by_hand(
        6,
        "rows of a piece",
        "Where the data set is too short for the wanted rows, pieces get shorter, down to this.",
    )
    pieces_most: int = by_hand(
        400,
        "pieces of one data set",
        "More rows make longer pieces rather than more of them: a longer piece knows its own weights better.",
    )

    # --- data.centring, data.null_directions: tasks made ready ----------------------------------------------------
    unit_gap: float = by_hand(
        3.0,
        "ratio of neighbouring sizes, sorted",
        "Coordinates whose sizes differ by more, with none between them, are taken to have different units.",
    )
    task_size_most: float = by_hand(
        5.0,
        "times the median size of a task's outputs",
        "A larger task is scaled down to this, so that a few tasks do not decide for all. Smaller bounds them more.",
    )
    rounding_noted: float = by_hand(
        0.01,
        "share of what a coordinate varies",
        "Rounding above it is told to the user: a large offset has taken digits.",
    )
    rounding_refused: float = by_hand(
        0.1,
        "share of what a coordinate varies",
        "Rounding above it is an error: too few digits are left to compare weights.",
    )
    rounding_alone: float = by_hand(
        0.5,
        "share of what a coordinate varies",
        "A coordinate with more is taken to be constant: it varies by its rounding alone.",
    )
    null_variance: float = by_hand(
        1e-9,
        "share of the largest variance of standardised inputs",
        "A direction with less is taken by no input: weights on it cannot be learned and count as zero.",
    )

    # --- data.splits: who teaches and who tests -------------------------------------------------------------------
    teaching_shares: tuple[float, ...] = by_hand(
        (0.15, 0.3, 0.6),
        "share of the tasks",
        "Tasks that teach cannot test. A split tries the shares in turn, until what is taught suffices.",
    )
    first_teaching_shares: tuple[int, ...] = by_hand(
        (0, 1, 0, 0),
        "place in teaching_shares, one for each split",
        "One split starts with more tasks that teach. Its length is the number of splits: any single one is luck.",
    )
    first_teachers_most: int = by_hand(
        120,
        "tasks that teach with the first share",
        "More seldom teach more, and each of them is missing in the test.",
    )

    # --- linearity: does anything that is not linear explain the residuals? ---------------------------------------
    form_rounding: float = by_hand(
        1e-5,
        "share of the outputs' size",
        "A quadratic form below its square is rounding of float32 data, and no evidence. Larger is safer.",
    )
    feature_variance: float = by_hand(
        1e-6,
        "share of the variance of a feature, or of an input",
        "A feature with less variance about a linear layer is linear up to rounding, and is dropped.",
    )
    feature_variance_pooled: float = by_hand(
        0.1,
        "share of the variance of a feature",
        "The same about one linear layer for all tasks: their means differ; squares of binary inputs must drop out.",
    )
    features_most: int = by_hand(
        220,
        "features of one degree",
        "So many are written out and whitened; beyond that the plain polynomial kernel stands for them.",
    )
    freedom_per_feature: int = threshold(
        1000,
        unit="residual degrees of freedom for each feature",
        reason="The second moments that whiten the features are known well enough from so many. More is slower.",
        calibrated="raised from 10, with which products of three lost a third of their energy; a test holds that",
    )
    residual_block: int = by_hand(
        128,
        "examples",
        "Longer tasks are read in blocks of so many, each with a layer of its own. Longer blocks have more power.",
    )
    residual_block_per_input: int = by_hand(
        3,
        "examples of a block for each input",
        "A block must hold more examples than inputs to leave residuals.",
    )
    span_below_per_input: float = by_hand(
        2.0,
        "examples of the median task for each input",
        "Below it (plus span_below_spare) the learned span is a better guide to a task's weights than least squares.",
    )
    span_below_spare: int = by_hand(
        4,
        "examples of the median task beyond those for each input",
        "Added to span_below_per_input: with few inputs a multiple of them would be too few examples.",
    )
    kernel_share_least: float = by_hand(
        0.01,
        "share of a kernel's squared norm",
        "Where less of it is left when no example is paired with itself, a task says nothing. Larger is safer.",
    )
    span_equations_fewest: float = by_hand(
        2.0,
        "equations of the median task for each dimension of the span",
        "With fewer even the span leaves too few residuals, and linearity is not tested with it.",
    )
    mixtures_fewest: int = by_hand(
        8,
        "mixtures of outputs by which a task is read",
        "Fewer make forms noisier; more cost the third power of their number.",
    )
    mixture_equations: float = by_hand(
        3.0,
        "equations for each dimension of the span",
        "A task is read by as many mixtures of outputs as give so many, so that the span leaves residuals.",
    )
    span_tasks_fewest: int = by_hand(
        32,
        "tasks",
        "However much work a task is, so many are tested for linearity with the span.",
    )

    # --- breaking: how much of a task's own weights breaks a group ------------------------------------------------
    least_squares_per_input: float = by_hand(
        1.5,
        "examples for each input",
        "A task with fewer (plus least_squares_spare) is not solved by least squares: residuals tell noise too badly.",
    )
    least_squares_spare: int = by_hand(
        7,
        "examples beyond those for each input",
        "Added to least_squares_per_input. More is safer: with small leverages unequal noise biases the estimate less.",
    )
    least_squares_condition: float = by_hand(
        1e-6,
        "least eigenvalue of the correlations of a task's inputs",
        "Below it the inputs of the task do not determine its weights.",
    )
    sign_draws: int = by_hand(
        16,
        "draws of random signs",
        "Their mean is taken off as what noise adds; with more it adds less noise of its own.",
    )
    pair_parts: int = by_hand(
        10,
        "parts of a task's examples",
        "Pairs of examples within one part are lost, a share of 1 / parts; more parts cost the square of their number.",
    )
    pair_parts_few: int = threshold(
        5,
        unit="parts of a task's examples",
        reason="The same where there are many tasks and weights, or little noise that more pairs could average out.",
        calibrated="was 4; raised by hand in November 2026, without a recorded study",
    )
    pair_parts_centred: int = by_hand(
        4,
        "parts of a task's examples",
        "The same where each part is centred by itself and so loses an example: many parts lose many.",
    )
    pair_weights_large: int = by_hand(
        2**16,
        "tasks times weights",
        "From there on few parts are used, since the work grows with the pairs of parts.",
    )
    pair_noise_small: float = by_hand(
        0.03,
        "share of the outputs' energy that is noise",
        "Below it few parts are used, since there is little noise that more pairs could average out.",
    )
    mean_errors: float = by_hand(
        4.0,
        "standard errors",
        "Task means that spread by more, or less, than chance gives are not of examples drawn anew. Smaller is safer.",
    )
    output_mean_spread: float = by_hand(
        0.25,
        "times the spread of task means that chance gives",
        "Output means that spread less were centred before, so the common mean of all tasks cannot be used.",
    )
    input_spread_excess: float = by_hand(
        2.0,
        "times the variance that chance gives to how much a task's inputs vary",
        "Above it tasks differ in the size of their inputs, and pairs would weigh a task by its square.",
    )
    short_task: float = by_hand(
        3,
        "times as many examples in the median task",
        "Shorter tasks are left out of the pairs: all others would have to use as few parts.",
    )
    bias_errors: float = by_hand(
        3.0,
        "standard errors",
        "A bias of the pairs on random weights counts only beyond so many: it must not be chance. Smaller is safer.",
    )

    # --- breaking.biases: does the named group keep the biases? ---------------------------------------------------
    bias_share_least: float = by_hand(
        1 / 20,
        "share of the tolerance, as a size",
        "Biases that break the group by less are not said to break it: no measured number is exact.",
    )
    bias_clips: tuple[float, ...] = by_hand(
        (4.0, 16.0, 64.0, 256.0),
        "times the squared tolerance",
        "A mean of unbounded numbers cannot be bounded: a task counts up to the first. The mixture needs no tuning.",
    )
    bias_equations: float = by_hand(
        1.5,
        "equations of half a task for each unknown",
        "With fewer a half of a task does not determine its bias and its filter in the span.",
    )
    bias_known_tasks: float = by_hand(
        0.5,
        "share of the tasks",
        "Where least squares reach fewer tasks, all are estimated with the learned span instead.",
    )
