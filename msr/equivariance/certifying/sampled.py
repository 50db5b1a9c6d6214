"""Findings by draws of an input and a group element: a rule is applied to their defects."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from msr.equivariance.certifying.draws import CalibratedComparison, DrawnDefects
from msr.equivariance.certifying.finding import CONSTANT, Finding
from msr.equivariance.certifying.setting import Auto, Exact, Setting, check_precision
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Element, Function
from msr.equivariance.measuring.inputs import draw_elements, draw_inputs
from msr.representations import AnyRepresentation
from msr.statistics.rules import Sampled

__all__ = ["by_draws"]

MOST_UNIT_DRAWS = 256
"""Draws, at most, that fix the units of the defect: with so many a root mean square is known to about 5%."""


def by_draws(
    f: Function | nn.Module,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    setting: Setting,
    template: Tensor,
    inside: Interior,
    generator: torch.Generator,
    unit_inputs: Tensor | None,
) -> tuple[Finding, list[str]]:
    """The finding by draws, and warnings: some draws fix the units, and the setting's rule is applied to others.

    Args:
        template: a tensor of the precision and on the device of inputs that are drawn standard normal.
        unit_inputs: inputs to fix the units on; None draws them.
    """
    rule = setting.rule.sampled if isinstance(setting.rule, Auto) else setting.rule
    assert not isinstance(rule, Exact)
    group = rep_in.group
    if unit_inputs is None:
        unit_inputs = draw_inputs(setting.inputs, min(setting.n, MOST_UNIT_DRAWS), rep_in, template, generator)
    check_precision(setting.eps, unit_inputs.dtype)
    unit_elements = draw_elements(group, len(unit_inputs), generator)
    # Units and tested draws come from one generator, one after the other, so they are independent.
    comparison = CalibratedComparison(f, rep_in, rep_out, inside, unit_inputs, unit_elements)
    x = draw_inputs(setting.inputs, setting.n, rep_in, template, generator)
    elements = draw_elements(group, setting.n, generator)
    drawn = comparison.defects_of(x, elements, setting.eps)
    return _finding(drawn, comparison, rule, elements, setting), _constant(comparison)


def _finding(
    drawn: DrawnDefects, comparison: CalibratedComparison, rule: Sampled, elements: list[Element], setting: Setting
) -> Finding:
    """The finding of a rule on draws: its outcome, and where the largest defect is.

    A defect that rounding hides counts as large for certifying and as zero for refuting.
    """
    eps = setting.eps
    # To certify, unclear defects count as large; to refute, as zero.
    upper = rule.judge(drawn.at_most, eps, setting.alpha)
    lower = rule.judge(drawn.at_least, eps, setting.alpha)
    typical = comparison.typical
    hidden = typical.hidden_text(eps, comparison.dtype)
    outcome = replace(upper, p_refute=lower.p_refute, hint=f"cannot tell in {hidden}" if hidden else upper.hint)
    worst = int(drawn.values.argmax())
    unit = drawn.parts[worst]
    varies = (typical.spread > 0) & ~typical.parts.is_kind.to(typical.spread.device) & ~typical.is_constant
    rounding = float((typical.floor[varies] / typical.spread[varies]).max()) if bool(varies.any()) else 0.0
    return Finding(
        outcome, rule, len(drawn.values), comparison.rep_in.group.label(elements[worst]), float(drawn.values[worst]),
        drawn.size, drawn.compared, typical.parts.name(unit),
        # A spread is √2 times the root mean square deviation from the centre, which is what a reader expects.
        float(typical.in_outputs(typical.spread)[unit]) / math.sqrt(2), typical.n_draws, rounding,
    )  # fmt: skip


def _constant(comparison: CalibratedComparison) -> list[str]:
    """One warning where all outputs are constant, or some are without being zero; else an empty list."""
    if comparison.typical.all_constant:
        return [CONSTANT]
    text = comparison.typical.constant_text(comparison.dtype)
    return [text] if text else []
