"""Hooks on gradients, which do not run where a network is called with other parameters."""

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import nn

from msr.errors import ModelError

__all__ = ["HOOKS", "refuse_backward_hooks", "refuse_tensor_hook"]

HOOKS: frozenset[Callable] = frozenset({torch.Tensor.register_hook, torch.Tensor.register_post_accumulate_grad_hook})

_OF_MODULES = ("_backward_hooks", "_backward_pre_hooks")
_OF_PARAMETERS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def refuse_backward_hooks(module: nn.Module) -> None:
    """Raise ModelError where a hook on a gradient is registered, in the module, in a part of it, or on a parameter.

    Hooks of modules do not work under ``torch.func``. Hooks of parameters would be left out silently, since tasks have
    parameters of their own; and a hook that changes a gradient (a mask) changes what is learned.
    """
    homes = [(name or "the module itself", part, _OF_MODULES) for name, part in module.named_modules()]
    homes += [(name, p, _OF_PARAMETERS) for name, p in module.named_parameters()]
    for name, home, kinds in homes:
        if any(getattr(home, kind, None) for kind in kinds):
            raise ModelError(
                f"{name} has a backward hook, which tasks cannot run: their gradients are taken by torch.func, of "
                "parameters of their own. Remove it from the network first, by remove() of the handle that "
                "registering it gave"
            )


def refuse_tensor_hook(register: Callable) -> NoReturn:
    """Raise ModelError, always: a network's forward calls ``register``, which sets a hook on a tensor's gradient.

    In a loop such a hook would run in the inner steps, and again when these are differentiated. Under vmap the tensor
    does not seem to require a gradient, and a network that asks for that first would leave the hook out silently.
    """
    raise ModelError(
        f"the network calls Tensor.{register.__name__}() while it predicts, which tasks cannot run: how often such a "
        "hook runs would depend on how tasks are batched. Leave it out, or write what it does to the gradient as a "
        "torch.autograd.Function with setup_context"
    )
