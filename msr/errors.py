"""The error family: every error that this package raises on purpose.

Each message says what was needed, what was got instead, and what to do about it. Commands print it as one line and exit
with status 2. ``assert`` is kept for this package's own invariants and never judges a caller's input.
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
    """A table, a permutation or a matrix breaks a law of its type, such as associativity."""


class NonFiniteError(MSRError, ArithmeticError):
    """A nan or an infinity reached a computation whose result would no longer show it."""


class PrecisionError(MSRError, ArithmeticError):
    """Rounding errors are as large as what is to be measured, so that a pass cannot be told from a failure."""


class MissingExtraError(MSRError, ImportError):
    """An optional dependency is not installed, or is installed but cannot be imported."""


class ProcessError(MSRError, RuntimeError):
    """Another process of the same run has failed, or is lost."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, to be quoted inside another message; its kind where it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def kind_and_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message, ``KeyError: 'x'``; the kind alone without a message."""
    kind = type(error).__name__
    line = first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def listed(items: list[int]) -> str:
    """Indices for a message: the first eight, and how many there are if there are more."""
    shown = ", ".join(map(str, items[:8]))
    return shown if len(items) <= 8 else f"{shown}, … ({len(items)} in all)"
