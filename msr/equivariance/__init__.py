"""Equivariance: measure it, assert it in a unit test, certify it with an error rate, find the layer that breaks it."""

from msr.equivariance.certifying.certificate import Certificate as Certificate
from msr.equivariance.certifying.certificate import EquivarianceWarning as EquivarianceWarning
from msr.equivariance.certifying.certification import certify as certify
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
from msr.equivariance.networks.certificates import LayerDefects as LayerDefects
from msr.equivariance.networks.certificates import NetworkCertificate as NetworkCertificate
from msr.equivariance.networks.certificates import certify_network as certify_network
from msr.equivariance.networks.certificates import localise as localise
from msr.equivariance.testing import assert_equivariant as assert_equivariant
from msr.equivariance.testing import parametrize_elements as parametrize_elements

__all__ = [
    "Defects", "equivariance_error", "weight_error", "pattern_error", "interior",
    "assert_equivariant", "parametrize_elements",
    "Certificate", "certify", "NetworkCertificate", "certify_network", "LayerDefects", "localise",
    "Specificity", "specificity", "EquivarianceWarning",
    "Turning", "turn_images", "turning_error",

]  # fmt: skip
