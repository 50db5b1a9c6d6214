"""How many directions of a span are real: those with energy on tasks that the span was not fitted to."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ROUNDING", "RankCut", "judged"]

# Energies below this share of the first, 1e-5 of its size, are what a perfect fit of float32 data leaves open.
ROUNDING = 1e-10
_SIGNS = 9999  # random signs of a p-value
_NUMBERS = 2**22  # signs that are held at once
_ALL_SIGNS = 12  # up to so many judges, all 2^n signs are looked at instead
# Turned by as many tasks as judge, a direction too many keeps as much energy of the true ones as its regression on them
# takes by chance; so half of that energy would do on average. Three quarters, half of each slope, are on the safe side:
# outliers, and tasks whose inputs differ in size and shape, leave axes more open.
_TAKEN = 0.5


@dataclass(frozen=True, eq=False)
class RankCut:
    """How the dimension was chosen: each direction of an over-complete span, judged on tasks kept from the fit.

    Attributes:
        energy: ``E[v_a v_b]`` of each direction over the judging tasks, with ``v_a`` and ``v_b`` fitted on the two
            halves of a task's examples, each less half of its regression on the stronger directions; strongest first.
            It is 0 on average, or a little less, for a direction that no task uses, whatever the noise.
        p_value: of no energy, one-sided, from the signs of the judging tasks' products (symmetric around 0 then, where
            noise is). Up to 12 judges all signs are looked at, so it is at least ``2^-n_tasks``; beyond that 9,999
            random ones, so it is at least 1e-4.
        alpha: the level. Directions are tested in order until the first that is not significant, so a direction with
            no energy at all is counted with probability ``alpha`` at most, without further correction.
        floor: 1e-10; energies below this share of the first count as rounding.
        k: how many directions passed both.
        n_tasks: how many tasks judged.
    """

    energy: Tensor
    p_value: Tensor
    alpha: float
    floor: float
    k: int
    n_tasks: int


def judged(a: Tensor, b: Tensor, alpha: float, seed: int) -> RankCut:
    """Test each direction, strongest first, by the judging tasks' filters of both halves, ``(tasks, directions)``.

    The axes of a span are known up to an error, by which a direction that no task uses holds a little of the true ones.
    What is in common with the true ones shows on the judging tasks, as a slope, up to an error of opposite effect. So a
    part of each slope is taken off, the same for both halves: products of noise-free filters stay squares.
    """
    moment = a.mT @ b / len(a)
    moment = (moment + moment.mT) / 2
    # Slopes beyond 1 are of a weak direction on a stronger one only where neither is real.
    slopes = (moment / moment.diagonal().clamp_min(torch.finfo(moment.dtype).tiny)[:, None]).triu(1).clamp(-1, 1)
    products = (a - _TAKEN * a @ slopes) * (b - _TAKEN * b @ slopes)
    energy, p_value = products.mean(0), _sign_p_values(products, seed)
    real = (p_value <= alpha) & (energy > ROUNDING * energy[0].abs())
    return RankCut(energy, p_value, alpha, ROUNDING, int(real.long().cumprod(0).sum()), len(a))


def _sign_p_values(products: Tensor, seed: int) -> Tensor:
    """How often signs at random give a sum as large as that of each column, the signs that came included."""
    n, total = len(products), products.sum(0)
    # Sums of the same numbers in another order are equal.
    least = total - 1e-12 * products.abs().sum(0)
    if n <= _ALL_SIGNS:
        return (_all_signs(n) @ products >= least).double().mean(0)
    generator = torch.Generator().manual_seed(seed)
    eight = _all_signs(8)  # a random byte is eight random signs, drawn at once
    above = torch.zeros(products.shape[1], dtype=torch.float64)
    # As many rows at a time as hold some million numbers; what is drawn is the same however they are cut.
    rows = max(1, min(1111, _NUMBERS // n))
    for first in range(0, _SIGNS, rows):
        drawn = torch.randint(256, (min(rows, _SIGNS - first), (n + 7) // 8), generator=generator)
        above += (eight[drawn].flatten(1)[:, :n] @ products >= least).sum(0)
    return (1 + above) / (1 + _SIGNS)


def _all_signs(n: int) -> Tensor:
    """Every choice of n signs, ``(2^n, n)``."""
    return 1.0 - 2.0 * ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1).double()
