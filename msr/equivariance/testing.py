"""For unit tests: an assertion that says what broke, and helpers for pytest and hypothesis."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msr.equivariance.certifying.certificate import EquivarianceWarning
from msr.equivariance.certifying.fresh import module_to_redraw, redrawn
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Elements, Function, check_representations, choose_elements, error_text
from msr.equivariance.measuring.inputs import draw_inputs, seeded, template_of
from msr.equivariance.measuring.several import Several, as_one
from msr.equivariance.measuring.sides import Sides
from msr.equivariance.networks.localisation import localise
from msr.equivariance.networks.walk import Representations
from msr.errors import ConfigError, MissingExtraError, PrecisionError
from msr.groups import FiniteGroup, Group
from msr.representations import AnyRepresentation

__all__ = ["TOLERANCE", "assert_equivariant", "parametrize_elements"]

TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest defect that passes, by precision: some hundred times the rounding of a small network. Chosen by hand."""

HIDDEN = {torch.float16: 1e-1, torch.bfloat16: 3e-1, torch.float32: 3e-3, torch.float64: 1e-4}
"""Defect that rounding may not hide where no tolerance is given, by precision: deep networks vary by a thousandth of
their size, so that a smaller one would refuse them. Chosen by hand."""

MOST_ELEMENTS = 64
"""Elements that are tried by default, at most: each costs an evaluation of the whole batch."""


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
    fresh: int = 0,
    seed: int = 0,
) -> None:
    """Raise AssertionError unless ``f(ρ_in(g) x) = ρ_out(g) f(x)`` up to rounding.

    Judged on each input and each part of the outputs by itself, in units of what that part varies by over the inputs,
    so that a break is neither averaged away nor lost beside an offset or a part with large numbers. Differences that
    rounding explains, as measured on these very inputs, are none. The group acts in float64. It is a test for code,
    which is right or wrong; for a statement with an error rate see :func:`certify`.

    Args:
        f: a module or function ``(batch, *rep_in.shape) -> (batch, *rep_out.shape)``.
        group: must be that of both representations.
        rep_in, rep_out: one representation, or one for each of several inputs or outputs: a tuple calls
            ``f(x_a, x_b)``, a dictionary ``f(a=x_a, b=x_b)``; ``x`` and ``mask`` then have the same form.
        x: inputs ``(batch, *rep_in.shape)``; default: ``batch`` standard normal ones, in the module's precision.
        elements: which to try. Default: all of a finite group up to order 64, else the generators and random ones, 64
            in all; of a Lie algebra the generators and 16 random ones.
        tolerance: the largest defect that passes, without unit (0 commutes, 1 is unrelated). Default by the precision
            of the outputs or of the inputs, whichever is coarser (1e-4 in float32); zero for outputs that are whole
            numbers. Rounding may not hide a defect of a tolerance that is given, or by default of 3e-3 in float32.
        mask: outputs that the boundary does not reach, see :func:`interior`.
        dtype: precision of the default inputs.
        batch: how many default inputs.
        layers: representations inside the network, as for :func:`localise`; then a failure names the layer, and a
            layer that cannot be measured is a line of the message.
        fresh: how many times more with parameters and buffers drawn anew (:func:`redrawn`), for what training may take
            away; the module itself is not changed.
        seed: of the random inputs and elements, together with ``rep_in.shape``.

    Warns: EquivarianceWarning when passing says little: constant outputs, trivial actions.
    Raises: AssertionError; PrecisionError where rounding hides too much, such as in float32 beside a large offset; for
    what cannot be tested, the errors of :func:`equivariance_error`.
    """
    # pytest then shows the line of the test, not this one.
    __tracebackhide__ = True
    f, rep_in, rep_out, x, mask = as_one(f, rep_in, rep_out, x, mask)
    check_representations(rep_in, rep_out, group)
    if batch < 1 or fresh < 0 or (tolerance is not None and not 0 <= tolerance < 2**0.5):
        raise ConfigError(
            "batch is at least 1, fresh at least 0, and a tolerance lies in [0, sqrt(2)); got "
            f"{batch}, {fresh} and {tolerance}"
        )
    generator = seeded(seed, rep_in)
    if x is None:
        x = draw_inputs(None, batch, rep_in, template_of(f, dtype), generator)
    chosen = _elements_to_try(elements, rep_in, rep_out, generator)
    inside = Interior(rep_out, mask)
    models = [f, *(redrawn(module_to_redraw(f), seed + i) for i in range(1, fresh + 1))]
    for i, model in enumerate(models):
        sides = Sides(model, x, rep_in, rep_out, chosen, inside, means=True)
        allowed = _coarsest(TOLERANCE, x.dtype, sides.dtype) if tolerance is None else tolerance
        # A tolerance that was given must be visible. The default one is finer than what a deep network shows in
        # float32, so there only a larger defect has to be.
        must_show = _coarsest(HIDDEN, x.dtype, sides.dtype) if tolerance is None else tolerance
        worst = _worst_failure(sides, allowed)
        if worst is None:
            hidden = sides.typical.hidden_text(must_show, sides.dtype)
            if hidden:
                raise PrecisionError(f"cannot tell whether {_name(f)} is equivariant to {group.name} in {hidden}")
            _warn_if_it_says_little(rep_in, rep_out, sides)
            continue
        lines = _report(f, group, sides, worst, allowed)
        if i:
            lines.insert(1, f"  with parameters and buffers drawn anew (draw {i} of {fresh}); as they are, it passes")
        if layers is not None and isinstance(model, nn.Module):
            lines += _layer_lines(model, x, layers, worst.element, allowed)
        raise AssertionError("\n".join(lines))


@dataclass(frozen=True)
class _Failure:
    """The failure with the largest defect.

    Attributes:
        element: the group element.
        row: the number of the input in the batch.
        unit: the part of the outputs, a unit of :class:`msr.equivariance.measuring.parts.Parts` by number.
        defect: without unit.
        size: root mean square of the outputs that were compared at this element, over all inputs.
        compared: share of the outputs that were compared; below 1 with a mask.
    """

    element: Any
    row: int
    unit: int
    defect: float
    size: float
    compared: float


def _worst_failure(sides: Sides, tolerance: float) -> _Failure | None:
    """The failure with the largest defect; None where no defect is above the tolerance and above rounding.

    Every input meets every element, one element at a time. Before a failure counts, the noise of rounding is measured
    on its own input.

    Args: ``sides``: the outputs at all elements to try; ``tolerance``: the largest defect that passes.
    """
    worst: _Failure | None = None
    for pair in sides.pairs():
        fails = pair.compared.fails(tolerance)
        if not bool(fails.any()):
            continue
        defects = pair.compared.defects.nan_to_num(nan=2**0.5)
        of_rows = defects.where(fails, torch.full_like(defects, -1.0)).amax(1)
        for row in of_rows.argsort(descending=True).tolist():
            # Rows are sorted, so none of those that follow can be worse.
            if float(of_rows[row]) <= (worst.defect if worst else 0.0):
                break
            # Before it counts, the noise of rounding is measured on this very input.
            floor = sides.confirmed(pair.element, row, pair.compared)
            scale = pair.compared.scale[row]
            over = ~(pair.compared.difference[row] <= torch.maximum(floor, tolerance * scale))
            if bool(over.any()):
                share = float(pair.window.double().mean())
                sizes = pair.b.square().mean()
                each = defects[row].where(over, torch.full_like(scale, -1.0))
                unit = int(each.argmax())
                worst = _Failure(pair.element, row, unit, float(each[unit]), float((sizes / share).sqrt()), share)
                break
    return worst


def _report(f: object, group: Any, sides: Sides, worst: _Failure, tolerance: float) -> list[str]:
    """The lines of the message of a failure; ``tolerance`` is the largest defect that passes."""
    label = group.label(worst.element)
    number = f"element {worst.element} ({label})" if isinstance(worst.element, int) else f"element {label}"
    typical = sides.typical
    spread = float(typical.in_outputs(typical.spread)[worst.unit]) / 2**0.5
    where = typical.parts.name(worst.unit)
    return [
        f"{_name(f)} is not equivariant to {group.name}: defect {worst.defect:.3g} at {number}, above {tolerance:.3g}",
        f"  0 commutes, 1 is unrelated; {_dtypes(sides)}; worst on input {worst.row} of {len(sides.x)}; "
        f"{len(sides.elements)} elements tried",
        f"  in {where}, which varies by {spread:.3g} over the inputs",
        f"  in: {sides.rep_in}; out: {sides.rep_out}; outputs have size {worst.size:.3g} (root mean square), "
        f"{worst.compared:.0%} compared",
    ]


def _dtypes(sides: Sides) -> str:
    """The precision of the inputs as text, and that of the outputs after it where they differ."""
    return f"{sides.x.dtype}" if sides.x.dtype == sides.dtype else f"{sides.x.dtype} to {sides.dtype}"


def _layer_lines(model: nn.Module, x: Tensor, layers: Representations, element: Any, tolerance: float) -> list[str]:
    """Lines that name the layers whose defect at this element is above the tolerance.

    Where the layers cannot be measured, it is a line that says why.
    """
    try:
        # At the element that failed: others may show other layers.
        table = localise(model, x, layers, [element])
    except Exception as error:  # whatever it is, it must not replace the failure that is being reported
        return [f"  the layers could not be measured: {error_text(error)}"]
    over = [i for i, value in enumerate(table.values[:, 0].tolist()) if value > tolerance]
    lines = [f"  layer {table.layers[i]}: defect {float(table.values[i, 0]):.3g} by itself" for i in over]
    if not over:
        lines.append("  no single layer does: check that neighbouring representations agree")
    lines += [f"  layer {name}: {reason}" for name, reason in table.unmeasured.items()]
    return lines


def parametrize_elements(group: FiniteGroup, name: str = "g") -> Any:
    """A ``pytest.mark.parametrize`` over all elements, with their labels as test names.

    Args: ``name``: the argument of the test that takes an element.
    Raises: MissingExtraError without pytest.

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
    """The elements that were given, as a list; for None those that ``group.to_try`` chooses.

    These are all of a finite group of order 64 at most; of a larger one its generators and random elements, 64 in all;
    of an infinite one its generators and 16 random elements.
    """
    if elements is not None:
        return choose_elements(elements, rep_in, rep_out)
    return rep_in.group.to_try(MOST_ELEMENTS, generator)


def _coarsest(values: dict[torch.dtype, float], of_inputs: torch.dtype, of_outputs: torch.dtype) -> float:
    """The larger of the table's values for the precisions of inputs and outputs; 0 where the outputs are whole numbers.

    Args: ``values``: a table by precision, such as ``TOLERANCE``. Inputs that are whole numbers do not count.
    Raises: ConfigError for a floating point precision that has no default.
    """
    dtypes = of_inputs, of_outputs
    if not of_outputs.is_floating_point:
        return 0.0
    kinds = [dtype for dtype in dtypes if dtype.is_floating_point]
    unknown = [dtype for dtype in kinds if dtype not in TOLERANCE]
    if unknown:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in TOLERANCE)
        raise ConfigError(f"there is a default tolerance for {known}, but not for {unknown[0]}; give tolerance=")
    return max(values[dtype] for dtype in kinds)


def _warn_if_it_says_little(rep_in: AnyRepresentation, rep_out: AnyRepresentation, sides: Sides) -> None:
    """Give an EquivarianceWarning where passing says little, else do nothing.

    That is where all outputs are constant, some are constant without being zero, or the group acts trivially on both
    sides.
    """
    text = sides.typical.constant_text(sides.dtype)
    if sides.typical.all_constant:
        text = "the outputs are constant, such as those of a layer that starts at zero: that commutes with most things"
    elif rep_in.is_trivial and rep_out.is_trivial:
        text = "the group acts trivially on inputs and outputs: every function is equivariant"
    if not text:
        return
    warnings.warn(f"assert_equivariant passed, but {text}", EquivarianceWarning, stacklevel=3)


def _name(f: object) -> str:
    """The name of a function, or the class of a module or of any other object, for messages."""
    return type(f).__name__ if isinstance(f, nn.Module) else getattr(f, "__name__", type(f).__name__)
