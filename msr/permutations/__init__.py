"""Permutations as integer arrays: orbits, means over orbits, orders of groups, automorphisms of coloured matrices."""

from msr.permutations.search import Automorphisms as Automorphisms
from msr.permutations.search import automorphisms as automorphisms

__all__ = ["Automorphisms", "automorphisms"]
