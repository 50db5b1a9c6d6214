"""Meta-learning: adapt many tasks side by side, and learn what they share."""

from msr.meta.engines import Engine as Engine
from msr.meta.learner import Batching as Batching
from msr.meta.learner import Learner as Learner
from msr.meta.learner import MetaGradient as MetaGradient
from msr.meta.learner import evaluate as evaluate
from msr.meta.outer import OuterLoop as OuterLoop
from msr.meta.problem import FunctionalModule as FunctionalModule
from msr.meta.problem import MetaParameters as MetaParameters
from msr.meta.problem import Params as Params
from msr.meta.problem import Problem as Problem
from msr.meta.problem import from_module as from_module
from msr.meta.problem import load_params as load_params
from msr.meta.solvers.gauss_newton import GaussNewton as GaussNewton
from msr.meta.solvers.inner import SGD as SGD
from msr.meta.solvers.inner import InnerSolver as InnerSolver
from msr.meta.solvers.inner import Ridge as Ridge

__all__ = [
    "Problem", "FunctionalModule", "from_module", "load_params", "Params", "MetaParameters",
    "InnerSolver", "SGD", "Ridge", "GaussNewton",
    "Learner", "Batching", "Engine", "MetaGradient", "evaluate", "OuterLoop",

]  # fmt: skip
