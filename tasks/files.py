"""A family of tasks from a file; see :mod:`msr.tasks.files` for what a file holds.

``w``, where it is there, is dense ``(tasks, out, in)`` or locally connected ``(tasks, out, kernel)``; axes of size one
between are ignored.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError
from msr.span.angles import orthonormal_basis
from msr.tasks.base import Split, TaskFamily, check_indices, in_default_dtype
from msr.tasks.files import read_arrays, write_tasks
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
            raise ConfigError(f"test_fraction must lie between 0 and 1; got {self.test_fraction}")
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

    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The split's tasks with these indices; a whole ``y`` stays whole, the rest is torch's default dtype."""
        x, y = self._rows("x", split, tasks), self._rows("y", split, tasks)
        return Episodes.split(x, y, self.shots)

    @takes_arrays("tasks")
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
        if rows.dtype == np.uint64 and (rows > np.iinfo(np.int64).max).any():
            raise DataError(f"{self.path}: array {name!r} has whole numbers from 2^63 on; torch has none that large")
        # NumPy converts what torch does not read: other byte orders, unsigned numbers.
        native = np.dtype(np.int64) if whole else rows.dtype.newbyteorder("=")
        numbers = torch.from_numpy(np.ascontiguousarray(rows, dtype=native))
        return numbers if whole and name == "y" else in_default_dtype(numbers, f"{self.path}: array {name!r}")
