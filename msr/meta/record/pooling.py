"""Rewrite the pooling of a recorded network: the same numbers with fewer of them in memory."""

import operator
from typing import Any

import torch
from torch.fx import Graph, Node

__all__ = ["pool_before_relu"]

_aten = torch.ops.aten
_RELU = _aten.relu.default
_SLOPE_OF_RELU = _aten.threshold_backward.default
_POOL = _aten.max_pool2d_with_indices.default
_SLOPE_OF_POOL = _aten.max_pool2d_with_indices_backward.default
_NORM = _aten.native_batch_norm.default


def pool_before_relu(graph: Graph) -> None:
    """Rewrite ``max_pool(relu(x))``, in place, as ``relu(max_pool(x))``: equal, with fewer numbers read and written.

    For windows of 2 by 2 it is a quarter of them, forward and backward. The slopes are equal too. A window with a
    positive entry has its maximum at the same place. In a window without one the place may differ, but there the slope
    of the ReLU is zero in both forms.

    This is done only where nothing else reads ``relu(x)`` or the places of the maxima. It is not done where a second
    derivative reads them, as on support sets, nor under vmap, where reshapes stand between ReLU and pooling.
    """
    for node in list(graph.nodes):
        readers = _is(node, _RELU) and _readers(node)
        if readers:
            _swap(graph, node, *readers)


def _readers(relu: Node) -> tuple[Node, list[tuple[Node, Node]]] | None:
    """The pooling that reads the ReLU, and pairs of the slope of the pooling and that of the ReLU.

    None if anything else reads the ReLU or the places of the maxima.
    """
    pools = [user for user in relu.users if _is(user, _POOL)]
    if len(pools) != 1 or pools[0].args[0] is not relu:
        return None
    rim, holes = (pools[0].args[i] if len(pools[0].args) > i else () for i in (3, 4))
    if any(rim) and any(hole != 1 for hole in holes):  # type: ignore[arg-type, union-attr]
        return None  # a window may lie in the padding alone, with a maximum of -inf, which a ReLU would make 0
    places = [item for item in pools[0].users if _item(item) == 1]
    pairs: list[tuple[Node, Node]] = []
    for slope in (user for user in relu.users if _is(user, _SLOPE_OF_POOL)):
        gated = list(slope.users)
        if slope.args[1] is not relu or slope.args[0] is relu or slope.args[-1] not in places or len(gated) != 1:
            return None
        # The slope of the ReLU must be the plain one, with threshold 0, and read the same ReLU.
        if not _is(gated[0], _SLOPE_OF_RELU) or gated[0].args != (slope, relu, 0):
            return None
        pairs.append((slope, gated[0]))
    known = {pools[0], *(node for pair in pairs for node in pair)}
    # The places themselves differ where no entry is positive, so nothing but the slopes may read them.
    other_readers = {user for item in places for user in item.users} - {slope for slope, _ in pairs}
    return (pools[0], pairs) if known == set(relu.users) and not other_readers else None


def _swap(graph: Graph, relu: Node, pool: Node, pairs: list[tuple[Node, Node]]) -> None:
    """Put the ReLU after the pooling, and its slope before that of the pooling."""
    source: Any = relu.args[0]
    pool.replace_input_with(relu, source)
    values = [item for item in pool.users if _item(item) == 0]
    if not values:  # only the slope is used
        with graph.inserting_after(pool):
            values = [graph.call_function(operator.getitem, (pool, 0))]
        values[0].meta = dict(pairs[0][0].args[0].meta) if pairs else {}  # type: ignore[union-attr]
    for value in values:
        with graph.inserting_after(value):
            pooled = graph.call_function(_RELU, (value,))
        pooled.meta = dict(value.meta)
        for user in [user for user in value.users if user is not pooled]:
            user.replace_input_with(value, pooled)
        gate = pooled
    if not pairs:
        graph.erase_node(relu)
        return
    # The slope of a pooling reads only the shape of the pooling's input. Where that input comes from a norm, the norm's
    # own input has the same shape and is kept anyway for the slope of the norm, so the norm's output can be freed.
    normed: Any = source.args[0] if _item(source) == 0 else None
    like = normed.args[0] if _is(normed, _NORM) else source
    for slope, gated in pairs:
        with graph.inserting_before(slope):
            inner = graph.call_function(_SLOPE_OF_RELU, (slope.args[0], gate, 0))
            outer = graph.call_function(_SLOPE_OF_POOL, (inner, like, *slope.args[2:]))
        arriving: Any = slope.args[0]
        inner.meta = dict(arriving.meta)
        outer.meta = dict(gated.meta)
        gated.replace_all_uses_with(outer)
        graph.erase_node(gated)
        graph.erase_node(slope)
    graph.erase_node(relu)


def _is(node: Any, target: Any) -> bool:
    """Whether the node is a call of this operation without keyword arguments."""
    return isinstance(node, Node) and node.op == "call_function" and node.target is target and not node.kwargs


def _item(node: Any) -> Any:
    """Which item of an operation's results the node is; None for a node that is no such item."""
    return node.args[1] if isinstance(node, Node) and node.target is operator.getitem else None
