"""A discovery as one web page that opens from disk, with no network, no script and no plotting library.

The page is made in four steps: the numbers to draw (:mod:`~msr.report.page.view`), drawings of them
(:mod:`~msr.report.page.charts`, :mod:`~msr.report.page.arrows`), sections that put drawings into words
(:mod:`~msr.report.page.verdict`, :mod:`~msr.report.page.tested`, :mod:`~msr.report.page.sections`), and the page.
"""

import html
import re
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from msr.discovery.answer.result import Discovery
from msr.printable import printable
from msr.report.page.sections import (
    continuous,
    generators,
    multiplication_table,
    partial,
    repeat,
    residuals,
    sharing,
    spectrum,
    training,
)
from msr.report.page.tested import tested
from msr.report.page.verdict import headline, verdict
from msr.report.page.view import view_of
from msr.version import __version__

__all__ = ["discovery_page"]

_e = html.escape


def discovery_page(discovery: Discovery, *, source: str, command: str) -> str:
    """One HTML file: the verdict, what was tested, drawings of the evidence, and how to repeat it.

    Args:
        source: where the tasks came from, for the reader.
        command: the command line that gives the same answer.
    """
    view = view_of(discovery)
    sections = [
        tested(discovery),
        sharing(view),
        spectrum(view),
        training(discovery),
        generators(discovery),
        multiplication_table(view),
        residuals(view),
        partial(discovery),
        continuous(discovery),
        repeat(command),
    ]
    name = printable(PurePath(source).name or source)
    source = printable(source)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{_e(headline(discovery))} · {_e(name)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is fetched and nothing runs, whatever a file name or a command may hold.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_style_sheet()}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="over">Symmetry of the tasks in <strong>{_e(source)}</strong></p>\n'
        f"{verdict(discovery)}\n{''.join(sections)}\n"
        f"<footer>Written by msr {_e(__version__)}. This file is complete: it loads nothing.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


@cache
def _style_sheet() -> str:
    """The style sheet without its comments, which are for those who edit it; each is a line of its own."""
    text = (files("msr.report.page") / "style.css").read_text(encoding="utf-8")
    return re.sub(r"^/\*.*?\*/\n", "", text, flags=re.MULTILINE)
