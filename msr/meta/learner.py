"""The meta-learning engine: adapt many tasks at once, and differentiate what they become.

All methods are functions of tensors. A learner keeps no parameters; it holds the problem, the inner solver, and the
choice of how tasks are batched.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ConfigError, NonFiniteError, listed
from msr.meta.checks.probe import check_problem
from msr.meta.engines import Engine, load
from msr.meta.exact import Exact, fused_norms
from msr.meta.modes import outside_inference_mode
from msr.meta.problem import MetaParameters, Params, Problem, as_params
from msr.meta.record.recording import NotRecorded, has_channels_innermost, record
from msr.meta.solvers.inner import SGD, InnerSolver
from msr.meta.ways import explaining, faster
from msr.statistics.estimate import Estimate
from msr.trees import Tree, assembled, leaves_of, structure_of

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
        solver: how each task fits its own parameters, :class:`~msr.meta.solvers.inner.SGD`,
            :class:`~msr.meta.solvers.inner.Ridge` or :class:`~msr.meta.solvers.gauss_newton.GaussNewton`.
        batching: ``"vmap"`` runs tasks side by side, ``"loop"`` one after another (often faster for convolutions
            with their own weights for each task on a CPU), ``"auto"`` times both once, on the first batch, and keeps
            the faster; the loop, with a warning, where their gradients differ by more than rounding. They agree up to
            rounding, so fix the choice where a run must repeat bit by bit.
        chunk_size: at most this many tasks are in memory at a time under vmap; gradients add up over chunks.
        trace: record the operations of a meta-gradient once for each set of shapes, rewrite them into fewer and cheaper
            ones, and replay those. Under vmap, small layers spend most of their time in Python and in torch's dispatch,
            and become several times as fast (``benchmarks.outer_steps``). Recording takes about a second. A problem
            that looks at values (``if x.sum() > 0``) cannot be recorded and says so; plain numbers that it reads are
            those of the first call for ever. On a CPU, glibc keeps more of the memory that the process frees from then
            on, which large replays are up to half again as fast with. torch.compile is not used: on the translation
            problem it took 17% off a recorded step (0.87 to 0.72 ms) and 7 s to compile, so 45,000 steps to pay.
            ``"auto"`` records where that can be done; elsewhere (such a problem, or a torch that cannot) it says so
            once, in a warning, and goes on unrecorded.
        channels_last: in a loop, hand images ``(examples, channels, height, width)`` over with the channels innermost
            in memory, which pooling and batch norm on a CPU are several times faster with. A model that calls
            ``.view`` on them may then have to call ``.reshape``.
        workers: with ``trace``, replay the records of this many chunks (in a loop: tasks) side by side, each in a
            thread that has its share of torch's threads; as many are in memory. Pays where a chunk's operations are
            long, but too small for torch to divide, as in convolutional networks with few images a task.
        engine: the library that takes the inner steps. ``"torch"``, this package's own, runs every solver.
            ``"higher"`` and ``"learn2learn"`` run ``SGD``, with the same numbers up to rounding, but only one task
            after another and never recorded: there ``"auto"`` means ``"loop"``.

    Raises: ConfigError for a setting that cannot work; MissingExtraError for an engine that is not installed or broken.
    """

    def __init__(
        self,
        problem: Problem,
        solver: InnerSolver,
        *,
        batching: Batching = "auto",
        chunk_size: int | None = None,
        trace: bool | Literal["auto"] = False,
        channels_last: bool = False,
        workers: int = 1,
        engine: Engine = "torch",
    ):
        if batching not in ("auto", "vmap", "loop"):
            raise ConfigError(f"batching must be auto, vmap or loop; got {batching!r}")
        if chunk_size is not None and chunk_size < 1:
            raise ConfigError(f"chunk_size must be at least 1; got {chunk_size}")
        if workers < 1:
            raise ConfigError(f"workers must be at least 1; got {workers}")
        if trace not in (True, False, "auto"):
            raise ConfigError(f"trace must be True, False or 'auto'; got {trace!r}")
        if workers > 1 and not trace:
            raise ConfigError(f"workers replay records, so workers={workers} needs trace=True")
        self.problem, self.solver, self.chunk_size = problem, load(engine, solver), chunk_size
        if engine != "torch":
            if batching == "vmap" or trace is True:
                came = "batching='vmap'" if batching == "vmap" else "trace=True"
                raise ConfigError(f"engine {engine!r} can only run tasks in a loop, unrecorded; got {came}")
            batching, trace = "loop", False
        self.engine: Engine = engine
        self._takes_gradient_steps = isinstance(solver, SGD)
        self.batching: Batching = batching
        self.trace, self.channels_last, self.workers = trace, channels_last, workers
        self._records: dict[Hashable, tuple[Callable, Problem, InnerSolver]] = {}
        self._seen: set[Hashable] = set()

    def init(self, shared: Params, initial: Params) -> MetaParameters:
        """All that the outer loop learns: the given parameters and what the solver adds."""
        if not initial:
            raise ConfigError("no parameter is left for a task to adapt")
        shared, initial = as_params(shared), as_params(initial)
        return MetaParameters(shared, initial, self.solver.init(initial))

    def check(self, params: MetaParameters, episodes: Episodes, *, judged: bool = True) -> Episodes:
        """The episodes, checked, with tensors for arrays; the first of each kind of shapes also tries the problem out.

        Every method calls this; see :func:`msr.meta.checks.probe.check_problem` for what is tried, on one task, in a
        few predictions. ``judged`` says whether the problem's own criterion is to compare predictions with ``y``.

        Raises: ShapeError and DataError for episodes that cannot be used; ModelError for a problem whose prediction is
        not a function of its parameters and inputs, or does not see all its parameters.
        """
        if not isinstance(episodes, Episodes):
            raise ConfigError(
                f"a batch of tasks is one msr.Episodes; got a {type(episodes).__name__}. Tasks of one shape go into "
                "one batch (torch.cat each part); those of another shape are a batch and a step of their own"
            )
        episodes = episodes.check()
        tensors, structure = _flat(episodes)
        kind = (judged, repr(structure), *((t.shape[2:], t.dtype, t.device) for t in tensors))
        if kind not in self._seen and not _is_transformed():
            x, y, query_x, query_y = _whole([self._laid_out(t[:1])[0] for t in tensors], structure)
            check_problem(self.problem, params, x, y if judged else None)
            if judged and isinstance(query_y, Tensor) and isinstance(y, Tensor) and query_y.ndim != y.ndim:
                check_problem(self.problem, params, query_x, query_y)
            self._seen.add(kind)
        return episodes

    @outside_inference_mode
    def adapt(self, params: MetaParameters, x: Tree, y: Tree, *, training: bool = False) -> Params:
        """Each task's own parameters, ``(tasks, ...)`` by name, fitted on ``x, y (tasks, examples, ...)``."""
        episodes = self.check(params, Episodes(x, y, x, y))
        tensors, structure = _flat((episodes.support_x, episodes.support_y))

        def one(*tensors: Tensor) -> Params:
            x, y = _whole(tensors, structure)
            return self.solver.adapt(self.problem, params, x, y, training=training)

        def again(other: "Learner") -> Params:
            return other.adapt(params, *episodes.select(slice(0, 2))[:2], training=training)

        with torch.no_grad(), explaining(self, again):
            parts = [self._map(one, chunk) for chunk in self._chunks(tensors)]
        return {name: torch.cat([part[name] for part in parts]) for name in params.initial}

    @outside_inference_mode
    def losses(
        self,
        params: MetaParameters,
        episodes: Episodes,
        *,
        training: bool = False,
        metric: Callable[[Any, Tree], Tensor] | None = None,
    ) -> Tensor:
        """Query loss of each task after adapting, ``(tasks,)``, differentiable in ``params``.

        ``metric`` replaces the problem's criterion, for example to count right answers.
        Raises: ModelError where tasks cannot run in the way that was asked for; it names one that works.
        """

        def again(other: "Learner") -> Tensor:
            return other.losses(params, episodes.select(slice(0, 2)), training=training, metric=metric)

        episodes = self.check(params, episodes, judged=metric is None)
        tensors, structure = _flat(episodes)
        chunks = self._chunks(tensors)
        with explaining(self, again):
            return torch.cat([self._chunk_losses(params, chunk, structure, training, metric) for chunk in chunks])

    def _chunk_losses(
        self,
        params: MetaParameters,
        chunk: Sequence[Tensor],
        structure: Tree,
        training: bool,
        metric: Callable[[Any, Tree], Tensor] | None = None,
    ) -> Tensor:
        criterion = self.problem.criterion if metric is None else Exact.of(metric)

        def one(*tensors: Tensor) -> Tensor:
            support_x, support_y, query_x, query_y = _whole(tensors, structure)
            adapted = self.solver.adapt(self.problem, params, support_x, support_y, training=training)
            return criterion(self.problem.predict({**params.shared, **adapted}, query_x), query_y)

        return self._map(one, chunk)

    @outside_inference_mode
    def meta_gradient(self, params: MetaParameters, episodes: Episodes) -> MetaGradient:
        """Query losses and ``∂ mean(losses) / ∂ params``, through the inner solver.

        The gradient is taken chunk by chunk, so no more than one chunk's graph is ever in memory.
        Raises: ModelError where tasks cannot run in the way that was asked for, or torch lacks a second derivative; it
        names the operation and what works.
        """
        episodes = self.check(params, episodes)
        if self.batching == "auto":
            self.choose_batching(params, episodes)
        with explaining(self, lambda other: other.meta_gradient(params, episodes.select(slice(0, 2)))):
            return self._meta_gradient(params, episodes)

    def _meta_gradient(self, params: MetaParameters, episodes: Episodes) -> MetaGradient:
        leaves = [p.detach() for p in params.leaves()]
        losses: list[Tensor] = []
        total: list[Tensor] = []
        for part, slopes in self._chunk_gradients(params, leaves, episodes):
            losses.append(part)
            if total:
                torch._foreach_add_(total, slopes)
            else:
                total = [_laid_out_as(leaf, slope) for leaf, slope in zip(leaves, slopes, strict=True)]
        return MetaGradient(losses[0] if len(losses) == 1 else torch.cat(losses), params.with_leaves(total))

    def _chunk_gradient(
        self, like: MetaParameters, leaves: list[Tensor], chunk: list[Tensor], n_tasks: int, structure: Tree
    ) -> tuple[Tensor, list[Tensor]]:
        """Losses of a chunk and the gradient of their sum over ``n_tasks``; its graph is gone when it returns."""

        def mean_loss(leaves: list[Tensor], chunk: list[Tensor]) -> tuple[Tensor, Tensor]:
            # Steps along gradients, differentiated once: the derivatives that fused norms have right.
            with fused_norms(self._fuses):
                losses = self._chunk_losses(like.with_leaves(leaves), chunk, structure, training=True)
            return losses.sum() / n_tasks, losses

        recorded = self._recorded(mean_loss, leaves, chunk, n_tasks, structure) if self.trace else None
        if recorded is None:
            with torch.enable_grad():
                leaves = [leaf.requires_grad_() for leaf in leaves]
                mean, losses = mean_loss(leaves, chunk)
                # A problem may leave a parameter unused (a rate when there are no steps): its gradient is zero.
                slopes = torch.autograd.grad(mean, leaves, materialize_grads=True)
            # Two leaves may get the very same tensor, and a caller writes into what it is given.
            return losses.detach(), [torch.empty_like(leaf).copy_(s) for leaf, s in zip(leaves, slopes, strict=True)]

        with torch.no_grad():
            losses, *slopes = recorded(*leaves, *chunk)
        return losses, slopes

    def _chunk_gradients(
        self, like: MetaParameters, leaves: list[Tensor], episodes: Episodes
    ) -> Iterator[tuple[Tensor, list[Tensor]]]:
        tensors, structure = _flat(episodes)
        run = partial(self._chunk_gradient, like, leaves, n_tasks=episodes.n_tasks, structure=structure)
        chunks = map(list, self._chunks(tensors))
        if self.workers == 1 or not self.trace:
            yield from map(run, chunks)
            return
        # Recording stays in this thread: the first chunk of a new shape is replayed while it is made.
        waiting, threads = list(chunks), torch.get_num_threads()

        def replay(chunk: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            torch.set_num_threads(max(1, threads // self.workers))  # of this thread
            return run(chunk)

        for chunk in waiting:
            if self._key(leaves, chunk, episodes.n_tasks, structure) not in self._records:
                run(chunk)
        if not self.trace:  # "auto" has just found that there is nothing to replay
            yield from map(run, waiting)
            return
        try:
            with ThreadPoolExecutor(self.workers) as pool:
                yield from pool.map(replay, waiting)  # in the order of the tasks, so that sums repeat bit by bit
        finally:
            torch.set_num_threads(threads)

    def _key(self, leaves: list[Tensor], chunk: list[Tensor], n_tasks: int, structure: Tree) -> Hashable:
        # A record holds for one layout: views that change nothing there were dropped.
        layouts = ((t.shape, t.stride(), t.dtype, t.device) for t in (*leaves, *chunk))
        kind = leaves[0].device.type
        cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return (id(self.problem), id(self.solver), n_tasks, cast, torch.get_default_dtype(), repr(structure), *layouts)

    def _recorded(
        self, mean_loss: Callable, leaves: list[Tensor], chunk: list[Tensor], n_tasks: int, structure: Tree
    ) -> Callable | None:
        """The record for these shapes; None where ``"auto"`` finds that there cannot be one."""
        key = self._key(leaves, chunk, n_tasks, structure)
        if key not in self._records:

            def flat(*tensors: Tensor) -> list[Tensor]:
                gradient = torch.func.grad_and_value(mean_loss, has_aux=True)
                slopes, (_, losses) = gradient(list(tensors[: len(leaves)]), list(tensors[len(leaves) :]))
                return [losses, *slopes]

            with torch.no_grad():
                # Held with what it was made from, so that no other takes their ids.
                try:
                    self._records[key] = (record(flat, *leaves, *chunk), self.problem, self.solver)
                except NotRecorded as error:
                    if self.trace != "auto":
                        raise
                    self.trace = False
                    warnings.warn(f"steps run unrecorded, and slower: {error}", stacklevel=2)
                    return None
        return self._records[key][0]

    def choose_batching(self, params: MetaParameters, episodes: Episodes) -> Literal["vmap", "loop"]:
        """Time one meta-gradient each way and keep the faster; returns the choice, which ``self.batching`` keeps.

        Where vmap cannot run the problem, or the two gradients differ by more than rounding, it is the loop, with a
        warning that says why.
        """
        if self.engine != "torch":
            return "loop"
        try:
            choice = faster(self, self._meta_gradient, params, episodes)
        except BaseException:
            self.batching = "auto"
            raise
        self.batching = choice
        return choice

    def _map(self, one: Callable, chunk: Sequence[Tensor]) -> Any:
        if self.batching != "loop":
            try:
                return torch.func.vmap(one)(*chunk)
            except RuntimeError:
                if self.batching == "vmap":
                    raise  # "auto", not measured yet: what vmap cannot run, a loop may
        # Without a tape the gradients of the inner steps are all that is taken, so what training runs may run here.
        with fused_norms(self._fuses and not torch.is_grad_enabled()):
            results = [one(*task) for task in zip(*chunk, strict=True)]
        if isinstance(results[0], Tensor):
            return torch.stack(results)
        return {name: torch.stack([r[name] for r in results]) for name in results[0]}

    @property
    def _fuses(self) -> bool:
        return self.batching == "loop" and self._takes_gradient_steps

    def _chunks(self, tensors: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
        n = tensors[0].shape[0]
        size = 1 if self.batching == "loop" else (self.chunk_size or n)
        if size >= n > 1:
            yield tensors  # slices of the whole would be the same, and cost time on small problems
            return
        for start in range(0, n, size):
            yield tuple(self._laid_out(tensor[start : start + size]) for tensor in tensors)

    def _laid_out(self, chunk: Tensor) -> Tensor:
        if not self.channels_last or self.batching != "loop" or chunk.ndim != 5 or has_channels_innermost(chunk):
            return chunk
        return chunk[0].to(memory_format=torch.channels_last).unsqueeze(0)  # a loop's chunk holds one task


def _flat(parts: Sequence[Tree]) -> tuple[Sequence[Tensor], Tree]:
    """All tensors of some trees, and what puts them together again: None where each tree is a tensor itself."""
    structure = structure_of(parts)
    return (parts, None) if structure is None else (leaves_of(tuple(parts)), structure)


def _whole(tensors: Sequence[Tensor], structure: Tree) -> Sequence[Tree]:
    return tensors if structure is None else assembled(structure, tensors)


def _is_transformed() -> bool:
    """Whether values cannot be looked at here: a transform or a compiler is running."""
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.compiler.is_compiling()


def _laid_out_as(leaf: Tensor, slope: Tensor) -> Tensor:
    """torch's fused optimisers misread a gradient in another layout than its parameter's, silently (torch 2.13)."""
    return slope if slope.stride() == leaf.stride() else torch.empty_like(leaf).copy_(slope)


@torch.no_grad()
def evaluate(
    learner: Learner,
    params: MetaParameters,
    batches: Iterable[Episodes],
    *,
    metric: Callable[[Any, Tree], Tensor] | None = None,
) -> Estimate:
    """Mean query loss (or ``metric``) of held-out tasks after adapting, with a 95% interval over tasks.

    Raises: NonFiniteError naming the tasks whose value is nan or infinite, by their place in the stream.
    """
    if isinstance(batches, Episodes):
        raise ConfigError("evaluate takes several batches of episodes; give it a list, of one batch if it is all")
    values = torch.cat([learner.losses(params, batch, metric=metric) for batch in batches])
    bad = (~values.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise NonFiniteError(f"evaluation: the query loss is not finite for tasks {listed(bad)} of {len(values)}")
    return Estimate.of(values)
