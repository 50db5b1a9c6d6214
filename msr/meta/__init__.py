"""Meta-learning: adapt many tasks side by side, and learn what they share."""

from msr.meta.engine import Batching as Batching
from msr.meta.engine import Learner as Learner
from msr.meta.engine import MetaGradient as MetaGradient
from msr.meta.engine import evaluate as evaluate
from msr.meta.inner import SGD as SGD
from msr.meta.inner import InnerSolver as InnerSolver
from msr.meta.inner import Ridge as Ridge
from msr.meta.outer import OuterLoop as OuterLoop
from msr.meta.problem import FunctionalModule as FunctionalModule
from msr.meta.problem import MetaParameters as MetaParameters
from msr.meta.problem import Params as Params
from msr.meta.problem import Problem as Problem
from msr.meta.problem import from_module as from_module
from msr.meta.problem import load_params as load_params

__all__ = [
    "Problem", "FunctionalModule", "from_module", "load_params", "Params", "MetaParameters",
    "InnerSolver", "SGD", "Ridge",
    "Learner", "Batching", "MetaGradient", "evaluate", "OuterLoop",
]  # fmt: skip
