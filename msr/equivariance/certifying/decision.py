"""How a certificate is decided: exactly where nothing needs to be sampled, else by a rule on draws."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from msr.equivariance.certifying.affine import MAX_INPUTS, as_affine, is_affine
from msr.equivariance.certifying.by_generators import NOT_DECIDED, exact_elements, outcome_by_generators
from msr.equivariance.certifying.certificate import Certificate
from msr.equivariance.certifying.draws import Draws, Judge, draw_elements, draw_inputs, like, seeded
from msr.equivariance.certifying.pointwise import pointwise_warnings
from msr.equivariance.certifying.specificity import Specificity, specificity
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.defects import compare_weights, pattern_error
from msr.equivariance.measuring.evaluation import Function, check_representations, choose_elements
from msr.equivariance.measuring.parts import Parts
from msr.equivariance.measuring.scale import Compared
from msr.errors import ConfigError, ModelError, NonFiniteError
from msr.groups import Group
from msr.representations import AnyRepresentation
from msr.statistics.rules import Outcome, Rule, check_level, mean_rule, tail_rule, zero_failure_rule

__all__ = ["CONSTANT", "decide"]

MAX_WORK = 10**9
"""Weights times elements up to which "auto" decides an affine layer exactly: some seconds."""

MAX_ROTATED = 512
"""Numbers up to which random rotations are drawn for the specificity test of representations by matrices."""

MOST_APART = 256
"""Draws, at most, that fix the units of the defect."""

FLOOR = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float32: 1e-6, torch.float64: 1e-13}
"""Defects that rounding alone can cause; a tolerance below is refused."""


@dataclass(frozen=True)
class _Seen:
    """What a rule was applied to: the largest defect, where and how large it is, and how many draws there were."""

    outcome: Outcome
    used: Rule
    n: int
    worst: str
    largest: float
    size: float
    compared: float
    part: str
    unit: float = 0.0
    n_unit: int = 0
    rounding: float = 0.0


def decide(
    f: Function | nn.Module | Tensor,
    group: Group,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    *,
    eps: float,
    alpha: float = 0.05,
    rule: Rule = "auto",
    eta: float = 0.05,
    n: int = 64,
    cap: float = 2.0,
    inputs: Callable[[int, torch.Generator], Tensor] | Tensor | None = None,
    mask: Tensor | None = None,
    dtype: torch.dtype | None = None,
    n_random: int = 99,
    generator: torch.Generator | None = None,
    apart: Tensor | None = None,
) -> Certificate:
    """:func:`certify`, whose warnings stay in the certificate; ``apart``: inputs to fix the units on."""
    check_representations(rep_in, rep_out, group)
    _check_levels(eps, alpha, eta, n, n_random)
    generator = generator or seeded(0, rep_in)
    if isinstance(f, Tensor) or getattr(f, "is_sharing_pattern", False):
        if rule not in ("auto", "exact") or mask is not None:
            raise ConfigError("a weight or a sharing pattern is decided exactly: leave out rule and mask")
        return _certify_matrix(f, rep_in, rep_out, eps, alpha, n_random, generator)
    kind = like(f, dtype)
    _check_precision(eps, kind.dtype)
    inside = Interior(rep_out, mask)
    cautions = _cautions(f, rep_in, rep_out)
    seen: _Seen | None = None
    if _decides_exactly(f, rule, rep_in, rep_out, inputs is not None):
        W, bias = as_affine(f, rep_in, rep_out, kind, inside)  # type: ignore[arg-type]
        elements = choose_elements(exact_elements(group), rep_in, rep_out)
        epsilon = torch.finfo(kind.dtype).eps
        found = compare_weights(W, rep_in, rep_out, elements, bias=bias, mask=mask, read_off=True, epsilon=epsilon)
        seen = _seen_exactly(*found, group, elements, eps, "the layer", kind.dtype)
        if seen is None and rule == "exact":
            raise ConfigError(f"rule='exact' cannot serve: {NOT_DECIDED}; use 'tail' or 'mean'")
        if seen is None:
            cautions.append(NOT_DECIDED)
        elif float(W.norm()) <= 1e-14 * float(bias.norm()) or not W.any():
            cautions.append(CONSTANT)
    if seen is None:
        used: Rule = "tail" if rule == "auto" else rule
        if apart is None:
            apart = draw_inputs(inputs, min(n, MOST_APART), rep_in, kind, generator)
        _check_precision(eps, apart.dtype)
        judge = Judge(f, rep_in, rep_out, inside, apart, draw_elements(group, len(apart), generator))
        x, elements = draw_inputs(inputs, n, rep_in, kind, generator), draw_elements(group, n, generator)
        drawn = judge.draws(x, elements, eps)
        seen = _seen(drawn, judge, used, elements, eps, alpha, eta, cap)
        cautions += _constant(judge)
    special = None
    if n_random and mask is None:
        special = _specificity_of(f, rep_in, rep_out, kind, n_random, generator, cautions, inputs is not None)
    return _certificate(seen, group, eps, alpha, eta, special, cautions)


CONSTANT = "the outputs are constant: that commutes with everything that leaves the constant alone"


def _seen(
    drawn: Draws, judge: Judge, used: Rule, elements: list, eps: float, alpha: float, eta: float, cap: float
) -> _Seen:
    """A rule on draws; where rounding hides something the null is tested as if it held, and so is its opposite."""
    upper, lower = (_apply(used, values, eps, alpha, eta, cap) for values in (drawn.at_most, drawn.at_least))
    hidden = judge.typical.hidden_text(eps, judge.dtype)
    outcome = replace(upper, p_refute=lower.p_refute, hint=f"cannot tell in {hidden}" if hidden else upper.hint)
    at = int(drawn.values.argmax())
    typical = judge.typical
    unit, largest = drawn.parts[at], float(drawn.values[at])
    varies = (typical.spread > 0) & ~typical.parts.is_kind.to(typical.spread.device) & ~typical.is_constant
    rounding = float((typical.floor[varies] / typical.spread[varies]).max()) if bool(varies.any()) else 0.0
    return _Seen(
        outcome, used, len(drawn.values), judge.rep_in.group.label(elements[at]), largest, drawn.size, drawn.compared,
        typical.parts.name(unit), float(typical.in_outputs(typical.spread)[unit]) / math.sqrt(2), typical.n_draws,
        rounding,
    )  # fmt: skip


def _constant(judge: Judge) -> list[str]:
    """What makes the verdict mean less: outputs that do not vary."""
    if judge.typical.all_constant:
        return [CONSTANT]
    text = judge.typical.constant_text(judge.dtype)
    return [text] if text else []


def _decides_exactly(
    f: object, rule: Rule, rep_in: AnyRepresentation, rep_out: AnyRepresentation, has_inputs: bool
) -> bool:
    """Whether nothing needs to be sampled; ConfigError where that was asked for and cannot be."""
    possible = is_affine(f) and rep_in.dim <= MAX_INPUTS and not has_inputs
    if rule == "exact" and not possible:
        raise ConfigError(
            "rule='exact' needs an affine layer (nn.Linear, nn.Conv, a reparameterised one, or a chain of them), at "
            f"most {MAX_INPUTS} inputs, and no inputs= of your own; use 'tail' or 'mean'"
        )
    if rule != "auto" or not possible:
        return rule == "exact"
    group = rep_in.group
    return rep_in.dim * rep_out.dim * len(group.elements if group.is_listed else group.generators) <= MAX_WORK


def _specificity_of(
    f: Function,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    kind: Tensor,
    n_random: int,
    generator: torch.Generator,
    cautions: list[str],
    has_inputs: bool,
) -> Specificity | None:
    """On standard normal inputs, whose distribution no relabelling changes.

    Other data could look specific by itself.
    """
    if any(not rep.is_permutation and rep.dim > MAX_ROTATED for rep in (rep_in, rep_out)):
        cautions.append(f"specificity was left out: random rotations of more than {MAX_ROTATED} numbers take too long")
        return None
    x = draw_inputs(None, 8, rep_in, kind, generator)
    try:
        return specificity(f, rep_in, rep_out, x, n_random=n_random, generator=generator)
    except (ModelError, NonFiniteError):
        if not has_inputs:
            raise
        cautions.append("specificity was left out: the function does not take standard normal inputs, which it needs")
        return None


def _certify_matrix(
    f: object,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    eps: float,
    alpha: float,
    n_random: int,
    generator: torch.Generator,
) -> Certificate:
    group, special = rep_in.group, None
    cautions = _cautions(None, rep_in, rep_out)
    if isinstance(f, Tensor):
        elements = choose_elements(exact_elements(group), rep_in, rep_out)
        found = compare_weights(f, rep_in, rep_out, elements)
        # Nothing is sampled for a weight: a word in the generators may or may not be off by more than eps.
        seen = _seen_exactly(*found, group, elements, eps, "W", f.dtype, undecided=True)
        assert seen is not None
        if n_random:
            at = torch.zeros(1, *rep_in.shape, dtype=torch.float64)
            W = f.detach().reshape(rep_out.dim, rep_in.dim)
            special = specificity(W, rep_in, rep_out, at, n_random=n_random, generator=generator)
    else:
        U = f.matrix()  # type: ignore[attr-defined]
        defects, of = pattern_error(U, rep_in, rep_out, exact_elements(group)), "any W = U v"
        outcome = _exactly(defects.largest, eps, U.dtype, group, of) or _not_decided(defects.largest, eps, of)
        seen = _Seen(
            outcome, "exact", len(defects.values), defects.labels[defects.worst], defects.largest,
            float(defects.size[0]), 1.0, defects.parts[0],
        )  # fmt: skip
    if seen.size == 0:
        cautions.append("the weight is zero: it commutes with everything")
    return _certificate(seen, group, eps, alpha, None, special, cautions)


def _seen_exactly(
    compared: Compared,
    parts: Parts,
    size: list[Tensor],
    share: list[Tensor],
    group: Group,
    elements: list,
    eps: float,
    of: str,
    dtype: torch.dtype,
    *,
    undecided: bool = False,
) -> _Seen | None:
    """All elements of a group, or its generators, enumerated: a row of the comparison for each.

    None where the generators do not suffice; with ``undecided`` that is an answer, "cannot tell".
    """
    defects = compared.defects
    row, unit = divmod(int(defects.argmax()), defects.shape[1])
    largest, hidden = float(defects[row, unit]), compared.hidden(eps).any(0)
    outcome = _exactly(largest, eps, dtype, group, of)
    if not bool(compared.fails(eps).any()) and bool(hidden.any()):
        where = parts.name(int(hidden.nonzero()[0]))
        hint = f"cannot tell in {where}: it varies so little beside its offset that rounding in {dtype} hides this eps"
        outcome = replace(
            _exact(largest, eps, of), p_value=1.0, p_refute=1.0, hint=f"{hint}; use float64 (module.double())"
        )
    elif outcome is None:
        if not undecided:
            return None
        outcome = _not_decided(largest, eps, of)
    varies = (compared.scale > 0) & ~compared.kinds
    ratios = (compared.floor / compared.scale)[varies]
    return _Seen(
        outcome, "exact", len(defects), group.label(elements[row]), largest, float(size[0]),
        float(torch.stack(share).min()), parts.name(unit), rounding=float(ratios.max()) if len(ratios) else 0.0,
    )  # fmt: skip


def _exactly(largest: float, eps: float, dtype: torch.dtype, group: Group, of: str) -> Outcome | None:
    """The verdict on all elements, from all of them or from the generators; None where those do not suffice."""
    return _exact(largest, eps, of) if group.is_listed else outcome_by_generators(largest, eps, dtype, group, of)


def _not_decided(largest: float, eps: float, of: str) -> Outcome:
    return replace(_exact(largest, eps, of), p_value=1.0, p_refute=1.0, hint=NOT_DECIDED)


def _exact(largest: float, eps: float, of: str) -> Outcome:
    if not math.isfinite(largest):
        raise NonFiniteError("the defect is not finite")
    within = largest <= eps
    null = f"max over g of d(g) of {of} > {eps:g}, for x ~ N(0, I)"
    return Outcome(null, 0.0 if within else 1.0, 1.0 if within else 0.0, largest, largest)


def _apply(rule: str, values: Tensor, eps: float, alpha: float, eta: float, cap: float) -> Outcome:
    if rule == "tail":
        return tail_rule(values, eps, alpha, eta)
    if rule == "zero-failure":
        return zero_failure_rule(values, eps, alpha, eta)
    if rule == "mean":
        return mean_rule(values, eps, alpha, cap)
    raise ConfigError(f"rule must be auto, exact, tail, zero-failure or mean; got {rule!r}")


def _certificate(
    seen: _Seen,
    group: Group,
    eps: float,
    alpha: float,
    eta: float | None,
    special: Specificity | None,
    cautions: list[str],
) -> Certificate:
    outcome = seen.outcome
    verdict = outcome.verdict(alpha)
    if verdict == "cannot tell" and outcome.hint:
        cautions.append(outcome.hint)
    unit = ", d in units of what the outputs vary by, part by part" if seen.used != "exact" else ""
    if seen.used != "exact" and group.drawn != "uniform":
        unit += f", elements drawn by {group.drawn}"  # which are not Haar measure
    return Certificate(
        verdict=verdict, null=outcome.null + unit, rule=seen.used, eps=eps, alpha=alpha,
        eta=eta if seen.used in ("tail", "zero-failure") else None, estimate=outcome.estimate, bound=outcome.bound,
        n=seen.n, p_value=outcome.p_value, p_refute=outcome.p_refute, worst=seen.worst, largest=seen.largest,
        part=seen.part, unit=seen.unit, n_unit=seen.n_unit, rounding=seen.rounding, size=seen.size,
        compared=seen.compared, specificity=special, warnings=tuple(cautions),
    )  # fmt: skip


def _check_precision(eps: float, dtype: torch.dtype) -> None:
    if eps < FLOOR.get(dtype, 0):
        raise ConfigError(f"eps = {eps:g} is below what {dtype} can show ({FLOOR[dtype]:g}); use float64")


def _check_levels(eps: float, alpha: float, eta: float, n: int, n_random: int) -> None:
    if not 0 < eps < math.sqrt(2):
        raise ConfigError(f"eps is a defect between 0 and sqrt(2), where 1 is what unrelated outputs give; got {eps}")
    check_level("alpha", alpha)
    check_level("eta", eta)
    if n < 2:
        raise ConfigError(f"at least 2 draws are needed; got {n}")
    if n_random < 0:
        raise ConfigError(f"the number of random relabellings must not be negative; got {n_random}")


def _cautions(f: object, rep_in: AnyRepresentation, rep_out: AnyRepresentation) -> list[str]:
    found = []
    if rep_in.is_trivial and rep_out.is_trivial:
        found.append("the group acts trivially on inputs and outputs: every function is equivariant")
    elif rep_in.is_trivial:
        found.append("the group acts trivially on inputs: the test only says that the outputs are invariant")
    if isinstance(f, nn.Module):
        found += pointwise_warnings(f, rep_in, rep_out)
    return found
