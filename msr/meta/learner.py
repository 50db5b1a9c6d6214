"""The learner: adapt many tasks at once, and differentiate the result.

All methods are functions of tensors. A learner keeps no parameters; it holds the problem, the inner solver, and the
choice of how tasks are batched.
"""

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ConfigError
from msr.meta.batching import faster_batching
from msr.meta.checks.first_batch import check_problem
from msr.meta.engines import Engine, load
from msr.meta.exact import Exact, fused_norms
from msr.meta.inference_mode import outside_inference_mode
from msr.meta.problem import MetaGradient, MetaParameters, Params, Problem, as_params
from msr.meta.record.recording import NotRecorded, has_channels_innermost
from msr.meta.records import MeanLoss, Records
from msr.meta.remedies import explaining
from msr.meta.solvers.base import InnerSolver
from msr.meta.way import Batching, Way
from msr.trees import Tree, assembled, leaves_of, structure_of

__all__ = ["Learner"]


class Learner:
    """Adapts many tasks at once, by a problem, an inner solver, and a way to batch tasks.

    Args:
        problem: what each task asks.
        solver: how each task fits its own parameters, :class:`~msr.meta.solvers.gradient_steps.SGD`,
            :class:`~msr.meta.solvers.ridge.Ridge` or :class:`~msr.meta.solvers.gauss_newton.GaussNewton`.
        batching: ``"vmap"`` runs tasks side by side, ``"loop"`` one after another (often faster for convolutions with
            their own weights for each task on a CPU), ``"auto"`` times both once, on the first batch, and keeps the
            faster one; where their gradients differ by more than rounding it keeps the loop, with a warning. They agree
            up to rounding only, so fix the choice where a run must repeat bit by bit.
        chunk_size: at most this many tasks are in memory at a time under vmap, None for all; gradients add up over
            chunks.
        trace: record the operations of a meta-gradient once for each set of shapes, rewrite them into fewer and cheaper
            ones, and replay those. Under vmap, small layers spend most of their time in Python and in torch's dispatch,
            and become several times as fast (``benchmarks.outer_steps``). Recording takes about a second. A problem
            that looks at values (``if x.sum() > 0``) cannot be recorded, which is an error; plain numbers that it reads
            stay those of the first call. On a CPU, glibc keeps more of the memory that the process frees from then on,
            which makes large replays up to 1.5 times as fast. torch.compile is not used: on the translation problem it
            took 17% off a recorded step (0.87 to 0.72 ms) and 7 s to compile, so it would pay after 45,000 steps.
            ``"auto"`` records where that is possible; elsewhere (such a problem, or a version of torch that cannot) it
            gives one warning and goes on unrecorded.
        channels_last: in a loop, hand images ``(examples, channels, height, width)`` over with the channels innermost
            in memory, which makes pooling and batch norm on a CPU several times faster. A model that calls ``.view`` on
            them may then have to call ``.reshape``.
        workers: with ``trace``, replay the records of this many chunks (in a loop: tasks) side by side, each in a
            thread with its share of torch's threads; that many chunks are in memory. It helps where a chunk's
            operations are long, but too small for torch to divide, as in convolutional networks with few images a task.
        engine: the library that takes the inner steps. ``"torch"``, this package's own, runs every solver. ``"higher"``
            and ``"learn2learn"`` run ``SGD``, with the same numbers up to rounding, but only one task after another and
            never recorded: there ``"auto"`` means ``"loop"``.

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
        self.problem = problem
        self.solver = load(engine, solver)
        self.chunk_size = chunk_size
        if engine != "torch":
            if batching == "vmap" or trace is True:
                option = "batching='vmap'" if batching == "vmap" else "trace=True"
                raise ConfigError(f"engine {engine!r} can only run tasks in a loop, unrecorded; got {option}")
            batching = "loop"
            trace = False
        self.engine: Engine = engine
        self.batching: Batching = batching
        self.trace = trace
        self.channels_last = channels_last
        self.workers = workers
        self._in_reverse_mode = bool(getattr(solver, "reverse_mode", False))
        self._records = Records()
        self._tried: set[Hashable] = set()  # the kinds of episodes on which the problem was tried out

    def init(self, shared: Params, initial: Params) -> MetaParameters:
        """All that the outer loop learns: the given parameters, and those that the solver adds (rates, a penalty).

        Shapes: any, the same before and after; what the solver adds is said by its own ``init``.
        Raises: ConfigError when no parameter is left for a task to adapt.
        """
        if not initial:
            raise ConfigError("no parameter is left for a task to adapt")
        shared = as_params(shared)
        initial = as_params(initial)
        return MetaParameters(shared, initial, self.solver.init(initial))

    def check(self, params: MetaParameters, episodes: Episodes, *, judged: bool = True) -> Episodes:
        """The episodes, checked, with tensors for arrays. On the first of each kind of shapes, numbers of tasks and
        examples aside, the problem is tried too.

        Every method calls this. :func:`msr.meta.checks.first_batch.check_problem` says what is tried, on one task, in a
        few predictions. ``judged`` says whether the problem's own criterion is to compare predictions with ``y``.

        Raises: ShapeError and DataError for episodes that cannot be used, ConfigError for what are none; ModelError for
        a problem whose prediction is not a function of its parameters and inputs, or does not see all its parameters.
        """
        if not isinstance(episodes, Episodes):
            raise ConfigError(
                f"a batch of tasks is one msr.Episodes; got a {type(episodes).__name__}. Tasks of one shape go into "
                "one batch (torch.cat each part); those of another shape are a batch and a step of their own"
            )
        episodes = episodes.check()
        tensors, structure = _flat(episodes)
        # The numbers of tasks and of examples are left out: they change nothing that is tried.
        kind = (judged, repr(structure), *((t.shape[2:], t.dtype, t.device) for t in tensors))
        # Under a transform no value can be read, so the trial waits for a plain call.
        if kind not in self._tried and not _is_transformed():
            x, y, query_x, query_y = _whole([self._laid_out(t[:1])[0] for t in tensors], structure)
            check_problem(self.problem, params, x, y if judged else None)
            # A query set of other axes is compared in another way, so it is tried by itself.
            if judged and isinstance(query_y, Tensor) and isinstance(y, Tensor) and query_y.ndim != y.ndim:
                check_problem(self.problem, params, query_x, query_y)
            self._tried.add(kind)
        return episodes

    @outside_inference_mode
    def adapt(self, params: MetaParameters, x: Tree, y: Tree, *, training: bool = False) -> Params:
        """Each task's own parameters, ``(tasks, ...)`` by name, fitted on ``x, y (tasks, examples, ...)``.

        They have no history: gradients with respect to ``params`` come from :meth:`losses`. ``training`` chooses the
        solver's number of steps, that of training or that of evaluation.
        """
        # The support set stands for the query set, which adapting does not need.
        episodes = self.check(params, Episodes(x, y, x, y))
        tensors, structure = _flat((episodes.support_x, episodes.support_y))

        def adapt_one(*tensors: Tensor) -> Params:
            x, y = _whole(tensors, structure)
            return self.solver.adapt(self.problem, params, x, y, training=training)

        def run(way: Way) -> Params:
            return self._in_way(way).adapt(params, *episodes.select(slice(0, 2))[:2], training=training)

        with torch.no_grad(), explaining(self._way, run):
            parts = [self._map(adapt_one, chunk) for chunk in self._chunks(tensors)]
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

        ``training`` chooses the solver's number of steps, that of training or that of evaluation. ``metric``,
        ``(prediction, y) -> scalar`` for one task, replaces the problem's criterion, for example to count right
        answers.
        Raises: ModelError where tasks cannot run in the way that was asked for; it names one that works.
        """

        def run(way: Way) -> Tensor:
            return self._in_way(way).losses(params, episodes.select(slice(0, 2)), training=training, metric=metric)

        episodes = self.check(params, episodes, judged=metric is None)
        tensors, structure = _flat(episodes)
        chunks = self._chunks(tensors)
        with explaining(self._way, run):
            return torch.cat([self._chunk_losses(params, chunk, structure, training, metric) for chunk in chunks])

    def _chunk_losses(
        self,
        params: MetaParameters,
        chunk: Sequence[Tensor],
        structure: Tree,
        training: bool,
        metric: Callable[[Any, Tree], Tensor] | None = None,
    ) -> Tensor:
        """Query loss of each task of a chunk after adapting, ``(tasks,)``: see :meth:`losses`.

        Args: ``chunk``, ``structure``: the chunk's episodes as :func:`_flat` takes them apart.
        """
        criterion = self.problem.criterion if metric is None else Exact.of(metric)

        def loss_of_one(*tensors: Tensor) -> Tensor:
            support_x, support_y, query_x, query_y = _whole(tensors, structure)
            adapted = self.solver.adapt(self.problem, params, support_x, support_y, training=training)
            return criterion(self.problem.predict({**params.shared, **adapted}, query_x), query_y)

        return self._map(loss_of_one, chunk)

    @outside_inference_mode
    def meta_gradient(self, params: MetaParameters, episodes: Episodes) -> MetaGradient:
        """Query losses and ``∂ mean(losses) / ∂ params``, through the inner solver with its steps of training.

        The gradient is taken chunk by chunk, so no more than one chunk's graph is ever in memory. Where batching is
        ``"auto"`` it is chosen first, and kept (:meth:`choose_batching`).
        Raises: ModelError where tasks cannot run in the way that was asked for, or torch lacks a second derivative; it
        names the operation and what works.
        """
        episodes = self.check(params, episodes)
        if self.batching == "auto":
            self.choose_batching(params, episodes)

        def run(way: Way) -> MetaGradient:
            return self._in_way(way).meta_gradient(params, episodes.select(slice(0, 2)))

        with explaining(self._way, run):
            return self._meta_gradient(params, episodes)

    def _meta_gradient(self, params: MetaParameters, episodes: Episodes) -> MetaGradient:
        """:meth:`meta_gradient` in the way that tasks run now: without a check, and with torch's own errors."""
        leaves = [p.detach() for p in params.leaves()]
        losses: list[Tensor] = []
        total: list[Tensor] = []
        for part, slopes in self._chunk_gradients(params, leaves, episodes):
            losses.append(part)
            if total:
                # All tensors in one call: small ones cost a call each otherwise.
                torch._foreach_add_(total, slopes)
            else:
                total = [_laid_out_as(leaf, slope) for leaf, slope in zip(leaves, slopes, strict=True)]
        return MetaGradient(losses[0] if len(losses) == 1 else torch.cat(losses), params.with_leaves(total))

    def _chunk_gradient(
        self, like: MetaParameters, leaves: list[Tensor], chunk: list[Tensor], n_tasks: int, structure: Tree
    ) -> tuple[Tensor, list[Tensor]]:
        """Losses of a chunk, and the gradient of their sum divided by ``n_tasks``; its graph is freed on return.

        With ``trace`` a record is replayed, and made first where there is none for these shapes.

        Args:
            like: parameters that give the names of ``leaves``.
            leaves: the values to differentiate at; the gradient is in their order.
            chunk, structure: the chunk's episodes as :func:`_flat` takes them apart.
            n_tasks: the number of tasks in all chunks.
        """

        def mean_loss(leaves: list[Tensor], chunk: list[Tensor]) -> tuple[Tensor, Tensor]:
            # Gradient steps are differentiated once more here, and fused norms have that derivative right.
            with fused_norms(self._fuses):
                losses = self._chunk_losses(like.with_leaves(leaves), chunk, structure, training=True)
            return losses.sum() / n_tasks, losses

        replay = self._recorded(mean_loss, leaves, chunk, n_tasks, structure) if self.trace else None
        if replay is None:
            with torch.enable_grad():
                leaves = [leaf.requires_grad_() for leaf in leaves]
                mean, losses = mean_loss(leaves, chunk)
                # A problem may leave a parameter unused (a rate when there are no steps): its gradient is zero.
                slopes = torch.autograd.grad(mean, leaves, materialize_grads=True)
            # Two leaves may get the very same tensor, and a caller may write into what it is given: hence the copies.
            return losses.detach(), [torch.empty_like(leaf).copy_(s) for leaf, s in zip(leaves, slopes, strict=True)]

        losses, *slopes = replay(*leaves, *chunk)
        return losses, slopes

    def _chunk_gradients(
        self, like: MetaParameters, leaves: list[Tensor], episodes: Episodes
    ) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Losses and gradient of each chunk, in the order of the tasks; with ``trace`` and several ``workers`` records
        are replayed side by side.
        """
        tensors, structure = _flat(episodes)
        n_tasks = episodes.n_tasks
        run = partial(self._chunk_gradient, like, leaves, n_tasks=n_tasks, structure=structure)
        chunks = map(list, self._chunks(tensors))
        if self.workers == 1 or not self.trace:
            # Chunks are made one at a time here, so that no more than one is laid out in memory.
            yield from map(run, chunks)
            return
        waiting = list(chunks)
        n_threads = torch.get_num_threads()

        def replay(chunk: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            torch.set_num_threads(max(1, n_threads // self.workers))  # sets those of this thread only
            return run(chunk)

        # Recording is not safe in several threads, so every new shape is recorded here, before the replays.
        for chunk in waiting:
            if self._records.key(self._owners, leaves, chunk, n_tasks, structure) not in self._records:
                run(chunk)
        if not self.trace:  # with "auto", the recording has just turned out to be impossible
            yield from map(run, waiting)
            return
        try:
            with ThreadPoolExecutor(self.workers) as pool:
                yield from pool.map(replay, waiting)  # in the order of the tasks, so that sums repeat bit by bit
        finally:
            torch.set_num_threads(n_threads)

    @property
    def _owners(self) -> tuple[object, ...]:
        """The objects that a record is made from besides tensors: the problem and the solver."""
        return self.problem, self.solver

    def _recorded(
        self, mean_loss: MeanLoss, leaves: list[Tensor], chunk: list[Tensor], n_tasks: int, structure: Tree
    ) -> Callable | None:
        """The record for these shapes, which is made where there is none yet.

        It is None, with a warning, where ``trace="auto"`` finds that there cannot be one; ``trace`` is False from then
        on.
        Raises: NotRecorded in that case with ``trace=True``.
        """
        key = self._records.key(self._owners, leaves, chunk, n_tasks, structure)
        known = self._records.get(key)
        if known is None:
            try:
                return self._records.make(key, self._owners, mean_loss, leaves, chunk)
            except NotRecorded as error:
                if self.trace != "auto":
                    raise
                self.trace = False
                warnings.warn(f"steps run unrecorded, and slower: {error}", stacklevel=2)
                return None
        return known

    def choose_batching(self, params: MetaParameters, episodes: Episodes) -> Literal["vmap", "loop"]:
        """Time a meta-gradient each way, and return the faster way, which ``self.batching`` keeps, whatever it was
        before.

        Where vmap cannot run the problem, or the two gradients differ by more than rounding, it is the loop, with a
        warning that says why. For another engine than torch it is the loop, and nothing is timed.
        """
        if self.engine != "torch":
            return "loop"

        def gradient(way: Literal["vmap", "loop"], params: MetaParameters, episodes: Episodes) -> MetaGradient:
            self.batching = way
            return self._meta_gradient(params, episodes)

        try:
            choice = faster_batching(gradient, params, episodes)
        # An interrupt in the middle must not leave the way that was being timed as the choice.
        except BaseException:
            self.batching = "auto"
            raise
        self.batching = choice
        return choice

    def _way(self) -> Way:
        """How tasks run now."""
        return Way(self.solver, self.batching, self.trace, self.engine)

    def _in_way(self, way: Way) -> "Learner":
        """A new learner for the same problem that runs tasks in another way, by torch, with all other settings at their
        defaults.
        """
        # A learner of its own, so that what is tried leaves no record or choice in this one.
        return type(self)(self.problem, way.solver, batching=way.batching, trace=way.trace)

    def _map(self, function: Callable, chunk: Sequence[Tensor]) -> Any:
        """``function`` of each task's tensors, with the tasks as the first axis of the results.

        They run in a loop or under vmap; with ``"auto"``, before it is chosen, in a loop where vmap fails.
        """
        if self.batching != "loop":
            try:
                return torch.func.vmap(function)(*chunk)
            except RuntimeError:
                if self.batching == "vmap":
                    raise
                # "auto" that was not measured yet: a loop may run what vmap cannot.
        # Without an outer gradient only the slopes of the inner steps are taken, and fused norms have those right.
        with fused_norms(self._fuses and not torch.is_grad_enabled()):
            results = [function(*task) for task in zip(*chunk, strict=True)]
        if isinstance(results[0], Tensor):
            return torch.stack(results)
        return {name: torch.stack([r[name] for r in results]) for name in results[0]}

    @property
    def _fuses(self) -> bool:
        """Whether norms may run fused, which is faster: in a loop with a solver that differentiates in reverse mode
        alone, since under vmap and in forward mode fused norms have wrong derivatives.
        """
        return self.batching == "loop" and self._in_reverse_mode

    def _chunks(self, tensors: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
        """The tensors cut along the axis of tasks, chunk by chunk.

        A chunk is one task in a loop, else ``chunk_size`` tasks, or all where that is None. Images are laid out as
        :meth:`_laid_out` says.
        """
        n = tensors[0].shape[0]
        # One task at a time in a loop: gradients add up, and one graph is in memory.
        size = 1 if self.batching == "loop" else (self.chunk_size or n)
        if size >= n > 1:
            yield tensors  # not slices of the whole, which would be the same and cost time on small problems
            return
        for start in range(0, n, size):
            yield tuple(self._laid_out(tensor[start : start + size]) for tensor in tensors)

    def _laid_out(self, chunk: Tensor) -> Tensor:
        """A chunk of images with the channels innermost, where that is asked for in a loop; any other as it is."""
        if not self.channels_last or self.batching != "loop" or chunk.ndim != 5 or has_channels_innermost(chunk):
            return chunk
        return chunk[0].to(memory_format=torch.channels_last).unsqueeze(0)  # a loop's chunk holds one task


def _flat(parts: Sequence[Tree]) -> tuple[Sequence[Tensor], Tree]:
    """All tensors of some trees, and the structure that puts them together again: None if each tree is a tensor. The
    tensors are in the order of the trees.
    """
    structure = structure_of(parts)
    return (parts, None) if structure is None else (leaves_of(tuple(parts)), structure)


def _whole(tensors: Sequence[Tensor], structure: Tree) -> Sequence[Tree]:
    """The inverse of :func:`_flat`."""
    return tensors if structure is None else assembled(structure, tensors)


def _is_transformed() -> bool:
    """Whether values cannot be read here, because a transform or a compiler is running."""
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.compiler.is_compiling()


def _laid_out_as(leaf: Tensor, slope: Tensor) -> Tensor:
    """The slope in the layout of its parameter: torch's fused optimisers misread another one, silently (torch 2.13)."""
    return slope if slope.stride() == leaf.stride() else torch.empty_like(leaf).copy_(slope)
