"""From quadratic forms of each task to the energy that a linear layer leaves, and the p-value of the null of none."""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.discovery.data.forms import symmetric_p_value

__all__ = ["PARTS", "LackOfFit", "Statistics", "energies", "summary", "unequal"]

# Where less than this is left of a kernel once the diagonal is zero, a task says nothing.
_LEFT = 0.01
_TESTS = 3
# Kernels whose energies are estimated: squares and products, and products of three.
PARTS = 2


@dataclass(frozen=True, eq=False)
class LackOfFit:
    """What of the tasks a linear layer does not explain.

    Attributes:
        energy: ``(tasks,)``, in units of ``y²``, sum over outputs and mean over examples: an estimate of the energy of
            the part of ``E[y | x]`` that is not linear in ``x`` and that squares, products and products of three
            explain. Noise adds nothing in the mean, and can make it negative. Zero where it is not ``tested``.
        parts: ``(2, tasks)``, the same for squares and products, and for what products of three add to them.
        p_value: of the null that the inputs explain nothing of the residual; of three tests, corrected.
        p_values: of each test by itself: "quadratic", "cubic", "any".
        residual: ``(tasks,)``, mean squared residual of the linear layer, sum over outputs: noise and the rest.
            Of tasks that were not looked at, the mean of the others.
        tested: ``(tasks,)``, whether the task had examples enough to say anything.
        method: in words; "none" where nothing could be tested: energies are zero then and the p-value is 1. Where no
            function of the inputs can be nonlinear, as of one-hot inputs, it says so, and energies are zero as well.
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
    """Of each piece of a task: the forms of three kernels, and what makes energies of them."""

    forms: Tensor  # (3, pieces), outputs in units of their size
    floors: Tensor  # (3, pieces)
    energies: Tensor  # (2, pieces), in the units of y
    weights: Tensor  # (pieces,), examples of it that count
    residual: Tensor  # (pieces,), sum of squares
    rank: Tensor  # (pieces,), what the residual has of freedom for each output
    tested: Tensor  # (pieces,)


def unequal(square: Tensor, trace: Tensor, rank: Tensor) -> Tensor:
    """``‖M K M − c M‖²`` with the best ``c``, from ``‖M K M‖²`` and its trace: what equal noise cannot be taken for."""
    return torch.maximum(square - trace.square() / rank.clamp_min(1), 1e-6 * square)


def energies(raw: Tensor, gram: Tensor, whole: Tensor, unit: list[float], counts: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of the parts from their forms, and whether there were examples enough for them.

    A random function of the kernel ``K_b``, of energy one, gives the form of ``C_a`` the mean ``⟨C_a, K_b⟩`` over its
    energy, and ``⟨C_a, K_b⟩ = ⟨C_a, C_b⟩``. In the mean over tasks of as many examples these equations are solved:
    what one part of a function adds to the form of another is taken off.
    """
    energy, tested = torch.zeros_like(raw), torch.zeros(len(counts), dtype=torch.bool)
    # Features that are all linear in these inputs hold no energy, and that is known.
    used = torch.tensor([part for part in range(len(raw)) if unit[part] > 0], dtype=torch.int64)
    units = torch.tensor(unit, dtype=torch.float64)[used]
    for count in counts.unique():
        same = (counts == count).nonzero()[:, 0]
        mean = gram[same].mean(0)[used][:, used]
        if bool((mean.diagonal() > _LEFT * whole[used][:, same].mean(1)).all()):
            solved = torch.linalg.lstsq(mean / units, raw[used][:, same]).solution
            energy[used[:, None], same[None]] = solved
            tested[same] = True
    return energy, tested


def summary(found: Statistics, owner: Tensor, count: int, method: str) -> LackOfFit:
    """Pieces into tasks, and the three tests."""

    def add(values: Tensor) -> Tensor:
        return torch.zeros(*values.shape[:-1], count, dtype=torch.float64).index_add_(-1, owner, values.double())

    form, floor, weight = add(found.forms), add(found.floors), add(found.weights)
    parts = add(found.energies * found.weights) / weight.clamp_min(1)
    residual = add(found.residual) / add(found.rank).clamp_min(1)
    # Of tasks that were not looked at nothing is known; their residual is taken to be a usual one.
    looked = torch.zeros(count, dtype=torch.bool)
    looked[owner] = True
    residual = torch.where(looked, residual, residual[looked].mean())
    tested = weight > 0
    each = {name: symmetric_p_value(form[i], floor[i]) for i, name in enumerate(("quadratic", "cubic", "any"))}
    none = not bool(form.any())
    return LackOfFit(
        energy=parts.sum(0),
        parts=parts,
        p_value=1.0 if none else min(1.0, _TESTS * min(each.values())),
        p_values=each,
        residual=residual,
        tested=tested,
        method=method if not none else "every function of these inputs is linear" if bool(tested.all()) else "none",
    )
