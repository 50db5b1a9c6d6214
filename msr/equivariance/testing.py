"""For unit tests: an assertion that says what broke, and helpers for pytest and hypothesis."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from msr.equivariance.boundary import Interior
from msr.equivariance.certify import EquivarianceWarning
from msr.equivariance.draws import draw_inputs, is_constant, like
from msr.equivariance.evaluate import (
    Elements,
    Function,
    both_sides,
    check_representations,
    choose_elements,
    defects_of_rows,
)
from msr.equivariance.measure import module_of
from msr.equivariance.network import Representations, localise
from msr.equivariance.several import Several, as_one
from msr.errors import ConfigError, MissingExtraError
from msr.groups import FiniteGroup, Group
from msr.representations import AnyRepresentation

__all__ = ["TOLERANCE", "assert_equivariant", "parametrize_elements"]

TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest defect that passes, by precision: some hundred times what rounding does to a small network."""

MOST_ELEMENTS = 64


def assert_equivariant(
    f: Function | nn.Module,
    group: Group,
    rep_in: Several,
    rep_out: Several,
    *,
    x: Any = None,
    elements: Elements | None = None,
    tolerance: float | None = None,
    mask: Tensor | None = None,
    layers: Representations | None = None,
    dtype: torch.dtype | None = None,
    batch: int = 16,
    seed: int = 0,
) -> None:
    """Raise AssertionError unless ``f(ρ_in(g) x) = ρ_out(g) f(x)`` up to rounding.

    Judged on each input by itself, so that a break on few inputs is not averaged away. The group acts in float64. It is
    a test for code, which is right or wrong; for a statement with an error rate see :func:`certify`.

    Args:
        f: a module or function ``(batch, *rep_in.shape) -> (batch, *rep_out.shape)``.
        group: must be that of both representations.
        rep_in, rep_out: one representation, or one for each of several inputs or outputs: a tuple calls
            ``f(x_a, x_b)``, a dictionary ``f(a=x_a, b=x_b)``; ``x`` and ``mask`` then have the same form.
        x: inputs ``(batch, *rep_in.shape)``; default: ``batch`` standard normal ones, in the module's precision.
        elements: which to try. Default: all of a finite group up to order 64, else the generators and random ones, 64
            in all; of a Lie algebra the generators and 16 random ones.
        tolerance: on the defect, which has no unit (0 commutes, 1 is unrelated); default by precision.
        mask: outputs free of the boundary, see :func:`interior`.
        layers: representations inside the network, as for :func:`localise`; then a failure names the layer.
        seed: of the random inputs and elements.

    Warns: EquivarianceWarning when passing says little: constant outputs, trivial actions.
    Raises: AssertionError; for what cannot be tested, the errors of :func:`equivariance_error`.
    """
    __tracebackhide__ = True
    f, rep_in, rep_out, x, mask = as_one(f, rep_in, rep_out, x, mask)
    check_representations(rep_in, rep_out, group)
    if batch < 1 or (tolerance is not None and not 0 <= tolerance < 2**0.5):
        raise ConfigError(f"batch is at least 1, and a tolerance lies in [0, sqrt(2)); came {batch} and {tolerance}")
    generator = torch.Generator().manual_seed(seed)
    if x is None:
        x = draw_inputs(None, batch, rep_in, like(f, dtype), generator)
    chosen = _elements_to_try(elements, rep_in, rep_out, generator)
    if tolerance is None:
        if x.dtype not in TOLERANCE:
            raise ConfigError(f"no default tolerance for {x.dtype}; give one")
        tolerance = TOLERANCE[x.dtype]
    inside = Interior(rep_out, mask)
    # One element at a time: every input meets every element.
    worst, at, which, size, compared = -1.0, chosen[0], 0, 0.0, 1.0
    for g, (a, b, share) in zip(chosen, both_sides(f, x, rep_in, rep_out, chosen, inside), strict=True):
        defects = defects_of_rows(a, b)
        if float(defects.max()) > worst:
            worst, at, which = float(defects.max()), g, int(defects.argmax())
            size, compared = float((b.square().mean() / share).sqrt()), share
    if worst <= tolerance:
        _warn_if_it_says_little(rep_in, rep_out, b)
        return
    label = group.label(at)
    number = f"element {at} ({label})" if isinstance(group, FiniteGroup) else f"element {label}"
    lines = [
        f"{_name(f)} is not equivariant to {group.name}: defect {worst:.3g} at {number}, above {tolerance:.3g}",
        f"  0 commutes, 1 is unrelated; {x.dtype}; worst on input {which} of {len(x)}; {len(chosen)} elements tried",
        f"  in: {rep_in}; out: {rep_out}; outputs have size {size:.3g} (root mean square), {compared:.0%} compared",
    ]
    module = module_of(f)
    if layers is not None and module is not None:
        table = localise(module, x, layers, [at])
        over = [i for i, value in enumerate(table.values[:, 0].tolist()) if value > tolerance]
        lines += [f"  layer {table.layers[i]}: defect {float(table.values[i, 0]):.3g} by itself" for i in over]
        if not over:
            lines.append("  no single layer does: check that neighbouring representations agree")
    raise AssertionError("\n".join(lines))


def parametrize_elements(group: FiniteGroup, name: str = "g") -> Any:
    """A ``pytest.mark.parametrize`` over all elements, with their labels as test names.

    >>> @parametrize_elements(dihedral(4))
    ... def test_my_layer(g): ...
    """
    try:
        import pytest
    except ModuleNotFoundError:
        raise MissingExtraError("parametrize_elements needs pytest: pip install pytest") from None
    return pytest.mark.parametrize(name, list(group.elements), ids=list(group.labels))


def _elements_to_try(
    elements: Elements | None, rep_in: AnyRepresentation, rep_out: AnyRepresentation, generator: torch.Generator
) -> list:
    if elements is not None:
        return choose_elements(elements, rep_in, rep_out)
    return rep_in.group.to_try(MOST_ELEMENTS, generator)


def _warn_if_it_says_little(rep_in: AnyRepresentation, rep_out: AnyRepresentation, y: Tensor) -> None:
    if is_constant(y) or not bool(y.any()):
        text = "the outputs are constant, such as those of a layer that starts at zero: that commutes with most things"
    elif rep_in.is_trivial and rep_out.is_trivial:
        text = "the group acts trivially on inputs and outputs: every function is equivariant"
    else:
        return
    warnings.warn(f"assert_equivariant passed, but {text}", EquivarianceWarning, stacklevel=3)


def _name(f: object) -> str:
    return type(f).__name__ if isinstance(f, nn.Module) else getattr(f, "__name__", type(f).__name__)
