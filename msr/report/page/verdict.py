"""The head of the page: the verdict in words, and the numbers behind it."""

import html
import math
from collections.abc import Iterator

from msr.discovery.answer.result import Discovery
from msr.discovery.answer.sentences import p_words, share
from msr.report.page.arrows import arrows, layout
from msr.report.page.tested import seen_exceptions
from msr.report.page.view import number, percent, shape_words, shortened

__all__ = ["headline", "verdict"]

_BADGES = {
    "found": ("found", "✓", "Found"),
    "none": ("none", "–", "None"),
    "cannot tell": ("unsure", "?", "Cannot tell"),
}
"""For each verdict: its class in the style sheet, a sign, and a word."""
_WIDEST_EMBLEM = 300
"""Pixels that a drawing beside the verdict may take; chosen by eye."""
_e = html.escape


def headline(discovery: Discovery) -> str:
    """The answer in a few words: the name of the group, or that there is none, no exact one, or no telling."""
    if discovery.group is not None:
        return discovery.group.name
    return "No exact group" if discovery.partial else "No group" if discovery.verdict == "none" else "Cannot tell"


def verdict(discovery: Discovery) -> str:
    """The head of the page: the answer as a sentence, what stands in the way of one, and its most telling numbers."""
    kind, sign, badge = _BADGES[discovery.verdict]
    parts = [
        f'<header class="verdict {kind}"><div><p class="badge"><span aria-hidden="true">{sign}</span> {badge}</p>',
        f'<h1>{_e(headline(discovery))}</h1><p class="says">{_e(shortened(discovery.sentence))}</p></div>',
        f'<div class="emblem" aria-hidden="true">{_emblem(discovery)}</div></header>',
    ]
    if discovery.hints:
        items = "".join(f"<li>{_e(shortened(hint))}</li>" for hint in discovery.hints)
        parts.append(
            f'<div class="note unsure"><b>What stands in the way, and what would help</b><ul>{items}</ul></div>'
        )
    facts = "".join(
        f"<div><dt>{_e(term)}</dt><dd>{_e(value)}{f'<small>{_e(more)}</small>' if more else ''}</dd></div>"
        for term, value, more in _facts(discovery)
    )
    parts.append(f'<dl class="facts">{facts}</dl>')
    if discovery.group is not None and not discovery.group.certain:
        also = ", ".join(discovery.group.alternatives)
        note = f"The name is not proven. What was compared fits also: {also}." if also else "The name is a description."
        parts.append(f'<div class="note"><p>{_e(note)}</p></div>')
    if discovery.two_closure_note:
        parts.append(
            f'<div class="note"><b>Which group a linear layer shows</b><p>{_e(discovery.two_closure_note)}</p></div>'
        )
    if discovery.left_out:
        items = "".join(f"<li>{_e(text)}</li>" for text in discovery.left_out)
        parts.append(f'<div class="note"><b>Left out of the data</b><ul>{items}</ul></div>')
    return "\n".join(parts)


def _emblem(discovery: Discovery) -> str:
    """A drawing of the first generator on the inputs, beside the verdict; it is drawn again below, with words.

    Empty without a generator, and where the drawing would be wider than 300 pixels.
    """
    moves, _ = discovery.generators()
    where = layout(discovery.shape_in) if len(moves) else None
    if where is None or where.width > _WIDEST_EMBLEM:
        return ""
    # Whoever listens to the page hears of the generator below, so this drawing is hidden from them.
    return arrows(where, moves[0], "").replace('role="img" aria-label=""', 'aria-hidden="true"')


def _facts(discovery: Discovery) -> Iterator[tuple[str, str, str]]:
    """Each fact as a term, its value, and a line in small letters."""
    group = discovery.group
    certificate = discovery.certificate
    if group is not None:
        yield "Order of the group", number(group.order), ""
        yield "Inputs", shape_words(discovery.shape_in), str(group.on_inputs)
        yield "Outputs", shape_words(discovery.shape_out), str(group.on_outputs)
    else:
        yield "Inputs", shape_words(discovery.shape_in), ""
        yield "Outputs", shape_words(discovery.shape_out), ""
    if discovery.dimension is not None:
        weights = len(discovery.outputs) * len(discovery.inputs)
        yield "Dimension of the sharing", str(discovery.dimension), f"of {number(weights)} weights, biases left out"
    if discovery.chosen is not None:
        yield "Residual", f"{discovery.chosen.residual:.2g}", "of the fitted weights, when averaged over the group"
    if certificate is not None:
        bound = f"of the outputs of typical tasks, at level {certificate.alpha:g}"
        estimate = f"the estimate is {percent(certificate.breaking)}, from {certificate.method}"
        yield "What breaks it, at most", percent(certificate.bound), f"{bound}; {estimate}"
        yield (
            "Exceptions, at most",
            f"{certificate.exceptions_at_most:.1%}",
            f"of the tasks; {seen_exceptions(certificate)}",
        )
        if certificate.linear and certificate.nonlinear_at_most is not None:
            yield "Not linear, at most", percent(certificate.nonlinear_at_most), "of the outputs"
        yield (
            "p-value",
            p_words(certificate.p_value).removeprefix("p = ").removeprefix("p "),
            f"on {certificate.n_tasks} tasks that had no part in choosing the group"
            + (f", in each of {certificate.splits} splits" if certificate.splits > 1 else ""),
        )
        yield "Tolerance", share(certificate.eps), "of the outputs"
        if certificate.specificity is not None:
            yield "Relabellings that do as well", f"{certificate.specificity:.0%}", "of random ones; small is good"
    yield "Tasks", number(discovery.n_tasks), f"layer: {discovery.layer}"
    if discovery.noise is not None:
        yield "Noise", f"{math.sqrt(max(discovery.noise, 0.0)):.2g}", "standard deviation of an output"
    yield "Time", f"{discovery.seconds:.1f} s", ""
