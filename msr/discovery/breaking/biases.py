"""Does the named group keep the biases of the tasks as well? A question of its own, beside the one about weights.

Weights are looked at with each task's mean taken off, so biases play no part in the group that is named. A permutation
``Q`` of outputs keeps a bias if ``Q b = b``, so a group keeps it if it is constant on the group's orbits of outputs.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from msr.discovery.data.passes import chunks, sum_of_squares
from msr.discovery.linearity.quadratic_forms import residual_maker
from msr.discovery.thresholds import THRESHOLDS
from msr.statistics.betting import capped_mean_p_value
from msr.statistics.symmetry import symmetric_p_value

__all__ = ["Biases", "biases"]

# The equations that take noise off a squared bias may be singular. A ridge makes them solvable and two steps of
# refinement take its error away; a task counts as estimable if they then hold to this relative accuracy.
_RIDGE = 1e-10
_REFINEMENTS = 2
_SOLVED = 1e-6
# The search for the least rejected share: bisections, and where it gives up, in units of the tolerance. It is for
# display; no verdict depends on it.
_BISECTIONS = 40
_LARGEST_BOUND = 100


@dataclass(frozen=True)
class Biases:
    """The answer to whether a group keeps the biases of the tasks.

    Attributes:
        kept: "kept": what breaks the group was shown to be smaller than the tolerance, and not shown to be there;
            "broken": it was shown to be there; "cannot tell": neither.
        share: size of the part of the biases that breaks the group, over the standard deviation of the outputs within
            tasks, each output in units of its own; from an unbiased estimate of its square, and zero where that is
            negative.
        bound: an upper confidence bound on the share, at level α; None where nothing could be estimated, or no bound
            below a hundred times the tolerance holds.
        p_value: of the null hypothesis that was rejected: nothing breaks the group (or less than a twentieth of the
            tolerance), for "broken"; more than the tolerance breaks it, for "kept". The smaller of both for "cannot
            tell". 1 where nothing could be estimated, and 0 where the group moves no output.
        method: how biases were estimated, in words; "none" where they could not be.
    """

    kept: Literal["kept", "broken", "cannot tell"]
    share: float
    bound: float | None
    p_value: float
    method: str

    def __str__(self) -> str:
        if self.kept == "broken":
            return f"the group does not keep them: what breaks it makes {self.share:.1%} of what varies in the outputs"
        if self.kept == "kept":
            return "the group keeps them as well"
        most = f"; what breaks it is at most {self.bound:.1%} of what varies in the outputs" * (self.bound is not None)
        return f"it cannot be told whether the group keeps them{most}"


def biases(
    x: Tensor,
    y: Tensor,
    counts: Tensor,
    means: tuple[Tensor, Tensor],
    generators_out: Tensor,
    eps: float = 0.05,
    alpha: float = 0.01,
    span: tuple[Tensor, Tensor] | None = None,
    tasks: Tensor | None = None,
) -> Biases:
    """Test whether the tasks' biases ``bᵢ = ȳᵢ − Wᵢ x̄ᵢ`` are constant on the orbits of outputs.

    Each task gives a number of mean ``s = ‖D⁻¹ (b − P b)‖² / m``, with ``P`` the mean over orbits and ``D`` the
    standard deviations of the outputs. Least squares give ``b̂ = b + Σ hᵢ eᵢ`` with noise ``e``; ``Σ dᵢ rᵢ²`` of the
    residuals is taken off, where ``(M ∘ M) d = h ∘ h`` makes what noise adds vanish in the mean, however unequal it is
    (Kline, Saggio and Sølvsten, 2020).

    Two null hypotheses are tested at level ``alpha`` each. *Nothing breaks the group*: each number is symmetric about
    ``(ε / 20)²`` or below (:func:`~msr.statistics.symmetry.symmetric_p_value`); its rejection says "broken". *Typical
    biases break it by the tolerance or more*, ``E min(s, 4 ε²) ≥ ε²``: a bet against it, which assumes nothing of the
    distribution; its rejection says "kept". A task that breaks the group by more than ``2 ε`` counts as ``2 ε``
    (Waudby-Smith and Ramdas, arXiv:2010.09686).

    Args:
        x: ``(tasks, examples, n)``, float64, less the mean of each task; rows past the task's count are zero.
        y: ``(tasks, examples, m)``, likewise.
        counts: ``(tasks,)``, how many examples each task has.
        means: ``(tasks, n)`` and ``(tasks, m)``, what was taken off.
        generators_out: ``(r, m)``, permutations of outputs: output ``j`` goes to ``q[j]``.
        eps: the tolerance, a share of the outputs' standard deviation; ``alpha``: the level.
        span: ``(U, v0)`` with ``vec(W) = U (v0 + v)``. It is used where least squares can estimate fewer than half of
            the tasks (``bias_known_tasks``), and then for all of them; else it is ignored, and tasks that least squares
            cannot estimate are left out. A span that is a little off moves biases where inputs have large means, so
            where it is used "broken" is never said.
        tasks: the places of those that are looked at; by default all are.

    On directions that a task's inputs never take, least squares take its weights to be zero; with the span they are
    those of the mean filter ``v0``.
    """
    orbit = _orbits(generators_out, y.shape[2])
    if bool((orbit == torch.arange(len(orbit))).all()):
        return Biases("kept", 0.0, 0.0, 0.0, "the group moves no output")
    limits = THRESHOLDS()
    every = torch.arange(len(x)) if tasks is None else tasks
    to_breaking = _to_breaking(orbit, _output_sizes(y, counts, every))
    _, examples, n = x.shape
    m = y.shape[2]

    def of_part(part: slice) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor], Tensor]:
        """The arguments of :func:`_by_least_squares` and :func:`_by_halves` for a slice of the tasks looked at."""
        places = every[part]
        return x[places], y[places], counts[places], (means[0][places], means[1][places]), to_breaking

    # Some tasks at a time, since what is computed of a task is many times what it holds.
    parts = chunks(len(every), 5 * examples**2 + 4 * examples * (n + m))
    squares, known = _joined([_by_least_squares(*of_part(part)) for part in parts])
    method = "least squares in each task"
    unbiased = True
    if int(known.sum()) < limits.bias_known_tasks * len(every):
        if span is None:
            return Biases("cannot tell", 0.0, None, 1.0, "none")
        k = span[0].shape[1]
        parts = chunks(len(every), examples * (n + m) * 2 + examples * m * k + 3 * k**2 + m * n)
        squares, known = _joined([_by_halves(*of_part(part), span) for part in parts])
        method = "two halves of each task, weights in the span learned on other tasks"
        unbiased = False
    values = squares[known] / len(orbit)
    if len(values) == 0:
        return Biases("cannot tell", 0.0, None, 1.0, "none")
    # A span that is a little off moves the biases themselves, so with it nothing is said to be broken.
    p_broken = symmetric_p_value(values - (limits.bias_share_least * eps) ** 2) if unbiased else 1.0
    # "Kept" needs no symmetry of the numbers, since a bet on a capped mean assumes nothing of their distribution.
    p_kept = capped_mean_p_value(values, eps**2, clips=THRESHOLDS().bias_clips)
    share = math.sqrt(max(float(values.mean()), 0.0))
    bound = _bound(values, eps, alpha)
    if p_broken <= alpha:
        return Biases("broken", share, bound, p_broken, method)
    if p_kept <= alpha:
        return Biases("kept", share, bound, p_kept, method)
    return Biases("cannot tell", share, bound, min(p_broken, p_kept), method)


def _output_sizes(y: Tensor, counts: Tensor, tasks: Tensor) -> Tensor:
    """Standard deviation of each output within these tasks, ``(m,)``; outputs that never vary get the largest one."""
    degrees = counts[tasks].clamp_min(1).sum() - len(tasks)
    squares = [sum_of_squares(y[tasks[part]]) for part in chunks(len(tasks), 4 * y.shape[1] * y.shape[2])]
    sizes = (torch.stack(squares).sum(0) / degrees.clamp_min(1)).sqrt()
    return torch.where(sizes > 0, sizes, sizes.max().clamp_min(1e-300))


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The estimates of all pieces of the tasks as one tensor ``(tasks,)``, and as another whether each is known."""
    squares, known = zip(*parts, strict=True)
    return torch.cat(squares), torch.cat(known)


def _by_least_squares(
    x: Tensor, y: Tensor, counts: Tensor, means: tuple[Tensor, Tensor], to_breaking: Tensor
) -> tuple[Tensor, Tensor]:
    """Unbiased estimates ``(tasks,)`` of ``‖A b‖²`` with ``A = D⁻¹ (I − P)``, and whether each could be made.

    Where none could be made the number means nothing. Arguments as in :func:`biases`, of some tasks; ``to_breaking
    (m, m)`` is ``A``.
    """
    left, singular, right = torch.linalg.svd(x, full_matrices=False)
    M, rank = residual_maker(x, counts, (left, singular))
    # The pseudo-inverse (tasks, n, examples), as torch.linalg.pinv makes it of the same decomposition.
    least = torch.finfo(x.dtype).eps * max(x.shape[1:]) * singular[:, :1]
    inverse = (right.mT * torch.where(singular > least, singular.reciprocal(), 0.0)[:, None]) @ left.mT
    present = (torch.arange(x.shape[1]) < counts[:, None]).double()
    # b̂ = Σ h y: the mean of y, less the weights at the mean of x.
    h = present / counts.clamp_min(1)[:, None] - torch.einsum("tn,tne->te", means[0], inverse)
    bias = means[1] - torch.einsum("tn,tne,tem->tm", means[0], inverse, y)
    square = M.square()
    factor = torch.linalg.cholesky(square + _RIDGE * torch.eye(x.shape[1], dtype=x.dtype))
    wanted = h.square()[..., None]
    d = torch.cholesky_solve(wanted, factor)
    for _ in range(_REFINEMENTS):
        d = d + torch.cholesky_solve(wanted - square @ d, factor)
    error = (square @ d - wanted).abs().amax((1, 2))
    known = (rank > 0) & (error <= _SOLVED * wanted.amax((1, 2)))
    noise = (d * (M @ y @ to_breaking.mT).square()).sum((1, 2))
    return (bias @ to_breaking.mT).square().sum(1) - noise, known


def _by_halves(
    x: Tensor,
    y: Tensor,
    counts: Tensor,
    means: tuple[Tensor, Tensor],
    to_breaking: Tensor,
    span: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """``‖A b‖²`` of each task as in :func:`_by_least_squares`, from weights in the span, and whether it is known.

    It is the product of two estimates of ``A b``, from the even and the odd examples of the task. The noise of the two
    halves is independent, so it adds nothing to the mean of the product.
    """
    U, v0 = span
    count, _, n = x.shape
    m = y.shape[2]
    k = U.shape[1]
    mean_weights = (U @ v0).view(m, n)
    by_input = U.view(m, n, k).permute(1, 0, 2).reshape(n, m * k)
    present = torch.arange(x.shape[1]) < counts[:, None]
    known = counts // 2 * m >= THRESHOLDS().bias_equations * (k + m)
    estimates = []
    for half in range(2):
        # Every other example: the order of examples is pseudo-random, so both halves are alike.
        mask = present[:, half::2, None].double()
        size = mask.sum(1).clamp_min(1)
        half_x = x[:, half::2]
        # Weights are U (v0 + v). What the mean filter v0 makes is taken off, so that the tiny ridge below pulls a task
        # to the mean filter, where its examples leave it open, and not to zero.
        half_y = y[:, half::2] - x[:, half::2] @ mean_weights.mT
        x_mean = half_x.sum(1) / size
        y_mean = half_y.sum(1) / size
        design = ((half_x - x_mean[:, None]) * mask @ by_input).view(count, -1, k)
        right = ((half_y - y_mean[:, None]) * mask).reshape(count, -1, 1)
        normal = design.mT @ design
        small = (_RIDGE * normal.diagonal(dim1=1, dim2=2).mean(1)).clamp_min(1e-300)
        factor = torch.linalg.cholesky(normal + small[:, None, None] * torch.eye(k, dtype=x.dtype))
        v = torch.cholesky_solve(design.mT @ right, factor)[..., 0]
        W = (v @ U.mT).view(count, m, n)
        # x and y are less the task's means, so the half's own mean of x is ``means[0] + x_mean``, and likewise of y.
        y_at_mean = means[1] - means[0] @ mean_weights.mT + y_mean
        bias = y_at_mean - torch.einsum("tmn,tn->tm", W, means[0] + x_mean)
        estimates.append(bias @ to_breaking.mT)
    return (estimates[0] * estimates[1]).sum(1), known


def _bound(values: Tensor, eps: float, alpha: float) -> float | None:
    """The upper confidence bound on the size of what breaks the group, at level α: the least size that is rejected.

    None where not even a hundred times ``eps`` is rejected. ``values (tasks,)`` are squares of such sizes.
    """
    low = 0.0
    high = _LARGEST_BOUND * eps
    clips = THRESHOLDS().bias_clips
    if capped_mean_p_value(values, high**2, clips=clips) > alpha:
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if capped_mean_p_value(values, middle**2, clips=clips) <= alpha else (middle, high)
    return high


def _orbits(generators: Tensor, m: int) -> Tensor:
    """The orbit of each output, ``(m,)``, named by the least output in it, under permutations ``generators (r, m)``."""
    images = np.asarray(generators).reshape(-1, m)
    start = np.tile(np.arange(m), len(images))
    graph = coo_array((np.ones(images.size), (start, images.ravel())), shape=(m, m))
    _, label = connected_components(graph, directed=False)
    return torch.from_numpy(np.array([int(np.flatnonzero(label == own)[0]) for own in label], dtype=np.int64))


def _to_breaking(orbit: Tensor, sizes: Tensor) -> Tensor:
    """The matrix ``D⁻¹ (I − P)``, ``(m, m)``: it gives the part of a bias that varies within orbits, over ``sizes``.

    ``orbit (m,)`` names the orbit of each output, and ``sizes (m,)`` is the diagonal of ``D``.
    """
    same = (orbit[:, None] == orbit).double()
    average = same / same.sum(1, keepdim=True)
    return (torch.eye(len(orbit), dtype=torch.float64) - average) / sizes[:, None]
