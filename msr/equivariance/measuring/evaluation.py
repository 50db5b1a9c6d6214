"""Evaluate a function on inputs; whatever goes wrong becomes an error of this package that says what to do."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from msr.equivariance.measuring.boundary import Interior
from msr.errors import ConfigError, ModelError, MSRError, NonFiniteError, ShapeError
from msr.groups import Group
from msr.representations import AnyRepresentation, LieRepresentation, Representation

__all__ = [
    "Element", "Elements", "Function", "act", "check_representations", "choose_elements", "evaluate", "outputs", "run",
    "error_text",
]  # fmt: skip

Element: TypeAlias = Any
"""A group element: an index or a label for finite groups, a tuple of coefficients for Lie algebras."""

Elements: TypeAlias = Literal["all", "generators"] | Sequence[Element]
"""Which elements to measure at: all of a finite group, the generators, or those listed."""

Function: TypeAlias = Callable[[Tensor], Tensor]
"""``(batch, *rep_in.shape) -> (batch, *rep_out.shape)``."""


def check_representations(rep_in: AnyRepresentation, rep_out: AnyRepresentation, group: Group | None = None) -> None:
    """Raise ConfigError unless both are representations of one group, which is the one given if one is."""
    for name, rep in (("rep_in", rep_in), ("rep_out", rep_out)):
        if not isinstance(rep, (Representation, LieRepresentation)):
            raise ConfigError(
                f"{name} must be a representation, which says how the group moves numbers, such as regular(group) or "
                f"trivial(group, n); got {rep!r}"
            )
    if group is not None and (rep_in.group != group or rep_out.group != group):
        raise ConfigError(f"{rep_in} and {rep_out} must be representations of the group given, {group}")
    if rep_in.group != rep_out.group:
        raise ConfigError(
            f"the representations are of different groups, {rep_in} and {rep_out}; pull them back to a common one"
        )


def choose_elements(elements: Elements, rep_in: AnyRepresentation, rep_out: AnyRepresentation) -> list[Element]:
    """The elements of the representations' group that were asked for, as a list; labels become elements.

    Raises: ConfigError where the group has no such elements or cannot list them, and for representations of two groups.
    """
    check_representations(rep_in, rep_out)
    group: Group = rep_in.group
    return group.choose(elements)


def act(rep: AnyRepresentation, g: Element, x: Tensor) -> Tensor:
    """``ρ(g) x``, computed in float64 and returned in the precision of ``x``; a permutation moves any kind of number.

    Raises: ShapeError for whole numbers under an action by matrices.
    """
    if rep.is_permutation:
        return rep.act(g, x)
    if not x.is_floating_point():
        raise ShapeError(f"{rep} mixes numbers, so inputs must be floating point; got {x.dtype}")
    return rep.act(g, x.double()).to(x.dtype)


def evaluate(f: Function, x: Tensor, rep_in: AnyRepresentation, inside: Interior, *, check: bool = True) -> Tensor:
    """``f(x)`` in its own precision, ``(batch, *rep_out.shape)``.

    Raises: ShapeError for inputs that do not fit ``rep_in``; ModelError for a module that holds batch norm or dropout
    in training mode (unless ``check`` is false); and what :func:`outputs` raises.
    """
    if not isinstance(x, Tensor):
        raise ShapeError(f"the data must be a tensor (batch, *shape); got {type(x).__name__}")
    lead = rep_in.check_shape(x)
    if len(lead) != 1 or lead[0] == 0:
        raise ShapeError(f"the data must be (batch, {', '.join(map(str, rep_in.shape))}); got {tuple(x.shape)}")
    if check:
        _refuse_training_mode(f)
    return outputs(f, x, rep_in, inside)


def run(f: Function, x: Tensor, rep_in: AnyRepresentation, inside: Interior) -> Tensor:
    """``f(x)`` in float64, ``(batch, *rep_out.shape)``: what :func:`outputs` gives in its own precision, and raises."""
    return outputs(f, x, rep_in, inside).double()


def outputs(f: Function, x: Tensor, rep_in: AnyRepresentation, inside: Interior) -> Tensor:
    """``f(x)`` in its own precision, detached, ``(batch, *rep_out.shape)`` (see :meth:`Interior.place`).

    ``f`` gets a copy, since it may work in place, and may use gradients inside (a force is one). Whatever ``f`` raises
    becomes a ModelError, an AssertionError too: an error inside a model is no verdict on it. Only errors of this
    package stay what they are.

    Raises: ModelError; NonFiniteError for nan or infinity; ShapeError for an output that does not fit.
    """
    try:
        # A force field takes a gradient inside of its forward, whatever mode the caller is in.
        with torch.enable_grad():
            y = f(x.detach().clone())
    except MSRError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"the function failed on inputs {tuple(x.shape)} {x.dtype}, (batch, *shape) for rep_in = {rep_in}: "
            f"{error_text(error)}. If it wants another shape, change rep_in; another type, give x= (or inputs=) or "
            "dtype=; several arguments, wrap it; batch norm or dropout, call eval() first"
        ) from error
    if not isinstance(y, Tensor):
        raise ModelError(f"the function must return a tensor; it returned {type(y).__name__}")
    if y.is_complex():
        raise ModelError("the function returned complex numbers; compare torch.view_as_real of them")
    y = y.detach()
    if not y.isfinite().all():
        raise NonFiniteError(f"the function gave nan or infinity on inputs of size up to {float(x.abs().max()):.3g}")
    # Defects are computed in float64, which holds whole numbers up to 2^53 exactly.
    if not y.is_floating_point() and y.numel() and y.dtype != torch.bool and max(-int(y.min()), int(y.max())) > 2**53:
        raise ModelError("the function returned whole numbers beyond 2^53, which float64 rounds; take off their offset")
    return inside.place(y, len(x))


def error_text(error: BaseException) -> str:
    """The text of a foreign error: its own for common classes such as RuntimeError, else the class and its own.

    An error without a text, or whose text cannot be made, gives the name of its class.
    """
    try:
        text = str(error)
    except Exception:  # the error's own __str__ may fail
        text = ""
    if text and isinstance(error, (RuntimeError, TypeError, ValueError, LookupError, AttributeError)):
        return text
    # The text of another class, such as a failed assertion, often says nothing without the class.
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _refuse_training_mode(f: Function) -> None:
    """Raise ModelError where a module holds batch norm, or dropout with a positive probability, in training mode.

    It is asked before the function runs, since a batch norm would change its running statistics. A plain function is
    not looked at.
    """
    if not isinstance(f, nn.Module):
        return
    for name, part in f.named_modules():
        if part.training and (isinstance(part, _BatchNorm) or (isinstance(part, _DropoutNd) and part.p)):
            raise ModelError(
                f"{name or type(part).__name__} is in training mode, where a {type(part).__name__} mixes the examples "
                "of a batch or draws at random; call eval() on the module first"
            )
