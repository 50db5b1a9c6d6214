"""Equal examples within a task, and equal tasks, found by hashes of their numbers."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["example_hashes", "repeated_examples", "task_hashes"]

# Tasks that are hashed together: a limit of memory.
_AT_ONCE = 500
# The increment of SplitMix64: an odd number near 2⁶⁴ divided by the golden ratio.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def example_hashes(x: Tensor, y: Tensor) -> NDArray[np.uint64]:
    """A hash of each example, ``(tasks, examples)``: equal for equal numbers, and by chance once in 2⁶⁴ pairs.

    Shapes: ``x`` and ``y (tasks, examples, ...)``, float64.
    """
    hashes = []
    for batch_x, batch_y in zip(x.split(_AT_ONCE), y.split(_AT_ONCE), strict=True):
        # Adding zero turns −0 into +0, which equals it as a number but not in its bits.
        bits = (torch.cat([batch_x.flatten(2), batch_y.flatten(2)], 2) + 0.0).numpy().view(np.uint64)
        salts = np.arange(1, bits.shape[2] + 1, dtype=np.uint64) * _GOLDEN
        hashes.append(_mixed(_mixed(bits + salts).sum(2, dtype=np.uint64)))
    return np.concatenate(hashes)


def repeated_examples(hashes: NDArray[np.uint64], present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each example equals an earlier one of its task, ``(tasks, examples)``; False for absent examples.

    Shapes: ``hashes`` as from :func:`example_hashes`, and ``present``, both ``(tasks, examples)``.
    """
    # Sorted by hash within a task, with absent examples last, equal examples are neighbours in their first order.
    ranked = np.lexsort((hashes, ~present), axis=1)
    ordered = np.take_along_axis(hashes, ranked, 1)
    repeated = np.zeros(present.shape, dtype=bool)
    np.put_along_axis(repeated, ranked[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    return repeated & present


def task_hashes(hashes: NDArray[np.uint64], present: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """A hash of each task, ``(tasks,)``, from those of its present examples, in whatever order they stand.

    Shapes: ``hashes`` as from :func:`example_hashes`, and ``present``, both ``(tasks, examples)``.
    """
    total = np.where(present, hashes, np.uint64(0)).sum(1, dtype=np.uint64)
    return _mixed(total + present.sum(1).astype(np.uint64))


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: each bit of the result depends on all 64 (Steele, Lea and Flood, 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
