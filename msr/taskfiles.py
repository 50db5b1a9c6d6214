"""Task files: one's own tasks as plain ``.npz`` arrays, read without running code.

A task file holds ``x (tasks, examples, ...)`` and ``y (tasks, examples, ...)``; where the truth is known ``w``, the
weight of each task; and, if some tasks are to be kept for the last test, ``split (tasks,)`` with 0 for those to learn
from and 1 for those. Arrays that hold Python objects are refused, since reading them would run code.
"""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import DataError
from msr.files import write_whole

__all__ = ["read_arrays", "write_tasks"]

_NAMES = ("x", "y", "w", "split")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a task file, checked; memory-mapped where they are stored without compression.

    Raises: DataError naming the file, the array and the axis at fault.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a .npz with arrays x and y")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                Path(entry.filename).stem: _member(path, archive, entry)
                for entry in archive.infolist()
                if entry.filename in [f"{name}.npy" for name in _NAMES]
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise DataError(f"{path} is not a whole .npz file ({error}); write it again with numpy.savez") from error
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


def _member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    name = Path(entry.filename).stem
    try:
        with archive.open(entry) as file:
            major, _ = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read_header(file)
            size = int(np.prod(shape))
            header = file.tell()
        if dtype.hasobject:
            raise DataError(f"{path}: array {name!r} holds Python objects, which are refused; save it as numbers")
        if entry.compress_type == zipfile.ZIP_STORED and size:
            # The member starts after its local header: 30 bytes, the name, and an extra field of its own length.
            with path.open("rb") as file:
                file.seek(entry.header_offset)
                local = file.read(30)
                start = entry.header_offset + 30 + int.from_bytes(local[26:28], "little")
                start += int.from_bytes(local[28:30], "little") + header
                end = file.seek(0, os.SEEK_END)
            if start + dtype.itemsize * size > end:
                raise DataError(f"{path}: array {name!r} ends before its {shape} numbers do; write the file again")
            return np.memmap(path, dtype, "r", offset=start, shape=shape, order="F" if fortran else "C")
        with archive.open(entry) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: array {name!r} is not a NumPy array ({error})") from error


def _check_array(path: Path, name: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise DataError(
            f"{path}: array {name!r} has dtype {array.dtype}; real or whole numbers of at most 64 bits are needed"
        )
    if array.ndim < 2:
        raise DataError(f"{path}: array {name!r} must be (tasks, examples, ...); its shape is {array.shape}")
    if 0 in array.shape:
        raise DataError(f"{path}: array {name!r} is empty along axis {array.shape.index(0)} (shape {array.shape})")
    if array.dtype.kind == "f":
        for task, values in enumerate(array):  # one task at a time: the array may be larger than memory
            if not np.isfinite(values).all():
                where = (task, *np.argwhere(~np.isfinite(values))[0].tolist())
                raise DataError(f"{path}: array {name!r} has a {values[where[1:]]} at index {where}; remove that task")


def _check_split(path: Path, split: np.ndarray, n_tasks: int) -> None:
    if split.shape != (n_tasks,) or split.dtype.kind not in "iub" or not np.isin(split, (0, 1)).all():
        raise DataError(
            f"{path}: array 'split' must hold 0 (to learn from) or 1 (for the last test) for each of the {n_tasks} "
            f"tasks; came {split.dtype} {split.shape}"
        )
