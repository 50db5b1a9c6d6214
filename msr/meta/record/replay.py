"""A recorded graph that runs again and again, without autograd's part in each operation, and with numbers made once."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor
from torch.fx import GraphModule

from msr.meta.record.nodes import ADD, MUL, dtype_of, is_call

__all__ = ["Replay", "numbers_as_tensors"]


class Replay:
    """A graph as a function of tensors, ``(*arguments) -> [results]``, which several threads may call at once.

    Operations are called below autograd, where torch keeps no versions and looks for no gradient: a tenth of the time
    of a replay of small operations.

    Args:
        module: the graph.
        another: makes a further copy, where the graph writes into buffers of its own; None where it may run in several
            threads as it is.
    """

    def __init__(self, module: GraphModule, another: Callable[[], GraphModule] | None = None):
        self.module = module
        self._another = another
        # Not the module itself, whose call looks for hooks and names the line where an operation fails.
        self._idle = [module.forward]

    @property
    def graph(self) -> torch.fx.Graph:
        """The recorded operations."""
        return self.module.graph

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        """The results for other arguments of the same shapes and strides."""
        if self._another is None:
            with _below_autograd():
                return self._idle[0](*arguments)
        try:
            run = self._idle.pop()  # atomic, so that no two threads get the same buffers
        except IndexError:
            run = self._another().forward
        try:
            with _below_autograd():
                return run(*arguments)
        finally:
            self._idle.append(run)


def _guard() -> Callable[[], AbstractContextManager]:
    """What makes a context in which operations skip autograd.

    These names of torch are not public: where a version has moved them it is ``torch.no_grad``, which takes longer for
    each operation. Inference mode would be public, but its results cannot be given to autograd later.
    """
    try:
        keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCPU)
        keys = keys | torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCUDA)
        keys = keys | torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)
        with torch._C._ExcludeDispatchKeyGuard(keys):
            pass
    except (AttributeError, TypeError, RuntimeError):
        return torch.no_grad
    return partial(torch._C._ExcludeDispatchKeyGuard, keys)


_below_autograd = _guard()


def numbers_as_tensors(module: GraphModule) -> None:
    """Give each factor and term that is a number as a tensor that is kept, in place.

    Torch makes a tensor of it at each call otherwise, which takes as long as the operation (2.5 µs) where that is
    small. This is for a CPU; the numbers are rounded to the operation's precision either way.
    """
    graph = module.graph
    made: dict[tuple[float, torch.dtype], str] = {}
    for node in list(graph.nodes):
        if not is_call(node, MUL, ADD) or node.kwargs or dtype_of(node) not in (torch.float32, torch.float64):
            continue
        factor, number = node.args
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            continue
        key = (float(number), dtype_of(node))
        if key not in made:
            made[key] = f"number_{len(made)}"
            setattr(module, made[key], torch.tensor(number, dtype=dtype_of(node)))
        with graph.inserting_before(node):
            # Not graph.get_attr, which asks for a buffer; a plain attribute is found faster.
            constant = graph.create_node("get_attr", made[key])
        node.args = (factor, constant)
