"""Sharing patterns: the ``U`` of ``vec(W) = U v`` as objects that a layer can hold.

A pattern knows the shape of the weight it makes and of the filter ``v`` it makes it from. Its parameters are learned
across tasks (the outer loop); the filter belongs to the layer and is fitted by each task (the inner loop).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from msr import kron
from msr.arrays import takes_arrays
from msr.errors import ConfigError, ModelError, ShapeError

__all__ = ["DenseSharing", "Init", "KroneckerSharing", "Sharing", "SharingFactory"]

Init = Literal["scaled", "reference"]
_INITS = ("scaled", "reference")


class SharingFactory(Protocol):
    """Anything that makes a pattern for a given weight shape: a class, or ``functools.partial(DenseSharing, k=3)``."""

    def __call__(
        self,
        weight_shape: Sequence[int],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> "Sharing":
        """The pattern for a weight ``(out, in, *kernel)``."""


class Sharing(nn.Module, ABC):
    """A linear map from filters to weights, ``vec(W) = U v``.

    Attributes: ``weight_shape`` of ``W`` (torch's own: ``(out, in, *kernel)``), ``filter_shape`` of ``v``.
    The engine recognises a pattern by ``is_sharing_pattern`` and learns its parameters in the outer loop.
    """

    is_sharing_pattern = True
    weight_shape: tuple[int, ...]
    filter_shape: tuple[int, ...]

    def __init__(self, weight_shape: Sequence[int], filter_shape: Sequence[int]):
        super().__init__()
        self.weight_shape, self.filter_shape = tuple(weight_shape), tuple(filter_shape)
        if len(self.weight_shape) < 2 or min(self.weight_shape) < 1:
            raise ShapeError(
                f"a weight shape needs at least two axes (out, in, ...), all positive; got {self.weight_shape}"
            )

    @abstractmethod
    @takes_arrays("v")
    def materialize(self, v: Tensor) -> Tensor:
        """The weight: ``(..., *filter_shape) -> (..., *weight_shape)``."""

    @abstractmethod
    @takes_arrays("weight")
    def project(self, weight: Tensor) -> Tensor:
        """Least squares ``argmin_v ‖U v − vec(W)‖``: ``(..., *weight_shape) -> (..., *filter_shape)``."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """``U`` itself, ``(numel(W), numel(v))``: to look at and to compare, not to compute with."""

    @abstractmethod
    def squared_norm(self) -> Tensor:
        """``‖U‖²_F``, without building ``U``."""

    @property
    def n_weight(self) -> int:
        """Numbers in the weight."""
        return math.prod(self.weight_shape)

    @property
    def n_filter(self) -> int:
        """Numbers that each task fits, ``k``."""
        return math.prod(self.filter_shape)

    @property
    def n_shared(self) -> int:
        """Numbers that all tasks share."""
        return sum(p.numel() for p in self.parameters()) + sum(b.numel() for b in self.buffers())

    def __prepare_scriptable__(self) -> "Sharing":  # called by torch.jit.script for every part of a network
        raise ModelError(
            "torch.jit.script cannot read a reparameterised layer; script what msr.layers.fold makes of the network"
        )

    @takes_arrays("bias")
    def share_bias(self, bias: Tensor) -> Tensor:
        """The bias that a layer with this pattern adds, from its free one ``(out,)``: here the same."""
        return bias

    @takes_arrays("weight", "bias")
    def residual(self, weight: Tensor, bias: Tensor | None = None) -> float:
        """What the pattern cannot represent: ``min_v ‖U v − vec(W)‖ / ‖W‖``; units: none, from 0 to 1.

        With a bias, the larger of that and ``‖shared b − b‖ / ‖b‖``.
        """
        with torch.no_grad():
            return self._residual_of(self.project(weight), weight, bias)

    def _residual_of(self, v: Tensor, weight: Tensor, bias: Tensor | None) -> float:
        """:meth:`residual`, where the projection is known already."""
        lost = [(self.materialize(v), weight)]
        if bias is not None:
            lost.append((self.share_bias(bias), bias))
        tiny = torch.finfo(weight.dtype).tiny
        return max(float((kept - given).norm() / given.norm().clamp_min(tiny)) for kept, given in lost)

    def initial_filter(self, generator: torch.Generator | None = None) -> Tensor:
        """A random filter for which the entries of ``W`` have the variance of torch's own layers, ``1 / (3 fan_in)``.

        ``E‖U v‖² = ‖U‖²_F σ²``, so ``σ² = numel(W) / (3 fan_in ‖U‖²_F)``, drawn uniformly: with ``U = I`` this is
        exactly the distribution of a new ``nn.Linear`` or ``nn.Conv2d``.
        """
        with torch.no_grad():
            squared = self.squared_norm()
            if squared.is_meta:
                return torch.empty(self.filter_shape, device="meta", dtype=squared.dtype)
            tiny = torch.finfo(squared.dtype).tiny
            bound = float((self.weight_shape[0] / squared.clamp_min(tiny)).sqrt())
            v = torch.empty(self.filter_shape, device=squared.device, dtype=squared.dtype)
            return v.uniform_(-bound, bound, generator=generator)

    def extra_repr(self) -> str:
        """Shapes and counts, for ``print(model)``."""
        shapes = f"weight_shape={self.weight_shape}, filter_shape={self.filter_shape}"
        return f"{shapes}, n_shared={self.n_shared}, n_filter={self.n_filter}, n_weight={self.n_weight}"

    def _check(self, tensor: Tensor, wanted: tuple[int, ...], what: str) -> None:
        if tensor.ndim < len(wanted) or tuple(tensor.shape[tensor.ndim - len(wanted) :]) != wanted:
            raise ShapeError(f"{what} must end in the shape {wanted}, but came {tuple(tensor.shape)}")


class DenseSharing(Sharing):
    """A full matrix ``U`` of shape ``(numel(W), k)``: any linear sharing pattern, at ``numel(W) · k`` numbers.

    Init: ``"scaled"`` (default) makes the ``k`` columns orthogonal with squared length ``out / (3 k)``, so that every
    direction of ``v`` moves the weight equally and ``W`` starts with the variance of ``nn.Linear``. ``"reference"``
    is the paper's code, ``U ~ N(0, 0.01²)`` and ``v ~ N(0, 1/out²)``: both factors start near zero, a saddle of
    ``U v`` where each one's gradient is the size of the other, so the first hundreds of steps hardly move.
    Source: arXiv:2007.02933, section 4.1.
    """

    is_plain = True  # calls nothing of torch that meta-learning needs in another form
    U: Tensor

    def __init__(
        self,
        weight_shape: Sequence[int],
        k: int,
        *,
        init: Init = "scaled",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ):
        _check_init(init)
        super().__init__(weight_shape, (k,))
        if not 1 <= k <= self.n_weight:
            raise ShapeError(
                f"k must be between 1 and the {self.n_weight} numbers of a weight {self.weight_shape}; got {k}"
            )
        self.init = init
        self.U = nn.Parameter(torch.empty(self.n_weight, k, device=device, dtype=dtype))
        with torch.no_grad():
            if init == "reference":
                self.U.normal_(std=0.01, generator=generator)
            else:
                _orthogonal_(self.U, math.sqrt(self.weight_shape[0] / (3 * k)), generator)

    @classmethod
    @takes_arrays("U")
    def from_matrix(cls, U: Tensor, weight_shape: Sequence[int], *, learn: bool = True) -> "DenseSharing":
        """A pattern with the given ``U (numel(W), k)``; with ``learn=False`` it is a constant (an oracle)."""
        if U.ndim != 2 or U.shape[0] != math.prod(weight_shape):
            raise ShapeError(
                f"U must be ({math.prod(weight_shape)}, k) for a weight {tuple(weight_shape)}; got {tuple(U.shape)}"
            )
        pattern = cls(weight_shape, U.shape[1], init="reference", device="meta", dtype=U.dtype)
        pattern.init = "scaled"  # how a filter for it is drawn; U itself is given
        if learn:
            pattern.U = nn.Parameter(U.detach().clone())
        else:
            del pattern.U
            pattern.register_buffer("U", U.detach().clone())
        return pattern

    @takes_arrays("v")
    def materialize(self, v: Tensor) -> Tensor:
        """``reshape(U v)``."""
        self._check(v, self.filter_shape, "the filter v")
        return kron.unvec(v @ self.U.mT, self.weight_shape)

    @takes_arrays("weight")
    def project(self, weight: Tensor) -> Tensor:
        """``U⁺ vec(W)``."""
        self._check(weight, self.weight_shape, "the weight")
        return kron.vec(weight, len(self.weight_shape)) @ kron.pinv(self.U).mT

    def matrix(self) -> Tensor:
        """``U``."""
        return self.U

    def squared_norm(self) -> Tensor:
        """``‖U‖²_F``."""
        return self.U.square().sum()

    def initial_filter(self, generator: torch.Generator | None = None) -> Tensor:
        """As in :class:`Sharing`; with ``init="reference"`` the reference's ``N(0, 1/out²)``."""
        if self.init == "scaled":
            return super().initial_filter(generator)
        v = torch.empty(self.filter_shape, device=self.U.device, dtype=self.U.dtype)
        return v.normal_(std=1 / self.weight_shape[0], generator=generator)


class KroneckerSharing(Sharing):
    """One factor a weight axis: linear ``W = A V Bᵀ``, convolution ``W = V ×₁ A ×₂ B ×₃ C``; ``U = A ⊗ B (⊗ C)``.

    The kernel's axes count as one, of size ``∏ kernel``. A factor is ``(axis of W, axis of v)``. With square factors
    (the default) ``v`` is as large as ``W`` and the pattern is a preconditioner; a smaller ``filter_shape`` makes
    ``v`` smaller than ``W`` and the pattern a true restriction.

    Init: square factors are identities, so that a new layer starts exactly as its ``torch.nn`` twin. Rectangular
    ones start, with ``"scaled"`` (default), as random orthogonal columns of squared length ``d / r``, which keeps the
    twin's weight variance, and with ``"reference"`` as the truncated identity ``eye(d, r)``.
    Source: arXiv:2007.02933, appendix A.
    """

    is_plain = True  # calls nothing of torch that meta-learning needs in another form
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
        _check_init(init)
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
                _orthogonal_(factor, math.sqrt(d / r), generator)
            self.register_parameter(name, nn.Parameter(factor))

    @property
    def factors(self) -> tuple[Tensor, ...]:
        """``(A, B)`` for a linear weight, ``(A, B, C)`` for a convolution."""
        return tuple(getattr(self, name) for name in "ABC"[: len(self.modes)])

    @takes_arrays("v")
    def materialize(self, v: Tensor) -> Tensor:
        """``V ×₁ A ×₂ B (×₃ C)``."""
        self._check(v, self.filter_shape, "the filter v")
        weight = kron.apply_factors(self.factors, v)
        return weight.reshape(*v.shape[: v.ndim - len(self.modes)], *self.weight_shape)

    @takes_arrays("weight")
    def project(self, weight: Tensor) -> Tensor:
        """``W ×₁ A⁺ ×₂ B⁺ (×₃ C⁺)``."""
        self._check(weight, self.weight_shape, "the weight")
        lead = weight.shape[: weight.ndim - len(self.weight_shape)]
        return kron.solve_factors(self.factors, weight.reshape(*lead, *self.modes))

    def _residual_of(self, v: Tensor, weight: Tensor, bias: Tensor | None) -> float:
        """Identities, the start of square factors, are passed over: on a wide layer they cost more than all else."""
        if all(map(kron.is_identity, self.factors)):
            return 0.0
        return super()._residual_of(v, weight, bias)

    def matrix(self) -> Tensor:
        """``A ⊗ B (⊗ C)``."""
        return kron.kron(*self.factors)

    def squared_norm(self) -> Tensor:
        """``‖A‖² ‖B‖² (‖C‖²)``."""
        return torch.stack([factor.square().sum() for factor in self.factors]).prod()


def _modes(weight_shape: Sequence[int]) -> tuple[int, ...]:
    out, fan, *kernel = weight_shape if len(weight_shape) >= 2 else (*weight_shape, 1, 1)[:2]
    return (out, fan, math.prod(kernel)) if kernel else (out, fan)


def _orthogonal_(matrix: Tensor, gain: float, generator: torch.Generator | None) -> None:
    """Orthogonal columns of length ``gain``, in place; half precisions, which QR does not know, go through float32."""
    if matrix.is_meta:
        return
    lifted = matrix.float() if matrix.dtype in (torch.float16, torch.bfloat16) else matrix
    nn.init.orthogonal_(lifted, gain=gain, generator=generator)
    matrix.copy_(lifted)


def _check_init(init: str) -> None:
    if init not in _INITS:
        raise ConfigError(f"init must be one of {', '.join(_INITS)}; got {init!r}")
