"""Record a function of tensors as a flat list of operations, and drop those that change nothing."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx

from msr.errors import ModelError

__all__ = ["record"]

_aten = torch.ops.aten
# Operations that only look at the same numbers in another shape.
_VIEWS = {
    _aten.view.default,
    _aten._unsafe_view.default,
    _aten.expand.default,
    _aten.permute.default,
    _aten.alias.default,
    _aten.detach.default,
    _aten.slice.Tensor,
    _aten.unsqueeze.default,
    _aten.squeeze.dim,
    _aten.squeeze.dims,
}


def record(function: Callable, *arguments: list[Tensor]) -> Callable:
    """The function for arguments of these shapes and strides; in-place operations are made out of place first.

    Raises: ModelError if the function looks at a value, which decides what it does next.
    """
    try:
        module = make_fx(torch.func.functionalize(function))(*arguments)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"this problem cannot be traced ({reason}); use trace=False") from error
    _merge_views(module.graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _merge_views(graph: Graph) -> None:
    """vmap leaves chains of views, each as costly as a small sum: keep at most one of a chain, or none."""
    for node in list(graph.nodes):
        base = node
        while _is_view(base) and _is_view_of_whole(base):
            base = base.args[0]
        if base is node:
            continue
        layout = _layout(node)
        if layout == _layout(base):
            node.replace_all_uses_with(base)
        elif layout is not None and base is not node.args[0]:
            node.target, node.args, node.kwargs = _aten.view.default, (base, list(layout[0])), {}


def _is_view(node: Node) -> bool:
    return node.op == "call_function" and node.target in _VIEWS and isinstance(node.args[0], Node)


def _is_view_of_whole(node: Node) -> bool:
    """All the numbers of its source, both laid out row by row: then any chain of such views is one view."""
    here, there = _layout(node), _layout(node.args[0])
    if here is None or there is None:
        return False
    if here == there:
        return True
    return math.prod(here[0]) == math.prod(there[0]) and _is_row_by_row(*here[:2]) and _is_row_by_row(*there[:2])


def _is_row_by_row(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True


def _layout(node: object) -> tuple | None:
    """Shape, strides and dtype of a recorded value; None where they are not known."""
    meta = getattr(node, "meta", {}).get("tensor_meta")
    return None if meta is None else (tuple(meta.shape), tuple(meta.stride), meta.dtype)
