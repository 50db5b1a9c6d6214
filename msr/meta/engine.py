"""The meta-learning engine: adapt many tasks at once, and differentiate what they become.

All methods are functions of tensors. A learner keeps no parameters; it holds the problem, the inner solver, and the
choice of how tasks are batched.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ConfigError, NonFiniteError, listed
from msr.estimate import Estimate
from msr.meta.inner import InnerSolver
from msr.meta.problem import MetaParameters, Params, Problem

__all__ = ["Batching", "Learner", "MetaGradient", "evaluate"]

Batching = Literal["auto", "vmap", "loop"]


class MetaGradient(NamedTuple):
    """Query losses of the tasks ``(tasks,)``, and the gradient of their mean."""

    losses: Tensor
    gradient: MetaParameters


class Learner:
    """A problem, an inner solver, and a way to batch tasks.

    Args:
        problem: what each task asks.
        solver: how each task fits its own parameters, :class:`~msr.meta.inner.SGD` or
            :class:`~msr.meta.inner.Ridge`.
        batching: ``"vmap"`` runs tasks side by side, ``"loop"`` one after another (often faster for convolutions
            with their own weights for each task on a CPU), ``"auto"`` times both once, on the first batch, and keeps
            the faster. They agree up to rounding, so fix the choice where a run must repeat bit by bit.
        chunk_size: at most this many tasks are in memory at a time under vmap; gradients add up over chunks.
    """

    def __init__(
        self,
        problem: Problem,
        solver: InnerSolver,
        *,
        batching: Batching = "auto",
        chunk_size: int | None = None,
    ):
        if batching not in ("auto", "vmap", "loop"):
            raise ConfigError(f"batching must be auto, vmap or loop; came {batching!r}")
        if chunk_size is not None and chunk_size < 1:
            raise ConfigError(f"chunk_size must be at least 1; came {chunk_size}")
        self.problem, self.solver, self.chunk_size = problem, solver, chunk_size
        self.batching: Batching = batching

    def init(self, shared: Params, initial: Params) -> MetaParameters:
        """All that the outer loop learns: the given parameters and what the solver adds."""
        if not initial:
            raise ConfigError("no parameter is left for a task to adapt")
        return MetaParameters(dict(shared), dict(initial), self.solver.init(initial))

    def adapt(self, params: MetaParameters, x: Tensor, y: Tensor, *, training: bool = False) -> Params:
        """Each task's own parameters, ``(tasks, ...)`` by name, fitted on ``x, y (tasks, examples, ...)``."""

        def one(x: Tensor, y: Tensor) -> Params:
            return self.solver.adapt(self.problem, params, x, y, training=training)

        with torch.no_grad():
            parts = [self._map(one, chunk) for chunk in self._chunks((x, y))]
        return {name: torch.cat([part[name] for part in parts]) for name in params.initial}

    def losses(
        self,
        params: MetaParameters,
        episodes: Episodes,
        *,
        training: bool = False,
        metric: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Query loss of each task after adapting, ``(tasks,)``, differentiable in ``params``.

        ``metric`` replaces the problem's criterion, for example to count right answers.
        """
        criterion = metric or self.problem.criterion

        def one(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> Tensor:
            adapted = self.solver.adapt(self.problem, params, support_x, support_y, training=training)
            return criterion(self.problem.predict({**params.shared, **adapted}, query_x), query_y)

        return torch.cat([self._map(one, chunk) for chunk in self._chunks(episodes)])

    def meta_gradient(self, params: MetaParameters, episodes: Episodes) -> MetaGradient:
        """Query losses and ``∂ mean(losses) / ∂ params``, through the inner solver.

        The gradient is taken chunk by chunk, so no more than one chunk's graph is ever in memory.
        """
        episodes.check()
        if self.batching == "auto":
            self.choose_batching(params, episodes)
        leaves = [p.detach().requires_grad_() for p in params.leaves()]
        tracked = params.with_leaves(leaves)
        losses, total = [], [torch.zeros_like(p) for p in leaves]
        for chunk in self._chunks(episodes):
            part, slopes = self._chunk_gradient(tracked, leaves, Episodes(*chunk), episodes.n_tasks)
            losses.append(part)
            torch._foreach_add_(total, slopes)
        return MetaGradient(torch.cat(losses), params.with_leaves(total))

    def _chunk_gradient(
        self, tracked: MetaParameters, leaves: list[Tensor], chunk: Episodes, n_tasks: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A function of its own, so that a chunk's graph is gone when it returns."""
        losses = self.losses(tracked, chunk, training=True)
        # A problem may leave a parameter unused (a rate when there are no steps): its gradient is zero.
        slopes = torch.autograd.grad(losses.sum() / n_tasks, leaves, materialize_grads=True)
        return losses.detach(), slopes

    def choose_batching(self, params: MetaParameters, episodes: Episodes) -> Literal["vmap", "loop"]:
        """Time one meta-gradient each way and keep the faster; returns the choice, which ``self.batching`` keeps."""
        seconds: dict[Literal["vmap", "loop"], float] = {}
        ways: tuple[Literal["vmap", "loop"], ...] = ("vmap", "loop")
        for way in ways:
            self.batching = way
            try:
                self.meta_gradient(params, episodes)  # warm up
                start = time.perf_counter()
                gradient = self.meta_gradient(params, episodes)
                float(gradient.losses.sum())  # waits for the device
                seconds[way] = time.perf_counter() - start
            except RuntimeError as error:
                if way == "loop":
                    raise
                first_line = str(error).strip().splitlines()[0]
                warnings.warn(f"vmap cannot run this problem, tasks run in a loop: {first_line}", stacklevel=2)
        self.batching = choice = min(seconds, key=lambda way: seconds[way])
        return choice

    def _map(self, one: Callable, chunk: tuple[Tensor, ...]):
        if self.batching != "loop":
            return torch.func.vmap(one)(*chunk)
        results = [one(*task) for task in zip(*chunk, strict=True)]
        if isinstance(results[0], Tensor):
            return torch.stack(results)
        return {name: torch.stack([r[name] for r in results]) for name in results[0]}

    def _chunks(self, tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        n = tensors[0].shape[0]
        size = 1 if self.batching == "loop" else (self.chunk_size or n)
        for start in range(0, n, size):
            yield tuple(tensor[start : start + size] for tensor in tensors)


@torch.no_grad()
def evaluate(
    learner: Learner,
    params: MetaParameters,
    batches: Iterable[Episodes],
    *,
    metric: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Estimate:
    """Mean query loss (or ``metric``) of held-out tasks after adapting, with a 95% interval over tasks.

    Raises: NonFiniteError naming the tasks whose value is nan or infinite, by their place in the stream.
    """
    values = torch.cat([learner.losses(params, batch.check(), metric=metric) for batch in batches])
    bad = (~values.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise NonFiniteError(f"evaluation: the query loss is not finite for tasks {listed(bad)} of {len(values)}")
    return Estimate.of(values)

