"""The reparameterised twins of ``nn.Conv1d``, ``nn.Conv2d`` and ``nn.Conv3d``."""

import math
from collections.abc import Callable
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.layers.base import Path, ReparamLayer
from msr.sharing.base import KroneckerSharing, Sharing, SharingFactory

__all__ = ["ReparamConv1d", "ReparamConv2d", "ReparamConv3d"]

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _ReparamConv(ReparamLayer):
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
        # The twin, built without storage, checks the arguments and spells them out: its errors are ours.
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
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.dilation = twin.kernel_size, twin.stride, twin.dilation
        self.padding, self.groups, self.padding_mode = twin.padding, groups, padding_mode
        self._rim = _rim(twin) if padding_mode != "zeros" else ()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to ``(N, in_channels, *space)`` or ``(in_channels, *space)``."""
        if self._factors_are_cheaper(x):
            return self._apply_factors(x)
        return self._convolve(x, self.weight, self.shared_bias)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._rim, mode=self.padding_mode), (0,) * len(self.kernel_size)
        convolve = CONVOLVE[len(self.kernel_size)]
        return convolve(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _apply_factors(self, x: Tensor) -> Tensor:
        """Mix input channels by ``Bᵀ``, convolve with ``V ×₃ C``, mix output channels by ``A``."""
        A, B, C = cast(KroneckerSharing, self.sharing).factors
        ones = (1,) * len(self.kernel_size)
        mix = CONVOLVE[len(ones)]
        core = (self.v @ C.mT).unflatten(-1, self.kernel_size)
        hidden = self._convolve(mix(x, B.mT.reshape(*B.mT.shape, *ones)), core, None)
        return mix(hidden, A.reshape(*A.shape, *ones), self.shared_bias)

    def _can_apply_factors(self) -> bool:
        # With groups, A would mix channels across the groups, which a grouped convolution cannot express.
        return super()._can_apply_factors() and self.groups == 1

    def _factors_are_cheaper(self, x: Tensor) -> bool:
        if self.path == "auto" and not self._can_apply_factors():
            return False
        (r, s, t), (m, n, *kernel) = (*self.sharing.filter_shape, 1, 1)[:3], self.sharing.weight_shape
        taps, step = math.prod(kernel), math.prod(self.stride)
        pixels_out = x.numel() // max(self.in_channels * step, 1)
        each = n * s * step + s * taps * r + r * m
        return self._takes_factors(pixels_out, (each, r * s * t * taps), (m * n * taps, self._cost_of_weight()))

    def plain(self, device: torch.device | str | None = None) -> nn.Module:
        """The twin with these arguments."""
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
        """The twin's own description."""
        return self.plain(device="meta").extra_repr()


class ReparamConv1d(_ReparamConv):
    """``nn.Conv1d`` with ``vec(W) = U v``: its arguments, shapes and padding modes.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.  Source: arXiv:2007.02933.
    """

    _twin = nn.Conv1d
    is_plain = True  # calls nothing of torch that meta-learning needs in another form


class ReparamConv2d(_ReparamConv):
    """``nn.Conv2d`` with ``vec(W) = U v``: its arguments, shapes and padding modes.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.  Source: arXiv:2007.02933.
    """

    _twin = nn.Conv2d
    is_plain = True  # calls nothing of torch that meta-learning needs in another form


class ReparamConv3d(_ReparamConv):
    """``nn.Conv3d`` with ``vec(W) = U v``: its arguments, shapes and padding modes.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.  Source: arXiv:2007.02933.
    """

    _twin = nn.Conv3d
    is_plain = True  # calls nothing of torch that meta-learning needs in another form


def _rim(twin: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> tuple[int, ...]:
    """``F.pad``'s argument for a padding that is not zeros: last axis first, before and after."""
    sizes: list[int] = []
    for axis in reversed(range(len(twin.kernel_size))):
        if isinstance(twin.padding, str):
            total = twin.dilation[axis] * (twin.kernel_size[axis] - 1) if twin.padding == "same" else 0
            sizes += [total // 2, total - total // 2]  # torch puts the odd one after
        else:
            sizes += [twin.padding[axis]] * 2
    return tuple(sizes)
