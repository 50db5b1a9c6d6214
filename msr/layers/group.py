"""The exact sharing pattern of a known group: a layer with it is equivariant, and an oracle for the learned one."""

import torch
from torch import Tensor

from msr import kron
from msr.errors import ConfigError, ShapeError
from msr.layers.sharing import Sharing
from msr.representations import Representation, equivariant_basis, trivial

__all__ = ["GroupSharing"]


class GroupSharing(Sharing):
    """``U`` such that ``W = reshape(U v)`` runs over *all* equivariant weights, ``ρ_out(g) W = W ρ_in(g)``.

    For permutation representations every weight is one of the ``k`` numbers of ``v`` (``U`` holds zeros and ones, and
    is never built); otherwise ``U`` has orthonormal columns. Nothing here is learned.

    Args:
        rep_in: acts on the inputs of a linear layer, or on the input channels of a convolution.
        rep_out: the same for outputs.
        kernel: for a convolution, how the group acts on the positions of the kernel, for example
            ``grid_rotations((3, 3))``; the weight is then ``(out, in, *kernel.shape)`` with
            ``W(g·p) = ρ_out(g) W(p) ρ_in(g)⁻¹``. Translation is the convolution's own affair: with circular padding, or
            away from the boundary, the layer is equivariant to shifts and to the group.

    A bias is averaged over the group, since only an invariant one keeps the layer equivariant.
    Raises: ConfigError when the groups differ, or when no map but zero is equivariant.
    Source: arXiv:2007.02933, Proposition 1, and its converse; orbits on pairs as in arXiv:1702.08389.

    >>> layer = ReparamLinear(8, 8, sharing=GroupSharing(regular(cyclic(8)), regular(cyclic(8))))
    """

    counts: Tensor
    bias_basis: Tensor
    labels: Tensor
    U: Tensor

    def __init__(
        self,
        rep_in: Representation,
        rep_out: Representation,
        kernel: Representation | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        domain = rep_in if kernel is None else rep_in * kernel
        basis = equivariant_basis(domain, rep_out)
        if basis.dim == 0:
            raise ConfigError(f"only the zero map is equivariant from {domain} to {rep_out}: there is nothing to share")
        spatial = () if kernel is None else kernel.shape
        super().__init__((rep_out.dim, rep_in.dim, *spatial), (basis.dim,))
        self.rep_in, self.rep_out, self.kernel = rep_in, rep_out, kernel
        kind = {"device": device, "dtype": dtype or torch.get_default_dtype()}
        if basis.labels is not None:
            labels = basis.labels.flatten()
            self.register_buffer("labels", labels.to(device))
            self.register_buffer("counts", torch.bincount(labels, minlength=basis.dim).to(**kind))  # type: ignore[call-overload]
        else:
            assert basis.dense is not None
            self.register_buffer("U", basis.dense.to(**kind))  # type: ignore[call-overload]
            self.register_buffer("counts", torch.ones(basis.dim, **kind))  # type: ignore[arg-type]
        invariant = equivariant_basis(trivial(rep_out.group), rep_out.reshape(rep_out.dim)).orthonormal()
        self.register_buffer("bias_basis", invariant.to(**kind))  # type: ignore[call-overload]

    @property
    def is_labelled(self) -> bool:
        """Whether every weight is one entry of ``v``."""
        return "labels" in self._buffers

    def materialize(self, v: Tensor) -> Tensor:
        """``v[labels]``, or ``reshape(U v)``."""
        self._check(v, self.filter_shape, "the filter v")
        flat = v.index_select(-1, self.labels) if self.is_labelled else v @ self.U.mT
        return kron.unvec(flat, self.weight_shape)

    def project(self, weight: Tensor) -> Tensor:
        """The nearest equivariant weight's ``v``: means over shared weights."""
        self._check(weight, self.weight_shape, "the weight")
        flat = kron.vec(weight, len(self.weight_shape))
        if not self.is_labelled:
            return flat @ self.U
        sums = flat.new_zeros(*flat.shape[:-1], self.n_filter).index_add(-1, self.labels, flat)
        return sums / self.counts.to(flat.dtype)

    def matrix(self) -> Tensor:
        """``U (numel(W), k)``, built for labelled patterns."""
        if not self.is_labelled:
            return self.U
        return torch.nn.functional.one_hot(self.labels, self.n_filter).to(self.counts.dtype)

    def squared_norm(self) -> Tensor:
        """``‖U‖²_F``."""
        return self.counts.sum()

    def share_bias(self, bias: Tensor) -> Tensor:
        """``(1/|G|) Σ_g ρ_out(g) b``."""
        if bias.shape != (self.weight_shape[0],):
            raise ShapeError(f"the bias must be ({self.weight_shape[0]},); came {tuple(bias.shape)}")
        basis = self.bias_basis.to(bias.dtype)
        return basis @ (basis.mT @ bias)
