"""Exact findings on linear maps: over all elements where the group lists them, else from its generators."""

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from msr.equivariance.certifying.affine import MAX_INPUTS, as_affine, is_affine
from msr.equivariance.certifying.finding import CONSTANT, Finding
from msr.equivariance.certifying.setting import Auto, Exact, Setting
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.defects import Comparison, compare_weights, pattern_error
from msr.equivariance.measuring.evaluation import choose_elements
from msr.errors import ConfigError, NonFiniteError
from msr.groups import Group
from msr.representations import AnyRepresentation
from msr.statistics.rules import Outcome

__all__ = ["decides_exactly", "of_layer", "of_pattern", "of_weight"]

MAX_WORK = 10**9
"""Weights times elements up to which Auto() decides an affine layer exactly: some seconds. Chosen by hand."""

GENERATOR_FLOOR = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float32: 1e-5, torch.float64: 1e-11}
"""Defects on a generator that rounding explains, by precision: some 100 roundings in float32, fewer in half precision,
more in float64. Chosen by hand. A larger one certifies nothing: a product of many generators may have many times
the defect of one."""

UNDECIDED = (
    "the generators commute up to eps, but not exactly, and words in them may not: decided by draws. "
    "A layer that commutes exactly is decided exactly"
)
"""Why generators alone could not decide, for a certificate's warnings."""


def decides_exactly(f: object, setting: Setting, rep_in: AnyRepresentation, rep_out: AnyRepresentation) -> bool:
    """Whether the rule asks for an exact finding on a function, and there can be one.

    With ``Auto()`` it must also take at most ``MAX_WORK`` products.

    Raises: ConfigError where the rule is Exact() and cannot serve.
    """
    possible = is_affine(f) and rep_in.dim <= MAX_INPUTS and setting.inputs is None
    if isinstance(setting.rule, Exact):
        if not possible:
            raise ConfigError(
                "rule=Exact() needs an affine layer (nn.Linear, nn.Conv, a reparameterised one, or a chain of them), "
                f"at most {MAX_INPUTS} inputs, and no inputs= of your own; use Tail() or Mean()"
            )
        return True
    if not isinstance(setting.rule, Auto) or not possible:
        return False
    group = rep_in.group
    # Every element moves the whole weight on both sides, so the work is weights times elements.
    return rep_in.dim * rep_out.dim * len(group.elements if group.is_listed else group.generators) <= MAX_WORK


def of_layer(
    f: nn.Module,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    setting: Setting,
    template: Tensor,
    inside: Interior,
) -> tuple[Finding | None, list[str]]:
    """The exact finding on an affine layer, from its matrix and bias, and warnings.

    The finding is "cannot tell" (both p-values 1, with a hint) where rounding in the layer's precision could hide a
    defect of ε. Otherwise it is None where the generators do not suffice, which can only be for a group without a list
    of elements; a warning then says so. Another warns of a layer without weights, which is constant.

    Args: ``template``: a tensor of the layer's precision and on its device.
    Raises: ConfigError where the finding would be None and the rule is Exact(); what :func:`as_affine` raises.
    """
    W, bias = as_affine(f, rep_in, rep_out, template, inside)
    elements = choose_elements(_elements_of(rep_in.group), rep_in, rep_out)
    comparison = compare_weights(
        W, rep_in, rep_out, elements, bias=bias, mask=setting.mask, read_off=True,
        epsilon=torch.finfo(template.dtype).eps,
    )  # fmt: skip
    finding = _of_elements(comparison, rep_in.group, elements, setting.eps, "the layer", template.dtype)
    if finding is None:
        if isinstance(setting.rule, Exact):
            raise ConfigError(f"rule=Exact() cannot serve: {UNDECIDED}; use Tail() or Mean()")
        return None, [UNDECIDED]
    # A weight below the rounding of the bias that it was read off beside, in float64, is no weight.
    if float(W.norm()) <= 1e-14 * float(bias.norm()) or not W.any():
        return finding, [CONSTANT]
    return finding, []


def of_weight(W: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation, eps: float) -> Finding:
    """The exact finding on a weight ``(out, in)``, or in the shapes of the representations; ``eps`` is a defect.

    A weight has no inputs to draw. So where the generators do not suffice, the finding is "cannot tell".
    """
    group = rep_in.group
    elements = choose_elements(_elements_of(group), rep_in, rep_out)
    comparison = compare_weights(W, rep_in, rep_out, elements)
    finding = _of_elements(comparison, group, elements, eps, "W", W.dtype, or_undecided=True)
    assert finding is not None
    return finding


def of_pattern(U: Tensor, rep_in: AnyRepresentation, rep_out: AnyRepresentation, eps: float) -> Finding:
    """The exact finding on a sharing pattern ``U (out · in, k)``, over all filters ``v``; ``eps`` is a defect."""
    group = rep_in.group
    defects = pattern_error(U, rep_in, rep_out, _elements_of(group))
    of = "any W = U v"
    outcome = _outcome(defects.largest, eps, U.dtype, group, of) or _undecided(defects.largest, eps, of)
    return Finding(
        outcome, Exact(), len(defects.values), defects.labels[defects.worst], defects.largest, float(defects.size[0]),
        1.0, defects.parts[0],
    )  # fmt: skip


def _of_elements(
    comparison: Comparison,
    group: Group,
    elements: list,
    eps: float,
    of: str,
    dtype: torch.dtype,
    *,
    or_undecided: bool = False,
) -> Finding | None:
    """The finding from a comparison with a row for each element, or for each generator.

    Where the generators do not suffice, it is None, or "cannot tell" with ``or_undecided``. It is "cannot tell" too
    where nothing differs beyond rounding, but rounding in this precision could hide a defect of ε.

    Args:
        elements: those of the rows.
        eps: the tolerance ε, a defect.
        of: what the null hypothesis calls the map, such as "the layer".
        dtype: the precision that the map was given in.
    """
    compared = comparison.compared
    defects = compared.defects
    # argmax counts in the flattened table, a row for each element and a column for each unit.
    row, unit = divmod(int(defects.argmax()), defects.shape[1])
    largest = float(defects[row, unit])
    hidden = compared.hidden(eps).any(0)
    outcome = _outcome(largest, eps, dtype, group, of)
    if not bool(compared.fails(eps).any()) and bool(hidden.any()):
        # Nothing differs beyond rounding, but rounding could hide a difference of ε in some part.
        where = comparison.parts.name(int(hidden.nonzero()[0]))
        outcome = replace(
            _over_all(largest, eps, of), p_value=1.0, p_refute=1.0,
            hint=f"cannot tell in {where}: it varies so little beside its offset that rounding in {dtype} hides this "
            "eps; use float64 (module.double())",
        )  # fmt: skip
    elif outcome is None:
        if not or_undecided:
            return None
        outcome = _undecided(largest, eps, of)
    # Units that do not vary have no defect, and kinds count only beyond rounding: neither says how far rounding goes.
    varies = (compared.scale > 0) & ~compared.kinds
    ratios = (compared.floor / compared.scale)[varies]
    rounding = float(ratios.max()) if len(ratios) else 0.0
    return Finding(
        outcome, Exact(), len(defects), group.label(elements[row]), largest, float(comparison.size[0]),
        float(torch.stack(comparison.share).min()), comparison.parts.name(unit), rounding=rounding,
    )  # fmt: skip


def _elements_of(group: Group) -> Literal["all", "generators"]:
    """What an exact finding goes through: all elements where the group lists them, else its generators."""
    return "all" if group.is_listed else "generators"


def _outcome(largest: float, eps: float, dtype: torch.dtype, group: Group, of: str) -> Outcome | None:
    """The outcome that the largest defect over all elements, or over the generators, allows.

    It is None where the generators do not decide. ``of`` is what the null hypothesis calls the map.
    """
    return _over_all(largest, eps, of) if group.is_listed else _over_generators(largest, eps, dtype, group, of)


def _over_all(largest: float, eps: float, of: str) -> Outcome:
    """The outcome where ``largest`` is the largest defect over all elements: the null hypothesis is true or false.

    Args: ``eps``: the tolerance; ``of``: what the null hypothesis calls the map.
    Raises: NonFiniteError for a defect that is nan or infinite.
    """
    if not math.isfinite(largest):
        raise NonFiniteError("the defect is not finite")
    # Nothing was sampled, so the p-values are 0 and 1: the null hypothesis is true or false.
    within = largest <= eps
    null = f"max over g of d(g) of {of} > {eps:g}, for x ~ N(0, I)"
    return Outcome(null, 0.0 if within else 1.0, 1.0 if within else 0.0, largest, largest)


def _over_generators(largest: float, eps: float, dtype: torch.dtype, group: Group, of: str) -> Outcome | None:
    """The outcome that the largest defect over the generators allows; None where it allows none.

    - Zero up to rounding: what commutes with every generator commutes with the group, so it is certified.
    - Above ε: a generator is an element, so it is refuted.
    - Between: a word of ``n`` letters may have a defect up to ``n`` times as large (for orthogonal actions), so a bound
      on the generators is none on the group.
    """
    if largest <= min(eps, GENERATOR_FLOOR.get(dtype, GENERATOR_FLOOR[torch.float32])):
        null = f"{of} differs, beyond rounding, from what commutes with the generators of {group.name}"
        return Outcome(null, 0.0, 1.0, largest, largest)
    null = f"max over g of d(g) of {of} > {eps:g}, for x ~ N(0, I), g among the generators of {group.name}"
    return Outcome(null, 1.0, 0.0, largest, largest) if largest > eps else None


def _undecided(largest: float, eps: float, of: str) -> Outcome:
    """An outcome that decides nothing: both p-values are 1, and the hint says that the generators do not suffice."""
    return replace(_over_all(largest, eps, of), p_value=1.0, p_refute=1.0, hint=UNDECIDED)
