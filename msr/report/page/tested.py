"""What was tested, in plain words: the hypotheses, the groups, and how each was judged."""

import html
import math
from collections.abc import Iterator

from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.certificate import GroupCertificate
from msr.discovery.answer.result import Discovery
from msr.discovery.answer.sentences import p_words, share
from msr.report.markup.blocks import paragraph, section
from msr.report.markup.svg import scrolled
from msr.report.page.charts import interval
from msr.report.page.view import number, percent

__all__ = ["seen_exceptions", "tested"]

_MOST_PLACES = 12
"""Numbers of exceptional tasks that are written out; chosen by eye."""
_e = html.escape


def seen_exceptions(certificate: GroupCertificate) -> str:
    """Which tasks were seen to be exceptions, in words: the first twelve, by their places from 0; "none was seen"."""
    places = certificate.exceptions
    if not places:
        return "none was seen"
    more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
    return f"seen: task{'s' * (len(places) > 1)} {', '.join(map(str, places[:_MOST_PLACES]))}{more}"


def tested(discovery: Discovery) -> str:
    """The section on what was tested: null hypotheses in words, and a table of all groups that were tried."""
    title = "What was tested"
    certificate = discovery.certificate
    if discovery.dimension is None:
        return section(title, paragraph("Nothing: no sharing of weights was learned, so there was no group to test."))
    parts = [paragraph(
        "Each task is a linear layer of its own. Its means were taken off first, so biases and offsets play no part. "
        "Some of the tasks taught what all layers share, and weights that agree were put into classes, more finely and "
        "more coarsely. Each way gives one group: the permutations that keep the classes. The other tasks, which had "
        "no part in this, said how much of their own weights breaks each group, whatever had been learned."
    )]  # fmt: skip
    if not discovery.candidates:
        return section(title, *parts, paragraph("No permutation keeps the classes, so there was no group to test."))
    if certificate is None:
        claims = _of_all_groups()
    else:
        claims = _of_the_named(certificate, discovery.thresholds.certificate_share)
    items = "".join(f"<li><b>{_e(term)}</b> {_e(text)}</li>" for term, text in claims)
    parts.append(f'<ul class="claims">{items}</ul>')
    if certificate is not None:
        parts.append(f'<p class="quiet">Formally: {_e(certificate.null)}.</p>')
    limit = certificate.eps if certificate is not None else None
    rows = "".join(_row(discovery, candidate, limit) for candidate in discovery.candidates)
    ticks = "0.1% to 100%, logarithmic" + ("; the dashed line is the tolerance" if limit else "")
    caption = (
        "Breaking: how much of the outputs comes from what breaks the group, on average; the bounds are of typical "
        f"tasks. The picture runs from {ticks}."
    )
    table = (
        f'<table role="table"><caption>{_e(caption)}</caption><thead><tr>'
        '<th scope="col" class="n">Order</th><th scope="col" class="n">Classes</th>'
        '<th scope="col" class="n">Breaking</th><th scope="col" class="n">Bounds</th><th scope="col">Picture</th>'
        '<th scope="col">Judgement</th><th scope="col" class="why">Why</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )
    return section(title, *parts, f"<figure>{scrolled(table, 'Candidate groups', kind='wide')}</figure>")


def _of_the_named(certificate: GroupCertificate, own_share: float) -> Iterator[tuple[str, str]]:
    """What each test of the group that is named says, and its null hypothesis: a term and a text for each.

    ``own_share`` is the part of the error rate, as a factor of ``alpha``, that each test beside the main one has to
    itself.
    """
    eps = share(certificate.eps)
    level = f"level {certificate.alpha:g}"
    # Tests beside the main one share the error rate: each of them has this part of it to itself.
    other_level = f"level {certificate.alpha * own_share:g}"
    yield (
        "Typical tasks.",
        f"The null hypothesis: in typical tasks, what breaks the named group makes {eps} of {certificate.covers} or "
        f"more. It was rejected at {level} ({p_words(certificate.p_value)}), by a bet against it, for "
        f"which a task counts as breaking the group by {certificate.counts_up_to:.0%} at most.",
    )
    size = f"{certificate.exceptions_break:.0%}"
    yield (
        "Exceptions.",
        f"A task that breaks the group by more than {size} of the outputs is one. "
        + ("None was seen, so" if not certificate.exceptions else f"{_these(certificate)} With those,")
        + f" at most {certificate.exceptions_at_most:.1%} of the tasks may be exceptions "
        + f"(a binomial bound, {other_level})."
        + ("" if certificate.certified else " These are too many for the group to be named."),
    )
    yield "What is not linear.", _linear(certificate, other_level)
    yield (
        "Larger groups.",
        "A group is not named if tasks show that it is broken at all, even by less than the tolerance, and none is "
        "named while a larger one is open.",
    )
    yield "All together.", _together(certificate.alpha)
    yield (
        "Splits.",
        "The tasks were divided once into those that teach and those that test."
        if certificate.splits == 1
        else f"The tasks were divided {certificate.splits} times into those that teach and those that test, at random, "
        "and what the splits say was averaged.",
    )


def _of_all_groups() -> Iterator[tuple[str, str]]:
    """The null hypotheses of each group in the table, where none is named: a term and a text for each."""
    yield (
        "Within.",
        "The null hypothesis: typical tasks break the group by the tolerance or more. Where it falls, what breaks the "
        "group is small.",
    )
    yield (
        "Beyond.",
        "The null hypothesis: they break it by the tolerance or less. Where it falls, the group is not theirs.",
    )
    yield (
        "Broken.",
        "The null hypothesis: nothing breaks the group. Where it falls, the group is not named, even if what breaks it "
        "is small.",
    )
    yield "All together.", _together(None)


def _together(alpha: float | None) -> str:
    """A sentence on the error rate that all statements in the table share; ``alpha`` is None where it is not known."""
    level = "the error rate that was asked for" if alpha is None else f"{alpha:g}"
    return (
        "What is said of all groups in the table, from all splits of the tasks, shares one error rate: the probability "
        f"that any of it is wrong is at most {level}."
    )


def _these(certificate: GroupCertificate) -> str:
    """A sentence that lists the exceptions, of which there must be some, by their places: the first twelve."""
    plural = len(certificate.exceptions) != 1
    places = seen_exceptions(certificate).removeprefix("seen: ")
    return f"{places[0].upper()}{places[1:]} {'were' if plural else 'was'} seen to be (counted from 0, as they came)."


def _linear(certificate: GroupCertificate, level: str) -> str:
    """Sentences on whether the tasks are linear, and how the energy that is not linear was counted.

    ``level`` is the level of that test, in words.
    """
    if not certificate.linear:
        return (
            "Functions of the inputs explain a part of what a linear layer leaves, so all that it leaves was counted "
            "as breaking the group."
        )
    if certificate.nonlinear_at_most is None:
        return "Whether the tasks are linear could not be tested: there are too few examples a task for it."
    return (
        "Products of inputs were tried on what a linear layer leaves, and explain nothing that noise would not: at "
        f"most {percent(certificate.nonlinear_at_most)} of the outputs ({level}). "
        + (
            "Together with what breaks the group in the linear layer that is less than the tolerance."
            if certificate.covers == "the outputs"
            else "It comes on top of what breaks the group in the linear layer."
        )
    )


def _row(discovery: Discovery, candidate: Candidate, limit: float | None) -> str:
    """A row of the table: one group, what breaks it, and how it was judged.

    ``limit`` is the tolerance to draw, a share of the outputs' size; None to draw none.
    """
    # Bounds are shares of the outputs' energy; the picture shows shares of their size.
    low, middle, high = (math.sqrt(max(energy, 0.0)) for energy in (candidate.low, candidate.breaking, candidate.high))
    sign, mark = {"within": ("yes", "✓ within"), "beyond": ("no", "✕ beyond"), "open": ("open", "? open")}[
        candidate.status
    ]
    if candidate.seen_broken and candidate.status != "beyond":
        sign = "no"
        mark = "✕ broken"
    breaking = percent(candidate.breaking)
    bounds = f"{percent(candidate.low)} – {percent(candidate.high)}"
    drawn = interval(low, middle, high, limit, f"breaking {breaking}, bounds {bounds}")
    chosen = ' class="chosen"' if candidate is discovery.chosen else ""
    cells = (
        ("n", "Order", _e(number(candidate.order))), ("n", "Classes", str(candidate.n_colours)),
        ("n", "Breaking", breaking), ("n", "Bounds", bounds), ("", "Picture", drawn),
        (f"mark {sign}", "Judgement", mark), ("why", "Why", _e(_why(discovery, candidate))),
    )  # fmt: skip
    # On a phone the style sheet makes a card of each row; the roles keep it a table for those who listen.
    row = "".join(f'<td role="cell" class="{kind}" data-term="{term}">{cell}</td>' for kind, term, cell in cells)
    return f'<tr role="row"{chosen}>{row}</tr>'


def _why(discovery: Discovery, candidate: Candidate) -> str:
    """Why a group was judged as it was, in one sentence."""
    if candidate is discovery.chosen:
        reason = "Chosen: the largest group that is within the tolerance and not seen to be broken."
        return reason if candidate.exact else f"{reason} The fitted weights do differ, by less than the tolerance."
    if candidate.status == "beyond":
        return f"Typical tasks break it by at least {percent(candidate.low)} of the outputs, more than the tolerance."
    if candidate.seen_broken and candidate.status == "within":
        return (
            f"Within the tolerance, but broken, by about {percent(candidate.breaking)}: so it is listed and not named."
        )
    if candidate.seen_broken:
        return "Shown to be broken, if not by more than the tolerance."
    if candidate.status == "open":
        return "The tolerance lies within the bounds: these tasks cannot tell."
    if not candidate.exact:
        return "Breaks little, but moves only weak weights or ones that do differ."
    return "Holds as well, but is smaller than the chosen one." if discovery.chosen is not None else "Holds."
