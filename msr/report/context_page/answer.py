"""The answer in words: which context is most worth learning, or explains the target best, and what is not certain."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from msr.contexture.comparison import ALIKE, Judged
from msr.printable import printable
from msr.report.context_page.lines import percent
from msr.report.markup.blocks import count

__all__ = ["Answer", "answer_of"]

LEVEL = 0.01
"""The largest chance at which a target is said to be explained."""
_CLEARLY = 0.01
"""By how much τ must be smaller to be called so."""
_LITTLE = 0.05
"""A share of the target's variance below which nothing is said to explain it. Chosen by hand."""
_LONGEST = 60
"""Characters of a name within a sentence, about; chosen by eye."""
_NO_ORDER = (
    "τ alone decides nothing: of sixteen sets of contexts on four tables, its order agreed with the errors of probes "
    "in eight, and was the reverse in seven. A target decides (--target)."
)
"""What ``python -m experiments.context_usefulness`` found: docs/contexture.md has the numbers."""
_NAMED = 4
"""Contexts that a sentence names; it counts the others. Chosen by eye."""


@dataclass(frozen=True)
class Answer:
    """The answer in words.

    Attributes:
        kind: ``found`` where a context explains a target best; ``unsure`` where the numbers give no more than a hint,
            as τ does; ``none`` where no context is any good, or there is nothing to compare.
        badge: the kind in a few words.
        headline: the name of the context, or a few words where there is none.
        sentence: the answer.
        caveats: a sentence for each thing that the reader must know before the answer is used.
        best: the context that is named; None where there is none.
    """

    kind: Literal["found", "unsure", "none"]
    badge: str
    headline: str
    sentence: str
    caveats: tuple[str, ...]
    best: Judged | None


def answer_of(judged: Sequence[Judged], target: str | None, rows: int, of_rows: int) -> Answer:
    """The answer that these contexts give.

    Args:
        judged: the contexts, at least one; with a target all of them say how much of it they explain.
        target: the name of the target; None without one.
        rows: how many rows were looked at, of ``of_rows`` that the table has.
    """
    answer = _by_tau(judged) if target is None else _by_target(judged, target)
    mixtures = _better_mixtures(judged, answer.best, target)
    return Answer(
        kind=answer.kind,
        badge=answer.badge,
        headline=answer.headline,
        sentence=answer.sentence,
        caveats=(*answer.caveats, *mixtures, *_always(judged, target, rows, of_rows)),
        best=answer.best,
    )


def _by_target(judged: Sequence[Judged], target: str) -> Answer:
    """The context that explains the target best, where that is no chance."""
    target = printable(target, _LONGEST)
    free = [line for line in judged if not line.of_target]
    if not free:
        sentence = "Each of these contexts is made of the target itself, so none can be said to explain it."
        return Answer("none", "Nothing to compare", "No other context", sentence, (), None)
    most = max(free, key=_explained)
    # What differs by so little differs by chance; fewer functions are then the better ones to learn.
    alike = [line for line in free if (line.explained or 0.0) > (most.explained or 0.0) - ALIKE]
    best = min(alike, key=lambda line: line.probed or 0)
    number = best.probed or 0
    says = f"{count(number, 'function')} of it explain{'s' * (number == 1)} {percent(best.explained)}"
    if (best.explained or 0.0) < _LITTLE:
        sentence = f"No context explains {target}: {_name(best)} does so best, and {says} of its variance."
        return Answer("none", "None", "Nothing explains it", sentence, (), None)
    # Each of the contexts had its chance.
    chance = min(1.0, (1.0 if best.p_value is None else best.p_value) * len(free))
    if chance > LEVEL:
        sentence = (
            f"{_name(best)} explains most of {target}: {says} of its variance. But a target without any relation to "
            f"the rows would be explained as well with the chance {chance:.2g} at most."
        )
        return Answer("unsure", "Cannot tell", _name(best), sentence, (), best)
    sentence = f"{_name(best)} explains {target} best: {says} of its variance, beyond what they explain of noise."
    caveats = tuple(_beside(best, alike, chance))
    return Answer("found", "Explains it best", _name(best), sentence, caveats, best)


def _beside(best: Judged, alike: Sequence[Judged], chance: float) -> Iterator[str]:
    """What the numbers of the other contexts say against the one that explains the target best, and how sure it is.

    Args:
        alike: those that explain nearly as much.
        chance: a bound on that of as much for a target without relation to the rows.
    """
    yield (
        f"That it explains the target at all is no chance: of one without relation to the rows so much would be "
        f"explained with the chance {chance:.2g} at most (permutations, all contexts together). That it is the best is "
        "not tested."
    )
    others = [line for line in alike if line is not best]
    if others:
        one = len(others) == 1
        yield (
            f"{_names(others)} explain{'s' * one} as much, within {100 * ALIKE:.0f} points; {_name(best)} needs no "
            f"more functions than {'it' if one else 'they'}."
        )
    if best.strength == "too strong":
        yield (
            f"As a whole {_name(best)} is too strong: {count(best.needed, 'function')} hold nine tenths of its energy. "
            f"What is said here is of its first {best.probed}."
        )


def _by_tau(judged: Sequence[Judged]) -> Answer:
    """The context of the least τ, among those that are neither too weak nor too strong."""
    sound = [line for line in judged if line.strength == "moderate" and not line.usefulness.abstains]
    if not sound:
        sentence = (
            f"{'Each of these contexts' if len(judged) > 1 else 'The context'} is too weak, too strong, or of a "
            "spectrum of which τ says nothing."
        )
        tried = [line.advice for line in judged if line.advice is not None]
        if tried:
            nearest = min(tried, key=lambda line: line.usefulness.tau)
            sentence += (
                f" Of the mixtures that were tried, {_name(nearest)} has the least τ, {nearest.usefulness.tau:.2f}, "
                f"and is {_fault(nearest) or 'moderate'}."
            )
        return Answer("none", "None", "None as it is", sentence, (), None)
    best = min(sound, key=lambda line: line.usefulness.tau)
    tau = f"{best.usefulness.tau:.2f} at {count(best.dimension, 'function')}"
    if len(sound) == 1:
        silent = any(line.strength == "moderate" for line in judged if line is not best)
        others = ", the only such one of which τ says anything" if silent else ", the only one here"
        others = others if len(judged) > 1 else ""
        sentence = f"{_name(best)} is worth learning: it is neither too weak nor too strong{others}; its τ is {tau}."
        return Answer("unsure", "A hint", _name(best), sentence, (_NO_ORDER,), best)
    sentence = f"{_name(best)} is most worth learning, as far as τ tells: it is neither too weak nor too strong, and "
    sentence += f"its τ of {tau} is the least among the {len(sound)} contexts of which that is true."
    kinds: dict[str, Judged] = {}
    for line in sorted(sound, key=lambda line: line.usefulness.tau):
        kinds.setdefault(_kind(line), line)
    if len(kinds) == 1:
        return Answer("unsure", "A hint", _name(best), sentence, (_NO_ORDER,), best)
    each = ", ".join(f"{_name(line)} ({line.usefulness.tau:.2f})" for line in list(kinds.values())[:_NAMED])
    each += f", and {len(kinds) - _NAMED} more" if len(kinds) > _NAMED else ""
    caveat = "τ compares contexts of one kind only, and these are of several: across kinds it is no more than a hint. "
    caveat += f"The best of each kind: {each}."
    return Answer("unsure", "A hint", _name(best), sentence, (_NO_ORDER, caveat), best)


def _better_mixtures(judged: Sequence[Judged], best: Judged | None, target: str | None) -> Iterator[str]:
    """A sentence on the mixture that was tried and does better than the context which is named, if there is one."""
    tried = [line.advice for line in judged if line.advice is not None and not line.advice.of_target]
    sound = [line for line in tried if line.strength == "moderate" and not line.usefulness.abstains]
    if best is None or not sound:
        return
    if target is not None:
        # Moderate ones need few functions for most of their energy, so that they do not fit any target.
        mixture = max(sound, key=_explained)
        if _explained(mixture)[0] > _explained(best)[0] + ALIKE:
            yield (
                f"A mixture that was tried explains more: {percent(mixture.explained)}, by "
                f"{count(mixture.probed or 0, 'function')} of {_name(mixture)}."
            )
        return
    mixture = min(sound, key=lambda line: line.usefulness.tau)
    if mixture.usefulness.tau < best.usefulness.tau - _CLEARLY:
        yield f"A mixture that was tried has a smaller τ, {mixture.usefulness.tau:.2f}: {_name(mixture)}."


def _always(judged: Sequence[Judged], target: str | None, rows: int, of_rows: int) -> Iterator[str]:
    """What has to be known of such numbers, whatever they are."""
    drawn = f"{rows} rows, drawn from {of_rows}" if rows < of_rows else f"{rows} rows"
    more = "; --rows takes more" if rows < of_rows else ""
    yield (
        f"All numbers are of {drawn}. Values that are computed from few rows are too large, so compare contexts and do "
        f"not read them off{more}."
    )
    if target is not None:
        yield "What is explained was measured on the same rows that the contexts were made of, and not on new ones."
    of_target = [line for line in judged if line.of_target]
    if of_target:
        one = len(of_target) == 1
        yield (
            f"{_names(of_target)} {'is' if one else 'are'} made of the target itself, so what "
            f"{'it' if one else 'they'} would explain says nothing."
        )
    silent = [line for line in judged if line.usefulness.abstains]
    if silent:
        yield (
            f"τ says nothing of {_names(silent)}: contexts that are far too weak and far too strong both have a τ of "
            "about 2, and where all values known are 1 it is infinite."
        )


def _explained(line: Judged) -> tuple[float, float]:
    """How good a context is for the target: the share that its functions explain, then what it knows itself."""
    return line.explained or 0.0, line.known or 0.0


def _fault(line: Judged) -> str:
    """What is wrong with a context, in words; nothing where it is moderate and its τ says something."""
    if line.strength != "moderate":
        return line.strength
    return "one of which τ says nothing" if line.usefulness.abstains else ""


def _kind(line: Judged) -> str:
    """The kind of a context: its first word, or that it is a mixture."""
    return "mixture" if line.is_mixture else line.name.partition(":")[0]


def _name(line: Judged) -> str:
    """The name of a context within a sentence."""
    return printable(line.name, _LONGEST)


def _names(lines: Sequence[Judged]) -> str:
    """The names of some contexts within a sentence."""
    names = [_name(line) for line in lines]
    if len(names) > _NAMED:
        names = [*names[:_NAMED], f"{len(names) - _NAMED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
