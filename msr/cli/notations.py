"""Groups and representations from the text of a command line."""

from msr.errors import ConfigError
from msr.groups import FiniteGroup
from msr.printable import printable
from msr.representations import Representation
from msr.representations.notation import parse_group, parse_representation

__all__ = ["read_notation"]


def read_notation(
    group: str,
    rep_in: str,
    rep_out: str,
    *,
    sizes: tuple[int | None, int | None] = (None, None),
    most: int | None = None,
) -> tuple[FiniteGroup, Representation, Representation]:
    """A group and its representations on inputs and outputs, from their notation.

    Args:
        group: such as ``d8``; ``rep_in``, ``rep_out``: such as ``regular``, see :mod:`msr.spelling`.
        sizes: the dimensions that the two representations must have; None where one is not known.
        most: the largest dimension that is accepted where ``sizes`` has none; by default that of
            :func:`parse_representation`.

    Raises: ConfigError for a text that is no notation, names something too large or a representation of another group,
    or is nested deeper than Python can follow; ShapeError for a representation of another dimension than in ``sizes``.
    """
    text = group
    bound = {} if most is None else {"most": most}
    try:
        parsed = parse_group(group)
        reps = []
        for text, size in zip((rep_in, rep_out), sizes, strict=True):
            reps.append(parse_representation(text, parsed, size=size, **bound))
    except RecursionError as error:
        raise ConfigError(f"{printable(text)!r} is nested too deep: write it with fewer parts") from error
    return parsed, reps[0], reps[1]
