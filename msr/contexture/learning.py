"""Encoders that learn a context by gradient steps, and how much of it they have learned."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor, nn

from msr.brief import Brief
from msr.contexture.contexts.base import Context
from msr.contexture.contexts.pools import PoolContext
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
from msr.errors import ConfigError, NonFiniteError, ShapeError

__all__ = ["Learned", "Schedule", "learn", "perceptron"]


@dataclass(frozen=True)
class Schedule:
    """How long an encoder is trained, by Adam with a rate that falls to 0 along a cosine.

    Attributes:
        steps: gradient steps at most.
        rate: of Adam at the beginning.
        batch: points of a step; where there are no more than that, each step takes all of them, exactly.
        draws: contexts of each point of a batch. One is known to fail: the estimates are too noisy.
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
        for name, least in (("steps", 1), ("batch", 4), ("draws", 1), ("every", 1)):
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
        encoder: the network of points, in eval mode. Its outputs are what the objective made of them.
        steps: gradient steps taken.
        losses: the loss of each step; of batches it is noisy.
        curve: ``(step, share)`` of each look at what is captured; empty for a sampler, whose energy is not known.
        captured: what its span captures at the end; None for a sampler.
        share: of the most that so many functions can capture, 0 to 1; None for a sampler.
    """

    encoder: nn.Module
    steps: int
    losses: list[float] = field(repr=False)
    curve: list[tuple[int, float]]
    captured: Captured | None
    share: float | None


def perceptron(inputs: int, outputs: int, width: int = 128, depth: int = 2, *, generator: torch.Generator) -> nn.Module:
    """A network of ``depth`` hidden layers with tanh, ``(batch, inputs) -> (batch, outputs)``, from a generator."""
    sizes = [inputs, *[width] * depth, outputs]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, a, b)
        with torch.no_grad():
            layer.weight.normal_(0, a**-0.5, generator=generator)
            layer.bias.zero_()
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def learn(
    context: Context | SamplerContext,
    points: Tensor,
    d: int,
    *,
    objective: Objective | VICSurrogate | None = None,
    network: Callable[[int, int, torch.Generator], nn.Module] | None = None,
    spectrum: Spectrum | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    progress: Callable[[int, int, float | None], None] | None = None,
) -> Learned:
    """Train an encoder with ``d`` outputs on a context.

    Where the context has no more points than a batch, each step takes the exact moments of all of them; else points are
    drawn by their weights, and several contexts of each. An objective of two encoders takes a second network of the
    same kind for contexts that are points (of a pool, or moved by a group), and a free table of numbers for others.

    Args:
        context: what to learn.
        points: ``(n, …)``, what the encoder gets for each point of the context; for a sampler, the points it moves.
        d: outputs of the encoder.
        objective: by default :class:`SVME` with weight 1 for a context that has ``P(a|x)``, and :class:`KISE` for one
            known by its kernel.
        network: makes a network of so many inputs and outputs from a generator; by default :func:`perceptron`.
        spectrum: that of the context, with ``d`` values at least. With it the training ends when enough is captured,
            and the share is known.
        schedule: how long.
        seed: of networks and batches.
        progress: called after each look with the step, the most steps, and the share or None.

    Raises: ShapeError for points that do not fit the context; ConfigError for an objective that the context cannot
    serve; NonFiniteError where the loss is no number.
    """
    plan = schedule or Schedule()
    generator = torch.Generator().manual_seed(seed)
    make = network or (lambda inputs, outputs, source: perceptron(inputs, outputs, generator=source))
    if not isinstance(context, SamplerContext) and len(points) != context.n:
        raise ShapeError(f"{context.name} has {context.n} points, and {len(points)} were given")
    if d < 1:
        raise ConfigError(f"an encoder has at least one output; got {d}")
    goal = objective or (KISE() if _is_kernel(context) else SVME())
    flat = points.flatten(1).to(torch.get_default_dtype())
    encoder = make(flat.shape[1], d, generator)
    source = _source(context, flat, goal, encoder, make, d, plan, generator)
    parameters = [*encoder.parameters(), *source.parameters()]
    adam = torch.optim.Adam(parameters, lr=plan.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, plan.steps)
    losses: list[float] = []
    curve: list[tuple[int, float]] = []
    for step in range(1, plan.steps + 1):
        adam.zero_grad()
        loss = goal.loss(source.moments())
        loss.backward()
        adam.step()
        falling.step()
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise NonFiniteError(f"the loss is {losses[-1]} at step {step}; take a smaller rate than {plan.rate}")
        if step % plan.every == 0 or step == plan.steps:
            share = None
            if spectrum is not None and not isinstance(context, SamplerContext):
                share = _captured(context, encoder, flat).share(spectrum, d)
                curve.append((step, share))
            if progress is not None:
                progress(step, plan.steps, share)
            if share is not None and share >= plan.enough:
                break
    encoder.eval()
    what = None if isinstance(context, SamplerContext) else _captured(context, encoder, flat)
    return Learned(encoder, len(losses), losses, curve, what, curve[-1][1] if curve else None)


@dataclass(frozen=True)
class _Source:
    """Where the moments of a step come from, and the second encoder, where there is one."""

    moments: Callable[[], Moments]
    second: nn.Module | None = None

    def parameters(self) -> list[nn.Parameter]:
        """What is trained beside the encoder."""
        return [] if self.second is None else list(self.second.parameters())


def _source(
    context: Context | SamplerContext,
    points: Tensor,
    goal: Objective | VICSurrogate,
    encoder: nn.Module,
    make: Callable[[int, int, torch.Generator], nn.Module],
    d: int,
    plan: Schedule,
    generator: torch.Generator,
) -> _Source:
    """The moments that an objective needs, of a context: exact ones, or of batches."""
    of_contexts = isinstance(goal, (SpectralContrastive, NonContrastive))
    if isinstance(context, SamplerContext):
        return _of_sampler(context, points, goal, encoder, make, d, plan, generator)
    whole = context.n <= plan.batch
    if isinstance(goal, KISE):
        if whole:
            return _Source(lambda: exact_moments(context, encoder(points)))
        return _Source(lambda: _kernel_batch(context, points, encoder, plan.batch, generator))
    context.needs_conditional(f"{type(goal).__name__}, which looks at single contexts,")
    assert isinstance(context, TableContext)
    inputs = _context_points(context, points)
    if of_contexts:
        if inputs is None:
            raise ConfigError(
                f"{type(goal).__name__} encodes contexts, and those of {context.name} are no points that an encoder "
                "could take; SVME, KISE and LowRank encode points"
            )
        if whole:
            return _Source(lambda: exact_pair_moments(context, encoder(inputs)))
        return _Source(lambda: pair_batch_moments(encoder(_drawn(context, inputs, plan, generator)[1])))
    m = len(context.marginal)
    second = (
        nn.Embedding(m, d, _weight=torch.randn(m, d, generator=generator))
        if inputs is None
        else make(points.shape[1], d, generator)
    )
    every = torch.arange(m) if inputs is None else inputs
    if whole:
        return _Source(lambda: exact_moments(context, encoder(points), second(every)), second)

    def batch() -> Moments:
        chosen, contexts = _drawn(context, every, plan, generator)
        return batch_moments(encoder(points[chosen]), second(contexts))

    return _Source(batch, second)


def _of_sampler(
    context: SamplerContext,
    points: Tensor,
    goal: Objective | VICSurrogate,
    encoder: nn.Module,
    make: Callable[[int, int, torch.Generator], nn.Module],
    d: int,
    plan: Schedule,
    generator: torch.Generator,
) -> _Source:
    """Moments of batches of points and what a sampler makes of them."""
    if isinstance(goal, KISE):
        raise ConfigError(
            f"KISE needs a kernel between points, and {context.name} is known by examples only; take SVME"
        )
    if isinstance(goal, (SpectralContrastive, NonContrastive)):

        def pairs() -> Moments:
            chosen = torch.randint(len(points), (min(plan.batch, len(points)),), generator=generator)
            return pair_batch_moments(encoder(context.draw(points[chosen], max(2, plan.draws), generator)))

        return _Source(pairs)

    second = make(points.shape[1], d, generator)

    def batch() -> Moments:
        chosen = torch.randint(len(points), (min(plan.batch, len(points)),), generator=generator)
        drawn = context.draw(points[chosen], plan.draws, generator)
        return batch_moments(encoder(points[chosen]), second(drawn))

    return _Source(batch, second)


def _is_kernel(context: Context | SamplerContext) -> bool:
    """Whether a context is known by its kernel only."""
    return isinstance(context, Context) and context.conditional is None


def _captured(context: Context, encoder: nn.Module, points: Tensor) -> Captured:
    """What an encoder captures of a context now."""
    with torch.no_grad():
        return captured(context, encoder(points))


def _context_points(context: TableContext, points: Tensor) -> Tensor | None:
    """What a second encoder gets for each value of ``A``: a point, where values are points; else None."""
    if isinstance(context, PoolContext):
        return context.pool.to(points)
    return points if len(context.marginal) == len(points) else None


def _drawn(context: TableContext, inputs: Tensor, plan: Schedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points of a batch ``(batch,)``, and the inputs of several contexts of each, ``(batch, draws, …)``."""
    chosen = torch.multinomial(context.weights, plan.batch, replacement=True, generator=generator)
    return chosen, inputs[context.draw(chosen, max(2, plan.draws), generator)]


def _kernel_batch(
    context: Context, points: Tensor, encoder: nn.Module, size: int, generator: torch.Generator
) -> Moments:
    """The moments of a batch of points with the kernel between them."""
    chosen = torch.multinomial(context.weights, size, replacement=True, generator=generator)
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
    return kernel_batch_moments(encoder(points[chosen]), kernel.to(points))
