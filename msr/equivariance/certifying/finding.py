"""What was found before a verdict is pronounced: the outcome of a rule, and where the largest defect is."""

from dataclasses import dataclass

from msr.equivariance.certifying.setting import Exact
from msr.statistics.rules import Outcome, Sampled

__all__ = ["CONSTANT", "Finding"]

CONSTANT = "the outputs are constant: that commutes with everything that leaves the constant alone"


@dataclass(frozen=True)
class Finding:
    """The outcome of a rule, and what it was applied to.

    Attributes:
        outcome: null hypothesis, p-values, estimate and bound.
        rule: the rule that was applied.
        n: draws; or elements that were gone through, or generators of a group that lists no elements.
        worst: label of the element with the largest defect.
        largest: that defect, without unit.
        size: root mean square of the outputs.
        compared: share of the outputs that were compared.
        part: where in the outputs the largest defect is, in words.
        unit: what that part varies by, in the units of the outputs; 0 where the rule is exact.
        n_unit: draws that fixed the units; 0 where the rule is exact.
        rounding: the defect that rounding alone can cause.
    """

    outcome: Outcome
    rule: Exact | Sampled
    n: int
    worst: str
    largest: float
    size: float
    compared: float
    part: str
    unit: float = 0.0
    n_unit: int = 0
    rounding: float = 0.0
