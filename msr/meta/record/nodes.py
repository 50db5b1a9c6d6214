"""What rewriting rules ask of a node of a recorded graph: its operation, its shape and type, and its constant value."""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

__all__ = [
    "ADD",
    "BMM",
    "CONTIGUOUS",
    "EXPAND",
    "MM",
    "MUL",
    "PERMUTE",
    "RESHAPE",
    "REWRITTEN",
    "SUB",
    "Emit",
    "Rule",
    "aten",
    "constant_of",
    "dtype_of",
    "is_call",
    "is_transpose",
    "shape_of",
]

aten = torch.ops.aten
RESHAPE = aten.reshape.default
PERMUTE = aten.permute.default
EXPAND = aten.expand.default
CONTIGUOUS = aten.contiguous.default
MM = aten.mm.default
BMM = aten.bmm.default
MUL = aten.mul.Tensor
ADD = aten.add.Tensor
SUB = aten.sub.Tensor
_FILLED = {aten.ones_like.default: 1.0, aten.zeros_like.default: 0.0, aten.ones.default: 1.0, aten.zeros.default: 0.0}

REWRITTEN = "rewritten"
"""Key in a node's ``meta`` under which the shape and the dtype of its tensor stand."""

Emit = Callable[..., Node]
"""``(operation, arguments, shape) -> node``: adds a node before the one that is being rewritten, with its dtype."""

Rule = Callable[[Any, Emit], Node | None]
"""``(node, emit) -> the node that replaces it``, or None where the rule does not apply."""


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of a tensor node; ``()`` for numbers, and for nodes whose shape is not known."""
    return node.meta[REWRITTEN][0] if isinstance(node, Node) and REWRITTEN in node.meta else ()


def dtype_of(node: Any) -> torch.dtype:
    """The dtype of a tensor node; KeyError where it is not known."""
    return node.meta[REWRITTEN][1]


def is_call(node: Any, *targets: Any) -> bool:
    """Whether the node is a call of one of these operations, of which the shape and dtype are known."""
    return isinstance(node, Node) and node.op == "call_function" and node.target in targets and REWRITTEN in node.meta


def is_transpose(node: Any) -> bool:
    """Whether the node is the transpose of a matrix, as a view."""
    return is_call(node, PERMUTE) and list(node.args[1]) == [1, 0]


def constant_of(value: Any) -> float | None:
    """The value of a plain number, or of every entry of a floating-point tensor known to be constant; None for anything
    else.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, Node) or value.op != "call_function":
        return None
    if "number" not in value.meta:  # kept, since it is asked for once for each path that leads to the node
        value.meta["number"] = _computed_constant(value)
    return value.meta["number"]


def _computed_constant(value: Any) -> float | None:
    """The value of every entry of a node's tensor, read off the operations that make it; None if it is not known."""
    if REWRITTEN not in value.meta or not dtype_of(value).is_floating_point:
        return None  # a whole number may have been rounded to fit its type
    if value.target in _FILLED:
        return _FILLED[value.target]
    if is_call(value, aten.full.default, aten.full_like.default):
        return constant_of(value.args[1])
    if is_call(value, aten.scalar_tensor.default, RESHAPE, PERMUTE, EXPAND):
        return constant_of(value.args[0])
    if is_call(value, MUL, aten.div.Tensor, aten.div.Scalar):
        a = constant_of(value.args[0])
        b = constant_of(value.args[1])
        # A division by zero is left for torch to carry out.
        if a is not None and b is not None and (value.target is MUL or b):
            return a * b if value.target is MUL else a / b
    return None
