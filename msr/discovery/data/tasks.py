"""Tasks made ready: each less its own mean, in units of its coordinates, in an order that only its numbers set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.brief import Brief
from msr.discovery.data.forms import some_of
from msr.discovery.data.intake import FEWEST, FEWEST_EXAMPLES, Taken, take
from msr.discovery.data.sizes import check_sizes
from msr.discovery.data.unseen import spread_within, unseen_directions, unseen_words, with_noise
from msr.discovery.data.windows import Layer, as_linear
from msr.errors import DataError
from msr.permutations import Indices

__all__ = ["FEWEST_FRESH", "Layer", "Prepared", "prepare"]

FEWEST_FRESH = 20
# Coordinates whose sizes, in order, are this far apart are taken to have different units.
_APART = 3.0
# A task with outputs so many times as large as those of the median task counts as this large.
_LOUD = 5.0
# Rounding, as a share of what varies: above the first it is said, above the second there is no digit left to use,
# above the third nothing varies but the rounding.
_ROUGH, _TOO_ROUGH, _ROUNDING = 0.01, 0.1, 0.5
# Keys that differ by less, relatively, are one: the order of a sum changes its last digits.
_TIE = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class Prepared(Brief):
    """Tasks ``x (tasks, examples, n)``, ``y (tasks, examples, m)``, float64, each less its own mean.

    A task's bias and the offsets of its inputs are gone with its means, so weights are ``(m, n)``. Tasks, and examples
    in each, are in an order that depends on their numbers alone: sorted by the size of what varies, each coordinate in
    units of how it varies within tasks, then in a pseudo-random order of the ranks. What came in another order, dtype,
    unit, sign or labelling of coordinates gives the same order.

    Attributes:
        counts: ``(tasks,)``, how many examples each task has; rows from there on are zero.
        means: ``(tasks, n)``, ``(tasks, m)``: what was taken off, in the units of ``x`` and ``y``.
        came: ``(tasks,)``, the place of each task in what came.
        order: ``(tasks, examples)``, the place of each example (for a convolution of each window) in its task as it
            came; −1 from ``counts`` on.
        units: what inputs and outputs were divided by, ``(n,)`` and ``(m,)``; coordinates of like size have one unit.
        inputs, outputs: which coordinates of the layer are left, by their place in ``shape_in`` and ``shape_out``.
        unseen: ``(n, r)``, an orthonormal basis of the directions that the inputs never take. Independent noise of the
            usual size stands there instead, so that weights there are zero.
        fresh: ``(tasks,)``, which tasks were named as fresh; None where none were.
        left_out: what was left out or changed, in words; ``too_few``: what is missing, or None.
    """

    x: Tensor
    y: Tensor
    counts: Tensor
    means: tuple[Tensor, Tensor]
    came: NDArray[np.int64]
    order: Tensor
    layer: Layer
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    units: tuple[NDArray[np.float64], NDArray[np.float64]]
    inputs: Indices
    outputs: Indices
    unseen: Tensor
    fresh: Tensor | None
    left_out: tuple[str, ...]
    too_few: str | None

    @property
    def ties(self) -> Indices | None:
        """For a convolution, what permutations of its inputs must keep, ``(n, n)``; None for a linear layer.

        A symmetry of images moves taps as a symmetry of the grid, all channels alike: it keeps the distance of two taps
        and whether they are of one channel.
        """
        if self.layer == "linear":
            return None
        place = np.stack(np.unravel_index(self.inputs, self.shape_in), 1)
        gaps = place[:, None] - place[None]
        return (gaps[:, :, 1:] ** 2).sum(2) * 2 + (gaps[:, :, 0] != 0)

    @property
    def factors(self) -> NDArray[np.float64]:
        """What brings a weight ``(m, n)`` back to the units that came."""
        return self.units[1][:, None] / self.units[0][None]

    @property
    def labels(self) -> Indices | None:
        """Which weights ``(m, n)`` are between coordinates of like units; None where all are alike."""
        ins, outs = (np.unique(units, return_inverse=True)[1] for units in self.units)
        if not (ins.any() or outs.any()):
            return None
        return outs[:, None] * (len(ins) + 1) + ins[None]

    @property
    def n(self) -> int:
        """Inputs of the layer that are left."""
        return self.x.shape[2]

    @property
    def m(self) -> int:
        """Outputs that are left."""
        return self.y.shape[2]


def prepare(
    x: Any,
    y: Any = None,
    *,
    layer: Layer = "linear",
    kernel: int | Sequence[int] | None = None,
    circular: bool = False,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | Literal["same"] = 0,
    fresh: Any = None,
    seed: int = 0,
) -> Prepared:
    """Check, reshape and centre tasks; what was taken out is said in ``left_out``, what is missing in ``too_few``.

    ``x`` and ``y`` as :func:`~msr.discovery.data.intake.take` has them. A task with fewer than three examples, or whose
    inputs or outputs never vary, is left out; so is a coordinate that varies within no task.

    Args:
        kernel: taps along each axis of a convolution; left out, it is what the shapes say.
        circular: the convolution wraps around; ``padding``: zeros beyond each end, or ``"same"`` for outputs of the
            size of inputs; ``stride``: of its windows.
        fresh: ``(tasks,)``, which tasks are kept for the last test.
        seed: of the pseudo-random order.

    Raises: ShapeError, DataError, ConfigError for tensors and options that cannot be used.
    """
    came = take(x, y, fresh)
    check_sizes(came)
    taken, shape_in, shape_out = as_linear(came, layer, kernel, circular, stride, padding)
    enough = taken.here.sum(1).numpy() >= FEWEST_EXAMPLES
    if not enough.any():
        few = f"no task has {FEWEST_EXAMPLES} different examples; give more examples a task"
        return _nothing(taken, layer, shape_in, shape_out, few)
    taken = taken.only(enough, f"with fewer than {FEWEST_EXAMPLES} different examples")
    ranges = tuple(_range(side, taken.here) for side in (taken.x, taken.y))
    for what, (low, high) in zip(("inputs", "outputs"), ranges, strict=True):
        if not (high > low).any():
            raise DataError(f"the {what} never vary within a task: there is nothing to learn from them")
    varying = [(high > low).any(1).numpy() for low, high in ranges]
    del ranges, low, high
    taken = taken.only(varying[0] & varying[1], "whose inputs or outputs never vary")
    if len(taken.x) == 0:
        raise DataError("in each task the inputs or the outputs never vary: there is nothing to learn from them")
    # Each side as it came is let go as soon as it is not needed: of large files no more than three sides are held.
    ins = _side(taken.x, taken.here, "input")
    taken = replace(taken, x=taken.x[:0].clone())
    outs = _side(taken.y, taken.here, "output")
    taken = replace(taken, y=taken.y[:0].clone())
    notes = [*taken.notes, *ins.notes, *outs.notes]
    loud = _quietened(outs, taken.here)
    if loud:
        notes.append(
            f"what {loud} task{'s' * (loud > 1)} say louder than {_LOUD:g} times the usual size of outputs: they count "
            "as that loud, so that a few tasks do not speak for all"
        )
    tasks, examples = _order(ins, outs, taken.here, seed)
    x = _placed(ins.released(), tasks, examples)
    y = _placed(outs.released(), tasks, examples)
    here, place = (t[tasks].gather(1, examples) for t in (taken.here, taken.place))
    counts = here.sum(1)
    # Fewer examples than inputs, in all: nothing can be learned, and most directions are taken by none.
    unseen = unseen_directions(x, here) if x.shape[2] <= int((counts - 1).sum()) else x.new_zeros(x.shape[2], 0)
    if unseen.shape[1]:
        x = with_noise(x, y, here, unseen)
        notes.append(unseen_words(unseen))
    return Prepared(
        x=x,
        y=y,
        counts=counts,
        means=(ins.means[tasks], outs.means[tasks]),
        came=taken.came[tasks.numpy()],
        order=place.masked_fill(~here, -1),
        layer=layer,
        shape_in=shape_in,
        shape_out=shape_out,
        units=(ins.units, outs.units),
        inputs=ins.kept.numpy(),
        outputs=outs.kept.numpy(),
        unseen=unseen,
        fresh=None if taken.fresh is None else taken.fresh[tasks],
        left_out=tuple(notes),
        too_few=_too_few(taken),
    )


def _too_few(taken: Taken) -> str | None:
    n = len(taken.here)
    came = f"{n} {'pieces of one data set' if taken.pieces else 'different tasks'} came"
    if taken.fresh is None:
        return f"{came}; at least {FEWEST} are needed" if n < FEWEST else None
    fresh = int(taken.fresh.sum())
    if fresh >= FEWEST_FRESH and n - fresh >= FEWEST - FEWEST_FRESH:
        return None
    return (
        f"{came}, {fresh} of them fresh; at least {FEWEST} are needed, {FEWEST_FRESH} of them fresh and "
        f"{FEWEST - FEWEST_FRESH} not"
    )


def _nothing(taken: Taken, layer: Layer, shape_in: tuple[int, ...], shape_out: tuple[int, ...], few: str) -> Prepared:
    """No task is left."""
    n, m = taken.x.shape[2], taken.y.shape[2]
    none = torch.zeros(0, dtype=torch.int64)
    return Prepared(
        x=taken.x[:0], y=taken.y[:0], counts=none, means=(taken.x[:0, 0], taken.y[:0, 0]), came=none.numpy(),
        order=taken.place[:0], layer=layer, shape_in=shape_in, shape_out=shape_out, units=(np.ones(n), np.ones(m)),
        inputs=np.arange(n), outputs=np.arange(m), unseen=taken.x.new_zeros(n, 0),
        fresh=None if taken.fresh is None else taken.fresh[:0], left_out=taken.notes, too_few=few,
    )  # fmt: skip


@dataclass(eq=False)
class _Side:
    """Inputs or outputs, centred and in units."""

    values: Tensor
    means: Tensor
    units: NDArray[np.float64]
    kept: Tensor
    notes: list[str]

    def released(self) -> Tensor:
        """The values, which it holds no longer."""
        values, self.values = self.values, self.values.new_empty(0)  # a view would hold all of them
        return values


def _range(values: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest of each task's coordinates, ``(tasks, size)``."""
    # Made before the pass: small results between large ones that come and go would keep the memory of these.
    low, high = (values.new_empty(len(values), values.shape[2]) for _ in range(2))
    for part in some_of(values):
        gone = ~here[part, :, None]
        low[part] = values[part].masked_fill(gone, math.inf).amin(1)
        high[part] = values[part].masked_fill(gone, -math.inf).amax(1)
    return low, high


def _side(values: Tensor, here: Tensor, what: str) -> _Side:
    """Less each task's mean, without coordinates that never vary, in units of like size."""
    low, high = _range(values, here)
    there, counts = here[:, :, None], here.sum(1)[:, None]
    centred, means = torch.empty_like(values, memory_format=torch.contiguous_format), torch.empty_like(low)
    for part in some_of(values):
        # Less the least of each: exact for a constant coordinate, and small numbers are left to take the mean of.
        above = (values[part] - low[part, None]) * there[part]
        mean = above.sum(1) / counts[part]
        means[part] = low[part] + mean
        torch.mul(above.sub_(mean[:, None]), there[part], out=centred[part])
    whole = _power_of_two(centred)
    spread = spread_within(centred, here, whole) * whole
    rounding = _rounding(values) * means.square().mean(0).sqrt() / spread.clamp_min(1e-300)
    kept = ((high > low).any(0) & (rounding < _ROUNDING)).nonzero().flatten()
    notes = []
    if len(kept) == 0 or float(rounding[kept].max()) > _TOO_ROUGH:
        raise DataError(
            f"the {what}s vary less than ten times the rounding of their numbers, of which a large offset takes all "
            "digits: subtract the offset, or a reference value, before rounding to so few digits"
        )
    gone = values.shape[2] - len(kept)
    if gone:
        notes.append(
            f"{gone} {what} coordinate{'s' * (gone > 1)} that never var{'y' if gone > 1 else 'ies'} within a task"
        )
    rough = int((rounding[kept] > _ROUGH).sum())
    if rough:
        notes.append(
            f"digits of {rough} {what} coordinate{'s' * (rough > 1)}: rounding is more than {_ROUGH:.0%} of what "
            "varies, beside a large offset; subtract it before rounding"
        )
    units = _units(spread[kept] / whole) * whole
    if gone:
        centred = centred[:, :, kept]
    return _Side(centred.div_(units), means[:, kept] / units, units.numpy(), kept, notes)


def _power_of_two(values: Tensor) -> float:
    """The size of the largest number; what is divided by it can be squared."""
    largest = max(float(values[part].abs().max()) for part in some_of(values))
    return 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0


def _rounding(values: Tensor) -> float:
    """The relative rounding of the numbers as they came; none of whole numbers that float32 can count."""
    if all(_is_whole(values[part]) for part in some_of(values)):
        return 0.0
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        if all(torch.equal(values[part], values[part].to(dtype).double()) for part in some_of(values)):
            return torch.finfo(dtype).eps
    return torch.finfo(torch.float64).eps


def _is_whole(values: Tensor) -> bool:
    return torch.equal(values, values.round()) and float(values.abs().max()) <= 2**24


def _units(spread: Tensor) -> Tensor:
    """One unit for coordinates of like size: where units differ, what is small in number is lost beside the large."""
    logs = spread.clamp_min(1e-150).log2()
    order = logs.argsort()
    starts = (logs[order].diff() > math.log2(_APART)).nonzero().flatten() + 1
    units = torch.empty_like(logs)
    for alike in order.tensor_split(starts):
        units[alike] = logs[alike].mean().exp2()
    return units


def _quietened(outs: _Side, here: Tensor) -> int:
    """Scale down tasks whose outputs vary far more than those of others; how many."""
    squares = torch.cat([outs.values[part].square().sum((1, 2)) for part in some_of(outs.values)])
    sizes = (squares / (here.sum(1) - 1)).sqrt()
    most = _LOUD * float(sizes.median())
    loud = sizes > most if most > 0 else torch.zeros_like(sizes, dtype=torch.bool)
    factors = torch.where(loud, most / sizes.clamp_min(1e-300), 1.0)
    outs.values.mul_(factors[:, None, None])
    outs.means = outs.means * factors[:, None]
    return int(loud.sum())


def _order(ins: _Side, outs: _Side, here: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Of the tasks, and ``(tasks, examples)`` of the examples in each of them so ordered; those not there come last."""
    keys = [values.new_empty(here.shape) for values in (ins.values, outs.values)]
    for key, values in zip(keys, (ins.values, outs.values), strict=True):
        spread = spread_within(values, here)
        for part in some_of(values):
            key[part] = (values[part] / spread).square().sum(2)
    tasks = _ranked(*(key.sum(1)[None] for key in keys))[0]
    draw = torch.Generator().manual_seed(seed)
    tasks = tasks[torch.randperm(len(tasks), generator=draw)]
    gone = ~here[tasks]
    examples = _ranked(*(key[tasks].masked_fill(gone, math.inf) for key in keys))
    counts = here[tasks].sum(1)
    most = int(counts.max())
    gone = torch.arange(most) >= counts[:, None]
    # An order of its own for each task: the ranks depend on the noise where inputs are equal.
    mixed = torch.rand(len(tasks), most, generator=draw).masked_fill(gone, 2.0).sort(dim=1, stable=True).indices
    return tasks, examples.gather(1, mixed)


def _ranked(first: Tensor, second: Tensor) -> Tensor:
    """Indices ``(…, size)`` in the order of the first keys, and of the second ones where those are equal."""
    by_second = second.sort(dim=1, stable=True).indices
    first = first.gather(1, by_second)
    by_first = first.sort(dim=1, stable=True)
    steps = by_first.values.diff(dim=1)
    largest = by_first.values.masked_fill(by_first.values.isinf(), 0.0).amax(1, keepdim=True)
    groups = torch.zeros_like(first, dtype=torch.int64)
    groups[:, 1:] = (steps > _TIE * largest).cumsum(1)
    # Equal within rounding is equal, and then the order by the second key stands.
    level = torch.empty_like(groups).scatter_(1, by_first.indices, groups)
    return by_second.gather(1, level.sort(dim=1, stable=True).indices)


def _placed(values: Tensor, tasks: Tensor, examples: Tensor) -> Tensor:
    """The values in this order, in their own memory: first the tasks, an example of each at a time, then examples."""
    for place in range(values.shape[1]):
        values[:, place] = values[tasks, place]
    most = examples.shape[1]
    for part in some_of(values):
        index = examples[part, :, None].expand(-1, -1, values.shape[2])
        values[part, :most] = values[part].gather(1, index)
    return values if most == values.shape[1] else values[:, :most].contiguous()
