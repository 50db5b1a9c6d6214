"""Random inputs and group elements for a check, in the precision that a function takes."""

import hashlib
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from msr.equivariance.measuring.evaluation import Function, error_text
from msr.errors import DataError, MSRError, ShapeError
from msr.groups import Group
from msr.representations import AnyRepresentation

__all__ = ["Inputs", "draw_elements", "draw_inputs", "seeded", "template_of"]

Inputs: TypeAlias = Callable[[int, torch.Generator], Tensor] | Tensor | None
"""Where inputs come from: a function ``(n, generator) -> (n, *shape)``, a data set ``(rows, *shape)``, or None."""


def seeded(seed: int, rep: AnyRepresentation) -> torch.Generator:
    """A generator from a seed and the shape of the inputs.

    With the shape in it, checks of different functions do not all begin with the same few random numbers.
    """
    digest = hashlib.sha256(repr((seed, tuple(rep.shape))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def template_of(f: Function | nn.Module, dtype: torch.dtype | None) -> Tensor:
    """An empty tensor with the precision and the device of the inputs that a function takes.

    They are those of a module's first floating point parameter or buffer, else torch's defaults; a ``dtype`` that is
    given replaces that precision.
    """
    tensors = [*f.parameters(), *f.buffers()] if isinstance(f, nn.Module) else []
    for tensor in tensors:
        # Tables of indices and masks say nothing of the precision of inputs.
        if tensor.is_floating_point():
            return torch.empty(0, dtype=dtype or tensor.dtype, device=tensor.device)
    return torch.empty(0, dtype=dtype or torch.get_default_dtype())


def draw_elements(group: Group, n: int, generator: torch.Generator) -> list:
    """``n`` random elements, drawn as ``group.drawn`` says.

    The identity, with which every function commutes, is drawn again. It is left in the list where the group has nothing
    else, or a hundred rounds gave nothing else.
    """
    return group.draw(n, generator)


def draw_inputs(
    inputs: Inputs, n: int, rep_in: AnyRepresentation, template: Tensor, generator: torch.Generator
) -> Tensor:
    """``n`` inputs ``(n, *rep_in.shape)``: standard normal, from a data set with replacement, or as a function draws.

    Args: ``template``: standard normal inputs have its precision and device; all others keep their own.
    Raises: DataError where the function that draws them fails; ShapeError for inputs that do not fit.
    """
    if inputs is None:
        # Drawn in float64, so that every precision sees the same numbers.
        x = torch.randn(n, *rep_in.shape, generator=generator, dtype=torch.float64)
        return x.to(dtype=template.dtype, device=template.device)
    try:
        x = inputs if isinstance(inputs, Tensor) else inputs(n, generator)
    except MSRError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"inputs({n}, generator) failed: {error_text(error)}") from error
    if len(rep_in.check_shape(x)) != 1 or len(x) == 0:
        raise ShapeError(f"inputs must be (examples, *shape) for {rep_in}, at least one; got {tuple(x.shape)}")
    if isinstance(inputs, Tensor):
        return x[torch.randint(len(x), (n,), generator=generator)]
    if len(x) != n:
        raise ShapeError(f"inputs(n, generator) must return n = {n} examples, one for each draw; it returned {len(x)}")
    return x
