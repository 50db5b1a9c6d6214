"""All matrices that commute with a set of maps, and the continuous symmetries of linear layers."""

from msr.representations.commutant.isotypic import commutant as commutant
from msr.representations.commutant.lie_algebra import continuous as continuous
from msr.representations.commutant.lie_algebra import skew_pairs as skew_pairs
from msr.representations.commutant.values import Commutant as Commutant
from msr.representations.commutant.values import Continuous as Continuous

__all__ = ["Commutant", "Continuous", "commutant", "continuous", "skew_pairs"]
