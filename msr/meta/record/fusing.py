"""Rules that make one operation of two, last of all: the rules before them see sums, products and factors apart."""

from typing import Any

import torch
from torch.fx import Node

from msr.meta.record.nodes import (
    ADD,
    BMM,
    CONTIGUOUS,
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

__all__ = ["fused_product", "mean_square", "scale_to_the_smallest", "transposed_factor"]

_PRECISE = (torch.float32, torch.float64)  # half precision would round, or overflow, in between


def fused_product(node: Any, emit: Emit) -> Node | None:
    """One operation for ``x + a b`` and ``x − a b`` where nothing else reads the product; None for any other node."""
    if not is_call(node, ADD, SUB) or node.kwargs:
        return None
    places = (1, 0) if node.target is ADD else (1,)
    sign = 1 if node.target is ADD else -1
    for place in places:
        product = node.args[place]
        x = node.args[1 - place]
        if not is_call(product, MUL) or product.kwargs or len(product.users) > 1 or not _alike(node, x, product):
            continue
        a, b = product.args
        number = constant_of(b) if not isinstance(b, Node) else None
        if number is not None and _alike(node, a):
            fused = emit(node.target, (x, a), shape_of(node))
            fused.kwargs = {"alpha": number}
            return fused
        if _alike(node, a, b):
            fused = emit(aten.addcmul.default, (x, a, b), shape_of(node))
            fused.kwargs = {"value": sign}
            return fused
    return None


def _alike(node: Node, *terms: Any) -> bool:
    """Whether all terms are tensors of the node's dtype, and that is a precise one."""
    dtype = dtype_of(node)
    return dtype in _PRECISE and all(
        isinstance(term, Node) and REWRITTEN in term.meta and dtype_of(term) is dtype for term in terms
    )


def mean_square(node: Any, emit: Emit) -> Node | None:
    """The square of a norm in place of a mean or a sum of squares along axes; None for any other node.

    Squares that nothing else reads are never written then (1292 of them for each of 32 tasks: 16 µs against 28).
    """
    if not is_call(node, aten.mean.dim, aten.sum.dim_IntList) or node.kwargs or len(node.args) > 3:
        return None
    square = node.args[0]
    if not is_call(square, MUL) or square.args[0] is not square.args[1] or len(square.users) > 1:
        return None
    x: Any = square.args[0]
    shape = shape_of(x)
    axes = [axis % len(shape) for axis in node.args[1] or ()] if shape else []
    if not axes or not _alike(node, square, x):
        return None
    count = 1
    for axis in axes:
        count *= shape[axis]
    if count == 0:
        return None
    norm = emit(aten.linalg_vector_norm.default, (x, 2, axes, *node.args[2:3]), shape_of(node))
    total = emit(MUL, (norm, norm), shape_of(node))
    return total if node.target is aten.sum.dim_IntList else emit(MUL, (total, 1 / count), shape_of(node))


def scale_to_the_smallest(node: Any, emit: Emit) -> Node | None:
    """A constant factor moved through matrix products to where the fewest numbers are; None where it stands well.

    ``A (c B) = (c A) B = c (A B)``. It moves past a product of large factors where further products wait that have a
    small factor or result.
    """
    if not is_call(node, MM, BMM) or not _alike(node, *node.args):
        return None
    for place in (0, 1):
        found = _scaled(node.args[place])
        if found is None:
            continue
        factor, number, scaled = found
        other = node.args[1 - place]
        onto_other = 2 * _numel(other) <= _numel(scaled)
        onto_result = 2 * _numel(node) <= _numel(scaled) or _ends_small(node, _numel(scaled))
        if not onto_other and not onto_result:
            continue  # before anything is emitted, since what is emitted counts as a change
        plain = _views_of(node.args[place], factor, emit)
        if onto_other:
            other = emit(MUL, (other, number), shape_of(other))
        product = emit(node.target, (plain, other) if place == 0 else (other, plain), shape_of(node))
        return product if onto_other else emit(MUL, (product, number), shape_of(node))
    return None


def _scaled(node: Any) -> tuple[Node, float, Node] | None:
    """``(x, c, c x)`` where the node is some views of ``c x``, a tensor times a number; None for any other."""
    while is_call(node, RESHAPE, PERMUTE):
        node = node.args[0]
    if not is_call(node, MUL) or node.kwargs or not isinstance(node.args[1], float):
        return None
    x: Any = node.args[0]
    return (x, node.args[1], node) if _alike(node, x) and shape_of(x) == shape_of(node) else None


def _views_of(node: Any, base: Node, emit: Emit) -> Node:
    """The views that lead to the node, of another base."""
    if not is_call(node, RESHAPE, PERMUTE):
        return base
    return emit(node.target, (_views_of(node.args[0], base, emit), node.args[1]), shape_of(node))


def _ends_small(product: Node, size: int) -> bool:
    """Whether all that reads the product, through views, are products with a factor or a result of half of ``size``."""
    readers = [(product, user) for user in product.users]
    while readers:
        read, reader = readers.pop()
        if is_call(reader, RESHAPE, PERMUTE):
            readers += [(reader, user) for user in reader.users]
            continue
        if not is_call(reader, MM, BMM):
            return False
        least = min(_numel(reader), *(_numel(factor) for factor in reader.args if factor is not read))
        if 2 * least > size:
            return False
    return True


def _numel(node: Any) -> int:
    """How many numbers a tensor node holds."""
    count = 1
    for size in shape_of(node):
        count *= size
    return count


def transposed_factor(node: Any, emit: Emit) -> Node | None:
    """A batch of products ``A Bᵀ`` with each ``B`` made by rows of its transpose, where ``B`` is ``v P`` for few rows
    ``P``: transposing those costs less than reading each ``B`` across its rows; None for any other node.

    ``P (k, b · a)`` holds matrices of ``(b, a)``, and so does ``v P (n, b · a)``. For 32 products of 19 by 70 by 68 it
    is 46 against 75 µs, and 10 for the copy of ``P``.
    """
    if not is_call(node, BMM) or not is_call(node.args[1], PERMUTE) or list(node.args[1].args[1]) != [0, 2, 1]:
        return None
    made = node.args[1].args[0]
    product: Any = made.args[0] if is_call(made, RESHAPE) and len(made.users) == 1 else None
    if not is_call(product, MM) or len(product.users) > 1 or len(node.args[1].users) > 1:
        return None
    v, rows = product.args
    n, b, a = shape_of(made)
    k = shape_of(v)[1]
    if shape_of(product) != (n, b * a) or 4 * k > n:
        return None
    matrices = emit(PERMUTE, (emit(RESHAPE, (rows, [k, b, a]), (k, b, a)), [0, 2, 1]), (k, a, b))
    flat = emit(RESHAPE, (emit(CONTIGUOUS, (matrices,), (k, a, b)), [k, a * b]), (k, a * b))
    transposed = emit(RESHAPE, (emit(MM, (v, flat), (n, a * b)), [n, a, b]), (n, a, b))
    return emit(BMM, (node.args[0], transposed), shape_of(node))
