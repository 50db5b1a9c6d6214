"""Meta-learning: adapt many tasks side by side, and learn what they share."""

from msr.meta.adapters import Engine as Engine
from msr.meta.engine import Batching as Batching
from msr.meta.engine import Learner as Learner
from msr.meta.engine import MetaGradient as MetaGradient
from msr.meta.engine import evaluate as evaluate
from msr.meta.examples import Chunks as Chunks
from msr.meta.examples import in_chunks as in_chunks
from msr.meta.examples import patches as patches
from msr.meta.gauss_newton import GaussNewton as GaussNewton
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
from msr.meta.span import RankCut as RankCut
from msr.meta.span import SharedSpan as SharedSpan
from msr.meta.span import find_span as find_span
from msr.meta.spectral import SpectralStart as SpectralStart
from msr.meta.spectral import spectral_start as spectral_start

__all__ = [
    "Problem", "FunctionalModule", "from_module", "load_params", "Params", "MetaParameters",
    "InnerSolver", "SGD", "Ridge", "GaussNewton",
    "Learner", "Batching", "Engine", "MetaGradient", "evaluate", "OuterLoop",
    "find_span", "SharedSpan", "RankCut", "spectral_start", "SpectralStart", "Chunks", "in_chunks", "patches",
]  # fmt: skip
