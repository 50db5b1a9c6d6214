"""Equivariant problems for any finite group and any pair of representations, with the truth attached."""

from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ConfigError
from msr.groups import FiniteGroup
from msr.representations import EquivariantBasis, Representation, equivariant_basis
from msr.tasks.linear import LinearTasks

__all__ = ["FiniteGroupTasks", "Truth"]

# E σ(z)² for a standard normal z: 1/2 for relu by symmetry; for tanh by numerical integration.
_MEAN_SQUARE = {"relu": 0.5, "tanh": 0.3943}


@dataclass(frozen=True, eq=False)
class Truth:
    """The hidden structure that a family was made with.

    Attributes:
        group: the hidden group.
        representations: how it acts before the first layer, between the layers, and after the last: one more than
            layers.
        spans: each layer's sharing pattern ``(out · in, k)``, orthonormal columns, float64.
    """

    group: FiniteGroup
    representations: tuple[Representation, ...]
    spans: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class FiniteGroupTasks(LinearTasks):
    """``y = W x + noise`` with ``W`` uniform in direction among all equivariant maps, ``ρ_out(g) W = W ρ_in(g)``.

    With a ``hidden`` representation there are two layers, ``y = c W₂ σ(W₁ x) + noise``, each an equivariant map of its
    own; the constant makes the mean square of ``y`` about 1, exactly 1 for one layer.

    Shapes: ``x (tasks, examples, *rep_in.shape)``, ``y (tasks, examples, *rep_out.shape)``.
    Args: ``nonlinearity``: σ, relu or tanh, for two layers. The rest as in :class:`LinearTasks`. ``bases``, which
    cannot be given, are the equivariant maps of each layer.
    Raises: ConfigError when no map but zero is equivariant, or when σ does not commute with the hidden representation
    (relu needs a permutation representation, tanh a signed one).
    """

    rep_in: Representation
    rep_out: Representation
    hidden: Representation | None = None
    nonlinearity: Literal["relu", "tanh"] = "relu"
    bases: tuple[EquivariantBasis, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nonlinearity not in _MEAN_SQUARE:
            raise ConfigError(f"nonlinearity must be relu or tanh; got {self.nonlinearity!r}")
        if self.hidden is not None:
            fits = self.hidden.is_permutation if self.nonlinearity == "relu" else self.hidden.is_signed_permutation
            if not fits:
                kind = "permutation" if self.nonlinearity == "relu" else "signed permutation"
                raise ConfigError(
                    f"{self.nonlinearity} acts on each number alone, so the hidden representation must be a {kind} "
                    f"one; {self.hidden} is not, and the tasks would not be equivariant"
                )
        chain = self._chain()
        bases = tuple(equivariant_basis(a, b) for a, b in pairwise(chain))
        for basis in bases:
            if basis.dim == 0:
                raise ConfigError(f"only the zero map is equivariant from {basis.rep_in} to {basis.rep_out}")
        object.__setattr__(self, "bases", bases)

    @property
    def group(self) -> FiniteGroup:
        """The hidden group, that of ``rep_in``."""
        return self.rep_in.group

    @property
    def shape_in(self) -> tuple[int, ...]:
        """The shape of one input: that of ``rep_in``."""
        return self.rep_in.shape

    @property
    def shape_out(self) -> tuple[int, ...]:
        """The shape of one output: that of ``rep_out``."""
        return self.rep_out.shape

    @property
    def n_free(self) -> int:
        """How many free numbers a task has: the dimensions of the layers' spaces of equivariant maps, added up."""
        return sum(basis.dim for basis in self.bases)

    @property
    def truth(self) -> Truth:
        """The hidden group, its representations, and the span of each layer; computed anew at each call."""
        return Truth(self.group, self._chain(), tuple(basis.orthonormal() for basis in self.bases))

    def true_span(self) -> Tensor | None:
        """``U`` of a one-layer family, ``(out · in, k)``, orthonormal; None for two layers (see :attr:`truth`)."""
        return self.bases[0].orthonormal() if len(self.bases) == 1 else None

    @takes_arrays("free")
    def weights_from(self, free: Tensor) -> tuple[Tensor, ...]:
        """Each layer's ``W = U v (tasks, out, in)`` with ``E‖W‖² = out``, from standard normal numbers
        ``(tasks, n_free)``, those of the first layer first.
        """
        parts = free.split([basis.dim for basis in self.bases], dim=1)
        return tuple(_weight(basis, v) for basis, v in zip(self.bases, parts, strict=True))

    @takes_arrays("x")
    def respond(self, weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Noise-free outputs ``(tasks, examples, out)``: ``W x``, or ``c W₂ σ(W₁ x)`` with ``c`` for a mean square of
        about 1.

        ``weights``: one or two matrices ``(tasks, out, in)``; ``x (tasks, examples, in)``, flattened.
        """
        if len(weights) == 1:
            return x @ weights[0].mT
        hidden = x @ weights[0].mT
        active = hidden.relu() if self.nonlinearity == "relu" else hidden.tanh()
        return active @ weights[1].mT / sqrt(_MEAN_SQUARE[self.nonlinearity])

    def _chain(self) -> tuple[Representation, ...]:
        """The representations on inputs, on hidden numbers where there are two layers, and on outputs."""
        return (self.rep_in, self.rep_out) if self.hidden is None else (self.rep_in, self.hidden, self.rep_out)


def _weight(basis: EquivariantBasis, v: Tensor) -> Tensor:
    """``W = U v (tasks, out, in)`` with ``E‖W‖² = out`` for standard normal ``v (tasks, k)``; ``U`` is orthonormal."""
    m = basis.rep_out.dim
    n = basis.rep_in.dim
    v = v * sqrt(m / basis.dim)
    if basis.labels is None:
        assert basis.dense is not None
        return (v @ basis.dense.to(v.dtype).mT).unflatten(1, (m, n))
    # Of permutation representations the columns of U are indicators of orbitals, divided by their lengths: each weight
    # is read off its orbital's number, and U is never built.
    labels = basis.labels.flatten()
    lengths = torch.bincount(labels, minlength=basis.dim).to(v.dtype).sqrt()
    return (v / lengths).index_select(1, labels).unflatten(1, (m, n))
