"""Encoders that learn a context by gradient steps, and how much of it they have learned."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor, nn

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.contexture.contexts.base import Context
from msr.contexture.contexts.samplers import SamplerContext
from msr.contexture.contexts.tables import TableContext
from msr.contexture.measures import Captured, captured
from msr.contexture.objectives import (
    KISE,
    SVME,
    Moments,
    NonContrastive,
    Objective,
    SpectralContrastive,
    VICSurrogate,
    batch_moments,
    exact_moments,
    exact_pair_moments,
    kernel_batch_moments,
    pair_batch_moments,
)
from msr.contexture.spectra import Spectrum
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError

__all__ = ["Learned", "Network", "Schedule", "learn", "perceptron"]

Network = Callable[[int, int, torch.Generator], nn.Module]
"""Makes a network of so many inputs (the numbers of a point) and outputs, from a generator."""


@dataclass(frozen=True)
class Schedule:
    """How long an encoder is trained, by Adam with a rate that falls to 0 along a cosine.

    Attributes:
        steps: gradient steps at most.
        rate: of Adam at the beginning.
        batch: points of a step; where there are no more than that, each step takes all of them, exactly.
        draws: contexts of each point of a batch, at least 2: with one the estimates are known to be too noisy.
        every: steps between two looks at what is captured.
        enough: the share of what can be captured at which the training ends.
    """

    steps: int = 2000
    rate: float = 3e-3
    batch: int = 512
    draws: int = 8
    every: int = 100
    enough: float = 0.9999

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 4), ("draws", 2), ("every", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}; got {getattr(self, name)}")
        if not 0 < self.rate < float("inf"):
            raise ConfigError(f"rate must be above 0; got {self.rate}")
        if not 0 < self.enough <= 1:
            raise ConfigError(f"enough must be above 0 and at most 1; got {self.enough}")


@dataclass(frozen=True, eq=False, repr=False)
class Learned(Brief):
    """An encoder that was trained on a context.

    Attributes:
        encoder: the network, in eval mode; of points, or with ``of_contexts`` of contexts.
        of_contexts: the objective trains an encoder ``Ψ`` of contexts (:class:`SpectralContrastive`,
            :class:`NonContrastive`), and that of points is its mean ``Φ(x) = E[Ψ(A) | x]``.
        steps: gradient steps taken.
        losses: the loss of each step; of batches it is noisy.
        curve: ``(step, share)`` of each look at what is captured; empty for a sampler, whose energy is not known.
        captured: what the encoder of points captures at the end; None for a sampler, or an encoder that collapsed to a
            constant.
        share: of the most that so many functions can capture, 0 to 1; None without a spectrum.
    """

    encoder: nn.Module
    of_contexts: bool
    steps: int
    losses: list[float] = field(repr=False)
    curve: list[tuple[int, float]]
    captured: Captured | None
    share: float | None


def perceptron(inputs: int, outputs: int, width: int = 128, depth: int = 2, *, generator: torch.Generator) -> nn.Module:
    """A network of ``depth`` hidden layers with tanh, ``(batch, …) -> (batch, outputs)``, from a generator."""
    sizes = [inputs, *[width] * depth, outputs]
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in itertools.pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, a, b)
        with torch.no_grad():
            layer.weight.normal_(0, a**-0.5, generator=generator)
            layer.bias.zero_()
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@takes_arrays("points")
def learn(
    context: Context | SamplerContext,
    points: Tensor,
    d: int,
    *,
    objective: Objective | VICSurrogate | None = None,
    network: Network | None = None,
    spectrum: Spectrum | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    prepare: Callable[[Tensor], Tensor] | None = None,
    progress: Callable[[int, int, float | None], None] | None = None,
) -> Learned:
    """Train an encoder with ``d`` outputs on a context.

    Where the context has no more points than a batch, each step takes the exact moments of all of them; else points are
    drawn by their weights, and several contexts of each. An objective of two encoders takes a second network of the
    same kind where contexts are points (``context.of_points``, and what a sampler draws), and a free table of numbers
    for others.

    Args:
        context: what to learn.
        points: ``(n, …)``, a point of the context in each row; a sampler is given them as they are.
        d: outputs of the encoder.
        objective: by default :class:`SVME` with weight 1 for a context that has ``P(a|x)``, and :class:`KISE` for one
            known by its kernel.
        network: makes a network; by default :func:`perceptron`.
        spectrum: that of the context, with ``d`` values at least. With it the training ends when enough is captured,
            and the share is known.
        schedule: how long.
        seed: of networks and batches.
        prepare: makes of points, and of what a sampler draws, what the encoder gets, such as standardised ones.
        progress: called after each look with the step, the most steps, and the share or None.

    Raises: ShapeError for points that do not fit the context; ConfigError for an objective that the context cannot
    serve, or a spectrum of fewer values; NonFiniteError where the loss is no number.
    """
    plan = schedule or Schedule()
    generator = torch.Generator().manual_seed(seed)
    make = network or (lambda inputs, outputs, source: perceptron(inputs, outputs, generator=source))
    if not isinstance(context, SamplerContext) and len(points) != context.n:
        raise ShapeError(f"{context.name} has {context.n} points, and {len(points)} were given")
    if d < 1:
        raise ConfigError(f"an encoder has at least one output; got {d}")
    if spectrum is not None and len(spectrum.values) < d:
        raise ConfigError(f"the spectrum has {len(spectrum.values)} values, and {d} are needed")
    goal = objective or (KISE() if isinstance(context, Context) and context.conditional is None else SVME())
    job = _Job(context, points, goal, make, d, plan, generator, prepare or (lambda values: values))
    moments = job.moments()
    adam = torch.optim.Adam(job.parameters(), lr=plan.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, plan.steps)
    losses: list[float] = []
    curve: list[tuple[int, float]] = []
    for step in range(1, plan.steps + 1):
        adam.zero_grad()
        loss = goal.loss(moments())
        loss.backward()
        adam.step()
        falling.step()
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise NonFiniteError(f"the loss is {losses[-1]} at step {step}; take a smaller rate than {plan.rate}")
        if step % plan.every and step != plan.steps:
            continue
        share = job.share(spectrum)
        if share is not None:
            curve.append((step, share))
        if progress is not None:
            progress(step, plan.steps, share)
        if share is not None and share >= plan.enough:
            break
    job.encoder.eval()
    share = job.share(spectrum)
    return Learned(job.encoder, job.of_contexts, len(losses), losses, curve, job.captured(), share)


class _Job:
    """A training: the encoders, and where the moments of a step come from."""

    def __init__(
        self,
        context: Context | SamplerContext,
        points: Tensor,
        goal: Objective | VICSurrogate,
        make: Network,
        d: int,
        plan: Schedule,
        generator: torch.Generator,
        prepare: Callable[[Tensor], Tensor],
    ):
        self.context = context
        self.raw = points
        self.goal = goal
        self.d = d
        self.plan = plan
        self.generator = generator
        self.prepare = prepare
        self.of_contexts = isinstance(goal, (SpectralContrastive, NonContrastive))
        self.inputs = self._prepared(points)
        size = self.inputs[0].numel()
        self.encoder = make(size, d, generator)
        self.second: nn.Module | None = None
        if not self.of_contexts and not isinstance(goal, KISE):
            of_points = isinstance(context, SamplerContext) or getattr(context, "of_points", False)
            self.second = make(size, d, generator) if of_points else self._free(d)

    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [*self.encoder.parameters(), *([] if self.second is None else self.second.parameters())]

    def moments(self) -> Callable[[], Moments]:
        """What gives the moments of the next step. Raises: ConfigError for an objective that cannot be served."""
        if isinstance(self.context, SamplerContext):
            if isinstance(self.goal, KISE):
                raise ConfigError(f"KISE needs a kernel, and {self.context.name} is known by examples only; take SVME")
            return self._of_sampler
        context = self.context
        whole = context.n <= self.plan.batch
        if isinstance(self.goal, KISE):
            return (lambda: exact_moments(context, self.encoder(self.inputs))) if whole else self._of_kernel
        context.needs_conditional(f"{type(self.goal).__name__}, which looks at single contexts,")
        assert isinstance(context, TableContext)
        if self.of_contexts and not context.of_points:
            raise ConfigError(
                f"{type(self.goal).__name__} encodes contexts, and those of {context.name} are not its points; SVME, "
                "KISE and LowRank encode points"
            )
        if not whole:
            return self._of_table
        if self.of_contexts:
            return lambda: exact_pair_moments(context, self.encoder(self.inputs))
        values = self.inputs if context.of_points else torch.arange(len(context.marginal))
        return lambda: exact_moments(context, self.encoder(self.inputs), self._second(values))

    def captured(self) -> Captured | None:
        """What the encoder of points captures now; None for a sampler, or a constant encoder."""
        if isinstance(self.context, SamplerContext):
            return None
        training = self.encoder.training
        self.encoder.eval()
        with torch.no_grad():
            outputs = self.encoder(self.inputs).double()
        self.encoder.train(training)
        if self.of_contexts:
            assert isinstance(self.context, TableContext)
            outputs = self.context.expectation(outputs)
        try:
            return captured(self.context, outputs)
        except DataError:
            return None

    def share(self, spectrum: Spectrum | None) -> float | None:
        """The share of what can be captured; 0 for a constant encoder, None where it is not known."""
        if spectrum is None or isinstance(self.context, SamplerContext):
            return None
        what = self.captured()
        # An encoder of fewer independent functions than outputs is held to what all its outputs could capture.
        return 0.0 if what is None else what.share(spectrum, self.d)

    def _prepared(self, values: Tensor) -> Tensor:
        """What an encoder gets of points."""
        return self.prepare(values).to(torch.get_default_dtype())

    def _free(self, d: int) -> nn.Module | None:
        """A free table of numbers for each value of ``A``; None for a context that is known by its kernel."""
        if not isinstance(self.context, TableContext):
            return None
        m = len(self.context.marginal)
        return nn.Embedding(m, d, _weight=torch.randn(m, d, generator=self.generator))

    def _second(self, values: Tensor) -> Tensor:
        """The second encoder at values of ``A``."""
        assert self.second is not None
        return self.second(values)

    def _each(self, encode: Callable[[Tensor], Tensor], drawn: Tensor) -> Tensor:
        """An encoder at several contexts of each point, ``(batch, draws, …)``: ``(batch, draws, d)``."""
        return encode(drawn.flatten(0, 1)).unflatten(0, drawn.shape[:2])

    def _of_sampler(self) -> Moments:
        """The moments of a batch of points and what a sampler makes of them."""
        assert isinstance(self.context, SamplerContext)
        size = min(self.plan.batch, len(self.raw))
        chosen = torch.randperm(len(self.raw), generator=self.generator)[:size]
        drawn = self.context.draw(self.raw[chosen], self.plan.draws, self.generator)
        inputs = self._prepared(drawn.flatten(0, 1)).unflatten(0, drawn.shape[:2])
        if self.of_contexts:
            return pair_batch_moments(self._each(self.encoder, inputs))
        return batch_moments(self.encoder(self.inputs[chosen]), self._each(self._second, inputs))

    def _of_table(self) -> Moments:
        """The moments of a batch of points and contexts of a table."""
        assert isinstance(self.context, TableContext)
        chosen = torch.multinomial(self.context.weights, self.plan.batch, replacement=True, generator=self.generator)
        drawn = self.context.draw(chosen, self.plan.draws, self.generator)
        values = self.inputs[drawn] if self.context.of_points else drawn
        if self.of_contexts:
            return pair_batch_moments(self._each(self.encoder, values))
        return batch_moments(self.encoder(self.inputs[chosen]), self._each(self._second, values))

    def _of_kernel(self) -> Moments:
        """The moments of a batch of points with the kernel between them."""
        context = self.context
        assert isinstance(context, Context)
        chosen = torch.multinomial(context.weights, self.plan.batch, replacement=True, generator=self.generator)
        scale = 1 / context.weights[chosen].sqrt()
        numbers = chosen.numpy()
        root: Any = context.root
        if root is None:
            products = context.gram[np.ix_(numbers, numbers)]
        else:
            rows = root[numbers]
            products = rows @ rows.T
            products = products.toarray() if issparse(products) else products
        kernel = torch.from_numpy(np.asarray(products)) * scale[:, None] * scale
        return kernel_batch_moments(self.encoder(self.inputs[chosen]), kernel.to(self.inputs))
