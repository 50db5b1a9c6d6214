"""How many threads a discovery works with: one, unless a short measurement shows that more are faster."""

from msr.discovery.data.tasks import Prepared
from msr.threads import chosen_threads

__all__ = ["threads_for"]

# All of these bound the time of the measurement, and decide nothing but the number of threads.
_WEIGHTS_MEASURED = 1024  # weights of a layer from which on more threads may gain
_TASKS_MEASURED = 100
_COORDINATES_MEASURED = 128  # of the inputs, and of the outputs
_FILTER_PAIRS = 256


def threads_for(data: Prepared) -> int:
    """The number of threads: one for small layers, else what a step of the fit is measured to be fastest with.

    :func:`msr.threads.chosen_threads` measures it.
    """
    if data.m * data.n < _WEIGHTS_MEASURED or len(data.x) == 0:
        return 1
    x = data.x[:_TASKS_MEASURED, :, :_COORDINATES_MEASURED]
    y = data.y[:_TASKS_MEASURED, :, :_COORDINATES_MEASURED]

    def step() -> None:
        """A pass of the fit in small: second moments of some tasks, and products of a size as with pairs of filters."""
        gram = (x.mT @ x).flatten(1)
        cross = (y.mT @ x).flatten(1)
        gram.mT @ gram[:, :_FILTER_PAIRS]
        cross.mT @ cross[:, :_FILTER_PAIRS]

    return chosen_threads(step)
