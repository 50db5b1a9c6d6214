"""The exact sharing pattern of a known group: a layer with it is equivariant, and an oracle for the learned one."""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from msr import kron
from msr.arrays import takes_arrays
from msr.errors import ConfigError, ShapeError
from msr.permutations import orbit_means
from msr.representations import (
    AnyRepresentation,
    LieRepresentation,
    Representation,
    equivariant_basis,
    tensor_product,
    trivial,
)
from msr.sharing.application import PathCost, apply_matrix
from msr.sharing.base import Sharing

__all__ = ["GroupSharing"]


class GroupSharing(Sharing):
    """``U`` such that ``W = reshape(U v)`` runs over *all* equivariant weights, ``ρ_out(g) W = W ρ_in(g)``.

    For permutation representations every weight is one of the ``k`` numbers of ``v``: ``U`` holds zeros and ones, and
    is not built. Otherwise ``U`` has orthonormal columns. Nothing here is learned.

    Args:
        rep_in: acts on the inputs of a linear layer, or on the input channels of a convolution.
        rep_out: the same for outputs.
        kernel: for a convolution, how the group acts on the positions of the kernel, for example
            ``grid_rotations((3, 3))``; the weight is then ``(out, in, *kernel.shape)`` with
            ``W(g·p) = ρ_out(g) W(p) ρ_in(g)⁻¹``. The convolution itself is equivariant to shifts, so with circular
            padding, or away from the boundary, the layer is equivariant to shifts and to the group.

    A bias is replaced by the nearest invariant one, for orthogonal actions its mean over the group: any other would
    break the symmetry. A saved layer loads only into one with the same representations.

    Attributes (buffers):
        labels, U: only one of the two is there: for permutations ``labels (numel(W),)``, the entry of ``v`` that each
            weight is; else ``U (numel(W), k)``.
        bias_labels, bias_basis: the same for the bias: ``(out,)`` or ``(out, k_bias)``.
        unit: a one, whose precision and device are those of the pattern.

    Raises: ConfigError when the groups differ, or when no map but zero is equivariant.
    Source: arXiv:2007.02933, Proposition 1, and its converse; orbits on pairs as in arXiv:1702.08389.

    >>> layer = ReparamLinear(8, 8, sharing=GroupSharing(regular(cyclic(8)), regular(cyclic(8))))
    """

    U: Tensor
    bias_basis: Tensor
    unit: Tensor
    labels: Tensor
    bias_labels: Tensor

    def __init__(
        self,
        rep_in: AnyRepresentation,
        rep_out: AnyRepresentation,
        kernel: Representation | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        domain = rep_in if kernel is None else tensor_product(rep_in, kernel)  # type: ignore[arg-type]
        basis = equivariant_basis(domain, rep_out)
        if basis.dim == 0:
            raise ConfigError(f"only the zero map is equivariant from {domain} to {rep_out}: there is nothing to share")
        spatial = () if kernel is None else kernel.shape
        super().__init__((rep_out.dim, rep_in.dim, *spatial), (basis.dim,))
        self.rep_in, self.rep_out, self.kernel = rep_in, rep_out, kernel
        invariant = equivariant_basis(trivial(rep_out.group), rep_out.reshape(rep_out.dim))
        self._n_bias = invariant.dim
        # The exact basis and labels are kept beside the buffers. So a layer that was moved to half precision and back
        # is as exact as before, and one that was on the meta device, which holds no numbers, gets its labels again.
        self._exact = {
            name: tensor
            for name, tensor in {
                "labels": basis.labels,
                "U": basis.dense,
                "bias_labels": invariant.labels,
                "bias_basis": invariant.dense,
            }.items()
            if tensor is not None
        }
        self.register_buffer("unit", torch.ones((), device=device, dtype=dtype), persistent=False)
        for name in self._exact:
            # A null space has many orthonormal bases, and which one the solver returns may differ between machines. A
            # filter means something only in its own basis, so a saved layer keeps the basis beside the filter.
            self.register_buffer(name, None, persistent=name == "U")
        self._restore()

    def _restore(self) -> None:
        """Set the buffers from the exact tensors, in the precision and on the device that ``unit`` has now."""
        for name, exact in self._exact.items():
            floats = exact.is_floating_point()
            setattr(self, name, exact.to(self.unit, copy=True) if floats else exact.flatten().to(self.unit.device))

    @property
    def is_labelled(self) -> bool:
        """Whether every weight is one entry of ``v``, as for permutation representations: that of its label."""
        return "labels" in self._buffers

    @takes_arrays("v")
    def materialize(self, v: Float[Tensor, "*lead {self.n_filter}"]) -> Float[Tensor, "..."]:
        """``v[labels]``, or ``reshape(U v)``: ``(..., k) -> (..., *weight_shape)``."""
        self._check(v, self.filter_shape, "the filter v")
        flat = v.index_select(-1, self.labels) if self.is_labelled else v @ self.U.mT
        return kron.unvec(flat, self.weight_shape)

    @takes_arrays("weight")
    def project(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "*lead {self.n_filter}"]:
        """The filter of the nearest equivariant weight: means over shared weights, or ``Uᵀ vec(W)``.

        Shapes: ``(..., *weight_shape) -> (..., k)``.
        """
        self._check(weight, self.weight_shape, "the weight")
        flat = kron.vec(weight, len(self.weight_shape))
        return orbit_means(flat, self.labels, self.n_filter) if self.is_labelled else flat @ self.U

    def matrix(self) -> Float[Tensor, "{self.n_weight} {self.n_filter}"]:
        """``U (numel(W), k)``; for labelled patterns it is built at each call."""
        if not self.is_labelled:
            return self.U
        return torch.nn.functional.one_hot(self.labels, self.n_filter).to(self.unit.dtype)

    def squared_norm(self) -> Float[Tensor, ""]:
        """``‖U‖²_F``: a one for each weight of a labelled pattern, else the number of orthonormal columns."""
        return self.unit * (self.n_weight if self.is_labelled else self.n_filter)

    def weight_cost(self) -> int:
        """The cost of :meth:`materialize`: a lookup for each weight of a labelled pattern, else the product ``U v``."""
        return self.n_weight if self.is_labelled else super().weight_cost()

    def linear_cost(self) -> PathCost | None:
        """The cost of the products ``U x`` and then ``(U x) v`` for each row; None for the weight of a convolution.

        A labelled pattern builds ``U`` first. So for it, whose weight is a lookup, this is never the cheaper way.
        """
        if len(self.weight_shape) != 2:
            return None
        n_out, n_in = self.weight_shape
        return PathCost(
            (n_in + 1) * n_out * self.n_filter, once=self.n_weight * self.n_filter if self.is_labelled else 0
        )

    def apply_linear(
        self, v: Float[Tensor, " k"], x: Float[Tensor, "*batch in"], bias: Float[Tensor, " out"] | None
    ) -> Float[Tensor, "*batch out"]:
        """``y[i] = Σ_k (Σ_j U[i, j, k] x[j]) v[k] + bias[i]``."""
        n_out, n_in = self.weight_shape
        return apply_matrix(self.matrix(), v, x, bias, (n_out, n_in))

    def initial_filter(self, generator: torch.Generator | None = None) -> Float[Tensor, " {self.n_filter}"]:
        """As in :class:`Sharing`, but ``‖U‖²_F`` is a Python number here, since half precision may not hold it."""
        bound = math.sqrt(self.weight_shape[0] / (self.n_weight if self.is_labelled else self.n_filter))
        v = torch.empty(self.filter_shape, device=self.unit.device, dtype=self.unit.dtype)
        return v if v.is_meta else v.uniform_(-bound, bound, generator=generator)

    @takes_arrays("bias")
    def share_bias(self, bias: Float[Tensor, " out"]) -> Float[Tensor, " out"]:
        """The nearest invariant bias ``(out,)``; zero where no other is invariant.

        For orthogonal actions that is the mean over the group, ``(1/|G|) Σ_g ρ_out(g) b``.
        Raises: ShapeError for a bias of another shape.
        """
        if bias.shape != (self.weight_shape[0],):
            raise ShapeError(f"the bias must be ({self.weight_shape[0]},); got {tuple(bias.shape)}")
        if "bias_labels" in self._buffers:
            return orbit_means(bias, self.bias_labels, self._n_bias).index_select(0, self.bias_labels)
        basis = self.bias_basis.to(bias.dtype)
        return basis @ (basis.mT @ bias)

    def get_extra_state(self) -> Int[Tensor, "12"]:
        """A digest of the representations, saved beside the filter and compared when the filter is loaded.

        It is a tensor of whole numbers ``(12,)``, so that code which treats every value of a ``state_dict`` alike
        (copies, averages over checkpoints) works on this one too.
        """
        return torch.tensor(list(self._fingerprint()), dtype=torch.int64)

    def set_extra_state(self, state: Tensor | str) -> None:
        """Check by the digest ``(12,)`` that a saved filter belongs to this pattern's representations.

        Averages of equal states equal them up to rounding, so the numbers are rounded first. Files of older versions
        hold the digest as a text.
        Raises: ConfigError when the filter was saved with other representations.
        """
        saved = bytes.fromhex(state) if isinstance(state, str) else bytes(state.double().round().long().tolist())
        if saved != self._fingerprint():
            raise ConfigError(
                f"the saved filter belongs to other representations than {self.rep_in} and {self.rep_out}; build the "
                "layer with those it was saved with"
            )

    def _fingerprint(self) -> bytes:
        """Twelve bytes that tell the representations apart, the same on every machine."""
        digest = hashlib.blake2b(digest_size=12)
        for rep in (self.rep_in, self.rep_out, self.kernel):
            if rep is not None:
                # Six decimals are the same on machines that round differently; adding 0 turns −0 into 0, whose bytes
                # differ.
                rounded = np.round(np.asarray(_moves(rep), dtype=np.float64), 6) + 0.0
                digest.update(repr(rep.shape).encode() + rounded.tobytes())
        return digest.digest()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "GroupSharing":
        """Move or convert the pattern in place, as ``to`` and ``double`` do, with tensors made anew from the exact
        ones.
        """
        super()._apply(fn, recurse)
        self.unit = torch.ones_like(self.unit)
        self._restore()
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load a state in place.

        Where the state holds a basis ``U``, the pattern's basis is turned within its span to the saved one.
        """
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if f"{prefix}U" in state_dict and not self.U.is_meta:
            # The saved basis may have been rounded. It spans what the exact one spans, so only the rotation between
            # the two is taken from it: the orthogonal factor of their product (orthogonal Procrustes problem).
            exact = self._exact["U"]
            saved = state_dict[f"{prefix}U"].detach().double().cpu()
            from_left, _, from_right = torch.linalg.svd(exact.mT @ saved)
            self._exact["U"] = exact @ (from_left @ from_right)
            self._restore()


def _moves(rep: AnyRepresentation) -> Any:
    """The numbers that define a representation, as an array.

    These are its matrices for a Lie algebra; all permutations where the group lists its elements, else those of its
    generators; else the matrices of discrete generators, and of infinitesimal ones after them.
    """
    if isinstance(rep, LieRepresentation):
        return rep.matrices
    if rep.is_permutation:
        return rep.permutations if rep.group.is_listed else rep.generator_moves()
    generators = [rep.matrix(g) for g in rep.group.discrete]
    discrete = torch.stack(generators).numpy() if generators else np.zeros(0)
    if rep.group.algebra_dim == 0:
        return discrete
    return np.concatenate([discrete.ravel(), rep.infinitesimal().numpy().ravel()])
