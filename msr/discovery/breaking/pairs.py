"""An estimate of breaking from pairs of examples, for tasks with few examples."""

from functools import cached_property

import torch
from torch import Tensor

from msr.discovery.breaking.estimator import Average, breaking_part
from msr.discovery.breaking.input_checks import common_mean, inputs_vary_alike, shrunk_ratio
from msr.discovery.breaking.moments import Equations, Moments, Others, SymmetricSpan, filter_equations, of_parts, ridge
from msr.discovery.breaking.sample import Sample
from msr.discovery.data.passes import chunks
from msr.discovery.thresholds import THRESHOLDS
from msr.permutations import Indices, reynolds_operator
from msr.span import SharedSpan

__all__ = ["Pairs"]

# Numbers of moments of all tasks that are kept, a limit of memory; beyond it they are computed again each time.
_KEPT_NUMBERS = 2**23
# Numbers of the weights of some pairs that are worked on together: they stay in the processor's cache.
_CACHED_NUMBERS = 2**15
# The least ridge penalty, as a share of the mean diagonal of the normal equations: it keeps their solution in float64.
_LEAST_PENALTY = 1e-9


class Pairs:
    """The product of two independent estimates of what breaks the group, from different examples of a task.

    The examples of a task are dealt into parts. For each pair of parts, all others fit symmetric weights
    ``S = mat(P U v)``, and each of the two gives an estimate of ``W − S``, ``A = (Y − X Sᵀ)ᵀ X Σ⁻¹ / N``. Both are
    unbiased and independent, and ``S − P S = 0``; so the inner product of ``D⁻¹ (A − P A) Σ^½`` and
    ``D⁻¹ (B − P B) Σ^½`` has mean ``‖D⁻¹ (W − P W) Σ^½‖²``, however noisy each is and however unequal the noise. Taking
    ``S`` off only lowers the variance; with two parts, or no span, there is none. The result is the mean over pairs,
    weighted by their numbers of examples; it is infinite for a task much shorter than the median one.

    Assumed: each example is drawn anew, with inputs from one distribution for all tasks but for its mean. Where the
    inputs of all tasks have one mean, that is taken off, and the other parts say what the outputs' mean is; else each
    part is centred by itself, which costs an example of each.

    Args:
        sample: all tasks.
        average: the Reynolds operator on weights.
        common: whether the inputs of all tasks have one mean; by default :func:`common_mean` tells.
        noise: the noise's share of the outputs' energy. With little of it fewer parts are made, which is cheaper.
    """

    method = "pairs of examples"
    symmetric = True

    def __init__(
        self, sample: Sample, average: Average = reynolds_operator, common: bool | None = None, noise: float = 1.0
    ):
        limits = THRESHOLDS()
        self._sample = sample
        self._average = average
        self._common = common_mean(sample) if common is None else common
        # A task much shorter than the median one would leave all others with as few parts.
        self._known = sample.counts * limits.short_task >= float(sample.counts.double().median())
        fewest = int(sample.counts[self._known].min())
        weights = len(sample) * sample.x.shape[2] * sample.y.shape[2]
        few = weights > limits.pair_weights_large or noise < limits.pair_noise_small
        if self._common:
            self._parts = min(limits.pair_parts_few if few else limits.pair_parts, fewest)
        else:
            # A part of one example has nothing left about its own mean.
            self._parts = min(limits.pair_parts_centred, fewest // 2)
        self._centre = sample.means[0].mean(0) if self._common else None
        self._kept: Moments | None = None
        if self._parts >= 2 and len(sample) * self._numbers <= _KEPT_NUMBERS:
            self._kept = Moments.of(sample, self._parts, self._centre)

    @property
    def possible(self) -> bool:
        """Whether there are examples enough for two parts, and the inputs of all tasks vary by about as much."""
        return self._parts >= 2 and self._alike

    @cached_property
    def _alike(self) -> bool:
        """Whether the inputs of all tasks vary by about as much, up to chance."""
        return inputs_vary_alike(self._sample)

    def __call__(
        self, orbits: Indices, span: SharedSpan | None, directions: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :class:`~msr.discovery.breaking.estimator.BreakingEstimator` says; without a span nothing is taken off."""
        sample = self._sample
        m = sample.y.shape[2]
        n = sample.x.shape[2]
        symmetric = SymmetricSpan(torch.zeros(m, n, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64), 0.0)
        if span is not None:
            U = self._average(span.U, orbits).view(m, n, -1) / sample.scale[:, None, None]
            symmetric = SymmetricSpan(U, span.v0, span.noise * float(sample.scale.pow(-2).mean()))
        k = len(symmetric.v0)
        pairs = torch.combinations(torch.arange(self._parts))
        # Some pairs and some tasks at a time, since their moments are many times what the tasks hold themselves.
        groups = [pairs[batch] for batch in chunks(len(pairs), len(tasks) * (4 * m * n + 2 * k**2))]
        usual = sample.means[1][tasks].mean(0)
        numbers = self._numbers + 6 * m * n + 3 * self._parts * k**2
        pieces = [tasks[part] for part in chunks(len(tasks), numbers)]
        penalties = self._least_penalties(symmetric, groups, pieces)
        # A task that is asked for twice is estimated once.
        different, places = tasks.unique(return_inverse=True)
        twice = len(different) < len(tasks)
        if twice:
            pieces = [different[part] for part in chunks(len(different), numbers)]
        estimates = [self._estimated(part, groups, penalties, symmetric, usual, orbits, directions) for part in pieces]
        whole, along = (torch.cat(values) for values in zip(*estimates, strict=True))
        if twice:
            whole = whole[places]
            along = along[places]
        short = ~self._known[tasks]
        return whole.masked_fill(short, torch.inf), along.masked_fill(short, torch.inf)

    def noise(self, span: SharedSpan, tasks: Tensor) -> Tensor:
        """The noise that was estimated with the span, summed over outputs in units of their scale, ``(tasks,)``.

        It is the same number for each of ``tasks``, whose own outputs are not looked at.
        """
        return (span.noise * self._sample.scale.pow(-2).sum()).expand(len(tasks))

    def biases(self, orbits: Indices, tasks: Tensor, seed: int = 0) -> tuple[float, float]:
        """How biased pairs are with these tasks' inputs: a relative error, and a share of energy; both 0 if unbiased.

        Weights are drawn at random, tasks without noise are made of them and the inputs, and pairs estimate what breaks
        the group. The first number is the relative error of the mean estimate for weights without a symmetric part,
        negative where pairs see too little. The second is the share of the energy of symmetric weights that seems to
        break the group. Both are brought nearer to zero by three standard errors, so that chance makes neither.

        Args:
            orbits: ``(m n,)``, the orbital of each weight: its orbit on pairs of an output and an input.
            tasks: the places of the tasks whose inputs are used.
            seed: of the weights.
        """
        sample = self._sample.select(tasks)
        draw = torch.Generator().manual_seed(seed)
        m = sample.y.shape[2]
        n = sample.x.shape[2]
        # In the units of a sample all weights have energies of like size.
        noise = torch.randn(len(sample), m, n, generator=draw, dtype=torch.float64)
        W = sample.scale[:, None] * noise / sample.root.diagonal()
        invariant = self._average(W.flatten(1).mT, orbits).mT.view(W.shape)
        no_directions = torch.zeros(m * n, 0, dtype=torch.float64)
        every = torch.arange(len(sample))
        estimates = []
        truths = []
        for part in (W - invariant, invariant):
            scaled = part / sample.scale[:, None]
            means = (sample.means[0], (scaled @ sample.means[0].unsqueeze(2)).squeeze(2))
            made = Sample(sample.x, sample.x @ scaled.mT, sample.counts, means, sample.scale, sample.root)
            pairs = Pairs(made, self._average, common=self._common, noise=0.0)
            estimates.append(pairs(orbits, None, no_directions, every)[0])
            truths.append((scaled @ sample.root).square().sum((1, 2)))
        # A group that changes all signs keeps no weight at all: then the second unit is nothing beside the first.
        whole = float(truths[0].mean() + truths[1].mean())
        error = shrunk_ratio(estimates[0] - truths[0], truths[0], whole)
        return error, shrunk_ratio(estimates[1], truths[1], whole)

    @property
    def _numbers(self) -> int:
        """How many numbers the moments of one task are: a measure of memory."""
        m = self._sample.y.shape[2]
        n = self._sample.x.shape[2]
        return self._parts * (2 * n * n + 2 * m * n + 3 * n + m)

    def _estimated(
        self,
        tasks: Tensor,
        groups: list[Tensor],
        penalties: list[float],
        symmetric: SymmetricSpan,
        usual: Tensor,
        orbits: Indices,
        directions: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Two estimates, each ``(tasks,)``: the energy of all that breaks a group, and of its part in the directions.

        The second is a sum over the directions. Both may be negative. Tasks too short for the pairs get a number as
        well, which the caller replaces by infinity.

        Args:
            groups: batches of pairs of parts, each ``(pairs, 2)``.
            penalties: for each batch, the penalty that its fits have at least.
            usual: ``(m,)``, the mean output, averaged over the tasks of the call.
        """
        moments = self._moments(tasks)
        equations = moments.equations(symmetric)
        whole = torch.zeros(len(tasks), dtype=torch.float64)
        along = whole.clone()
        weight = whole.clone()
        # Centred by itself, a part of N examples estimates a weight with N − 1 of them.
        lost = 0 if self._common else 1
        m, n, _ = symmetric.span.shape
        for group, penalty in zip(groups, penalties, strict=True):
            for pairs in (group[part] for part in chunks(len(group), len(tasks) * 6 * m * n)):
                a, b = pairs.unbind(1)
                products = torch.empty(len(pairs), len(tasks), m * n, dtype=torch.float64)
                products_along = torch.empty(len(pairs), len(tasks), directions.shape[1], dtype=torch.float64)
                for few in chunks(len(pairs), len(tasks) * m * n, _CACHED_NUMBERS):
                    first_of = a[few].tolist()
                    second_of = b[few].tolist()
                    others = moments.others(first_of, second_of)
                    S, offset = self._fitted(first_of, second_of, others, equations, symmetric, usual, penalty)
                    # Estimates from different examples have independent noise, so their product adds none in the mean.
                    first, second = (self._broken(part, moments, S, offset, orbits) for part in (first_of, second_of))
                    torch.mul(first, second, out=products[few])
                    torch.mul(first @ directions, second @ directions, out=products_along[few])
                whole += products.sum((0, 2))
                along += products_along.sum((0, 2))
                weight += ((moments.count[a] - lost) * (moments.count[b] - lost)).sum(0)
        return whole / weight, along / weight

    def _moments(self, tasks: Tensor) -> Moments:
        """Moments of some tasks: those that are kept, or computed again."""
        if self._kept is not None:
            return self._kept.select(tasks)
        return Moments.of(self._sample.select(tasks), self._parts, self._centre)

    def _least_penalties(self, symmetric: SymmetricSpan, groups: list[Tensor], pieces: list[Tensor]) -> list[float]:
        """The least ridge penalty for each batch of pairs: a tiny share of the mean diagonal of its filter equations.

        The mean is over all tasks, which ``pieces`` list. The penalties are 0 where no filter is fitted (no span, or
        two parts), and where the penalty for noise is larger in any case.
        """
        k = len(symmetric.v0)
        # With two parts no other is left to fit, and a penalty above any possible least one needs no look at that.
        if not k or self._parts == 2 or symmetric.penalty >= _LEAST_PENALTY * self._largest_diagonal(symmetric, pieces):
            return [0.0] * len(groups)
        sums = [0.0] * len(groups)
        count = 0
        for tasks in pieces:
            moments = self._moments(tasks)
            count += len(tasks)
            for i, group in enumerate(groups):
                for pairs in (group[part] for part in chunks(len(group), len(tasks) * 3 * k**2)):
                    sums[i] += moments.traces(symmetric, pairs[:, 0].tolist(), pairs[:, 1].tolist())
        return [_LEAST_PENALTY * total / (count * len(group) * k) for total, group in zip(sums, groups, strict=True)]

    def _largest_diagonal(self, symmetric: SymmetricSpan, pieces: list[Tensor]) -> float:
        """An upper bound on the mean diagonal of filter equations of a task, cheaper than the mean itself.

        A diagonal entry ``Σ_o u_oᵀ G u_o`` is at most ``tr G · ‖u‖²``.
        """
        sample = self._sample
        total = 0.0
        for tasks in pieces:
            total += float(sample.x[tasks].square().sum())
            if self._centre is not None:
                shift = (sample.means[0][tasks] - self._centre).square().sum(1)
                total += float((shift * sample.counts[tasks]).sum())
        return total / sum(map(len, pieces)) * float(symmetric.span.square().sum((0, 1)).mean())

    def _fitted(
        self,
        a: list[int],
        b: list[int],
        others: Others,
        equations: Equations,
        symmetric: SymmetricSpan,
        usual: Tensor,
        least_penalty: float,
    ) -> tuple[Tensor | None, Tensor]:
        """Symmetric weights ``(pairs, tasks, m, n)``, offsets ``(pairs, tasks, m)``, from all parts but ``a``, ``b``.

        Weights are None without a span, and the offset is then the mean of these parts' outputs. With two parts there
        are no others: weights are None, and the offset is ``usual (m,)``. The ridge penalty of the fit is that of
        ``symmetric`` or ``least_penalty``, whichever is larger. ``others`` are the sums of these parts' examples.
        """
        m, n, k = symmetric.span.shape
        shape = (len(a), len(others.size[0]))
        if self._parts == 2:
            return None, usual.expand(*shape, m)
        if not k:
            return None, others.sum_y / others.size
        normal, right = filter_equations(a, b, others, equations, symmetric)
        v = symmetric.v0 + ridge(normal, right, max(symmetric.penalty, least_penalty, 1e-300))
        S = (v @ symmetric.span.flatten(0, 1).mT).view(*shape, m, n)
        return S, (others.sum_y - (S @ others.sum_x.unsqueeze(3)).squeeze(3)) / others.size

    def _broken(self, part: list[int], moments: Moments, S: Tensor | None, offset: Tensor, orbits: Indices) -> Tensor:
        """``N D⁻¹ (A − P A) Σ^½``, ``(pairs, tasks, m n)``, of the estimate ``A`` of ``W − S`` by one part of a pair.

        Over ``N``, the number of examples of the part, it is what breaks the group in that estimate.

        Args:
            part: for each pair, the part that gives the estimate.
            S, offset: what :meth:`_fitted` gives for the pairs; the offset is used with a common centre only.
        """
        weights = of_parts(moments.outputs, part)
        if S is not None:
            explained = S @ of_parts(moments.inputs, part)
            weights = torch.sub(weights, explained, out=explained)
        if self._common:
            weights = weights - offset.unsqueeze(3) * of_parts(moments.mean, part).unsqueeze(2)
        return breaking_part(self._sample, weights, orbits, self._average)
