"""Rewrite a recorded graph into one with fewer and cheaper operations that computes the same, up to rounding.

A recording is pure: the result of an operation is decided by the values of its arguments, never by their strides
(graphs with an operation that reads strides are left alone). So every copy into another layout can go, all views are a
reshape, a permutation or an expansion, and equal operations on equal arguments are one. Each rule is local, and all are
repeated until none applies.

The rules know operations by the names and arguments with which torch records them. They were checked on torch 2.13.
``.ci/range`` runs their tests with the oldest torch that ``setup.cfg`` allows, 2.5.1, and with the newest one. Another
version may record other operations: these stay as they are. A rule that fails on a graph costs a warning and speed; the
run goes on with the recording as it was.
"""

from collections.abc import Callable, Sequence

import torch
from torch.fx import Graph, Node

from msr.meta.record.fusing import fused_product, mean_square, scale_to_the_smallest, transposed_factor
from msr.meta.record.nodes import REWRITTEN, Rule, dtype_of
from msr.meta.record.products import outer_product, thin_product, transposed_copies, transposed_product
from msr.meta.record.sums import drop_zeros, merge_reductions, merge_scales, merge_sums, open_squared_error
from msr.meta.record.views import as_three_views, drop_expansions, merge_views

__all__ = ["simplify"]

# Words in the names of operations that read strides or write; none of these may be reordered.
_STRIDED = ("as_strided", "set_", "resize", "empty_strided", "_local_scalar_dense")

RULES: list[Rule] = [
    merge_views,
    drop_expansions,
    merge_scales,
    open_squared_error,
    drop_zeros,
    merge_reductions,
    transposed_product,
    merge_sums,
]
"""The rules that are repeated. For each node the first that applies is used, so their order matters."""


def simplify(graph: Graph) -> bool:
    """Rewrite the graph in place. Returns whether it did: where an operation writes or reads strides, nothing is
    changed.
    """
    targets = [n.target for n in graph.nodes if n.op == "call_function" and isinstance(n.target, torch._ops.OpOverload)]
    if any(t._schema.is_mutable or any(word in t._schema.name for word in _STRIDED) for t in targets):
        return False
    for node in graph.nodes:
        # A tensor that the recorded function closed over is an attribute of the module.
        tensor = getattr(graph.owning_module, node.target) if node.op == "get_attr" else node.meta.get("tensor_meta")
        if isinstance(getattr(tensor, "shape", None), torch.Size):
            node.meta[REWRITTEN] = (tuple(tensor.shape), tensor.dtype)
    # First of all, so that the other rules meet three kinds of views only.
    _apply(graph, [as_three_views])
    graph.eliminate_dead_code()  # rules count readers, and one that is dead reads nothing
    while _apply(graph, RULES) | _merge_equal(graph):
        graph.eliminate_dead_code()
    # Not among the repeated rules: transposed_product would turn a thin product back, and so on without end.
    _apply(graph, [thin_product, outer_product])
    # The products have brought new transposes, which may meet views and sums.
    while _apply(graph, [merge_views, merge_sums]) | _merge_equal(graph):
        graph.eliminate_dead_code()
    while _apply(graph, [scale_to_the_smallest, merge_scales]) | _merge_equal(graph):
        graph.eliminate_dead_code()
    _apply(graph, [transposed_factor, mean_square, fused_product])
    graph.eliminate_dead_code()
    while _apply(graph, [merge_views]) | _merge_equal(graph):
        graph.eliminate_dead_code()
    transposed_copies(graph)
    graph.eliminate_dead_code()
    return True


def _apply(graph: Graph, rules: Sequence[Rule]) -> bool:
    """One pass over the graph, in place, with the first rule that applies to each node; returns whether any did."""
    changed = False
    for node in list(graph.nodes):
        if node.op != "call_function" or REWRITTEN not in node.meta or not node.users:
            continue

        def emit(target: Callable, args: tuple, shape: Sequence[int], like: Node = node) -> Node:
            with graph.inserting_before(like):
                new = graph.call_function(target, args)
            new.meta[REWRITTEN] = (tuple(shape), dtype_of(like))
            return new

        for rule in rules:
            new = rule(node, emit)
            if new is not None and new is not node:
                node.replace_all_uses_with(new)
                changed = True
                break
    return changed


def _merge_equal(graph: Graph) -> bool:
    """Merge equal operations on equal arguments, in place; returns whether any were merged.

    Operations that draw random numbers stay apart.
    """
    first_of: dict[object, Node] = {}
    changed = False
    for node in list(graph.nodes):
        if (
            node.op != "call_function"
            or not node.users
            or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        ):
            continue
        key = (node.target, repr(node.args), repr(node.kwargs))
        first = first_of.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            changed = True
    return changed
