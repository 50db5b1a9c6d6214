"""Inputs or outputs of all tasks, centred within each task and divided by units in which coordinates are comparable."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.data.passes import slices_of
from msr.discovery.thresholds import THRESHOLDS
from msr.errors import DataError

__all__ = ["Side", "centred", "ranges", "scale_down_loud_tasks", "spread_within"]


@dataclass(eq=False)
class Side:
    """Inputs or outputs of all tasks, each less its task's mean, over its unit.

    Attributes:
        values: ``(tasks, examples, kept)``, zero in rows that are absent.
        means: ``(tasks, kept)``, what was taken off, over the units.
        units: ``(kept,)``, what coordinates were divided by.
        kept: ``(kept,)``, the numbers of the coordinates that vary and are left, in increasing order.
        notes: what was left out or is inaccurate, as sentences for the user.
    """

    values: Tensor
    means: Tensor
    units: NDArray[np.float64]
    kept: Tensor
    notes: list[str]

    def released(self) -> Tensor:
        """The values, which are emptied in this object, so that their memory is free once the caller drops them."""
        values = self.values
        self.values = values.new_empty(0)  # an empty view would keep the memory of all
        return values


def ranges(values: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest value of each coordinate over the present examples of a task, ``(tasks, size)`` each.

    A task without a present example has infinity as its least value and minus infinity as its largest.
    """
    # Both results are made before the pass: small results between large temporary ones would keep these from being
    # given back.
    low, high = (values.new_empty(len(values), values.shape[2]) for _ in range(2))
    for part in slices_of(values):
        absent = ~present[part, :, None]
        low[part] = values[part].masked_fill(absent, math.inf).amin(1)
        high[part] = values[part].masked_fill(absent, -math.inf).amax(1)
    return low, high


def spread_within(values: Tensor, present: Tensor, unit: float = 1.0) -> Tensor:
    """Standard deviation of each coordinate within tasks, pooled over all tasks, divided by ``unit``: ``(size,)``.

    Squares are summed over all tasks, and divided by the number of examples less one for each task. ``unit`` divides
    the values before they are squared, so that squares of huge numbers do not overflow.

    Shapes: ``values (tasks, examples, size)``, centred in each task and zero where absent; ``present (tasks,
    examples)``.
    """
    squares = torch.stack([(values[part] / unit).square().sum((0, 1)) for part in slices_of(values)]).sum(0)
    return (squares / (present.sum() - len(present)).clamp_min(1)).sqrt()


def centred(values: Tensor, present: Tensor, side: str) -> Side:
    """One side of all tasks, less each task's mean, without coordinates that vary in no task, each over its unit.

    A coordinate that varies by the rounding of its numbers alone counts as one that does not vary. Coordinates of like
    size have one unit (:func:`_common_units`).

    Shapes: ``values (tasks, examples, size)``, ``present (tasks, examples)``; ``side`` is "input" or "output".
    Raises: DataError where a large offset has left too few digits of what varies, or no coordinate varies.
    """
    limits = THRESHOLDS()
    low, high = ranges(values, present)
    mask = present[:, :, None]
    counts = present.sum(1)[:, None]
    differences = torch.empty_like(values, memory_format=torch.contiguous_format)
    means = torch.empty_like(low)
    for part in slices_of(values):
        # The least value is taken off first: that is exact for a constant coordinate, and the mean is then taken of
        # small numbers, which an offset cannot round.
        above = (values[part] - low[part, None]) * mask[part]
        mean = above.sum(1) / counts[part]
        means[part] = low[part] + mean
        torch.mul(above.sub_(mean[:, None]), mask[part], out=differences[part])
    # A power of two changes no digit, and keeps the squares below from overflowing.
    whole = _power_of_two(differences)
    spread = spread_within(differences, present, whole) * whole
    rounding = _rounding(values) * means.square().mean(0).sqrt() / spread.clamp_min(1e-300)
    kept = ((high > low).any(0) & (rounding < limits.rounding_alone)).nonzero().flatten()
    notes = []
    if len(kept) == 0 or float(rounding[kept].max()) > limits.rounding_refused:
        raise DataError(
            f"the {side}s vary less than ten times the rounding of their numbers, of which a large offset takes all "
            "digits: subtract the offset, or a reference value, before rounding to so few digits"
        )
    n_constant = values.shape[2] - len(kept)
    if n_constant:
        notes.append(
            f"{n_constant} {side} coordinate{'s' * (n_constant > 1)} that never "
            f"var{'y' if n_constant > 1 else 'ies'} within a task"
        )
    rough = int((rounding[kept] > limits.rounding_noted).sum())
    if rough:
        notes.append(
            f"digits of {rough} {side} coordinate{'s' * (rough > 1)}: rounding is more than "
            f"{limits.rounding_noted:.0%} of what varies, beside a large offset; subtract it before rounding"
        )
    units = _common_units(spread[kept] / whole) * whole
    if n_constant:
        differences = differences[:, :, kept]
    return Side(differences.div_(units), means[:, kept] / units, units.numpy(), kept, notes)


def scale_down_loud_tasks(outputs: Side, present: Tensor) -> int:
    """Scale tasks whose outputs exceed 5 times the median size down to that; returns how many tasks were scaled.

    ``outputs`` is changed: the numbers of ``values`` in place, and ``means`` is a new tensor.

    The size of a task is the root of the summed variance of its outputs. A linear task that is scaled stays linear and
    keeps its symmetry, so this only bounds its weight among the others.
    """
    squares = torch.cat([outputs.values[part].square().sum((1, 2)) for part in slices_of(outputs.values)])
    sizes = (squares / (present.sum(1) - 1)).sqrt()
    # The median, not the mean: loud tasks themselves must not raise the size that they are compared with.
    most = THRESHOLDS().task_size_most * float(sizes.median())
    loud = sizes > most if most > 0 else torch.zeros_like(sizes, dtype=torch.bool)
    factors = torch.where(loud, most / sizes.clamp_min(1e-300), 1.0)
    outputs.values.mul_(factors[:, None, None])
    outputs.means = outputs.means * factors[:, None]
    return int(loud.sum())


def _power_of_two(values: Tensor) -> float:
    """The power of two at or below the largest absolute value; 1 where all are zero."""
    largest = max(float(values[part].abs().max()) for part in slices_of(values))
    return 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0


def _rounding(values: Tensor) -> float:
    """The relative rounding of the numbers as they were given: the precision of the shortest format that holds them.

    That is the distance from 1 to the next number in bfloat16, float16, float32 or float64, whichever is the first to
    hold every value exactly. Whole numbers that float32 can count are taken to be exact: 0.
    """
    if all(_is_whole(values[part]) for part in slices_of(values)):
        return 0.0
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        if all(torch.equal(values[part], values[part].to(dtype).double()) for part in slices_of(values)):
            return torch.finfo(dtype).eps
    return torch.finfo(torch.float64).eps


def _is_whole(values: Tensor) -> bool:
    """Whether all are whole numbers of at most 2²⁴, up to which float32 has every one."""
    return torch.equal(values, values.round()) and float(values.abs().max()) <= 2**24


def _common_units(spread: Tensor) -> Tensor:
    """The unit of each coordinate, ``(size,)``: the geometric mean of ``spread`` over the coordinates of like size.

    Shapes: ``spread (size,)``, the standard deviations, which are the sizes that are compared. Sorted sizes that are
    more than a factor of 3 apart start a new set. Where units differ, what is small in number would otherwise be lost
    beside what is large; within a set, sizes stay comparable, so a symmetry can move them.
    """
    logs = spread.clamp_min(1e-150).log2()
    order = logs.argsort()
    starts = (logs[order].diff() > math.log2(THRESHOLDS().unit_gap)).nonzero().flatten() + 1
    units = torch.empty_like(logs)
    for members in order.tensor_split(starts):
        units[members] = logs[members].mean().exp2()
    return units
