"""What pairs of examples assume of the inputs, as far as the inputs themselves can tell."""

import torch
from torch import Tensor

from msr.discovery.breaking.sample import Sample
from msr.discovery.data.passes import sum_of_squares
from msr.discovery.thresholds import THRESHOLDS

__all__ = ["common_mean", "inputs_vary_alike", "shrunk_ratio"]

# Tasks that are whitened together: a limit of memory.
_AT_ONCE = 1000
# Share of the whole energy below which the unit of a ratio is rounding.
_UNIT_ROUNDING = 1e-9


def common_mean(sample: Sample) -> bool:
    """Whether the inputs of all tasks may have one mean, and the outputs still have theirs.

    The common mean of inputs can then be taken off in place of each task's own. If examples are drawn from one
    distribution, the means of tasks, over their standard errors, have variance 1. Those of the inputs must not differ
    from it by more than four standard errors of a mean of such squares. Those of the outputs are noisier than that
    where tasks have biases, so they may vary more; where they vary less, the caller has centred the outputs before.
    """
    limits = THRESHOLDS()
    spreads = []
    for values, means in ((sample.x, sample.means[0]), (sample.y, sample.means[1])):
        within = sum_of_squares(values) / (sample.counts - 1).sum()
        spread = (means - means.mean(0)).square() * sample.counts[:, None] / within.clamp_min(1e-300)
        spreads.append(spread)
    inputs, outputs = spreads
    # The square of a standard normal number has variance 2.
    chance = limits.mean_errors * (2 / inputs.numel()) ** 0.5
    return abs(float(inputs.mean()) - 1) <= chance and float(outputs.mean()) >= limits.output_mean_spread


def inputs_vary_alike(sample: Sample) -> bool:
    """Whether the inputs of all tasks vary by as much, up to chance.

    Pairs use the covariance of all tasks together, so a task whose inputs vary more would count by the square of that.
    The mean squared length of a task's whitened inputs may spread over tasks by twice the variance that the spread
    within tasks explains.
    """
    whitened = torch.cat(
        [
            torch.linalg.solve_triangular(sample.root, x.mT, upper=False).square().sum(1)
            for x in sample.x.split(_AT_ONCE)
        ]
    )
    present = torch.arange(sample.x.shape[1])[None] < sample.counts[:, None]
    mean = whitened.sum(1) / sample.counts
    variance = ((whitened - mean[:, None]).square() * present).sum(1) / (sample.counts - 1) / sample.counts
    # Centring makes the inputs of a task of N examples smaller by the share 1/N.
    expected = mean.mean() * (1 - 1 / sample.counts) / (1 - 1 / sample.counts).mean()
    # Two or three examples hardly say how far their squared lengths spread; those of normal inputs spread by 2 n / N.
    normal = 2 * sample.x.shape[2] / sample.counts
    allowed = THRESHOLDS().input_spread_excess * float(torch.maximum(variance, normal).mean())
    return float((mean - expected).square().mean()) <= allowed


def shrunk_ratio(values: Tensor, unit: Tensor, whole: float) -> float:
    """``mean(values) / mean(unit)``, its size reduced by three standard errors of that mean, to 0 at the least.

    A result other than 0 is then beyond chance. Tasks whose value is not finite are left out. Where the mean of
    ``unit`` is rounding beside ``whole`` the result is 0.

    Shapes: ``values`` and ``unit (tasks,)``; ``whole`` is the energy beside which a unit counts as rounding.
    """
    known = values.isfinite()
    values = values[known]
    unit = unit[known]
    if float(unit.mean()) < _UNIT_ROUNDING * whole:
        return 0.0
    mean = float(values.mean())
    error = float(values.std()) / len(values) ** 0.5
    size = max(abs(mean) - THRESHOLDS().bias_errors * error, 0.0)
    return size * (1 if mean > 0 else -1) / max(float(unit.mean()), 1e-300)
