"""The error family: every error that this package raises on purpose.

Each message says what came, what was needed, and what to do about it. Runners print it as one line and exit
with status 2. ``assert`` is kept for our own invariants and never judges a caller's input.
"""


class MSRError(Exception):
    """Base of every error that this package raises on purpose."""


class ShapeError(MSRError, ValueError):
    """A tensor, or a size that was asked for, does not fit the place it was given to."""


class DataError(MSRError, ValueError):
    """A file or a data set cannot be used as it is."""


class ConfigError(MSRError, ValueError):
    """An option has a value that cannot work."""


class ModelError(MSRError, ValueError):
    """A module breaks what the called function needs from it."""


class AxiomError(MSRError, ValueError):
    """A table, a permutation or a matrix breaks the law that its type promises."""


class NonFiniteError(MSRError, ArithmeticError):
    """A nan or an infinity reached a place that would hide it."""


class PrecisionError(MSRError, ArithmeticError):
    """Rounding hides what was asked for: there are too few digits to tell a pass from a failure."""


class MissingExtraError(MSRError, ImportError):
    """An optional dependency is not installed, or is and does not import."""


def first_line(error: BaseException) -> str:
    """What an error says, for a message inside another: its first line, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def kind_and_line(error: BaseException) -> str:
    """As :func:`first_line`, with the kind before it: ``KeyError: 'x'``."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def listed(items: list[int]) -> str:
    """Indices for a message: the first few, and how many there are."""
    shown = ", ".join(map(str, items[:8]))
    return shown if len(items) <= 8 else f"{shown}, … ({len(items)} in all)"
