"""A whole page around its sections: one HTML file that opens from disk, with no network and no script."""

import html
import re
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from msr.printable import printable
from msr.version import __version__

__all__ = ["page"]

_e = html.escape


def page(*, headline: str, about: str, source: str, body: str) -> str:
    """One HTML file, complete in itself.

    Args:
        headline: the answer in a few words, for the title of the window.
        about: what the page is about, as text that ends before the name of the source.
        source: the file that the answer is about, for the reader; its name may hold anything.
        body: all that is below, as markup.
    """
    name = printable(PurePath(source).name or source)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{_e(headline)} · {_e(name)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is fetched and nothing runs, whatever a file name or a command may hold.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_style_sheet()}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="over">{_e(about)} <strong>{_e(printable(source))}</strong></p>\n'
        f"{body}\n"
        f"<footer>Written by msr {_e(__version__)}. This file is complete: it loads nothing.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


@cache
def _style_sheet() -> str:
    """The style sheet without its comments, which are for those who edit it; each is a line of its own."""
    # It lies in the one folder from which style sheets go into the wheel.
    text = (files("msr.report.markup") / "style.css").read_text(encoding="utf-8")
    return re.sub(r"^/\*.*?\*/\n", "", text, flags=re.MULTILINE)
