"""Meta-learning: adapt many tasks side by side, and learn what they share."""

from msr.meta.engines import Engine as Engine
from msr.meta.evaluation import evaluate as evaluate
from msr.meta.functional_module import FunctionalModule as FunctionalModule
from msr.meta.functional_module import from_module as from_module
from msr.meta.functional_module import load_params as load_params
from msr.meta.learner import Learner as Learner
from msr.meta.outer import OuterLoop as OuterLoop
from msr.meta.problem import MetaGradient as MetaGradient
from msr.meta.problem import MetaParameters as MetaParameters
from msr.meta.problem import Params as Params
from msr.meta.problem import Problem as Problem
from msr.meta.solvers.base import InnerSolver as InnerSolver
from msr.meta.solvers.gauss_newton import GaussNewton as GaussNewton
from msr.meta.solvers.gradient_steps import SGD as SGD
from msr.meta.solvers.heads import ClassMeans as ClassMeans
from msr.meta.solvers.heads import RidgeHead as RidgeHead
from msr.meta.solvers.in_turn import InTurn as InTurn
from msr.meta.solvers.ridge import Ridge as Ridge
from msr.meta.way import Batching as Batching

__all__ = [
    "Problem", "FunctionalModule", "from_module", "load_params", "Params", "MetaParameters",
    "InnerSolver", "SGD", "Ridge", "GaussNewton", "ClassMeans", "RidgeHead", "InTurn",
    "Learner", "Batching", "Engine", "MetaGradient", "evaluate", "OuterLoop",

]  # fmt: skip
