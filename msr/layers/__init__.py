"""Layers whose weight is ``vec(W) = U v``, and the patterns ``U`` that they hold."""

from msr.layers.base import ReparamLayer as ReparamLayer
from msr.layers.batch_norms import calibrate as calibrate
from msr.layers.conv import ReparamConv1d as ReparamConv1d
from msr.layers.conv import ReparamConv2d as ReparamConv2d
from msr.layers.conv import ReparamConv3d as ReparamConv3d
from msr.layers.convert import Reparameterized as Reparameterized
from msr.layers.convert import fold as fold
from msr.layers.convert import reparameterize as reparameterize
from msr.layers.inventory import Coverage as Coverage
from msr.layers.inventory import LeftAlone as LeftAlone
from msr.layers.inventory import LeftAloneWarning as LeftAloneWarning
from msr.layers.inventory import coverage as coverage
from msr.layers.linear import ReparamLinear as ReparamLinear
from msr.layers.plain_weights import ResidualWarning as ResidualWarning
from msr.layers.transposed import ReparamConvTranspose1d as ReparamConvTranspose1d
from msr.layers.transposed import ReparamConvTranspose2d as ReparamConvTranspose2d
from msr.layers.transposed import ReparamConvTranspose3d as ReparamConvTranspose3d

__all__ = [
    "ReparamLayer", "ReparamLinear", "ReparamConv1d", "ReparamConv2d", "ReparamConv3d",
    "ReparamConvTranspose1d", "ReparamConvTranspose2d", "ReparamConvTranspose3d",

    "reparameterize", "Reparameterized", "ResidualWarning",
    "coverage", "Coverage", "LeftAlone", "LeftAloneWarning",
    "fold", "calibrate",
]  # fmt: skip
