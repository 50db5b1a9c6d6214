"""Task files: one's own tasks as plain ``.npz`` arrays, read without running code.

A task file holds ``x (tasks, examples, ...)`` and ``y (tasks, examples, ...)``; where the truth is known ``w``, the
weight of each task; and, if some tasks are to be kept for the last test, ``split (tasks,)`` with 0 for those to learn
from and 1 for those. Arrays that hold Python objects are refused, since reading them would run code.
"""

from pathlib import Path

import numpy as np
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import DataError
from msr.files.archives import read_npz
from msr.files.writing import write_whole

__all__ = ["read_arrays", "write_tasks"]

_NAMES = ("x", "y", "w", "split")
_PIECE_NUMBERS = 1 << 20
_MOST_SPREAD = 1e75


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a task file, checked; memory-mapped where they are stored without compression.

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
    x, y = arrays["x"], arrays["y"]
    for axis, meaning in ((0, "tasks"), (1, "examples")):
        if x.shape[axis] != y.shape[axis]:
            raise DataError(f"{path}: x has {x.shape[axis]} {meaning} (axis {axis}), y has {y.shape[axis]}")
    if "w" in arrays and len(arrays["w"]) != len(x):
        raise DataError(f"{path}: x has {len(x)} tasks (axis 0), w has {len(arrays['w'])}")
    return arrays


@takes_arrays("x", "y", "w")
def write_tasks(path: Path, x: Tensor, y: Tensor, w: Tensor | None = None) -> None:
    """Write a task file without compression, so that it can be memory-mapped; all or nothing.

    Shapes: ``x, y (tasks, examples, ...)``, ``w (tasks, ...)``.
    """
    path = Path(path)
    arrays = {name: t.detach().cpu().numpy() for name, t in {"x": x, "y": y, "w": w}.items() if t is not None}
    try:
        write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


def _check_array(path: Path, name: str, array: np.ndarray) -> None:
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
    """Some tasks at a time: the array may be larger than memory."""
    most = np.empty(len(array))  # the largest absolute value of each task
    step = max(1, _PIECE_NUMBERS // max(1, array[0].size))
    for start in range(0, len(array), step):
        values = np.asarray(array[start : start + step]).reshape(len(most[start : start + step]), -1)
        # Two passes without a copy; a nan is kept by both. The least whole number has no absolute value of its kind.
        high, low = values.max(1).astype(np.float64), values.min(1).astype(np.float64)
        most[start : start + step] = np.maximum(high, -low)
    if not np.isfinite(most).all():
        task = int(np.argmin(np.isfinite(most)))
        at = np.argwhere(~np.isfinite(array[task]))[0].tolist()
        where = (task, *at)
        raise DataError(f"{path}: array {name!r} has a {array[where]} at index {where}; remove that task")
    if not most.any():
        return
    usual, task = float(np.median(most[most > 0])), int(np.argmax(most))
    # Beside such a task the others are zero: (1e75)^4 is close to the largest number, and sums hold fourth powers.
    if most[task] / _MOST_SPREAD > usual:
        raise DataError(
            f"{path}: array {name!r} has a number of size {most[task]:.1e} in task {task}, where {usual:.1e} is the "
            "largest of the usual task, and no sum holds both; remove that task, or give it in other units"
        )


def _check_split(path: Path, split: np.ndarray, n_tasks: int) -> None:
    if split.shape != (n_tasks,) or split.dtype.kind not in "iub" or not np.isin(split, (0, 1)).all():
        raise DataError(
            f"{path}: array 'split' must hold 0 (to learn from) or 1 (for the last test) for each of the {n_tasks} "
            f"tasks; got {split.dtype} {split.shape}"
        )
