"""A learning problem as functions on dictionaries of tensors; the parameters that are learned, and their gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from msr.arrays import as_tensor
from msr.meta.exact import Exact
from msr.trees import Tree

__all__ = ["MetaGradient", "MetaParameters", "Params", "Problem", "as_params"]

Params = dict[str, Tensor]


def as_params(params: Params) -> Params:
    """The same parameters, a new dictionary with tensors for arrays; tensors stay the same objects."""
    return {name: as_tensor(value, name) for name, value in params.items()}


@dataclass(frozen=True)
class Problem:
    """A learning problem, the same for all tasks: predict ``y`` from ``x``, by a function of parameters.

    Attributes:
        predict: ``(params, x) -> prediction``, pure; ``x`` holds the examples of one task, ``(examples, ...)``: a
            tensor, or a tuple or dictionary of them.
        criterion: ``(prediction, y) -> scalar``, the mean loss over the examples.

    Whoever calls the two, they run with exact forms of torch's fused functions (:mod:`msr.meta.exact`).
    """

    predict: Callable[[Params, Tree], Any]
    criterion: Callable[[Any, Tree], Tensor] = F.mse_loss

    def __post_init__(self) -> None:
        for name in ("predict", "criterion"):
            # The dataclass is frozen, so its fields are set past it.
            object.__setattr__(self, name, Exact.of(getattr(self, name)))

    def loss(self, params: Params, x: Tree, y: Tree) -> Tensor:
        """The criterion of the prediction for one task's examples, a scalar."""
        return self.criterion(self.predict(params, x), y)


class MetaParameters(NamedTuple):
    """The tensors that the outer loop learns, by their role.

    Attributes:
        shared: parameters that no task changes (the sharing patterns ``U``), by name.
        initial: where each task starts (the filters ``v``, biases), by name.
        inner: what the inner solver learns (learning rates, a ridge penalty), by name.
    """

    shared: Params
    initial: Params
    inner: Params

    def leaves(self) -> list[Tensor]:
        """All tensors: ``shared``, ``initial`` and ``inner``, each in the order of its dictionary.

        Shapes: any, as they are kept.
        """
        return [tensor for group in self for tensor in group.values()]

    def with_leaves(self, leaves: list[Tensor]) -> "MetaParameters":
        """The same names with other tensors, in the order of :meth:`leaves`.

        Shapes: any; they are kept as they are given.
        """
        rest = iter(leaves)
        return MetaParameters(*({name: next(rest) for name in group} for group in self))


class MetaGradient(NamedTuple):
    """Query losses of the tasks ``(tasks,)``, and the gradient of their mean."""

    losses: Tensor
    gradient: MetaParameters
