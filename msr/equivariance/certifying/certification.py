"""Certificates: a verdict on equivariance with a stated null hypothesis and error rate."""

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from msr.arrays import takes_arrays
from msr.equivariance.certifying.certificate import Certificate, EquivarianceWarning
from msr.equivariance.certifying.decision import decide
from msr.equivariance.certifying.finding import CONSTANT
from msr.equivariance.certifying.fresh import module_to_redraw, redrawn, signs_of_a_start
from msr.equivariance.certifying.setting import Auto, Rule, Setting
from msr.equivariance.measuring.evaluation import Function
from msr.equivariance.measuring.several import Several, as_one
from msr.errors import ConfigError
from msr.groups import Group
from msr.statistics.rules import Verdict

__all__ = ["certify"]

AUTO = Auto()
"""The default rule: exact where possible and not too large, else Tail(eta=0.05)."""


@takes_arrays("f")
def certify(
    f: Function | nn.Module | Tensor,
    group: Group,
    rep_in: Several,
    rep_out: Several,
    *,
    eps: float,
    alpha: float = 0.05,
    rule: Rule = AUTO,
    n: int = 64,
    inputs: Any = None,
    mask: Any = None,
    dtype: torch.dtype | None = None,
    n_random: int = 99,
    fresh: int = 0,
    generator: torch.Generator | None = None,
) -> Certificate:
    """Certify that ``f`` is equivariant up to a defect of ε, or refute it: wrong with probability α at most.

    The defect of a draw has no unit. It is ``d = max_p ‖a − b‖_p / max(s_p, √(‖a − c‖²_p + ‖b − c‖²_p))`` for
    ``a = f(ρ_in(g) x)`` and ``b = ρ_out(g) f(x)``, over the parts ``p`` of the outputs: orbits of coordinates, or
    blocks of coordinates that matrices do not mix, and the irreducible kinds in them where these are known. The unit
    ``s_p``, what unrelated outputs differ by, and the centre ``c`` are fixed first, on draws of their own; given them,
    the error rate of a rule is exact.

    Rules, by their null hypothesis, which says that the defect is too large:
        ``Exact()``: ``max_g d(g) > ε`` over all elements; for layers that are affine by construction, for a weight
        tensor, and for a sharing pattern (then over all filters too). Nothing is sampled; ``d(g)`` is pooled over
        standard normal inputs (see :func:`weight_error`), so it is not for ``inputs`` of your own. Where the group
        lists no elements its generators decide: what commutes with them beyond rounding is certified, a generator above
        ε refutes, and what lies between is not decided (``Auto`` then draws).
        ``Tail(eta=0.05)``: ``P(d > ε) ≥ η`` over draws of an input and an element; exact binomial test.
        ``ZeroFailure(eta=0.05)``: the same, certified only if no draw fails.
        ``Mean(cap=2.0)``: ``E min(d, cap · ε) ≥ ε``; empirical Bernstein bound.
        ``Auto(Tail(eta=0.05))``: exact where possible and not too large, else the rule named.

    Args:
        f: a function ``(batch, *rep_in.shape) -> (batch, *rep_out.shape)``, a module, a weight, or a sharing pattern.
        group: that of both representations.
        rep_in, rep_out: one, or a tuple or dictionary of them for several inputs or outputs, as ``f`` takes them.
        eps: the tolerance ε, a defect: between 0 and √2, where 1 is what unrelated outputs give.
        alpha: the level α, a probability.
        rule: what counts as too large a defect.
        n: draws of an input and an element; as many again, 256 at most, fix the units.
        inputs: draws ``(n, generator) -> (n, *rep_in.shape)``, or a data set to draw from with replacement. Default:
            standard normal. The certificate speaks of this distribution, and of elements drawn uniformly without the
            identity (a finite group), or as ``group.drawn`` says: words and standard normal coefficients are not Haar
            measure.
        mask: outputs that the boundary does not reach, see :func:`interior`; the share compared is in ``compared``.
        dtype: precision of the default inputs; by default the module's own, else float32.
        n_random: random relabellings for the specificity test; 0 leaves it out.
        fresh: how many times more with a module's parameters and buffers drawn anew, for what training may take away.
            All must be certified, each at level α (intersection-union test); the certificate is that of the worst.
        generator: for all draws; by default one seeded by the shape of the inputs, the same in every call.

    "cannot tell" is also the answer where rounding hides a defect of ε, such as in float32 beside a large offset.

    Warns: EquivarianceWarning for constant outputs, trivial actions, activations that do not respect the
    representation, and a certificate of a module that looks as it did before any training.
    Raises: ConfigError for numbers out of their range, an ε below what the precision can show, or a rule that cannot
    serve ``f``; ShapeError, ModelError, NonFiniteError from the measurement.
    """
    f, rep_in, rep_out, inputs, mask = as_one(f, rep_in, rep_out, inputs, mask)
    if fresh < 0:
        raise ConfigError(f"fresh is how many times parameters are drawn anew; got {fresh}")
    setting = Setting(
        eps=eps, alpha=alpha, rule=rule, n=n, inputs=inputs, mask=mask, dtype=dtype, n_random=n_random,
        generator=generator,
    )  # fmt: skip
    certificate = decide(f, group, rep_in, rep_out, setting)
    if fresh:
        module = module_to_redraw(f)
        # Specificity is a property of the module that is asked about, so it is tested once.
        setting = replace(setting, n_random=0)
        # Seeds 1, 2, …: the same redraws in every call, so that a certificate can be repeated.
        redraws = [decide(redrawn(module, i), group, rep_in, rep_out, setting) for i in range(1, fresh + 1)]
        certificate = _worst(certificate, redraws)
    # Zeros and ones of a start make many modules equivariant by accident. Where the outputs are constant, that warning
    # has been given already and says more.
    elif certificate.certified and isinstance(f, nn.Module) and CONSTANT not in certificate.warnings:
        certificate = _with_signs(certificate, signs_of_a_start(f))
    for text in certificate.warnings:
        warnings.warn(text, EquivarianceWarning, stacklevel=2)
    return certificate


def _worst(first: Certificate, redraws: list[Certificate]) -> Certificate:
    """One certificate of several modules, each at level α: of the module as it is, and of its redraws.

    Its numbers are those of the module with the largest p-value, or, where the verdict is "refuted", of the one with
    the smallest ``p_refute``. It holds the warnings of all, and the specificity of ``first``.

    That *all* are equivariant is certified at level α if each one is: the null hypothesis says that at least one is
    not, and rejecting it at α takes rejecting each part at α (intersection-union test, Berger 1982). That *some* is not
    is one of several chances to err, so its p-value is multiplied by their number (Bonferroni).
    """
    everything = [first, *redraws]
    p_refute = min(1.0, len(everything) * min(c.p_refute for c in everything))
    # All must be certified, so the one with the largest p-value decides; where all are 0, the largest defect is shown.
    worst = max(everything, key=lambda c: (c.p_value, c.largest))
    verdict: Verdict = "cannot tell"
    if all(c.certified for c in everything):
        verdict = "certified"
    elif p_refute <= first.alpha:
        verdict = "refuted"
        # The refutation is shown by the module that gave it, not by the one that is hardest to certify.
        worst = min(everything, key=lambda c: (c.p_refute, -c.largest))
    texts = dict.fromkeys(text for c in everything for text in c.warnings)
    null = f"{worst.null}, for one of {len(everything)} draws of the parameters"
    return replace(
        worst, verdict=verdict, null=null, p_refute=p_refute, specificity=first.specificity, warnings=tuple(texts),
        fresh=len(redraws),
    )  # fmt: skip


def _with_signs(certificate: Certificate, signs: list[str]) -> Certificate:
    """The certificate, with a warning that names up to three signs of a start; unchanged where there are no signs."""
    if not signs:
        return certificate
    shown = ", ".join(signs[:3]) + (f", and {len(signs) - 3} more" if len(signs) > 3 else "")
    text = (
        f"the module looks as it did before any training ({shown}), which may take this away; fresh=3 draws them anew"
    )
    return replace(certificate, warnings=(*certificate.warnings, text))
