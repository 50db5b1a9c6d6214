"""A question whose right answer is known: what is asked, and how an answer to it is judged."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.calibration_files.judging import outcome_of, statements_of
from benchmarks.calibration_files.problems import ALPHA, EPS, File, Problem
from msr.discovery import Discovery, discover
from msr.span import Chunks, SharedSpan, find_span

__all__ = ["Known", "asked_of_discovery", "asked_of_span", "drawn"]

_OWN_KEYS = ("seconds", "threads", "thresholds", "version", "schema")
"""Keys of an answer that tell how it was made rather than what it is."""

_NUMBERS = 20
"""Output numbers of a support set, for which the penalty of a span is asked."""


@dataclass(frozen=True, eq=False)
class Known:
    """A question, and the judge of its answers.

    Attributes:
        ask: asks the question, and gives the answer.
        judge: ``answer -> (outcome, whether a statement beside it is false)``. Outcomes are those of
            :func:`benchmarks.calibration_files.judging.outcome_of`.
        digest: every number and word of an answer, as text that is equal for equal answers alone.
    """

    ask: Callable[[], Any]
    judge: Callable[[Any], tuple[str, bool]]
    digest: Callable[[Any], str]


def drawn(name: str, problem: Problem, number: int = 0) -> File:
    """The file of this name and number, always the same."""
    return problem.file(np.random.default_rng([zlib.crc32(name.encode()), number]))


def asked_of_discovery(file: File, problem: Problem, lengths: Sequence[int] | None = None, **options: Any) -> Known:
    """Discovery, asked for the symmetry of a file.

    Args:
        lengths: how many examples of each task are given; all by default.
        options: of :func:`msr.discovery.discover`, beside the tolerance and the error rate of the benchmark.
    """
    given = {"eps": EPS, "alpha": ALPHA, **options}

    def ask() -> Discovery:
        if lengths is None:
            return discover(torch.from_numpy(file.x), torch.from_numpy(file.y), **given)
        pairs = [(x[:length], y[:length]) for x, y, length in zip(file.x, file.y, lengths, strict=True)]
        return discover(pairs, **given)

    def judge(discovery: Discovery) -> tuple[str, bool]:
        outcome = str(outcome_of(discovery, file, problem)["outcome"])
        # Statements are held against the tolerance of the benchmark; at another one the name alone is judged.
        return outcome, given["eps"] == EPS and bool(statements_of(discovery, problem)["false"])

    return Known(ask, judge, _digest_of_discovery)


def _digest_of_discovery(discovery: Discovery) -> str:
    """``repr`` tells floats apart to the last bit."""
    content = {key: value for key, value in discovery.as_dict().items() if key not in _OWN_KEYS}
    arrays = (discovery.pattern, discovery.spectrum)
    numbers = [None if array is None else np.asarray(array).tobytes().hex() for array in arrays]
    return repr((content, numbers))


def asked_of_span(chunks: Chunks, dimension: int, **options: Any) -> Known:
    """The finder of a shared span, asked for the span of some tasks whose ``dimension`` is known."""

    def ask() -> SharedSpan:
        return find_span(chunks, **options)

    def judge(span: SharedSpan) -> tuple[str, bool]:
        # A direction that no task uses is something false; one that is missing is something that is not said.
        return "right" if span.k == dimension else "wrong" if span.k > dimension else "within", False

    return Known(ask, judge, _digest_of_span)


def _digest_of_span(span: SharedSpan) -> str:
    start = span.start
    evidence = None if start is None else (start.k, start.edge, start.null, start.gap, start.stability.tolist())
    spectrum = None if start is None else start.spectrum.tolist()
    cut = None if span.cut is None else (span.cut.energy.tolist(), span.cut.p_value.tolist(), span.cut.floor)
    found = (span.k, span.U.tolist(), span.v0.tolist(), span.noise, span.penalty(_NUMBERS))
    return repr((found, span.iterations, span.converged, span.residuals, cut, evidence, spectrum))
