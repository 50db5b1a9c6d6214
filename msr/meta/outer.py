"""The outer loop: optimise what tasks share, stop on the first number that is not finite, resume where it stopped."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError, NonFiniteError, listed
from msr.meta.engine import Learner
from msr.meta.problem import MetaParameters
from msr.trees import mapped

__all__ = ["OuterLoop"]

Groups = list[dict[str, Any]]


class OuterLoop:
    """Meta-training as a sequence of optimiser steps.

    Args:
        learner: gives the meta-gradient.
        params: where to start; copied.
        optimizer: ``parameter groups -> torch.optim.Optimizer``, for example ``partial(torch.optim.Adam, lr=1e-2)``.
            The groups carry the names ``shared``, ``initial`` and ``inner``, so that rates can differ.
        scheduler: ``optimizer -> torch.optim.lr_scheduler.LRScheduler``, stepped once an outer step.
        clip_norm: the largest norm of the whole gradient; longer ones are shortened.

    Attributes: ``params``, the current values; ``steps_done``.
    """

    def __init__(
        self,
        learner: Learner,
        params: MetaParameters,
        optimizer: Callable[[Groups], torch.optim.Optimizer],
        *,
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None,
        clip_norm: float | None = None,
    ):
        if clip_norm is not None and not clip_norm > 0:
            raise ConfigError(f"clip_norm must be positive; came {clip_norm}")
        self.learner, self.clip_norm, self.steps_done = learner, clip_norm, 0
        self.params = params.with_leaves([p.detach().clone() for p in params.leaves()])
        groups = [
            {"params": list(group.values()), "name": name}
            for name, group in zip(MetaParameters._fields, self.params, strict=True)
            if group
        ]
        self.optimizer = optimizer(groups)
        self.scheduler = scheduler(self.optimizer) if scheduler else None
        self._checked = False

    def step(self, episodes: Episodes, tasks: Tensor | None = None) -> Tensor:
        """One outer step on a batch of tasks; returns their query losses before it, ``(tasks,)``.

        ``tasks`` are the tasks' own indices, for the error message.
        Raises: NonFiniteError when a loss or the gradient is nan or infinite. The parameters are then those of the
        last good step: nothing was updated.
        """
        if not self._checked:
            checked = self.learner.check(self.params, episodes)
            x, y = (mapped(lambda tensor: tensor[0], part) for part in (checked.support_x, checked.support_y))
            self.learner.solver.check(self.learner.problem, self.params, x, y)
            self._checked = True
        losses, gradient = self.learner.meta_gradient(self.params, episodes)
        leaves, slopes = self.params.leaves(), gradient.leaves()
        *norms, total = torch.stack([*torch._foreach_norm(slopes), losses.sum()]).tolist()  # one wait for the device
        norm = math.hypot(*norms)
        if not math.isfinite(norm + total):  # what it was is asked only then
            self._refuse(losses, gradient, tasks)
        if self.clip_norm is not None and norm > self.clip_norm:
            torch._foreach_mul_(slopes, self.clip_norm / norm)
        for leaf, slope in zip(leaves, slopes, strict=True):
            leaf.grad = slope
        self.optimizer.step()
        for leaf in leaves:
            leaf.grad = None
        if self.scheduler is not None:
            self.scheduler.step()
        self.steps_done += 1
        return losses

    def _refuse(self, losses: Tensor, gradient: MetaParameters, tasks: Tensor | None) -> NoReturn:
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
        """Everything that continuing needs, as tensors and plain values.

        Raises: NonFiniteError if a parameter is nan or infinite, so that no checkpoint ever holds one.
        """
        for name, tensor in ((n, t) for group in self.params for n, t in group.items()):
            if not tensor.isfinite().all():
                raise NonFiniteError(f"after outer step {self.steps_done} the parameter {name} is not finite")
        return {
            "params": self.params._asdict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "steps_done": self.steps_done,
            "batching": self.learner.batching,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; where the learner's batching is "auto", with what was chosen then.

        Raises: DataError, with nothing changed, when the state is not of a loop like this one.
        """
        missing = {"params", "optimizer", "scheduler", "steps_done", "batching"} - state.keys()
        if missing or not isinstance(state["params"], dict):
            raise DataError(f"the checkpoint is not one of an outer loop (it lacks {', '.join(sorted(missing))})")
        if (self.scheduler is None) is not (state["scheduler"] is None):
            raise DataError("the checkpoint and this run do not both have a scheduler")
        for name, group in zip(MetaParameters._fields, self.params, strict=True):
            saved = state["params"][name]
            if {n: t.shape for n, t in group.items()} != {n: t.shape for n, t in saved.items()}:
                raise DataError(
                    f"the checkpoint's {name} parameters are {', '.join(saved) or 'none'}, "
                    f"this run's are {', '.join(group) or 'none'}, or their shapes differ"
                )
        with torch.no_grad():
            for name, group in zip(MetaParameters._fields, self.params, strict=True):
                for n, tensor in group.items():
                    tensor.copy_(state["params"][name][n])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.steps_done = state["steps_done"]
        if self.learner.batching == "auto":
            self.learner.batching = state["batching"]

    def save(self, path: Path, extra: dict[str, Any] | None = None) -> None:
        """Write a checkpoint, all or nothing: a crash leaves the previous one whole.

        One file, so that weights and optimiser state can never be of two different steps. ``extra`` holds plain
        values of the caller's own.
        """
        state, part = self.state_dict() | {"extra": extra or {}}, path.with_suffix(path.suffix + ".part")
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)

    def load(self, path: Path) -> dict[str, Any]:
        """Continue from a checkpoint of :meth:`save` and return its ``extra``; no code is read, only values."""
        try:
            state = torch.load(path, weights_only=True, map_location=self.params.leaves()[0].device)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise DataError(
                f"{path} is not a checkpoint that can be read ({type(error).__name__}); remove it"
            ) from error
        if not isinstance(state, dict):
            raise DataError(f"{path} is not a checkpoint of an outer loop but a {type(state).__name__}")
        self.load_state_dict(state)
        return state.get("extra", {})
