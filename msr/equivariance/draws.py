"""Draws of an input and a group element, and the defect of each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from msr.equivariance.boundary import Interior
from msr.equivariance.evaluate import Element, Function, act, defects_of_rows, evaluate
from msr.equivariance.measure import module_of
from msr.errors import ShapeError
from msr.groups import Group
from msr.representations import AnyRepresentation

__all__ = ["Draws", "draw_defects", "draw_elements", "draw_inputs", "is_constant", "like"]


@dataclass(frozen=True, eq=False)
class Draws:
    """Defects of single draws, and what was seen on the way."""

    values: Tensor
    size: float
    compared: float
    is_constant: bool


def draw_defects(
    f: Function, x: Tensor, elements: list, rep_in: AnyRepresentation, rep_out: AnyRepresentation, inside: Interior
) -> Draws:
    """``d_i`` for each pair of an input ``x[i]`` and an element ``elements[i]``, ``(n,)`` float64."""
    assert len(x) == len(elements), "one element for each input"
    groups: dict[Element, list[int]] = {}
    for i, g in enumerate(elements):
        groups.setdefault(g, []).append(i)
    y = evaluate(f, x, rep_in, inside)
    moved, b, windows = x.clone(), y.clone(), torch.ones_like(y, dtype=torch.bool)
    for g, rows in groups.items():
        moved[rows], b[rows] = act(rep_in, g, x[rows]), rep_out.act(g, y[rows])
        windows[rows] = inside.of(g).to(y.device)
    a, b = evaluate(f, moved, rep_in, inside, check=False) * windows, b * windows
    values = defects_of_rows(a.reshape(len(x), -1), b.reshape(len(x), -1))
    share = float(windows.double().mean())
    return Draws(values.cpu(), float(y.square().mean().sqrt()), share, is_constant(y))


def is_constant(y: Tensor) -> bool:
    """Whether a batch of outputs is one output, up to rounding."""
    return len(y) > 1 and float((y - y[:1]).abs().max()) <= 1e-6 * max(float(y.abs().max()), 1e-300)


def like(f: Function | nn.Module, dtype: torch.dtype | None) -> Tensor:
    """An empty tensor with the precision and the device that a function wants."""
    module = module_of(f)
    tensors = [] if module is None else [*module.parameters(), *module.buffers()]
    for tensor in tensors:
        if tensor.is_floating_point():
            return torch.empty(0, dtype=dtype or tensor.dtype, device=tensor.device)
    return torch.empty(0, dtype=dtype or torch.get_default_dtype())


def draw_elements(group: Group, n: int, generator: torch.Generator) -> list:
    """``n`` random elements, as ``group.drawn`` says; never the identity, with which everything commutes."""
    return group.draw(n, generator)


def draw_inputs(
    inputs: Callable[[int, torch.Generator], Tensor] | Tensor | None,
    n: int,
    rep_in: AnyRepresentation,
    kind: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """``n`` inputs: standard normal, from a data set with replacement, or as a function draws them."""
    if inputs is None:
        x = torch.randn(n, *rep_in.shape, generator=generator, dtype=torch.float64)
        return x.to(dtype=kind.dtype, device=kind.device)
    x = inputs if isinstance(inputs, Tensor) else inputs(n, generator)
    if len(rep_in.check_shape(x)) != 1 or len(x) == 0:
        raise ShapeError(f"inputs must be (examples, *shape) for {rep_in}, at least one; came {tuple(x.shape)}")
    if isinstance(inputs, Tensor):
        return x[torch.randint(len(x), (n,), generator=generator)]
    if len(x) != n:
        raise ShapeError(f"inputs(n, generator) must return n = {n} examples, one for each draw; it returned {len(x)}")
    return x
