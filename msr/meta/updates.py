"""The update of an outer step: the optimiser's own step, with less overhead where that is a plain fused Adam."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

__all__ = ["Update"]

# Settings of torch's Adam with which the fused kernel is all that a step does.
_PLAIN = {"fused": True, "amsgrad": False, "maximize": False, "capturable": False, "differentiable": False}


class _Group(NamedTuple):
    """The tensors of a parameter group, in the order of its parameters, and where its gradients stand.

    Attributes:
        options: the group itself, whose rates may change.
        places: of each parameter among all leaves.
        state: of the optimiser, for the first parameter; another one means that a checkpoint was loaded.
    """

    options: dict[str, Any]
    parameters: list[Tensor]
    places: list[int]
    state: dict[str, Any]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


class Update:
    """Steps an optimiser on gradients that are given, in the order of the leaves.

    For ``torch.optim.Adam(fused=True)`` on a CPU, without hooks and without options that change the step, the fused
    kernel is called as it is: torch's own ``step`` takes 90 to 140 µs on a few thousand parameters, of which the
    kernel takes 20. The numbers are the same to the bit, and the optimiser's state stays its own. Any other optimiser
    takes its own step.

    Args:
        optimizer: whose parameters are among ``leaves``.
        leaves: all parameters, in the order in which gradients come.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, leaves: list[Tensor]):
        self._optimizer = optimizer
        self._leaves = leaves
        self._groups: list[_Group] | None = None

    def __call__(self, slopes: list[Tensor]) -> None:
        """One step; ``slopes`` have the shapes and layouts of the leaves."""
        groups = self._fused_groups()
        if groups is None:
            self._take_whole_step(slopes)
            return
        with torch.no_grad():
            for group in _joined(groups):
                options = group.options
                beta1, beta2 = options["betas"]
                torch._foreach_add_(group.steps, 1)
                torch._fused_adam_(
                    group.parameters,
                    [slopes[place] for place in group.places],
                    group.means,
                    group.squares,
                    [],
                    group.steps,
                    lr=options["lr"],
                    beta1=beta1,
                    beta2=beta2,
                    weight_decay=options["weight_decay"],
                    eps=options["eps"],
                    amsgrad=False,
                    maximize=False,
                )

    def _fused_groups(self) -> list[_Group] | None:
        """What the fused kernel takes; None where the optimiser must take its own step, as in its first one."""
        if not self._is_plain():
            return None
        if self._groups is None or not self._is_current(self._groups):
            self._groups = self._grouped()
        return self._groups

    def _take_whole_step(self, slopes: list[Tensor]) -> None:
        """The optimiser's own step."""
        for leaf, slope in zip(self._leaves, slopes, strict=True):
            leaf.grad = slope
        try:
            self._optimizer.step()
        finally:
            for leaf in self._leaves:
                # Freed at once: a gradient takes as much memory as the parameters.
                leaf.grad = None

    def _is_plain(self) -> bool:
        """Whether the fused kernel is all that the optimiser's step would do, now."""
        optimizer = self._optimizer
        own_step = vars(optimizer).get("step")
        return (
            type(optimizer) is torch.optim.Adam
            # A scheduler puts a step in its place that counts its calls, which it looks at before its first one only.
            and (own_step is None or hasattr(own_step, "_wrapped_by_lr_sched"))
            and not optimizer._optimizer_step_pre_hooks
            and not optimizer._optimizer_step_post_hooks
            and not torch_optimizer._global_optimizer_pre_hooks
            and not torch_optimizer._global_optimizer_post_hooks
            and getattr(optimizer, "grad_scale", None) is None
            and not torch.autograd._profiler_enabled()
        )

    def _is_current(self, groups: list[_Group]) -> bool:
        """Whether the groups still are what the optimiser holds, with the same options and state."""
        mine = self._optimizer.param_groups
        return len(groups) == len(mine) and all(
            group.options is options
            and self._optimizer.state.get(group.parameters[0]) is group.state
            and group.state["exp_avg"] is group.means[0]
            and len(options["params"]) == len(group.parameters)
            and options["fused"] is True
            and type(options["lr"]) is float
            for group, options in zip(groups, mine, strict=True)
        )

    def _grouped(self) -> list[_Group] | None:
        """The optimiser's groups; None where the kernel cannot take one of them, or its state is not made yet."""
        groups = []
        for options in self._optimizer.param_groups:
            if not _fits(options):
                return None
            parameters: list[Tensor] = options["params"]
            states = [self._optimizer.state.get(p) for p in parameters]
            places = [place for p in parameters for place, leaf in enumerate(self._leaves) if leaf is p]
            if not all(states) or len(places) < len(parameters):
                return None
            kept = {name: [state[name] for state in states if state] for name in ("exp_avg", "exp_avg_sq", "step")}
            first = self._optimizer.state[parameters[0]]
            groups.append(_Group(options, list(parameters), places, first, *kept.values()))
        return groups


def _joined(groups: list[_Group]) -> list[_Group]:
    """One group of all where their options are equal now, since each further one costs a call; else the groups."""
    first = groups[0].options
    names = ("lr", "betas", "eps", "weight_decay")
    if len(groups) == 1 or any(group.options[name] != first[name] for group in groups[1:] for name in names):
        return groups
    if len({group.parameters[0].dtype for group in groups}) > 1:
        return groups
    return [
        _Group(
            first,
            [p for group in groups for p in group.parameters],
            [place for group in groups for place in group.places],
            groups[0].state,
            [mean for group in groups for mean in group.means],
            [square for group in groups for square in group.squares],
            [step for group in groups for step in group.steps],
        )
    ]


def _fits(options: dict[str, Any]) -> bool:
    """Whether the fused kernel takes a group with these options, and its parameters."""
    parameters = options["params"]
    return (
        all(options.get(name) is value for name, value in _PLAIN.items())
        and not options.get("decoupled_weight_decay", False)
        and type(options["lr"]) is float
        and all(type(beta) is float for beta in options["betas"])
        and len({p.dtype for p in parameters}) == 1
        and all(p.device.type == "cpu" for p in parameters)
    )
