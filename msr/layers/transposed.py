"""The reparameterised twins of ``nn.ConvTranspose1d``, ``nn.ConvTranspose2d`` and ``nn.ConvTranspose3d``."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.errors import ConfigError
from msr.layers.base import Path, ReparamLayer
from msr.layers.conv import CONVOLVE
from msr.sharing.base import KroneckerSharing, Sharing, SharingFactory
from msr.sharing.group import GroupSharing

__all__ = ["ReparamConvTranspose1d", "ReparamConvTranspose2d", "ReparamConvTranspose3d"]

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _ReparamConvTranspose(ReparamLayer):
    """The transpose of ``x ⋆ W`` plus ``b``, with ``vec(W) = U v``.

    torch's weight is ``(in, out / groups, *kernel)`` here: the first factor of a Kronecker pattern belongs to the
    inputs, the second to the outputs.
    """

    _twin: ClassVar[type[nn.ConvTranspose1d] | type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
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
            output_padding,  # type: ignore[arg-type]
            groups,
            bias,
            dilation,  # type: ignore[arg-type]
            padding_mode,  # type: ignore[arg-type]
            device="meta",
        )
        shape = tuple(twin.weight.shape)
        super().__init__(shape, bias, device, dtype, sharing, generator, path, n_bias=out_channels)
        if bias and isinstance(self.sharing, GroupSharing):
            raise ConfigError(
                "a group's pattern ties the bias by the action on the weight's first axis, which is the input's in a "
                "transposed convolution; pass bias=False"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.dilation = twin.kernel_size, twin.stride, twin.dilation
        self.padding, self.output_padding = twin.padding, twin.output_padding
        self.groups, self.padding_mode = groups, padding_mode

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Apply the layer to ``(N, in_channels, *space)`` or ``(in_channels, *space)``."""
        extra = self.output_padding if output_size is None else self._extra(x, output_size)
        if not self._factors_are_cheaper(x):
            return self._convolve(x, self.weight, self.shared_bias, extra)
        A, B, C = cast(KroneckerSharing, self.sharing).factors
        ones = (1,) * len(self.kernel_size)
        mix = CONVOLVE[len(ones)]
        core = (self.v @ C.mT).unflatten(-1, self.kernel_size)
        hidden = self._convolve(mix(x, A.mT.reshape(*A.mT.shape, *ones)), core, None, extra)
        return mix(hidden, B.reshape(*B.shape, *ones), self.shared_bias)

    @property
    def shared_bias(self) -> Tensor | None:
        """The bias itself: patterns act on the weight's first axis, and that is the input's."""
        return self.bias

    def _extra(self, x: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """What has to be added at the far end of each axis for the output to have the size that was asked for."""
        n = len(self.kernel_size)
        wanted = list(output_size)[-n:]
        if len(output_size) not in (n, x.ndim):
            raise ConfigError(f"output_size must give {n} sizes, or {x.ndim} as the input has; got {len(output_size)}")
        least = [
            (x.shape[axis - n] - 1) * self.stride[axis]
            - 2 * int(self.padding[axis])
            + self.dilation[axis] * (self.kernel_size[axis] - 1)
            + 1
            for axis in range(n)
        ]
        extra = tuple(size - low for size, low in zip(wanted, least, strict=True))
        if any(not 0 <= more < step for more, step in zip(extra, self.stride, strict=True)):
            most = [low + step - 1 for low, step in zip(least, self.stride, strict=True)]
            raise ConfigError(f"output_size {wanted} cannot be had from this input: sizes go from {least} to {most}")
        return extra

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, extra: tuple[int, ...]) -> Tensor:
        convolve = _CONVOLVE[len(self.kernel_size)]
        return convolve(x, weight, bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _can_apply_factors(self) -> bool:
        # With groups, B would mix channels across the groups, which a grouped convolution cannot express.
        return super()._can_apply_factors() and self.groups == 1

    def _factors_are_cheaper(self, x: Tensor) -> bool:
        if self.path == "auto" and not self._can_apply_factors():
            return False
        (r, s, t), (n, m, *kernel) = (*self.sharing.filter_shape, 1, 1)[:3], self.sharing.weight_shape
        taps, step = math.prod(kernel), math.prod(self.stride)
        pixels_in = x.numel() // max(self.in_channels, 1)
        each = n * r + r * s * taps + s * m * step
        return self._takes_factors(pixels_in, (each, r * s * t * taps), (n * m * taps, self._cost_of_weight()))

    def _residual_of(self, v: Tensor, weight: Tensor, bias: Tensor | None) -> float:
        return super()._residual_of(v, weight, None)

    def plain(self, device: torch.device | str | None = None) -> nn.Module:
        """The twin with these arguments."""
        return self._twin(
            self.in_channels,
            self.out_channels,
            self.kernel_size,  # type: ignore[arg-type]
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.output_padding,  # type: ignore[arg-type]
            self.groups,
            self.bias is not None,
            self.dilation,  # type: ignore[arg-type]
            self.padding_mode,  # type: ignore[arg-type]
            device=device,
            dtype=self.v.dtype,
        )

    def extra_repr(self) -> str:
        """The twin's own description."""
        return self.plain(device="meta").extra_repr()


class ReparamConvTranspose1d(_ReparamConvTranspose):
    """``nn.ConvTranspose1d`` with ``vec(W) = U v``: its arguments and shapes, ``output_size`` included.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.
    """

    _twin = nn.ConvTranspose1d


class ReparamConvTranspose2d(_ReparamConvTranspose):
    """``nn.ConvTranspose2d`` with ``vec(W) = U v``: its arguments and shapes, ``output_size`` included.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.
    """

    _twin = nn.ConvTranspose2d


class ReparamConvTranspose3d(_ReparamConvTranspose):
    """``nn.ConvTranspose3d`` with ``vec(W) = U v``: its arguments and shapes, ``output_size`` included.

    Then ``sharing`` (default: Kronecker, square), ``generator``, ``path`` as in
    :class:`~msr.layers.base.ReparamLayer`.
    """

    _twin = nn.ConvTranspose3d
