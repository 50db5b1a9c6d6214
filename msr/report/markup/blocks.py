"""Building blocks of a page: sections, paragraphs, figures. Text is escaped here; what is called markup is not."""

import html
from collections.abc import Mapping, Sequence

from msr.version import __version__

__all__ = ["count", "figure", "glossary", "how_to_repeat", "panels_of", "paragraph", "section"]

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


def panels_of(panels: Sequence[tuple[str, str]]) -> str:
    """Drawings side by side, each under its title: ``(title, markup)``."""
    drawn = "".join(f"<div><h3>{_e(title)}</h3>{svg}</div>" for title, svg in panels)
    return f'<div class="panels">{drawn}</div>'


def how_to_repeat(command: str) -> str:
    """The version and the command line that give the same answer once more."""
    return (
        paragraph(f"With msr {__version__}, from the folder where the first run was started:")
        + f'<pre tabindex="0"><code>{_e(command)}</code></pre>'
    )


def glossary(words: Mapping[str, str]) -> str:
    """The words used on a page, each with what it means."""
    explained = "".join(f"<div><dt>{_e(term)}</dt><dd>{_e(text)}</dd></div>" for term, text in words.items())
    return f'<h3>Words used here</h3><dl class="glossary">{explained}</dl>'
