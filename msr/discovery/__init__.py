"""From tasks to the permutation group that they all respect: its name, the evidence for it, and an error rate.

:mod:`msr.discovery.find` is the whole walk in order; each of its steps is a folder or file here.
"""

from msr.discovery.answer.candidate import Candidate as Candidate
from msr.discovery.answer.certificate import GroupCertificate as GroupCertificate
from msr.discovery.answer.result import Discovery as Discovery
from msr.discovery.answer.result import PartialSymmetry as PartialSymmetry
from msr.discovery.find import discover as discover

__all__ = [
    "Candidate", "Discovery", "GroupCertificate",
    "PartialSymmetry", "discover",
]  # fmt: skip
