"""Groups and representations as people write them on a command line: ``d4``, ``c4xc4``, ``3*grid:8``.

A text of a few letters can name a thing that fills any memory, so how large it is is computed from the text, and
refused, before anything is made.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

from msr.errors import ConfigError, ShapeError
from msr.groups import (
    MAX_ORDER,
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

__all__ = ["GROUPS", "MOST_POINTS", "REPRESENTATIONS", "parse_group", "parse_representation"]

MOST_POINTS = 10**6
"""Most numbers that a representation may act on where the caller gives no size: as many as points of a named group."""

_LONGEST = 4096
"""Most letters of a text."""
_SHOWN = 60
"""Letters of a text that an error message repeats."""
_MOST_FACTORS = 64
"""Most factors of a product, wreath products counted in."""
_MOST_AXES = 16
"""Most axes of a grid."""
_MOST_NUMBERS = 2**24
"""Most numbers that are held to make a group, or a representation whose size nobody gave: 128 MB."""
_MOST_NUMBERS_OF_SIZE = MAX_ORDER**2
"""Most numbers that are held for a representation whose size was given: as many as in the largest table of a group."""
_MOST_WREATHED = 2**14
"""Most points of a wreath product without a table: its order is then a number of some hundred thousand digits."""
_MANY = 10**12
"""Orders are counted up to this number, which stands for all larger ones."""

_MAKERS: dict[str, Callable[[int], Any]] = {
    "c": cyclic,
    "d": dihedral,
    "s": symmetric,
    "a": alternating,
    "q": quaternion,
}
"""The function that makes the group of each one-letter family."""


@dataclass(frozen=True)
class _Plan:
    """The group or factor that a text names, with its size, before it is made.

    Attributes:
        make: makes the group; it raises ConfigError for a size that the family does not have.
        order: the number of its elements, counted up to :data:`_MANY`.
        points: how many points it comes with; None for none.
        faithful: whether the points tell its elements apart.
        generators: an upper bound of the number of its generators.
        numbers: about how many entries of arrays are held, at once or one after another, while it is made.
    """

    make: Callable[[], Any]
    order: int
    points: int | None
    faithful: bool
    generators: int
    numbers: int


def parse_group(text: str) -> Any:
    """The group that a text such as ``d4``, ``c2xc2``, ``s3wrc2`` or ``f7:3`` names.

    Raises: ConfigError for a text that names none, and the message lists the notation; for a group that takes more than
    2²⁴ numbers to make (points times elements, where elements are listed); for more than 64 factors.
    """
    plan = _planned(_words(text, "group"), text)
    if plan.numbers > _MOST_NUMBERS:
        raise ConfigError(
            f"{_quoted(text)} takes about {_counted(plan.numbers)} numbers to make, and {_MOST_NUMBERS:,} is the most; "
            "take a smaller group"
        )
    return plan.make()


def _words(text: str, what: str) -> str:
    """The text in lower case without white space; ConfigError for more than ``_LONGEST`` letters.

    ``what`` is "group" or "representation", for the message.
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"no {what} is written {_quoted(text)}: {len(text):,} letters; the most is {_LONGEST:,}")
    return "".join(text.lower().split())


def _quoted(text: str) -> str:
    """The text in quotes, for a message: its first ``_SHOWN`` letters."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _counted(number: int) -> str:
    """A number with commas, for a message; "10^12 or more" from ``_MANY`` on."""
    return f"{number:,}" if number < _MANY else "10^12 or more"


def _planned(words: str, whole: str) -> _Plan:
    """The plan of the group that ``words`` name: a product of wreath products of members of families.

    ``words``: the text without white space; ``whole``: the text as it was written, for messages.
    Raises: ConfigError for a text that names no group, or more than ``_MOST_FACTORS`` factors.
    """
    factors = [part.split("wr") for part in words.split("x")]
    if sum(map(len, factors)) > _MOST_FACTORS:
        raise ConfigError(f"{_quoted(whole)} has {sum(map(len, factors))} factors; the most is {_MOST_FACTORS}")
    plans = []
    for names in factors:
        *inner, outer = (_named(name, words, whole) for name in names)
        # From the right: a wr b wr c is a wr (b wr c), where the last group moves the largest blocks.
        plans.append(reduce(lambda above, below: _wreathed(below, above), reversed(inner), outer))
    return plans[0] if len(plans) == 1 else _multiplied(plans)


def _multiplied(plans: list[_Plan]) -> _Plan:
    """The plan of the direct product of groups."""
    points = [plan.points for plan in plans if plan.points is not None]
    return _Plan(
        make=lambda: direct_product(*(plan.make() for plan in plans)),
        order=min(math.prod(plan.order for plan in plans), _MANY),
        points=sum(points) if len(points) == len(plans) else None,
        faithful=all(plan.faithful for plan in plans),
        generators=sum(plan.generators for plan in plans),
        numbers=sum(plan.numbers for plan in plans),
    )


def _wreathed(inner: _Plan, outer: _Plan) -> _Plan:
    """The plan of ``inner ≀ outer``: a copy of the inner group for each point of the outer one, see
    :func:`wreath_product`.
    """

    def make() -> Any:
        return wreath_product(inner.make(), outer.make())

    numbers = inner.numbers + outer.numbers
    if outer.points is None or not outer.faithful:
        return _Plan(make, _MANY, None, False, 0, numbers)  # there is none, and making it says so
    # A group whose points do not tell its elements apart acts on its own elements instead.
    inner_points = inner.points if inner.points is not None and inner.faithful else inner.order
    points = outer.points * inner_points
    generators = outer.points * inner.generators + outer.generators
    numbers += points * max(generators, 1)
    # The check that an action is faithful reads the points of all elements, and so does a table that stands for them.
    numbers += sum(
        plan.order * n for plan, n in ((inner, inner_points), (outer, outer.points)) if plan.order <= MAX_ORDER
    )
    order = min(_power(inner.order, outer.points) * outer.order, _MANY)
    if order <= MAX_ORDER:
        numbers += order * points
    elif points > _MOST_WREATHED:
        numbers = _MANY
    return _Plan(make, order, points, True, generators, numbers)


def _power(base: int, exponent: int) -> int:
    """``base^exponent``, counted up to :data:`_MANY`."""
    if base == 1:
        return 1
    return min(base**exponent, _MANY) if exponent < math.log2(_MANY) + 1 else _MANY


def _named(name: str, words: str, whole: str) -> _Plan:
    """The plan of a member of one family, ``d4`` or ``f7:3``; a size that the family does not have is left for its
    maker to refuse.

    ``words`` and ``whole`` are those of :func:`_planned`. Raises: ConfigError for a name of no family.
    """
    if frobenius_sizes := re.fullmatch(r"f([0-9]{1,9}):([0-9]{1,9})", name):
        p = int(frobenius_sizes[1])
        q = int(frobenius_sizes[2])

        def make() -> Any:
            """The Frobenius group; ConfigError that quotes the text."""
            try:
                return frobenius(p, q)
            except ConfigError as error:
                raise ConfigError(f"{_quoted(whole)}: {error}") from None

        known = p <= 10**6 and q < p
        return _Plan(make, p * q, p, True, 2, p * (p * q if p * q <= MAX_ORDER else 2) if known else 0)
    match = re.fullmatch(r"([cdsaq])([0-9]{1,9})", name)
    if not match:
        part = "" if name == words else f" (at {_quoted(name)})"
        raise ConfigError(f"no group is written {_quoted(whole)}{part}; the notation is {GROUPS}")
    family = match[1]
    n = int(match[2])
    make_member = lambda: _MAKERS[family](n)  # noqa: E731
    if not 1 <= n <= 10**6:
        return _Plan(make_member, 1, None, False, 0, 0)
    if family in "sa":
        order = min(math.factorial(min(n, 20)), _MANY)
        order = max(order // 2, 1) if family == "a" else order
        listed = order <= MAX_ORDER
        return _Plan(make_member, order, n, True, max(n, 2) if listed else 2, n * (order if listed else 2))
    order = 2 * n if family == "d" else n
    return _Plan(make_member, order, None if family == "q" else n, family == "c" or (family == "d" and n > 2), 2, 2 * n)


@dataclass(frozen=True)
class _Part:
    """One summand of a text, ``count * name:sizes``.

    ``starred``: whether a count was written (else ``count`` is 1), which may be 1; ``points``: how many numbers one
    copy acts on.
    """

    name: str
    sizes: tuple[int, ...]
    count: int
    starred: bool
    points: int


def parse_representation(text: str, group: Any, *, size: int | None = None, most: int = MOST_POINTS) -> Representation:
    """The representation of the group that a text such as ``regular`` or ``3*grid:8 + trivial:2`` names.

    Args:
        text: the notation.
        group: what :func:`parse_group` gives.
        size: how many numbers there are to act on, where that is known; it is only compared with what the text says.
        most: how many numbers it may act on at most, where ``size`` is None.

    Raises: ConfigError for a text that names none, or one of another group, or one that is too large to make;
    ShapeError for one that acts on another number of numbers than ``size``.
    """
    parts = [_part(part, group, text) for part in _words(text, "representation").split("+")]
    total = sum(part.count * part.points for part in parts)
    if size is not None and total != size:
        raise ShapeError(
            f"{_quoted(text)} of {_short(group)} acts on {_counted(total)} numbers, and there are {size:,} to act on"
        )
    if size is None and total > most:
        raise ConfigError(f"{_quoted(text)} acts on {_counted(total)} numbers, and {most:,} is the most; take fewer")
    if isinstance(group, FiniteGroup):
        numbers = group.order * sum(part.points for part in parts)
        limit = _MOST_NUMBERS if size is None else _MOST_NUMBERS_OF_SIZE
        if numbers > limit:
            raise ConfigError(
                f"{_quoted(text)} lists {_counted(numbers)} numbers, {group.order:,} elements of {_short(group)} on "
                f"each point, and {limit:,} is the most; take a smaller group or fewer points"
            )
    made = [_made(part, group, text) for part in parts]
    return made[0] if len(made) == 1 else direct_sum(*made)


def _short(group: Any) -> str:
    """The name of the group, for a message: its first ``_SHOWN`` letters."""
    return group.name if len(group.name) <= _SHOWN else f"{group.name[:_SHOWN]}…"


def _part(text: str, group: Any, whole: str) -> _Part:
    """One summand read from its text, which holds no ``+``; ConfigError, quoting ``whole``, for what is no
    representation.
    """
    count, star, after_star = text.partition("*")
    if star and not re.fullmatch("0*[1-9][0-9]{0,5}", count):
        raise ConfigError(
            f"{_quoted(whole)}: before a * stands a number of copies, from 1 to 999999; got {_quoted(count)}"
        )
    name, colon, size = (after_star if star else text).partition(":")
    fits = re.fullmatch(r"[0-9]{1,6}(x[0-9]{1,6})*", size) is not None
    if colon and not fits:
        raise ConfigError(f"{_quoted(whole)}: {_quoted(size)} is no size; write a number, or NxM for images")
    sizes = tuple(int(s) for s in size.split("x")) if fits else ()
    if len(sizes) > _MOST_AXES:
        raise ConfigError(f"{_quoted(whole)}: {len(sizes)} axes; the most is {_MOST_AXES}")
    points = _points(name, sizes, group)
    if points is None:
        raise ConfigError(f"no representation is written {_quoted(whole)}; the notation is: {REPRESENTATIONS}")
    # Leading zeros are cut, since Python reads no number of thousands of digits.
    return _Part(name, sizes, int(count.lstrip("0")) if star else 1, bool(star), points)


def _points(name: str, sizes: tuple[int, ...], group: Any) -> int | None:
    """How many numbers one copy acts on, at least 1, without making it; None for what is no representation."""
    if name in ("regular", "natural") and not sizes:
        listed = isinstance(group, FiniteGroup)
        known = group.order if listed and name == "regular" else getattr(group, "degree", None)
        return known or 1  # there is none, and making it says so
    if name == "trivial" and len(sizes) < 2:
        return max(*sizes, 1) if sizes else 1
    if (name == "shifts" and sizes) or (name == "reverse" and len(sizes) == 1):
        return max(math.prod(sizes), 1)
    if len(sizes) in (1, 2) and name in ("grid", "halfturn", "mirror", "fliplr", "flipud"):
        return max(math.prod(sizes * (3 - len(sizes))), 1)
    return None


def _made(part: _Part, group: Any, whole: str) -> Representation:
    """The representation of one summand, with its copies.

    Copies of an image are its channels, ``(count, *shape)``; copies of a vector make a longer vector.
    """
    rep = _representation(part.name, list(part.sizes), group, whole)
    if not part.starred:
        return rep
    # Copies of an image are its channels and keep its axes; copies of a vector make a longer vector.
    return tensor_product(trivial(group, part.count), rep) if len(rep.shape) > 1 else copies(rep, part.count)


def _representation(name: str, sizes: list[int], group: Any, whole: str) -> Representation:
    """One copy of the representation with this name and these sizes; ConfigError where the group has none."""
    if name == "regular":
        return regular(group)
    if name == "natural":
        return natural(group)
    if name == "trivial":
        return trivial(group, *sizes)
    if name == "shifts":
        return _shifted(sizes, group, whole)
    if name == "reverse":
        return _mirrored([1, sizes[0]], group, name, whole).reshape(sizes[0])
    shape = sizes * (3 - len(sizes))
    return _of(group, _turned(shape, group), whole) if name == "grid" else _mirrored(shape, group, name, whole)


def _shifted(sizes: list[int], group: Any, whole: str) -> Representation:
    """Shifts of a grid of these sizes; ConfigError where their group is not ``group``.

    Its order tells most of these before anything is listed.
    """
    order = math.prod(sizes)
    listed = isinstance(group, FiniteGroup)
    if order > 0 and (listed != (order <= MAX_ORDER) or (listed and group.order != order)):
        raise _of_another("x".join(f"C{n}" for n in sizes), group, whole)
    return _of(group, grid_shifts(sizes), whole)


def _turned(shape: list[int], group: Any) -> Representation:
    """The representation that ``grid`` means for a group: turns by ``360°/n`` for ``Cn``, with flips for ``Dn``.

    It is chosen by the group's name, since C2 and D1, which turn and mirror, are one abstract group; for a group of
    another name it is that of C4, or of D4 if there are eight elements. ConfigError for quarter turns of a rectangle.
    """
    named = re.fullmatch("([CD])([124])", group.name)
    n, flips = (int(named[2]), named[1] == "D") if named else (4, isinstance(group, FiniteGroup) and group.order == 8)
    if n == 4 and shape[0] != shape[1]:
        raise ConfigError(
            f"quarter turns need a square image; got {shape[0]}x{shape[1]}, which half turns (c2) and half turns with "
            "mirrors (d2) keep"
        )
    return grid_rotations(shape, n, flips=flips)


def _mirrored(shape: list[int], group: Any, name: str, whole: str) -> Representation:
    """A move of an image that undoes itself, as a representation of any group of two elements; ConfigError for another
    group.

    ``name``: ``halfturn``, ``flipud`` (up and down), or any other name for left and right.
    """
    if not isinstance(group, FiniteGroup) or group.order != 2:
        raise ConfigError(
            f"{_quoted(whole)} is for c2, whose one move it is, not for {_short(group)}; d2 and d4 mirror a grid"
        )
    # Half turns with mirrors hold each of these moves, as an element of order two.
    both = grid_rotations(shape, 2, flips=True)
    move = {"halfturn": "r", "flipud": "rs"}.get(name, "s")
    return both.pullback(group, [0, both.group.element(move)], name)


def _of(group: Any, rep: Representation, whole: str) -> Representation:
    """The representation itself, after a check that its group is ``group``; else ConfigError."""
    if rep.group != group:
        raise _of_another(rep.group.name, group, whole)
    return rep


def _of_another(name: str, group: Any, whole: str) -> ConfigError:
    """The error, returned, that a text names a representation of the group ``name`` and not of ``group``."""
    return ConfigError(
        f"{_quoted(whole)} is a representation of {name}, not of {_short(group)}: grid is for c1, c2, c4, d1, d2 and "
        "d4, shifts:N for cN and shifts:NxM for cNxcM"
    )
