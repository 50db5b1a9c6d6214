"""The reparameterised twins of ``nn.ConvTranspose1d``, ``nn.ConvTranspose2d`` and ``nn.ConvTranspose3d``."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msr.errors import ConfigError
from msr.layers.base import Path, ReparamLayer
from msr.sharing import Convolution, KroneckerSharing, PathCost, Sharing, SharingFactory

__all__ = ["ReparamConvTranspose1d", "ReparamConvTranspose2d", "ReparamConvTranspose3d"]

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _ReparamConvTranspose(ReparamLayer, affine=True):
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
        # The torch twin, built without storage, checks the arguments and expands them (an int to one for each axis).
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
        if bias and self.sharing.ties_bias:
            raise ConfigError(
                f"{type(self.sharing).__name__} ties the bias to the weight's first axis, which belongs to the inputs "
                "of a transposed convolution; pass bias=False"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = twin.kernel_size
        self.stride = twin.stride
        self.dilation = twin.dilation
        self.padding = twin.padding
        self.output_padding = twin.output_padding
        self.groups = groups
        self.padding_mode = padding_mode

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Apply the layer to ``(N, in_channels, *space)`` or ``(in_channels, *space)``.

        Args: ``output_size``: the spatial size of the output, or its whole shape; by default ``output_padding`` decides
        it.
        Raises: ConfigError for a size that this input cannot give.
        """
        extra = self.output_padding if output_size is None else self._extra(x, output_size)
        if self._factors_are_cheaper(x):
            return self.sharing.apply_convolution(self.v, x, self.shared_bias, self._convolution(extra))
        return self._convolve(x, self.weight, self.shared_bias, extra)

    @property
    def shared_bias(self) -> Tensor | None:
        """The bias itself: a pattern shares biases along the weight's first axis, which here belongs to the inputs."""
        return self.bias

    def _extra(self, x: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """``output_padding``, a number for each spatial axis, for the output to have the size that was asked for.

        Raises: ConfigError for a size that no output padding below the stride gives.
        """
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

    def _convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, extra: tuple[int, ...] | None = None
    ) -> Tensor:
        """torch's transposed convolution with this layer's arguments, and another weight and bias.

        Args: ``extra``: takes the place of ``output_padding``.
        """
        convolve = _CONVOLVE[len(self.kernel_size)]
        output_padding = self.output_padding if extra is None else extra
        return convolve(x, weight, bias, self.stride, self.padding, output_padding, self.groups, self.dilation)

    def _convolution(self, extra: tuple[int, ...] | None = None) -> Convolution:
        """What the pattern may know of this convolution; ``extra`` takes the place of ``output_padding``."""
        return Convolution(self.kernel_size, self.stride, self.groups, True, partial(self._convolve, extra=extra))

    def _factor_cost(self) -> PathCost | None:
        """What the pattern's own way costs in this convolution; None where ``W`` has to be built."""
        return self.sharing.convolution_cost(self._convolution())

    def _factors_are_cheaper(self, x: Tensor) -> bool:
        """Whether to apply the pattern to ``x`` without building ``W``: see :meth:`_takes_factors`."""
        # Input pixels of all examples together.
        return self._takes_factors(x.numel() // max(self.in_channels, 1))

    def _residual_at(self, v: Tensor, weight: Tensor, bias: Tensor | None) -> float:
        """The relative residual of a plain layer's weight when this layer has the filter ``v``.

        The bias loses nothing here, and is not compared.
        """
        return super()._residual_at(v, weight, None)  # the layer takes the bias as it is

    def plain(self, device: torch.device | str | None = None) -> nn.Module:
        """The ``torch.nn`` convolution with these arguments."""
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
        """The arguments as the ``torch.nn`` convolution gives them."""
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
