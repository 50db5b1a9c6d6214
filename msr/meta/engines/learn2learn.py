"""Gradient steps by ``learn2learn`` (learnables/learn2learn 0.2.0)."""

import learn2learn
import torch
from learn2learn.algorithms import meta_sgd_update
from torch import Tensor

from msr.meta.engines.base import LibrarySGD, TaskModule
from msr.trees import Tree

__all__ = ["Solver"]


class Solver(LibrarySGD):
    """The solver SGD with steps by ``learn2learn``: its Meta-SGD update of a cloned module, with rates of any kind."""

    def _steps(
        self, module: TaskModule, start: list[Tensor], rates: list, n: int, x: Tree, y: Tree, *, track: bool
    ) -> list[Tensor]:
        # The clone holds zeros, and update_module adds to what is there, so the sum is the start with its history.
        net = learn2learn.update_module(learn2learn.clone_module(module), updates=start)  # zeros + start
        for _ in range(n):
            # MetaSGD.adapt would be these two lines, but it refuses a parameter that the loss does not use.
            slopes = torch.autograd.grad(
                module.problem.criterion(net(x), y),
                list(net.parameters()),
                create_graph=track and not self.sgd.first_order,
                materialize_grads=True,
            )
            meta_sgd_update(net, rates, slopes)
        return list(net.parameters())
