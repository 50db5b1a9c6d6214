"""A certificate: the verdict, and every number that it rests on."""

from dataclasses import dataclass

from msr.equivariance.certifying.setting import RuleName
from msr.equivariance.certifying.specificity import Specificity
from msr.statistics.rules import Verdict

__all__ = ["Certificate", "EquivarianceWarning"]


class EquivarianceWarning(UserWarning):
    """A verdict on equivariance is right, but means less than it seems to."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """A verdict on "``f`` commutes with the group, up to a defect of ε".

    A defect has no unit: 0 means equivariant, 1 is what unrelated outputs give, √2 is the largest there is.

    Attributes:
        verdict: ``"certified"``: the null was rejected at level α. ``"refuted"``: its opposite was. ``"cannot tell"``.
        null: the null hypothesis, which a certificate rejects, in words. Its ``d`` is the defect of one draw of an
            input and an element, in units of what each part of the outputs varies by (orbits and irreducible kinds);
            the part where it is largest counts. Where the rule is exact it is the defect of one element, over all
            standard normal inputs together.
        rule: exact, tail, zero-failure or mean.
        eps: the tolerance ε, a defect.
        alpha: the level α, a probability.
        eta: the share η of draws that may fail, for the rules tail and zero-failure; else None.
        estimate, bound: of the quantity in the null, and its one-sided ``1 − α`` upper bound: a share of draws for tail
            and zero-failure, a mean defect for mean, the largest defect for exact.
        n: draws of (input, element); for the rule exact the elements, all of which were gone through, or the
            generators of a group that lists no elements.
        p_value, p_refute: of the null and of its opposite; 0 or 1 where nothing was sampled, and both 1 where that
            decides nothing. With ``fresh``, ``p_refute`` is multiplied by the number of modules.
        worst, largest: the element with the largest defect observed, and that defect.
        part, unit: where in the outputs that defect is, and what that part varies by, in the units of the outputs: the
            root mean square of its deviations from its centre; 0 where the rule is exact.
        n_unit: draws that the units were fixed on, apart from those that were tested; 0 where the rule is exact.
        rounding: a defect up to here can be rounding, in the part that varies least beside its size; above ε the answer
            is "cannot tell", unless something differs by more.
        size: root mean square of the outputs.
        compared: share of the outputs compared; below 1 with a mask.
        specificity: is ``f`` more equivariant to this group than to relabelled copies of it? A different question; None
            if not asked, or with a mask.
        warnings: what makes the verdict mean less than it seems.
        fresh: how many times parameters and buffers were drawn anew; all of these had to be certified, and the numbers
            are those of the worst, ``specificity`` apart, which is that of the module as it is.
    """

    verdict: Verdict
    null: str
    rule: RuleName
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
    part: str
    unit: float
    n_unit: int
    rounding: float
    size: float
    compared: float
    specificity: Specificity | None
    warnings: tuple[str, ...]
    fresh: int = 0

    @property
    def certified(self) -> bool:
        """Whether the verdict is "certified"."""
        return self.verdict == "certified"

    def __str__(self) -> str:
        # An exact finding went through the generators only if its null hypothesis says so.
        counted = "generators" if "the generators of" in self.null else "elements"
        sampled = f"{self.n} draws" if self.rule != "exact" else f"all {self.n} {counted}, exactly"
        lines = [
            f"{self.verdict}: null {self.null}, p = {self.p_value:.3g}, level {self.alpha:g} ({self.rule}, {sampled})",
            f"estimate {self.estimate:.3g}, upper bound {self.bound:.3g}; largest defect {self.largest:.3g} at "
            f"{self.worst}, in {self.part}; outputs of size {self.size:.3g}, {self.compared:.0%} of them compared",
        ]
        if self.n_unit:
            lines.append(
                f"unit of a defect there: {self.unit:.3g}, which these outputs vary by, fixed before on {self.n_unit} "
                f"other draws; rounding can make up to {self.rounding:.2g}"
            )
        if self.fresh:
            lines.append(f"the worst of {self.fresh + 1}: as it is, and {self.fresh} times with parameters drawn anew")
        if self.specificity is not None:
            lines.append(str(self.specificity))
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])
