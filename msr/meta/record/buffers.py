"""A recorded graph whose intermediate results lie in memory that is taken once, with all views of it made once."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Interpreter, Node

from msr.meta.record.nodes import ADD, BMM, CONTIGUOUS, EXPAND, MM, MUL, PERMUTE, RESHAPE, SUB, aten

__all__ = ["MOST_BYTES", "with_buffers"]

MOST_BYTES = 2**24
"""Most bytes of intermediate results that are kept between replays: beyond it, operations are long beside a view, and
memory that is freed in between is worth more. Chosen by hand."""

_WRITE_OUT = (
    MM, BMM, MUL, ADD, SUB, aten.div.Tensor, aten.addcmul.default, aten.sum.dim_IntList, aten.mean.dim,
    aten.linalg_vector_norm.default,
)  # fmt: skip
_VIEWS = (RESHAPE, PERMUTE, EXPAND, aten.select.int)


def with_buffers(module: GraphModule, arguments: Sequence[Tensor]) -> GraphModule | None:
    """A copy of a graph on the CPU that writes intermediate results into buffers of its own.

    A view takes about as long as a small product, and nearly half of the operations of a replay may be views (33 of 73
    in translation with one inner step); of buffers that stay, they are made here, once. Results are new tensors at each
    call. The copy must not run in two threads at once.

    None where the buffers would take more than :data:`MOST_BYTES`, where random numbers are drawn, or where there is
    nothing to keep. Every call gives None, or none does.

    Args: ``module``: before its operations are called directly; ``arguments``: of the shapes that it is for.
    """
    tags = [getattr(node.target, "tags", ()) for node in module.graph.nodes]
    if any(torch.Tag.nondeterministic_seeded in each for each in tags):
        return None  # looking at the shapes of all results would draw some
    seen = _Shapes(module)
    try:
        with torch.no_grad():
            seen.run(*arguments)
    except _TooLargeError:
        return None
    returned = _returned(module.graph, seen)
    copies: dict[Node, Node] = {}
    graph = Graph()
    graph.output(graph.graph_copy(module.graph, copies))
    planned = GraphModule(module, graph)
    buffers = _Buffers(planned)
    for node, copy in copies.items():
        if node in seen.made and node not in returned:
            buffers.place(copy, seen.made[node])
        elif node.target in _VIEWS and node not in returned:
            buffers.make_view(copy)
    if not buffers.kept:
        return None
    return planned


class _TooLargeError(Exception):
    """The intermediate results take more than :data:`MOST_BYTES`."""


class _Shapes(Interpreter):
    """Runs a graph, and notes where each operation that can write into a buffer would need one.

    Attributes:
        made: an empty tensor without memory, of the right shape, strides, type and device, for each such operation.
    """

    def __init__(self, module: GraphModule):
        super().__init__(module)
        self.made: dict[Node, Tensor] = {}
        self._bytes = 0

    def run_node(self, n: Node) -> Any:
        """The result of a node, as the graph gives it."""
        result = super().run_node(n)
        copies = n.target is CONTIGUOUS and result is not self.env[n.args[0]]  # type: ignore[index]
        if n.op == "call_function" and (n.target in _WRITE_OUT or copies):
            self._bytes += result.untyped_storage().nbytes()
            if self._bytes > MOST_BYTES:
                raise _TooLargeError
            # Row by row, so that reshapes are views; images keep their layout, which convolutions look at.
            strides = result.stride() if result.ndim == 4 else torch.empty(result.shape, device="meta").stride()
            self.made[n] = torch.empty_strided(result.shape, strides, dtype=result.dtype, device="meta")
        return result


def _returned(graph: Graph, seen: _Shapes) -> set[Node]:
    """The nodes whose memory a result may show, which must be new at each call."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    nodes: set[Node] = set()
    for node in output.all_input_nodes:
        while node not in nodes:
            nodes.add(node)
            is_view = node.target in (*_VIEWS, operator.getitem) or _returns_views(node)
            if not is_view and (node.target is not CONTIGUOUS or node in seen.made):
                break
            node = node.args[0]
    return nodes


def _returns_views(node: Node) -> bool:
    """Whether an operation of another kind may return its first argument, or views of it."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(result.alias_info is not None for result in schema.returns)


class _Buffers:
    """Puts tensors that stay into a module, and nodes that read or write them into its graph."""

    def __init__(self, module: GraphModule):
        self.module = module
        self.kept: dict[Node, Tensor] = {}

    def place(self, node: Node, like: Tensor) -> None:
        """Let an operation write into a buffer of its own."""
        graph = self.module.graph
        buffer = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device="cpu")
        with graph.inserting_before(node):
            target = self._attribute(buffer)
            if node.target is CONTIGUOUS:
                copy = graph.call_method("copy_", (target, node.args[0]))
                node.replace_all_uses_with(copy)
                graph.erase_node(node)
                node = copy
            else:
                node.kwargs = {**node.kwargs, "out": target}
        self.kept[node] = buffer

    def make_view(self, node: Node) -> None:
        """Put a view that is made here in the place of a view of a buffer; other views stay as they are."""
        base = self.kept.get(node.args[0])  # type: ignore[arg-type]
        if base is None:
            return
        view = node.target(base, *node.args[1:])  # type: ignore[operator]
        if view.untyped_storage().data_ptr() != base.untyped_storage().data_ptr():
            return  # a reshape that must copy
        graph = self.module.graph
        with graph.inserting_before(node):
            made = self._attribute(view)
        node.replace_all_uses_with(made)
        graph.erase_node(node)
        self.kept[made] = view

    def _attribute(self, tensor: Tensor) -> Node:
        """A node that reads the tensor, which the module keeps from now on."""
        name = f"kept_{len(vars(self.module))}"
        setattr(self.module, name, tensor)
        return self.module.graph.create_node("get_attr", name)
