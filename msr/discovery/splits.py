"""Which tasks teach and propose groups, and which test them: a few splits, since any single one is luck."""

import torch
from torch import Tensor

from msr.discovery.intake import FEWEST

__all__ = ["splits"]

# The share of the tasks that teaches, and the most of them: as few as often do, so that many test; and once half of
# them, where few cannot tell.
_TEACH = ((0.3, 120), (0.5, None), (0.3, 120), (0.5, None))


def splits(n_tasks: int, fresh: Tensor | None, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Places of the tasks that teach and of those that test, for each split.

    At least half of :data:`~msr.discovery.intake.FEWEST` teach. Where ``fresh (tasks,)`` says which test there is one
    split, and the others teach.
    """
    if fresh is not None:
        return [((~fresh).nonzero().flatten(), fresh.nonzero().flatten())]
    generator = torch.Generator().manual_seed(seed)
    found = []
    for share, most in _TEACH:
        order = torch.randperm(n_tasks, generator=generator)
        end = max(FEWEST // 2, min(int(share * n_tasks), most or n_tasks))
        found.append((order[:end], order[end:]))
    return found
