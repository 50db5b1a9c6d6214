"""Certificates: a verdict on equivariance with a stated null hypothesis and error rate."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from msr.arrays import takes_arrays
from msr.equivariance.affine import MAX_INPUTS, as_affine, is_affine
from msr.equivariance.boundary import Interior
from msr.equivariance.by_generators import NOT_DECIDED, exact_elements, outcome_by_generators
from msr.equivariance.draws import draw_defects, draw_elements, draw_inputs, like
from msr.equivariance.evaluate import Function, check_representations
from msr.equivariance.measure import pattern_error, weight_error
from msr.equivariance.pointwise import pointwise_warnings
from msr.equivariance.rules import Outcome, Rule, Verdict, check_level, mean_rule, tail_rule, zero_failure_rule
from msr.equivariance.several import Several, as_one
from msr.equivariance.specificity import Specificity, specificity
from msr.errors import ConfigError, ModelError, NonFiniteError
from msr.groups import Group
from msr.representations import AnyRepresentation

__all__ = ["Certificate", "EquivarianceWarning", "certify", "decide"]

MAX_WORK = 10**9
"""Weights times elements up to which "auto" decides an affine layer exactly: some seconds."""

MAX_ROTATED = 512
"""Numbers up to which random rotations are drawn for the specificity test of representations by matrices."""

FLOOR = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float32: 1e-6, torch.float64: 1e-13}
"""Defects that rounding alone can cause; a tolerance below is refused."""


class EquivarianceWarning(UserWarning):
    """A verdict on equivariance is right, but means less than it seems to."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """A verdict on "``f`` commutes with the group, up to ε".

    Attributes:
        verdict: ``"certified"``: the null was rejected at level α. ``"refuted"``: its opposite was. ``"cannot tell"``.
        null: the hypothesis that a certificate rejects, in words; ``d`` is the defect, in [0, √2], of a draw, or of all
            standard normal inputs together where the rule is exact.
        rule: exact, tail, zero-failure or mean.
        eps, alpha, eta: tolerance, level, and for tail rules the share of failures (else None).
        estimate, bound: of the quantity in the null, with its one-sided ``1 − α`` upper bound.
        n: draws of (input, element); for exact rules the elements, all of which were enumerated.
        p_value, p_refute: of the null and of its opposite; 0 or 1 where nothing was sampled.
        worst, largest: the element with the largest defect seen, and that defect.
        size: root mean square of the outputs; compared: share of the outputs compared (below 1 with a mask).
        specificity: is ``f`` more equivariant to this group than to chance? A different question; None if not asked, or
            with a mask.
        warnings: what makes the verdict mean less than it seems.
    """

    verdict: Verdict
    null: str
    rule: Rule
    eps: float
    alpha: float
    eta: float | None
    estimate: float
    bound: float
    n: int
    p_value: float
    p_refute: float
    worst: str
    largest: float
    size: float
    compared: float
    specificity: Specificity | None
    warnings: tuple[str, ...]

    @property
    def certified(self) -> bool:
        """Whether the verdict is "certified"."""
        return self.verdict == "certified"

    def __str__(self) -> str:
        counted = "generators" if "the generators of" in self.null else "elements"
        sampled = f"{self.n} draws" if self.rule != "exact" else f"all {self.n} {counted}, exactly"
        lines = [
            f"{self.verdict}: null {self.null}, p = {self.p_value:.3g}, level {self.alpha:g} ({self.rule}, {sampled})",
            f"estimate {self.estimate:.3g}, upper bound {self.bound:.3g}; largest defect {self.largest:.3g} at "
            f"{self.worst}; outputs of size {self.size:.3g}, {self.compared:.0%} of them compared",
        ]
        if self.specificity is not None:
            lines.append(str(self.specificity))
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


@takes_arrays("f")
def certify(
    f: Function | nn.Module | Tensor,
    group: Group,
    rep_in: Several,
    rep_out: Several,
    *,
    eps: float,
    alpha: float = 0.05,
    rule: Rule = "auto",
    eta: float = 0.05,
    n: int = 64,
    cap: float = 2.0,
    inputs: Any = None,
    mask: Any = None,
    dtype: torch.dtype | None = None,
    n_random: int = 99,
    generator: torch.Generator | None = None,
) -> Certificate:
    """Is ``f`` equivariant up to a defect of ε? A verdict that is wrong at most with probability α.

    Rules, by what they call too large (their null hypothesis):
        ``"exact"``: ``max_g d(g) > ε`` over all elements; for layers that are affine by construction, for a weight
        tensor, and for a sharing pattern (then over all filters too). Nothing is sampled; ``d(g)`` is pooled over
        standard normal inputs, so it is not for ``inputs`` of your own. Where the group lists no elements its
        generators decide: what commutes with them beyond rounding is certified, a generator above ε refutes, and what
        lies between is not decided ("auto" then draws).
        ``"tail"``: ``P(d > ε) ≥ η`` over draws of an input and an element; Clopper-Pearson.
        ``"zero-failure"``: the same, certified only if no draw fails.
        ``"mean"``: ``E min(d, cap · ε) ≥ ε``; empirical Bernstein.
        ``"auto"``: exact where possible and not too large, else tail.

    Args:
        f: a function ``(batch, *rep_in.shape) -> (batch, *rep_out.shape)``, a module, a weight, or a sharing pattern.
        rep_in, rep_out: one, or a tuple or dictionary of them for several inputs or outputs, as ``f`` takes them.
        inputs: draws ``(n, generator) -> (n, *rep_in.shape)``, or a data set to draw from with replacement. Default:
            standard normal. The certificate speaks of this distribution, and of elements drawn uniformly, the
            identity left out (a finite group), or as ``group.drawn`` says: words and standard normal coefficients are
            not Haar measure.
        mask: outputs free of the boundary, see :func:`interior`; what was left out is in ``compared``.
        dtype: precision of the default inputs; by default the module's own, else float32.
        n_random: random relabellings for the specificity test; 0 leaves it out.
        generator: for all draws; by default one with seed 0.

    Warns: EquivarianceWarning for constant outputs, trivial actions, and activations that do not respect the
    representation.
    Raises: ConfigError for levels outside (0, 1), an ε below what the precision can show, or a rule that cannot serve
    ``f``; ShapeError, ModelError, NonFiniteError from the measurement.
    """
    f, rep_in, rep_out, inputs, mask = as_one(f, rep_in, rep_out, inputs, mask)
    certificate = decide(
        f, group, rep_in, rep_out, eps=eps, alpha=alpha, rule=rule, eta=eta, n=n, cap=cap, inputs=inputs, mask=mask,
        dtype=dtype, n_random=n_random, generator=generator,
    )  # fmt: skip
    for text in certificate.warnings:
        warnings.warn(text, EquivarianceWarning, stacklevel=2)
    return certificate


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
) -> Certificate:
    """:func:`certify`, whose warnings stay in the certificate."""
    check_representations(rep_in, rep_out, group)
    _check_levels(eps, alpha, eta, n, n_random)
    generator = generator or torch.Generator().manual_seed(0)
    if isinstance(f, Tensor) or getattr(f, "is_sharing_pattern", False):
        if rule not in ("auto", "exact") or mask is not None:
            raise ConfigError("a weight or a sharing pattern is decided exactly: leave out rule and mask")
        return _certify_matrix(f, rep_in, rep_out, eps, alpha, n_random, generator)
    kind = like(f, dtype)
    _check_precision(eps, kind.dtype)
    exact = _decides_exactly(f, rule, rep_in, rep_out, inputs is not None)
    inside = Interior(rep_out, mask)
    cautions = _cautions(f, rep_in, rep_out)
    outcome: Outcome | None = None
    if exact:
        W, bias = as_affine(f, rep_in, rep_out, kind, inside)  # type: ignore[arg-type]
        defects = weight_error(W, rep_in, rep_out, exact_elements(group), bias=bias, mask=mask)
        outcome, counted, used = _exactly(defects.largest, eps, kind.dtype, group), len(defects.values), "exact"
        if outcome is None and rule == "exact":
            raise ConfigError(f"rule='exact' cannot serve: {NOT_DECIDED}; use 'tail' or 'mean'")
        cautions += [NOT_DECIDED] if outcome is None else []
    if outcome is not None:
        worst, largest, size = defects.labels[defects.worst], defects.largest, float(defects.size[0])
        compared, constant = float(defects.compared.min()), float(W.norm()) <= 1e-9 * float(bias.norm())
        constant = constant or float(W.norm()) == 0
    else:
        x = draw_inputs(inputs, n, rep_in, kind, generator)
        _check_precision(eps, x.dtype)
        elements = draw_elements(group, n, generator)
        drawn = draw_defects(f, x, elements, rep_in, rep_out, inside)
        used = "tail" if rule == "auto" else rule
        outcome = _apply(used, drawn.values, eps, alpha, eta, cap)
        at = int(drawn.values.argmax())
        worst, largest = group.label(elements[at]), float(drawn.values[at])
        counted, size, compared, constant = n, drawn.size, drawn.compared, drawn.is_constant
    if constant:
        cautions.append("the outputs are constant: that commutes with everything that leaves the constant alone")
    special = None
    if n_random and mask is None:
        special = _specificity_of(f, rep_in, rep_out, kind, n_random, generator, cautions, inputs is not None)
    return _certificate(outcome, used, eps, alpha, eta, counted, worst, largest, size, compared, special, cautions)  # type: ignore[arg-type]


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
    group = rep_in.group
    elements = exact_elements(group)
    cautions = _cautions(None, rep_in, rep_out)
    if isinstance(f, Tensor):
        defects, W = weight_error(f, rep_in, rep_out, elements), f.detach().double().reshape(rep_out.dim, rep_in.dim)
        of, special = "W", None
        if n_random:
            at = torch.zeros(1, *rep_in.shape, dtype=torch.float64)
            special = specificity(W, rep_in, rep_out, at, n_random=n_random, generator=generator)
    else:
        defects, of, special = pattern_error(f.matrix(), rep_in, rep_out, elements), "any W = U v", None  # type: ignore[attr-defined]
    if float(defects.size[0]) == 0:
        cautions.append("the weight is zero: it commutes with everything")
    dtype = f.dtype if isinstance(f, Tensor) else f.matrix().dtype  # type: ignore[attr-defined]
    outcome = _exactly(defects.largest, eps, dtype, group, of)
    if outcome is None:
        # Nothing is sampled for a weight: a word in the generators may or may not be off by more than eps.
        outcome = replace(_exact(defects.largest, eps, of), p_value=1.0, p_refute=1.0, hint=NOT_DECIDED)
    return _certificate(
        outcome, "exact", eps, alpha, None, len(defects.values), defects.labels[defects.worst], defects.largest,
        float(defects.size[0]), 1.0, special, cautions,
    )  # fmt: skip


def _exactly(largest: float, eps: float, dtype: torch.dtype, group: Group, of: str = "the layer") -> Outcome | None:
    """The verdict on all elements, from all of them or from the generators; None where those do not suffice."""
    return _exact(largest, eps, of) if group.is_listed else outcome_by_generators(largest, eps, dtype, group, of)


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
    raise ConfigError(f"rule must be auto, exact, tail, zero-failure or mean; came {rule!r}")


def _certificate(
    outcome: Outcome,
    rule: Rule,
    eps: float,
    alpha: float,
    eta: float | None,
    n: int,
    worst: str,
    largest: float,
    size: float,
    compared: float,
    special: Specificity | None,
    cautions: list[str],
) -> Certificate:
    verdict = outcome.verdict(alpha)
    if verdict == "cannot tell" and outcome.hint:
        cautions.append(outcome.hint)
    return Certificate(
        verdict=verdict, null=outcome.null, rule=rule, eps=eps, alpha=alpha,
        eta=eta if rule in ("tail", "zero-failure") else None, estimate=outcome.estimate, bound=outcome.bound, n=n,
        p_value=outcome.p_value, p_refute=outcome.p_refute, worst=worst, largest=largest, size=size, compared=compared,
        specificity=special, warnings=tuple(cautions),
    )  # fmt: skip


def _check_precision(eps: float, dtype: torch.dtype) -> None:
    if eps < FLOOR.get(dtype, 0):
        raise ConfigError(f"eps = {eps:g} is below what {dtype} can show ({FLOOR[dtype]:g}); use float64")


def _check_levels(eps: float, alpha: float, eta: float, n: int, n_random: int) -> None:
    if not 0 < eps < math.sqrt(2):
        raise ConfigError(f"eps is a defect between 0 and sqrt(2), where 1 is what unrelated outputs give; came {eps}")
    check_level("alpha", alpha)
    check_level("eta", eta)
    if n < 2:
        raise ConfigError(f"at least 2 draws are needed; came {n}")
    if n_random < 0:
        raise ConfigError(f"the number of random relabellings must not be negative; came {n_random}")


def _cautions(f: object, rep_in: AnyRepresentation, rep_out: AnyRepresentation) -> list[str]:
    found = []
    if rep_in.is_trivial and rep_out.is_trivial:
        found.append("the group acts trivially on inputs and outputs: every function is equivariant")
    elif rep_in.is_trivial:
        found.append("the group acts trivially on inputs: the test only says that the outputs are invariant")
    if isinstance(f, nn.Module):
        found += pointwise_warnings(f, rep_in, rep_out)
    return found
