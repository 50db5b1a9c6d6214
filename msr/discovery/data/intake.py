"""What a caller gives, as tasks of unequal size: missing and repeated examples, copies and one data set are handled."""

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
from msr.errors import ConfigError, DataError, ShapeError

__all__ = ["FEWEST", "FEWEST_EXAMPLES", "Taken", "counted", "take"]

FEWEST = 80  # tasks
FEWEST_EXAMPLES = 3  # of a task: two of them always lie on a line
# One data set is cut into pieces of at least so many rows, so many more than twice its inputs where there are enough.
_FEWEST_ROWS, _SPARE_ROWS = 6, 6
_AT_ONCE = 500  # tasks that are looked at together
# And into no more pieces than that: longer ones say more of their own weights.
_MOST_PIECES = 400


@dataclass(frozen=True, eq=False, repr=False)
class Taken(Brief):
    """Tasks side by side; a short one is padded with zeros.

    Attributes:
        x: ``(tasks, examples, ...)`` float64; ``y`` alike.
        here: ``(tasks, examples)``, which examples are there and count.
        place: ``(tasks, examples)``, the place of each in its task as it came.
        came: ``(tasks,)``, the place of each task in what came.
        fresh: ``(tasks,)``, which tasks were named as fresh; None where none were.
        notes: what was done to it, in words.
        pieces: they are pieces of one data set.
    """

    x: Tensor
    y: Tensor
    here: Tensor
    place: Tensor
    came: NDArray[np.int64]
    fresh: Tensor | None
    notes: tuple[str, ...]
    pieces: bool

    def only(self, tasks: NDArray[np.bool_], why: str) -> "Taken":
        """Those tasks alone; ``why`` the others are left out, after their number."""
        if tasks.all():
            return self
        kept = torch.from_numpy(np.flatnonzero(tasks))
        return replace(
            self, x=self.x[kept], y=self.y[kept], here=self.here[kept], place=self.place[kept], came=self.came[tasks],
            fresh=None if self.fresh is None else self.fresh[kept],
            notes=(*self.notes, f"{counted(int((~tasks).sum()), 'task')} {why}"),
        )  # fmt: skip


def take(x: Any, y: Any = None, fresh: Any = None) -> Taken:
    """Tasks from tensors, arrays, lists of them, or a list of pairs; what does not count is taken out, and said.

    - ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``; ``y`` may leave out its last axis if it is one number;
    - lists of ``x_i (examples, ...)`` and of ``y_i (examples, ...)``, or one list of pairs ``(x_i, y_i)`` and no ``y``;
      the tasks may have unequal numbers of examples;
    - one data set, ``x (rows, inputs)`` and ``y (rows, outputs)`` or ``(rows,)``: it is cut, in the order of its rows,
      into 80 to 400 pieces, which count as tasks.

    Examples with a nan or an infinity are left out. Of equal examples in a task, and of equal tasks, one counts; that
    one is fresh if all of them are (``fresh``, ``(tasks,)``).

    Raises: ShapeError, DataError for what cannot be read as tasks, or holds no complete example.
    """
    raw = _with_fresh(_gathered(x, y), fresh)
    complete = _complete(raw.x) & _complete(raw.y)
    if not (complete & raw.here).any():
        raise DataError("every example holds a nan or an infinity: there is nothing left to learn from")
    raw = _less(raw, ~complete, "with missing or infinite values")
    rows = _row_hashes(raw)
    raw = _less(raw, torch.from_numpy(_repeated(rows, raw.here.numpy())), "equal to another one of their task")
    if raw.pieces:
        return _cut(raw)
    _, of_kind, kinds = np.unique(_task_hashes(rows, raw.here.numpy()), return_index=True, return_inverse=True)
    first = np.zeros(len(raw.x), dtype=bool)
    first[of_kind] = True
    copies = int((~first).sum())
    if copies and raw.fresh is not None:
        seen = torch.zeros(len(of_kind), dtype=torch.bool)
        seen[torch.from_numpy(kinds)[~raw.fresh]] = True
        raw = replace(raw, fresh=~seen[torch.from_numpy(kinds)])
    return raw.only(first, "that repeats another one" if copies == 1 else "that repeat another one")


def _complete(values: Tensor) -> Tensor:
    """``(tasks, examples)``, which of them hold neither a nan nor an infinity."""
    return torch.cat([some.flatten(2).isfinite().all(2) for some in values.split(_AT_ONCE)])


def _with_fresh(raw: Taken, fresh: Any) -> Taken:
    if fresh is None:
        return raw
    if raw.pieces:
        raise ConfigError("fresh says which tasks are kept for the last test; one data set has no tasks")
    flags = as_tensor(fresh, "fresh").cpu()
    if flags.shape != (len(raw.x),):
        raise ShapeError(f"fresh must say of each of the {len(raw.x)} tasks whether it is; got {tuple(flags.shape)}")
    if not ((flags == 0) | (flags == 1)).all():
        raise ShapeError("fresh must be true or false for each task; got other numbers")
    return replace(raw, fresh=flags.bool())


def counted(number: int, noun: str) -> str:
    """``1 task``, ``2,400 tasks``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _gathered(x: Any, y: Any) -> Taken:
    """As it came: nothing is left out yet."""
    if y is None:
        pairs = _as_pairs(x)
        return _side_by_side([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    if _is_listed(x) and _is_listed(y):
        if len(x) != len(y):
            raise ShapeError(f"x is a list of {len(x)} tasks and y of {len(y)}: there must be as many")
        return _side_by_side(x, y)
    a, b = _numbers(x, "x"), _numbers(y, "y")
    if a.ndim <= 2 and b.ndim <= 2:
        return _one_data_set(a, b)
    a, b = (t.unsqueeze(2) if t.ndim == 2 else t for t in (a, b))
    if a.ndim < 3 or b.ndim < 3:
        raise ShapeError(f"x and y must be (tasks, examples, ...); got {tuple(a.shape)} and {tuple(b.shape)}")
    if a.shape[:2] != b.shape[:2]:
        raise ShapeError(f"x has {tuple(a.shape[:2])} tasks and examples, y has {tuple(b.shape[:2])}")
    return _whole(a, b, torch.ones(a.shape[:2], dtype=torch.bool), pieces=False)


def _as_pairs(x: Any) -> list[tuple[Any, Any]]:
    if not isinstance(x, (list, tuple)) or not x:
        raise DataError(f"without y, x must be a list of pairs (x_i, y_i), one for each task; got {kind_of(x)}")
    for i, pair in enumerate(x):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise DataError(f"without y, x must be a list of pairs (x_i, y_i); entry {i} is {kind_of(pair)}")
    return [(pair[0], pair[1]) for pair in x]


def _is_listed(value: Any) -> bool:
    """Whether it is a list of arrays, each of them a task; nested lists of numbers are read as one array."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    if all(hasattr(one, "__array__") and np.ndim(one) > 0 for one in value):
        return True
    try:
        as_tensor(value, "x")
    except ShapeError:  # of unequal lengths
        return True
    return False


def _numbers(value: Any, name: str) -> Tensor:
    if isinstance(value, np.memmap) and value.ndim and value.dtype.kind in "fiu" and value.size:
        return _read(value)
    if isinstance(value, (list, tuple)) and not any(isinstance(one, Tensor) for one in value):
        with contextlib.suppress(ValueError, TypeError):  # as_tensor says what is wrong
            value = np.asarray(value, dtype=np.float64)  # Python's numbers have as many digits
    t = as_tensor(value, name).detach().cpu()
    if t.ndim < 1 or t.is_complex() or t.dtype == torch.bool:
        raise ShapeError(f"{name} must be real numbers (tasks, examples, ...); got {t.dtype} {tuple(t.shape)}")
    if t.numel() == 0:
        raise DataError(f"{name} is empty: {tuple(t.shape)}")
    return t.double()


def _read(mapped: np.memmap) -> Tensor:
    """A mapped array in float64; its pages are given back as they are read, since they would count as ours."""
    values = torch.empty(mapped.shape, dtype=torch.float64)
    out, file = values.numpy(), mapped._mmap  # type: ignore[attr-defined]
    for first in range(0, len(mapped), _AT_ONCE):
        out[first : first + _AT_ONCE] = mapped[first : first + _AT_ONCE]
        if hasattr(mmap, "MADV_DONTNEED") and isinstance(file, mmap.mmap) and not mapped.flags.writeable:
            file.madvise(mmap.MADV_DONTNEED)
    return values


def _side_by_side(x: Sequence[Any], y: Sequence[Any]) -> Taken:
    """Lists of tasks, each ``(examples, ...)``."""
    sides: list[list[Tensor]] = []
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
    if x.ndim != 2:
        raise ShapeError(f"x of one data set must be (rows, inputs); got {tuple(x.shape)}")
    y = y.unsqueeze(1) if y.ndim == 1 else y
    if len(x) != len(y):
        raise ShapeError(
            f"x {tuple(x.shape)} and y {tuple(y.shape)} are one data set, with as many rows in both; tasks are "
            "(tasks, examples, inputs)"
        )
    return _whole(x[None], y[None], torch.ones(1, len(x), dtype=torch.bool), pieces=True)


def _whole(x: Tensor, y: Tensor, here: Tensor, *, pieces: bool) -> Taken:
    place = torch.arange(here.shape[1]).expand(here.shape)
    return Taken(x, y, here, place, np.arange(len(x)), None, (), pieces)


def _less(taken: Taken, gone: Tensor, why: str) -> Taken:
    """Without those examples, which is said."""
    if not gone.any():
        return taken
    tasks = int(gone.any(1).sum())
    where = "" if taken.pieces else f", in {counted(tasks, 'task')}"
    here = taken.here & ~gone
    x, y = (side.masked_fill(~here.view(*here.shape, *[1] * (side.ndim - 2)), 0.0) for side in (taken.x, taken.y))
    note = f"{counted(int(gone.sum()), 'example')} {why}{where}"
    return replace(taken, x=x, y=y, here=here, notes=(*taken.notes, note))


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64, which leaves no bit of 64 where it was (Steele, Lea and Flood, 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _row_hashes(taken: Taken) -> NDArray[np.uint64]:
    """Of each example ``(tasks, examples)``: equal for equal numbers, and else for no two in 2⁶⁴."""
    found = []
    for x, y in zip(taken.x.split(_AT_ONCE), taken.y.split(_AT_ONCE), strict=True):
        # Adding zero makes one of the two zeros.
        bits = (torch.cat([x.flatten(2), y.flatten(2)], 2) + 0.0).numpy().view(np.uint64)
        salts = np.arange(1, bits.shape[2] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        found.append(_mixed(_mixed(bits + salts).sum(2, dtype=np.uint64)))
    return np.concatenate(found)


def _repeated(rows: NDArray[np.uint64], here: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which examples equal an earlier one of their task."""
    ranked = np.lexsort((rows, ~here), axis=1)
    again = np.take_along_axis(rows, ranked, 1)
    repeated = np.zeros(here.shape, dtype=bool)
    np.put_along_axis(repeated, ranked[:, 1:], again[:, 1:] == again[:, :-1], 1)
    return repeated & here


def _task_hashes(rows: NDArray[np.uint64], here: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Of each task, whatever the order of its examples."""
    return _mixed(np.where(here, rows, np.uint64(0)).sum(1, dtype=np.uint64) + here.sum(1).astype(np.uint64))


def _cut(taken: Taken) -> Taken:
    """One data set in pieces of like size, in the order of its rows."""
    rows = taken.here[0].nonzero().flatten()
    total = len(rows)
    wanted = max(2 * taken.x.shape[2] + _SPARE_ROWS, -(-total // _MOST_PIECES))
    size = wanted if total >= FEWEST * wanted else max(_FEWEST_ROWS, total // FEWEST)
    pieces = rows.tensor_split(max(1, total // size))
    sizes = {len(piece) for piece in pieces}
    x, y, place = (
        torch.nn.utils.rnn.pad_sequence([side[0, piece] for piece in pieces], batch_first=True)
        for side in (taken.x, taken.y, taken.place)
    )
    here = torch.arange(x.shape[1]) < torch.tensor([len(piece) for piece in pieces])[:, None]
    note = f"one data set: its {total:,} rows were cut into {counted(len(pieces), 'task')} of " + " or ".join(
        map(str, sorted(sizes))
    )
    return Taken(x, y, here, place, np.arange(len(pieces)), None, (*taken.notes, note), True)
