"""The guard of memory as this room calls it: often, and mostly for little."""

from msr.memory import refuse_if_larger

__all__ = ["refuse_large"]

_SMALL = 2**26
"""Bytes that are taken without a question: asking how much memory is free reads a dozen files of the system, which
takes longer than most of what this room computes."""


def refuse_large(size: float, what: str, *, advice: str = "take a smaller category, or smaller sets") -> None:
    """Raise DataError where work needs more bytes than are free; what needs at most 64 MB is not looked at.

    ``what`` and ``advice`` are those of :func:`msr.memory.refuse_if_larger`.
    """
    if size > _SMALL:
        refuse_if_larger(size, what, advice=advice)
