"""Task files: the user's own tasks as plain ``.npz`` arrays, read without running code, and the family of a file.

A task file holds ``x (tasks, examples, ...)`` and ``y (tasks, examples, ...)``. Where the truth is known, it also holds
``w``, the weight of each task: dense ``(tasks, out, in)`` or locally connected ``(tasks, out, kernel)``; further axes
of size one are ignored. Where some tasks are to be kept for the last test, ``split (tasks,)`` holds 1 for those and 0
for the tasks to learn from. Arrays of Python objects are refused, since reading them would run code.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError
from msr.files.archives import read_npz
from msr.files.writing import write_whole
from msr.span.angles import orthonormal_basis
from msr.tasks.base import Split, TaskFamily, check_indices, in_default_dtype
from msr.tasks.locally_connected import span_of_filters

__all__ = ["FileTasks", "read_arrays", "write_tasks"]

_NAMES = ("x", "y", "w", "split")
# Numbers that are checked at a time, 8 MiB in float64; any size gives the same answer.
_PIECE_NUMBERS = 1 << 20
# The largest number of a file over the largest of its usual task. Sums hold fourth powers, and (1e75)⁴ is close to the
# largest number of double precision.
_MOST_SPREAD = 1e75
# Singular values of true weights below this share of the largest are rounding: files hold weights in single precision,
# whose rounding is about 1e-7. Chosen by hand, far from both.
_SPAN_RTOL = 1e-4


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a task file by name: ``x`` and ``y``, and ``w`` and ``split`` where the file holds them; checked.

    They are memory-mapped where they are stored without compression. Further arrays of the file are not read.
    Raises: DataError naming the file, the array and the axis at fault; for damage, see :mod:`msr.files.archives`.
    """
    arrays = read_npz(path, _NAMES, mapped=True)
    for name in ("x", "y"):
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}; it needs x and y, each (tasks, examples, ...)")
    for name, array in arrays.items():
        if name == "split":
            _check_split(path, array, len(arrays["x"]))
        else:
            _check_array(path, name, array)
    x = arrays["x"]
    y = arrays["y"]
    for axis, meaning in ((0, "tasks"), (1, "examples")):
        if x.shape[axis] != y.shape[axis]:
            raise DataError(f"{path}: x has {x.shape[axis]} {meaning} (axis {axis}), y has {y.shape[axis]}")
    if "w" in arrays and len(arrays["w"]) != len(x):
        raise DataError(f"{path}: x has {len(x)} tasks (axis 0), w has {len(arrays['w'])}")
    return arrays


@takes_arrays("x", "y", "w")
def write_tasks(path: Path, x: Tensor, y: Tensor, w: Tensor | None = None) -> None:
    """Write a task file without compression, so that it can be memory-mapped; whole or not at all.

    A file of that name is replaced. ``w`` is left out where it is None. The arrays keep their dtypes, and are not
    checked.
    Shapes: ``x, y (tasks, examples, ...)``, ``w (tasks, ...)``.
    Raises: DataError where the file cannot be written.
    """
    path = Path(path)
    arrays = {name: t.detach().cpu().numpy() for name, t in {"x": x, "y": y, "w": w}.items() if t is not None}
    try:
        write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


@dataclass(frozen=True, eq=False)
class FileTasks(TaskFamily):
    """The tasks of a file, for training and for testing: as its array ``split`` says, where it holds one.

    Else the first ``1 − test_fraction`` of them are for training, the rest for testing.

    The first ``shots`` examples of each task are its support set, the others its query set. Arrays that are stored
    without compression stay on the disk and are read as they are needed. ``seed`` decides which tasks :meth:`draw`
    gives; ``arrays`` are what :func:`read_arrays` gives.
    Raises: DataError naming the file, the array and the axis at fault, also where a split is left empty; ConfigError
    for shots or a fraction that leave nothing.
    """

    path: Path
    shots: int = 1
    test_fraction: float = 0.2
    seed: int = 0
    arrays: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.test_fraction < 1:
            raise ConfigError(f"test_fraction must lie between 0 and 1; got {self.test_fraction}")
        arrays = read_arrays(Path(self.path))
        object.__setattr__(self, "arrays", arrays)
        examples = arrays["x"].shape[1]
        if not 1 <= self.shots < examples:
            raise ConfigError(
                f"{self.path}: each task has {examples} examples (axis 1 of x), so shots must be 1 to {examples - 1}; "
                f"got {self.shots}"
            )
        if min(self.n_tasks("train"), self.n_tasks("test")) < 1:
            by = "its array 'split'" if "split" in arrays else f"a test share of {self.test_fraction}"
            raise DataError(f"{self.path} holds {len(arrays['x'])} tasks; {by} leaves a split empty")

    def n_tasks(self, split: Split) -> int:
        """How many of the file's tasks the split holds: for "test" those that the file's ``split`` keeps, or else the
        rounded ``test_fraction`` of all; for "train" the rest.
        """
        return len(self._places(split))

    def _places(self, split: Split) -> np.ndarray:
        """The places in the file of the split's tasks, ascending."""
        count = len(self.arrays["x"])
        if "split" in self.arrays:
            return np.flatnonzero(np.asarray(self.arrays["split"]) == (split == "test"))
        n_test = round(self.test_fraction * count)
        return np.arange(count - n_test, count) if split == "test" else np.arange(count - n_test)

    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The split's tasks with these indices, each with ``shots`` support examples and all further ones as queries.

        Whole numbers in ``y`` are labels and stay whole (int64); all other arrays become torch's default dtype.
        Raises: ConfigError for an index outside of the split; DataError for numbers that torch cannot hold.
        """
        x, y = self._rows("x", split, tasks), self._rows("y", split, tasks)
        return Episodes.split(x, y, self.shots)

    @takes_arrays("tasks")
    def true_weights(self, split: Split, tasks: Tensor) -> Tensor | None:
        """The weights ``w`` of these tasks, ``(tasks, out, in or kernel)``; None for a file without ``w``.

        Axes of size one are left out, the first ones first, as long as there are more than two beside that of tasks.
        """
        if "w" not in self.arrays:
            return None
        w = self._rows("w", split, tasks)
        sizes = list(w.shape[1:])
        # A single output or input has an axis of size one of its own, which is none of the further ones.
        while len(sizes) > 2 and 1 in sizes:
            sizes.remove(1)
        return w.reshape(len(w), *sizes)

    def true_span(self) -> Tensor | None:
        """An orthonormal basis of the span of the training tasks' true weights, ``(out · in, k)`` float64.

        None without ``w``, or where ``w`` is neither a dense matrix nor filters of locally connected maps for each
        task.
        """
        n_train = self.n_tasks("train")
        w = self.true_weights("train", torch.arange(n_train))
        if w is None or w.ndim != 3:
            return None
        # An array of tasks and examples alone holds one number for each example.
        length = (1, *self.arrays["x"].shape[2:])[-1]
        out_length = (1, *self.arrays["y"].shape[2:])[-1]
        if tuple(w.shape[1:]) == (out_length, length):
            return orthonormal_basis(w.flatten(1).mT, rtol=_SPAN_RTOL)
        if w.shape[1] == out_length and out_length in (length, length - w.shape[2] + 1):
            return span_of_filters(w, length, rtol=_SPAN_RTOL)
        return None

    def _rows(self, name: str, split: Split, tasks: Tensor) -> Tensor:
        """The rows of array ``name`` for these tasks of the split, as a tensor of torch's default dtype; int64 for
        labels in ``y``.

        Whole numbers in ``y`` are labels. Raises: ConfigError for an index outside of the split; DataError for numbers
        that torch cannot hold.
        """
        places = self._places(split)
        check_indices(split, tasks, len(places))
        rows = self.arrays[name][places[tasks.numpy()]]
        whole = rows.dtype.kind in "iu"
        if rows.dtype == np.uint64 and (rows > np.iinfo(np.int64).max).any():
            raise DataError(f"{self.path}: array {name!r} has whole numbers from 2^63 on; torch has none that large")
        # NumPy converts what torch does not read: other byte orders, unsigned numbers.
        native = np.dtype(np.int64) if whole else rows.dtype.newbyteorder("=")
        numbers = torch.from_numpy(np.ascontiguousarray(rows, dtype=native))
        return numbers if whole and name == "y" else in_default_dtype(numbers, f"{self.path}: array {name!r}")


def _check_array(path: Path, name: str, array: np.ndarray) -> None:
    """Raise DataError unless an array holds finite numbers in the shape ``(tasks, examples, ...)``."""
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise DataError(
            f"{path}: array {name!r} has dtype {array.dtype}; real or whole numbers of at most 64 bits are needed"
        )
    if array.ndim < 2:
        raise DataError(f"{path}: array {name!r} must be (tasks, examples, ...); its shape is {array.shape}")
    if 0 in array.shape:
        raise DataError(f"{path}: array {name!r} is empty along axis {array.shape.index(0)} (shape {array.shape})")
    _check_values(path, name, array)


def _check_values(path: Path, name: str, array: np.ndarray) -> None:
    """Raise DataError for a nan, an infinity, or a number above 1e75 times the largest number of the usual task.

    The usual task is the median of those that are not all zero. Some tasks are read at a time, because the array may be
    larger than memory.
    """
    most = np.empty(len(array))  # the largest absolute value of each task
    step = max(1, _PIECE_NUMBERS // max(1, array[0].size))
    for start in range(0, len(array), step):
        values = np.asarray(array[start : start + step]).reshape(len(most[start : start + step]), -1)
        # The largest of max and −min needs no copy of the values, and both keep a nan. An absolute value in their own
        # dtype would overflow for the least whole number.
        high = values.max(1).astype(np.float64)
        low = values.min(1).astype(np.float64)
        most[start : start + step] = np.maximum(high, -low)
    if not np.isfinite(most).all():
        task = int(np.argmin(np.isfinite(most)))
        at = np.argwhere(~np.isfinite(array[task]))[0].tolist()
        where = (task, *at)
        raise DataError(f"{path}: array {name!r} has a {array[where]} at index {where}; remove that task")
    if not most.any():
        return
    usual = float(np.median(most[most > 0]))
    task = int(np.argmax(most))
    if most[task] / _MOST_SPREAD > usual:
        raise DataError(
            f"{path}: array {name!r} has a number of size {most[task]:.1e} in task {task}, where {usual:.1e} is the "
            "largest of the usual task, and no sum holds both; remove that task, or give it in other units"
        )


def _check_split(path: Path, split: np.ndarray, n_tasks: int) -> None:
    """Raise DataError unless ``split`` holds 0 or 1, or False or True, for each of the ``n_tasks`` tasks."""
    if split.shape != (n_tasks,) or split.dtype.kind not in "iub" or not np.isin(split, (0, 1)).all():
        raise DataError(
            f"{path}: array 'split' must hold 0 (to learn from) or 1 (for the last test) for each of the {n_tasks} "
            f"tasks; got {split.dtype} {split.shape}"
        )
