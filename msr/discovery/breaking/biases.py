"""Does a group keep the biases of the tasks as well? A question of its own, beside the one about their weights.

Weights are looked at with each task's mean taken off, so biases play no part in the group that is named. A permutation
``Q`` of outputs keeps a bias if ``Q b = b``: the bias is constant on the orbits of outputs.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from msr.discovery.data.forms import chunks, sum_of_squares
from msr.discovery.linearity.lack_of_fit import residual_maker, symmetric_p_value

__all__ = ["Biases", "biases"]

# Biases that break the group by less than this share of the tolerance are not said to break it.
_SEEN = 1 / 20
# Shares of the largest bet, from timid to all; a mixture of bets needs no tuning.
_BETS = torch.linspace(0.05, 0.999, 20, dtype=torch.float64)
# A task counts as breaking by this many times the limit at most, and by minus as much at least.
_CLIPS = (4.0, 16.0, 64.0, 256.0)
_RIDGE, _EXACT = 1e-10, 1e-6
# Equations of each half of a task for each unknown, at least.
_PLENTY = 1.5


@dataclass(frozen=True)
class Biases:
    """What a group does to the biases of the tasks.

    Attributes:
        kept: "kept": what breaks the group was shown to be smaller than the tolerance, and not shown to be there;
            "broken": it was shown to be there; "cannot tell".
        share: size of what of the biases breaks the group, over the size of what varies in the outputs within tasks,
            each output in units of its own; from an estimate without bias, and zero where that is negative.
        bound: what the share is below, at level α; none where nothing could be estimated.
        p_value: of what was said: that nothing breaks the group (more than a twentieth of the tolerance), or that it is
            more than the tolerance. The smaller one of both where it cannot be told.
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
    """Whether ``bᵢ = ȳᵢ − Wᵢ x̄ᵢ`` is constant on the orbits of outputs.

    Each task gives a number of mean ``‖D⁻¹ (b − P b)‖²``, with ``P`` the mean over orbits and ``D`` the sizes of the
    outputs. Least squares give ``b̂ = b + Σ h e``; ``Σ d rᵀ r`` of the residuals is taken off, and ``(M ∘ M) d = h ∘ h``
    makes what noise adds vanish in the mean, however unequal it is (Kline, Saggio and Sølvsten, 2020). *Broken* is
    tested as for numbers that are symmetric about their mean. *Kept* needs no assumption on their distribution: it is
    a bet against ``E min(s, 4 ε²) ≥ ε²``, so tasks that break the group by more than 2 ε count as 2 ε (Waudby-Smith
    and Ramdas, arXiv:2010.09686).

    Args:
        x: ``(tasks, examples, n)``, float64, less the mean of each task; rows past the task's count are zero.
        y: ``(tasks, examples, m)``, likewise.
        counts: ``(tasks,)``, how many examples each task has.
        means: ``(tasks, n)`` and ``(tasks, m)``, what was taken off.
        generators_out: ``(r, m)``, permutations of outputs: output ``j`` goes to ``q[j]``.
        eps, alpha: the tolerance, a share of what varies in the outputs; the level.
        span: ``(U, v0)`` with ``vec(W) = U (v0 + v)``, for tasks without examples enough for least squares. A span that
            is a little off moves biases where inputs have large means, so *broken* is never said with it.
        tasks: the places of those that are looked at; by default all are.

    On directions that the inputs of a task never take, its weights are zero.
    """
    orbit = _orbits(generators_out, y.shape[2])
    if bool((orbit == torch.arange(len(orbit))).all()):
        return Biases("kept", 0.0, 0.0, 0.0, "the group moves no output")
    every = torch.arange(len(x)) if tasks is None else tasks
    degrees = counts[every].clamp_min(1).sum() - len(every)
    squares = [sum_of_squares(y[every[part]]) for part in chunks(len(every), 4 * y.shape[1] * y.shape[2])]
    sizes = (torch.stack(squares).sum(0) / degrees.clamp_min(1)).sqrt()
    sizes = torch.where(sizes > 0, sizes, sizes.max().clamp_min(1e-300))
    average = _average(orbit)
    away = (torch.eye(len(orbit), dtype=torch.float64) - average) / sizes[:, None]
    (_, examples, n), m = x.shape, y.shape[2]

    def some(part: slice) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor], Tensor]:
        those = every[part]
        return x[those], y[those], counts[those], (means[0][those], means[1][those]), away

    # Some tasks at a time: what is made of a task is many times what it holds.
    parts = chunks(len(every), 5 * examples**2 + 4 * examples * (n + m))
    found, known = _joined([_by_least_squares(*some(part)) for part in parts])
    method = "least squares in each task"
    if 2 * int(known.sum()) < len(every):
        if span is None:
            return Biases("cannot tell", 0.0, None, 1.0, "none")
        k = span[0].shape[1]
        parts = chunks(len(every), examples * (n + m) * 2 + examples * m * k + 3 * k**2 + m * n)
        found, known = _joined([_by_halves(*some(part), span) for part in parts])
        method = "two halves of each task, weights in the span learned on other tasks"
    values = found[known] / len(orbit)
    if len(values) == 0:
        return Biases("cannot tell", 0.0, None, 1.0, "none")
    p_broken = symmetric_p_value(values - (_SEEN * eps) ** 2) if method.startswith("least") else 1.0
    p_kept = _below(values, eps**2)
    share = math.sqrt(max(float(values.mean()), 0.0))
    bound = _bound(values, eps, alpha)
    if p_broken <= alpha:
        return Biases("broken", share, bound, p_broken, method)
    if p_kept <= alpha:
        return Biases("kept", share, bound, p_kept, method)
    return Biases("cannot tell", share, bound, min(p_broken, p_kept), method)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    found, known = zip(*parts, strict=True)
    return torch.cat(found), torch.cat(known)


def _by_least_squares(
    x: Tensor, y: Tensor, counts: Tensor, means: tuple[Tensor, Tensor], away: Tensor
) -> tuple[Tensor, Tensor]:
    """``‖A b‖²`` of each task, and whether it could be estimated without bias."""
    M, rank = residual_maker(x, counts)
    inverse = torch.linalg.pinv(x)  # (tasks, n, examples)
    there = (torch.arange(x.shape[1]) < counts[:, None]).double()
    h = there / counts.clamp_min(1)[:, None] - torch.einsum("tn,tne->te", means[0], inverse)
    bias = means[1] - torch.einsum("tn,tne,tem->tm", means[0], inverse, y)
    square = M.square()
    factor = torch.linalg.cholesky(square + _RIDGE * torch.eye(x.shape[1], dtype=x.dtype))
    wanted = h.square()[..., None]
    d = torch.cholesky_solve(wanted, factor)
    for _ in range(2):
        d = d + torch.cholesky_solve(wanted - square @ d, factor)
    off = (square @ d - wanted).abs().amax((1, 2))
    known = (rank > 0) & (off <= _EXACT * wanted.amax((1, 2)))
    noise = (d * (M @ y @ away.mT).square()).sum((1, 2))
    return (bias @ away.mT).square().sum(1) - noise, known


def _by_halves(
    x: Tensor, y: Tensor, counts: Tensor, means: tuple[Tensor, Tensor], away: Tensor, span: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The same from the product of two estimates, of every other example each; their noise is independent."""
    U, v0 = span
    count, _, n = x.shape
    m, k = y.shape[2], U.shape[1]
    fixed = (U @ v0).view(m, n)
    by_input = U.view(m, n, k).permute(1, 0, 2).reshape(n, m * k)
    there = torch.arange(x.shape[1]) < counts[:, None]
    known = counts // 2 * m >= _PLENTY * (k + m)
    estimates = []
    for half in range(2):
        mask = there[:, half::2, None].double()
        size = mask.sum(1).clamp_min(1)
        own_x, own_y = x[:, half::2], y[:, half::2] - x[:, half::2] @ fixed.mT
        x_mean, y_mean = own_x.sum(1) / size, own_y.sum(1) / size
        design = ((own_x - x_mean[:, None]) * mask @ by_input).view(count, -1, k)
        right = ((own_y - y_mean[:, None]) * mask).reshape(count, -1, 1)
        normal = design.mT @ design
        small = (_RIDGE * normal.diagonal(dim1=1, dim2=2).mean(1)).clamp_min(1e-300)
        factor = torch.linalg.cholesky(normal + small[:, None, None] * torch.eye(k, dtype=x.dtype))
        v = torch.cholesky_solve(design.mT @ right, factor)[..., 0]
        W = (v @ U.mT).view(count, m, n)
        # The half's own means stand for the task's: b = (ȳ + mean of y) − W (x̄ + mean of x).
        rest = means[1] - means[0] @ fixed.mT + y_mean
        estimates.append((rest - torch.einsum("tmn,tn->tm", W, means[0] + x_mean)) @ away.mT)
    return (estimates[0] * estimates[1]).sum(1), known


def _below(values: Tensor, limit: float) -> float:
    """P-value of the null ``E min(s, 4 · limit) ≥ limit``: bets against it, averaged over their sizes and over clips.

    Numbers below the least one count as that, and those above a larger clip as that clip; both make the mean larger,
    which is to the null's advantage.
    """
    logs = []
    for clip in _CLIPS:
        low, high = -(clip - _CLIPS[0]) * limit, clip * limit
        x = (values.clamp(low, high) - low) / (high - low)
        m = (limit - low) / (high - low)
        bets = _BETS / (1 - m)
        logs.append(torch.log1p(bets[:, None] * (m - x)).sum(1))
    every = torch.cat(logs)
    return min(1.0, float(torch.exp(math.log(len(every)) - torch.logsumexp(every, 0))))


def _bound(values: Tensor, eps: float, alpha: float) -> float | None:
    """The least share that is rejected at level α; none if a hundred times the tolerance is not."""
    low, high = 0.0, 100 * eps
    if _below(values, high**2) > alpha:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if _below(values, middle**2) <= alpha else (middle, high)
    return high


def _orbits(generators: Tensor, m: int) -> Tensor:
    """The least output of each output's orbit."""
    sent = np.asarray(generators).reshape(-1, m)
    start = np.tile(np.arange(m), len(sent))
    graph = coo_array((np.ones(sent.size), (start, sent.ravel())), shape=(m, m))
    _, label = connected_components(graph, directed=False)
    return torch.from_numpy(np.array([int(np.flatnonzero(label == one)[0]) for one in label], dtype=np.int64))


def _average(orbit: Tensor) -> Tensor:
    same = (orbit[:, None] == orbit).double()
    return same / same.sum(1, keepdim=True)
