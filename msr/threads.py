"""How many threads torch works with: one, unless more were seen to gain.

Two threads wait for each other at the end of every operation. Where operations are short, or other processes want the
cores as well, that wait takes longer than the work: a step of 4 ms was seen to take 280. One thread never loses much.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from msr.errors import ConfigError

__all__ = ["MOST", "checked_threads", "chosen_threads", "using_threads"]

MOST = 4096
"""The largest count of threads that is taken."""

_GAIN = 1.1  # more threads must be more than so many times as fast as one
_ROUNDS = 5
_LAP = 0.005  # seconds that a lap takes at least: a clock and a scheduler are not finer
_HOPELESS = 0.7  # where more threads are less than so many times as fast as one, no further round is run


def checked_threads(count: int | None) -> int | None:
    """The count, or None where none was given.

    Raises: ConfigError for what is no count from 1 to 4096.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST):
        raise ConfigError(f"threads must be a whole number from 1 to {MOST}; got {count!r}")
    return count


@contextmanager
def using_threads(count: int | None) -> Iterator[int]:
    """Let torch work with so many threads inside the ``with`` block; as many as before for None.

    Raises: ConfigError for what is no count of threads.
    """
    before = torch.get_num_threads()
    wanted = checked_threads(count) or before
    if wanted == before:
        yield before
        return
    torch.set_num_threads(wanted)
    try:
        yield wanted
    finally:
        torch.set_num_threads(before)


def chosen_threads(step: Callable[[], object], most: int | None = None) -> int:
    """1, or ``most`` where a step is faster with these by more than a tenth; measured, which takes some twenty steps.

    Both take turns, so that what else the machine does falls on both, and all rounds but one must show the gain. Where
    the first round shows a loss nothing more is tried. What is measured holds as long as the machine is as busy as it
    is now.

    Args:
        step: the work, which is done several times: it must not change what is worked on.
        most: threads to compare one with; by default as many as torch has now.

    Raises: ConfigError for a ``most`` that is no count.
    """
    most = checked_threads(most) or torch.get_num_threads()
    if most == 1:
        return 1
    with using_threads(1):
        step()  # what is made at the first call is no part of a step
        repeats = max(1, round(_LAP / max(_seconds(step, 1), 1e-9)))
    gains: list[float] = []
    for _ in range(_ROUNDS):
        with using_threads(1):
            alone = _seconds(step, repeats)
        with using_threads(most):
            if not gains and repeats > 1:
                step()  # threads are made at the first call, which of a short step would be most of the lap
            together = _seconds(step, repeats)
        gains.append(alone / max(together, 1e-9))
        if gains[-1] < _HOPELESS or sum(gain <= _GAIN for gain in gains) > 1:
            return 1
    return most


def _seconds(step: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return time.perf_counter() - start
