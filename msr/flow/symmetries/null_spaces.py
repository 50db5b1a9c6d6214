"""How many singular values are 0, where rounding leaves none exactly 0."""

import math

import numpy as np
from numpy.typing import NDArray

from msr.errors import PrecisionError

__all__ = ["checked_nullity"]

_APART = 30
"""Factor around the cut within which a singular value counts as neither 0 nor above it. Chosen by hand."""


def checked_nullity(sizes: NDArray[np.float64], cut: float, what: str) -> tuple[int, float]:
    """How many singular values are 0, and the smallest one that is not; infinite where all are.

    Args:
        sizes: singular values, relative to what they are made of.
        cut: between rounding and what can be told from it.
        what: a name for messages.

    Raises: PrecisionError for a value near the cut.
    """
    doubtful = sizes[(sizes > cut / _APART) & (sizes < cut * _APART)]
    if len(doubtful):
        raise PrecisionError(
            f"{what}: a singular value of {doubtful[0]:.1e} is neither rounding, up to {cut / _APART:.1e}, nor clearly "
            f"above it; give numbers to more digits, or other ones"
        )
    above = sizes[sizes > cut]
    return len(sizes) - len(above), float(above.min()) if len(above) else math.inf
