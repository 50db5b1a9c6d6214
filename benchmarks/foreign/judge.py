"""A case, and what the two checkers say of it."""

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msr.equivariance import assert_equivariant, certify
from msr.errors import MSRError

__all__ = ["Case", "Cases", "Question", "judge"]

EPS = 1e-3
"""Tolerance of every certificate; a break that a case is about is at least some times larger."""


@dataclass
class Question:
    """What the checkers are asked: does ``f`` commute with the group, which moves inputs and outputs by two reps?

    ``inputs(n, generator)`` draws the inputs, where those are not standard normal numbers. ``mask`` and ``dtype`` go to
    both checkers, ``tolerance`` to the assertion and ``eps`` to the certificate alone.
    """

    f: Callable[..., Any] | nn.Module
    group: Any
    rep_in: Any
    rep_out: Any
    inputs: Callable[[int, torch.Generator], Any] | None = None
    tolerance: float | None = None
    mask: Tensor | None = None
    dtype: torch.dtype | None = None
    eps: float = EPS


@dataclass(frozen=True)
class Case:
    """A question with the right answer to it.

    ``expected`` is ``equivariant``, ``broken``, or ``refused`` for what has no verdict, such as batch norm in training
    mode; ``theory`` is the proof or the paper that says so.
    """

    name: str
    expected: str
    theory: str
    make: Callable[[], Question]


class Cases(list[Case]):
    """The cases of a library; each decorator adds a function that makes a question, under the function's name."""

    def equivariant(self, theory: str) -> Callable[[Callable[[], Question]], Callable[[], Question]]:
        """A decorator that adds a case of a function which commutes with the group, up to rounding."""
        return self._adds("equivariant", theory)

    def broken(self, theory: str) -> Callable[[Callable[[], Question]], Callable[[], Question]]:
        """A decorator that adds a case of a function which does not commute with the group."""
        return self._adds("broken", theory)

    def refused(self, theory: str) -> Callable[[Callable[[], Question]], Callable[[], Question]]:
        """A decorator that adds a case of what is no function of its input, so that neither verdict is right."""
        return self._adds("refused", theory)

    def under(
        self, groups: Iterable[Any], expected: str, theory: str, ask: Callable[..., Question]
    ) -> Callable[[Callable[[], tuple[Any, ...]]], Callable[[], tuple[Any, ...]]]:
        """A decorator that adds a case for each of some groups: what ``make`` returns, under that group.

        The question is ``ask(*make(), group)``, and the case is named after ``make`` and the group.
        """

        def add(make: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
            for group in groups:

                def asked(group: Any = group) -> Question:
                    return ask(*make(), group)

                asked.__name__ = f"{make.__name__}_under_{group.name}"
                self._adds(expected, theory)(asked)
            return make

        return add

    def _adds(self, expected: str, theory: str) -> Callable[[Callable[[], Question]], Callable[[], Question]]:
        """A decorator that adds a case, named after the function, and leaves the function as it is."""

        def add(make: Callable[[], Question]) -> Callable[[], Question]:
            self.append(Case(make.__name__.replace("_", " "), expected, theory, make))
            return make

        return add


def judge(case: Case) -> dict[str, Any]:
    """A row of the table: what both checkers say, their seconds, the largest defect in the certificate, the verdict.

    The defect is None where there is no certificate; the verdict is that of :func:`verdict`.
    """
    torch.manual_seed(0)
    question = case.make()
    row: dict[str, Any] = {"case": case.name, "group": question.group.name, "expected": case.expected}
    row["theory"] = case.theory
    options: dict[str, Any] = {"mask": question.mask, "dtype": question.dtype}
    drawn = question.inputs and question.inputs(16, torch.Generator().manual_seed(1))
    asked = question.f, question.group, question.rep_in, question.rep_out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        row["assert"] = _asserted(lambda: assert_equivariant(*asked, x=drawn, tolerance=question.tolerance, **options))
        row["assert_seconds"] = time.perf_counter() - start
        start = time.perf_counter()
        answer = _certified(lambda: certify(*asked, inputs=question.inputs, eps=question.eps, n_random=0, **options))
        row["certify_seconds"] = time.perf_counter() - start
    row["certify"], row["defect"] = answer
    row["verdict"] = verdict(row)
    return row


def verdict(row: dict[str, Any]) -> str:
    """``right`` where both checkers say what is expected; ``wrong`` where one decides otherwise, or crashes.

    Else ``undecided``: a checker said that it cannot tell, or refused.
    """
    right = {"equivariant": ("passes", "certified"), "broken": ("fails", "refuted"), "refused": ("refused", "refused")}
    given = (row["assert"].split(":")[0], row["certify"].split(":")[0])
    if given == right[row["expected"]]:
        return "right"
    decided = [a for a in given if a in ("passes", "fails", "certified", "refuted", "crash")]
    return "wrong" if any(a not in right[row["expected"]] for a in decided) else "undecided"


def _asserted(call: Callable[[], None]) -> str:
    """What an assertion says: ``passes``, ``fails``, an error of this package by :func:`_said`, or ``crash: …``."""
    try:
        call()
    except AssertionError:
        return "fails"
    except MSRError as error:
        return _said(error)
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"
    return "passes"


def _certified(call: Callable[[], Any]) -> tuple[str, float | None]:
    """The verdict of a certificate and its largest defect; or an error, as of :func:`_asserted`, and None."""
    try:
        certificate = call()
    except MSRError as error:
        return _said(error), None
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}", None
    return certificate.verdict, float(certificate.largest)


def _said(error: MSRError) -> str:
    """``refused: …`` for a ModelError, which says that there is nothing to judge; ``cannot tell: …`` for any other."""
    kind = "refused" if type(error).__name__ == "ModelError" else "cannot tell"
    return f"{kind}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
