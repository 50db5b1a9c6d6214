"""Equivariance: measure it, assert it in a unit test, certify it with an error rate, find the layer that breaks it.

- ``measuring/``: the defect, how far something is from commuting with a group: numbers without an opinion.
- ``certifying/``: a verdict with a stated null hypothesis and error rate.
- ``networks/``: the same layer by layer.
- ``testing``, ``strategies``: assertions and random cases for unit tests.
"""

from msr.equivariance.certifying.certificate import Certificate as Certificate
from msr.equivariance.certifying.certificate import EquivarianceWarning as EquivarianceWarning
from msr.equivariance.certifying.certification import certify as certify
from msr.equivariance.certifying.setting import Auto as Auto
from msr.equivariance.certifying.setting import Exact as Exact
from msr.equivariance.certifying.specificity import Specificity as Specificity
from msr.equivariance.certifying.specificity import specificity as specificity
from msr.equivariance.measuring.boundary import interior as interior
from msr.equivariance.measuring.defects import Defects as Defects
from msr.equivariance.measuring.defects import equivariance_error as equivariance_error
from msr.equivariance.measuring.defects import pattern_error as pattern_error
from msr.equivariance.measuring.defects import weight_error as weight_error
from msr.equivariance.measuring.turning import Turning as Turning
from msr.equivariance.measuring.turning import turn_images as turn_images
from msr.equivariance.measuring.turning import turning_error as turning_error
from msr.equivariance.networks.certificates import NetworkCertificate as NetworkCertificate
from msr.equivariance.networks.certificates import certify_network as certify_network
from msr.equivariance.networks.localisation import LayerDefects as LayerDefects
from msr.equivariance.networks.localisation import localise as localise
from msr.equivariance.testing import assert_equivariant as assert_equivariant
from msr.equivariance.testing import parametrize_elements as parametrize_elements
from msr.statistics.rules import Mean as Mean
from msr.statistics.rules import Tail as Tail
from msr.statistics.rules import ZeroFailure as ZeroFailure

__all__ = [
    "Defects", "equivariance_error", "weight_error", "pattern_error", "interior",
    "assert_equivariant", "parametrize_elements",
    "Certificate", "certify", "Auto", "Exact", "Tail", "ZeroFailure", "Mean", "EquivarianceWarning",
    "Specificity", "specificity",
    "NetworkCertificate", "certify_network", "LayerDefects", "localise",
    "Turning", "turn_images", "turning_error",
]  # fmt: skip
