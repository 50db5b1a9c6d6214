"""Characters of the symmetric groups of any size, by the Murnaghan-Nakayama rule: no table, whole numbers."""

from dataclasses import dataclass
from functools import lru_cache
from math import factorial, prod

from msr.errors import ConfigError

__all__ = ["SymmetricCharacters", "symmetric_characters"]

MAX_POINTS = 16
"""Largest ``n`` of a character table: ``S_16`` has 231 classes. The table grows as the square of the number of
partitions.
"""

Partition = tuple[int, ...]
"""Positive whole numbers in falling order; as a class of ``S_n`` the lengths of cycles."""


@dataclass(frozen=True)
class SymmetricCharacters:
    """The irreducible characters of ``S_n``, all of which are real and of real type.

    Attributes:
        partitions: of ``n``, each with its largest part first. They name the irreps (rows: ``(n)`` the trivial one,
            ``(1, …, 1)`` the sign) and the classes (columns: lengths of cycles, ``(1, …, 1)`` the identity).
        values: ``values[i][j]`` is the character of irrep ``i`` on class ``j``.
        sizes: how many elements each class has.
    """

    n: int
    partitions: tuple[Partition, ...]
    values: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]

    @property
    def degrees(self) -> tuple[int, ...]:
        """Dimension of each irrep: its value on the identity, the last column."""
        return tuple(row[-1] for row in self.values)


def symmetric_characters(n: int) -> SymmetricCharacters:
    """The character table of ``S_n``, exact, for ``n`` up to 16 (:func:`character_table` needs the group's own table).

    Raises: ConfigError for another ``n``.
    Source: the Murnaghan-Nakayama rule, Sagan, The Symmetric Group, section 4.10.
    """
    if not 1 <= n <= MAX_POINTS:
        raise ConfigError(f"symmetric_characters: n from 1 to {MAX_POINTS}; got {n}")
    shapes = tuple(_partitions(n, n))
    values = tuple(tuple(_character(_beta(shape), cycles) for cycles in shapes) for shape in shapes)
    return SymmetricCharacters(n, shapes, values, tuple(_class_size(n, cycles) for cycles in shapes))


def _partitions(n: int, largest: int) -> list[Partition]:
    """All partitions of ``n`` into parts of at most ``largest``, in falling lexicographic order."""
    if n == 0:
        return [()]
    return [(first, *others) for first in range(min(n, largest), 0, -1) for others in _partitions(n - first, first)]


def _beta(shape: Partition) -> frozenset[int]:
    """The first-column hook lengths of a partition.

    A rim hook of length ``k`` is taken away from the partition by lowering one of them by ``k``.
    """
    return frozenset(part + len(shape) - 1 - i for i, part in enumerate(shape))


@lru_cache(maxsize=200_000)
def _character(beta: frozenset[int], cycles: Partition) -> int:
    """The value of an irreducible character of ``S_n`` on the class with these lengths of cycles, cached.

    ``beta``: the irrep's partition by its first-column hook lengths, see :func:`_beta`.
    """
    if not cycles:
        return 1
    k = cycles[0]
    shorter = cycles[1:]
    # Murnaghan-Nakayama: take away a rim hook of length k in all ways, with the sign of its height.
    total = 0
    for b in beta:
        if b >= k and b - k not in beta:
            # The height of the rim hook, its rows less one, is the number of hook lengths that the lowered one passes.
            height = sum(b - k < other < b for other in beta)
            total += (-1) ** height * _character((beta - {b}) | {b - k}, shorter)
    return total


def _class_size(n: int, cycles: Partition) -> int:
    """How many permutations of ``n`` points have cycles of these lengths."""
    return factorial(n) // prod(
        length ** cycles.count(length) * factorial(cycles.count(length)) for length in set(cycles)
    )
