"""From a function and a setting to a certificate: exactly where that is possible, else by a rule on draws."""

import torch
from torch import Tensor, nn

from msr.equivariance.certifying import exact
from msr.equivariance.certifying.certificate import Certificate
from msr.equivariance.certifying.finding import Finding
from msr.equivariance.certifying.pointwise import pointwise_warnings
from msr.equivariance.certifying.sampled import by_draws
from msr.equivariance.certifying.setting import Auto, Exact, Setting, check_precision
from msr.equivariance.certifying.specificity import Specificity, specificity
from msr.equivariance.measuring.boundary import Interior
from msr.equivariance.measuring.evaluation import Function, check_representations
from msr.equivariance.measuring.inputs import draw_inputs, seeded, template_of
from msr.errors import ConfigError, ModelError, NonFiniteError
from msr.groups import Group
from msr.representations import AnyRepresentation
from msr.sharing import Sharing
from msr.statistics.rules import Tail, ZeroFailure

__all__ = ["decide"]

MAX_ROTATED = 512
"""Numbers up to which random rotations are drawn for the specificity test of representations by matrices: a QR
decomposition of that many rows, for each relabelling, takes some hundredths of a second. Chosen by hand."""

SPECIFICITY_INPUTS = 8
"""Inputs of the specificity test, which pools their defects. Chosen by hand: more cost time for each relabelling."""


def decide(
    f: Function | nn.Module | Tensor,
    group: Group,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    setting: Setting,
    *,
    unit_inputs: Tensor | None = None,
) -> Certificate:
    """The certificate of one function as it is; warnings are listed in it and not given.

    Args: ``unit_inputs``: inputs to fix the units of the defect on; by default they are drawn.
    Raises: as :func:`certify`.
    """
    check_representations(rep_in, rep_out, group)
    generator = setting.generator or seeded(0, rep_in)
    if isinstance(f, (Tensor, Sharing)):
        if not isinstance(setting.rule, (Auto, Exact)) or setting.mask is not None:
            raise ConfigError("a weight or a sharing pattern is decided exactly: leave out rule and mask")
        return _decide_linear_map(f, rep_in, rep_out, setting, generator)
    template = template_of(f, setting.dtype)
    check_precision(setting.eps, template.dtype)
    inside = Interior(rep_out, setting.mask)
    warnings = _warnings_of(f, rep_in, rep_out)
    finding: Finding | None = None
    if exact.decides_exactly(f, setting, rep_in, rep_out):
        assert isinstance(f, nn.Module)
        finding, texts = exact.of_layer(f, rep_in, rep_out, setting, template, inside)
        warnings += texts
    # No exact finding was asked for, or the generators left it open.
    if finding is None:
        finding, texts = by_draws(f, rep_in, rep_out, setting, template, inside, generator, unit_inputs)
        warnings += texts
    specificity_test: Specificity | None = None
    # Relabelled coordinates would move the boundary too, so with a mask the question makes no sense.
    if setting.n_random and setting.mask is None:
        specificity_test, texts = _specificity_of(f, rep_in, rep_out, setting, template, generator)
        warnings += texts
    return _certificate(finding, group, setting, specificity_test, warnings)


def _decide_linear_map(
    f: Tensor | Sharing,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    setting: Setting,
    generator: torch.Generator,
) -> Certificate:
    """The certificate of a weight or a sharing pattern, which are decided exactly and need no inputs."""
    specificity_test: Specificity | None = None
    warnings = _warnings_of(None, rep_in, rep_out)
    if isinstance(f, Tensor):
        finding = exact.of_weight(f, rep_in, rep_out, setting.eps)
        if setting.n_random:
            # A weight is compared as a matrix, so the test looks at no input.
            unused = torch.zeros(1, *rep_in.shape, dtype=torch.float64)
            W = f.detach().reshape(rep_out.dim, rep_in.dim)
            specificity_test = specificity(W, rep_in, rep_out, unused, n_random=setting.n_random, generator=generator)
    else:
        finding = exact.of_pattern(f.matrix(), rep_in, rep_out, setting.eps)
    if finding.size == 0:
        warnings.append("the weight is zero: it commutes with everything")
    return _certificate(finding, rep_in.group, setting, specificity_test, warnings)


def _specificity_of(
    f: Function,
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    setting: Setting,
    template: Tensor,
    generator: torch.Generator,
) -> tuple[Specificity | None, list[str]]:
    """The specificity test and no warning, or None and a warning that says why the test was left out.

    It is run on standard normal inputs, whatever inputs the certificate speaks of: no relabelling changes their
    distribution, while other data could look specific by themselves.

    Raises: ModelError, NonFiniteError where the function fails on them, unless the certificate has inputs of its own.
    """
    if any(not rep.is_permutation and rep.dim > MAX_ROTATED for rep in (rep_in, rep_out)):
        text = f"specificity was left out: random rotations of more than {MAX_ROTATED} numbers take too long"
        return None, [text]
    x = draw_inputs(None, SPECIFICITY_INPUTS, rep_in, template, generator)
    try:
        return specificity(f, rep_in, rep_out, x, n_random=setting.n_random, generator=generator), []
    except (ModelError, NonFiniteError):
        # The certificate was measured on inputs of the same kind, so the fault is new and must be seen. With inputs of
        # the caller's own the function may well refuse normal ones.
        if setting.inputs is None:
            raise
        text = "specificity was left out: the function does not take standard normal inputs, which it needs"
        return None, [text]


def _certificate(
    finding: Finding, group: Group, setting: Setting, specificity_test: Specificity | None, warnings: list[str]
) -> Certificate:
    """The certificate that a finding gives at the level of the setting.

    Where the verdict is "cannot tell", the outcome's hint is appended to ``warnings``, in place.
    """
    outcome = finding.outcome
    rule = finding.rule
    verdict = outcome.verdict(setting.alpha)
    if verdict == "cannot tell" and outcome.hint:
        warnings.append(outcome.hint)
    unit = ", d in units of what the outputs vary by, part by part" if rule.name != "exact" else ""
    if rule.name != "exact" and group.drawn != "uniform":
        # Such elements are not distributed by Haar measure, so the null hypothesis has to say how they are drawn.
        unit += f", elements drawn by {group.drawn}"
    return Certificate(
        verdict=verdict, null=outcome.null + unit, rule=rule.name, eps=setting.eps, alpha=setting.alpha,
        eta=rule.eta if isinstance(rule, (Tail, ZeroFailure)) else None, estimate=outcome.estimate,
        bound=outcome.bound, n=finding.n, p_value=outcome.p_value, p_refute=outcome.p_refute, worst=finding.worst,
        largest=finding.largest, part=finding.part, unit=finding.unit, n_unit=finding.n_unit,
        rounding=finding.rounding, size=finding.size, compared=finding.compared, specificity=specificity_test,
        warnings=tuple(warnings),
    )  # fmt: skip


def _warnings_of(f: object, rep_in: AnyRepresentation, rep_out: AnyRepresentation) -> list[str]:
    """Warnings that need no measurement: the group acts trivially, or an activation does not respect the action.

    Args: ``f``: the function; None for a weight or a sharing pattern.
    """
    texts = []
    if rep_in.is_trivial and rep_out.is_trivial:
        texts.append("the group acts trivially on inputs and outputs: every function is equivariant")
    elif rep_in.is_trivial:
        texts.append("the group acts trivially on inputs: the test only says that the outputs are invariant")
    if isinstance(f, nn.Module):
        # Only the layer itself is known to act between these two representations.
        texts += pointwise_warnings(f, rep_in, rep_out)
    return texts
