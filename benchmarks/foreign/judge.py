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
    """What the checkers are asked.

    ``inputs(n, generator)`` draws the inputs, where those are not standard normal numbers. The other options go to both
    checkers, ``tolerance`` to the assertion alone.
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
    """``expected`` is equivariant, broken, or refused: what has no verdict, such as batch norm in training mode."""

    name: str
    expected: str
    theory: str
    make: Callable[[], Question]


class Cases(list[Case]):
    """The cases of a library; each decorator adds a function that makes a question, under the function's name."""

    def equivariant(self, theory: str) -> Callable[[Callable[[], Question]], Callable[[], Question]]:
        """It commutes with the group, up to rounding."""
        return self._adds("equivariant", theory)

    def broken(self, theory: str) -> Callable[[Callable[[], Question]], Callable[[], Question]]:
        """It does not."""
        return self._adds("broken", theory)

    def refused(self, theory: str) -> Callable[[Callable[[], Question]], Callable[[], Question]]:
        """It is no function of its input, so neither verdict is right."""
        return self._adds("refused", theory)

    def under(
        self, groups: Iterable[Any], expected: str, theory: str, ask: Callable[..., Question]
    ) -> Callable[[Callable[[], tuple[Any, ...]]], Callable[[], tuple[Any, ...]]]:
        """The same module under each of some groups: ``ask(*make(), group)``, named after both."""

        def add(make: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
            for group in groups:

                def asked(group: Any = group) -> Question:
                    return ask(*make(), group)

                asked.__name__ = f"{make.__name__}_under_{group.name}"
                self._adds(expected, theory)(asked)
            return make

        return add

    def _adds(self, expected: str, theory: str) -> Callable[[Callable[[], Question]], Callable[[], Question]]:
        def add(make: Callable[[], Question]) -> Callable[[], Question]:
            self.append(Case(make.__name__.replace("_", " "), expected, theory, make))
            return make

        return add


def judge(case: Case) -> dict[str, Any]:
    """A row of the table: both verdicts, the largest defect that was seen, and the seconds of each."""
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
    """``right``, ``wrong``, or ``undecided`` where a checker said that it cannot tell."""
    right = {"equivariant": ("passes", "certified"), "broken": ("fails", "refuted"), "refused": ("refused", "refused")}
    given = (row["assert"].split(":")[0], row["certify"].split(":")[0])
    if given == right[row["expected"]]:
        return "right"
    decided = [a for a in given if a in ("passes", "fails", "certified", "refuted", "crash")]
    return "wrong" if any(a not in right[row["expected"]] for a in decided) else "undecided"


def _asserted(call: Callable[[], None]) -> str:
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
    try:
        certificate = call()
    except MSRError as error:
        return _said(error), None
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}", None
    return certificate.verdict, float(certificate.largest)


def _said(error: MSRError) -> str:
    """A ModelError says that there is nothing to judge; any other, that these checkers cannot."""
    kind = "refused" if type(error).__name__ == "ModelError" else "cannot tell"
    return f"{kind}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
