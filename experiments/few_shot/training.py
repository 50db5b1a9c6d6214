"""A few-shot method as an outer loop, and its right answers on held-out tasks."""

import torch
from torch import Tensor

from experiments.few_shot.flags import TEST_BATCH, FewShotFlags
from experiments.few_shot.methods import Method, Network, problem_of, solver_of
from msr.meta import Learner, OuterLoop
from msr.runs.training import with_adam
from msr.tasks import generator_for
from tasks.images import ImageTasks

__all__ = ["outer_loop", "share_right", "shares_right"]


def outer_loop(method: Method, network: Network, config: FewShotFlags, seed: int) -> OuterLoop:
    """The method's network with its inner loop, to be trained by Adam on the cross-entropy of the query images.

    Steps are recorded, with the channels innermost in memory, the fastest way on a CPU; the few steps of ``--quick``
    would not repay the second that recording takes.
    """
    module = network.built(method, generator_for(seed, "init")).to(config.device)
    functional = problem_of(method, module, network)
    own_engine = config.engine == "torch"
    learner = Learner(
        functional.problem,
        solver_of(method, functional, network, config.inner_loop(method)),
        batching=config.batching,
        chunk_size=config.chunk_size or None,
        trace="auto" if own_engine and not config.quick else False,
        channels_last=own_engine,
        engine=config.engine,
    )
    return with_adam(learner, functional.shared, functional.initial, config.outer_rate or method.outer_rate)


def share_right(scores: Tensor, y: Tensor) -> Tensor:
    """The share of a task's images, from 0 to 1, whose largest score is that of their class; nan where a score is nan.

    Shapes: ``scores (images, classes)``, ``y (images,)`` the class numbers.
    """
    share = (scores.argmax(-1) == y).to(scores.dtype).mean()
    # The largest of numbers that do not exist would be the first, and guessing would look like an answer.
    return torch.where(scores.isnan().any(), torch.full_like(share, torch.nan), share)


@torch.no_grad()
def shares_right(loop: OuterLoop, family: ImageTasks, device: str, n: int) -> Tensor:
    """The share of right answers after adapting to each of the first ``n`` held-out tasks of a family, ``(n,)``.

    A few tasks are in memory at a time.
    """
    batches = (family.episodes("test", tasks).to(device) for tasks in torch.arange(n).split(TEST_BATCH))
    return torch.cat([loop.learner.losses(loop.params, batch, metric=share_right) for batch in batches])
