"""Names from the computer algebra system GAP, where it is installed: <https://www.gap-system.org>."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from msr.permutations import Indices

__all__ = ["gap_name"]

_SECONDS = 20.0
"""Time after which GAP is ended, in seconds. Chosen by hand."""
# The small groups library knows most orders up to 2,000, and its index is the isomorphism class.
_SCRIPT = """\
G := Group({generators});;
LoadPackage("smallgrp");;
if IsBound(SMALL_AVAILABLE) and SMALL_AVAILABLE(Size(G)) <> fail then Print("msr id ", IdSmallGroup(G), "\\n"); fi;
Print("msr name ", StructureDescription(G), "\\n");
QUIT;
"""


def gap_name(generators: Indices) -> tuple[str, bool] | None:
    """What GAP calls the group that permutations ``(r, n)`` generate, and whether that tells its isomorphism class.

    An index of the small groups library does, such as ``SmallGroup(16,3)``, which is followed by the structure
    description; a structure description alone may fit several groups. Dihedral groups are written as everywhere in this
    package, ``D4`` for the one of 8 elements, where GAP writes ``D8``. None where GAP is not installed, or does not
    answer within 20 s, and for no generator. GAP runs in a process of its own.
    """
    command = _command()
    if command is None or len(generators) == 0:
        return None
    lists = ", ".join(f"PermList({(row + 1).tolist()})" for row in generators)
    try:
        # In a process of its own, so that a crash or an endless search ends nothing but GAP.
        answer = subprocess.run(
            [*command, "-q", "-A", "-r", "-T", "-x", "4096"],
            input=_SCRIPT.format(generators=lists).encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        # It may have printed the identifier before it went on to the description.
        answer = error.stdout or b""
    except OSError:
        return None
    answers = dict(re.findall(r"^msr (id|name) (.+)$", answer.decode(errors="replace"), re.MULTILINE))
    index = re.fullmatch(r"\[ (\d+), (\d+) \]", answers.get("id", ""))
    # GAP counts elements where this package counts corners.
    words = re.sub(r"\bD(\d+)\b", lambda match: f"D{int(match[1]) // 2}", answers.get("name", ""))
    if index:
        known = f"SmallGroup({index[1]},{index[2]})"
        return (f"{known}, {words}" if words else known), True
    return (words, False) if words else None


def _command() -> list[str] | None:
    """The command that starts GAP: the program on the path, or that of the wheel ``passagemath-gap``; None without
    either.

    The program of the wheel needs the path of its library as an argument.
    """
    program = shutil.which("gap")
    if program is not None:
        return [program]
    wheel = importlib.util.find_spec("passagemath_gap")
    if wheel is None or wheel.origin is None:
        return None
    root = Path(wheel.origin).parent.parent / "gap"
    return [str(root / "gap"), "-l", str(root)] if (root / "gap").is_file() else None
