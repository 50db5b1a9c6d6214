"""How much of the tasks' own weights breaks a group, whatever span was learned; without bias, task by task."""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from msr.discovery.judging import Costs, Judge, ridge
from msr.groups.permutations import Indices

__all__ = ["Breaking", "breaking", "by_least_squares", "by_pairs", "centred", "design"]

_CHUNK_NUMBERS = 2**23
_PARTS = 5
# With so many examples for each input least squares lose little against pairs, and assume nothing of the inputs; with
# so many more than inputs they can be used at all.
_PLENTY, _MORE = 4, 6
_CONDITION = 1e-6
_DRAWS = 16
# By how much inputs that are not as if drawn anew may bias the pairs: of what breaks a group, and of what does not.
_BIAS, _LEAK = 0.2, 0.02


@dataclass(frozen=True, eq=False)
class Breaking(Costs):
    """A share of the outputs for each task; ``method`` is how it was found, or says that it could not be."""

    method: str

    @property
    def known(self) -> bool:
        """Whether there is an estimate without bias."""
        return self.method != "none"


def breaking(judge: Judge, orbits: Indices) -> Breaking:
    """The share of the outputs that comes from what breaks a group in each task's own weights.

        b = ‖D⁻¹ (W − P W) Σ^½‖² / E

    ``P`` is the mean over the group, ``Σ`` the second moment of all inputs, ``D`` and ``E`` the judge's units. Where a
    task has four examples for each input, from :func:`by_least_squares`. With fewer, from :func:`by_pairs`, if the
    examples are as if each were drawn anew (:func:`design`, :func:`centred`); else from least squares, if there are six
    examples more than inputs. If not, nothing is known.
    """
    examples, n = judge.x.shape[1:]
    gram = judge.x.mT @ judge.x
    sizes = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-300).sqrt()
    least = torch.linalg.eigvalsh(gram / sizes[:, :, None] / sizes[:, None, :]).amin()
    solvable = examples >= n + _MORE and float(least) > _CONDITION
    if solvable and examples >= _PLENTY * n:
        return Breaking(by_least_squares(judge, orbits), "least squares")
    bias, leak = design(judge, orbits)
    independent = not centred(judge) and bias >= -_BIAS and leak >= -_LEAK
    if independent and bias <= _BIAS and leak <= _LEAK:
        return Breaking(by_pairs(judge, orbits), "pairs of examples")
    if solvable:
        return Breaking(by_least_squares(judge, orbits), "least squares")
    if independent:
        # What inputs of their own mean or size add is on the safe side.
        return Breaking(by_pairs(judge, orbits), "pairs of examples")
    return Breaking(torch.full((len(judge.x),), torch.inf, dtype=torch.float64), "none")


def by_least_squares(judge: Judge, orbits: Indices) -> Tensor:
    """``b`` of each task from least squares, less what noise adds to it on average; unbiased whatever the inputs are.

    ``Ŵ = Yᵀ X (XᵀX)⁻¹`` has mean ``W`` and, for each output, noise of covariance ``σ² (XᵀX)⁻¹`` with ``σ²`` from that
    task's own residual. What that adds is the mean over 16 draws of such noise.
    """
    x, y, draw = judge.x, judge.y, torch.Generator().manual_seed(0)
    count, examples, n = x.shape
    m = y.shape[2]
    root, found = _root(x), []
    # A bias that is zero since means were taken off has no noise.
    silent = centred(judge) and bool((x[:, :, -1] == x[0, 0, -1]).all())
    for tasks in _chunks(count, m * n * 4 + examples * (m + n)):
        X, Y = x[tasks], y[tasks]
        factor = torch.linalg.cholesky(X.mT @ X)
        W = torch.cholesky_solve(X.mT @ Y, factor).mT
        sigma = ((Y - X @ W.mT).square().sum(1) / (examples - n)).sqrt()
        total = _size(judge, W, orbits, root)
        for _ in range(_DRAWS):
            noise = torch.randn(len(X), n, m, generator=draw, dtype=torch.float64) * sigma[:, None]
            # (XᵀX)⁻¹ = L⁻ᵀ L⁻¹, so L⁻ᵀ of white noise has that covariance.
            away = torch.linalg.solve_triangular(factor.mT, noise, upper=True).mT
            away[:, :, -1] *= not silent
            total -= _size(judge, away, orbits, root) / _DRAWS
        found.append(total)
    return torch.cat(found) / (judge.energy / examples)


def by_pairs(judge: Judge, orbits: Indices) -> Tensor:
    """``b`` of each task from pairs of its examples; unbiased where each was drawn anew, all from one distribution.

    The examples are dealt into five parts. For each pair of parts, the others fit a symmetric weight
    ``S = mat(P U v)``, and each of the two gives an estimate of what is left, ``A = (Y − X Sᵀ)ᵀ X Σ⁻¹ / N``. Both are
    unbiased and independent, and ``S`` has no part that ``P`` would change; so ``⟨A − P A, B − P B⟩`` has mean
    ``‖W − P W‖²``, however noisy each is. Even two examples are enough.
    """
    x, symmetric = judge.x, judge.average(judge.U, orbits)
    m, k, n = judge.y.shape[2], symmetric.shape[1], x.shape[2]
    root = _root(x)
    found = [
        _pairs(judge, x[tasks], judge.y[tasks], orbits, root, symmetric)
        for tasks in _chunks(len(x), m * max(x.shape[1] * k, n))
    ]
    return torch.cat(found) / (judge.energy / x.shape[1])


def design(judge: Judge, orbits: Indices) -> tuple[float, float]:
    """Whether pairs of examples can be trusted with the inputs that came: two biases.

    Weights are drawn at random, and :func:`by_pairs` is run on what they make of the inputs, without noise: weights
    with no symmetric part, and symmetric ones. The first bias is the relative error of the one estimate; the other is
    how much of the symmetric weights seems to break the group. Both are as small as chance allows.
    """
    x, draw, scale = judge.x, torch.Generator().manual_seed(0), judge.scale[:, None]
    (count, _, n), m = x.shape, len(judge.scale)
    root = _root(x)
    found: dict[str, list[Tensor]] = {"broken": [], "truly broken": [], "kept": [], "in all": []}
    for tasks in _chunks(count, m * n * 4):
        X = x[tasks]
        W = scale * torch.randn(len(X), m, n, generator=draw, dtype=torch.float64) / root.diagonal()
        kept = judge.average(W.flatten(1).mT, orbits).mT.view(W.shape)
        for name, all_of_it, D in (("broken", "truly broken", W - kept), ("kept", "in all", kept)):
            found[name].append(_pairs(judge, X, X @ (D / scale).mT, orbits, root, None))
            found[all_of_it].append((D / scale @ root).square().sum((1, 2)))
    broken, truly, kept, whole = (torch.cat(one) for one in found.values())
    return _beyond_chance(broken - truly, truly), _beyond_chance(kept, whole)


def _beyond_chance(values: Tensor, unit: Tensor) -> float:
    """The mean in units of another, brought nearer to zero by three standard errors."""
    mean, error = float(values.mean()), float(values.std()) / len(values) ** 0.5
    return max(abs(mean) - 3 * error, 0.0) * (1 if mean > 0 else -1) / max(float(unit.mean()), 1e-300)


def centred(judge: Judge) -> bool:
    """Whether the mean of each task was taken off: means of outputs much closer to zero than chance brings them.

    The noise of two examples is not independent then.
    """
    examples = judge.y.shape[1]
    if examples < 3:
        return False
    means = judge.y.mean(1, keepdim=True)
    spread = (judge.y - means).square().sum() / (examples - 1)
    return float(means.square().sum() * examples) < 0.25 * float(spread)


def _pairs(judge: Judge, x: Tensor, y: Tensor, orbits: Indices, root: Tensor, symmetric: Tensor | None) -> Tensor:
    """Of some tasks, in the square of the outputs' own sizes; without a symmetric span nothing is fitted first."""
    scale = judge.scale[:, None]
    (count, examples, n), m = x.shape, y.shape[2]
    k = 0 if symmetric is None else symmetric.shape[1]
    if symmetric is not None:
        by_input = (symmetric.view(m, n, k) / scale[:, None]).permute(1, 0, 2).reshape(n, m * k)
    parts = [slice(first, None, _PARTS) for first in range(min(_PARTS, examples))]
    sums = []  # of a part: XᵀX, YᵀX, and the normal equations of the filters
    for part in parts:
        X, Y = x[:, part], y[:, part]
        normal, right = torch.zeros(count, k, k, dtype=torch.float64), torch.zeros(count, k, 1, dtype=torch.float64)
        if symmetric is not None:
            features = (X.flatten(0, 1) @ by_input).view(count, -1, k)
            left = (Y.flatten(1) - features @ judge.v0).unsqueeze(2)
            normal, right = features.mT @ features, features.mT @ left
        sums.append((X.mT @ X, Y.mT @ X, normal, right))

    def away(part: int, S: Tensor) -> Tensor:
        gram, cross, *_ = sums[part]
        A = scale * torch.cholesky_solve((cross - S @ gram).mT, root.expand(count, n, n)).mT
        return _broken(judge, A, orbits, root)

    total, pairs = torch.zeros(count, dtype=torch.float64), 0
    for a, b in combinations(range(len(parts)), 2):
        S = torch.zeros(count, m, n, dtype=torch.float64)
        if symmetric is not None:
            others = [sums[i] for i in range(len(parts)) if i not in (a, b)]
            normal = sum((one[2] for one in others), torch.zeros(count, k, k, dtype=torch.float64))
            right = sum((one[3] for one in others), torch.zeros(count, k, 1, dtype=torch.float64))
            S = ((judge.v0 + ridge(normal, right, judge.penalty)) @ symmetric.mT).view(count, m, n) / scale
        total += (away(a, S) * away(b, S)).sum((1, 2))
        pairs += x[0, parts[a]].shape[0] * x[0, parts[b]].shape[0]
    return total / max(pairs, 1)


def _size(judge: Judge, W: Tensor, orbits: Indices, root: Tensor) -> Tensor:
    """``‖D⁻¹ (W − P W) Σ^½‖²`` of weights ``(tasks, out, in)`` for outputs in units of their scale."""
    return _broken(judge, judge.scale[:, None] * W, orbits, root).square().sum((1, 2))


def _broken(judge: Judge, W: Tensor, orbits: Indices, root: Tensor) -> Tensor:
    mean = judge.average(W.flatten(1).mT, orbits).mT.view(W.shape)
    return (W - mean) / judge.scale[:, None] @ root


def _root(x: Tensor) -> Tensor:
    """``L`` with ``L Lᵀ = Σ``, the second moment of all inputs."""
    n = x.shape[2]
    second = torch.einsum("tei,tej->ij", x, x) / (len(x) * x.shape[1])
    return torch.linalg.cholesky(second + 1e-12 * second.diagonal().mean() * torch.eye(n, dtype=torch.float64))


def _chunks(count: int, numbers: int) -> list[slice]:
    size = max(1, _CHUNK_NUMBERS // numbers)
    return [slice(start, start + size) for start in range(0, count, size)]
