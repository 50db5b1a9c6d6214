"""How much of the tasks' own weights breaks a group, whatever span was learned; without bias, task by task."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from msr.discovery.breaking.least_squares import LeastSquares
from msr.discovery.breaking.sample import TASKS, Average, Broken, Sample, away
from msr.discovery.data.forms import chunks, sum_of_squares
from msr.permutations import Indices, reynolds_operator
from msr.span import SharedSpan
from msr.span.moments import triangle_places

__all__ = ["Average", "Broken", "LeastSquares", "Pairs", "Sample", "ridge"]

# More parts leave fewer pairs of examples out, and fit better without them, which counts where there is noise.
_PARTS, _FEW_PARTS, _CENTRED_PARTS, _LARGE, _NOISY = 10, 5, 4, 2**16, 0.03
_FLOOR = 1e-9  # of the mean diagonal of the equations, the least penalty
# Standard errors by which the means of tasks may vary more, or less, than those of examples drawn anew.
_CHANCE = 4.0
_ALIKE = 2.0  # times the variance that chance gives to how much a task's inputs vary
_KEPT = 2**23  # numbers of moments of all tasks that are kept; more are made again each time they are looked at
_SHORT = 3  # times as many examples as a task has, in the usual one: then it is left out


def ridge(normal: Tensor, right: Tensor, penalty: float) -> Tensor:
    """``(A + penalty I)⁻¹ b`` of each task: ``(..., k, k), (..., k) -> (..., k)``."""
    damped = normal + penalty * torch.eye(normal.shape[-1], dtype=torch.float64)
    return torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky(damped)).squeeze(-1)


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

    def __init__(
        self, sample: Sample, average: Average = reynolds_operator, common: bool | None = None, noise: float = 1.0
    ):
        self._sample, self._average = sample, average
        self._common = _common_mean(sample) if common is None else common
        # Tasks much shorter than the usual one would leave all others with fewer parts.
        self._known = sample.counts * _SHORT >= float(sample.counts.double().median())
        fewest = int(sample.counts[self._known].min())
        large = len(sample) * sample.x.shape[2] * sample.y.shape[2] > _LARGE
        most = _FEW_PARTS if large or noise < _NOISY else _PARTS
        self._parts = min(most, fewest) if self._common else min(_CENTRED_PARTS, fewest // 2)
        self._alike = _alike(sample)
        # About the mean of all tasks, so that an example is as good as any other of any task.
        self._centre = sample.means[0].mean(0) if self._common else None
        self._kept: _Moments | None = None
        if self._parts >= 2 and len(sample) * self._numbers <= _KEPT:
            self._kept = _Moments.of(sample, self._parts, self._centre)

    @property
    def _numbers(self) -> int:
        """Of a task's moments."""
        m, n = self._sample.y.shape[2], self._sample.x.shape[2]
        return self._parts * (2 * n * n + 2 * m * n + 3 * n + m)

    @property
    def possible(self) -> bool:
        """Whether there are examples enough for two parts, and the inputs of all tasks vary by about as much."""
        return self._parts >= 2 and self._alike

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :class:`Broken` says; without a span no symmetric weight is fitted first.

        Some tasks at a time, since their moments are many times what they hold themselves.
        """
        s = self._sample
        m, n = s.y.shape[2], s.x.shape[2]
        fit = _Symmetric(torch.zeros(m, n, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64), 0.0)
        if span is not None:
            symmetric = self._average(span.U, orbits).view(m, n, -1) / s.scale[:, None, None]
            fit = _Symmetric(symmetric, span.v0, span.noise * float(s.scale.pow(-2).mean()))
        k = len(fit.v0)
        pairs = torch.combinations(torch.arange(self._parts))
        groups = [pairs[some] for some in chunks(len(pairs), len(tasks) * (4 * m * n + 2 * k**2))]
        usual = s.means[1][tasks].mean(0)
        pieces = [tasks[part] for part in chunks(len(tasks), self._numbers + 6 * m * n + 3 * self._parts * k**2)]
        floors = self._floors(fit, groups, pieces)
        found = [self._some(part, groups, floors, fit, usual, orbits, directions) for part in pieces]
        whole, along = (torch.cat(one) for one in zip(*found, strict=True))
        short = ~self._known[tasks]
        return whole.masked_fill(short, torch.inf), along.masked_fill(short, torch.inf)

    def _some(
        self,
        tasks: Tensor,
        groups: list[Tensor],
        floors: list[float],
        fit: "_Symmetric",
        usual: Tensor,
        orbits: Indices,
        directions: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """What breaks a group in these tasks, in all and along the directions."""
        moments = self._of(tasks)
        systems = moments.systems(fit.span, fit.v0)
        whole = torch.zeros(len(tasks), dtype=torch.float64)
        along, weight = whole.clone(), whole.clone()
        lost = 0 if self._common else 1  # examples of a part, to its own mean
        m, n, _ = fit.span.shape
        for group, floor in zip(groups, floors, strict=True):
            for pairs in (group[part] for part in chunks(len(group), len(tasks) * 6 * m * n)):
                a, b = pairs.unbind(1)
                S, offset = self._fitted(a, b, moments, systems, fit, usual, floor)
                first, second = (self._left(part, moments, S, offset, orbits) for part in (a, b))
                whole += (first * second).sum((0, 2))
                along += ((first @ directions) * (second @ directions)).sum((0, 2))
                weight += ((moments.count[a] - lost) * (moments.count[b] - lost)).sum(0)
        return whole / weight, along / weight

    def _of(self, tasks: Tensor) -> "_Moments":
        """Moments of some tasks: those that are kept, or made again."""
        if self._kept is not None:
            return self._kept.select(tasks)
        return _Moments.of(self._sample.select(tasks), self._parts, self._centre)

    def _floors(self, fit: "_Symmetric", groups: list[Tensor], pieces: list[Tensor]) -> list[float]:
        """Of each group of pairs, the least penalty: a share of the mean diagonal of the equations of all tasks."""
        k = len(fit.v0)
        if not k or self._parts == 2 or fit.penalty >= _FLOOR * self._most(fit, pieces):
            return [0.0] * len(groups)
        sums, count = [0.0] * len(groups), 0
        for tasks in pieces:
            moments = self._of(tasks)
            systems = moments.systems(fit.span, fit.v0)
            count += len(tasks)
            for i, group in enumerate(groups):
                for pairs in (group[part] for part in chunks(len(group), len(tasks) * 3 * k**2)):
                    normal, _ = _less_offset(pairs[:, 0], pairs[:, 1], moments, systems, fit)
                    sums[i] += float(normal.diagonal(dim1=2, dim2=3).sum())
        return [_FLOOR * total / (count * len(group) * k) for total, group in zip(sums, groups, strict=True)]

    def _most(self, fit: "_Symmetric", pieces: list[Tensor]) -> float:
        """What that mean cannot exceed: a diagonal number ``Σ_o u_oᵀ G u_o`` is at most ``tr G · ‖u‖²``."""
        s, total = self._sample, 0.0
        for tasks in pieces:
            total += float(s.x[tasks].square().sum())
            if self._centre is not None:
                total += float(((s.means[0][tasks] - self._centre).square().sum(1) * s.counts[tasks]).sum())
        return total / sum(map(len, pieces)) * float(fit.span.square().sum((0, 1)).mean())

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
            every = torch.arange(len(clean))
            seen, _ = Pairs(clean, self._average, common=self._common, noise=0.0)(orbits, None, nothing, every)
            found.append((seen, (inner @ s.root).square().sum((1, 2))))
        (broken, truly), (leaked, in_all) = found
        # A group of all signs keeps no weight at all.
        whole = float(truly.mean() + in_all.mean())
        return _beyond_chance(broken - truly, truly, whole), _beyond_chance(leaked, in_all, whole)

    def _fitted(
        self,
        a: Tensor,
        b: Tensor,
        moments: "_Moments",
        systems: tuple[Tensor, Tensor],
        fit: "_Symmetric",
        usual: Tensor,
        floor: float,
    ) -> tuple[Tensor | None, Tensor]:
        """What the parts other than two give, for each two: a symmetric weight ``(pairs, tasks, m, n)``, an offset.

        The weight is none where there is no span, or no other part; ``usual`` is the mean of all tasks' outputs.
        """
        (m, n, k), shape = fit.span.shape, (len(a), len(moments.count[0]))
        if self._parts == 2:
            return None, usual.expand(*shape, m)
        size, sum_x, sum_y = (_others(one, a, b) for one in (moments.count[..., None], moments.sum_x, moments.sum_y))
        if not k:
            return None, sum_y / size
        normal, right = _less_offset(a, b, moments, systems, fit)
        v = fit.v0 + ridge(normal, right, max(fit.penalty, floor, 1e-300))
        S = (v @ fit.span.flatten(0, 1).mT).view(*shape, m, n)
        return S, (sum_y - (S @ sum_x.unsqueeze(3)).squeeze(3)) / size

    def _left(self, part: Tensor, moments: "_Moments", S: Tensor | None, offset: Tensor, orbits: Indices) -> Tensor:
        """What breaks the group in the weights of a part, less a symmetric one, times its examples."""
        weights = moments.outputs[part]
        if S is not None:
            weights = weights - S @ moments.inputs[part]
        if self._common:
            weights = weights - offset.unsqueeze(3) * moments.mean[part].unsqueeze(2)
        return away(self._sample, weights, orbits, self._average)


@dataclass(frozen=True, eq=False)
class _Symmetric:
    """Symmetric weights ``(m, n, k)`` in units of the outputs' scale, the mean filter, and the penalty on others."""

    span: Tensor
    v0: Tensor
    penalty: float


def _others(values: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Of all parts but two."""
    return values.sum(0) - values[a] - values[b]


def _less_offset(
    a: Tensor, b: Tensor, moments: "_Moments", systems: tuple[Tensor, Tensor], fit: _Symmetric
) -> tuple[Tensor, Tensor]:
    """The equations of all parts but two, with an offset of each output fitted beside the filter."""
    size, sum_x, sum_y = (_others(one, a, b) for one in (moments.count[..., None], moments.sum_x, moments.sum_y))
    normal, right = (_others(one, a, b) for one in systems)
    seen = torch.einsum("onk,ptn->ptok", fit.span, sum_x)
    left = sum_y - sum_x @ (fit.span @ fit.v0).mT
    normal = normal - seen.mT @ seen / size.unsqueeze(3)
    return normal, right - torch.einsum("ptoj,pto->ptj", seen, left) / size


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
    def of(cls, sample: Sample, parts: int, centre: Tensor | None) -> "_Moments":
        """Examples are dealt out in turn; about a centre of all tasks, or each part about its own mean."""
        place = torch.arange(sample.x.shape[1])
        x, y = sample.x, sample.y[:]
        if centre is not None:
            there = (place[None] < sample.counts[:, None]).unsqueeze(2)
            x = (x + (sample.means[0] - centre)[:, None]) * there
            y = (y + sample.means[1][:, None]) * there
        dealt = [(x[:, part::parts], y[:, part::parts]) for part in range(parts)]
        gram = torch.stack([X.mT @ X for X, _ in dealt])
        cross = torch.stack([Y.mT @ X for X, Y in dealt])
        sum_x, sum_y = (torch.stack([one[side].sum(1) for one in dealt]) for side in (0, 1))
        count = torch.stack([(sample.counts - part + parts - 1) // parts for part in range(parts)]).double()
        inputs, outputs = gram, cross
        if centre is None:
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
        return normal[..., triangle_places(k)], right


def _common_mean(sample: Sample) -> bool:
    """Whether the means of tasks, of inputs and of outputs, vary as those of examples drawn anew do, or more."""
    found = []
    for values, means in ((sample.x, sample.means[0]), (sample.y, sample.means[1])):
        within = sum_of_squares(values) / (sample.counts - 1).sum()
        spread = (means - means.mean(0)).square() * sample.counts[:, None] / within.clamp_min(1e-300)
        chance = _CHANCE * (2 / spread.numel()) ** 0.5
        found.append((float(spread.mean()), chance))
    (x, chance), (y, _) = found
    return abs(x - 1) <= chance and y >= 0.25


def _alike(sample: Sample) -> bool:
    """Whether the inputs of all tasks vary by as much, up to chance: else a task would count by the square of that."""
    whitened = torch.cat(
        [torch.linalg.solve_triangular(sample.root, x.mT, upper=False).square().sum(1) for x in sample.x.split(TASKS)]
    )
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
