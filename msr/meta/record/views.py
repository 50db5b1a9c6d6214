"""Rules for views: every one becomes a reshape, a permutation or an expansion, and neighbours become one."""

from typing import Any

import torch
from torch.fx import Node

from msr.meta.record.nodes import (
    ADD,
    EXPAND,
    MUL,
    PERMUTE,
    RESHAPE,
    REWRITTEN,
    SUB,
    Emit,
    aten,
    dtype_of,
    is_call,
    shape_of,
)

__all__ = ["as_three_views", "drop_expansions", "merge_views"]

_RESHAPES = {
    aten.view.default,
    aten._unsafe_view.default,
    RESHAPE,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
}
_PERMUTES = {aten.t.default, aten.transpose.int, PERMUTE}
_COPIES = {aten.alias.default, aten.detach.default, aten.clone.default, aten.contiguous.default}


def as_three_views(node: Any, emit: Emit) -> Node | None:
    """A reshape, a permutation or an expansion in place of any other view; None where the node is none.

    In place of a copy, a slice of everything, or a list of one tensor joined, it is the source itself.
    """
    base: Any = node.args[0] if node.args else None
    shape = shape_of(node)
    if node.target is aten.cat.default and len(base) == 1:
        return base[0]
    # A change of dtype is no view.
    if not isinstance(base, Node) or REWRITTEN not in base.meta or dtype_of(base) is not dtype_of(node):
        return None
    if node.target in _COPIES or (node.target is aten.slice.Tensor and shape == shape_of(base)):
        return base
    if node.target in _RESHAPES:
        return emit(RESHAPE, (base, list(shape)), shape)
    if node.target in _PERMUTES:
        axes = list(range(len(shape_of(base))))
        if node.target is PERMUTE:
            axes = [axes[i] for i in node.args[1]]
        elif axes:
            i, j = node.args[1:] if node.target is aten.transpose.int else (0, len(axes) - 1)
            # A transpose is a permutation that exchanges two axes; t() exchanges the first with the last, of two.
            axes[i], axes[j] = axes[j], axes[i]
        return emit(PERMUTE, (base, axes), shape)
    return emit(EXPAND, (base, list(shape)), shape) if node.target is EXPAND else None


def merge_views(node: Any, emit: Emit) -> Node | None:
    """One view in place of two reshapes or two permutations in a row, and none in place of one that changes nothing.

    None where there is nothing to merge. A permutation that moves only axes of size 1 is a reshape.
    """
    if not is_call(node, RESHAPE, PERMUTE, EXPAND):
        return None
    base = node.args[0]
    shape = shape_of(node)
    if node.target is not PERMUTE:
        if shape == shape_of(base):
            return base
        if is_call(node, RESHAPE) and is_call(base, RESHAPE):
            return emit(RESHAPE, (base.args[0], list(shape)), shape)
        return None
    axes = list(node.args[1])
    if is_call(base, PERMUTE):
        return emit(PERMUTE, (base.args[0], [base.args[1][i] for i in axes]), shape)
    proper = [i for i in axes if shape_of(base)[i] != 1]
    return emit(RESHAPE, (base, list(shape)), shape) if proper == sorted(proper) else None


def drop_expansions(node: Any, emit: Emit) -> Node | None:
    """A sum, difference, product or quotient without expanded arguments, since it broadcasts; None for any other node.

    Where all arguments are constant along an axis, the result is computed once there, and then expanded.
    """
    if not is_call(node, MUL, ADD, SUB, aten.div.Tensor) or node.kwargs:
        return None
    args = [a.args[0] if is_call(a, EXPAND) else a for a in node.args]
    if all(a is b for a, b in zip(args, node.args, strict=True)):
        return None
    shape = tuple(torch.broadcast_shapes(*map(shape_of, args)))
    small = emit(node.target, tuple(args), shape)
    return small if shape == shape_of(node) else emit(EXPAND, (small, list(shape_of(node))), shape_of(node))
