"""The lines of the table of contexts, which the terminal and the page show alike."""

from collections.abc import Sequence

from msr.contexture.comparison import Judged
from msr.printable import printable

__all__ = ["TRY", "header_of", "lines_of", "percent"]

TRY = "  try: "
"""What stands before the name of a mixture that was tried for the context above it."""


def header_of(with_target: bool) -> list[str]:
    """The heads of the columns."""
    header = ["context", "strength", "functions", "for 90%", "energy", "decay", "τ"]
    return [*header, "target known", "explained"] if with_target else header


def lines_of(judged: Sequence[Judged], with_target: bool) -> list[list[str]]:
    """The cells of each context, and below it those of the mixture that is advised, as printable text."""
    lines = []
    for line in judged:
        lines.append(_cells(line, printable(line.name), with_target))
        if line.advice is not None:
            lines.append(_cells(line.advice, f"{TRY}{printable(line.advice.name)}", with_target))
    return lines


def percent(share: float | None) -> str:
    """A share in per cent; nothing for None."""
    return "" if share is None else f"{100 * share:.0f}%"


def _cells(line: Judged, name: str, with_target: bool) -> list[str]:
    """The cells of one context under this name."""
    value = line.usefulness
    cells = [
        name,
        line.strength,
        "–" if value.abstains else str(line.dimension),
        str(line.needed),
        f"{value.energy:.2f}",
        f"{value.decay:.2g}",
        f"{value.tau:.2f}" if not value.abstains else "– (says nothing)",
    ]
    if with_target:
        # A context that is made of the target knows it by definition.
        cells += (
            ["(is it)", ""] if line.of_target else [percent(line.known), f"{percent(line.explained)} ({line.probed})"]
        )
    return cells
