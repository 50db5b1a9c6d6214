"""Which tasks teach and propose groups, and which test them: a few splits, since any single one is luck."""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.discovery.data.intake import FEWEST

__all__ = ["Split", "splits"]

# Shares of the tasks that teach. A split starts with one of these, and goes on to the next where that teaches nothing.
_TEACH = (0.15, 0.3, 0.6)
_FROM = (0, 1, 0, 0)  # which of them each split starts with
_MOST = 120  # tasks that teach with the first share


@dataclass(frozen=True, eq=False)
class Split:
    """An order of the tasks: the first ``sizes[0]`` teach, or, where these teach nothing, the first ``sizes[1]``, ...

    All others test. Which size is taken may depend on the tasks that teach, and on nothing of the others.
    """

    order: Tensor
    sizes: tuple[int, ...]


def splits(n_tasks: int, fresh: Tensor | None, seed: int) -> list[Split]:
    """The splits, each of which tests with as many tasks as it can.

    At least half of :data:`~msr.discovery.data.intake.FEWEST` teach. Where ``fresh (tasks,)`` says which test there is
    one split, and the others teach.
    """
    if fresh is not None:
        order = torch.cat([which.nonzero().flatten() for which in (~fresh, fresh)])
        return [Split(order, (int((~fresh).sum()),))]
    sizes = [max(FEWEST // 2, int(share * n_tasks)) for share in _TEACH]
    sizes[0] = min(sizes[0], _MOST)
    generator = torch.Generator().manual_seed(seed)
    return [Split(torch.randperm(n_tasks, generator=generator), tuple(dict.fromkeys(sizes[first:]))) for first in _FROM]
