"""The answers about a commutant and about continuous symmetries, as values."""

from dataclasses import dataclass, field

from msr.brief import Brief

__all__ = ["Commutant", "Continuous"]


@dataclass(frozen=True, repr=False)
class Commutant(Brief):
    """The algebra of all matrices that commute with the maps from points to the same points.

    Attributes:
        dimension: ``Σ multiplicity² · d``, ``d`` = 1, 2, 4 for real, complex, quaternionic irreducible parts.
        parts: of the space: ``(dimension of the irreducible part, multiplicity, type)``.
        skew_dimension: of the antisymmetric matrices in it.
    """

    dimension: int
    parts: tuple[tuple[int, int, str], ...]
    skew_dimension: int


@dataclass(frozen=True, repr=False)
class Continuous(Brief):
    """The Lie algebra of skew pairs ``(A, B)`` with ``A W = W B`` for all weights, which any linear layer has.

    ``name``: of the algebra, such as ``so(3)`` or ``u(1)^3``; ``decided``: whether an extra constraint says that these
    symmetries are the problem's own. For linear layers alone it never is: ``note`` says so. ``rtol``: up to which share
    of the largest two singular values counted as one.
    """

    dimension: int
    name: str
    inputs: Commutant | None
    outputs: Commutant | None
    decided: bool
    note: str
    rtol: float = field(default=1e-6, compare=False)
