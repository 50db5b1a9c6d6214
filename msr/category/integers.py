"""Arrays of whole numbers as the tables of this room take them, and ragged lists of them as one array."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msr.errors import AxiomError, ShapeError
from msr.groups.immutable import as_array, frozen
from msr.permutations import Indices

__all__ = ["ranges", "same_rows", "starts_of", "whole_array", "within"]


def whole_array(values: ArrayLike, what: str, shape: tuple[int, ...] | None = None) -> Indices:
    """A read-only int64 copy of an array of whole numbers, whose form is checked.

    Args:
        values: integers of any width; an empty list serves as an empty array. Booleans and floats are refused.
        what: what the caller calls them, for messages.
        shape: what the shape must be; None takes any list ``(n,)``.

    Raises: ShapeError for another dtype or shape.
    """
    array = as_array(values, what)
    if array.size == 0 and shape is not None and 0 in shape and array.ndim <= len(shape):
        # An empty list has no shape of its own, and NumPy calls it an array of floats.
        array = np.zeros(shape, dtype=np.int64)
    if array.dtype.kind not in "iu" and array.size:
        raise ShapeError(f"{what} must be whole numbers; got {array.dtype}")
    if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ShapeError(f"{what} must be whole numbers of 64 bits with a sign; got {array.max()}")
    if array.ndim != (1 if shape is None else len(shape)) or (shape is not None and array.shape != shape):
        needed = "(n,)" if shape is None else str(shape)
        raise ShapeError(f"{what} must have the shape {needed}; got {array.shape}")
    return frozen(array.astype(np.int64))


def within(values: Indices, count: int, what: str, things: str) -> None:
    """Raise AxiomError unless all ``values`` lie in 0 to ``count − 1``; ``things`` is what they number."""
    bad = np.flatnonzero((values < 0) | (values >= count))
    if len(bad):
        known = f"they are 0 to {count - 1}" if count else "there are none"
        raise AxiomError(f"{what}[{bad[0]}] = {values[bad[0]]} is none of the {things}: {known}")


def starts_of(lengths: Indices) -> Indices:
    """Where each of several lists begins when they stand in a row, and where the last one ends, ``(n + 1,)``."""
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def ranges(lengths: Indices) -> Indices:
    """``0 .. lengths[0] − 1``, then ``0 .. lengths[1] − 1``, and so on, as one array."""
    starts = starts_of(lengths)
    return np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)


def same_rows(rows: Indices) -> tuple[Indices, Indices]:
    """The first place of each distinct row, and which of them each row is: ``(k,)`` and ``(n,)``.

    ``rows`` is ``(n, columns)``; without columns all rows are the same.
    """
    n, columns = rows.shape
    if n == 0 or columns == 0:
        return np.arange(min(n, 1)), np.zeros(n, dtype=np.int64)
    keys = _keys(rows)
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first, which.reshape(n)


def _keys(rows: Indices) -> NDArray:
    """A number for each row, equal for equal rows only; where 63 bits do not hold it, the row's bytes."""
    low = rows.min(axis=0)
    widths = [int(w) for w in rows.max(axis=0) - low + 1]
    size = 1
    for width in widths:
        size *= width
    if size < 2**62:
        key = np.zeros(len(rows), dtype=np.int64)
        for column, width in enumerate(widths):
            key = key * width + (rows[:, column] - low[column])
        return key
    packed = np.ascontiguousarray(rows, dtype=np.int64)
    return packed.view([("", np.void, packed.dtype.itemsize * packed.shape[1])]).reshape(len(rows))
