"""Pages as tests look at them: read tag by tag, and opened in a real browser where there is one."""

import html
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["BROWSER", "Browse", "Reader", "browser_in", "on_a_phone", "read"]

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "link", "br", "hr", "img", "input"}

Browse = Callable[..., "subprocess.CompletedProcess[str]"]
"""A function that opens a page, given as text, in a browser with these flags."""


class Reader(HTMLParser):
    """Text, links and the nesting of a page; a tag that closes another one is an error."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.attributes, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text.append(data)


def read(page: str) -> Reader:
    """A page that was read to its end, with nothing left open."""
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def browser_in(folder: Path) -> Browse:
    """The browser, with its profile in a folder; :data:`BROWSER` must not be None."""

    def browse(page: str, *flags: str) -> "subprocess.CompletedProcess[str]":
        path = folder / "page.html"
        path.write_text(page)
        command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                   f"--user-data-dir={folder / 'profile'}", *flags, path.as_uri()]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)

    return browse


def on_a_phone(page: str, browse: Browse) -> None:
    """Assert that on a screen of 360 pixels nothing of a page runs over the edge, and that drawings are to be seen."""
    inner = html.escape(re.sub(r"<meta http-equiv[^>]*>", "", page))
    outer = (
        f'<!DOCTYPE html><html><body><iframe style="width:360px;height:800px;border:0" srcdoc="{inner}"></iframe>'
        "<script>window.onload = () => { const d = document.querySelector('iframe').contentDocument;"
        "const svgs = [...d.querySelectorAll('svg:not([aria-hidden])')];"
        "const small = svgs.filter(s => s.getBoundingClientRect().width < 10).length;"
        "document.body.dataset.width = d.documentElement.scrollWidth; document.body.dataset.small = small;"
        "document.body.dataset.seen = d.querySelector('h1').getBoundingClientRect().height }</script></body></html>"
    )
    dom = browse(outer, "--dump-dom", "--virtual-time-budget=3000").stdout
    width, small, seen = (re.search(rf'data-{name}="([\d.]+)"', dom) for name in ("width", "small", "seen"))
    assert int(width[1]) <= 360
    assert int(small[1]) == 0
    assert float(seen[1]) > 10
