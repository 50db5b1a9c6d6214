"""Probabilities that a user gives: levels and shares."""

from msr.errors import ConfigError

__all__ = ["check_level"]


def check_level(name: str, value: float) -> None:
    """Raise ConfigError, with ``name`` in its message, unless ``value`` lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ConfigError(f"{name} must be between 0 and 1; got {value}")
