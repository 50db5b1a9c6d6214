"""Rewrite a recorded graph into one with fewer and cheaper operations that computes the same, up to rounding.

A recording is pure: what an operation returns is decided by the values of its arguments, never by their strides (graphs
that hold an operation which looks at strides are left alone). So every copy into another layout can go, all views are a
reshape, a permutation or an expansion, and equal operations on equal arguments are one. Each rule below is local; they
are repeated until none applies.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Graph, Node

__all__ = ["CONTIGUOUS", "PERMUTE", "RESHAPE", "is_transpose", "shape_of", "simplify", "transposed_copy"]

_aten = torch.ops.aten
RESHAPE, PERMUTE, CONTIGUOUS = _aten.reshape.default, _aten.permute.default, _aten.contiguous.default
_EXPAND, _MM, _BMM = _aten.expand.default, _aten.mm.default, _aten.bmm.default
_MUL, _ADD, _SUB = _aten.mul.Tensor, _aten.add.Tensor, _aten.sub.Tensor
_RESHAPES = {_aten.view.default, _aten._unsafe_view.default, RESHAPE, _aten.unsqueeze.default}
_RESHAPES |= {_aten.squeeze.default, _aten.squeeze.dim, _aten.squeeze.dims}
_PERMUTES = {_aten.t.default, _aten.transpose.int, _aten.permute.default}
_SAME = {_aten.alias.default, _aten.detach.default, _aten.clone.default, _aten.contiguous.default}
_ONES = {_aten.ones_like.default: 1.0, _aten.zeros_like.default: 0.0, _aten.ones.default: 1.0, _aten.zeros.default: 0.0}
# What reads strides, or writes: none of it may be moved.
_STRIDED = ("as_strided", "set_", "resize", "empty_strided", "_local_scalar_dense")
_THIN = 8  # as many columns are few
_NEW = "rewritten"  # meta key of shape and dtype

Emit = Callable[..., Node]
Rule = Callable[[Any, Emit], Node | None]


def simplify(graph: Graph) -> bool:
    """Rewrite the graph in place; false, with nothing changed, where that is not safe."""
    targets = [n.target for n in graph.nodes if n.op == "call_function" and isinstance(n.target, torch._ops.OpOverload)]
    if any(t._schema.is_mutable or any(word in t._schema.name for word in _STRIDED) for t in targets):
        return False
    for node in graph.nodes:
        # What the function closed over is an attribute of the module.
        found = getattr(graph.owning_module, node.target) if node.op == "get_attr" else node.meta.get("tensor_meta")
        if isinstance(getattr(found, "shape", None), torch.Size):
            node.meta[_NEW] = (tuple(found.shape), found.dtype)
    _apply(graph, [_as_three_views])
    while _apply(graph, _RULES) | _merge_equal(graph):
        graph.eliminate_dead_code()
    _apply(graph, [_thin_product, _outer_product])
    _share_copies(graph)
    graph.eliminate_dead_code()
    return True


def shape_of(node: Any) -> tuple[int, ...]:
    """Of a tensor node; numbers have shape ``()``."""
    return node.meta[_NEW][0] if isinstance(node, Node) and _NEW in node.meta else ()


def is_transpose(node: Any) -> bool:
    """Of a matrix, as a view."""
    return _is(node, PERMUTE) and list(node.args[1]) == [1, 0]


def _dtype(node: Any) -> torch.dtype:
    return node.meta[_NEW][1]


def _apply(graph: Graph, rules: Sequence[Rule]) -> bool:
    changed = False
    for node in list(graph.nodes):
        if node.op != "call_function" or _NEW not in node.meta or not node.users:
            continue

        def emit(target: Callable, args: tuple, shape: Sequence[int], like: Node = node) -> Node:
            with graph.inserting_before(like):
                new = graph.call_function(target, args)
            new.meta[_NEW] = (tuple(shape), _dtype(like))
            return new

        for rule in rules:
            new = rule(node, emit)
            if new is not None and new is not node:
                node.replace_all_uses_with(new)
                changed = True
                break
    return changed


def _merge_equal(graph: Graph) -> bool:
    """Equal operations on equal arguments are one, unless they draw random numbers."""
    seen: dict[object, Node] = {}
    changed = False
    for node in list(graph.nodes):
        if (
            node.op != "call_function"
            or not node.users
            or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        ):
            continue
        key = (node.target, repr(node.args), repr(node.kwargs))
        first = seen.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            changed = True
    return changed


def _is(node: Any, *targets: Any) -> bool:
    return isinstance(node, Node) and node.op == "call_function" and node.target in targets and _NEW in node.meta


def _as_three_views(node: Any, emit: Emit) -> Node | None:
    base: Any = node.args[0] if node.args else None
    shape = shape_of(node)
    if node.target is _aten.cat.default and len(base) == 1:
        return base[0]
    if not isinstance(base, Node) or _NEW not in base.meta or _dtype(base) is not _dtype(node):
        return None
    if node.target in _SAME or (node.target is _aten.slice.Tensor and shape == shape_of(base)):
        return base
    if node.target in _RESHAPES:
        return emit(RESHAPE, (base, list(shape)), shape)
    if node.target in _PERMUTES:
        axes = list(range(len(shape_of(base))))
        if node.target is PERMUTE:
            axes = [axes[i] for i in node.args[1]]
        elif axes:
            i, j = node.args[1:] if node.target is _aten.transpose.int else (0, len(axes) - 1)
            axes[i], axes[j] = axes[j], axes[i]
        return emit(PERMUTE, (base, axes), shape)
    return emit(_EXPAND, (base, list(shape)), shape) if node.target is _EXPAND else None


def _merge_views(node: Any, emit: Emit) -> Node | None:
    """Two reshapes or permutations are one; one that moves nothing is none; moving axes of size 1 is a reshape."""
    if not _is(node, RESHAPE, PERMUTE, _EXPAND):
        return None
    base, shape = node.args[0], shape_of(node)
    if node.target is not PERMUTE:
        if shape == shape_of(base):
            return base
        return emit(RESHAPE, (base.args[0], list(shape)), shape) if _is(node, RESHAPE) and _is(base, RESHAPE) else None
    axes = list(node.args[1])
    if _is(base, PERMUTE):
        return emit(PERMUTE, (base.args[0], [base.args[1][i] for i in axes]), shape)
    moved = [i for i in axes if shape_of(base)[i] != 1]
    return emit(RESHAPE, (base, list(shape)), shape) if moved == sorted(moved) else None


def _number(value: Any) -> float | None:
    """The number that a plain number, or each entry of a constant tensor, is."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, Node) or value.op != "call_function":
        return None
    if "number" not in value.meta:  # kept, since a value is asked for once for each path that leads to it
        value.meta["number"] = _number_of(value)
    return value.meta["number"]


def _number_of(value: Any) -> float | None:
    if _NEW not in value.meta or not _dtype(value).is_floating_point:
        return None  # a whole number may have been cut to fit
    if value.target in _ONES:
        return _ONES[value.target]
    if _is(value, _aten.full.default, _aten.full_like.default):
        return _number(value.args[1])
    if _is(value, _aten.scalar_tensor.default, RESHAPE, PERMUTE, _EXPAND):
        return _number(value.args[0])
    if _is(value, _MUL, _aten.div.Tensor, _aten.div.Scalar):
        a, b = _number(value.args[0]), _number(value.args[1])
        if a is not None and b is not None and (value.target is _MUL or b):
            return a * b if value.target is _MUL else a / b
    return None


def _scaled(node: Any) -> tuple[Any, float]:
    """``(x, c)`` where the node is ``c x`` of the same shape and dtype; ``(node, 1)`` for any other."""
    if _is(node, _aten.neg.default):
        return node.args[0], -1.0
    if _is(node, _MUL, _aten.mul.Scalar, _aten.div.Tensor, _aten.div.Scalar) and not node.kwargs:
        x, factor = node.args[0], _number(node.args[1])
        divides = node.target in (_aten.div.Tensor, _aten.div.Scalar)
        if factor is None and not divides:
            x, factor = node.args[1], _number(node.args[0])
        keeps = isinstance(x, Node) and _NEW in x.meta and x.meta[_NEW] == node.meta[_NEW]
        if keeps and factor and math.isfinite(factor):
            return x, 1 / factor if divides else factor
    return node, 1.0


def _merge_scales(node: Any, emit: Emit) -> Node | None:
    """Constant factors in a row are one number; a factor 1 is none. A view's factor is taken after it."""
    if not _dtype(node).is_floating_point:
        return None
    base, factor = _scaled(node)
    if base is not node:
        inner, more = _scaled(base)
        if factor * more == 1:
            return inner
        if (inner is not base and len(base.users) == 1) or not (_is(node, _MUL) and isinstance(node.args[1], float)):
            x, c = (inner, factor * more) if len(base.users) == 1 else (base, factor)
            return emit(_MUL, (x, c), shape_of(node))
    elif _is(node, RESHAPE, PERMUTE) and len(node.args[0].users) == 1:
        inner, factor = _scaled(node.args[0])
        if inner is not node.args[0]:
            view = emit(node.target, (inner, node.args[1]), shape_of(node))
            return emit(_MUL, (view, factor), shape_of(node))
    return None


def _open_squared_error(node: Any, emit: Emit) -> Node | None:
    """The squared error and its slope share the difference."""
    if _is(node, _aten.mse_loss.default) and node.args[2:] == (0,):
        gap = emit(_SUB, node.args[:2], shape_of(node))
        return emit(_MUL, (gap, gap), shape_of(node))
    if _is(node, _aten.mse_loss_backward.default) and node.args[3] == 0:
        slope, a, b = node.args[:3]
        gap = emit(_SUB, (a, b), shape_of(node))
        factor = _number(slope)
        if factor is not None:
            return emit(_MUL, (gap, 2 * factor), shape_of(node))
        return emit(_MUL, (emit(_MUL, (gap, slope), shape_of(node)), 2.0), shape_of(node))
    return None


def _drop_zeros(node: Any, emit: Emit) -> Node | None:
    """``x + 0 = x``, where ``0`` is what a derivative that nobody asked for was filled with."""
    if not _is(node, _ADD, _SUB) or node.kwargs:
        return None
    a, b = node.args
    if _number(b) == 0 and isinstance(a, Node) and a.meta.get(_NEW) == node.meta[_NEW]:
        return a
    if node.target is _ADD and _number(a) == 0 and isinstance(b, Node) and b.meta.get(_NEW) == node.meta[_NEW]:
        return b
    return None


def _merge_reductions(node: Any, emit: Emit) -> Node | None:
    """A sum over some axes of a sum over others is one sum."""
    sums = _aten.sum.dim_IntList
    if not _is(node, sums) or not _is(node.args[0], sums) or node.kwargs or node.args[0].kwargs:
        return None
    first: Any = node.args[0]
    source = first.args[0]
    rank, left = len(shape_of(source)), len(shape_of(first))
    if not first.args[1] or not node.args[1] or 0 in (rank, left):
        return None
    inner, outer = ([d % r for d in n.args[1]] for n, r in ((first, rank), (node, left)))
    if len(first.users) > 1:
        return None
    kept = list(range(rank)) if first.args[2:] == (True,) else [d for d in range(rank) if d not in inner]
    axes = sorted({*inner, *(kept[d] for d in outer)})
    total = emit(sums, (source, axes, True), [1 if d in axes else n for d, n in enumerate(shape_of(source))])
    return emit(RESHAPE, (total, list(shape_of(node))), shape_of(node))


def _transposed_product(node: Any, emit: Emit) -> Node | None:
    """``(A B)ᵀ = Bᵀ Aᵀ``: a matrix product reads its factors in either layout, a copy of its result costs a pass."""
    if not _is(node, PERMUTE) or not _is(node.args[0], _MM, _BMM):
        return None
    product, axes = node.args[0], list(node.args[1])
    if axes != [*range(len(axes) - 2), len(axes) - 1, len(axes) - 2] or len(product.users) > 1:
        return None
    flipped = [_transpose(factor, emit) for factor in product.args]
    return emit(product.target, (flipped[1], flipped[0]), shape_of(node))


def _transpose(node: Any, emit: Emit) -> Node:
    shape = shape_of(node)
    axes = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    return emit(PERMUTE, (node, axes), [shape[i] for i in axes])


def _merge_sums(node: Any, emit: Emit) -> Node | None:
    """``f(a) + f(b) = f(a + b)`` for one and the same view, factor, or matrix product with a common factor."""
    if not _is_sum(node) or (len(node.users) == 1 and _is_sum(next(iter(node.users)))):
        return None
    terms = _terms(node)
    for i, a in enumerate(terms):
        for j in range(i):
            joined = _joined(terms[j], a, emit)
            if joined is not None:
                rest = [t for place, t in enumerate(terms) if place not in (i, j)]
                for term in rest:
                    joined = emit(_ADD, (term, joined), shape_of(node))
                return joined
    return None


def _is_sum(node: Any) -> bool:
    if not _is(node, _ADD) or node.kwargs or not all(isinstance(a, Node) and _NEW in a.meta for a in node.args):
        return False
    return all(a.meta[_NEW] == node.meta[_NEW] for a in node.args)


def _terms(node: Any) -> list[Node]:
    found: list[Node] = []
    for a in node.args:
        found += _terms(a) if _is_sum(a) and len(a.users) == 1 else [a]
    return found


def _joined(a: Any, b: Any, emit: Emit) -> Node | None:
    if a is b or a.target is not b.target or len(a.users) > 1 or len(b.users) > 1:
        return None
    if _is(a, RESHAPE, PERMUTE):
        x, y = a.args[0], b.args[0]
        if shape_of(x) == shape_of(y) and a.args[1] == b.args[1]:
            return emit(a.target, (emit(_ADD, (x, y), shape_of(x)), a.args[1]), shape_of(a))
    if _is(a, _MM, _BMM):
        for place in (0, 1):
            if a.args[place] is b.args[place]:
                x, y = a.args[1 - place], b.args[1 - place]
                total = emit(_ADD, (x, y), shape_of(x))
                args = (a.args[0], total) if place == 0 else (total, a.args[1])
                return emit(a.target, args, shape_of(a))
    return None


def _thin_product(node: Any, emit: Emit) -> Node | None:
    """``A B = (Bᵀ Aᵀ)ᵀ`` where ``B`` has few columns: the libraries are fast for few rows, not for few columns.

    With MKL, ``(4760 × 32) (32 × 3)`` takes 138 µs and ``(3 × 32) (32 × 4760)`` takes 21, and with ``(32 × 4760)
    (4760 × 3)`` it is 138 against 32, a copy of the thin factor into rows included.
    """
    if not _is(node, _MM) or any(len(shape_of(factor)) != 2 for factor in node.args):
        return None
    (m, inner), (_, n) = map(shape_of, node.args)
    if not (n <= _THIN and max(m, inner) >= 256 and min(m, inner) >= 8):
        return None
    rows = _transpose(node.args[1], emit)
    if inner > m:
        rows = emit(CONTIGUOUS, (rows,), shape_of(rows))
    return _transpose(emit(_MM, (rows, _transpose(node.args[0], emit)), (n, m)), emit)


def _outer_product(node: Any, emit: Emit) -> Node | None:
    """A batch of columns by rows is a product entry by entry, four times faster than matrix products over one term."""
    if _is(node, _BMM) and shape_of(node.args[0])[2] == 1:
        return emit(_MUL, node.args, shape_of(node))
    return None


def _drop_expansions(node: Any, emit: Emit) -> Node | None:
    """Sums and products broadcast by themselves; what is the same all along an axis is computed once, then expanded."""
    if not _is(node, _MUL, _ADD, _SUB, _aten.div.Tensor) or node.kwargs:
        return None
    args = [a.args[0] if _is(a, _EXPAND) else a for a in node.args]
    if all(a is b for a, b in zip(args, node.args, strict=True)):
        return None
    shape = tuple(torch.broadcast_shapes(*map(shape_of, args)))
    small = emit(node.target, tuple(args), shape)
    return small if shape == shape_of(node) else emit(_EXPAND, (small, list(shape_of(node))), shape_of(node))


def transposed_copy(graph: Graph, transpose: Any) -> Node:
    """The transpose of a matrix, row by row; torch's copy of 4760 by 3 takes 23 µs, this 7, of 3 by 4760 46 and 19."""
    n, m = shape_of(transpose)
    source = transpose.args[0]
    if n <= _THIN:
        copy = graph.call_function(
            _aten.stack.default, ([graph.call_function(_aten.select.int, (source, 1, i)) for i in range(n)],)
        )
    else:
        lifted = graph.call_function(RESHAPE, (source, [m, 1, n]))
        turned = graph.call_function(CONTIGUOUS, (graph.call_function(PERMUTE, (lifted, [2, 1, 0])),))
        copy = graph.call_function(RESHAPE, (turned, [n, m]))
    copy.meta[_NEW] = transpose.meta[_NEW]
    return copy


def _share_copies(graph: Graph) -> None:
    """Where a thin transpose is copied out, its reshapes, which would copy too, are views of that copy."""
    while _apply(graph, [_merge_views, _merge_sums]) | _merge_equal(graph):
        graph.eliminate_dead_code()
    for node in list(graph.nodes):
        transpose: Any = node.args[0] if node.args else None
        if _is(node, CONTIGUOUS) and is_transpose(transpose):  # it may have met another transpose, and be gone
            with graph.inserting_before(transpose.next):
                copy = transposed_copy(graph, transpose)
            node.replace_all_uses_with(copy)
            for user in list(transpose.users):
                if _is(user, RESHAPE):
                    user.replace_input_with(transpose, copy)


_RULES: list[Rule] = [
    _merge_views,
    _drop_expansions,
    _merge_scales,
    _open_squared_error,
    _drop_zeros,
    _merge_reductions,
    _transposed_product,
    _merge_sums,
]
