"""Quadratic forms of the residuals of a linear layer that noise gives the mean zero, however unequal it is.

Forms are ``rᵀ C r`` with ``C = M (K − D) M``: ``M`` makes residuals, ``K`` is a kernel, and the diagonal ``D`` is such
that the diagonal of ``C`` is zero, ``(M ∘ M) d = diag(M K M)``. Of noise that is independent over examples, with mean
zero given the inputs, such a form has mean zero, exactly, whatever the variances. These are normal equations, so they
always have a solution: ``C`` is the nearest matrix to ``M K M`` of those that residuals can feel and whose diagonal is
zero. Too few examples leave none, and then ``C`` is zero.

Source: Cattaneo, Jansson and Newey (2018, doi:10.1080/01621459.2017.1328360) and Kline, Saggio and Sølvsten
(2020, doi:10.3982/ECTA16410) for variances without bias under unequal noise.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import norm
from torch import Tensor

__all__ = [
    "NOTHING",
    "ROUNDING",
    "Derived",
    "chunks",
    "hollow",
    "mask_of",
    "residual_maker",
    "sizes_of",
    "sum_of_squares",
    "symmetric_p_value",
]

_CHUNK_NUMBERS = 2**20
# A part under this share of the outputs' size is not looked for: rounding makes as much.
ROUNDING = 1e-5
# Of the square of a kernel: what is less is rounding.
NOTHING = 1e-16
_RIDGE = 1e-10
# P(Σ εᵢ aᵢ ≥ z) ≤ this · P(N ≥ z) for random signs ε and Σ a² = 1; no smaller constant does.
_SIGNS = 1 / (4 * float(norm.sf(math.sqrt(2))))


@dataclass(frozen=True, eq=False)
class Derived:
    """Tasks ``(tasks, examples, size)`` that are made of others where they are looked at: ``values / unit @ turn``.

    What is picked by ``[tasks]`` or ``[tasks, examples]`` is a tensor; the whole is not held. Without ``turn`` they are
    only divided.
    """

    values: Tensor
    unit: Tensor
    turn: Tensor | None = None

    def __getitem__(self, places: Tensor | slice | tuple[Tensor | slice, ...]) -> Tensor:
        scaled = self.values[places] / self.unit
        return scaled if self.turn is None else scaled @ self.turn

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(tasks, examples, size)``."""
        count, examples, size = self.values.shape
        return count, examples, size if self.turn is None else self.turn.shape[1]


def symmetric_p_value(values: Tensor, floor: Tensor | float = 0.0) -> float:
    """P-value of the null that independent numbers are symmetric about zero, against a mean above zero.

    ``p = c · P(N ≥ Σ v / √(Σ v² + floor²))`` with ``c = 3.18``. Given their sizes, the signs are then fair coins, and
    the bound holds for any sizes and any number of them: it needs neither moments nor equal scales. Numbers that have
    mean zero and are not symmetric are covered as far as the factor 3.18 goes.
    Source: Bentkus and Dzindzalieta (2015, doi:10.3150/13-BEJ580).
    """
    size = math.sqrt(float(values.square().sum() + torch.as_tensor(floor).square().sum()))
    if size == 0:
        return 1.0
    return min(1.0, _SIGNS * float(norm.sf(float(values.sum()) / size)))


def residual_maker(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """``M = I − 1 1ᵀ/N − X (XᵀX)⁺ Xᵀ`` of each task, ``(tasks, examples, examples)``, and its rank ``(tasks,)``.

    ``x`` is ``(tasks, examples, n)``, less the mean of each task, with zero rows past its count; ``M`` is zero there.
    """
    mask = mask_of(x, counts)
    left, sizes, _ = torch.linalg.svd(x, full_matrices=False)
    used = sizes > 1e-7 * sizes.amax(1, keepdim=True).clamp_min(1e-300)
    left = left * used[:, None]
    mean = mask / counts.clamp_min(1)[:, None].double().sqrt()
    M = torch.diag_embed(mask) - mean[:, :, None] * mean[:, None] - left @ left.mT
    rank = (counts - 1 - used.sum(1)).clamp_min(0)
    return M * (rank > 0)[:, None, None], rank


def hollow(M: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """``C = M (K − D) M`` with a diagonal of zeros, the nearest of such to ``M K M``; and ``M K M``.

    ``M`` is ``(tasks, examples, examples)``; kernels, and what comes back, have one axis more in front. The equations
    for ``D`` may be singular, but never without a solution; a trace of a ridge and two corrections find one.
    """
    B = M @ kernels @ M
    # Features that are all linear in the inputs of a task leave nothing but rounding.
    more = B.square().sum((2, 3)) > NOTHING * kernels.square().sum((2, 3))
    B = B * more[:, :, None, None]
    A = M.square()
    factor = torch.linalg.cholesky(A + _RIDGE * torch.eye(A.shape[1], dtype=A.dtype))
    diagonal = B.diagonal(dim1=2, dim2=3).permute(1, 2, 0)
    d = torch.cholesky_solve(diagonal, factor)
    for _ in range(2):
        d = d + torch.cholesky_solve(diagonal - A @ d, factor)
    return B - (M * d.permute(2, 0, 1)[:, :, None]) @ M, B


def sizes_of(values: Tensor | Derived) -> Tensor:
    """Size of each coordinate over all tasks; one where it is constant."""
    size = (sum_of_squares(values) / (values.shape[0] * values.shape[1])).sqrt()
    return torch.where(size > 0, size, 1.0)


def sum_of_squares(values: Tensor | Derived) -> Tensor:
    """Of each coordinate of ``(tasks, examples, size)``, ``(size,)``; a copy of all values is never made."""
    parts = [values[part].square().sum((0, 1)) for part in some_of(values)]
    return torch.stack(parts).sum(0) if parts else torch.zeros(values.shape[2], dtype=torch.float64)


def some_of(values: Tensor | Derived, most: int = 2**17) -> list[slice]:
    """Slices of the tasks of ``(tasks, examples, size)``, each of at most so many numbers: for passes that copy."""
    size = max(1, most // max(values.shape[1] * values.shape[2], 1))
    return [slice(first, min(first + size, len(values))) for first in range(0, len(values), size)]


def mask_of(x: Tensor | Derived, counts: Tensor) -> Tensor:
    """``(tasks, examples)``, one where a row of the task holds an example, else zero."""
    return (torch.arange(x.shape[1]) < counts[:, None]).double()


def chunks(count: int, numbers: int) -> list[slice]:
    """Slices of the tasks, so that each holds so many numbers at once at most."""
    size = max(1, _CHUNK_NUMBERS // max(numbers, 1))
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]
