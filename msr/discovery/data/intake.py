"""What a caller gives, as tasks of unequal lengths: formats are read, missing values and copies left out."""

import contextlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.arrays import as_tensor, kind_of
from msr.brief import Brief
from msr.discovery.data.duplicates import example_hashes, repeated_examples, task_hashes
from msr.discovery.thresholds import THRESHOLDS
from msr.errors import ConfigError, DataError, ShapeError

__all__ = ["Taken", "counted", "take"]

# Tasks that are read or looked at together: a limit of memory.
_AT_ONCE = 500


@dataclass(frozen=True, eq=False, repr=False)
class Taken(Brief):
    """Tasks side by side in one tensor; a short task is padded with rows of zeros.

    Attributes:
        x: ``(tasks, examples, ...)`` float64; ``y`` likewise.
        present: ``(tasks, examples)``, whether a row is an example that counts: neither padding nor left out.
        positions: ``(tasks, examples)``, the index of each example in its task as the caller gave it, or of each row in
            the one data set. Rows that are not present have any number.
        origin: ``(tasks,)``, the index of each task in what the caller gave, or the number of the piece.
        fresh: ``(tasks,)`` booleans, True for tasks that the caller keeps for the test; None where that was not said.
        notes: what was left out or changed, as sentences for the user.
        pieces: whether the tasks are pieces of one data set.
    """

    x: Tensor
    y: Tensor
    present: Tensor
    positions: Tensor
    origin: NDArray[np.int64]
    fresh: Tensor | None
    notes: tuple[str, ...]
    pieces: bool

    def only(self, chosen: NDArray[np.bool_], why: str) -> "Taken":
        """The chosen tasks alone, with a note of how many others were left out and ``why``; no note if all are chosen.

        ``chosen (tasks,)`` are booleans. ``why`` follows the number in the note, as in ``3 tasks whose inputs …``.
        """
        if chosen.all():
            return self
        places = torch.from_numpy(np.flatnonzero(chosen))
        note = f"{counted(int((~chosen).sum()), 'task')} {why}"
        return replace(
            self,
            x=self.x[places],
            y=self.y[places],
            present=self.present[places],
            positions=self.positions[places],
            origin=self.origin[chosen],
            fresh=None if self.fresh is None else self.fresh[places],
            notes=(*self.notes, note),
        )


def take(x: Any, y: Any = None, fresh: Any = None) -> Taken:
    """Tasks from tensors, arrays, lists of them, or a list of pairs; each thing that is left out is noted.

    - ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``; ``y`` may lack its last axis if it is one number;
    - lists of ``x_i (examples, ...)`` and of ``y_i (examples, ...)``, or one list of pairs ``(x_i, y_i)`` and no ``y``;
      the tasks may have unequal numbers of examples;
    - one data set, ``x (rows, inputs)`` and ``y (rows, outputs)`` or ``(rows,)``: it is cut, in the order of its rows,
      into 80 to 400 pieces, which count as tasks.

    Examples with a nan or an infinity are left out. Of equal examples in a task, and of equal tasks, one counts: copies
    are not independent, and would make every test too sure. The one task that stands for several copies is fresh if
    all of them are (``fresh``, ``(tasks,)``).

    Raises: ShapeError, DataError for what cannot be read as tasks, or holds no complete example; ConfigError for
    ``fresh`` beside one data set.
    """
    taken = _with_fresh(_gathered(x, y), fresh)
    complete = _complete(taken.x) & _complete(taken.y)
    if not (complete & taken.present).any():
        raise DataError("every example holds a nan or an infinity: there is nothing left to learn from")
    taken = _without(taken, ~complete, "with missing or infinite values")
    hashes = example_hashes(taken.x, taken.y)
    repeated = torch.from_numpy(repeated_examples(hashes, taken.present.numpy()))
    taken = _without(taken, repeated, "equal to another one of their task")
    if taken.pieces:
        return _cut(taken)
    return _without_copies(taken, hashes)


def counted(number: int, noun: str) -> str:
    """A number and its noun: ``1 task``, ``2,400 tasks``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _without_copies(taken: Taken, hashes: NDArray[np.uint64]) -> Taken:
    """The first of each set of equal tasks, with a note of how many copies were left out.

    ``hashes (tasks, examples)`` are those of the examples. Where ``fresh`` is known, the task that stands for its
    copies is fresh only if all of them are.
    """
    keys = task_hashes(hashes, taken.present.numpy())
    _, first_places, copy_of = np.unique(keys, return_index=True, return_inverse=True)
    first = np.zeros(len(taken.x), dtype=bool)
    first[first_places] = True
    copies = int((~first).sum())
    if copies and taken.fresh is not None:
        # A task of which any copy may teach is not fresh: the test would see what was learned from.
        may_teach = torch.zeros(len(first_places), dtype=torch.bool)
        may_teach[torch.from_numpy(copy_of)[~taken.fresh]] = True
        taken = replace(taken, fresh=~may_teach[torch.from_numpy(copy_of)])
    return taken.only(first, "that repeats another one" if copies == 1 else "that repeat another one")


def _complete(values: Tensor) -> Tensor:
    """Whether each example holds neither a nan nor an infinity, ``(tasks, examples)`` booleans."""
    return torch.cat([batch.flatten(2).isfinite().all(2) for batch in values.split(_AT_ONCE)])


def _with_fresh(taken: Taken, fresh: Any) -> Taken:
    """The tasks with ``fresh (tasks,)`` stored: the caller's flags of which are kept for the test; None stores none.

    Raises: ConfigError for flags beside one data set; ShapeError for another shape, or for numbers but 0 and 1.
    """
    if fresh is None:
        return taken
    if taken.pieces:
        raise ConfigError("fresh says which tasks are kept for the last test; one data set has no tasks")
    flags = as_tensor(fresh, "fresh").cpu()
    if flags.shape != (len(taken.x),):
        raise ShapeError(f"fresh must say of each of the {len(taken.x)} tasks whether it is; got {tuple(flags.shape)}")
    if not ((flags == 0) | (flags == 1)).all():
        raise ShapeError("fresh must be true or false for each task; got other numbers")
    return replace(taken, fresh=flags.bool())


def _gathered(x: Any, y: Any) -> Taken:
    """All tasks with all their examples, read from whichever of the formats of :func:`take` they are in.

    Raises: ShapeError where ``x`` and ``y`` do not fit together, DataError where one of them is empty or no tasks.
    """
    if y is None:
        pairs = _as_pairs(x)
        return _side_by_side([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    if _is_listed(x) and _is_listed(y):
        if len(x) != len(y):
            raise ShapeError(f"x is a list of {len(x)} tasks and y of {len(y)}: there must be as many")
        return _side_by_side(x, y)
    a = _numbers(x, "x")
    b = _numbers(y, "y")
    if a.ndim <= 2 and b.ndim <= 2:
        return _one_data_set(a, b)
    a, b = (t.unsqueeze(2) if t.ndim == 2 else t for t in (a, b))
    if a.ndim < 3 or b.ndim < 3:
        raise ShapeError(f"x and y must be (tasks, examples, ...); got {tuple(a.shape)} and {tuple(b.shape)}")
    if a.shape[:2] != b.shape[:2]:
        raise ShapeError(f"x has {tuple(a.shape[:2])} tasks and examples, y has {tuple(b.shape[:2])}")
    return _whole(a, b, torch.ones(a.shape[:2], dtype=torch.bool), pieces=False)


def _as_pairs(x: Any) -> list[tuple[Any, Any]]:
    """The pairs ``(x_i, y_i)``, one for each task, that ``x`` must hold where there is no ``y``; else DataError."""
    if not isinstance(x, (list, tuple)) or not x:
        raise DataError(f"without y, x must be a list of pairs (x_i, y_i), one for each task; got {kind_of(x)}")
    for i, pair in enumerate(x):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise DataError(f"without y, x must be a list of pairs (x_i, y_i); entry {i} is {kind_of(pair)}")
    return [(pair[0], pair[1]) for pair in x]


def _is_listed(value: Any) -> bool:
    """Whether ``value`` is a list of tasks: of arrays with axes, or of nested lists that do not fit into one array.

    Nested lists of numbers that do fit into one array are read as that array, so the answer is False for them.
    """
    if not isinstance(value, (list, tuple)) or not value:
        return False
    if all(hasattr(item, "__array__") and np.ndim(item) > 0 for item in value):
        return True
    try:
        as_tensor(value, "x")
    except ShapeError:  # nested lists of unequal lengths can only be tasks of unequal lengths
        return True
    return False


def _numbers(value: Any, name: str) -> Tensor:
    """The value as a float64 tensor on the CPU, without gradient.

    Raises: ShapeError for a single number, complex numbers or booleans, and DataError where it is empty; the messages
    call it ``name``.
    """
    if isinstance(value, np.memmap) and value.ndim and value.dtype.kind in "fiu" and value.size:
        return _read(value)
    if isinstance(value, (list, tuple)) and not any(isinstance(item, Tensor) for item in value):
        # Python's numbers have the digits of float64, of which as_tensor would keep torch's default only. Where the
        # list is no array, as_tensor says what is wrong with it.
        with contextlib.suppress(ValueError, TypeError):
            value = np.asarray(value, dtype=np.float64)
    t = as_tensor(value, name).detach().cpu()
    if t.ndim < 1 or t.is_complex() or t.dtype == torch.bool:
        raise ShapeError(f"{name} must be real numbers (tasks, examples, ...); got {t.dtype} {tuple(t.shape)}")
    if t.numel() == 0:
        raise DataError(f"{name} is empty: {tuple(t.shape)}")
    return t.double()


def _read(mapped: np.memmap) -> Tensor:
    """A copy of a memory-mapped array as a float64 tensor.

    The array's pages are given back to the system as they are read: they would count as memory of this process.
    """
    values = torch.empty(mapped.shape, dtype=torch.float64)
    target = values.numpy()
    file = mapped._mmap  # type: ignore[attr-defined]
    for first in range(0, len(mapped), _AT_ONCE):
        target[first : first + _AT_ONCE] = mapped[first : first + _AT_ONCE]
        if hasattr(mmap, "MADV_DONTNEED") and isinstance(file, mmap.mmap) and not mapped.flags.writeable:
            file.madvise(mmap.MADV_DONTNEED)
    return values


def _side_by_side(x: Sequence[Any], y: Sequence[Any]) -> Taken:
    """Lists of tasks ``x_i (examples, ...)``, ``y_i (examples, ...)`` as one tensor a side, padded with zeros.

    Raises: ShapeError where the examples of two tasks differ in shape, or ``x_i`` and ``y_i`` in number.
    """
    sides = []
    for name, parts in (("x", x), ("y", y)):
        tensors = [_numbers(part, f"{name}[{i}]") for i, part in enumerate(parts)]
        tensors = [t.unsqueeze(1) if t.ndim == 1 else t for t in tensors]
        shape = tensors[0].shape[1:]
        for i, t in enumerate(tensors):
            if t.shape[1:] != shape:
                raise ShapeError(
                    f"the examples of all tasks must have one shape; in {name}[0] they are {tuple(shape)}, in "
                    f"{name}[{i}] {tuple(t.shape[1:])}"
                )
        sides.append(tensors)
    counts = [len(t) for t in sides[0]]
    for i, (a, b) in enumerate(zip(*sides, strict=True)):
        if len(a) != len(b):
            raise ShapeError(f"task {i} has {len(a)} examples in x and {len(b)} in y")
    a, b = (torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True) for tensors in sides)
    return _whole(a, b, torch.arange(max(counts)) < torch.tensor(counts)[:, None], pieces=False)


def _one_data_set(x: Tensor, y: Tensor) -> Taken:
    """The rows of one data set as a single task, which :func:`_cut` cuts once copies are gone.

    Shapes: ``x (rows, inputs)``, ``y (rows, outputs)`` or ``(rows,)``; ShapeError for others.
    """
    if x.ndim != 2:
        raise ShapeError(f"x of one data set must be (rows, inputs); got {tuple(x.shape)}")
    y = y.unsqueeze(1) if y.ndim == 1 else y
    if len(x) != len(y):
        raise ShapeError(
            f"x {tuple(x.shape)} and y {tuple(y.shape)} are one data set, with as many rows in both; tasks are "
            "(tasks, examples, inputs)"
        )
    return _whole(x[None], y[None], torch.ones(1, len(x), dtype=torch.bool), pieces=True)


def _whole(x: Tensor, y: Tensor, present: Tensor, *, pieces: bool) -> Taken:
    """All tasks in the caller's order, without a note: places in what the caller gave are places in the tensors."""
    positions = torch.arange(present.shape[1]).expand(present.shape)
    return Taken(x, y, present, positions, np.arange(len(x)), None, (), pieces)


def _without(taken: Taken, excluded: Tensor, why: str) -> Taken:
    """The tasks with the ``excluded`` examples ``(tasks, examples)`` marked absent, and a note of how many and ``why``.

    Rows of absent examples stay in place and are set to zero, in copies of the tensors.
    """
    if not excluded.any():
        return taken
    tasks = int(excluded.any(1).sum())
    where = "" if taken.pieces else f", in {counted(tasks, 'task')}"
    present = taken.present & ~excluded
    x, y = (side.masked_fill(~present.view(*present.shape, *[1] * (side.ndim - 2)), 0.0) for side in (taken.x, taken.y))
    note = f"{counted(int(excluded.sum()), 'example')} {why}{where}"
    return replace(taken, x=x, y=y, present=present, notes=(*taken.notes, note))


def _cut(taken: Taken) -> Taken:
    """One data set cut into tasks: pieces of like length, in the order of its rows, with a note of their number.

    The wanted length is ``2 n + 6`` rows for ``n`` inputs, and more where there would be more than 400 pieces. Where it
    gives fewer than 80 pieces, shorter ones are made, down to 6 rows each.
    """
    limits = THRESHOLDS()
    # Rows keep their order: a slow drift of offsets is then taken off with the mean of each piece.
    rows = taken.present[0].nonzero().flatten()
    total = len(rows)
    inputs = taken.x.shape[2]
    shortest = limits.piece_rows_per_input * inputs + limits.piece_rows_spare
    wanted = max(shortest, -(-total // limits.pieces_most))
    size = wanted
    if total < limits.fewest_tasks * wanted:
        size = max(limits.piece_rows_fewest, total // limits.fewest_tasks)
    pieces = rows.tensor_split(max(1, total // size))
    sizes = {len(piece) for piece in pieces}
    x, y, positions = (
        torch.nn.utils.rnn.pad_sequence([side[0, piece] for piece in pieces], batch_first=True)
        for side in (taken.x, taken.y, taken.positions)
    )
    present = torch.arange(x.shape[1]) < torch.tensor([len(piece) for piece in pieces])[:, None]
    note = f"one data set: its {total:,} rows were cut into {counted(len(pieces), 'task')} of " + " or ".join(
        map(str, sorted(sizes))
    )
    return Taken(x, y, present, positions, np.arange(len(pieces)), None, (*taken.notes, note), True)
