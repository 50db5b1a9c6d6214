"""Exact verdicts on linear maps under groups that list no elements: from the generators, where those suffice."""

from typing import Literal

import torch

from msr.groups import Group
from msr.statistics.rules import Outcome

__all__ = ["NOT_DECIDED", "exact_elements", "outcome_by_generators"]

NOT_DECIDED = (
    "the generators commute up to eps, but not exactly, and words in them may not: decided by draws. "
    "A layer that commutes exactly is decided exactly"
)
"""Why "auto" sampled, for a certificate's warnings."""

FLOOR = {torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float32: 1e-5, torch.float64: 1e-11}
"""Defects on a generator that rounding explains."""


def exact_elements(group: Group) -> Literal["all", "generators"]:
    """What an exact verdict goes through: all elements where they are listed, else the generators."""
    return "all" if group.is_listed else "generators"


def outcome_by_generators(largest: float, eps: float, dtype: torch.dtype, group: Group, of: str) -> Outcome | None:
    """The verdict that the largest defect over the generators allows; None where it allows none.

    - Zero up to rounding: what commutes with every generator commutes with the group, so it is certified.
    - Above ε: a generator is an element, so it is refuted.
    - Between: a word of ``n`` letters may have a defect up to ``n`` times as large (for orthogonal actions), so a bound
      on the generators is none on the group.
    """
    if largest <= min(eps, FLOOR.get(dtype, FLOOR[torch.float32])):
        null = f"{of} differs, beyond rounding, from what commutes with the generators of {group.name}"
        return Outcome(null, 0.0, 1.0, largest, largest)
    null = f"max over g of d(g) of {of} > {eps:g}, for x ~ N(0, I), g among the generators of {group.name}"
    return Outcome(null, 1.0, 0.0, largest, largest) if largest > eps else None
