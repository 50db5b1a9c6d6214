"""Find the symmetry of a problem from data, by meta-learning how its weights are shared: ``vec(W) = U v``."""

from msr.episodes import Episodes as Episodes
from msr.estimate import Estimate as Estimate
from msr.version import __version__ as __version__

__all__ = ["Episodes", "Estimate", "__version__"]
