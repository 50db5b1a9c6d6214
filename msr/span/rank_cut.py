"""How many directions of a span are real: those with energy on tasks that the span was not fitted to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.span.thresholds import THRESHOLDS
from msr.statistics.symmetry import sign_flip_p_values

__all__ = ["RankCut", "rank_cut"]


@dataclass(frozen=True, eq=False)
class RankCut:
    """How the dimension was chosen: each direction of an over-complete span, judged on tasks kept from the fit.

    Attributes:
        energy: ``E[v_a v_b]`` of each direction over the judging tasks, with ``v_a`` and ``v_b`` fitted on the two
            halves of a task's examples, each less half of its regression on the stronger directions; strongest first.
            It is 0 on average, or a little less, for a direction that no task uses, whatever the noise. Filters are
            those of standardised data, so it has no unit.
        p_value: of the null hypothesis "no energy", one-sided, from the signs of the judging tasks' products (under the
            null hypothesis these are symmetric around 0, if the noise is symmetric). Up to 12 judges all signs are
            looked at, so it is at least ``2^-n_tasks``; beyond that 9,999 random ones, so it is at least 1e-4.
        alpha: the level. Directions are tested in order until the first that is not significant, so a direction with
            no energy at all is counted with probability ``alpha`` at most, without further correction.
        floor: 1e-10; energies below this share of the first count as rounding.
        k: how many directions passed both tests, from the first on.
        n_tasks: how many tasks judged.
    """

    energy: Tensor
    p_value: Tensor
    alpha: float
    floor: float
    k: int
    n_tasks: int


def rank_cut(a: Tensor, b: Tensor, alpha: float, seed: int) -> RankCut:
    """The cut of a span after its strongest real directions, tested on the judging tasks' filters of both halves.

    The axes of a span are known up to an error, so the axis of a direction that no task uses holds a little of the true
    directions. That shows on the judging tasks as a regression slope on the true ones, but the slope has an error of
    its own, of opposite effect. So a share of each slope is taken off. It is the same for both halves, so that products
    of noise-free filters stay squares.

    Shapes: ``a, b (tasks, directions)``, from independent halves of each task's examples, strongest direction first.
    ``seed`` is that of the random signs.
    """
    t = THRESHOLDS()
    moment = a.mT @ b / len(a)
    moment = (moment + moment.mT) / 2
    # A slope beyond 1 of a weak direction on a stronger one occurs only where neither is real.
    tiny = torch.finfo(moment.dtype).tiny
    slopes = (moment / moment.diagonal().clamp_min(tiny)[:, None]).triu(1).clamp(-1, 1)
    products = (a - t.slope_share * a @ slopes) * (b - t.slope_share * b @ slopes)
    energy = products.mean(0)
    p_value = sign_flip_p_values(products, seed, flips=t.random_signs, all_flips=t.all_signs)
    real = (p_value <= alpha) & (energy > t.rounding * energy[0].abs())
    # cumprod stops the count at the first direction that fails.
    return RankCut(energy, p_value, alpha, t.rounding, int(real.long().cumprod(0).sum()), len(a))
