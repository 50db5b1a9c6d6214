"""What a benchmark is: the functions that its module defines, and the types of what they return."""

import importlib
from typing import Any, NamedTuple, Protocol, cast

__all__ = ["Benchmark", "Headline", "Table", "Tables", "load"]

Table = tuple[list[str], list[list[str]]]
"""A header and rows of as many cells, all of them text."""

Tables = dict[str, Table]
"""Tables by their captions."""


class Headline(NamedTuple):
    """A line of the one table of all benchmarks.

    Attributes:
        what: what was measured, in words.
        ours: the number of this package.
        beside: what it is compared with, and its number; empty without a comparison.
        ratio: how both compare; may be empty.
    """

    what: str
    ours: str
    beside: str = ""
    ratio: str = ""


class Benchmark(Protocol):
    """A module of ``benchmarks/``; ``run`` may have more options, each a keyword with a default."""

    __doc__: str | None

    def run(self, *, quick: bool) -> dict[str, Any]:
        """Measure, and return what JSON can hold."""
        ...

    def tables(self, results: dict[str, Any]) -> Tables:
        """What was measured, from the dictionary of ``run`` after it was JSON."""
        ...

    def headlines(self, results: dict[str, Any]) -> list[Headline]:
        """The lines in the one table of all benchmarks."""
        ...


def load(name: str) -> Benchmark:
    """The module of the benchmark of that name, imported."""
    return cast(Benchmark, importlib.import_module(f"benchmarks.{name}"))
