"""Text from outside, such as file names, made safe to show: on one line, without characters that steer a terminal."""

import os
import shlex
from collections.abc import Iterable

__all__ = ["LONGEST_NAME", "printable", "quoted"]

LONGEST_NAME = 120
"""Characters of a file name that are shown, about; chosen by eye."""


def printable(text: object, longest: int = LONGEST_NAME) -> str:
    """A text whose invisible characters are written as escapes, and whose middle is cut out where it is too long.

    Invisible are controls, marks that turn the direction of text or hide it, bytes that are no UTF-8, characters that
    are private or unassigned, and all separators but the plain space (:meth:`str.isprintable`).
    A line break becomes ``\\n``, a byte that is no UTF-8 ``\\xff``, a mark that turns the direction ``\\u202e``.

    Args:
        longest: characters beyond which the middle is cut out; the number of characters of the whole is then told.
    """
    whole = str(text)
    shortened = whole if len(whole) <= longest else f"{whole[: longest // 2]} … {whole[-(longest // 2) :]}"
    shown = "".join(map(_escaped, shortened))
    return shown if shortened is whole else f"{shown} ({len(whole):,} characters)"


def _escaped(letter: str) -> str:
    """A character as it is, or as an escape where it cannot be seen."""
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # Python keeps a byte of a file name that is no UTF-8 in this range
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def quoted(words: Iterable[str]) -> str:
    """A command line that a shell takes apart into the same words.

    Words with invisible characters are written as ``$'…'``, which bash, zsh, ksh and POSIX since 2024 know.
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word quoted for a shell where it needs to be, as :func:`quoted` says."""
    if word.isprintable():
        return shlex.quote(word)
    parts = []
    for letter in word:
        if letter in "\\'":
            parts.append(f"\\{letter}")
        elif not letter.isprintable():
            # An octal escape ends after three digits, so that a digit after it in the word is not read as part of it.
            parts += [f"\\{byte:03o}" for byte in os.fsencode(letter)]
        else:
            parts.append(letter)
    return f"$'{''.join(parts)}'"
