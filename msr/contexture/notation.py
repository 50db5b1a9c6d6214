"""Contexts of a table's rows as people write them: ``knn:30``, ``group:d4:grid:8``, ``labels + rbf:auto``."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from msr.contexture.contexts.base import Context
from msr.contexture.contexts.kernels import KernelContext
from msr.contexture.contexts.pools import PoolContext
from msr.contexture.contexts.tables import TableContext
from msr.contexture.mixing import convex, convolve, joint
from msr.errors import ConfigError, DataError
from msr.printable import printable
from msr.representations.notation import parse_group, parse_representation

__all__ = ["Recipe", "parse_context"]


@dataclass(frozen=True)
class Recipe:
    """A context that is written down, to be made on points.

    Attributes:
        text: as it was written.
        needs_target: whether it looks at the target.
        is_mixture: whether it is made of several. There are no brackets to put around it and mix it further.
    """

    text: str
    needs_target: bool
    _make: Callable[[Tensor, Any, Tensor], Context]
    is_mixture: bool = False

    def on(self, points: Tensor, target: Any = None, columns: Tensor | None = None) -> Context:
        """The context on points ``(n, p)``, with a target for each point where it needs one.

        ``columns (n, q)`` are the same points as a group moves them, in one unit; by default the points themselves.

        Raises: ConfigError where a target is missing, and what the contexts raise.
        """
        if self.needs_target and target is None:
            raise ConfigError(f"the context {self.text} looks at the target, and there is none")
        return self._make(points, target, points if columns is None else columns)


def parse_context(text: str) -> Recipe:
    """The context that a text names; ``*`` binds more than ``+``, and ``&`` more than both.

    Raises: ConfigError for a text that names none, with the notation.
    """
    if len(text) > _LONGEST or not text.isprintable():
        raise _unknown(text, f"at most {_LONGEST} letters, and no line breaks")
    return _mixed(text, text, "+*&")


_LONGEST = 200  # letters of a text
_WORDS = "knn|rbf|mask|labels|target|group"
"""What a context can begin with."""

_MIXTURES: dict[str, Callable[[Sequence[Context], str], Context]] = {
    "+": lambda parts, name: convex(parts, name=name),
    "*": lambda parts, name: _chained(parts, name),
    "&": lambda parts, name: joint(parts, name=name),
}


def _mixed(text: str, whole: str, signs: str) -> Recipe:
    """The recipe of a text that may be mixed by these signs, the loosest first."""
    if not signs:
        return _single(text.strip(), whole)
    # Signs within a context, as in group:c2:2*natural, are its own.
    pieces = re.split(rf"{re.escape(signs[0])}(?=\s*(?:{_WORDS})\b)", text)
    parts = [_mixed(part, whole, signs[1:]) for part in pieces]
    if len(parts) == 1:
        return parts[0]
    name = text.strip()
    mix = _MIXTURES[signs[0]]
    return Recipe(
        name,
        any(part.needs_target for part in parts),
        lambda points, target, columns: mix([part.on(points, target, columns) for part in parts], name),
        is_mixture=True,
    )


def _chained(parts: Sequence[Context], name: str) -> Context:
    """Contexts one after the other, the first first."""
    first, *rest = parts
    for number, part in enumerate(rest):
        first = convolve(first, part, name if number == len(rest) - 1 else None)
    return first


def _single(text: str, whole: str) -> Recipe:
    """The recipe of a text without mixtures. Raises: ConfigError."""
    word, _, rest = text.partition(":")
    if text == "labels":
        return Recipe(text, True, lambda _, target, __: TableContext.labels(_as_labels(target), name=text))
    if text == "target":
        return Recipe(text, True, lambda _, target, __: KernelContext.features(_as_values(target), name=text))
    if word == "knn":
        k = _whole_number(rest, whole)
        return Recipe(text, False, lambda points, _, __: PoolContext.neighbours(points, k, name=text))
    if word == "rbf":
        gamma = None if rest == "auto" else _number(rest, whole)
        return Recipe(text, False, lambda points, _, __: PoolContext.rbf(points, gamma, name=text))
    if word == "mask":
        hidden = _number(rest, whole)
        return Recipe(text, False, lambda points, _, __: PoolContext.masked(points, hidden, name=text))
    if word == "group":
        named, _, acts = rest.partition(":")
        if not acts:
            raise _unknown(whole, f"{printable(text)} says not how the group acts")
        group = parse_group(named)
        representation = parse_representation(acts, group)
        return Recipe(text, False, lambda _, __, columns: PoolContext.rbf(columns).moved(representation, name=text))
    raise _unknown(whole, f"{printable(text)!r} is no context")


def _as_labels(target: Any) -> Any:
    """The target as one label for each point."""
    values = np.asarray(target)
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _as_values(target: Any) -> Any:
    """The target as numbers. Raises: DataError for labels."""
    values = np.asarray(target)
    if values.dtype.kind not in "biuf":
        raise DataError("the context target takes numbers, and the target holds labels; the context labels takes these")
    return values


def _whole_number(text: str, whole: str) -> int:
    """A whole number. Raises: ConfigError for what is none."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise _unknown(whole, f"{printable(text)!r} is no whole number")
    return int(text)


def _number(text: str, whole: str) -> float:
    """A number. Raises: ConfigError for what is none."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text:
        raise _unknown(whole, f"{printable(text)!r} is no number")
    return number


def _unknown(whole: str, why: str) -> ConfigError:
    """The error of a text that names no context."""
    return ConfigError(
        f"no context is written {printable(whole)!r}: {why}. There are knn:K, rbf:auto, rbf:G, mask:P, labels, target, "
        "group:G:ACTS, and mixtures by *, + and &"
    )
