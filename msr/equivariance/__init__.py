"""Equivariance: measure it, assert it in a unit test, certify it with an error rate, find the layer that breaks it."""

from msr.equivariance.boundary import interior as interior
from msr.equivariance.certificate import Certificate as Certificate
from msr.equivariance.certificate import EquivarianceWarning as EquivarianceWarning
from msr.equivariance.certification import certify as certify
from msr.equivariance.chance import Specificity as Specificity
from msr.equivariance.chance import specificity as specificity
from msr.equivariance.measure import Defects as Defects
from msr.equivariance.measure import equivariance_error as equivariance_error
from msr.equivariance.measure import pattern_error as pattern_error
from msr.equivariance.measure import weight_error as weight_error
from msr.equivariance.network import LayerDefects as LayerDefects
from msr.equivariance.network import NetworkCertificate as NetworkCertificate
from msr.equivariance.network import certify_network as certify_network
from msr.equivariance.network import localise as localise
from msr.equivariance.testing import assert_equivariant as assert_equivariant
from msr.equivariance.testing import parametrize_elements as parametrize_elements
from msr.equivariance.turning import Turning as Turning
from msr.equivariance.turning import turn_images as turn_images
from msr.equivariance.turning import turning_error as turning_error

__all__ = [
    "Defects", "equivariance_error", "weight_error", "pattern_error", "interior",
    "assert_equivariant", "parametrize_elements",
    "Certificate", "certify", "NetworkCertificate", "certify_network", "LayerDefects", "localise",
    "Specificity", "specificity", "EquivarianceWarning",
    "Turning", "turn_images", "turning_error",

]  # fmt: skip
