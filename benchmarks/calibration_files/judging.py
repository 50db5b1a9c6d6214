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

__all__ = ["judged", "oracle", "outcome_of", "statements_of"]

SURE = 3.0
"""Standard errors of the truth that a statement must miss it by to be called false."""
PATIENCE = 600  # seconds for a file

_AT_LEAST = re.compile(r"break[^.;:]*?at least (\d+(?:\.\d+)?) ?%")


def oracle(x: np.ndarray, y: np.ndarray, orbits: Indices, eps: float, alpha: float) -> bool:
    """Whether one who knows the group certifies it, by the same valid test on all tasks."""
    return certifies(torch.from_numpy(x), torch.from_numpy(y), orbits, eps, alpha)


def judged(name: str, number: int) -> dict[str, Any]:
    """Discover a file of a cell and judge the answer: a line of the log."""
    file, problem = file_of(name, number)
    line: dict[str, Any] = {"cell": name, "file": number, "tasks": len(file.x), "noise": file.level}
    started = time.process_time()
    try:
        with _patience(PATIENCE):
            found = discover(torch.from_numpy(file.x), torch.from_numpy(file.y), eps=EPS, alpha=ALPHA)
    except MSRError as error:
        return {**line, "outcome": "refused", "said": str(error)[:300]}
    except TimeoutError:
        return {**line, "outcome": "too long"}
    except Exception as error:
        return {**line, "outcome": "error", "said": f"{type(error).__name__}: {error}"[:300]}
    line["seconds"] = round(time.process_time() - started, 2)
    line["verdict"] = found.verdict
    line |= outcome_of(found, file, problem)
    line |= statements_of(found, problem)
    if line["outcome"] in ("wrong", "false none", "within") or line["false"]:
        line["said"] = found.sentence[:300]
    if cells()[name].part == "power":
        line["oracle"] = oracle(file.x, file.y, problem.orbits, EPS, ALPHA)
    problem.forget()
    return line


def outcome_of(found: Discovery, file: File, problem: Problem) -> dict[str, Any]:
    """``right``, ``within`` (another group, nothing false said), ``wrong`` and why; or the verdict that none is."""
    if found.verdict == "cannot tell":
        return {"outcome": "cannot tell"}
    kept = problem.orbits
    if found.verdict == "none":
        return {"outcome": "none" if kept.max() == kept.size - 1 else "false none"}
    moves = found.generators()
    named = pair_orbits(*moves)
    certificate = found.certificate
    why: list[str] = []
    said: dict[str, Any] = {"order": str(found.group.order) if found.group else "", "why": why}
    assert certificate is not None
    if not refines(kept, named):
        why.append("too small")
    if not refines(named, kept):
        truth = problem.truth(*moves, certificate.counts_up_to**2)
        least, bound = truth.capped - SURE * truth.error, certificate.bound
        exceptions = problem.truth(*moves, certificate.exceptions_break**2).exceptions
        if problem.curved and certificate.linear:
            # What is beyond a linear layer counts apart.
            bound += 1.0 if certificate.nonlinear_at_most is None else certificate.nonlinear_at_most
        if least > EPS**2 and certificate.covers == "the outputs":
            why.append("beyond the tolerance")
        if least > bound:
            why.append("beyond its bound")
        if exceptions - SURE * _binomial_error(exceptions) > certificate.exceptions_at_most:
            why.append("more exceptions")
        said |= {"truth": truth.capped, "bound": bound}
        said |= {"exceptions": exceptions, "at_most": certificate.exceptions_at_most}
    listed = list(certificate.exceptions)
    if listed and file.tasks.curved is None:
        said["listed"] = len(listed)
        shares = problem.shares(*moves, tasks=file.tasks)[listed]
        said["listed_falsely"] = int((shares <= certificate.counts_up_to**2).sum())
    right = bool(np.array_equal(named, kept))
    return {**said, "outcome": "wrong" if why else "right" if right else "within"}


def statements_of(found: Discovery, problem: Problem) -> dict[str, Any]:
    """What is false of all that was said of the groups that were tried, and in the hints."""
    false: list[str] = []
    most = 0.0
    limit = EPS**2
    for candidate in found.candidates:
        moves = _moves(found, candidate)
        status, broken = candidate.status, candidate.seen_broken
        spoken = status in ("within", "beyond") or broken
        if not spoken and problem.curved:
            continue  # its truth is costly, and nothing was said
        kept = refines(pair_orbits(*moves), problem.orbits)
        truth = Truth(0.0, 0.0, 0.0, 0.0) if kept else problem.truth(*moves, CAP * limit)
        most = max(most, truth.mean + SURE * truth.error)
        # A task counts as breaking by more than that where noise hides it, and by no more than it does.
        low, high = truth.capped - SURE * truth.error, truth.mean + SURE * truth.error
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
    for hint in found.hints:
        # Half of the last digit is rounding.
        least = max((float(percent) / 100 - 0.005 for percent in _AT_LEAST.findall(hint)), default=0.0)
        if least > math.sqrt(most) and not problem.curved:
            false.append(f"hint: {hint[:160]}")
    return {"false": false}


def _moves(found: Discovery, candidate: Any) -> tuple[Indices, Indices]:
    """A candidate's generators on all coordinates; a constant input, if there is one, is the last and is left out."""
    n, m = math.prod(found.shape_in), math.prod(found.shape_out)
    whole = []
    pairs = ((candidate.generators_in, found.inputs, n), (candidate.generators_out, found.outputs, m))
    for moves, places, size in pairs:
        full = np.tile(np.arange(size), (len(moves), 1))
        full[:, places] = places[moves[:, : len(places)]]
        whole.append(full)
    return whole[0], whole[1]


def _binomial_error(share: float, count: int = 20_000) -> float:
    return math.sqrt(share * (1 - share) / count)


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """TimeoutError where it takes longer; only in the main thread of a process that has such signals."""

    def ring(*_: object) -> None:
        raise TimeoutError

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)
