"""Representations: groups that act on tensors, their decompositions, and the equivariant maps between them."""

import msr.representations.operations  # noqa: F401  (tells the abstract class what its operators build)
from msr.representations.base import Representation as Representation
from msr.representations.characters import CharacterTable as CharacterTable
from msr.representations.characters import IsotypicPart as IsotypicPart
from msr.representations.characters import character_table as character_table
from msr.representations.characters import intertwiner_dimension as intertwiner_dimension
from msr.representations.characters import isotypic_parts as isotypic_parts
from msr.representations.characters import multiplicities as multiplicities
from msr.representations.combinators import copies as copies
from msr.representations.combinators import direct_sum as direct_sum
from msr.representations.combinators import outer_product as outer_product
from msr.representations.combinators import tensor_product as tensor_product
from msr.representations.constructors import defining as defining
from msr.representations.constructors import from_matrices as from_matrices
from msr.representations.constructors import natural as natural
from msr.representations.constructors import permutation as permutation
from msr.representations.constructors import planar as planar
from msr.representations.constructors import quotient as quotient
from msr.representations.constructors import regular as regular
from msr.representations.constructors import sign as sign
from msr.representations.constructors import trivial as trivial
from msr.representations.generated import GeneratedRepresentation as GeneratedRepresentation
from msr.representations.generated import lift as lift
from msr.representations.grids import grid_reflections as grid_reflections
from msr.representations.grids import grid_rotations as grid_rotations
from msr.representations.grids import grid_shifts as grid_shifts
from msr.representations.intertwiners import AnyRepresentation as AnyRepresentation
from msr.representations.intertwiners import EquivariantBasis as EquivariantBasis
from msr.representations.intertwiners import equivariant_basis as equivariant_basis
from msr.representations.intertwiners import group_convolution as group_convolution
from msr.representations.intertwiners import pair_orbits as pair_orbits
from msr.representations.irreps import irrep as irrep
from msr.representations.lie import LieRepresentation as LieRepresentation
from msr.representations.young import SymmetricCharacters as SymmetricCharacters
from msr.representations.young import symmetric_characters as symmetric_characters

__all__ = [
    "AnyRepresentation", "GeneratedRepresentation", "LieRepresentation", "Representation",
    "defining", "from_matrices", "natural", "permutation", "planar", "quotient", "regular", "sign", "trivial",
    "grid_reflections", "grid_rotations", "grid_shifts", "irrep",
    "copies", "direct_sum", "lift", "outer_product", "tensor_product",
    "CharacterTable", "IsotypicPart", "character_table", "intertwiner_dimension", "isotypic_parts", "multiplicities",
    "SymmetricCharacters", "symmetric_characters",
    "EquivariantBasis", "equivariant_basis", "group_convolution", "pair_orbits",
]  # fmt: skip
