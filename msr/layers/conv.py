"""The reparameterised twins of ``nn.Conv1d``, ``nn.Conv2d`` and ``nn.Conv3d``."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.layers.base import Path, ReparamLayer
from msr.sharing import Convolution, KroneckerSharing, PathCost, Sharing, SharingFactory
from msr.sharing.application import CONVOLVE

__all__ = ["ReparamConv1d", "ReparamConv2d", "ReparamConv3d"]


class _ReparamConv(ReparamLayer, affine=True):
    """``y = x ⋆ W + b`` with ``vec(W) = U v``; the number of spatial axes comes from the subclass."""

    _twin: ClassVar[type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        sharing: Sharing | SharingFactory = KroneckerSharing,
        generator: torch.Generator | None = None,
        path: Path = "auto",
    ):
        # The torch twin, built without storage, checks the arguments and expands them (an int to one for each axis).
        twin = self._twin(
            in_channels,
            out_channels,
            kernel_size,  # type: ignore[arg-type]
            stride,  # type: ignore[arg-type]
            padding,  # type: ignore[arg-type]
            dilation,  # type: ignore[arg-type]
            groups,
            bias,
            padding_mode,  # type: ignore[arg-type]
            device="meta",
        )
        super().__init__(tuple(twin.weight.shape), bias, device, dtype, sharing, generator, path)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = twin.kernel_size
        self.stride = twin.stride
        self.dilation = twin.dilation
        self.padding = twin.padding
        self.groups = groups
        self.padding_mode = padding_mode
        self._rim = _rim(twin) if padding_mode != "zeros" else ()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to ``(N, in_channels, *space)`` or ``(in_channels, *space)``."""
        if self._factors_are_cheaper(x):
            return self.sharing.apply_convolution(self.v, x, self.shared_bias, self._convolution())
        return self._convolve(x, self.weight, self.shared_bias)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """torch's convolution with this layer's stride, padding (and its mode), dilation and groups, and another weight
        and bias.
        """
        padding = self.padding
        if self.padding_mode != "zeros":
            x = F.pad(x, self._rim, mode=self.padding_mode)
            padding = (0,) * len(self.kernel_size)
        convolve = CONVOLVE[len(self.kernel_size)]
        return convolve(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _convolution(self) -> Convolution:
        """What the pattern may know of this convolution."""
        return Convolution(self.kernel_size, self.stride, self.groups, False, self._convolve)

    def _factor_cost(self) -> PathCost | None:
        """What the pattern's own way costs in this convolution; None where ``W`` has to be built."""
        return self.sharing.convolution_cost(self._convolution())

    def _factors_are_cheaper(self, x: Tensor) -> bool:
        """Whether to apply the pattern to ``x`` without building ``W``: see :meth:`_takes_factors`."""
        # Output pixels of all examples together, up to the boundary.
        pixels = x.numel() // max(self.in_channels * math.prod(self.stride), 1)
        return self._takes_factors(pixels)

    def plain(self, device: torch.device | str | None = None) -> nn.Module:
        """The ``torch.nn`` convolution with these arguments."""
        return self._twin(
            self.in_channels,
            self.out_channels,
            self.kernel_size,  # type: ignore[arg-type]
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.dilation,  # type: ignore[arg-type]
            self.groups,
            self.bias is not None,
            self.padding_mode,  # type: ignore[arg-type]
            device=device,
            dtype=self.v.dtype,
        )

    def extra_repr(self) -> str:
        """The arguments as the ``torch.nn`` convolution gives them."""
        return self.plain(device="meta").extra_repr()


class ReparamConv1d(_ReparamConv, plain=True):
    """``nn.Conv1d`` with ``vec(W) = U v``: its arguments, shapes and padding modes.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.  Source: arXiv:2007.02933.
    """

    _twin = nn.Conv1d


class ReparamConv2d(_ReparamConv, plain=True):
    """``nn.Conv2d`` with ``vec(W) = U v``: its arguments, shapes and padding modes.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.  Source: arXiv:2007.02933.
    """

    _twin = nn.Conv2d


class ReparamConv3d(_ReparamConv, plain=True):
    """``nn.Conv3d`` with ``vec(W) = U v``: its arguments, shapes and padding modes.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.  Source: arXiv:2007.02933.
    """

    _twin = nn.Conv3d


def _rim(twin: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> tuple[int, ...]:
    """``F.pad``'s argument for a padding that is not zeros: sizes before and after each axis, the last axis first."""
    sizes: list[int] = []
    for axis in reversed(range(len(twin.kernel_size))):
        if isinstance(twin.padding, str):
            total = twin.dilation[axis] * (twin.kernel_size[axis] - 1) if twin.padding == "same" else 0
            sizes += [total // 2, total - total // 2]  # as torch does, an odd total pads one more after than before
        else:
            sizes += [twin.padding[axis]] * 2
    return tuple(sizes)
