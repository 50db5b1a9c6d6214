"""Gradient steps by ``higher`` (facebookresearch/higher 0.2.1)."""

import torch
from higher import innerloop_ctx
from torch import Tensor

from msr.meta.engines.base import LibrarySGD, TaskModule
from msr.trees import Tree

__all__ = ["Solver"]


class Solver(LibrarySGD):
    """The solver SGD with steps by ``higher``: its patched module and differentiable optimiser, a rate a tensor."""

    def _steps(
        self, module: TaskModule, start: list[Tensor], rates: list, n: int, x: Tree, y: Tree, *, track: bool
    ) -> list[Tensor]:
        optimizer = torch.optim.SGD([{"params": [p]} for p in module.parameters()], lr=self.sgd.rate)
        # higher's own first-order mode, track_higher_grads=False, also cuts the way back to the learned start and
        # rates (its issues 102 and 129). Detached slopes in a tracked loop are what first order means.
        detach = (lambda slopes: [None if s is None else s.detach() for s in slopes]) if self.sgd.first_order else None
        with innerloop_ctx(module, optimizer, override={"lr": rates}, track_higher_grads=track) as (net, steps):
            # The patched module began with the placeholders.
            net.update_params(start)
            for _ in range(n):
                steps.step(module.problem.criterion(net(x), y), grad_callback=detach)
            return list(net.parameters())
