"""Building blocks of a page: sections, paragraphs, figures. Text is escaped here; what is called markup is not."""

import html
from collections.abc import Sequence

import numpy as np

from msr.permutations import Indices
from msr.report.page.arrows import MOST_POINTS, arrows, layout
from msr.report.page.svg import scrolled

__all__ = ["count", "figure", "moves", "panels_of", "paragraph", "section"]

_e = html.escape


def section(title: str, *parts: str) -> str:
    """A section of the page under a heading; ``parts`` are markup."""
    return f"<section>\n<h2>{_e(title)}</h2>\n{''.join(parts)}\n</section>\n"


def paragraph(sentences: str, kind: str = "") -> str:
    """A paragraph of text; ``kind`` is its class in the style sheet."""
    return f'<p class="{kind}">{_e(sentences)}</p>' if kind else f"<p>{_e(sentences)}</p>"


def figure(inside: str, caption: str) -> str:
    """Markup as a figure, with its caption as text."""
    return f"<figure>{inside}<figcaption>{_e(caption)}</figcaption></figure>"


def count(size: int, thing: str) -> str:
    """A number with its noun in singular or plural: ``3 permutations``."""
    return f"{size} {thing}{'s' * (size != 1)}"


def moves(shape: tuple[int, ...], image: Indices, label: str) -> str:
    """A permutation of points that lie as ``shape`` says, drawn as arrows; a sentence where it has too many points.

    The result is markup, and ``label`` says in words what is drawn.
    """
    where = layout(shape)
    if where is None:
        moved = int((image != np.arange(len(image))).sum())
        return paragraph(f"Moves {moved} of {len(image)} points; a drawing has room for {MOST_POINTS}.", "quiet")
    return scrolled(arrows(where, image, label), label)


def panels_of(panels: Sequence[tuple[str, str]]) -> str:
    """Drawings side by side, each under its title: ``(title, markup)``."""
    drawn = "".join(f"<div><h3>{_e(title)}</h3>{svg}</div>" for title, svg in panels)
    return f'<div class="panels">{drawn}</div>'
