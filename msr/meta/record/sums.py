"""Rules for sums, factors and errors: terms and factors in common are computed once, and zeros and ones not at all."""

import math
from typing import Any

from torch.fx import Node

from msr.meta.record.nodes import (
    ADD,
    BMM,
    MM,
    MUL,
    PERMUTE,
    RESHAPE,
    REWRITTEN,
    SUB,
    Emit,
    aten,
    constant_of,
    dtype_of,
    is_call,
    shape_of,
)

__all__ = ["drop_zeros", "merge_reductions", "merge_scales", "merge_sums", "open_squared_error"]


def merge_scales(node: Any, emit: Emit) -> Node | None:
    """One constant factor in place of several in a row, and none in place of 1; None where there is nothing to merge.

    ``view(c x)`` becomes ``c view(x)``, so that factors on both sides of a view meet.
    """
    if not dtype_of(node).is_floating_point:
        return None
    base, factor = _scaled(node)
    if base is not node:
        inner, inner_factor = _scaled(base)
        if factor * inner_factor == 1:
            return inner
        # A node that others read is computed anyway, so its factor stays there.
        joins = inner is not base and len(base.users) == 1
        is_plain_factor = is_call(node, MUL) and isinstance(node.args[1], float)
        if joins or not is_plain_factor:
            x, c = (inner, factor * inner_factor) if len(base.users) == 1 else (base, factor)
            return emit(MUL, (x, c), shape_of(node))
    elif is_call(node, RESHAPE, PERMUTE) and len(node.args[0].users) == 1:
        inner, factor = _scaled(node.args[0])
        if inner is not node.args[0]:
            view = emit(node.target, (inner, node.args[1]), shape_of(node))
            return emit(MUL, (view, factor), shape_of(node))
    return None


def _scaled(node: Any) -> tuple[Any, float]:
    """``(x, c)`` where the node is ``c x`` of the same shape and dtype, ``c`` finite and not 0; ``(node, 1)`` for any
    other.
    """
    if is_call(node, aten.neg.default):
        return node.args[0], -1.0
    if is_call(node, MUL, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar) and not node.kwargs:
        x = node.args[0]
        factor = constant_of(node.args[1])
        divides = node.target in (aten.div.Tensor, aten.div.Scalar)
        if factor is None and not divides:
            x = node.args[1]
            factor = constant_of(node.args[0])
        keeps = isinstance(x, Node) and REWRITTEN in x.meta and x.meta[REWRITTEN] == node.meta[REWRITTEN]
        if keeps and factor and math.isfinite(factor):
            return x, 1 / factor if divides else factor
    return node, 1.0


def open_squared_error(node: Any, emit: Emit) -> Node | None:
    """The squared error of each number, or its slope, in elementary operations, so that both share the difference.

    None for any other node; means and sums of squared errors are left as they are.
    """
    if is_call(node, aten.mse_loss.default) and node.args[2:] == (0,):
        difference = emit(SUB, node.args[:2], shape_of(node))
        return emit(MUL, (difference, difference), shape_of(node))
    if is_call(node, aten.mse_loss_backward.default) and node.args[3] == 0:
        slope, a, b = node.args[:3]
        difference = emit(SUB, (a, b), shape_of(node))
        factor = constant_of(slope)
        if factor is not None:
            return emit(MUL, (difference, 2 * factor), shape_of(node))
        return emit(MUL, (emit(MUL, (difference, slope), shape_of(node)), 2.0), shape_of(node))
    return None


def drop_zeros(node: Any, emit: Emit) -> Node | None:
    """``x`` in place of ``x + 0`` and ``x − 0``; None for any other node.

    Autograd fills derivatives that are not needed with zeros.
    """
    if not is_call(node, ADD, SUB) or node.kwargs:
        return None
    a, b = node.args
    if constant_of(b) == 0 and _replaces(a, node):
        return a
    if node.target is ADD and constant_of(a) == 0 and _replaces(b, node):
        return b
    return None


def _replaces(term: Any, node: Node) -> bool:
    """Whether the term is a tensor of the node's shape and dtype, so that it can stand in its place."""
    return isinstance(term, Node) and term.meta.get(REWRITTEN) == node.meta[REWRITTEN]


def merge_reductions(node: Any, emit: Emit) -> Node | None:
    """One sum in place of a sum over some axes of a sum over others; None for any other node."""
    sums = aten.sum.dim_IntList
    if not is_call(node, sums) or not is_call(node.args[0], sums) or node.kwargs or node.args[0].kwargs:
        return None
    first: Any = node.args[0]
    source = first.args[0]
    rank = len(shape_of(source))
    rank_between = len(shape_of(first))
    if not first.args[1] or not node.args[1] or 0 in (rank, rank_between):
        return None
    # Axes may be given as negative numbers.
    inner = [d % rank for d in first.args[1]]
    outer = [d % rank_between for d in node.args[1]]
    # Others need the inner sum anyway, and a sum over more axes would cost more than one over its result.
    if len(first.users) > 1:
        return None
    # Which axis of the source each axis of the first sum is; with keepdim all axes are still there.
    kept = list(range(rank)) if first.args[2:] == (True,) else [d for d in range(rank) if d not in inner]
    axes = sorted({*inner, *(kept[d] for d in outer)})
    # With the summed axes kept, the reshape that follows is right whether either sum kept its own.
    total = emit(sums, (source, axes, True), [1 if d in axes else n for d, n in enumerate(shape_of(source))])
    return emit(RESHAPE, (total, list(shape_of(node))), shape_of(node))


def merge_sums(node: Any, emit: Emit) -> Node | None:
    """``f(a + b)`` in place of ``f(a) + f(b)``; None where no two terms of the sum are of this kind. One pair is joined
    at a time.

    ``f`` is the same view of both, or the matrix product with a common factor.
    """
    # Sums of sums are looked at once, from the outermost one.
    if not _is_sum(node) or (len(node.users) == 1 and _is_sum(next(iter(node.users)))):
        return None
    terms = _terms(node)
    for i, a in enumerate(terms):
        for j in range(i):
            joined = _joined(terms[j], a, emit)
            if joined is not None:
                rest = [t for place, t in enumerate(terms) if place not in (i, j)]
                for term in rest:
                    joined = emit(ADD, (term, joined), shape_of(node))
                return joined
    return None


def _is_sum(node: Any) -> bool:
    """Whether the node adds two tensors of its own shape and dtype."""
    if not is_call(node, ADD) or node.kwargs or not all(isinstance(a, Node) and REWRITTEN in a.meta for a in node.args):
        return False
    return all(a.meta[REWRITTEN] == node.meta[REWRITTEN] for a in node.args)


def _terms(node: Any) -> list[Node]:
    """The terms of a sum, through inner sums that nothing else reads."""
    terms: list[Node] = []
    for a in node.args:
        terms += _terms(a) if _is_sum(a) and len(a.users) == 1 else [a]
    return terms


def _joined(a: Any, b: Any, emit: Emit) -> Node | None:
    """``f(a + b)`` for two terms ``f(a)``, ``f(b)`` that nothing else reads, or None."""
    if a is b or a.target is not b.target or len(a.users) > 1 or len(b.users) > 1:
        return None
    if is_call(a, RESHAPE, PERMUTE):
        x = a.args[0]
        y = b.args[0]
        if shape_of(x) == shape_of(y) and a.args[1] == b.args[1]:
            return emit(a.target, (emit(ADD, (x, y), shape_of(x)), a.args[1]), shape_of(a))
    if is_call(a, MM, BMM):
        for place in (0, 1):
            if a.args[place] is b.args[place]:
                x = a.args[1 - place]
                y = b.args[1 - place]
                total = emit(ADD, (x, y), shape_of(x))
                args = (a.args[0], total) if place == 0 else (total, a.args[1])
                return emit(a.target, args, shape_of(a))
    return None
