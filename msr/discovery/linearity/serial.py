"""Test of serial correlation: is the noise of examples that follow each other in a task correlated?

The quadratic forms of :mod:`msr.discovery.linearity.quadratic_forms` read the residuals of a linear layer, with the
pairs of neighbours in the place of a kernel. Noise that is independent over examples gives them mean zero, however
unequal its variances are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.discovery.data.passes import chunks, example_mask, root_mean_squares
from msr.discovery.linearity.quadratic_forms import form_floor, hollow, residual_maker
from msr.discovery.thresholds import THRESHOLDS
from msr.statistics.symmetry import symmetric_p_value

__all__ = ["Serial", "serial_correlation"]


@dataclass(frozen=True)
class Serial:
    """Correlation of the noise of neighbouring examples, and the two-sided p-value of the null that it is zero.

    The correlation is an estimate, which noise may carry beyond ±1.
    """

    correlation: float
    p_value: float


def serial_correlation(x: Tensor, y: Tensor, counts: Tensor, positions: Tensor) -> Serial:
    """Correlation of the noise of examples whose positions in the caller's task differ by one, with its p-value.

    Where no two such examples leave residuals, the correlation is 0 and the p-value 1.

    Null hypothesis: noise is independent over the examples of a task. Assumed as in
    :func:`~msr.discovery.linearity.lack_of_fit.lack_of_fit`. Of long tasks the first examples are looked at, 128 or
    three for each input, whichever is more.

    Args:
        x, y, counts: as in :func:`~msr.discovery.linearity.lack_of_fit.lack_of_fit`.
        positions: ``(tasks, examples)``, the index of each example in its task as the caller gave it; −1 past the
            count.
    """
    longest = max(THRESHOLDS().residual_block, THRESHOLDS().residual_block_per_input * x.shape[2])
    x, y, counts, positions = _first(longest, x, y, counts, positions)
    scale = root_mean_squares(y)
    forms: list[Tensor] = []
    floors: list[Tensor] = []
    weights: list[Tensor] = []
    for tasks in chunks(len(x), x.shape[1] * (4 * x.shape[1] + x.shape[2])):
        M, rank = residual_maker(x[tasks], counts[tasks])
        place = positions[tasks]
        both_present = (place >= 0)[:, :, None] & (place >= 0)[:, None]
        neighbours = ((place[:, :, None] - place[:, None]).abs() == 1) & both_present
        # Each pair stands twice in the symmetric matrix: with halves the form is the sum of r_i r_j over neighbours.
        C = hollow(M, neighbours.double()[None] / 2)[0][0]
        Y = y[tasks] / scale
        residuals = M @ Y
        variance = residuals.square().sum((1, 2)) / rank.clamp_min(1)
        squared_norm = C.square().sum((1, 2))
        forms.append((Y * (C @ Y)).sum((1, 2)))
        floors.append(form_floor(squared_norm, Y.square().sum((1, 2)), THRESHOLDS().form_rounding))
        # Where neighbours have correlation c, the form has mean c · variance · ⟨C, A⟩ with A the pairs of neighbours,
        # and ⟨C, A⟩ = 2 ‖C‖², since the kernel is A / 2.
        weights.append(2 * squared_norm * variance)
    form = torch.cat(forms)
    weight = torch.cat(weights)
    floor = torch.cat(floors)
    if float(weight.sum()) == 0:
        return Serial(0.0, 1.0)
    # Neighbours may be correlated either way: drift makes the form positive, differencing makes it negative.
    two_sided = 2 * min(symmetric_p_value(form, floor), symmetric_p_value(-form, floor))
    return Serial(float(form.sum() / weight.sum()), min(1.0, two_sided))


def _first(most: int, x: Tensor, y: Tensor, counts: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The ``most`` examples of each task with the least positions, about their mean: neighbours stay neighbours.

    Returned are the arguments after ``most`` for these examples; tasks that are no longer are returned as they are.
    """
    if x.shape[1] <= most:
        return x, y, counts, positions
    earliest = torch.where(positions >= 0, positions, positions.max() + 1).argsort(1)[:, :most]
    counts = counts.clamp(max=most)
    mask = example_mask(earliest, counts)[..., None]
    x, y = (t.gather(1, earliest[..., None].expand(-1, -1, t.shape[2])) for t in (x, y))
    x, y = ((t - t.sum(1, keepdim=True) / counts[:, None, None]) * mask for t in (x, y))
    return x, y, counts, positions.gather(1, earliest)
