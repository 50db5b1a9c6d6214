"""Groups and representations as people write them on a command line: ``d4``, ``c4xc4``, ``3*grid:8``."""

import re
from collections.abc import Callable

from msr.errors import ConfigError
from msr.groups import (
    FiniteGroup,
    alternating,
    cyclic,
    dihedral,
    direct_product,
    frobenius,
    quaternion,
    symmetric,
    wreath_product,
)
from msr.representations import (
    Representation,
    copies,
    direct_sum,
    grid_rotations,
    grid_shifts,
    natural,
    regular,
    tensor_product,
    trivial,
)

__all__ = ["GROUPS", "REPRESENTATIONS", "parse_group", "parse_representation"]

GROUPS = "cN, dN, sN, aN, qN (N elements), fP:Q (Frobenius: P prime, Q divides P - 1); products c4xc4, wreaths s3wrc2"
"""The notation of groups, for help texts."""

REPRESENTATIONS = (
    "regular; natural; trivial or trivial:K; grid:N (turns, and flips for d4) and shifts:N or shifts:NxM, of images; "
    "K*X for K copies of X, X+Y for both side by side"
)
"""The notation of representations, for help texts."""

_MAKERS: dict[str, Callable[[int], FiniteGroup]] = {
    "c": cyclic,
    "d": dihedral,
    "s": symmetric,
    "a": alternating,
    "q": quaternion,
}


def parse_group(text: str) -> FiniteGroup:
    """The group that a text such as ``d4``, ``c2xc2``, ``s3wrc2`` or ``f7:3`` names.

    Raises: ConfigError for a text that names none; the message lists the notation.
    """
    return _group("".join(text.lower().split()), text)


def _group(words: str, whole: str) -> FiniteGroup:
    if "x" in words:
        return direct_product(*(_group(part, whole) for part in words.split("x")))
    if "wr" in words:
        inner, _, outer = words.partition("wr")
        return wreath_product(_group(inner, whole), _group(outer, whole))
    if found := re.fullmatch(r"f([0-9]{1,9}):([0-9]{1,9})", words):
        try:
            return frobenius(int(found[1]), int(found[2]))
        except ConfigError as error:
            raise ConfigError(f"{whole!r}: {error}") from None
    found = re.fullmatch(r"([cdsaq])([0-9]{1,9})", words)
    if not found:
        part = "" if words == whole else f" (at {words!r})"
        raise ConfigError(f"no group is written {whole!r}{part}; the notation is {GROUPS}")
    return _MAKERS[found[1]](int(found[2]))


def parse_representation(text: str, group: FiniteGroup) -> Representation:
    """The representation of the group that a text such as ``regular`` or ``3*grid:8 + trivial:2`` names.

    Raises: ConfigError for a text that names none, or one of another group.
    """
    parts = [_product(part, group, text) for part in "".join(text.lower().split()).split("+")]
    return parts[0] if len(parts) == 1 else direct_sum(*parts)


def _product(text: str, group: FiniteGroup, whole: str) -> Representation:
    count, star, rest = text.partition("*")
    if not star:
        return _one(text, group, whole)
    if not re.fullmatch("0*[1-9][0-9]{0,5}", count):
        raise ConfigError(f"{whole!r}: before a * stands a number of copies, from 1 to 999999; came {count!r}")
    rep = _one(rest, group, whole)
    return tensor_product(trivial(group, int(count)), rep) if len(rep.shape) > 1 else copies(rep, int(count))


def _one(text: str, group: FiniteGroup, whole: str) -> Representation:
    name, colon, size = text.partition(":")
    sizes = [int(s) for s in size.split("x")] if re.fullmatch(r"[0-9]{1,6}(x[0-9]{1,6})*", size) else []
    if colon and not sizes:
        raise ConfigError(f"{whole!r}: {size!r} is no size; write a number, or NxM for shifts")
    if name == "regular" and not sizes:
        return regular(group)
    if name == "natural" and not sizes:
        return natural(group)
    if name == "trivial" and len(sizes) < 2:
        return trivial(group, *sizes)
    if name == "grid" and len(sizes) == 1:
        return _of(group, grid_rotations(sizes[0], flips=group.order == 8), whole)
    if name == "shifts" and 1 <= len(sizes) <= 2:
        return _of(group, grid_shifts(sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])), whole)
    raise ConfigError(f"no representation is written {whole!r}; the notation is: {REPRESENTATIONS}")


def _of(group: FiniteGroup, rep: Representation, whole: str) -> Representation:
    if rep.group != group:
        raise ConfigError(
            f"{whole!r} is a representation of {rep.group.name}, not of {group.name}: grid is for c4 and d4, "
            "shifts:N for cN and shifts:NxM for cNxcM"
        )
    return rep
