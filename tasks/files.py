"""Task files: one's own tasks in, and any family's tasks out, as plain ``.npz`` arrays.

A task file holds ``x (tasks, examples, ...)`` and ``y (tasks, examples, ...)``, and where the truth is known ``w``: the
weight of each task, dense ``(tasks, out, in)`` or locally connected ``(tasks, out, kernel)``; axes of size one between
are ignored. Arrays that hold Python objects are refused, since reading them would run code.
"""

import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import ConfigError, DataError
from msr.subspace import orthonormal_basis
from tasks._base import Split, TaskFamily, check_indices, write_whole
from tasks.translation import span_of_filters

__all__ = ["FileTasks", "read_arrays", "write_tasks"]


@dataclass(frozen=True, eq=False)
class FileTasks(TaskFamily):
    """The tasks of a file: the first ``1 − test_fraction`` of them train, the rest test.

    ``shots`` examples of each task are its support, the others its query. Arrays stored without compression stay on
    disk and are read as they are needed.
    Raises: DataError naming the file, the array and the axis at fault.
    """

    path: Path
    shots: int = 1
    test_fraction: float = 0.2
    seed: int = 0
    arrays: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.test_fraction < 1:
            raise ConfigError(f"test_fraction must lie between 0 and 1; came {self.test_fraction}")
        arrays = read_arrays(Path(self.path))
        object.__setattr__(self, "arrays", arrays)
        examples = arrays["x"].shape[1]
        if not 1 <= self.shots < examples:
            raise ConfigError(
                f"{self.path}: each task has {examples} examples (axis 1 of x), so shots must be 1 to {examples - 1}; "
                f"came {self.shots}"
            )
        if min(self.n_tasks("train"), self.n_tasks("test")) < 1:
            raise DataError(
                f"{self.path} holds {len(arrays['x'])} tasks; a test share of {self.test_fraction} leaves a split empty"
            )

    def n_tasks(self, split: Split) -> int:
        """As the file and ``test_fraction`` give."""
        n_test = round(self.test_fraction * len(self.arrays["x"]))
        return n_test if split == "test" else len(self.arrays["x"]) - n_test

    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The split's tasks with these indices; a whole ``y`` stays whole, the rest is torch's default dtype."""
        x, y = self._rows("x", split, tasks), self._rows("y", split, tasks)
        return Episodes.split(x, y, self.shots)

    def true_weights(self, split: Split, tasks: Tensor) -> Tensor | None:
        """What the file says under ``w``, axes of size one dropped: ``(tasks, out, in or kernel)``."""
        if "w" not in self.arrays:
            return None
        w = self._rows("w", split, tasks)
        return w.reshape(len(w), *(size for size in w.shape[1:] if size > 1))

    def true_span(self) -> Tensor | None:
        """Span of the true weights of the training tasks, where ``w`` is there and has a known form."""
        n_train = self.n_tasks("train")
        w = self.true_weights("train", torch.arange(n_train))
        if w is None or w.ndim != 3:
            return None
        length, out_length = self.arrays["x"].shape[-1], self.arrays["y"].shape[-1]
        if tuple(w.shape[1:]) == (out_length, length):
            return orthonormal_basis(w.flatten(1).mT, rtol=1e-4)
        if w.shape[1] == out_length and out_length in (length, length - w.shape[2] + 1):
            return span_of_filters(w, length, rtol=1e-4)
        return None

    def _rows(self, name: str, split: Split, tasks: Tensor) -> Tensor:
        check_indices(split, tasks, self.n_tasks(split))
        first = 0 if split == "train" else self.n_tasks("train")
        rows = self.arrays[name][first + tasks.numpy()]
        whole = rows.dtype.kind in "iu"
        # NumPy converts what torch does not read: other byte orders, unsigned numbers.
        native = np.dtype(np.int64) if whole else rows.dtype.newbyteorder("=")
        numbers = torch.from_numpy(np.ascontiguousarray(rows, dtype=native))
        return numbers if whole and name == "y" else numbers.to(torch.get_default_dtype())


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
                if entry.filename in ("x.npy", "y.npy", "w.npy")
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise DataError(f"{path} is not a whole .npz file ({error}); write it again with numpy.savez") from error
    for name in ("x", "y"):
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}; it needs x and y, each (tasks, examples, ...)")
    for name, array in arrays.items():
        _check_array(path, name, array)
    x, y = arrays["x"], arrays["y"]
    for axis, meaning in ((0, "tasks"), (1, "examples")):
        if x.shape[axis] != y.shape[axis]:
            raise DataError(f"{path}: x has {x.shape[axis]} {meaning} (axis {axis}), y has {y.shape[axis]}")
    if "w" in arrays and len(arrays["w"]) != len(x):
        raise DataError(f"{path}: x has {len(x)} tasks (axis 0), w has {len(arrays['w'])}")
    return arrays


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
