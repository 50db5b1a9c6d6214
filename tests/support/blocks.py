"""The Python blocks of a page of the documentation, and the numbers that they promise.

What a block prints may be promised in a comment behind the ``print``, and is checked when the block runs::

    print(found.k, found.noise)  # 6, about 0.01: the dimension, and the variance of the noise
    print("query MSE", error)  # below 1e-6
    print(found.verdict, found.group.name)  # found D8

Up to the first colon such a comment says what is printed, as a comma list with an item for each number in turn.
``about`` allows a tenth, ``below`` and ``above`` are bounds, and a number alone is what is printed, rounded to its
digits. Anything else is the printed line itself. A comment that holds no digit promises nothing.
"""

import ast
import io
import re
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

__all__ = ["Block", "BrokenPromiseError", "blocks_of", "promises"]

NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
ITEM = re.compile(rf"(about|below|above)? ?({NUMBER})")
# What a checkout has and an installed package has not.
CHECKOUT = {"tasks", "experiments", "benchmarks", "tests"}


class BrokenPromiseError(AssertionError):
    """A block printed something else than its comment says."""


@dataclass(frozen=True)
class Block:
    """A block of Python: where it stands, the text before it (since the block or heading above), and its lines."""

    page: str
    index: int
    before: str
    source: str

    @property
    def needs_a_checkout(self) -> bool:
        """Whether the block imports what only a checkout has."""
        roots = set()
        for node in ast.walk(ast.parse(self.source)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots |= {name.split(".")[0] for name in names}
        return bool(roots & CHECKOUT)

    @property
    def says_so(self) -> bool:
        """Whether the text just before the block names the checkout."""
        return re.search(r"\bcheckout\b", self.before) is not None

    @property
    def holds_itself_to_something(self) -> bool:
        """Whether the block asserts something, or promises in a comment what it prints."""
        calls = (node.func for node in ast.walk(ast.parse(self.source)) if isinstance(node, ast.Call))
        names = (getattr(call, "attr", getattr(call, "id", "")) for call in calls)
        asserts = any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(self.source)))
        return asserts or bool(promises(self.source)) or any(name.startswith("assert_") for name in names)

    def run(self) -> None:
        """Run the block, then its functions ``test_…``, and hold what is printed against what the comments promise.

        Raises: BrokenPromiseError, also for a promise that is never printed; and whatever the block itself raises.
        """
        promised, kept = promises(self.source), set()
        name = f"{self.page}-{self.index}"

        def checked_print(*values: Any, sep: str = " ", **how: Any) -> None:
            """Print, and check the promise on the line of the call, if there is one."""
            line = sys._getframe(1).f_lineno
            text = sep.join(map(str, values))
            print(*values, sep=sep, **how)
            if line in promised:
                check(promised[line], text)
                kept.add(line)

        names: dict[str, Any] = {"__name__": "docs", "print": checked_print}
        exec(compile(self.source, name, "exec"), names)
        for test in [
            value for key, value in names.items() if key.startswith("test_") and isinstance(value, FunctionType)
        ]:
            test()
        if promised.keys() - kept:
            raise BrokenPromiseError(f"never printed: {[promised[line] for line in sorted(promised.keys() - kept)]}")


def blocks_of(page: Path) -> list[Block]:
    """All Python blocks of a page, in order."""
    text = page.read_text()
    found = []
    for index, match in enumerate(re.finditer(r"```python\n(.*?)```", text, flags=re.DOTALL)):
        before = re.split(r"```|^#+ .*$", text[: match.start()], flags=re.MULTILINE)[-1]
        found.append(Block(page.name, index, before, match[1]))
    return found


def promises(source: str) -> dict[int, str]:
    """What each ``print`` promises, up to the first colon, by the number of its first line; others are left out."""
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            promise = comments.get(node.end_lineno, "").split(": ")[0]
            if re.search(r"\d", promise):
                found[node.lineno] = promise
    return found


def check(promise: str, printed: str) -> None:
    """Hold one printed text against one promise. Raises: BrokenPromiseError where it does not keep it."""
    items = [ITEM.fullmatch(item) for item in promise.split(", ")]
    if not all(items):
        if printed.strip() != promise.strip():
            raise BrokenPromiseError(f"promised {promise!r}, printed {printed!r}")
        return
    numbers = re.findall(rf"(?<![\w.]){NUMBER}", printed)
    if len(numbers) < len(items):
        raise BrokenPromiseError(f"promised {promise!r}, printed {printed!r}, which holds fewer numbers")
    for item, number in zip(items, numbers, strict=False):
        if not _holds(item[1], item[2], float(number)):
            raise BrokenPromiseError(f"promised {item[0]!r}, printed {printed!r}")


def _holds(word: str | None, figure: str, printed: float) -> bool:
    """Whether a printed number keeps the promise of a figure, with ``about``, ``below`` or ``above`` before it or None.

    Without a word, the number rounded to the digits of the figure must be the figure.
    """
    promised = float(figure)
    if word == "below":
        return printed < promised
    if word == "above":
        return printed > promised
    if word == "about":
        return abs(printed - promised) <= 0.1 * abs(promised)
    digits, _, power = figure.lower().partition("e")
    step = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(printed - promised) <= 0.5 * step * (1 + 1e-9)
