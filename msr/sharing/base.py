"""The contract of sharing patterns: the ``U`` of ``vec(W) = U v`` as an object that a layer can hold.

A pattern knows the shape of the weight ``W`` that it makes and of the filter ``v`` that it makes it from. Its
parameters are learned across tasks (the outer loop); the filter belongs to the layer and is fitted by each task (the
inner loop).

A pattern may also know how to be applied to data without building ``W``: see :meth:`Sharing.linear_cost`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ModelError, ShapeError
from msr.modules import PackageModule
from msr.sharing.application import Convolution, PathCost

__all__ = ["Sharing", "SharingFactory"]


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


class Sharing(PackageModule, ABC):
    """A linear map from filters to weights, ``vec(W) = U v``.

    A subclass gives four methods: ``materialize``, ``project``, ``matrix`` and ``squared_norm``. Layers then build
    ``W`` and call torch's own operation. A pattern that can be applied to data without building ``W`` says so by a pair
    of methods more: ``linear_cost`` with ``apply_linear``, ``convolution_cost`` with ``apply_convolution``.

    Attributes: ``weight_shape`` of ``W`` (torch's own: ``(out, in, *kernel)``), ``filter_shape`` of ``v``.
    The parameters of a pattern are learned in the outer loop (:func:`msr.meta.from_module`).
    """

    weight_shape: tuple[int, ...]
    filter_shape: tuple[int, ...]

    def __init__(self, weight_shape: Sequence[int], filter_shape: Sequence[int]):
        super().__init__()
        self.weight_shape = tuple(weight_shape)
        self.filter_shape = tuple(filter_shape)
        if len(self.weight_shape) < 2 or min(self.weight_shape) < 1:
            raise ShapeError(
                f"a weight shape needs at least two axes (out, in, ...), all positive; got {self.weight_shape}"
            )

    @abstractmethod
    @takes_arrays("v")
    def materialize(self, v: Tensor) -> Tensor:
        """The weight ``W = reshape(U v)``: ``(..., *filter_shape) -> (..., *weight_shape)``."""

    @abstractmethod
    @takes_arrays("weight")
    def project(self, weight: Tensor) -> Tensor:
        """Least squares ``argmin_v ‖U v − vec(W)‖``: ``(..., *weight_shape) -> (..., *filter_shape)``."""

    @abstractmethod
    def matrix(self) -> Float[Tensor, "{self.n_weight} {self.n_filter}"]:
        """``U`` itself, ``(numel(W), numel(v))``: to look at and to compare, not to compute with.

        It may be the pattern's own tensor, so it must not be changed in place.
        """

    @abstractmethod
    def squared_norm(self) -> Float[Tensor, ""]:
        """``‖U‖²_F``, a scalar, without building ``U``."""

    def weight_cost(self) -> int:
        """Multiplications that :meth:`materialize` takes for one filter; here those of a product with a full ``U``."""
        return self.n_weight * self.n_filter

    def linear_cost(self) -> PathCost | None:
        """What :meth:`apply_linear` costs a row of ``x``; None where the pattern cannot do without ``W``, as here.

        A layer with ``path="auto"`` compares this with ``numel(W)`` multiplications a row and :meth:`weight_cost` once.
        """
        return None

    def apply_linear(
        self, v: Float[Tensor, "*filter"], x: Float[Tensor, "*batch in"], bias: Float[Tensor, " out"] | None
    ) -> Float[Tensor, "*batch out"]:
        """``x Wᵀ + bias`` without building ``W``; called only where :meth:`linear_cost` gives a cost.

        It must be exactly this function of ``x``: layers with any pattern count as affine (:mod:`msr.equivariance`).
        Shapes: ``v filter_shape``, ``x (*, in)``, ``bias (out,)``; the result is ``(*, out)``.
        """
        raise ModelError(f"{type(self).__name__} gives a linear_cost, so it must define apply_linear")

    def convolution_cost(self, convolution: Convolution) -> PathCost | None:
        """What :meth:`apply_convolution` costs a pixel; None where the pattern cannot do without ``W``, as here.

        Pixels are counted in the output, or in the input of a transposed convolution. A layer with ``path="auto"``
        compares this with ``numel(W)`` multiplications a pixel and :meth:`weight_cost` once.
        """
        return None

    def apply_convolution(
        self,
        v: Float[Tensor, "*filter"],
        x: Float[Tensor, "..."],
        bias: Float[Tensor, " out"] | None,
        convolution: Convolution,
    ) -> Float[Tensor, "..."]:
        """The convolution of ``x`` with ``W``, plus the bias, without building ``W``.

        Called only where :meth:`convolution_cost` gives a cost. It must be exactly this function of ``x``: layers with
        any pattern count as affine.
        Shapes: ``v filter_shape``, ``x ([N,] in, *space)``, ``bias (out,)``; the result is ``([N,] out, *space)``.
        """
        raise ModelError(f"{type(self).__name__} gives a convolution_cost, so it must define apply_convolution")

    @property
    def n_weight(self) -> int:
        """How many numbers the weight ``W`` has."""
        return math.prod(self.weight_shape)

    @property
    def n_filter(self) -> int:
        """How many numbers the filter ``v`` has, ``k``, which each task fits."""
        return math.prod(self.filter_shape)

    @property
    def n_shared(self) -> int:
        """How many numbers all tasks share: those of the pattern's parameters and buffers.

        Buffers are not learned, but count too, such as the orbit of each weight in :class:`~msr.sharing.GroupSharing`.
        """
        return sum(p.numel() for p in self.parameters()) + sum(b.numel() for b in self.buffers())

    def __prepare_scriptable__(self) -> "Sharing":  # called by torch.jit.script for every part of a network
        raise ModelError(
            "torch.jit.script cannot read a reparameterised layer; script what msr.layers.fold makes of the network"
        )

    @takes_arrays("bias")
    def share_bias(self, bias: Float[Tensor, " out"]) -> Float[Tensor, " out"]:
        """The bias that a layer with this pattern adds, from its free one ``(out,)``: here the free one itself."""
        return bias

    @property
    def ties_bias(self) -> bool:
        """Whether the pattern shares numbers of the bias too, so that :meth:`share_bias` may change it."""
        return type(self).share_bias is not Sharing.share_bias

    @takes_arrays("weight", "bias")
    def residual(self, weight: Float[Tensor, "out in *kernel"], bias: Float[Tensor, " out"] | None = None) -> float:
        """What the pattern cannot represent: ``min_v ‖U v − vec(W)‖ / ‖W‖``; units: none, from 0 to 1.

        With a bias, the larger of that and ``‖shared b − b‖ / ‖b‖``. A weight or bias of zeros counts as 0.
        Shapes: ``weight`` is ``weight_shape``, that is ``(out, in, *kernel)``; ``bias`` is ``(out,)``.
        """
        with torch.no_grad():
            return self.residual_at(self.project(weight), weight, bias)

    @takes_arrays("v", "weight", "bias")
    @torch.no_grad()
    def residual_at(
        self,
        v: Float[Tensor, "*filter"],
        weight: Float[Tensor, "out in *kernel"],
        bias: Float[Tensor, " out"] | None = None,
    ) -> float:
        """As :meth:`residual`, for a caller that has the projection ``v`` of the weight already.

        Shapes: ``v`` is ``filter_shape``, ``weight`` is ``(out, in, *kernel)``, ``bias`` is ``(out,)``.
        """
        pairs = [(self.materialize(v), weight)]
        if bias is not None:
            pairs.append((self.share_bias(bias), bias))
        # A weight of zeros is represented exactly: 0 over the smallest number is 0.
        tiny = torch.finfo(weight.dtype).tiny
        return max(float((kept - given).norm() / given.norm().clamp_min(tiny)) for kept, given in pairs)

    def initial_filter(self, generator: torch.Generator | None = None) -> Float[Tensor, "*filter"]:
        """A random filter for which the entries of ``W`` have the variance of torch's own layers, ``1 / (3 fan_in)``.

        ``fan_in`` is ``∏ weight_shape[1:]``.
        ``E‖U v‖² = ‖U‖²_F σ²``, so ``σ² = numel(W) / (3 fan_in ‖U‖²_F)``, drawn uniformly: with ``U = I`` this is
        exactly the distribution of a new ``nn.Linear`` or ``nn.Conv2d``.
        Shapes: the result is ``filter_shape``, on the pattern's device and in its precision, without a gradient.
        """
        with torch.no_grad():
            squared = self.squared_norm()
            if squared.is_meta:
                return torch.empty(self.filter_shape, device="meta", dtype=squared.dtype)
            # A uniform draw from [−b, b] has the variance b²/3, and numel(W) / fan_in is the number of outputs.
            tiny = torch.finfo(squared.dtype).tiny
            bound = float((self.weight_shape[0] / squared.clamp_min(tiny)).sqrt())
            v = torch.empty(self.filter_shape, device=squared.device, dtype=squared.dtype)
            return v.uniform_(-bound, bound, generator=generator)

    def extra_repr(self) -> str:
        """Shapes and counts, for ``print(model)``."""
        shapes = f"weight_shape={self.weight_shape}, filter_shape={self.filter_shape}"
        return f"{shapes}, n_shared={self.n_shared}, n_filter={self.n_filter}, n_weight={self.n_weight}"

    def _check(self, tensor: Tensor, wanted: tuple[int, ...], what: str) -> None:
        """Raise ShapeError unless the last axes of a tensor are ``wanted``; ``what`` is its name in the message."""
        if tensor.ndim < len(wanted) or tuple(tensor.shape[tensor.ndim - len(wanted) :]) != wanted:
            raise ShapeError(f"{what} must end in the shape {wanted}; got {tuple(tensor.shape)}")
