"""An order of tasks and examples that depends on their numbers alone, not on how the caller happened to list them."""

import math

import torch
from torch import Tensor

from msr.discovery.data.centring import spread_within
from msr.discovery.data.passes import slices_of

__all__ = ["canonical_order", "reordered"]

# Relative difference of two sort keys that rounding can make: a sum in another order has other last digits.
_KEY_ROUNDING = 1e-9


def canonical_order(inputs: Tensor, outputs: Tensor, present: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A permutation of the tasks, and of each task's examples, that another listing of the same data gives too.

    Tasks, and the examples of each, are sorted by the size of what varies in their inputs, ties by that of their
    outputs, each coordinate in units of how it varies within tasks. Permuted coordinates and changed signs leave these
    sizes as they are. The ranks are then put into a pseudo-random order, since sorted tasks would be no random sample.

    Shapes: both sides ``(tasks, examples, size)``, centred; ``present (tasks, examples)``. The results are ``(tasks,)``
    and ``(tasks, longest)``: examples of the reordered tasks, absent ones last.
    """
    keys = [values.new_empty(present.shape) for values in (inputs, outputs)]
    for key, values in zip(keys, (inputs, outputs), strict=True):
        spread = spread_within(values, present)
        for part in slices_of(values):
            key[part] = (values[part] / spread).square().sum(2)
    tasks = _ranked(*(key.sum(1)[None] for key in keys))[0]
    draw = torch.Generator().manual_seed(seed)
    tasks = tasks[torch.randperm(len(tasks), generator=draw)]
    absent = ~present[tasks]
    examples = _ranked(*(key[tasks].masked_fill(absent, math.inf) for key in keys))
    counts = present[tasks].sum(1)
    longest = int(counts.max())
    absent = torch.arange(longest) >= counts[:, None]
    # Each task gets a pseudo-random order of its own. Where inputs are the same in every task, ranks are decided by the
    # noise of the outputs: one order for all tasks would put the same noise ranks together everywhere.
    shuffled = torch.rand(len(tasks), longest, generator=draw).masked_fill(absent, 2.0).sort(dim=1, stable=True).indices
    return tasks, examples.gather(1, shuffled)


def reordered(values: Tensor, tasks: Tensor, examples: Tensor) -> Tensor:
    """The values in the order of :func:`canonical_order`, in their own memory, which is overwritten.

    Shapes: ``values (tasks, examples, size)``; the result has the examples of the longest task only. First tasks are
    moved, one example of each at a time, then the examples within tasks: no second copy is made.
    """
    for place in range(values.shape[1]):
        values[:, place] = values[tasks, place]
    longest = examples.shape[1]
    for part in slices_of(values):
        index = examples[part, :, None].expand(-1, -1, values.shape[2])
        values[part, :longest] = values[part].gather(1, index)
    return values if longest == values.shape[1] else values[:, :longest].contiguous()


def _ranked(first: Tensor, second: Tensor) -> Tensor:
    """Indices ``(rows, size)`` that sort each row by ``first``, and by ``second`` where it ties up to rounding."""
    by_second = second.sort(dim=1, stable=True).indices
    first = first.gather(1, by_second)
    by_first = first.sort(dim=1, stable=True)
    steps = by_first.values.diff(dim=1)
    largest = by_first.values.masked_fill(by_first.values.isinf(), 0.0).amax(1, keepdim=True)
    ties = torch.zeros_like(first, dtype=torch.int64)
    ties[:, 1:] = (steps > _KEY_ROUNDING * largest).cumsum(1)
    # Within a set of ties the stable sort keeps the order by the second key.
    level = torch.empty_like(ties).scatter_(1, by_first.indices, ties)
    return by_second.gather(1, level.sort(dim=1, stable=True).indices)
