"""The constants by which this room decides: where noise ends, when a fit has settled, how many directions are real.

Sizes of buffers and of batches, and limits of memory, are not here: they stand beside the code that they bound, and no
answer depends on them by more than rounding. Each constant changes an answer when it is doubled or halved:
``python -m benchmarks.thresholds`` shows on which tasks.
"""

from dataclasses import dataclass

from msr.thresholds import Current, threshold

__all__ = ["THRESHOLDS", "Thresholds"]


@dataclass(frozen=True)
class Thresholds:
    """Decision constants of :func:`~msr.span.find_span` and :func:`~msr.span.spectral_start`."""

    # ------------------------------------------------------------------------------------------- the spectral start

    rough_ridge: float = threshold(
        0.1,
        unit="share of the mean squared length of an example (or of an input)",
        reason="keeps the variance of a rough estimate bounded where a task has about as many examples as inputs; the "
        "shrinkage that it causes is measured and divided out, so it adds no bias",
        calibrated="chosen by hand",
    )
    lost_direction: float = threshold(
        1e-8,
        unit="share of the largest eigenvalue of the mean projection on the inputs",
        reason="a direction of the inputs below this is one that no task reaches, and is refused instead of divided by",
        calibrated="chosen by hand: half the digits of float64",
    )
    edge_margin: float = threshold(
        1.1,
        unit="factor on the largest eigenvalue of noise",
        reason="power iterations approach the edge of a spectrum from below; a larger margin recommends less",
        calibrated="measured: the shortfall is up to 10%",
    )
    least_edge: float = threshold(
        1e-6,
        unit="share of the largest eigenvalue",
        reason="rough estimates are kept in float32, so smaller eigenvalues are rounding",
        calibrated="chosen by hand: about ten times the precision of float32",
    )
    null_replicates: int = threshold(
        5,
        unit="draws of random signs",
        reason="parallel analysis takes the largest eigenvalue of all draws; more draws raise the edge and the time",
        calibrated="chosen by hand",
    )
    null_width: int = threshold(
        4,
        unit="directions of a sketch under random signs",
        reason="only the largest eigenvalue is wanted, so a thin block is enough",
        calibrated="chosen by hand",
    )
    dense_weights: int = threshold(
        300,
        unit="numbers of a task's weight (inputs times outputs)",
        reason="up to here the second moment is formed in one pass; beyond, it is sketched in several",
        calibrated="chosen by hand, by memory and time",
    )
    sketch_guess: int = threshold(
        16,
        unit="directions",
        reason="how many the first sketch is made for where k is not known",
        calibrated="chosen by hand; a sketch that is too thin grows",
    )
    sketch_surplus: int = threshold(
        16,
        unit="directions",
        reason="power iterations find the leading directions well if the block is wider than these",
        calibrated="chosen by hand",
    )
    sketch_growth: int = threshold(
        3,
        unit="factor",
        reason="a sketch of which more than half is signal is widened by this factor",
        calibrated="chosen by hand",
    )
    sketch_signal: float = threshold(
        0.5,
        unit="share of the sketch's directions",
        reason="a sketch that holds more signal than this may have missed some, and is widened",
        calibrated="chosen by hand",
    )
    stability_surplus: int = threshold(
        8,
        unit="directions",
        reason="as sketch_surplus, for the spectra of half of the tasks, whose leading span alone is compared",
        calibrated="chosen by hand",
    )

    # ------------------------------------------------------------------------------------------- fits of each task

    least_damping: float = threshold(
        1e-10,
        unit="share of the mean of the diagonal of a task's normal equations",
        reason="makes every task's equations solvable, also where its inputs miss a direction of the span",
        calibrated="chosen by hand: it moves an exact fit by less than float32 can tell",
    )
    most_damping: float = threshold(
        1e-3,
        unit="share of the mean of the diagonal of a task's normal equations",
        reason="bounds the filters of half a task, which may have hardly more numbers than unknowns; what the damping "
        "keeps on average is measured and undone",
        calibrated="chosen by hand",
    )
    covered_examples: float = threshold(
        1.25,
        unit="examples for each input",
        reason="with fewer, a task's inputs may miss a direction, in which a surplus direction can hide",
        calibrated="chosen by hand; it goes with covered_reach",
    )
    covered_reach: float = threshold(
        0.005,
        unit="share of the mean squared size of a task's inputs over directions",
        reason="inputs whose squared size is below this in some direction miss that direction",
        calibrated="measured: Gaussian inputs with 1.25 examples an input reach 0.011",
    )

    # ---------------------------------------------------------------------------------- alternating least squares

    proximal: float = threshold(
        1e-9,
        unit="share of the mean of the diagonal of the span's normal equations",
        reason="keeps directions that no task uses where they are, so that the equations have one solution",
        calibrated="chosen by hand: far below what data determine",
    )
    perfect_fit: float = threshold(
        1e-11,
        unit="share of the squared outputs",
        reason="a squared residual below this, 3e-6 of the outputs in size, is a perfect fit of float32 data",
        calibrated="by the precision of float32",
    )
    extrapolation_memory: int = threshold(
        5,
        unit="iterations",
        reason="how many past iterations an extrapolation combines",
        calibrated="measured: on noise-free tasks of few examples it halves the number of iterations",
    )
    extrapolation_ridge: float = threshold(
        1e-12,
        unit="share of the mean squared step",
        reason="keeps the weights of an extrapolation bounded where steps are nearly dependent",
        calibrated="chosen by hand",
    )
    least_degrees: float = threshold(
        0.1,
        unit="share of the output numbers",
        reason="the least degrees of freedom of a residual, where unknowns are nearly as many as numbers",
        calibrated="chosen by hand",
    )

    # ---------------------------------------------------------------------------------------- the over-complete fit

    overcomplete_tol: float = threshold(
        0.1,
        unit="share of the gain by fitting pure noise",
        reason="an over-complete span only has to contain the true one, and its surplus directions never converge; so "
        "it stops when an iteration gains less than this",
        calibrated="chosen by hand",
    )
    overcomplete_iterations: int = threshold(
        30,
        unit="iterations",
        reason="bounds the over-complete fit, which need not converge",
        calibrated="chosen by hand",
    )
    overcomplete_perfect_fit: float = threshold(
        1e-14,
        unit="share of the squared outputs",
        reason="what an over-complete fit leaves must not look like a direction, so it goes on until only the "
        "rounding of float32 data is left",
        calibrated="by the precision of float32",
    )
    surplus_share: float = threshold(
        0.125,
        unit="share of the recommended dimension",
        reason="how many directions more than the spectrum recommends are fitted; the rank cut needs one that fails",
        calibrated="chosen by hand",
    )
    least_surplus: int = threshold(
        4,
        unit="directions",
        reason="as surplus_share, for small dimensions",
        calibrated="chosen by hand",
    )
    widening: int = threshold(
        2,
        unit="factor",
        reason="where no direction fails, the over-complete span is made wider by this factor",
        calibrated="chosen by hand",
    )
    numbers_share: float = threshold(
        0.75,
        unit="unknowns for each output number of the smallest task",
        reason="bounds the over-complete dimension: a task with as many unknowns as numbers fits anything",
        calibrated="chosen by hand",
    )
    examples_share: float = threshold(
        0.4,
        unit="unknowns of a row for each example of all tasks",
        reason="bounds the over-complete dimension: half of the tasks fit it, and must determine each row",
        calibrated="chosen by hand",
    )
    tasks_a_direction: int = threshold(
        4,
        unit="tasks",
        reason="with fewer tasks than directions among those that give the axes, the axes are undetermined and what is "
        "real spreads over all of them",
        calibrated="chosen by hand: a quarter of the tasks gives the axes",
    )
    fewest_tasks: int = threshold(
        40,
        unit="tasks",
        reason="a quarter of them judges, and ten judges are the fewest whose signs can reach a p-value of 0.001",
        calibrated="by 2^-10 < 0.001",
    )
    covered_share: float = threshold(
        0.5,
        unit="share of the fitting tasks",
        reason="with more fitting tasks than this whose inputs miss no direction, these give the axes, and all other "
        "tasks judge",
        calibrated="chosen by hand",
    )

    # ----------------------------------------------------------------------------------------------- the rank cut

    rounding: float = threshold(
        1e-10,
        unit="share of the energy of the strongest direction",
        reason="less energy, 1e-5 in size, is what a perfect fit of float32 data leaves open",
        calibrated="by the precision of float32",
    )
    slope_share: float = threshold(
        0.5,
        unit="share of a direction's regression on the stronger ones",
        reason="takes off what a surplus direction holds of the true ones because its axis is known up to an error",
        calibrated="where as many tasks give the axes as judge, taking off half of that energy is right on average; "
        "half of each slope takes off three quarters, on the safe side for outliers and for tasks whose inputs differ",
    )
    random_signs: int = threshold(
        9999,
        unit="draws",
        reason="the smallest p-value that random signs can give is 1 / (1 + draws)",
        calibrated="by a p-value of 1e-4, ten times below the default level",
    )
    all_signs: int = threshold(
        12,
        unit="judging tasks",
        reason="up to here all 2^n signs are looked at, which is exact",
        calibrated="by time: 4,096 signs",
    )

    # --------------------------------------------------------------------------------------------------- the prior

    least_variance: float = threshold(
        1e-6,
        unit="share of the largest variance of a filter, or of its squared mean",
        reason="a direction in which tasks do not differ keeps some variance, so that it can be scaled to 1",
        calibrated="chosen by hand",
    )
    least_penalty: float = threshold(
        1e-10,
        unit="ridge penalty (noise over numbers)",
        reason="a smaller penalty has no effect in float32",
        calibrated="by the precision of float32",
    )


THRESHOLDS = Current(Thresholds())
"""The thresholds that hold now; a study moves some with ``THRESHOLDS.moved(name=value)``."""
