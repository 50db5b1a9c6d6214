"""Groups: finite ones as their Cayley table, Lie algebras as their matrix generators, others by generators alone."""

from msr.groups.algebras import general_linear as general_linear
from msr.groups.algebras import lorentz as lorentz
from msr.groups.algebras import real_form as real_form
from msr.groups.algebras import se2 as se2
from msr.groups.algebras import se3 as se3
from msr.groups.algebras import so as so
from msr.groups.algebras import special_linear as special_linear
from msr.groups.algebras import special_unitary as special_unitary
from msr.groups.algebras import symplectic as symplectic
from msr.groups.algebras import unitary as unitary
from msr.groups.constructors import alternating as alternating
from msr.groups.constructors import cyclic as cyclic
from msr.groups.constructors import dihedral as dihedral
from msr.groups.constructors import frobenius as frobenius
from msr.groups.constructors import from_permutations as from_permutations
from msr.groups.constructors import from_table as from_table
from msr.groups.constructors import quaternion as quaternion
from msr.groups.constructors import symmetric as symmetric
from msr.groups.constructors import trivial as trivial
from msr.groups.finite import MAX_ORDER as MAX_ORDER
from msr.groups.finite import FiniteGroup as FiniteGroup
from msr.groups.finite import Subgroup as Subgroup
from msr.groups.group import Group as Group
from msr.groups.lie import LieAlgebra as LieAlgebra
from msr.groups.matrix_group import MatrixGroup as MatrixGroup
from msr.groups.matrix_group import euclidean as euclidean
from msr.groups.matrix_group import general_lorentz as general_lorentz
from msr.groups.matrix_group import orthogonal as orthogonal
from msr.groups.permutation_group import PermutationGroup as PermutationGroup
from msr.groups.product_group import ProductGroup as ProductGroup
from msr.groups.products import direct_product as direct_product
from msr.groups.products import semidirect_product as semidirect_product
from msr.groups.products import wreath_product as wreath_product

__all__ = [
    "Group", "FiniteGroup", "Subgroup", "LieAlgebra", "MatrixGroup", "PermutationGroup", "ProductGroup", "MAX_ORDER",
    "trivial", "cyclic", "dihedral", "symmetric", "alternating", "quaternion", "frobenius",
    "from_permutations", "from_table",
    "direct_product", "semidirect_product", "wreath_product",
    "so", "se2", "se3", "special_linear", "general_linear", "symplectic", "special_unitary", "unitary", "lorentz",
    "orthogonal", "euclidean", "general_lorentz", "real_form",
]  # fmt: skip
