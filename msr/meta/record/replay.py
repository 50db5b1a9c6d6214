"""A recorded graph that is run again and again: without autograd's part in each operation, and with numbers made once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule

from msr.meta.record.nodes import ADD, MUL, dtype_of, is_call

__all__ = ["Replay", "numbers_as_tensors"]


class Replay:
    """A graph as a function of tensors, ``(*arguments) -> [results]``.

    Operations run in inference mode, where torch keeps no versions and looks for no gradient: a twelfth of the time of
    a replay of small operations. The results are plain tensors all the same, which autograd takes.

    Attributes:
        module: the graph, for whoever looks at its operations.
    """

    def __init__(self, module: GraphModule):
        self.module = module
        # Not the module itself, whose call looks for hooks and names the line where an operation fails.
        self._run = module.forward

    @property
    def graph(self) -> torch.fx.Graph:
        """The recorded operations."""
        return self.module.graph

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        """The results for other arguments of the same shapes and strides."""
        if torch.is_inference_mode_enabled():
            return self._run(*arguments)
        with torch.inference_mode():
            results: Sequence[Tensor] = self._run(*arguments)
        return [_plain(result) for result in results]


def _plain(result: Tensor) -> Tensor:
    """The same memory as a tensor that was not made in inference mode."""
    plain = torch.empty(0, dtype=result.dtype, device=result.device)
    return plain.set_(result.untyped_storage(), result.storage_offset(), result.shape, result.stride())


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
