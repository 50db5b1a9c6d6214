"""Pieces of SVG as text."""

import html

__all__ = ["element", "picture", "rounded", "scrolled", "text"]


def element(tag: str, inside: str = "", **attributes: object) -> str:
    """One element; ``class_`` gives ``class`` and an underscore a hyphen. ``inside`` is markup, as it is.

    Values of attributes are escaped; one that is None or an empty text is left out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(rounded(value))}"'
        for name, value in attributes.items()
        if value not in (None, "")
    )
    return f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>"


def rounded(value: object) -> str:
    """A value as text; a float to a tenth of a pixel, which is finer than a screen shows."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def text(
    x: float, y: float, words: str, *, size: float = 12, anchor: str = "start", kind: str = "", fill: str = ""
) -> str:
    """A line of text at ``(x, y)``, its anchor on the baseline; its words are escaped.

    ``kind`` is its class in the style sheet, whose colour ``fill`` overrides.
    """
    style = f"fill:{fill}" if fill else ""
    anchor = "" if anchor == "start" else anchor
    return element(
        "text", html.escape(words), x=float(x), y=float(y), font_size=size, text_anchor=anchor, class_=kind, style=style
    )


def picture(width: float, height: float, inside: str, label: str) -> str:
    """A drawing of this size in pixels; ``inside`` is markup, and ``label`` says in words what it shows."""
    w = rounded(float(width))
    h = rounded(float(height))
    return (
        f'<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{html.escape(label)}">'
        f"{inside}</svg>"
    )


def scrolled(inside: str, label: str, *, kind: str = "") -> str:
    """A box that scrolls by itself where its content is wider than the page; the keyboard reaches it.

    ``inside`` is markup, ``label`` names the box, and ``kind`` is a further class in the style sheet.
    """
    names = f"scroll {kind}".strip()
    return f'<div class="{names}" role="region" aria-label="{html.escape(label)}" tabindex="0">{inside}</div>'
