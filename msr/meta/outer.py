"""The outer loop: optimise what tasks share, stop at the first number that is not finite, resume from checkpoints."""

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError, NonFiniteError, first_line, listed
from msr.meta.checkpoints.continuing import check_state, not_finite
from msr.meta.checkpoints.file import read_checkpoint, write_checkpoint
from msr.meta.learner import Learner
from msr.meta.problem import MetaGradient, MetaParameters
from msr.meta.updates import Update
from msr.trees import mapped

__all__ = ["Join", "OuterLoop"]

Groups = list[dict[str, Any]]
Join = Callable[[MetaGradient, Tensor | None], MetaGradient]
"""From the meta-gradient of this process's tasks, and the indices of all tasks of the step, that of all tasks."""


class OuterLoop:
    """Meta-training as a sequence of optimiser steps.

    Args:
        learner: gives the meta-gradient.
        params: where to start; they are copied.
        optimizer: ``parameter groups -> torch.optim.Optimizer``, for example ``partial(torch.optim.Adam, lr=1e-2)``.
            The groups carry the names ``shared``, ``initial`` and ``inner``, so that rates can differ.
        scheduler: ``optimizer -> torch.optim.lr_scheduler.LRScheduler``, stepped once after each outer step.
        clip_norm: the largest Euclidean norm of the gradient of all parameters together; a larger gradient is scaled
            down to it. None clips nothing.
        join: where several processes share the tasks of a step, what makes one meta-gradient of theirs. The checks of
            the numbers, the clipping and the optimiser then see the same in each process. None for one process.

    Attributes:
        params: the current values.
        steps_done: how many outer steps were taken.
    """

    def __init__(
        self,
        learner: Learner,
        params: MetaParameters,
        optimizer: Callable[[Groups], torch.optim.Optimizer],
        *,
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None,
        clip_norm: float | None = None,
        join: Join | None = None,
    ):
        if clip_norm is not None and not clip_norm > 0:
            raise ConfigError(f"clip_norm must be positive; got {clip_norm}")
        self.learner = learner
        self.clip_norm = clip_norm
        self.join = join
        self.steps_done = 0
        self.params = params.with_leaves([p.detach().clone() for p in params.leaves()])
        groups = [
            {"params": list(group.values()), "name": name}
            for name, group in zip(MetaParameters._fields, self.params, strict=True)
            if group
        ]
        self.optimizer = optimizer(groups)
        self.scheduler = scheduler(self.optimizer) if scheduler else None
        self._update = Update(self.optimizer, self.params.leaves())
        # The solver's check needs a batch, so it waits for the first step.
        self._checked = False

    def step(self, episodes: Episodes, tasks: Tensor | None = None, largest: float = math.inf) -> Tensor:
        """One outer step on a batch of tasks; returns their query losses before it, ``(tasks,)``.

        ``params``, the optimiser and the scheduler are updated in place. The first step also lets the learner and its
        solver check the problem.

        ``tasks`` are the tasks' own indices, for the error message; ``largest`` is the mean loss beyond which training
        counts as diverged. With :attr:`join`, ``episodes`` are this process's share, and ``tasks`` and the losses those
        of all processes.
        Raises: NonFiniteError when a loss or the gradient is nan or infinite, or the mean loss is above ``largest``.
        Nothing is updated then, so the parameters are those of the last good step. It is raised too where the update
        itself overflows this precision; then parameters and the optimiser may be updated in part.
        """
        if not self._checked:
            checked = self.learner.check(self.params, episodes)
            x, y = (mapped(lambda tensor: tensor[0], part) for part in (checked.support_x, checked.support_y))
            self.learner.solver.check(self.learner.problem, self.params, x, y)
            self._checked = True
        losses, gradient = self._joined(self.learner.meta_gradient(self.params, episodes), tasks)
        leaves = self.params.leaves()
        slopes = gradient.leaves()
        *norms, total = _values([*torch._foreach_norm(slopes), losses.sum()])
        # hypot does not overflow where a sum of squares would.
        norm = math.hypot(*norms)
        # A finite sum has finite terms: infinities give infinity or, where they cancel, nan.
        if not math.isfinite(norm + total):
            self._refuse(losses, gradient, tasks)
        if total > largest * len(losses):
            raise NonFiniteError(
                f"outer step {self.steps_done}: the mean query loss is {total / len(losses):.3g}, above {largest:.3g}, "
                "where training counts as diverged. The last good state is kept; lower the learning rates"
            )
        if self.clip_norm is not None and norm > self.clip_norm:
            torch._foreach_mul_(slopes, self.clip_norm / norm)
        try:
            self._update(slopes)
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise NonFiniteError(
                f"outer step {self.steps_done}: the optimiser's update does not fit {leaves[0].dtype} "
                f"({first_line(error)}); lower the outer rate"
            ) from error
        if self.scheduler is not None:
            self.scheduler.step()
        self.steps_done += 1
        return losses

    def _joined(self, mine: MetaGradient, tasks: Tensor | None) -> MetaGradient:
        """The meta-gradient of all processes, from that of this one; the same where there is no other."""
        return mine if self.join is None else self.join(mine, tasks)

    def _refuse(self, losses: Tensor, gradient: MetaParameters, tasks: Tensor | None) -> NoReturn:
        """Raise NonFiniteError, always, that names the tasks whose loss, or else the parameters whose gradient, is not
        finite.

        Tasks are named by ``tasks``, or by their places in the batch where that is None.
        """
        tasks = None if tasks is None else as_tensor(tasks, "tasks")
        bad = (~losses.isfinite()).nonzero().flatten().cpu()
        if len(bad):
            what = f"the query loss is not finite for tasks {listed((bad if tasks is None else tasks[bad]).tolist())}"
        else:
            names = [n for group in gradient for n, slope in group.items() if not slope.isfinite().all()]
            at = "" if tasks is None else f" on tasks {listed(tasks.tolist())}"
            what = f"the losses are finite, but the gradient of {', '.join(names) or 'the parameters'} is not{at}"
        raise NonFiniteError(
            f"outer step {self.steps_done}: {what}. The last good state is kept; "
            "lower the learning rates, clip the gradient, or look at these tasks"
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the loop needs to continue, as tensors and plain values; random states are the caller's to
        keep.

        The tensors are the loop's own, which further steps change.

        Raises: NonFiniteError if a parameter, or a number that the optimiser keeps, is nan or infinite, so that no
        checkpoint ever holds one.
        """
        for name, tensor in ((n, t) for group in self.params for n, t in group.items()):
            if not tensor.isfinite().all():
                raise NonFiniteError(f"after outer step {self.steps_done} the parameter {name} is not finite")
        optimizer = self.optimizer.state_dict()
        bad = not_finite(optimizer)
        if bad:
            raise NonFiniteError(f"after outer step {self.steps_done} the optimiser's {bad} is not finite")
        return {
            "params": self.params._asdict(),
            "optimizer": optimizer,
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "steps_done": self.steps_done,
            "batching": self.learner.batching,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave, whose tensors are copied into the loop's own. Where the learner's
        batching is "auto", it becomes the one chosen then.

        Raises: DataError, with nothing changed, when the state is not of a loop like this one: other names, shapes or
        types, a number that is not finite, an optimiser or a scheduler of another kind or with other settings (rates
        may differ). All of that is checked, and tried on copies, before anything changes.
        """
        check_state(state, self.params, self.optimizer, self.scheduler, self.steps_done)
        with torch.no_grad():
            for name, group in zip(MetaParameters._fields, self.params, strict=True):
                for n, tensor in group.items():
                    tensor.copy_(state["params"][name][n])
        # A copy, since torch keeps the tensors that it is given, and steps them.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(copy.deepcopy(state["scheduler"]))
        self.steps_done = state["steps_done"]
        if self.learner.batching == "auto":
            self.learner.batching = state["batching"]

    def save(
        self, path: Path, extra: Mapping[str, Any] | None = None, *, identity: Mapping[str, Any] | None = None
    ) -> None:
        """Write a checkpoint, all or nothing: a crash leaves the previous one whole.

        It is one file, so that weights and optimiser state can never be of two different steps, and it holds a hash of
        its content (:mod:`msr.meta.checkpoints.file`). ``extra`` holds plain values of the caller's own, ``identity``
        plain values that say which run the checkpoint belongs to.
        """
        write_checkpoint(path, self.state_dict(), extra or {}, identity)

    def load(self, path: Path, *, identity: Mapping[str, Any] | None = None, force: bool = False) -> dict[str, Any]:
        """Continue from a checkpoint of :meth:`save` and return its ``extra``; only values are read, no code.

        ``force`` accepts a checkpoint of another ``identity``, and one of an older format, in which damage cannot be
        found.
        Raises: DataError, one line that names the file, with nothing changed: for damage
        (:class:`~msr.meta.checkpoints.file.DamagedCheckpointError`), for another identity, and as
        :meth:`load_state_dict`; ConfigError for a file that cannot be read.
        """
        checkpoint = read_checkpoint(path, self.params.leaves()[0].device)
        if not force:
            checkpoint.refuse_others(identity or {})
        try:
            self.load_state_dict(checkpoint.state)
        except DataError as error:
            raise DataError(f"{path} does not fit: {error}; remove it, or run what it was made with") from error
        return checkpoint.extra


def _values(scalars: list[Tensor]) -> list[float]:
    """The values of tensors of one number."""
    if scalars[0].device.type == "cpu":
        return [scalar.item() for scalar in scalars]
    # All are read at once, since each read waits for the device.
    return torch.stack(scalars).tolist()
