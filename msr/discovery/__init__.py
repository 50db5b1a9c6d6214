"""Read the symmetry off: from tasks, or from a learned pattern, to a group with a name, evidence and an error rate."""

from msr.discovery.automorphisms import Automorphisms as Automorphisms
from msr.discovery.automorphisms import automorphisms as automorphisms
from msr.discovery.claims import Candidate as Candidate
from msr.discovery.claims import Certificate as Certificate
from msr.discovery.commutant import commutant as commutant
from msr.discovery.continuous import continuous as continuous
from msr.discovery.continuous import skew_pairs as skew_pairs
from msr.discovery.find import discover as discover
from msr.discovery.naming import name_group as name_group
from msr.discovery.result import Action as Action
from msr.discovery.result import Commutant as Commutant
from msr.discovery.result import Continuous as Continuous
from msr.discovery.result import Discovery as Discovery
from msr.discovery.result import GroupName as GroupName
from msr.discovery.result import PartialSymmetry as PartialSymmetry

__all__ = [
    "Action", "Automorphisms", "Candidate", "Certificate", "Commutant", "Continuous", "Discovery", "GroupName",
    "PartialSymmetry", "automorphisms", "commutant", "continuous", "discover", "name_group", "skew_pairs",
]  # fmt: skip
