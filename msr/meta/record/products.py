"""Rules for matrix products and transposes, by what the libraries do fast."""

from typing import Any

from torch.fx import Graph, Node

from msr.meta.record.nodes import (
    BMM,
    CONTIGUOUS,
    MM,
    MUL,
    PERMUTE,
    RESHAPE,
    REWRITTEN,
    Emit,
    is_call,
    is_transpose,
    shape_of,
)

__all__ = ["outer_product", "thin_product", "transposed_copies", "transposed_copy", "transposed_product"]

# Up to so many columns a matrix is thin. By the timings below, on one CPU with MKL.
_THIN = 8


def transposed_product(node: Any, emit: Emit) -> Node | None:
    """``Bᵀ Aᵀ`` in place of ``(A B)ᵀ``; None where the node is no such transpose, or others read the product too.

    A product reads its factors in either layout, while a copy of its result takes a pass.
    """
    if not is_call(node, PERMUTE) or not is_call(node.args[0], MM, BMM):
        return None
    product = node.args[0]
    axes = list(node.args[1])
    # Only an exchange of the last two axes is a transpose. A product that others read would be computed twice.
    if axes != [*range(len(axes) - 2), len(axes) - 1, len(axes) - 2] or len(product.users) > 1:
        return None
    flipped = [_transpose(factor, emit) for factor in product.args]
    return emit(product.target, (flipped[1], flipped[0]), shape_of(node))


def _transpose(node: Any, emit: Emit) -> Node:
    """The node with its last two axes exchanged."""
    shape = shape_of(node)
    axes = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    return emit(PERMUTE, (node, axes), [shape[i] for i in axes])


def thin_product(node: Any, emit: Emit) -> Node | None:
    """``(Bᵀ Aᵀ)ᵀ`` in place of ``A B`` where ``B`` has 8 columns or fewer and the product is large; None for any other
    node.

    The libraries are fast for few rows, but not for few columns.

    With MKL ``(4760 × 32) (32 × 3)`` takes 138 µs, and ``(3 × 32) (32 × 4760)`` 21 µs. ``(32 × 4760) (4760 × 3)`` takes
    138 µs too, and in the other form 32 µs, with the copy of the thin factor into rows.
    """
    if not is_call(node, MM) or any(len(shape_of(factor)) != 2 for factor in node.args):
        return None
    (m, inner), (_, n) = map(shape_of, node.args)
    # Small products are fast either way (sizes chosen by hand).
    if not (n <= _THIN and max(m, inner) >= 256 and min(m, inner) >= 8):
        return None
    rows = _transpose(node.args[1], emit)
    # The library reads a long thin factor faster by rows; copying it is cheap, since it is thin.
    if inner > m:
        rows = emit(CONTIGUOUS, (rows,), shape_of(rows))
    return _transpose(emit(MM, (rows, _transpose(node.args[0], emit)), (n, m)), emit)


def outer_product(node: Any, emit: Emit) -> Node | None:
    """A product entry by entry in place of a batch of columns times rows; None for any other node.

    It is four times as fast as matrix products of one term.
    """
    if is_call(node, BMM) and shape_of(node.args[0])[2] == 1:
        return emit(MUL, node.args, shape_of(node))
    return None


def transposed_copy(graph: Graph, transpose: Any) -> Node:
    """The nodes of a copy of a transpose, row by row, that is faster than torch's; returns the copy.

    Torch has a kernel of its own for copies of plain transposes, which is slow for long thin ones: it copies a matrix
    of 4760 by 3 in 36 µs. With an axis between the two, which this adds, another kernel does it in 11.
    """
    n, m = shape_of(transpose)
    with_an_axis = graph.call_function(RESHAPE, (transpose.args[0], [m, 1, n]))
    rows = graph.call_function(CONTIGUOUS, (graph.call_function(PERMUTE, (with_an_axis, [2, 1, 0])),))
    copy = graph.call_function(RESHAPE, (rows, [n, m]))
    copy.meta[REWRITTEN] = transpose.meta[REWRITTEN]
    return copy


def transposed_copies(graph: Graph) -> None:
    """Replace copies of transposes, in place, by :func:`transposed_copy`.

    Reshapes of such a transpose, which would copy too, become views of that copy.
    """
    for node in list(graph.nodes):
        transpose: Any = node.args[0] if node.args else None
        # An earlier copy may have been merged with another transpose, which is no longer a transpose then.
        if is_call(node, CONTIGUOUS) and is_transpose(transpose):
            with graph.inserting_before(transpose.next):
                copy = transposed_copy(graph, transpose)
            node.replace_all_uses_with(copy)
            for user in list(transpose.users):
                if is_call(user, RESHAPE):
                    user.replace_input_with(transpose, copy)
