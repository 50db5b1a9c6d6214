"""Which tasks teach and propose groups, and which test them: several random splits, since any single one is luck."""

from dataclasses import dataclass

import torch
from torch import Tensor

from msr.discovery.thresholds import THRESHOLDS

__all__ = ["Split", "splits"]


@dataclass(frozen=True, eq=False)
class Split:
    """An order of the tasks: the first ``sizes[0]`` teach or, where these teach no group, the first ``sizes[1]``, ...

    All tasks behind those that teach test. Which size is taken may depend on the tasks that teach, and on nothing of
    those that test: then the tests are as valid as with a size that was fixed beforehand.

    Attributes:
        order: ``(tasks,)``, a permutation of the places of the tasks.
        sizes: numbers of tasks that teach, in the order in which they are tried.
    """

    order: Tensor
    sizes: tuple[int, ...]


def splits(n_tasks: int, fresh: Tensor | None, seed: int) -> list[Split]:
    """The splits of one search: orders of the tasks, each with the numbers of teaching tasks that it tries.

    Without ``fresh`` there are four random orders, one for each of ``first_teaching_shares``. The numbers are 15%, 30%
    and 60% of the tasks (``teaching_shares``), rounded down, and none is below 40, which is half of ``fewest_tasks``,
    the 80 tasks that a discovery needs. The number for 15% is at most 120. The second split leaves it out and starts
    with the one for 30%. Equal numbers are kept once, so that few tasks give shorter ``sizes``.

    Args:
        fresh: ``(tasks,)`` booleans. Where they are given there is one split, and nothing is random: these tasks test,
            and all others teach.
        seed: of the random orders.
    """
    if fresh is not None:
        # The tasks that teach come first, as in a random split, so that one size cuts the order in two.
        order = torch.cat([which.nonzero().flatten() for which in (~fresh, fresh)])
        return [Split(order, (int((~fresh).sum()),))]
    limits = THRESHOLDS()
    sizes = [max(limits.fewest_tasks // 2, int(share * n_tasks)) for share in limits.teaching_shares]
    sizes[0] = min(sizes[0], limits.first_teachers_most)
    generator = torch.Generator().manual_seed(seed)
    # Of few tasks several shares may be the same number: dict.fromkeys keeps each number once, in order.
    return [
        Split(torch.randperm(n_tasks, generator=generator), tuple(dict.fromkeys(sizes[first:])))
        for first in limits.first_teaching_shares
    ]
