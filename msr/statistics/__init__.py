"""Is this mean small? Estimates with intervals, rules with error rates, bets, sign tests and randomisation tests.

Each test states the null hypothesis that a small p-value, or a large e-value, speaks against:

============================  ====================================================  =========================
null hypothesis               test                                                  module
============================  ====================================================  =========================
a share is at least η         :class:`Tail`, :class:`ZeroFailure` (exact binomial)  ``rules``, ``shares``
a capped mean is at least ε   :class:`Mean` (empirical Bernstein); a bet            ``rules``, ``betting``
a clipped mean is at least 0  a bet                                                 ``betting``
numbers are symmetric         by a bound, by flipping signs, by a bet               ``symmetry``, ``betting``
relabelling changes nothing   random relabellings                                   ``randomisation``
several at once               Holm's correction                                     ``holm``
============================  ====================================================  =========================

A new test comes with its null hypothesis in the first sentence of its docstring, its source, a line in this table, and
a simulation at the boundary of the null in ``tests/msr/statistics``: there it may reject no more often than its level
says. A test that decides in a discovery is also run over ``python -m benchmarks.calibration``.
"""

from msr.statistics.estimate import Estimate as Estimate
from msr.statistics.rules import Mean as Mean
from msr.statistics.rules import Outcome as Outcome
from msr.statistics.rules import Tail as Tail
from msr.statistics.rules import ZeroFailure as ZeroFailure
from msr.statistics.shares import draws_needed as draws_needed

__all__ = ["Estimate", "Mean", "Outcome", "Tail", "ZeroFailure", "draws_needed"]
