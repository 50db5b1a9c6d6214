"""Numbers of a curve, as they stand in a results file."""

from collections.abc import Sequence

__all__ = ["rounded"]


def rounded(values: Sequence[float], digits: int = 6) -> list[float]:
    """Numbers with so many significant digits: enough to draw them, and the file stays one that people read."""
    return [float(f"{value:.{digits}g}") for value in values]
