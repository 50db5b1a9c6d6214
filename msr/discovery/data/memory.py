"""How much memory a discovery needs, estimated from the shapes of its data, and refused before the work if too much."""

import math
from typing import Any

from msr.memory import refuse_if_larger
from msr.span.alternation import MAX_UNKNOWNS

__all__ = ["intake_bytes", "peak_bytes", "refuse_at_the_door", "refuse_if_too_large"]

_BYTES = 8  # of a number in float64
# All of these bound memory from above, by reading off the code what it holds at once; the tests measure that the
# estimates are not below what is taken.
_FIXED_BYTES = 3 * 10**8  # pieces of passes, however large the whole is, and the searches for groups
_INTAKE_BYTES = 2**26  # the same while tasks are taken in
_COPIES = 3  # copies of all numbers: the tasks, and what is made of them while they are centred and ordered
_GRAMS = 12  # matrices of inputs by inputs that are held at once
_PARTS = 10  # parts of a task's examples in the pairs of breaking.pairs


def intake_bytes(tasks: int, examples: int, n: int, m: int) -> int:
    """An upper estimate of the bytes needed to take tasks in, centre and order them.

    Shapes: ``tasks`` of ``examples`` each, with ``n`` inputs and ``m`` outputs. Counted are three copies of the numbers
    in float64, the places of the examples, and the means and ranges of tasks.
    """
    numbers = 3 * examples * (n + m) + 8 * examples + 6 * (n + m)
    return _BYTES * tasks * numbers + _INTAKE_BYTES


def peak_bytes(tasks: int, examples: int, n: int, m: int) -> int:
    """An upper estimate of the bytes that a discovery holds at once, from shapes alone.

    Shapes: ``tasks`` of ``examples`` each, with ``n`` inputs and ``m`` outputs. The caller's own arrays do not count.
    """
    if n > tasks * max(examples - 1, 1):
        # Nothing can be learned from fewer examples than inputs: that is said once the tasks are taken in.
        return intake_bytes(tasks, examples, n, m)
    moments = _BYTES * _GRAMS * n * n
    # The dimensions of the span that are tried are bounded by what the tasks can tell of one row.
    k = max(1, min(n * m, examples * m * 3 // 4, tasks * examples * 2 // (5 * n), MAX_UNKNOWNS // n, tasks // 4))
    span = _BYTES * (3 * (n * k) ** 2 + (n * (n + 1) // 2) * (k * (k + 1) // 2) + 4 * n * m * k)
    # The randomised sketch of the weights grows as long as it finds more, up to what so many tasks can show.
    sketch = _BYTES * 5 * n * m * min(n * m, 4 * tasks)
    one_task = _BYTES * 2 * _PARTS * (2 * n * n + 2 * n * m)
    numbers = _BYTES * tasks * (_COPIES * examples * (n + m) + 4 * (n + m) + 16 * examples + 64)
    return _FIXED_BYTES + moments + span + sketch + one_task + numbers


def refuse_if_too_large(tasks: int, examples: int, n: int, m: int, limit: int | None = None) -> None:
    """Refuse a discovery that needs more bytes than ``limit``; without a limit, than are free.

    Shapes: ``tasks`` of ``examples`` each, with ``n`` inputs and ``m`` outputs.

    Raises: DataError that says how much is needed and how much there is.
    """
    what = f"a discovery from {tasks:,} tasks of {examples:,} examples, {n:,} inputs and {m:,} outputs,"
    refuse_if_larger(peak_bytes(tasks, examples, n, m), what, limit=limit)


def refuse_at_the_door(x: Any, y: Any, limit: int | None = None) -> None:
    """Refuse arrays if taking them in needs more bytes than ``limit``; without a limit, than are free.

    What has no shape of ``(tasks, examples, ...)`` on both sides, nor that of one data set, ``(rows, inputs)`` and
    ``(rows, outputs)`` or ``(rows,)``, passes, such as lists of tasks: its size is not known yet.

    Raises: DataError that says how much is needed and how much there is.
    """
    shapes = [tuple(getattr(side, "shape", ())) for side in (x, y)]
    if _is_one_data_set(*shapes):
        rows, n = shapes[0]
        m = math.prod(shapes[1][1:])
        what = f"taking in one data set of {rows:,} rows, {n:,} inputs and {m:,} outputs,"
        # The rows are one task with many examples until they are cut, and the pieces are copies like any others.
        refuse_if_larger(intake_bytes(1, rows, n, m), what, limit=limit)
        return
    if any(len(shape) < 2 for shape in shapes) or shapes[0][:2] != shapes[1][:2]:
        return
    tasks, examples = shapes[0][:2]
    n, m = (math.prod(shape[2:]) for shape in shapes)
    what = f"taking in {tasks:,} tasks of {examples:,} examples, {n:,} inputs and {m:,} outputs,"
    refuse_if_larger(intake_bytes(tasks, examples, n, m), what, limit=limit)


def _is_one_data_set(shape_x: tuple[int, ...], shape_y: tuple[int, ...]) -> bool:
    """Whether arrays of these shapes are read as one data set, as :func:`msr.discovery.data.intake.take` reads them."""
    return len(shape_x) == 2 and len(shape_y) in (1, 2) and shape_x[0] == shape_y[0]
