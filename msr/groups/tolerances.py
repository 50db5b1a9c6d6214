"""The numerical tolerances of groups and representations: when two numbers in floating point count as equal.

Each is relative to the size of what is compared, where that has a size. All were chosen by hand, far above the rounding
of float64 (2e-16 times some hundred operations) and far below what a wrong formula or a wrong matrix would cause.
"""

__all__ = ["ALMOST", "CLOSED", "EXACT", "LAW", "NEARLY_ORTHOGONAL", "SEPARATE", "WHOLE"]

EXACT = 1e-12
"""Largest difference of equal numbers where no computation stands between them: entries 0 and 1 of a permutation
matrix, structure constants of equal generators.
"""

CLOSED = 1e-10
"""Largest error of a bracket that counts as lying in the span of the generators, relative to the square of their
largest entry; and largest entry of ``X + Xᵀ`` (not relative) for which generators count as antisymmetric.
"""

LAW = 1e-8
"""Largest error of a law that matrices in float64 are taken to keep: of a homomorphism, of orthogonality, of an algebra
that conjugation maps to itself.
"""

WHOLE = 1e-6
"""Largest distance from a whole number at which a multiplicity, a dimension or the value of a character, computed in
floating point, counts as that number.
"""

SEPARATE = 1e-6
"""Largest difference of any coordinate for which two unit quaternions count as the same element of a finite group,
whose different elements are about one apart.
"""

ALMOST = 1e-4
"""Error below which the message about a broken law adds that it is probably rounding, as that of float32; relative to
the size of the matrices, or its square for a product of two.
"""

NEARLY_ORTHOGONAL = 1e-3
"""Largest entry of ``MᵀM − I`` below which matrices in float32 are made orthogonal, because they were meant to be."""
