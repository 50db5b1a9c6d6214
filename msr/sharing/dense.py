"""The general sharing pattern: ``U`` is a full matrix."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from msr import kron
from msr.arrays import takes_arrays
from msr.errors import ShapeError
from msr.sharing.application import PathCost, apply_matrix
from msr.sharing.base import Sharing
from msr.sharing.starts import Init, check_init, orthogonal_

__all__ = ["DenseSharing"]


class DenseSharing(Sharing, plain=True):
    """A full matrix ``U`` of shape ``(numel(W), k)``: any linear sharing pattern, at ``numel(W) · k`` numbers.

    Init: ``"scaled"`` (default) makes the ``k`` columns orthogonal with squared length ``out / (3 k)``, so that every
    direction of ``v`` moves the weight equally and ``W`` starts with the variance of ``nn.Linear``. ``"reference"``
    is the paper's code, ``U ~ N(0, 0.01²)`` and ``v ~ N(0, 1/out²)``. There both factors start near zero, which is a
    saddle of ``U v``: the gradient of each factor is as small as the other factor, so the first hundreds of steps
    hardly move.

    Raises: ConfigError for an unknown ``init``; ShapeError unless ``1 ≤ k ≤ numel(W)``.
    Source: arXiv:2007.02933, section 4.1.
    """

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
        check_init(init)
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
                orthogonal_(self.U, math.sqrt(self.weight_shape[0] / (3 * k)), generator)

    @classmethod
    @takes_arrays("U")
    def from_matrix(
        cls, U: Float[Tensor, "numel k"], weight_shape: Sequence[int], *, learn: bool = True
    ) -> "DenseSharing":
        """A pattern with a copy of the given ``U (numel(W), k)``; with ``learn=False`` it is a constant (an oracle).

        The constant is a buffer. Filters for either start as with ``init="scaled"``, by the norm of the given ``U``.

        Raises: ShapeError when ``U`` has another number of rows than the weight has entries, or more columns than rows.
        """
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
    def materialize(self, v: Float[Tensor, "*lead {self.n_filter}"]) -> Float[Tensor, "..."]:
        """``reshape(U v)``: ``(..., k) -> (..., *weight_shape)``."""
        self._check(v, self.filter_shape, "the filter v")
        return kron.unvec(v @ self.U.mT, self.weight_shape)

    @takes_arrays("weight")
    def project(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "*lead {self.n_filter}"]:
        """``U⁺ vec(W)``: ``(..., *weight_shape) -> (..., k)``."""
        self._check(weight, self.weight_shape, "the weight")
        return kron.vec(weight, len(self.weight_shape)) @ kron.pinv(self.U).mT

    def matrix(self) -> Float[Tensor, "{self.n_weight} {self.n_filter}"]:
        """``U (numel(W), k)``, the parameter itself."""
        return self.U

    def squared_norm(self) -> Float[Tensor, ""]:
        """``‖U‖²_F``, from the entries."""
        return self.U.square().sum()

    def linear_cost(self) -> PathCost | None:
        """The cost of the products ``U x`` and then ``(U x) v`` for each row.

        It is None for the weight of a convolution.
        """
        n_out, n_in = self.weight_shape[:2]
        return PathCost((n_in + 1) * n_out * self.n_filter) if len(self.weight_shape) == 2 else None

    def apply_linear(
        self, v: Float[Tensor, " k"], x: Float[Tensor, "*batch in"], bias: Float[Tensor, " out"] | None
    ) -> Float[Tensor, "*batch out"]:
        """``y[i] = Σ_k (Σ_j U[i, j, k] x[j]) v[k] + bias[i]``."""
        n_out, n_in = self.weight_shape
        return apply_matrix(self.U, v, x, bias, (n_out, n_in))

    def initial_filter(self, generator: torch.Generator | None = None) -> Float[Tensor, " {self.n_filter}"]:
        """As in :class:`Sharing`; with ``init="reference"`` a draw from ``N(0, 1/out²)``, as in the paper's code."""
        if self.init == "scaled":
            return super().initial_filter(generator)
        v = torch.empty(self.filter_shape, device=self.U.device, dtype=self.U.dtype)
        return v.normal_(std=1 / self.weight_shape[0], generator=generator)
