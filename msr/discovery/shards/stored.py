"""Task files that stay on the disk: where their arrays lie, a hash of each task, and tasks read by their places."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from msr.discovery.data.duplicates import example_hashes, repeated_examples, task_hashes
from msr.errors import DataError
from msr.tasks.files import read_arrays

__all__ = ["Shard", "hashes_of", "opened", "read"]

# Tasks that are read and hashed together: a limit of memory.
_AT_ONCE = 2000


@dataclass(frozen=True)
class Array:
    """Where an array lies in a file: its first byte, the type of its numbers, and its shape, in C order."""

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]

    def mapped(self) -> NDArray[np.generic]:
        """The array, read from the disk as it is looked at; its memory is given back when the result is dropped."""
        return np.memmap(self.path, self.dtype, "r", offset=self.offset, shape=self.shape, order="C")


@dataclass(frozen=True)
class Shard:
    """A task file with some of the tasks: ``x (tasks, examples, ...)`` and ``y (tasks, examples, ...)``."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return self.x.shape[0]


def opened(path: Path) -> Shard:
    """A task file, checked once as :func:`~msr.tasks.files.read_arrays` does; nothing of it stays in memory.

    Raises: DataError for a file that is damaged, holds a ``split``, or whose arrays cannot be read from the disk a part
    at a time: they must be stored without compression, in C order.
    """
    arrays = read_arrays(path)
    if "split" in arrays:
        raise DataError(f"{path} holds a split; which of the tasks of many files teach is drawn: leave it out")
    found = []
    for name in ("x", "y"):
        array = arrays[name]
        if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
            raise DataError(
                f"{path}: array {name!r} cannot be read a part at a time; write it in C order and without compression, "
                "with numpy.savez"
            )
        found.append(Array(path, int(array.offset), array.dtype.str, array.shape))
    return Shard(*found)


def hashes_of(shard: Shard) -> NDArray[np.uint64]:
    """A hash of each task, ``(tasks,)``: equal for equal tasks, whatever the order of their examples, and wherever.

    By chance two tasks of ``N`` have one with probability ``N² / 2⁶⁵``.
    """
    hashes = []
    for start in range(0, len(shard), _AT_ONCE):
        places = np.arange(start, min(start + _AT_ONCE, len(shard)))
        x, y = read([shard], np.zeros_like(places), places)
        of_examples = example_hashes(torch.from_numpy(x), torch.from_numpy(y))
        present = np.ones(of_examples.shape, dtype=bool)
        hashes.append(task_hashes(of_examples, present & ~repeated_examples(of_examples, present)))
    return np.concatenate(hashes)


def read(
    shards: Sequence[Shard], numbers: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The tasks in row ``rows[i]`` of shard ``numbers[i]``, in this order, as ``x`` and ``y`` of three axes or more.

    Shapes: ``numbers`` and ``rows (tasks,)``; ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``.
    """
    sides = []
    for side in ("x", "y"):
        shape = getattr(shards[0], side).shape[1:]
        values = np.empty((len(rows), *(shape if len(shape) > 1 else (*shape, 1))))
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            # In the order in which they lie on the disk.
            here = here[np.argsort(rows[here])]
            array = getattr(shards[number], side).mapped()
            values[here] = np.asarray(array[rows[here]], dtype=np.float64).reshape(len(here), *values.shape[1:])
            del array
        sides.append(values)
    return sides[0], sides[1]
