"""Permutations as integer arrays: actions, orbits, orbitals, the Reynolds operator, automorphisms of coloured matrices.

A permutation of ``n`` points is an array ``p (n,)`` with ``p[i]`` the point to which ``i`` goes; several are the rows
of an array ``(r, n)``. Products are read from the right: ``p[q]`` applies ``q`` first.
"""

from msr.permutations.actions import Indices as Indices
from msr.permutations.actions import check_permutation_action as check_permutation_action
from msr.permutations.actions import cycle_lengths as cycle_lengths
from msr.permutations.actions import cycles as cycles
from msr.permutations.actions import inverse_of as inverse_of
from msr.permutations.actions import parity_of as parity_of
from msr.permutations.actions import power_of as power_of
from msr.permutations.orbits import orbit_labels as orbit_labels
from msr.permutations.orbits import orbitals as orbitals
from msr.permutations.orbits import relabelled_orbitals as relabelled_orbitals
from msr.permutations.reynolds import orbit_mean_errors as orbit_mean_errors
from msr.permutations.reynolds import orbit_means as orbit_means
from msr.permutations.reynolds import reynolds_operator as reynolds_operator
from msr.permutations.search import Automorphisms as Automorphisms
from msr.permutations.search import automorphisms as automorphisms

__all__ = [
    "Indices", "check_permutation_action", "cycle_lengths", "cycles", "inverse_of", "parity_of", "power_of",
    "orbit_labels", "orbitals", "relabelled_orbitals",
    "orbit_mean_errors", "orbit_means", "reynolds_operator",
    "Automorphisms", "automorphisms",
]  # fmt: skip
