"""How many threads torch works with: one, unless a measurement shows that more are faster.

Two threads wait for each other at the end of every operation. Where operations are short, or other processes use the
same cores, that wait takes longer than the work: a step of 4 ms was measured to take 280 ms. One thread never loses
much.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from msr.errors import ConfigError

__all__ = ["MOST", "checked_threads", "chosen_threads", "using_threads"]

MOST = 4096
"""The largest number of threads that is accepted."""

# All four were chosen by hand; the benchmark ``threads`` measures what they cost and gain.
_GAIN = 1.1  # more threads must be more than so many times as fast as one thread
_ROUNDS = 5
_LAP = 0.005  # seconds that a lap takes at least: clock and scheduler are not finer
_HOPELESS = 0.7  # where more threads are less than so many times as fast as one, no further round is run


def checked_threads(count: int | None) -> int | None:
    """The number of threads, checked; None where none was given.

    Raises: ConfigError for what is no whole number from 1 to 4096.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST):
        raise ConfigError(f"threads must be a whole number from 1 to {MOST}; got {count!r}")
    return count


@contextmanager
def using_threads(count: int | None) -> Iterator[int]:
    """Let torch work with ``count`` threads inside the ``with`` block; with None, their number stays as it is.

    Gives the number that holds in the block; the earlier one comes back after it.
    Raises: ConfigError for what is no whole number from 1 to 4096.
    """
    previous = torch.get_num_threads()
    wanted = checked_threads(count) or previous
    if wanted == previous:
        yield previous
        return
    torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(previous)


def chosen_threads(step: Callable[[], object], most: int | None = None) -> int:
    """1, or ``most`` where a step is measured to be more than a tenth faster with as many threads.

    One thread and ``most`` take turns for five rounds, so that what else the machine does slows both, and all rounds
    but one must show the gain. A clear loss in a round ends the measurement. It takes about twenty steps, and holds as
    long as the machine is as busy as it is now.

    Args:
        step: the work, which is done several times, so it must not change its data.
        most: the number of threads to compare one with; by default as many as torch has now.

    Raises: ConfigError for a ``most`` that is no whole number from 1 to 4096.
    """
    most = checked_threads(most) or torch.get_num_threads()
    if most == 1:
        return 1
    with using_threads(1):
        step()  # the first call also does what is done only once, which is no part of a step
        repeats = max(1, round(_LAP / max(_seconds(step, 1), 1e-9)))
    gains: list[float] = []
    for _ in range(_ROUNDS):
        with using_threads(1):
            alone = _seconds(step, repeats)
        with using_threads(most):
            if not gains and repeats > 1:
                step()  # the first call makes the threads, which would be most of a lap of short steps
            together = _seconds(step, repeats)
        gains.append(alone / max(together, 1e-9))
        if gains[-1] < _HOPELESS or sum(gain <= _GAIN for gain in gains) > 1:
            return 1
    return most


def _seconds(step: Callable[[], object], repeats: int) -> float:
    """Seconds that ``repeats`` calls of ``step`` take together."""
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return time.perf_counter() - start
