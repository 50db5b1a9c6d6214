"""How many threads and how much memory a discovery will take, from the shapes of its data, before the work."""

import math
from typing import Any

from msr.discovery.data.tasks import Prepared
from msr.memory import refuse_if_larger
from msr.threads import chosen_threads

__all__ = ["intake_bytes", "peak_bytes", "refuse_at_the_door", "refuse_if_too_large", "threads_for"]

_MEASURED = 1024  # weights of a layer, from which on more threads may gain
_TASKS, _SIDE, _PAIRS = 100, 128, 256  # of the step that is measured: tasks, inputs and outputs, pairs of filters
_FIXED = 3 * 10**8  # bytes of what is worked on at once, however large the whole, and of the searches for groups
_COPIES = 3  # of all numbers in float64: the tasks, and what is on its way while they are made ready
_UNKNOWNS = 6144  # of a row of the span, at most
_SQUARES = 12  # sums of inputs by inputs that are held at once
_PARTS = 10  # of a task's examples


def threads_for(data: Prepared) -> int:
    """One for small layers; for larger ones what :func:`msr.threads.chosen_threads` says of a step of the fit."""
    if data.m * data.n < _MEASURED or len(data.x) == 0:
        return 1
    x, y = data.x[:_TASKS, :, :_SIDE], data.y[:_TASKS, :, :_SIDE]

    def step() -> None:
        # What the passes of the fit do: second moments of each task, and sums of these weighted by filters.
        gram, cross = (x.mT @ x).flatten(1), (y.mT @ x).flatten(1)
        gram.mT @ gram[:, :_PAIRS]
        cross.mT @ cross[:, :_PAIRS]

    return chosen_threads(step)


def intake_bytes(tasks: int, examples: int, n: int, m: int) -> int:
    """About the most bytes to take tasks in, centre and order them: three copies in float64, and their places."""
    return 8 * tasks * (3 * examples * (n + m) + 8 * examples + 6 * (n + m)) + 2**26


def peak_bytes(tasks: int, examples: int, n: int, m: int) -> int:
    """About the most bytes that a discovery holds at once, from shapes alone; rather too many than too few.

    ``n`` inputs and ``m`` outputs of each of ``examples``; the tasks themselves, as they came, are not counted.
    """
    if n > tasks * max(examples - 1, 1):  # then nothing can be learned, which is said after the tasks are taken in
        return intake_bytes(tasks, examples, n, m)
    wide = 8 * _SQUARES * n * n
    # The equations of the span: what tasks can tell of a row bounds how many dimensions are tried.
    k = max(1, min(n * m, examples * m * 3 // 4, tasks * examples * 2 // (5 * n), _UNKNOWNS // n, tasks // 4))
    span = 8 * (3 * (n * k) ** 2 + (n * (n + 1) // 2) * (k * (k + 1) // 2) + 4 * n * m * k)
    # A sketch of the weights grows as long as it finds more, up to what so many tasks can show.
    sketch = 8 * 5 * n * m * min(n * m, 4 * tasks)
    one_task = 8 * 2 * _PARTS * (2 * n * n + 2 * n * m)
    numbers = 8 * tasks * (_COPIES * examples * (n + m) + 4 * (n + m) + 16 * examples + 64)
    return _FIXED + wide + span + sketch + one_task + numbers


def refuse_if_too_large(tasks: int, examples: int, n: int, m: int, limit: int | None = None) -> None:
    """Raise DataError where a discovery would take more memory than is free, or than ``limit`` bytes."""
    what = f"a discovery from {tasks:,} tasks of {examples:,} examples, {n:,} inputs and {m:,} outputs,"
    refuse_if_larger(peak_bytes(tasks, examples, n, m), what, limit=limit)


def refuse_at_the_door(x: Any, y: Any, limit: int | None = None) -> None:
    """Raise DataError where taking in arrays of these shapes needs more memory than is free, or than ``limit`` bytes.

    Lists, whose shapes are not known yet, pass.
    """
    shapes = [tuple(getattr(side, "shape", ())) for side in (x, y)]
    if any(len(shape) < 2 for shape in shapes) or shapes[0][:2] != shapes[1][:2]:
        return
    tasks, examples = shapes[0][:2]
    n, m = (math.prod(shape[2:]) for shape in shapes)
    what = f"taking in {tasks:,} tasks of {examples:,} examples, {n:,} inputs and {m:,} outputs,"
    refuse_if_larger(intake_bytes(tasks, examples, n, m), what, limit=limit)
