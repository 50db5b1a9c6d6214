"""Building blocks of a page: sections, paragraphs, figures; all text is escaped here."""

import html
from collections.abc import Sequence

import numpy as np

from msr.permutations import Indices
from msr.report.page.arrows import MOST_POINTS, arrows, layout
from msr.report.page.svg import scrolled

__all__ = ["count", "figure", "moves", "panels_of", "paragraph", "section"]

_e = html.escape


def section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{_e(title)}</h2>\n{''.join(parts)}\n</section>\n"


def paragraph(words_: str, kind: str = "") -> str:
    return f'<p class="{kind}">{_e(words_)}</p>' if kind else f"<p>{_e(words_)}</p>"


def figure(inside: str, caption: str) -> str:
    return f"<figure>{inside}<figcaption>{_e(caption)}</figcaption></figure>"


def count(size: int, thing: str) -> str:
    return f"{size} {thing}{'s' * (size != 1)}"


def moves(shape: tuple[int, ...], image: Indices, label: str) -> str:
    where = layout(shape)
    if where is None:
        moved = int((image != np.arange(len(image))).sum())
        return paragraph(f"Moves {moved} of {len(image)} points; a drawing has room for {MOST_POINTS}.", "quiet")
    return scrolled(arrows(where, image, label), label)


def panels_of(panels: Sequence[tuple[str, str]]) -> str:
    return f'<div class="panels">{"".join(f"<div><h3>{_e(t)}</h3>{svg}</div>" for t, svg in panels)}</div>'
