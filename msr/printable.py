"""Text from outside, such as file names, as it may be shown: on one line, without what steers a terminal or a page."""

import os
import shlex
from collections.abc import Iterable

__all__ = ["LONGEST_NAME", "printable", "quoted"]

LONGEST_NAME = 120
"""Characters of a file name that are shown, about."""


def printable(text: object, longest: int = LONGEST_NAME) -> str:
    """The text with what cannot be seen written as an escape, and its middle cut out where it is too long.

    Not to be seen are controls, marks that turn the direction of text or hide, bytes that are no UTF-8, characters that
    are private or unassigned, and all separators but the plain space (:meth:`str.isprintable`).
    A line break becomes ``\\n``, a byte that is no UTF-8 ``\\xff``, a mark that turns the direction ``\\u202e``.
    """
    whole = str(text)
    cut = whole if len(whole) <= longest else f"{whole[: longest // 2]} … {whole[-(longest // 2) :]}"
    shown = "".join(map(_escaped, cut))
    return shown if cut is whole else f"{shown} ({len(whole):,} characters)"


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte of a file name, as Python keeps it
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def quoted(words: Iterable[str]) -> str:
    """A command line that a shell takes apart into the same words.

    Words that hold something unseen are written as ``$'…'``, which bash, zsh, ksh and POSIX since 2024 know.
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    parts = []
    for letter in word:
        if letter in "\\'":
            parts.append(f"\\{letter}")
        elif not letter.isprintable():
            # Octal has at most three digits, so that no digit after it is taken for a part of it.
            parts += [f"\\{byte:03o}" for byte in os.fsencode(letter)]
        else:
            parts.append(letter)
    return f"$'{''.join(parts)}'"
