"""What a discovery will take, told from shapes before the work: threads and memory."""

from msr.discovery.prepare import Prepared
from msr.threads import chosen_threads

__all__ = ["threads_for"]

_MEASURED = 1024  # weights of a layer, from which on more threads may gain
_TASKS, _SIDE, _PAIRS = 100, 128, 256  # of the step that is measured: tasks, inputs and outputs, pairs of filters


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
