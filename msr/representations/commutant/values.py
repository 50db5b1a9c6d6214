"""The answers about a commutant and about continuous symmetries, as values."""

from dataclasses import dataclass, field

from msr.brief import Brief

__all__ = ["MOST_RTOL", "Commutant", "Continuous"]

MOST_RTOL = 0.1
"""The largest tolerance with which a structure is sought: numbers further apart never count as one."""


@dataclass(frozen=True, repr=False)
class Commutant(Brief):
    """The algebra of all square matrices that commute with a set of square matrices and their transposes.

    Attributes:
        dimension: of the algebra over the reals: ``Σ multiplicity² · d``, ``d`` = 1, 2, 4 for real, complex,
            quaternionic irreducible parts.
        parts: of the space on which the matrices act, ascending: ``(dimension of the irreducible part, multiplicity,
            type)``, the type "real", "complex" or "quaternionic".
        skew_dimension: how many dimensions its antisymmetric matrices have.
    """

    dimension: int
    parts: tuple[tuple[int, int, str], ...]
    skew_dimension: int


@dataclass(frozen=True, repr=False)
class Continuous(Brief):
    """The Lie algebra of skew pairs ``(A, B)`` with ``A W = W B`` for all weights, which any linear layer has.

    Attributes:
        dimension: of the algebra.
        name: of the algebra, such as ``so(3)`` or ``u(1)^3``.
        inputs, outputs: the isotypic parts on either side; ``continuous`` always gives both.
        decided: whether an extra constraint shows that these symmetries are those of the problem. Linear layers alone
            never decide it, so that ``continuous`` says False.
        note: what follows, and what does not, in a few sentences.
        rtol: the share of the largest singular value up to which two singular values counted as equal.
    """

    dimension: int
    name: str
    inputs: Commutant | None
    outputs: Commutant | None
    decided: bool
    note: str
    rtol: float = field(default=1e-6, compare=False)
