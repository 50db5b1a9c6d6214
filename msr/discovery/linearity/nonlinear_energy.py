"""From quadratic forms of each task to the energy that is not linear, and to the p-value that there is none."""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.discovery.thresholds import THRESHOLDS
from msr.statistics.symmetry import symmetric_p_value

__all__ = ["PARTS", "LackOfFit", "Statistics", "energies", "least_distance_from_identity", "summary"]

# Each kernel is a test of its own; the least p-value is multiplied by their number (Bonferroni).
_TESTS = ("quadratic", "cubic", "any")
PARTS = 2
"""Kernels whose energies are estimated: squares and products of two inputs, and products of three."""

# Share of a kernel's squared norm in float64 that may be left of a difference by rounding alone.
_DISTANCE_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class LackOfFit:
    """The result of a test of lack of fit: what a linear layer with an offset does not explain of each task.

    Attributes:
        energy: ``(tasks,)``, in units of ``y²``, sum over outputs and mean over examples: an estimate of the energy of
            the part of ``E[y | x]`` that is not linear in ``x`` and that squares, products of two and products of three
            inputs explain. It is unbiased: noise adds nothing in the mean, and can make it negative. Zero where the
            task was not ``tested``.
        parts: ``(2, tasks)``, the same for squares and products, and for what products of three add to them.
        p_value: of the null hypothesis that the inputs explain nothing of the residuals; three tests, corrected.
        p_values: of each test by itself: "quadratic", "cubic", "any".
        residual: ``(tasks,)``, mean squared residual of the linear layer per degree of freedom, sum over outputs: noise
            and what is not linear. For tasks that were not looked at it is the mean of the others.
        tested: ``(tasks,)``, whether the task had examples enough for an estimate.
        method: how weights were fitted, in words. "none" where nothing could be tested: energies are zero then and the
            p-value is 1. Where every function of the inputs is linear, as of one-hot inputs, it says so, and energies
            are zero as well.
    """

    energy: Tensor
    parts: Tensor
    p_value: float
    p_values: dict[str, float]
    residual: Tensor
    tested: Tensor
    method: str


@dataclass(frozen=True, eq=False)
class Statistics:
    """Quadratic forms of each piece of a task, and the energies that follow from them.

    Attributes:
        forms: ``(3, pieces)``, of each kernel, summed over outputs, each output in units of its size.
        floors: ``(3, pieces)``, how much of a form rounding may make.
        energies: ``(2, pieces)``, in units of ``y²``.
        weights: ``(pieces,)``, the examples of the piece, or 0 where its energies could not be estimated.
        residual: ``(pieces,)``, sum of squared residuals.
        rank: ``(pieces,)``, degrees of freedom of the residuals of one output.
        tested: ``(pieces,)``, whether energies could be estimated.
    """

    forms: Tensor
    floors: Tensor
    energies: Tensor
    weights: Tensor
    residual: Tensor
    rank: Tensor
    tested: Tensor


def least_distance_from_identity(square: Tensor, trace: Tensor, rank: Tensor) -> Tensor:
    """``min over c of ‖M K M − c M‖²`` of each piece: how far a residual kernel is from a multiple of ``M``.

    ``square (..., pieces)`` is ``‖M K M‖²``, ``trace (..., pieces)`` that of ``M K M``, and ``rank (pieces,)`` that of
    the residual maker ``M``. The result ``(..., pieces)`` is a millionth of ``square`` at least.

    The part of a residual kernel along ``M`` itself reads the sum of squared residuals, which noise of equal variances
    fills; only the rest can tell a function from noise.
    """
    return torch.maximum(square - trace.square() / rank.clamp_min(1), _DISTANCE_ROUNDING * square)


def energies(forms: Tensor, gram: Tensor, whole: Tensor, unit: list[float], counts: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of the parts ``(parts, pieces)`` from their forms, and which pieces had examples enough, ``(pieces,)``.

    Energies are zero for pieces with too few examples, and for parts whose unit is zero. All pieces of one length have
    examples enough, or none has.

    A random function with kernel ``K_b`` and energy ``u_b`` gives the form of ``C_a`` the mean ``⟨C_a, K_b⟩``, which
    equals ``⟨C_a, C_b⟩``. So the energies ``e`` solve ``Σ_b ⟨C_a, C_b⟩ / u_b · e_b = form_a``, with the inner products
    averaged over the pieces of one length: what one part of a function adds to the form of another is taken off.

    Shapes: ``forms (parts, pieces)``, not scaled; ``gram (pieces, parts, parts)`` holds ``⟨C_a, C_b⟩``; ``whole
    (parts or more, pieces)`` from :func:`least_distance_from_identity`; ``unit`` the energies ``u`` of the kernels;
    ``counts (pieces,)``.
    """
    energy = torch.zeros_like(forms)
    tested = torch.zeros(len(counts), dtype=torch.bool)
    # Features that are all linear in these inputs hold no energy, and that is known without a test.
    used = torch.tensor([part for part in range(len(forms)) if unit[part] > 0], dtype=torch.int64)
    units = torch.tensor(unit, dtype=torch.float64)[used]
    least = THRESHOLDS().kernel_share_least
    for count in counts.unique():
        same = (counts == count).nonzero()[:, 0]
        # Inner products vary with the inputs of a piece. Their mean over pieces of one length stands for them: energies
        # stay unbiased in the mean over these pieces.
        mean = gram[same].mean(0)[used][:, used]
        if bool((mean.diagonal() > least * whole[used][:, same].mean(1)).all()):
            solved = torch.linalg.lstsq(mean / units, forms[used][:, same]).solution
            energy[used[:, None], same[None]] = solved
            tested[same] = True
    return energy, tested


def summary(statistics: Statistics, owner: Tensor, count: int, method: str) -> LackOfFit:
    """The result of the three tests over all tasks, from pieces that are put together into ``count`` tasks.

    Null hypothesis of each test: the form of every task is symmetric about zero, as it has mean zero where
    ``E[y | x]`` is linear in ``x``. The p-value is three times the least of the three, and 1 where all forms are zero.

    Args:
        owner: ``(pieces,)``, the task of each piece. A task without a piece is not tested, and gets the mean residual
            of the others.
        method: how weights were fitted, in words for the result; other words stand there where all forms are zero.
    """

    def add(values: Tensor) -> Tensor:
        """The sums ``(..., count)`` of ``values (..., pieces)`` over the pieces of each task."""
        return torch.zeros(*values.shape[:-1], count, dtype=torch.float64).index_add_(-1, owner, values.double())

    form = add(statistics.forms)
    floor = add(statistics.floors)
    weight = add(statistics.weights)
    parts = add(statistics.energies * statistics.weights) / weight.clamp_min(1)
    residual = add(statistics.residual) / add(statistics.rank).clamp_min(1)
    # Of tasks that were not looked at nothing is known: their residual is taken to be the mean of the others.
    was_read = torch.zeros(count, dtype=torch.bool)
    was_read[owner] = True
    residual = torch.where(was_read, residual, residual[was_read].mean())
    tested = weight > 0
    p_values = {name: symmetric_p_value(form[i], floor[i]) for i, name in enumerate(_TESTS)}
    silent = not bool(form.any())
    if silent:
        method = "every function of these inputs is linear" if bool(tested.all()) else "none"
    return LackOfFit(
        energy=parts.sum(0),
        parts=parts,
        p_value=1.0 if silent else min(1.0, len(_TESTS) * min(p_values.values())),
        p_values=p_values,
        residual=residual,
        tested=tested,
        method=method,
    )
