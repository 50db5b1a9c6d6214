"""How much of the tasks' own weights breaks a group, whatever span was learned; without bias, task by task."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from msr.discovery.forms import chunks
from msr.discovery.orbits import averaged
from msr.discovery.prepare import Prepared
from msr.groups.permutations import Indices
from msr.meta import SharedSpan
from msr.meta._filters import places

__all__ = ["Average", "Broken", "LeastSquares", "Pairs", "Sample", "ridge"]

Average = Callable[[Tensor, Indices], Tensor]
"""``(U (m n, c), orbits) -> Ū``, each row replaced by the mean over its orbit."""

# Inputs are solved for where the least eigenvalue of a task's correlations is this large.
_CONDITION = 1e-6
# Examples for each input, and more, so that least squares can tell noise by what they leave, were it not quite alike.
_EACH, _MORE = 1.5, 7
_DRAWS, _NUMBERS = 16, 2**23  # draws of noise, and numbers that they may take
# More parts leave fewer pairs of examples out, and fit better without them, which counts where there is noise.
_PARTS, _FEW_PARTS, _CENTRED_PARTS, _LARGE, _NOISY = 10, 5, 4, 2**16, 0.03
# Standard errors by which the means of tasks may vary more, or less, than those of examples drawn anew.
_CHANCE = 4.0
_ALIKE = 2.0  # times the variance that chance gives to how much a task's inputs vary
_SHORT = 3  # times as many examples as a task has, in the usual one: then it is left out


def ridge(normal: Tensor, right: Tensor, penalty: float) -> Tensor:
    """``(A + penalty I)⁻¹ b`` of each task: ``(..., k, k), (..., k) -> (..., k)``."""
    damped = normal + penalty * torch.eye(normal.shape[-1], dtype=torch.float64)
    return torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky(damped)).squeeze(-1)


@dataclass(frozen=True, eq=False)
class Sample:
    """Some tasks, each about its own mean, with what they are measured in.

    Attributes:
        x, y: ``(tasks, examples, n)``, ``(tasks, examples, m)``, zero past ``counts (tasks,)``; ``y`` is divided by
            ``scale (m,)``, so that each output counts alike.
        means: of each task, which were taken off, ``(tasks, n)`` and ``(tasks, m)``.
        root: ``L (n, n)`` with ``L Lᵀ = Σ``, how the inputs of all tasks vary within a task.
    """

    x: Tensor
    y: Tensor
    counts: Tensor
    means: tuple[Tensor, Tensor]
    scale: Tensor
    root: Tensor

    @classmethod
    def of(cls, data: Prepared) -> "Sample":
        """All tasks; ``scale`` is how much each output varies within tasks, none below a millionth of the largest."""
        degrees = (data.counts - 1).sum()
        sizes = (data.y.square().sum((0, 1)) / degrees).sqrt()
        scale = sizes.clamp_min(1e-6 * float(sizes.max()))
        second = torch.einsum("tei,tej->ij", data.x, data.x) / degrees
        small = 1e-12 * second.diagonal().mean() * torch.eye(len(second), dtype=torch.float64)
        means = (data.means[0], data.means[1] / scale)
        return cls(data.x, data.y / scale, data.counts, means, scale, torch.linalg.cholesky(second + small))

    def __len__(self) -> int:
        return len(self.x)

    def select(self, tasks: Tensor) -> "Sample":
        """Some of them."""
        means = (self.means[0][tasks], self.means[1][tasks])
        return Sample(self.x[tasks], self.y[tasks], self.counts[tasks], means, self.scale, self.root)

    @property
    def energies(self) -> Tensor:
        """Of each task's outputs, ``(tasks,)``: the sum over outputs of how they vary, noise included."""
        return self.y.square().sum((1, 2)) / (self.counts - 1)

    @cached_property
    def solvable(self) -> Tensor:
        """Which tasks' inputs determine their weights, with examples to spare, ``(tasks,)``."""
        gram = self.x.mT @ self.x
        sizes = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-300).sqrt()
        least = torch.linalg.eigvalsh(gram / sizes[:, :, None] / sizes[:, None, :])[:, 0]
        return (self.counts >= _EACH * self.x.shape[2] + _MORE) & (least > _CONDITION)


class Broken(Protocol):
    """Estimates of ``‖D⁻¹ (W − P W) Σ^½‖²`` of each task, ``P`` the mean over a group's orbits.

    ``directions (m n, r)``, orthonormal, of ``D⁻¹ W Σ^½``: of what lies along them alone, in a second estimate, which
    has less noise. Both are unbiased. What can be estimated for no task is infinite.
    """

    method: str
    symmetric: bool

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of these tasks, by their places; ``span`` was learned on others."""

    def noise(self, span: SharedSpan, tasks: Tensor) -> Tensor:
        """What noise adds to :attr:`Sample.energies` of these tasks."""


class LeastSquares:
    """From least squares, less what noise adds to it on average; whatever the inputs are.

    ``Ŵ = Yᵀ X (XᵀX)⁻¹`` has mean ``W``. What its noise adds is the mean over draws, in which each example's residual,
    divided by ``√(1 − h)`` for its leverage ``h``, gets a random sign: unbiased where the noise of a task's examples is
    alike, nearly so where it is not, and whatever outputs have in common.
    """

    method = "least squares"
    symmetric = False

    def __init__(self, sample: Sample, average: Average = averaged):
        self._sample, self._average = sample, average
        self._known = sample.solvable
        x, y, counts = sample.x[self._known], sample.y[self._known], sample.counts[self._known]
        (count, _, n), m = x.shape, y.shape[2]
        factor = torch.linalg.cholesky(x.mT @ x)
        self._weights = torch.cholesky_solve(x.mT @ y, factor).mT
        left = y - x @ self._weights.mT
        self._silence = torch.full((len(sample),), torch.nan, dtype=torch.float64)
        self._silence[self._known] = left.square().sum((1, 2)) / (counts - 1 - n)
        # How far each example pulls its own fit; its residual is that much smaller than its noise.
        pull = torch.linalg.solve_triangular(factor, x.mT, upper=False).square().sum(1) + 1 / counts[:, None]
        seen = left / (1 - pull).clamp_min(1e-3).sqrt().unsqueeze(2)
        draw = torch.Generator().manual_seed(0)
        draws = max(2, min(_DRAWS, _NUMBERS // max(1, count * m * max(n, x.shape[1]))))
        signs = 2.0 * torch.randint(2, (draws, count, x.shape[1], 1), generator=draw, dtype=torch.float64) - 1
        self._noise = torch.cholesky_solve(x.mT @ (signs * seen), factor.expand(draws, *factor.shape)).mT

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :class:`Broken` says."""
        whole = torch.full((len(tasks),), torch.inf, dtype=torch.float64)
        along = whole.clone()
        known = self._known[tasks]
        place = (self._known.cumsum(0) - 1)[tasks[known]]
        signal = _away(self._sample, self._weights[place], orbits, self._average)
        noise = _away(self._sample, self._noise[:, place].flatten(0, 1), orbits, self._average)
        noise = noise.view(len(self._noise), -1, noise.shape[1])
        whole[known] = signal.square().sum(1) - noise.square().sum(2).mean(0)
        along[known] = (signal @ directions).square().sum(1) - (noise @ directions).square().sum(2).mean(0)
        return whole, along

    def noise(self, span: SharedSpan, tasks: Tensor) -> Tensor:
        """As :class:`Broken` says: from each task's own residual; where there is none, from that of the others."""
        usual = self._silence[self._known].mean() if self._known.any() else self._silence.new_tensor(0.0)
        return torch.where(self._known, self._silence, usual)[tasks]


class Pairs:
    """From pairs of examples; unbiased where each was drawn anew, all from one distribution but for its mean.

    The examples are dealt into parts. For each pair of parts, the others fit a symmetric weight ``S = mat(P U v)``, and
    each of the two gives an estimate of what is left, ``A = (Y − X Sᵀ)ᵀ X Σ⁻¹ / N``. Both are unbiased and independent,
    and ``S`` has no part that ``P`` would change; so ``⟨A − P A, B − P B⟩`` has mean ``‖W − P W‖²``, however noisy each
    is and however unequal the noise. Where the inputs of all tasks have one mean it is taken off, and the others
    say what the outputs' is; else each part is centred by itself, which costs an example of each. ``noise``, its share
    of the outputs' energy, says how much is to be gained from more parts.
    """

    method = "pairs of examples"
    symmetric = True

    def __init__(self, sample: Sample, average: Average = averaged, common: bool | None = None, noise: float = 1.0):
        self._sample, self._average = sample, average
        self._common = _common_mean(sample) if common is None else common
        # Tasks much shorter than the usual one would leave all others with fewer parts.
        self._known = sample.counts * _SHORT >= float(sample.counts.double().median())
        fewest = int(sample.counts[self._known].min())
        large = len(sample) * sample.x.shape[2] * sample.y.shape[2] > _LARGE
        most = _FEW_PARTS if large or noise < _NOISY else _PARTS
        self._parts = min(most, fewest) if self._common else min(_CENTRED_PARTS, fewest // 2)
        self._alike = _alike(sample)
        if self._parts >= 2:
            self._moments = _Moments.of(sample, self._parts, self._common)

    @property
    def possible(self) -> bool:
        """Whether there are examples enough for two parts, and the inputs of all tasks vary by about as much."""
        return self._parts >= 2 and self._alike

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :class:`Broken` says; without a span no symmetric weight is fitted first."""
        return self._select(tasks)._all(orbits, span, directions)

    def _select(self, tasks: Tensor) -> "Pairs":
        """The same of some tasks."""
        part = copy(self)
        part._sample = self._sample.select(tasks)
        part._known = self._known[tasks]
        part._moments = self._moments.select(tasks)
        return part

    def _all(self, orbits: Indices, span: SharedSpan | None, directions: Tensor) -> tuple[Tensor, Tensor]:
        s, moments = self._sample, self._moments
        m, n = s.y.shape[2], s.x.shape[2]
        symmetric, v0, penalty = torch.zeros(m, n, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64), 0.0
        if span is not None:
            symmetric = self._average(span.U, orbits).view(m, n, -1) / s.scale[:, None, None]
            v0, penalty = span.v0, span.noise * float(s.scale.pow(-2).mean())
        systems = moments.systems(symmetric, v0)
        whole = torch.zeros(len(s), dtype=torch.float64)
        along, weight = whole.clone(), whole.clone()
        lost = 0 if self._common else 1  # examples of a part, to its own mean
        pairs = torch.combinations(torch.arange(self._parts))
        for some in chunks(len(pairs), len(s) * (4 * m * n + 2 * len(v0) ** 2)):
            a, b = pairs[some].unbind(1)
            S, offset = self._fitted(a, b, systems, symmetric, v0, penalty)
            first, second = (self._left(part, S, offset, orbits) for part in (a, b))
            whole += (first * second).sum((0, 2))
            along += ((first @ directions) * (second @ directions)).sum((0, 2))
            weight += ((moments.count[a] - lost) * (moments.count[b] - lost)).sum(0)
        short = ~self._known
        return (whole / weight).masked_fill(short, torch.inf), (along / weight).masked_fill(short, torch.inf)

    def noise(self, span: SharedSpan, tasks: Tensor) -> Tensor:
        """As :class:`Broken` says: that of the tasks which taught the span."""
        return (span.noise * self._sample.scale.pow(-2).sum()).expand(len(tasks))

    def biases(self, orbits: Indices, tasks: Tensor, seed: int = 0) -> tuple[float, float]:
        """Whether pairs of these tasks' examples can be trusted: two biases, as small as chance allows.

        Weights are drawn at random, and the estimate is made of what they make of the inputs, without noise: of weights
        with no symmetric part, and of symmetric ones. The first bias is the relative error of the one estimate; the
        other is how much of the symmetric weights seems to break the group.
        """
        s, draw = self._sample.select(tasks), torch.Generator().manual_seed(seed)
        m, n = s.y.shape[2], s.x.shape[2]
        W = s.scale[:, None] * torch.randn(len(s), m, n, generator=draw, dtype=torch.float64) / s.root.diagonal()
        kept = self._average(W.flatten(1).mT, orbits).mT.view(W.shape)
        found = []
        for part in (W - kept, kept):
            inner = part / s.scale[:, None]
            means = (s.means[0], (inner @ s.means[0].unsqueeze(2)).squeeze(2))
            clean = Sample(s.x, s.x @ inner.mT, s.counts, means, s.scale, s.root)
            nothing = torch.zeros(m * n, 0, dtype=torch.float64)
            seen, _ = Pairs(clean, self._average, common=self._common, noise=0.0)._all(orbits, None, nothing)
            found.append((seen, (inner @ s.root).square().sum((1, 2))))
        (broken, truly), (leaked, in_all) = found
        # A group of all signs keeps no weight at all.
        whole = float(truly.mean() + in_all.mean())
        return _beyond_chance(broken - truly, truly, whole), _beyond_chance(leaked, in_all, whole)

    def _fitted(
        self, a: Tensor, b: Tensor, systems: tuple[Tensor, Tensor], symmetric: Tensor, v0: Tensor, penalty: float
    ) -> tuple[Tensor | None, Tensor]:
        """What the parts other than two give, for each two: a symmetric weight ``(pairs, tasks, m, n)``, an offset.

        The weight is none where there is no span, or no other part.
        """
        s, moments = self._sample, self._moments
        (m, n, k), shape = symmetric.shape, (len(a), len(s))
        if self._parts == 2:
            return None, s.means[1].mean(0).expand(*shape, m)

        def others(values: Tensor) -> Tensor:
            return values.sum(0) - values[a] - values[b]

        size, sum_x, sum_y = others(moments.count)[..., None], others(moments.sum_x), others(moments.sum_y)
        if not k:
            return None, sum_y / size
        normal, right = (others(one) for one in systems)
        # An offset of each output is fitted beside the filter.
        seen = torch.einsum("onk,ptn->ptok", symmetric, sum_x)
        left = sum_y - sum_x @ (symmetric @ v0).mT
        normal = normal - seen.mT @ seen / size.unsqueeze(3)
        right = right - torch.einsum("ptoj,pto->ptj", seen, left) / size
        floor = 1e-9 * float(normal.diagonal(dim1=2, dim2=3).mean())
        v = v0 + ridge(normal, right, max(penalty, floor, 1e-300))
        S = (v @ symmetric.flatten(0, 1).mT).view(*shape, m, n)
        return S, (sum_y - (S @ sum_x.unsqueeze(3)).squeeze(3)) / size

    def _left(self, part: Tensor, S: Tensor | None, offset: Tensor, orbits: Indices) -> Tensor:
        """What breaks the group in the weights of a part, less a symmetric one, times its examples."""
        moments = self._moments
        weights = moments.outputs[part]
        if S is not None:
            weights = weights - S @ moments.inputs[part]
        if self._common:
            weights = weights - offset.unsqueeze(3) * moments.mean[part].unsqueeze(2)
        return _away(self._sample, weights, orbits, self._average)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Of parts of each task's examples, ``(parts, tasks, ...)``: ``XᵀX``, ``YᵀX``, sums, and how many.

    ``inputs``, ``outputs`` and ``mean`` are ``XᵀX``, ``YᵀX`` and ``ΣX`` times ``Σ⁻¹``, which estimate a part's weights:
    about the common mean of all tasks; or about the part's own, and then ``mean`` has no use.
    """

    gram: Tensor
    cross: Tensor
    sum_x: Tensor
    sum_y: Tensor
    count: Tensor
    inputs: Tensor
    outputs: Tensor
    mean: Tensor

    @classmethod
    def of(cls, sample: Sample, parts: int, common: bool) -> "_Moments":
        """Examples are dealt out in turn."""
        place = torch.arange(sample.x.shape[1])
        x, y = sample.x, sample.y
        if common:
            # About the mean of all tasks, so that an example is as good as any other of any task.
            there = (place[None] < sample.counts[:, None]).unsqueeze(2)
            x = (x + (sample.means[0] - sample.means[0].mean(0))[:, None]) * there
            y = (y + sample.means[1][:, None]) * there
        dealt = [(x[:, part::parts], y[:, part::parts]) for part in range(parts)]
        gram = torch.stack([X.mT @ X for X, _ in dealt])
        cross = torch.stack([Y.mT @ X for X, Y in dealt])
        sum_x, sum_y = (torch.stack([one[side].sum(1) for one in dealt]) for side in (0, 1))
        count = torch.stack([(sample.counts - part + parts - 1) // parts for part in range(parts)]).double()
        inputs, outputs = gram, cross
        if not common:
            mean = (sum_x / count.unsqueeze(2)).unsqueeze(2)
            inputs, outputs = gram - sum_x.unsqueeze(3) * mean, cross - sum_y.unsqueeze(3) * mean
        inverse = torch.cholesky_inverse(sample.root)
        return cls(gram, cross, sum_x, sum_y, count, inputs @ inverse, outputs @ inverse, sum_x @ inverse)

    def select(self, tasks: Tensor) -> "_Moments":
        """Those of some tasks."""
        return _Moments(*(getattr(self, field.name)[:, tasks] for field in fields(self)))

    def systems(self, symmetric: Tensor, v0: Tensor) -> tuple[Tensor, Tensor]:
        """The normal equations of each task's filter in a symmetric span ``(m, n, k)``, from each part."""
        # Σ_o u_oᵀ G u_o. G is symmetric, and so is what comes of it: a quarter of the products is enough.
        _, n, k = symmetric.shape
        above, pairs = torch.triu_indices(n, n), torch.triu_indices(k, k)
        rows = symmetric.flatten(1)
        products = (rows.mT @ rows).view(n, k, n, k)
        products = products[above[0], :, above[1]] + products[above[1], :, above[0]]
        twice = torch.where(above[0] == above[1], 0.5, 1.0).double()
        normal = self.gram[:, :, above[0], above[1]] @ (products[:, pairs[0], pairs[1]] * twice[:, None])
        right = (self.cross - (symmetric @ v0) @ self.gram).flatten(2) @ symmetric.flatten(0, 1)
        return normal[..., places(k)], right


def _away(sample: Sample, W: Tensor, orbits: Indices, average: Average) -> Tensor:
    """``D⁻¹ (W − P W) Σ^½`` of weights ``(..., m, n)`` for outputs in units of their scale; ``(..., m n)``."""
    full = sample.scale[:, None] * W
    mean = average(full.flatten(-2).flatten(0, -2).mT, orbits).mT.view(W.shape)
    return ((W - mean / sample.scale[:, None]) @ sample.root).flatten(-2)


def _common_mean(sample: Sample) -> bool:
    """Whether the means of tasks, of inputs and of outputs, vary as those of examples drawn anew do, or more."""
    found = []
    for values, means in ((sample.x, sample.means[0]), (sample.y, sample.means[1])):
        within = values.square().sum((0, 1)) / (sample.counts - 1).sum()
        spread = (means - means.mean(0)).square() * sample.counts[:, None] / within.clamp_min(1e-300)
        chance = _CHANCE * (2 / spread.numel()) ** 0.5
        found.append((float(spread.mean()), chance))
    (x, chance), (y, _) = found
    return abs(x - 1) <= chance and y >= 0.25


def _alike(sample: Sample) -> bool:
    """Whether the inputs of all tasks vary by as much, up to chance: else a task would count by the square of that."""
    whitened = torch.linalg.solve_triangular(sample.root, sample.x.mT, upper=False).square().sum(1)
    here = torch.arange(sample.x.shape[1])[None] < sample.counts[:, None]
    mean = whitened.sum(1) / sample.counts
    own = ((whitened - mean[:, None]).square() * here).sum(1) / (sample.counts - 1) / sample.counts
    expected = mean.mean() * (1 - 1 / sample.counts) / (1 - 1 / sample.counts).mean()
    # Two or three examples hardly say how far their squares spread; normal ones spread by this.
    normal = 2 * sample.x.shape[2] / sample.counts
    return float((mean - expected).square().mean()) <= _ALIKE * float(torch.maximum(own, normal).mean())


def _beyond_chance(values: Tensor, unit: Tensor, whole: float) -> float:
    """The mean in units of another, brought nearer to zero by three standard errors; 0 of nothing.

    Tasks too short for an estimate are left out.
    """
    known = values.isfinite()
    values, unit = values[known], unit[known]
    if float(unit.mean()) < 1e-9 * whole:
        return 0.0
    mean, error = float(values.mean()), float(values.std()) / len(values) ** 0.5
    return max(abs(mean) - 3 * error, 0.0) * (1 if mean > 0 else -1) / max(float(unit.mean()), 1e-300)
