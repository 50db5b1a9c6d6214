"""The numerical tolerances of groups and representations: when two numbers in floating point count as equal.

Each is relative to the size of what is compared, where that has a size. All were chosen by hand, far above the rounding
of float64 (2e-16 times some hundred operations) and far below what a wrong formula or a wrong matrix would cause.
"""

__all__ = ["ALMOST", "CLOSED", "EXACT", "LAW", "NEARLY_ORTHOGONAL", "SEPARATE", "WHOLE"]

EXACT = 1e-12
"""Numbers that no computation stands between: entries 0 and 1 of a permutation matrix, structure constants of equal
generators."""

CLOSED = 1e-10
"""A bracket that leaves the span of the generators, and generators that are not antisymmetric, by more than this."""

LAW = 1e-8
"""Error of a law that matrices in float64 keep: of a homomorphism, of orthogonality, of a subalgebra that conjugation
maps to itself."""

WHOLE = 1e-6
"""Distance of a multiplicity or a dimension, computed from characters in floating point, from a whole number."""

SEPARATE = 1e-6
"""Distance of two points of which the nearest different ones are about one apart: equal below it."""

ALMOST = 1e-4
"""Error of a law below which a message says that it is probably rounding, as that of float32."""

NEARLY_ORTHOGONAL = 1e-3
"""Distance from orthogonality below which matrices in float32 are made orthogonal, because they were meant to be."""
