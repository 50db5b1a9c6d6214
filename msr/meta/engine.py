"""The meta-learning engine: adapt many tasks at once, and differentiate what they become.

All methods are functions of tensors. A learner keeps no parameters; it holds the problem, the inner solver, and the
choice of how tasks are batched.
"""

import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ConfigError, ModelError, NonFiniteError, listed
from msr.estimate import Estimate
from msr.meta.inner import InnerSolver
from msr.meta.problem import MetaParameters, Params, Problem
from msr.meta.record import record

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
        trace: record the operations of a meta-gradient once for each set of shapes, and replay the record. Under
            vmap, small layers spend most of their time in Python and in torch's dispatch, so this halves it; a loop
            is never recorded. A problem that looks at values (``if x.sum() > 0``) cannot be recorded and says so;
            plain numbers that it reads are those of the first call for ever.
    """

    def __init__(
        self,
        problem: Problem,
        solver: InnerSolver,
        *,
        batching: Batching = "auto",
        chunk_size: int | None = None,
        trace: bool = False,
    ):
        if batching not in ("auto", "vmap", "loop"):
            raise ConfigError(f"batching must be auto, vmap or loop; came {batching!r}")
        if chunk_size is not None and chunk_size < 1:
            raise ConfigError(f"chunk_size must be at least 1; came {chunk_size}")
        self.problem, self.solver, self.chunk_size = problem, solver, chunk_size
        self.batching: Batching = batching
        self.trace = trace
        self._records: dict[Hashable, tuple[Callable, Problem, InnerSolver]] = {}

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
        leaves = [p.detach() for p in params.leaves()]
        losses, total = [], [torch.zeros_like(p) for p in leaves]
        for chunk in self._chunks(episodes):
            part, slopes = self._chunk_gradient(params, leaves, list(chunk), episodes.n_tasks)
            losses.append(part)
            torch._foreach_add_(total, slopes)
        return MetaGradient(torch.cat(losses), params.with_leaves(total))

    def _chunk_gradient(
        self, like: MetaParameters, leaves: list[Tensor], chunk: list[Tensor], n_tasks: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Losses of a chunk and the gradient of their sum over ``n_tasks``; its graph is gone when it returns."""

        def mean_loss(leaves: list[Tensor], chunk: list[Tensor]) -> tuple[Tensor, Tensor]:
            losses = self.losses(like.with_leaves(leaves), Episodes(*chunk), training=True)
            return losses.sum() / n_tasks, losses

        if not self.trace or self.batching != "vmap":
            with torch.enable_grad():
                leaves = [leaf.requires_grad_() for leaf in leaves]
                mean, losses = mean_loss(leaves, chunk)
                # A problem may leave a parameter unused (a rate when there are no steps): its gradient is zero.
                return losses.detach(), list(torch.autograd.grad(mean, leaves, materialize_grads=True))
        # A record holds for one layout: views that change nothing there were dropped.
        layouts = ((tuple(t.shape), t.stride(), t.dtype, t.device) for t in (*leaves, *chunk))
        key = (id(self.problem), id(self.solver), n_tasks, *layouts)
        with torch.no_grad():
            if key not in self._records:
                graph = record(torch.func.grad_and_value(mean_loss, has_aux=True), leaves, chunk)
                self._records[key] = (graph, self.problem, self.solver)  # held, so that no other takes their ids
            slopes, (_, losses) = self._records[key][0](leaves, chunk)
        return losses, slopes

    def choose_batching(self, params: MetaParameters, episodes: Episodes) -> Literal["vmap", "loop"]:
        """Time one meta-gradient each way and keep the faster; returns the choice, which ``self.batching`` keeps."""
        seconds: dict[Literal["vmap", "loop"], float] = {}
        ways: tuple[Literal["vmap", "loop"], ...] = ("vmap", "loop")
        for way in ways:
            self.batching = way
            try:
                float(self.meta_gradient(params, episodes).losses.sum())  # warm up, and wait for the device
                start = time.perf_counter()
                gradient = self.meta_gradient(params, episodes)
                float(gradient.losses.sum())  # waits for the device
                seconds[way] = time.perf_counter() - start
            except (RuntimeError, ModelError) as error:
                if way == "loop":
                    raise
                first_line = str(error).strip().splitlines()[0]
                warnings.warn(f"vmap cannot run this problem, tasks run in a loop: {first_line}", stacklevel=2)
        self.batching = choice = min(seconds, key=lambda way: seconds[way])
        return choice

    def _map(self, one: Callable, chunk: tuple[Tensor, ...]) -> Any:
        if self.batching != "loop":
            try:
                return torch.func.vmap(one)(*chunk)
            except RuntimeError:
                if self.batching == "vmap":
                    raise  # "auto", not measured yet: what vmap cannot run, a loop may
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
