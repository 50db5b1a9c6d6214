"""Groups and representations of a command line, where what cannot be built is one line."""

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
    """A group and two representations of it; ``sizes`` they must have, where they are known, or a bound for both.

    Raises: ConfigError for a text that names none, that does not fit, or that is nested deeper than Python can follow.
    """
    text = group
    bound = {} if most is None else {"most": most}
    try:
        found = parse_group(group)
        reps = []
        for text, size in zip((rep_in, rep_out), sizes, strict=True):
            reps.append(parse_representation(text, found, size=size, **bound))
    except RecursionError as error:
        raise ConfigError(f"{printable(text)!r} is nested too deep: write it with fewer parts") from error
    return found, reps[0], reps[1]
