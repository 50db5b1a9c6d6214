"""The factored sharing pattern: ``U`` is a Kronecker product with one factor a weight axis, and is never built."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from msr import kron
from msr.arrays import takes_arrays
from msr.errors import ShapeError
from msr.sharing.application import Convolution, PathCost
from msr.sharing.base import Sharing
from msr.sharing.starts import Init, check_init, orthogonal_

__all__ = ["KroneckerSharing"]


class KroneckerSharing(Sharing, plain=True):
    """One factor a weight axis: linear ``W = A V Bᵀ``, convolution ``W = V ×₁ A ×₂ B ×₃ C``; ``U = A ⊗ B (⊗ C)``.

    The kernel's axes count as one, of size ``∏ kernel``, in ``W`` and in ``v``. A factor is ``(axis of W, axis of v)``.
    With square factors (the default) ``v`` is as large as ``W`` and the pattern is a preconditioner; a smaller
    ``filter_shape`` makes ``v`` smaller than ``W`` and the pattern a true restriction. It holds a size for each factor,
    two or three in all, from 1 to that of the axis of ``W``.

    Init: square factors are identities, so that a new layer starts exactly as its ``torch.nn`` twin. Rectangular
    ones start, with ``"scaled"`` (default), as random orthogonal columns of squared length ``d / r``, which keeps the
    twin's weight variance, and with ``"reference"`` as the truncated identity ``eye(d, r)``.

    Raises: ConfigError for an unknown ``init``; ShapeError for a ``filter_shape`` that does not fit the weight.
    Source: arXiv:2007.02933, appendix A.
    """

    A: Tensor
    B: Tensor

    def __init__(
        self,
        weight_shape: Sequence[int],
        filter_shape: Sequence[int] | None = None,
        *,
        init: Init = "scaled",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ):
        check_init(init)
        modes = _modes(weight_shape)
        super().__init__(weight_shape, modes if filter_shape is None else filter_shape)
        if len(self.filter_shape) != len(modes) or any(
            not 1 <= r <= d for r, d in zip(self.filter_shape, modes, strict=False)
        ):
            raise ShapeError(
                f"filter_shape must have one size for each of the weight's axes {modes} (the kernel's axes count as "
                f"one), between 1 and that axis; got {self.filter_shape}"
            )
        self.modes = modes
        for name, d, r in zip("ABC", modes, self.filter_shape, strict=False):
            factor = torch.empty(d, r, device=device, dtype=dtype)
            if d == r or init == "reference":
                nn.init.eye_(factor)
            else:
                orthogonal_(factor, math.sqrt(d / r), generator)
            self.register_parameter(name, nn.Parameter(factor))

    @property
    def factors(self) -> tuple[Tensor, ...]:
        """``(A, B)`` for a linear weight, ``(A, B, C)`` for a convolution."""
        return tuple(getattr(self, name) for name in "ABC"[: len(self.modes)])

    @takes_arrays("v")
    def materialize(self, v: Tensor) -> Tensor:
        """``V ×₁ A ×₂ B (×₃ C)``: ``(..., *filter_shape) -> (..., *weight_shape)``."""
        self._check(v, self.filter_shape, "the filter v")
        weight = kron.apply_factors(self.factors, v)
        return weight.reshape(*v.shape[: v.ndim - len(self.modes)], *self.weight_shape)

    @takes_arrays("weight")
    def project(self, weight: Tensor) -> Tensor:
        """``W ×₁ A⁺ ×₂ B⁺ (×₃ C⁺)``: ``(..., *weight_shape) -> (..., *filter_shape)``."""
        self._check(weight, self.weight_shape, "the weight")
        lead = weight.shape[: weight.ndim - len(self.weight_shape)]
        return kron.solve_factors(self.factors, weight.reshape(*lead, *self.modes))

    @takes_arrays("v", "weight", "bias")
    @torch.no_grad()
    def residual_at(
        self,
        v: Float[Tensor, "*filter"],
        weight: Float[Tensor, "out in *kernel"],
        bias: Float[Tensor, " out"] | None = None,
    ) -> float:
        """As in :class:`Sharing`; exactly 0 for identity factors, with which every square pattern starts."""
        # On a wide layer, products with identities would cost more than the rest of a conversion.
        if all(map(kron.is_identity, self.factors)):
            return 0.0
        return super().residual_at(v, weight, bias)

    def matrix(self) -> Float[Tensor, "{self.n_weight} {self.n_filter}"]:
        """``A ⊗ B (⊗ C)``, built from the factors."""
        return kron.kron(*self.factors)

    def squared_norm(self) -> Float[Tensor, ""]:
        """``‖A‖² ‖B‖² (‖C‖²)``, since the norm of a Kronecker product is the product of the norms."""
        return torch.stack([factor.square().sum() for factor in self.factors]).prod()

    def weight_cost(self) -> int:
        """The cost of :meth:`materialize`: one product an axis, in the order of :func:`msr.kron.apply_factors`."""
        total = 0
        sizes = list(self.filter_shape)
        for axis, d in enumerate(self.modes):
            total += math.prod(sizes) * d
            sizes[axis] = d
        return total

    def linear_cost(self) -> PathCost | None:
        """The cost of three products for each row: with ``Bᵀ``, with ``V``, with ``A``.

        It is None for the weight of a convolution.
        """
        if len(self.modes) != 2:
            return None
        (r, s), (n_out, n_in) = self.filter_shape, self.modes
        return PathCost(n_in * s + s * r + r * n_out)

    def apply_linear(
        self, v: Float[Tensor, "r s"], x: Float[Tensor, "*batch in"], bias: Float[Tensor, " out"] | None
    ) -> Float[Tensor, "*batch out"]:
        """``A (V (Bᵀ x)) + bias``."""
        A, B = self.factors
        return linear(linear(linear(x, B.mT), v), A, bias)

    def convolution_cost(self, convolution: Convolution) -> PathCost | None:
        """The cost of mixing the channels before and after, and of a convolution between ``r`` and ``s`` inner
        channels.

        It is None for the weight of a linear layer, and for a convolution with groups.
        """
        # With groups, a factor would mix channels across the groups, which a grouped convolution cannot express.
        if len(self.modes) != 3 or convolution.groups != 1:
            return None
        r, s, t = self.filter_shape
        d_first, d_second, taps = self.modes
        # Pixels are counted on the side of the weight's first axis: that is the output, or the input of a transposed
        # convolution. The other side has ``step`` times as many.
        step = math.prod(convolution.stride)
        per_pixel = d_first * r + r * s * taps + d_second * s * step
        return PathCost(per_pixel, once=r * s * t * taps)

    def apply_convolution(
        self,
        v: Float[Tensor, "r s t"],
        x: Float[Tensor, "..."],
        bias: Float[Tensor, " out"] | None,
        convolution: Convolution,
    ) -> Float[Tensor, "..."]:
        """Mix the input channels by one factor, convolve with ``V ×₃ C``, mix the output channels by the other.

        ``A`` belongs to the weight's first axis: to the outputs, or to the inputs of a transposed convolution.
        """
        A, B, C = self.factors
        before, after = (A, B) if convolution.is_transposed else (B, A)
        core = (v @ C.mT).unflatten(-1, convolution.kernel_size)
        hidden = convolution.convolve(convolution.mix_channels(x, before.mT), core)
        return convolution.mix_channels(hidden, after, bias)


def _modes(weight_shape: Sequence[int]) -> tuple[int, ...]:
    """Sizes of the weight's axes, those of the kernel taken as one; a shape with one axis is refused by the base."""
    out, fan, *kernel = weight_shape if len(weight_shape) >= 2 else (*weight_shape, 1, 1)[:2]
    return (out, fan, math.prod(kernel)) if kernel else (out, fan)
