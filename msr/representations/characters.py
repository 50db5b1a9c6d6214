"""Characters of finite groups: the table of irreducible ones, and how a representation splits into irreducibles."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.errors import AxiomError
from msr.groups import FiniteGroup
from msr.groups.group import without_table
from msr.groups.tolerances import LAW, WHOLE
from msr.representations.base import Representation, same_group

__all__ = [
    "CharacterTable",
    "IsotypicPart",
    "character_table",
    "intertwiner_dimension",
    "isotypic_parts",
    "multiplicities",
]


@dataclass(frozen=True, eq=False)
class CharacterTable:
    """The complex irreducible characters of a finite group.

    Attributes:
        values: ``(irreps, classes)``, the classes in the order of ``group.conjugacy_classes``; rows as in ``degrees``.
        degrees: ``(irreps,)``, the complex dimension of each irrep: the trivial one first, then in ascending order.
        indicators: ``(irreps,)``, the Frobenius-Schur indicator: 1 for real type, 0 for complex, −1 for quaternionic.
    """

    group: FiniteGroup
    values: NDArray[np.complex128]
    degrees: NDArray[np.int64]
    indicators: NDArray[np.int64]

    def on_elements(self) -> NDArray[np.complex128]:
        """The values of each irreducible character on all elements, ``χ_i(g)``, ``(irreps, order)``."""
        return self.values[:, self.group.class_index]


@dataclass(frozen=True, eq=False)
class IsotypicPart:
    """All copies of one irreducible kind inside a representation ``ρ``, over the reals.

    Attributes:
        irreps: the rows of the character table that it belongs to: one, or two for a complex-conjugate pair.
        multiplicity: how often each of these complex irreps occurs, which for quaternionic type is twice the number of
            real copies.
        dim: dimension of the whole part.
        projection: onto the part, ``(dim ρ, dim ρ)`` float64; orthogonal if ``ρ`` is.
    """

    irreps: tuple[int, ...]
    multiplicity: int
    dim: int
    projection: Tensor


def character_table(group: FiniteGroup) -> CharacterTable:
    """The irreducible characters of a finite group by Burnside's method: the common eigenvectors of the class sums.

    With columns scaled by the square roots of class sizes, class sums are commuting normal matrices, and those of
    inverse classes are adjoint, so one random Hermitian combination separates all eigenvectors. In floating point;
    degrees must come out whole and orthogonality must hold to 1e-8, or AxiomError is raised. The random numbers are
    fixed, and so is the order of the rows. Each call computes the table anew. ConfigError for a group without a table.
    """
    if not isinstance(group, FiniteGroup):
        raise without_table(group, "character table")
    label = group.class_index
    sizes = np.array([len(c) for c in group.conjugacy_classes])
    n = len(sizes)
    scale = np.sqrt(sizes)
    # A fixed seed: the table must not change from call to call.
    draw = np.random.default_rng(0)
    weights = (draw.standard_normal(n) + 1j * draw.standard_normal(n))[label]
    # mixed[s, t] = Σ_x weights[x] over the x for which y = x⁻¹ z is of class s, for one z of class t.
    # The class sums commute and share their eigenvectors, which are the characters up to scale.
    mixed = np.zeros((n, n), dtype=np.complex128)
    for t, members in enumerate(group.conjugacy_classes):
        np.add.at(mixed[:, t], label[group.table[group.inverses, members[0]]], weights)
    # In this scale it is a combination of commuting normal matrices, so its Hermitian part has the same eigenvectors.
    mixed = mixed * scale / scale[:, None]
    _, vectors = np.linalg.eigh(mixed + mixed.conj().T)
    # ω_s = |C_s| χ(C_s) / d is the eigenvector in unscaled columns, normalised to ω = 1 on the identity.
    scaled = (vectors / vectors[0]).T
    chi = scaled / scale  # χ / d on classes, up to conjugation
    # Σ_s |C_s| |χ(C_s)|² = |G|, so the sum with χ / d in place of χ gives the degree d.
    degrees = np.sqrt(group.order / (sizes * np.abs(chi) ** 2).sum(axis=1))
    whole = np.round(degrees).astype(np.int64)
    # From the rounded degrees, so that their rounding does not enter all values.
    values = chi * whole[:, None]
    products = (values * sizes) @ values.conj().T / group.order
    if np.abs(degrees - whole).max() > WHOLE or np.abs(products - np.eye(n)).max() > LAW:
        raise AxiomError(f"{group.name}: its characters could not be separated in floating point")
    # The Frobenius-Schur indicator (1/|G|) Σ_g χ(g²).
    squares = label[np.diagonal(group.table)]
    indicators = np.round(values[:, squares].sum(axis=1).real / group.order).astype(np.int64)
    trivial_first = np.abs(values - 1).max(axis=1) > WHOLE
    # An order that does not depend on the random combination: trivial first, by degree, then by values.
    keys = np.concatenate([values.real, values.imag], axis=1).round(6).T[::-1]
    order = np.lexsort((*-keys, whole, trivial_first))
    return CharacterTable(group, values[order], whole[order], indicators[order])


def multiplicities(representation: Representation, table: CharacterTable | None = None) -> NDArray[np.int64]:
    """How often each complex irrep occurs, ``⟨χ_i, χ⟩``, ``(irreps,)``, in the order of :func:`character_table`.

    ``table``: that of the representation's group, which is not checked; computed where it is None.
    Raises: AxiomError where they are not whole numbers to 1e-6.
    """
    table = table or character_table(representation.group)
    inner = (table.on_elements().conj() @ representation.character()).real / representation.group.order
    whole = np.round(inner).astype(np.int64)
    if np.abs(inner - whole).max() > WHOLE:
        raise AxiomError(f"{representation.name}: the multiplicities {inner} are not whole numbers")
    return whole


def isotypic_parts(representation: Representation) -> tuple[IsotypicPart, ...]:
    """The real isotypic parts that occur, with their projections ``P_i = (d_i / |G|) Σ_g χ_i(g⁻¹) ρ(g)``, which add up
    to ``I``.

    Complex-conjugate irreps are taken together, since their parts are not real by themselves; ``P`` of the pair is the
    sum of both. The parts are in the order of the table's rows.
    """
    table = character_table(representation.group)
    chi = table.on_elements()
    group = representation.group
    counts = multiplicities(representation, table)
    parts: list[IsotypicPart] = []
    done: set[int] = set()
    for i in range(len(counts)):
        if i in done or counts[i] == 0:
            continue
        # The complex-conjugate character, which is the character itself where it is real.
        partner = int(np.abs(chi - chi[i].conj()).max(axis=1).argmin())
        pair = (i,) if partner == i else (i, partner)
        # Of a pair of conjugate characters the second must not make the same part again.
        done.update(pair)
        # χ(g⁻¹) is the conjugate of χ(g), and the imaginary parts of a conjugate pair cancel.
        weights = table.degrees[i] / group.order * np.sum([chi[j].conj().real for j in pair], axis=0)
        projection = torch.zeros(representation.dim, representation.dim, dtype=torch.float64)
        for g in group.elements:
            projection += float(weights[g]) * representation.matrix(g)
        dim = int(counts[i] * table.degrees[i]) * len(pair)
        parts.append(IsotypicPart(pair, int(counts[i]), dim, projection))
    return tuple(parts)


def intertwiner_dimension(rep_in: Representation, rep_out: Representation) -> int:
    """``dim Hom_G(V, W) = (1/|G|) Σ_g χ_V(g⁻¹) χ_W(g)``: the number of free numbers of an equivariant layer.

    For permutation representations this is Burnside's count of the orbits on pairs.
    Raises: ConfigError for different groups or a group without a table; AxiomError where the count is no whole number.
    """
    group = same_group((rep_in, rep_out), "intertwiner_dimension")
    if not group.is_listed:
        raise without_table(group, "characters as a list (equivariant_basis(rep_in, rep_out).dim counts by generators)")
    # The inner product of the two characters; real representations need no conjugate but the inverse.
    mean = float(rep_in.character()[group.inverses] @ rep_out.character()) / group.order
    if abs(mean - round(mean)) > WHOLE * max(1.0, abs(mean)):
        raise AxiomError(f"the character count {mean} of {rep_in.name} and {rep_out.name} is not a whole number")
    return round(mean)
