"""Every kind of sharing pattern, in one list that all laws of patterns run over; a new kind joins by one line."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.groups import cyclic, so, symmetric
from msr.representations import copies, defining, grid_rotations, natural, planar, regular
from msr.sharing import Convolution, DenseSharing, GroupSharing, KroneckerSharing, PathCost, Sharing


class RowSharing(Sharing):
    """A pattern that is not this package's: slices along the weight's first axis are multiples of one filter.

    ``W[i] = a[i] v``, so ``U = a ⊗ I``. It has its own way to be applied in linear layers and in convolutions.
    """

    def __init__(self, weight_shape, *, device=None, dtype=None, generator=None):
        super().__init__(weight_shape, weight_shape[1:])
        self.a = nn.Parameter(torch.empty(weight_shape[0], device=device, dtype=dtype))
        nn.init.normal_(self.a, generator=generator)

    def materialize(self, v: Tensor) -> Tensor:
        self._check(v, self.filter_shape, "the filter v")
        n_axes = len(self.filter_shape)
        return self.a.reshape(-1, *(1,) * n_axes) * v.unsqueeze(-1 - n_axes)

    def project(self, weight: Tensor) -> Tensor:
        self._check(weight, self.weight_shape, "the weight")
        rows = weight.flatten(-len(self.filter_shape))
        v = torch.einsum("i,...ik->...k", self.a, rows) / self.a.square().sum()
        return v.unflatten(-1, self.filter_shape)

    def matrix(self) -> Tensor:
        eye = torch.eye(self.n_filter, device=self.a.device, dtype=self.a.dtype)
        return (self.a[:, None, None] * eye).flatten(0, 1)

    def squared_norm(self) -> Tensor:
        return self.a.square().sum() * self.n_filter

    def weight_cost(self) -> int:
        return self.n_weight

    def linear_cost(self) -> PathCost | None:
        return PathCost(sum(self.weight_shape)) if len(self.weight_shape) == 2 else None

    def apply_linear(self, v: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(F.linear(x, v[None]), self.a[:, None], bias)

    def convolution_cost(self, convolution: Convolution) -> PathCost | None:
        first, second, *kernel = self.weight_shape
        return PathCost(first + second * math.prod(kernel)) if convolution.groups == 1 else None

    def apply_convolution(self, v: Tensor, x: Tensor, bias: Tensor | None, convolution: Convolution) -> Tensor:
        if convolution.is_transposed:
            y = convolution.convolve(convolution.mix_channels(x, self.a[None]), v[None])
            return y if bias is None else y + bias.reshape(-1, *(1,) * len(convolution.kernel_size))
        return convolution.mix_channels(convolution.convolve(x, v[None]), self.a[:, None], bias)


def _group(*representations):
    """A factory ``(dtype, generator) -> GroupSharing`` of the pattern of these representations.

    The generator is not used, since group patterns start from no random numbers.
    """
    return lambda dtype=None, generator=None: GroupSharing(*representations, dtype=dtype)


LEARNED = {
    "dense-linear": partial(DenseSharing, (4, 5), 3),
    "dense-conv": partial(DenseSharing, (4, 2, 3, 3), 7),
    "kron-linear": partial(KroneckerSharing, (4, 5)),
    "kron-linear-small": partial(KroneckerSharing, (4, 5), (2, 3)),
    "kron-conv1d": partial(KroneckerSharing, (4, 3, 5), (2, 2, 3)),
    "kron-conv2d": partial(KroneckerSharing, (4, 2, 3, 3)),
    "kron-conv2d-small": partial(KroneckerSharing, (4, 2, 3, 3), (3, 1, 4)),
}
"""Patterns of this package that are learned; their start can be chosen by ``init``."""

PATTERNS = {
    **LEARNED,
    "group-labelled": _group(regular(cyclic(4)), regular(cyclic(4))),
    "group-points": _group(natural(symmetric(4)), natural(symmetric(4))),
    "group-basis": _group(planar(4), regular(cyclic(4))),
    "group-rotations": _group(copies(defining(so(3)), 2), defining(so(3))),
    "group-conv2d": _group(regular(cyclic(4)), regular(cyclic(4)), grid_rotations((3, 3))),
    "group-conv2d-basis": _group(planar(4), planar(4), grid_rotations((3, 3))),
    "third-party-linear": partial(RowSharing, (4, 5)),
    "third-party-conv2d": partial(RowSharing, (4, 2, 3, 3)),
}
"""Every kind of pattern: ``make(dtype=..., generator=...)``."""
