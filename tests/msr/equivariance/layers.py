"""Layers that several tests of equivariance share."""

import math

import torch
from scipy import stats
from torch import nn

from msr.groups import cyclic
from msr.layers import ReparamLinear
from msr.representations import regular
from msr.sharing import GroupSharing
from tests.support.cases import randomize

C8 = cyclic(8)
R8 = regular(C8)


def known_layer(gen, bias=True, dtype=torch.float32):
    return randomize(ReparamLinear(8, 8, bias=bias, sharing=GroupSharing(R8, R8, dtype=dtype), generator=gen), gen)


class BrokenSometimes(nn.Module):
    """The identity, except on a share of the inputs, where it scrambles."""

    def __init__(self, share):
        super().__init__()
        self.limit = float(stats.norm.isf(share))

    def forward(self, x):
        # A sum does not move under permutations, so both sides of the comparison are broken together.
        return torch.where(x.sum(-1, keepdim=True) > self.limit * math.sqrt(x.shape[-1]), x * torch.arange(1.0, 9.0), x)
