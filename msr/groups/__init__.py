"""Groups: finite ones as their Cayley table, Lie algebras as their matrix generators."""

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
from msr.groups.lie import LieAlgebra as LieAlgebra
from msr.groups.lie import lorentz as lorentz
from msr.groups.lie import se2 as se2
from msr.groups.lie import so as so
from msr.groups.lie import special_linear as special_linear
from msr.groups.products import direct_product as direct_product
from msr.groups.products import semidirect_product as semidirect_product
from msr.groups.products import wreath_product as wreath_product

__all__ = [
    "FiniteGroup", "Subgroup", "LieAlgebra", "MAX_ORDER",
    "trivial", "cyclic", "dihedral", "symmetric", "alternating", "quaternion", "frobenius",
    "from_permutations", "from_table",
    "direct_product", "semidirect_product", "wreath_product",
    "so", "se2", "special_linear", "lorentz",
]  # fmt: skip
