"""Tasks made ready for a discovery: centred, in comparable units, and in an order that only their numbers set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.brief import Brief
from msr.discovery.data.centring import centred, ranges, scale_down_loud_tasks
from msr.discovery.data.intake import Taken, take
from msr.discovery.data.magnitudes import check_magnitudes
from msr.discovery.data.null_directions import filled_with_noise, null_directions, null_directions_note
from msr.discovery.data.ordering import canonical_order, reordered
from msr.discovery.data.windows import Layer, as_linear
from msr.discovery.thresholds import THRESHOLDS
from msr.errors import DataError
from msr.permutations import Indices

__all__ = ["Layer", "Prepared", "prepare"]


@dataclass(frozen=True, eq=False, repr=False)
class Prepared(Brief):
    """Tasks ``x (tasks, examples, n)``, ``y (tasks, examples, m)``, float64, each less its own mean.

    A task's bias and the offsets of its inputs go with its means, so its weights are ``(m, n)``. Tasks, and the
    examples of each, are in an order that depends on their numbers alone
    (:func:`~msr.discovery.data.ordering.canonical_order`): the same data in another order, dtype, unit, sign or
    labelling of coordinates gives the same order, and so the same splits. Tasks with very large outputs are scaled down
    (:func:`~msr.discovery.data.centring.scale_down_loud_tasks`).

    Attributes:
        counts: ``(tasks,)``, how many examples each task has; rows from there on are zero.
        means: ``(tasks, n)``, ``(tasks, m)``: what was taken off, in the units of ``x`` and ``y``.
        origin: ``(tasks,)``, the index of each task in what the caller gave.
        positions: ``(tasks, examples)``, the index of each example (for a convolution of each window) in its task as
            the caller gave it; −1 from ``counts`` on.
        layer: ``linear``, ``conv1d`` or ``conv2d``.
        shape_in, shape_out: the shape of one input and one output of the linear layer, before coordinates were left
            out: for a convolution ``(channels, *taps)`` of a window, and ``(channels,)``.
        units: what inputs and outputs were divided by, ``(n,)`` and ``(m,)``; coordinates of like size have one unit.
        inputs, outputs: which coordinates of the layer vary and are kept, by their places in ``shape_in`` and
            ``shape_out``.
        null_directions: ``(n, r)``, an orthonormal basis of the directions that the inputs never take. Independent
            noise of the usual size stands there instead, so that weights there are zero.
        fresh: ``(tasks,)`` booleans, True for tasks that the caller keeps for the test; None where that was not said.
        left_out: what was left out or changed, as sentences for the user.
        too_few: what is missing where there are too few tasks to go on, else None.
    """

    x: Tensor
    y: Tensor
    counts: Tensor
    means: tuple[Tensor, Tensor]
    origin: NDArray[np.int64]
    positions: Tensor
    layer: Layer
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    units: tuple[NDArray[np.float64], NDArray[np.float64]]
    inputs: Indices
    outputs: Indices
    null_directions: Tensor
    fresh: Tensor | None
    left_out: tuple[str, ...]
    too_few: str | None

    @property
    def ties(self) -> Indices | None:
        """For a convolution, a label of each pair of inputs that a symmetry must keep, ``(n, n)``; else None.

        A symmetry of images moves the taps of a window as a symmetry of the grid, and all channels alike. So it keeps
        the distance of two taps, and whether they belong to one channel.
        """
        if self.layer == "linear":
            return None
        place = np.stack(np.unravel_index(self.inputs, self.shape_in), 1)
        gaps = place[:, None] - place[None]
        squared_distance = (gaps[:, :, 1:] ** 2).sum(2)
        other_channel = gaps[:, :, 0] != 0
        return squared_distance * 2 + other_channel

    @property
    def factors(self) -> NDArray[np.float64]:
        """Factors ``(m, n)``: weights that map ``x`` to ``y``, times these, are weights in the caller's units."""
        return self.units[1][:, None] / self.units[0][None]

    @property
    def labels(self) -> Indices | None:
        """Labels of weights, ``(m, n)``: equal where their inputs share a unit and their outputs do.

        None where all inputs have one unit and all outputs have one.
        """
        ins, outs = (np.unique(units, return_inverse=True)[1] for units in self.units)
        if not (ins.any() or outs.any()):
            return None
        # ``ins`` has fewer than len(ins) + 1 labels, so different pairs of labels get different numbers.
        return outs[:, None] * (len(ins) + 1) + ins[None]

    @property
    def n(self) -> int:
        """How many inputs of the layer are kept."""
        return self.x.shape[2]

    @property
    def m(self) -> int:
        """How many outputs of the layer are kept."""
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
    """The caller's tasks, checked, reshaped, centred and ordered, with notes of what was left out and what is missing.

    ``x`` and ``y`` are in one of the formats of :func:`~msr.discovery.data.intake.take`. A task with fewer than three
    different examples, or whose inputs or outputs never vary, is left out; so is a coordinate that varies in no task.

    Args:
        kernel: taps along each axis of a convolution; without it, the shapes must determine them.
        circular: the convolution wraps around; ``padding``: zeros beyond each end, or ``"same"`` for outputs of the
            size of inputs; ``stride``: of its windows.
        fresh: ``(tasks,)`` booleans, True for tasks that only test and teach nothing; None where that is left open.
        seed: of the pseudo-random order of tasks and of the examples of each.

    Raises: ShapeError, DataError, ConfigError for tensors and options that cannot be used. Too few tasks are no error:
    the result says so in ``too_few``, and where no task has three different examples it holds no task at all.
    """
    given = take(x, y, fresh)
    check_magnitudes(given)
    taken, shape_in, shape_out = as_linear(given, layer, kernel, circular, stride, padding)
    del given  # so that each side can be dropped below
    fewest = THRESHOLDS().fewest_examples
    enough = taken.present.sum(1).numpy() >= fewest
    if not enough.any():
        few = f"no task has {fewest} different examples; give more examples a task"
        return _nothing(taken, layer, shape_in, shape_out, few)
    taken = _varying(taken.only(enough, f"with fewer than {fewest} different examples"))
    # Each side as it was given is dropped as soon as it is centred: of large files no more than three sides are held.
    ins = centred(taken.x, taken.present, "input")
    taken = replace(taken, x=taken.x[:0].clone())
    outs = centred(taken.y, taken.present, "output")
    taken = replace(taken, y=taken.y[:0].clone())
    notes = [*taken.notes, *ins.notes, *outs.notes]
    loud = scale_down_loud_tasks(outs, taken.present)
    if loud:
        notes.append(
            f"the excess of {loud} task{'s' * (loud > 1)} with outputs of more than {THRESHOLDS().task_size_most:g} "
            "times the usual size: they are scaled down to it, so that a few tasks do not decide for all"
        )
    tasks, examples = canonical_order(ins.values, outs.values, taken.present, seed)
    x = reordered(ins.released(), tasks, examples)
    y = reordered(outs.released(), tasks, examples)
    present, positions = (t[tasks].gather(1, examples) for t in (taken.present, taken.positions))
    counts = present.sum(1)
    # With fewer examples than inputs, in all, nothing can be learned, and most directions are taken by none: they are
    # not looked for.
    learnable = x.shape[2] <= int((counts - 1).sum())
    directions = null_directions(x, present) if learnable else x.new_zeros(x.shape[2], 0)
    if directions.shape[1]:
        x = filled_with_noise(x, y, present, directions)
        notes.append(null_directions_note(directions))
    return Prepared(
        x=x,
        y=y,
        counts=counts,
        means=(ins.means[tasks], outs.means[tasks]),
        origin=taken.origin[tasks.numpy()],
        positions=positions.masked_fill(~present, -1),
        layer=layer,
        shape_in=shape_in,
        shape_out=shape_out,
        units=(ins.units, outs.units),
        inputs=ins.kept.numpy(),
        outputs=outs.kept.numpy(),
        null_directions=directions,
        fresh=None if taken.fresh is None else taken.fresh[tasks],
        left_out=tuple(notes),
        too_few=_too_few(taken),
    )


def _varying(taken: Taken) -> Taken:
    """The tasks in which both inputs and outputs vary, with a note of how many others were left out.

    Raises: DataError where there is no such task.
    """
    varying = []
    for name, side in (("inputs", taken.x), ("outputs", taken.y)):
        low, high = ranges(side, taken.present)
        varying.append((high > low).any(1).numpy())
        if not varying[-1].any():
            raise DataError(f"the {name} never vary within a task: there is nothing to learn from them")
    taken = taken.only(varying[0] & varying[1], "whose inputs or outputs never vary")
    if len(taken.x) == 0:
        raise DataError("in each task the inputs or the outputs never vary: there is nothing to learn from them")
    return taken


def _too_few(taken: Taken) -> str | None:
    """What is missing where there are fewer tasks than a discovery needs, as a sentence; else None."""
    limits = THRESHOLDS()
    count = len(taken.present)
    got = f"got {count} {'pieces of one data set' if taken.pieces else 'different tasks'}"
    if taken.fresh is None:
        return f"{got}; at least {limits.fewest_tasks} are needed" if count < limits.fewest_tasks else None
    fresh = int(taken.fresh.sum())
    fewest_fresh = limits.fewest_fresh_tasks
    fewest_others = limits.fewest_tasks - fewest_fresh
    if fresh >= fewest_fresh and count - fresh >= fewest_others:
        return None
    return (
        f"{got}, {fresh} of them fresh; at least {limits.fewest_tasks} are needed, {fewest_fresh} of them fresh and "
        f"{fewest_others} not"
    )


def _nothing(taken: Taken, layer: Layer, shape_in: tuple[int, ...], shape_out: tuple[int, ...], few: str) -> Prepared:
    """Prepared data without a single task, since none had enough examples; ``few`` says so."""
    n = taken.x.shape[2]
    m = taken.y.shape[2]
    none = torch.zeros(0, dtype=torch.int64)
    return Prepared(
        x=taken.x[:0],
        y=taken.y[:0],
        counts=none,
        means=(taken.x[:0, 0], taken.y[:0, 0]),
        origin=none.numpy(),
        positions=taken.positions[:0],
        layer=layer,
        shape_in=shape_in,
        shape_out=shape_out,
        units=(np.ones(n), np.ones(m)),
        inputs=np.arange(n),
        outputs=np.arange(m),
        null_directions=taken.x.new_zeros(n, 0),
        fresh=None if taken.fresh is None else taken.fresh[:0],
        left_out=taken.notes,
        too_few=few,
    )
