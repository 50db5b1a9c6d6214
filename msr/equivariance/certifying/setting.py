"""What a certificate is asked for: tolerance, level, rule and draws; checked once, then passed as one value."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from msr.equivariance.measuring.inputs import Inputs
from msr.errors import ConfigError
from msr.statistics.levels import check_level
from msr.statistics.rules import Mean, Sampled, Tail, ZeroFailure

__all__ = ["Auto", "Exact", "Rule", "RuleName", "Setting", "check_precision"]

RuleName: TypeAlias = Literal["exact", "tail", "zero-failure", "mean"]
"""How a certificate calls the rule that decided it."""

FLOOR = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float32: 1e-6, torch.float64: 1e-13}
"""Defects that rounding alone can cause, so that a smaller tolerance is refused: about ten roundings, more in float64.
Chosen by hand; where the rounding of a function is larger, that is measured on its outputs."""

_WRITTEN = {
    "auto": "Auto()", "exact": "Exact()", "tail": "Tail(eta=0.05)", "zero-failure": "ZeroFailure(eta=0.05)",
    "mean": "Mean(cap=2.0)",
}  # fmt: skip


@dataclass(frozen=True)
class Exact:
    """The rule with the null hypothesis that the largest defect over all elements is above ε. Nothing is sampled.

    For layers that are affine by construction, for a weight, and for a sharing pattern (then over all filters too). The
    defect of an element is pooled over standard normal inputs, so it is not for inputs of your own. Where the group
    lists no elements, its generators decide as far as they can.
    """

    name: ClassVar[Literal["exact"]] = "exact"


@dataclass(frozen=True)
class Auto:
    """The rule :class:`Exact` where that is possible and takes some seconds at most, else a rule on draws.

    Args:
        sampled: the rule on draws.
    """

    sampled: Sampled = field(default_factory=Tail)

    def __post_init__(self) -> None:
        if not isinstance(self.sampled, (Tail, ZeroFailure, Mean)):
            raise ConfigError(f"Auto needs a rule on draws: Tail(), ZeroFailure() or Mean(); got {self.sampled!r}")


Rule: TypeAlias = Auto | Exact | Tail | ZeroFailure | Mean


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """How a certificate is to be made.

    Attributes:
        eps: the tolerance ε, a defect: without unit, strictly between 0 and √2.
        alpha: the level α, a probability: how often the verdict may be wrong.
        rule: what counts as too large a defect.
        n: draws of an input and an element, at least 2. As many inputs again, 256 at most, fix the units.
        inputs: where inputs come from; None for standard normal ones.
        mask: outputs to compare, ``rep_out.shape`` booleans; None for all.
        dtype: precision of standard normal inputs; None for the module's own.
        n_random: random relabellings of the specificity test; 0 leaves it out.
        generator: of all draws; None for one that is seeded by the shape of the inputs.

    Raises: ConfigError for a number out of its range, or a rule that is none.
    """

    eps: float
    alpha: float = 0.05
    rule: Rule = field(default_factory=Auto)
    n: int = 64
    inputs: Inputs = None
    mask: Tensor | None = None
    dtype: torch.dtype | None = None
    n_random: int = 99
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not 0 < self.eps < math.sqrt(2):
            raise ConfigError(
                f"eps is a defect between 0 and sqrt(2), where 1 is what unrelated outputs give; got {self.eps}"
            )
        check_level("alpha", self.alpha)
        if self.n < 2:
            raise ConfigError(f"at least 2 draws are needed; got {self.n}")
        if self.n_random < 0:
            raise ConfigError(f"the number of random relabellings must not be negative; got {self.n_random}")
        if not isinstance(self.rule, (Auto, Exact, Tail, ZeroFailure, Mean)):
            # Names as text are what certificates call the rules, so a caller may well write one.
            written = _WRITTEN.get(self.rule) if isinstance(self.rule, str) else None
            hint = f"; write rule={written}" if written else ""
            raise ConfigError(
                "rule must be Auto(), Exact(), Tail(eta=...), ZeroFailure(eta=...) or Mean(cap=...), which "
                f"msr.equivariance has; got {self.rule!r}{hint}"
            )


def check_precision(eps: float, dtype: torch.dtype) -> None:
    """Raise ConfigError for a tolerance (a defect) that rounding in this precision hides."""
    if eps < FLOOR.get(dtype, 0):
        raise ConfigError(f"eps = {eps:g} is below what {dtype} can show ({FLOOR[dtype]:g}); use float64")
