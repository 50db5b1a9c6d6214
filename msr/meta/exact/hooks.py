"""Hooks on gradients, which a functional call of a network never reaches."""

from torch import nn

from msr.errors import ModelError

__all__ = ["refuse_backward_hooks"]

_OF_MODULES = ("_backward_hooks", "_backward_pre_hooks")
_OF_PARAMETERS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def refuse_backward_hooks(module: nn.Module) -> None:
    """Raise ModelError where a hook on a gradient is registered, in the module, in a part of it, or on a parameter.

    Those of modules do not work under ``torch.func``; those of parameters would be left out without a word, since tasks
    have parameters of their own, and one that changes a gradient (a mask) changes what is learned.
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
