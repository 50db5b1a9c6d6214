"""Read the symmetry off: from tasks, or from a learned pattern, to a group with a name, evidence and an error rate."""

from msr.discovery.answer.claims import Candidate as Candidate
from msr.discovery.answer.claims import Certificate as Certificate
from msr.discovery.answer.result import Discovery as Discovery
from msr.discovery.answer.result import PartialSymmetry as PartialSymmetry
from msr.discovery.find import discover as discover

__all__ = [
    "Candidate", "Certificate", "Discovery",
    "PartialSymmetry", "discover",
]  # fmt: skip
