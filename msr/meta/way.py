"""How a learner runs its tasks, as a value, so that an error message can propose another way that was tried."""

from dataclasses import dataclass
from typing import Literal

from msr.meta.engines import Engine
from msr.meta.solvers.base import InnerSolver

__all__ = ["Batching", "Way"]

Batching = Literal["auto", "vmap", "loop"]


@dataclass(frozen=True)
class Way:
    """One way to run tasks; see :class:`~msr.meta.Learner` for what each field means."""

    solver: InnerSolver
    batching: Batching
    trace: bool | Literal["auto"]
    engine: Engine
