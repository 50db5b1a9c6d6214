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
from msr.spelling import GROUPS, REPRESENTATIONS

__all__ = ["GROUPS", "REPRESENTATIONS", "parse_group", "parse_representation"]

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
        raise ConfigError(f"{whole!r}: {size!r} is no size; write a number, or NxM for images")
    if name == "regular" and not sizes:
        return regular(group)
    if name == "natural" and not sizes:
        return natural(group)
    if name == "trivial" and len(sizes) < 2:
        return trivial(group, *sizes)
    if name == "shifts" and sizes:
        return _of(group, grid_shifts(sizes), whole)
    if name == "reverse" and len(sizes) == 1:
        return _mirrored([1, sizes[0]], group, name, whole).reshape(sizes[0])
    if len(sizes) in (1, 2) and name in ("grid", "halfturn", "mirror", "fliplr", "flipud"):
        shape = sizes * (3 - len(sizes))
        return _of(group, _turned(shape, group), whole) if name == "grid" else _mirrored(shape, group, name, whole)
    raise ConfigError(f"no representation is written {whole!r}; the notation is: {REPRESENTATIONS}")


def _turned(shape: list[int], group: FiniteGroup) -> Representation:
    """What ``grid`` means for a group: by its name, since C2 and D1, which turn and mirror, are one abstract group."""
    named = re.fullmatch("([CD])([124])", group.name)
    n, flips = (int(named[2]), named[1] == "D") if named else (4, group.order == 8)
    if n == 4 and shape[0] != shape[1]:
        raise ConfigError(
            f"quarter turns need a square image; came {shape[0]}x{shape[1]}, which half turns (c2) and half turns with "
            "mirrors (d2) keep"
        )
    return grid_rotations(shape, n, flips=flips)


def _mirrored(shape: list[int], group: FiniteGroup, name: str, whole: str) -> Representation:
    """One way to move an image that undoes itself, for any group of two elements."""
    if group.order != 2:
        raise ConfigError(f"{whole!r} is for c2, whose one move it is, not for {group.name}; d2 and d4 mirror a grid")
    both = grid_rotations(shape, 2, flips=True)
    move = {"halfturn": "r", "flipud": "rs"}.get(name, "s")
    return both.pullback(group, [0, both.group.element(move)], name)


def _of(group: FiniteGroup, rep: Representation, whole: str) -> Representation:
    if rep.group != group:
        raise ConfigError(
            f"{whole!r} is a representation of {rep.group.name}, not of {group.name}: grid is for c1, c2, c4, d1, d2 "
            "and d4, shifts:N for cN and shifts:NxM for cNxcM"
        )
    return rep
