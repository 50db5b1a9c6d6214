"""Exact sharing patterns: all equivariant linear maps between two representations, and group convolutions."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.groups import FiniteGroup, Group
from msr.kron import kron
from msr.permutations import Indices, orbitals
from msr.representations.base import Representation, same_group
from msr.representations.characters import intertwiner_dimension
from msr.representations.combinators import as_outer
from msr.representations.lie import LieRepresentation

__all__ = ["AnyRepresentation", "EquivariantBasis", "equivariant_basis", "group_convolution", "pair_orbits"]

AnyRepresentation: TypeAlias = Representation | LieRepresentation
"""A representation of a group of any kind, or of a Lie algebra."""

TOLERANCE = 1e-6
"""Fraction of the largest singular value of the constraints below which a singular value counts as zero."""

MAX_UNKNOWNS = 6000
"""Largest number of weights, ``out · in``, of one null-space solve: its matrix then takes 288 MB."""

MAX_PAIRS = 10**8
"""Most output-input pairs whose orbits are computed; ShapeError beyond."""

_FLOOR = 1e-8
"""The largest singular value that counts as zero is taken for at least this fraction of the largest of all where the
gap is measured: singular values are computed as roots of eigenvalues, which leaves half of the digits of float64.
"""

_NOISE = 1e-7
"""Fraction of the size of the matrices below which constraints are rounding, as for scalars, which commute with all."""

_CLEAR_GAP = 100
"""Least ratio of the smallest singular value kept to the largest counted as zero. Chosen by hand."""


@dataclass(frozen=True, eq=False)
class EquivariantBasis:
    """A basis of ``Hom_G = {W : ρ_out(g) W = W ρ_in(g)}``.

    Attributes:
        rep_in, rep_out: the representations on inputs and outputs.
        dim: how many free numbers an equivariant map has.
        labels: ``(out, in)``, from 0 to ``dim − 1``: which free number each weight is, for permutation representations;
            else None.
        dense: ``(out · in, dim)`` with orthonormal columns ``vec(W_k)``, row-major, float64; None where labels serve.
        gap: the smallest singular value of the constraints that was kept over the largest that counted as zero
            (at least 1e-8 of the top one); infinite where no linear algebra was needed. Trust it above 100.
        tolerance: below which fraction of the largest a singular value counted as zero; 1e-7 of the matrices' own size
            always does.
    """

    rep_in: AnyRepresentation
    rep_out: AnyRepresentation
    dim: int
    labels: Tensor | None
    dense: Tensor | None
    gap: float
    tolerance: float

    def matrix(self) -> Tensor:
        """``U (out · in, dim)``, float64: columns of 0 and 1 where there are labels, orthonormal ones otherwise."""
        if self.dense is not None:
            return self.dense
        assert self.labels is not None
        return torch.nn.functional.one_hot(self.labels.flatten(), self.dim).double()

    def orthonormal(self) -> Tensor:
        """``U (out · in, dim)``, float64, with orthonormal columns."""
        U = self.matrix()
        return U / U.norm(dim=0)


def pair_orbits(generators_in: ArrayLike, generators_out: ArrayLike) -> Tensor:
    """A number for each weight, equal where weights are shared.

    The numbers are those of the orbits of ``(i, j) ↦ (g·i, g·j)`` on output-input pairs, from generators alone. No
    group table is needed, so this serves ``S_n`` for any ``n``. Orbits are numbered from 0 in reading order.
    Shapes: ``(r, n)`` and ``(r, m)``, the same ``r`` generators acting on inputs and outputs; the result is ``(m, n)``.
    Raises: ShapeError for different numbers of generators or more than ``MAX_PAIRS`` pairs; AxiomError for a row that
    is no permutation.
    """
    p = np.atleast_2d(np.asarray(generators_in))
    q = np.atleast_2d(np.asarray(generators_out))
    if p.ndim != 2 or q.ndim != 2 or len(p) != len(q):
        raise ShapeError(
            f"pair_orbits: the same generators on inputs and outputs are needed; got {p.shape} and {q.shape}"
        )
    for name, moves in (("in", p), ("out", q)):
        if moves.dtype.kind not in "iu" or (np.sort(moves, axis=1) != np.arange(moves.shape[1])).any():
            raise AxiomError(
                f"pair_orbits: some row of generators_{name} is no permutation of 0 to {moves.shape[1] - 1}"
            )
    m = q.shape[1]
    n = p.shape[1]
    if m * n > MAX_PAIRS:
        raise ShapeError(f"pair_orbits: {m} x {n} pairs are more than {MAX_PAIRS}, which take some gigabytes")
    return torch.from_numpy(orbitals(p, q).reshape(m, n))


def equivariant_basis(
    rep_in: AnyRepresentation, rep_out: AnyRepresentation, *, tolerance: float = TOLERANCE
) -> EquivariantBasis:
    """A basis of all linear maps ``W`` with ``ρ_out(g) W = W ρ_in(g)``, as an :class:`EquivariantBasis`.

    For permutation representations by orbits on pairs, without linear algebra; for any other by the null space of the
    constraints of the generators, discrete and infinitesimal ones together, block by block for direct sums, each kind
    of block once. What commutes with the generators commutes with the group, so no table is needed; with one, the
    dimension must equal the count by characters. ``tolerance``: see :class:`EquivariantBasis`.

    Raises: ConfigError for different groups; ShapeError for a block of more than ``MAX_UNKNOWNS`` weights; AxiomError
    when the null space has no clear gap or the wrong dimension (the message holds the numbers).
    """
    group = same_group((rep_in, rep_out), "equivariant_basis")
    wanted = None
    if isinstance(rep_in, Representation) and isinstance(rep_out, Representation) and group.is_listed:
        # Characters count the dimension by another way, which a wrong null space does not pass.
        wanted = intertwiner_dimension(rep_in, rep_out)
    if rep_in.is_permutation and rep_out.is_permutation:
        labels = pair_orbits(*(_moves_of(rep, group) for rep in (rep_in, rep_out)))
        return _checked(rep_in, rep_out, wanted, labels, None, float("inf"), tolerance)
    dense, gap = _block_by_block(rep_in, rep_out, tolerance)
    return _checked(rep_in, rep_out, wanted, None, dense, gap, tolerance)


def group_convolution(group: FiniteGroup, representation: Representation) -> Tensor:
    """The paper's ``U^G``, ``(|G| · n, n)`` float64: row ``g`` of ``W`` is ``π(g) ψ``, so that ``vec(W) = U^G ψ``.

    ``π`` is ``representation``, of dimension ``n``, and ``ψ (n,)`` a filter. The layer maps ``n`` numbers that
    transform by ``π`` to one number for each element: ``(W x)[g] = ⟨x, π(g) ψ⟩``, and the outputs transform by the
    regular representation. For ``π`` that is not orthogonal its dual is stacked, for which
    the same holds (the paper's proof needs ``⟨π(h) x, π(g) ψ⟩ = ⟨x, π(h⁻¹ g) ψ⟩``).
    Every equivariant map to the regular representation is of this form: the span equals that of ``equivariant_basis``.
    Raises: ConfigError for a group without a table, or a representation of another group.
    Source: arXiv:2007.02933, Proposition 1.
    """
    if not isinstance(group, FiniteGroup):
        raise ConfigError(f"group_convolution stacks one block for each element of a finite group; got {group!r}")
    if representation.group != group:
        raise ConfigError(f"group_convolution: {representation} is no representation of {group.name}")
    # Row g of W is π*(g) ψ, and all g together are the stack of the matrices.
    return representation.dual().matrices().flatten(0, 1)


def _moves_of(rep: AnyRepresentation, group: Group) -> Indices:
    """Where the identity and the discrete generators of ``group`` send each coordinate, ``(1 + r, dim)``.

    The representation's own group equals ``group``, but may have been given other generators.
    """
    assert isinstance(rep, Representation)
    moves = rep.generator_moves() if rep.group is group else np.array([rep.moves(g) for g in group.discrete])
    # With the identity, so that a group without generators has orbits as well.
    return np.concatenate([np.arange(rep.dim, dtype=np.int32)[None], moves.reshape(-1, rep.dim).astype(np.int32)])


def _checked(
    rep_in: AnyRepresentation,
    rep_out: AnyRepresentation,
    wanted: int | None,
    labels: Tensor | None,
    dense: Tensor | None,
    gap: float,
    tolerance: float,
) -> EquivariantBasis:
    """The answer as a value, after a check of its dimension and gap.

    ``wanted``: the dimension by characters, or None where it is not known. Of ``labels`` and ``dense`` one is None.
    Raises: AxiomError for another dimension than ``wanted``, or a gap below ``_CLEAR_GAP``.
    """
    dim = int(labels.max()) + 1 if labels is not None else dense.shape[1]  # type: ignore[union-attr]
    if (wanted is not None and dim != wanted) or gap < _CLEAR_GAP:
        expected = "" if wanted is None else f"; characters say {wanted}"
        raise AxiomError(
            f"equivariant maps from {rep_in} to {rep_out}: the null space has dimension {dim} with a gap of {gap:.3g} "
            f"at tolerance {tolerance:g}{expected}. The matrices are too inexact for that; give them in float64"
        )
    return EquivariantBasis(rep_in, rep_out, dim, labels, dense, gap, tolerance)


def _block_by_block(rep_in: AnyRepresentation, rep_out: AnyRepresentation, tolerance: float) -> tuple[Tensor, float]:
    """Orthonormal ``vec(W)`` of all equivariant maps, ``(out · in, dim)``, and the smallest gap of any block.

    ``tolerance`` and the gap, a ratio, are those of :class:`EquivariantBasis`. Each pair of a block of outputs and a
    block of inputs is solved by itself, equal pairs once.
    """
    solved: dict[tuple[AnyRepresentation, AnyRepresentation], tuple[Tensor, float]] = {}
    m = rep_out.dim
    n = rep_in.dim
    gap = float("inf")
    columns: list[Tensor] = []
    places = torch.arange(m * n).view(m, n)
    row = 0
    for out in rep_out.blocks():
        column = 0
        for inner in rep_in.blocks():
            # Sums of many equal blocks are common, such as the channels of an image.
            if (inner, out) not in solved:
                solved[inner, out] = _factor_by_factor(inner, out, tolerance) or _null_space(inner, out, tolerance)
            basis, this_gap = solved[inner, out]
            # The answer is as sure as its least sure block.
            gap = min(gap, this_gap)
            block = torch.zeros(m * n, basis.shape[1], dtype=torch.float64)
            block[places[row : row + out.dim, column : column + inner.dim].flatten()] = basis
            columns.append(block)
            column += inner.dim
        row += out.dim
    return torch.cat(columns, dim=1), gap


def _factor_by_factor(
    rep_in: AnyRepresentation, rep_out: AnyRepresentation, tolerance: float
) -> tuple[Tensor, float] | None:
    """Orthonormal ``vec(W)`` of the equivariant maps between outer products, ``(out · in, dim)``, and the smallest gap
    of any factor.

    By ``Hom_{A×B}(V₁ ⊠ V₂, W₁ ⊠ W₂) = Hom_A(V₁, W₁) ⊗ Hom_B(V₂, W₂)``. ``tolerance`` and the gap, a ratio, are those
    of :class:`EquivariantBasis`. None where one of the two is no outer product, or they are of different factors.
    """
    inner = as_outer(rep_in)
    out = as_outer(rep_out)
    if inner is None or out is None or [which for which, _ in inner] != [which for which, _ in out]:
        return None
    whole = torch.ones(1, 1, 1, dtype=torch.float64)
    gap = float("inf")
    m = 1
    n = 1
    # Kronecker products of the bases, with the axes of all outputs before those of all inputs.
    for (_, v), (_, w) in zip(inner, out, strict=True):
        basis = equivariant_basis(v, w, tolerance=tolerance)
        part = basis.orthonormal().reshape(w.dim, v.dim, basis.dim)
        gap = min(gap, basis.gap)
        m = m * w.dim
        n = n * v.dim
        whole = torch.einsum("oik,pjl->opijkl", whole, part).reshape(m, n, -1)
    return whole.reshape(m * n, -1), gap


def _null_space(rep_in: AnyRepresentation, rep_out: AnyRepresentation, tolerance: float) -> tuple[Tensor, float]:
    """Orthonormal ``vec(W)`` with ``A W = W B`` for the matrices ``(B, A)`` of all generators, ``(out · in, dim)``, and
    the gap.

    ``tolerance`` and the gap, a ratio, are those of :class:`EquivariantBasis`. Raises: ShapeError for more than
    ``MAX_UNKNOWNS`` weights.
    """
    m = rep_out.dim
    n = rep_in.dim
    if m * n > MAX_UNKNOWNS:
        raise ShapeError(
            f"equivariant maps from {rep_in} to {rep_out}: {m} x {n} unknowns in one block are more than "
            f"{MAX_UNKNOWNS}; write the representations as direct sums of smaller ones, or as permutations"
        )
    eye_m = torch.eye(m, dtype=torch.float64)
    eye_n = torch.eye(n, dtype=torch.float64)
    gram = torch.zeros(m * n, m * n, dtype=torch.float64)
    size = 0.0
    for B, A in _generator_matrices(rep_in, rep_out):
        squares = A.mT @ A, B @ B.mT
        # Spectral norms by way of the squares, which costs a tenth of a singular value decomposition.
        # The norm of the constraints of one generator is at most that of A plus that of B.
        size += sum(float(torch.linalg.eigvalsh(square)[-1].clamp_min(0).sqrt()) for square in squares) ** 2
        # (A ⊗ I − I ⊗ Bᵀ)ᵀ (A ⊗ I − I ⊗ Bᵀ), without building the factors.
        gram += kron(squares[0], eye_n) + kron(eye_m, squares[1]) - kron(A.mT, B.mT) - kron(A, B)
    # The null space of the constraints is that of their Gram matrix, which is smaller than all of them together.
    values, vectors = torch.linalg.eigh(gram)
    sizes = values.clamp_min(0).sqrt()
    largest = float(sizes[-1])
    noise = _NOISE * size**0.5
    dim = int((sizes <= max(tolerance * largest, noise)).sum())
    # What is computed as zero may be anything below rounding, so that the gap is measured from there.
    below = max(float(sizes[dim - 1]) if dim else 0.0, _FLOOR * largest)
    return vectors[:, :dim], float(sizes[dim]) / below if dim < m * n else float("inf")


def _generator_matrices(rep_in: AnyRepresentation, rep_out: AnyRepresentation) -> list[tuple[Tensor, Tensor]]:
    """``(ρ_in(g), ρ_out(g))`` for each generator of the group of ``rep_in``, discrete ones first.

    Infinitesimal ones are scaled, both by one number, so that the largest entry is 1. The same generators are taken on
    both sides, since equal groups may have been given different ones.
    """
    pairs = [(rep_in.matrix(g), rep_out.matrix(g)) for g in rep_in.group.discrete]
    for B, A in zip(rep_in.infinitesimal(), rep_out.infinitesimal(), strict=True):
        # The generators' units are not part of the problem: small ones must not count as zero.
        unit = max(float(A.abs().max()), float(B.abs().max())) or 1.0
        pairs.append((B / unit, A / unit))
    return pairs
