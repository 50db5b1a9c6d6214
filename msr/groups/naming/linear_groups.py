"""Linear groups over small finite fields, as permutations of vectors or of lines."""

from functools import lru_cache
from itertools import product
from typing import Literal

import numpy as np

from msr.permutations import Indices

__all__ = ["Field", "linear_group"]


class Field:
    """The field ``GF(p^k)`` of ``q = p^k`` elements, by its tables.

    The number ``Σ c_i p^i``, below ``q``, stands for the polynomial ``Σ c_i x^i``, so 0 and 1 are zero and one.

    Attributes:
        p, k, q: the prime, the exponent, and the number of elements.
        plus, times: the tables of addition and multiplication, ``(q, q)``.
        primitive: an element whose powers are all elements but 0.
    """

    def __init__(self, p: int, k: int):
        self.p = p
        self.k = k
        self.q = p**k
        digits = np.stack(np.unravel_index(np.arange(self.q), (p,) * k))[::-1].T
        weights = p ** np.arange(k)
        self.plus: Indices = (digits[:, None] + digits) % p @ weights
        # The first monic polynomial x^k + Σ c_i x^i of degree k modulo which some element is primitive is irreducible.
        for low in product(range(p), repeat=k):
            times = self._times(digits, np.asarray(low), weights)
            powers = [self._powers(times, a) for a in range(1, self.q)]
            # Modulo an irreducible polynomial every nonzero element has an inverse, so that its powers come back to 1;
            # modulo another one some do not.
            if max(map(len, powers)) == self.q - 1 and all(a.count(1) == 1 for a in powers):
                self.times: Indices = times
                self.primitive = 1 + max(range(self.q - 1), key=lambda i: len(powers[i]))
                return
        raise AssertionError("there is a field of every prime power")

    def _times(self, digits: Indices, low: Indices, weights: Indices) -> Indices:
        """The table of multiplication, ``(q, q)``, of polynomials modulo ``x^k + Σ c_i x^i``.

        Args:
            digits: the coefficients of each element, ``(q, k)``, the constant first.
            low: the coefficients ``c``, ``(k,)``.
            weights: ``p^i``, ``(k,)``, by which coefficients make the number of an element.
        """
        # A row for x^i times each element: shift the digits, and replace an overflowing x^k by its remainder.
        shifted = digits
        rows = []
        for _ in range(self.k):
            rows.append(shifted)
            top = shifted[:, -1:]
            shifted = (np.concatenate([np.zeros_like(top), shifted[:, :-1]], 1) - top * low) % self.p
        return np.einsum("ai,ibj->abj", digits, np.stack(rows)) % self.p @ weights

    def _powers(self, times: Indices, a: int) -> list[int]:
        """The powers ``a, a², …`` until one repeats, which is left out; ``times`` is a table of multiplication
        ``(q, q)``.
        """
        powers = [a]
        while (after := int(times[powers[-1], a])) not in powers:
            powers.append(after)
        return powers

    @property
    def frobenius(self) -> Indices:
        """The Frobenius automorphism ``x → x^p``, as the images of all elements, ``(q,)``."""
        power: Indices = np.arange(self.q)
        for _ in range(self.p - 1):
            power = self.times[power, np.arange(self.q)]
        return power

    def image(self, matrix: Indices, vectors: Indices) -> Indices:
        """The products ``matrix @ v``, ``(r, rows)``, over the field, for ``matrix`` ``(rows, d)`` and vectors
        ``(r, d)``.
        """
        total: Indices = np.zeros((len(vectors), len(matrix)), dtype=np.int64)
        for j in range(vectors.shape[1]):
            total = self.plus[total, self.times[matrix[:, j], vectors[:, j : j + 1]]]
        return total


@lru_cache(maxsize=32)
def _field(p: int, k: int) -> Field:
    """The field ``GF(p^k)``, cached."""
    return Field(p, k)


def linear_group(
    kind: Literal["SL", "GL", "ΣL", "ΓL"], d: int, p: int, k: int = 1, *, on: Literal["vectors", "lines", "affine"]
) -> Indices:
    """Generators of a group of ``d × d`` matrices over ``GF(p^k)``, as permutations ``(r, points)``.

    ``ΣL`` is ``SL``, and ``ΓL`` is ``GL``, with the automorphisms of the field added. On the nonzero ``vectors``,
    ``q^d − 1`` points with ``q = p^k``, the group acts faithfully; on ``lines`` scalars act trivially, which gives
    ``PSL`` and so on; ``affine`` adds all translations and acts on all ``q^d`` vectors: ``ASL`` and so on. Vectors are
    in the order of their numbers ``Σ_j v_j q^(d − 1 − j)``, lines in that of their least vectors.
    """
    field = _field(p, k)
    q = field.q
    vectors = np.stack(np.unravel_index(np.arange(q**d), (q,) * d), 1)
    weights = q ** np.arange(d)[::-1]
    maps = []
    # Shears generate SL. In each place one is needed for every element of a basis of the field over its prime field,
    # such as the first k powers of a primitive element.
    for i, j in product(range(d), repeat=2):
        scale = 1
        for _ in range(k if i != j else 0):
            shear = np.eye(d, dtype=np.int64)
            shear[i, j] = scale
            maps.append(field.image(shear, vectors) @ weights)
            scale = int(field.times[scale, field.primitive])
    if kind in ("GL", "ΓL"):
        stretch = np.eye(d, dtype=np.int64)
        stretch[0, 0] = field.primitive
        maps.append(field.image(stretch, vectors) @ weights)
    if kind in ("ΣL", "ΓL"):
        maps.append(field.frobenius[vectors] @ weights)
    if on == "affine":
        for j in range(d):
            scale = 1
            for _ in range(k):
                translated = vectors.copy()
                translated[:, j] = field.plus[translated[:, j], scale]
                maps.append(translated @ weights)
                scale = int(field.times[scale, field.primitive])
        return np.stack(maps)
    # Vector 0 is fixed by every matrix and dropped; the others are renumbered from 0.
    rows = np.stack(maps)[:, 1:] - 1
    if on == "vectors":
        return rows
    # A line is called by its least vector.
    nonzero = vectors[1:]
    least = np.min([field.times[a, nonzero] @ weights for a in range(1, q)], axis=0) - 1
    lines, line_of = np.unique(least, return_inverse=True)
    return line_of[rows[:, lines]]
