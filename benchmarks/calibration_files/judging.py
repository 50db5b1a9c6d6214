"""An answer held against the truth: every statement in it, not the name alone."""

import contextlib
import math
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.calibration_files.files import cells, file_of
from benchmarks.calibration_files.oracle import certifies
from benchmarks.calibration_files.patterns import pair_orbits, refines
from benchmarks.calibration_files.problems import ALPHA, CAP, EPS, File, Problem, Truth
from msr.discovery import Discovery, discover
from msr.errors import MSRError
from msr.permutations import Indices

__all__ = ["judged", "oracle", "outcome_of", "statements_of", "time_limit"]

SURE = 3.0
"""Standard errors of the truth that a statement must miss it by to be called false."""
PATIENCE = 600
"""Processor seconds after which a file is given up."""

_AT_LEAST = re.compile(r"break[^.;:]*?at least (\d+(?:\.\d+)?) ?%")


def oracle(x: np.ndarray, y: np.ndarray, orbits: Indices, eps: float, alpha: float) -> bool:
    """Whether an oracle that knows the group, by its ``orbits (out, in)``, certifies it on a file.

    It is :func:`benchmarks.calibration_files.oracle.certifies` for arrays ``x (tasks, examples, in)`` and
    ``y (tasks, examples, out)``.
    """
    return certifies(torch.from_numpy(x), torch.from_numpy(y), orbits, eps, alpha)


def judged(name: str, number: int) -> dict[str, Any]:
    """Discover the symmetry of a file and judge the answer: a line of the log.

    Without an answer the outcome is ``refused``, ``too long`` or ``error``.

    Args:
        name, number: of the cell, and of the file in it.
    """
    file, problem = file_of(name, number)
    line: dict[str, Any] = {"cell": name, "file": number, "tasks": len(file.x), "noise": file.level}
    started = time.process_time()
    try:
        with time_limit(PATIENCE):
            discovery = discover(torch.from_numpy(file.x), torch.from_numpy(file.y), eps=EPS, alpha=ALPHA)
    except MSRError as error:
        return {**line, "outcome": "refused", "said": str(error)[:300]}
    except TimeoutError:
        return {**line, "outcome": "too long"}
    except Exception as error:
        return {**line, "outcome": "error", "said": f"{type(error).__name__}: {error}"[:300]}
    line["seconds"] = round(time.process_time() - started, 2)
    line["verdict"] = discovery.verdict
    line |= outcome_of(discovery, file, problem)
    line |= statements_of(discovery, problem)
    if line["outcome"] in ("wrong", "false none", "within") or line["false"]:
        line["said"] = discovery.sentence[:300]
    if cells()[name].part == "power":
        line["oracle"] = oracle(file.x, file.y, problem.orbits, EPS, ALPHA)
    problem.forget()
    return line


def outcome_of(discovery: Discovery, file: File, problem: Problem) -> dict[str, Any]:
    """The outcome of an answer, under ``outcome``, and what it was judged by.

    ``right``, the largest group that all tasks keep; ``within``, another group of which nothing false is said;
    ``wrong``, with the reasons under ``why``; ``none``, rightly, or ``false none``; or ``cannot tell``.
    """
    if discovery.verdict == "cannot tell":
        return {"outcome": "cannot tell"}
    kept = problem.orbits
    if discovery.verdict == "none":
        return {"outcome": "none" if kept.max() == kept.size - 1 else "false none"}
    moves = discovery.generators()
    named = pair_orbits(*moves)
    certificate = discovery.certificate
    why: list[str] = []
    judgement: dict[str, Any] = {"order": str(discovery.group.order) if discovery.group else "", "why": why}
    assert certificate is not None
    if not refines(kept, named):
        why.append("too small")
    if not refines(named, kept):
        truth = problem.truth(*moves, certificate.counts_up_to**2)
        least = truth.capped - SURE * truth.error
        bound = certificate.bound
        exceptions = problem.truth(*moves, certificate.exceptions_break**2).exceptions
        if problem.curved and certificate.linear:
            # The certificate bounds the energy that is not linear by a number of its own.
            bound += 1.0 if certificate.nonlinear_at_most is None else certificate.nonlinear_at_most
        if least > EPS**2 and certificate.covers == "the outputs":
            why.append("beyond the tolerance")
        if least > bound:
            why.append("beyond its bound")
        if exceptions - SURE * _binomial_error(exceptions) > certificate.exceptions_at_most:
            why.append("more exceptions")
        judgement |= {"truth": truth.capped, "bound": bound}
        judgement |= {"exceptions": exceptions, "at_most": certificate.exceptions_at_most}
    listed = list(certificate.exceptions)
    if listed and file.tasks.curved is None:
        judgement["listed"] = len(listed)
        shares = problem.shares(*moves, tasks=file.tasks)[listed]
        judgement["listed_falsely"] = int((shares <= certificate.counts_up_to**2).sum())
    right = bool(np.array_equal(named, kept))
    return {**judgement, "outcome": "wrong" if why else "right" if right else "within"}


def statements_of(discovery: Discovery, problem: Problem) -> dict[str, Any]:
    """The false statements about the groups that were tried, and in the hints: a list of sentences under ``false``."""
    false: list[str] = []
    most = 0.0
    limit = EPS**2
    for candidate in discovery.candidates:
        moves = _moves(discovery, candidate)
        status = candidate.status
        broken = candidate.seen_broken
        spoken = status in ("within", "beyond") or broken
        if not spoken and problem.curved:
            continue  # its truth is costly, and nothing was said
        kept = refines(pair_orbits(*moves), problem.orbits)
        truth = Truth(0.0, 0.0, 0.0, 0.0) if kept else problem.truth(*moves, CAP * limit)
        most = max(most, truth.mean + SURE * truth.error)
        # Noise may hide how a task breaks a group, so the truth lies between the capped and the plain mean.
        low = truth.capped - SURE * truth.error
        high = truth.mean + SURE * truth.error
        order = candidate.order
        if status == "within" and low > limit:
            false.append(f"order {order} within, truth {truth.capped:.2g}")
        if status == "beyond" and high < limit:
            false.append(f"order {order} beyond, truth {truth.mean:.2g}")
        if broken and kept:
            false.append(f"order {order} seen broken, but kept")
        if candidate.low > high:
            false.append(f"order {order} breaks at least {candidate.low:.2g}, truth {truth.mean:.2g}")
        if candidate.high < low:
            false.append(f"order {order} breaks at most {candidate.high:.2g}, truth {truth.capped:.2g}")
    for hint in discovery.hints:
        # A hint rounds to a percent, so half a percent is allowed for.
        least = max((float(percent) / 100 - 0.005 for percent in _AT_LEAST.findall(hint)), default=0.0)
        if least > math.sqrt(most) and not problem.curved:
            false.append(f"hint: {hint[:160]}")
    return {"false": false}


def _moves(discovery: Discovery, candidate: Any) -> tuple[Indices, Indices]:
    """A candidate's generators on all coordinates, ``(r, in)`` and ``(r, out)``.

    Coordinates that the answer leaves out stay in place. A constant input, if there is one, is the last of the
    candidate's points, and is left out.
    """
    n = math.prod(discovery.shape_in)
    m = math.prod(discovery.shape_out)
    whole = []
    pairs = ((candidate.generators_in, discovery.inputs, n), (candidate.generators_out, discovery.outputs, m))
    for moves, places, size in pairs:
        full = np.tile(np.arange(size), (len(moves), 1))
        full[:, places] = places[moves[:, : len(places)]]
        whole.append(full)
    return whole[0], whole[1]


def _binomial_error(share: float, count: int = 20_000) -> float:
    """Standard error of a share that was counted over a sample of ``count`` tasks."""
    return math.sqrt(share * (1 - share) / count)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after so many processor seconds of this process.

    Time that other processes take does not count, so a busy machine gives up no more files than an idle one. Without
    effect outside of a main thread, and on a system without such signals.
    """

    def ring(*_: object) -> None:
        raise TimeoutError

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGPROF, ring)
    timer = signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
        signal.setitimer(signal.ITIMER_PROF, *timer)
