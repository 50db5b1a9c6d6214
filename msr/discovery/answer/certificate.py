"""The certificate of the group that is named: each number that was shown, and the null hypothesis behind it."""

from dataclasses import dataclass
from typing import Literal

from msr.brief import Brief

__all__ = ["GroupCertificate"]


@dataclass(frozen=True, repr=False)
class GroupCertificate(Brief):
    """The certificate of the group that the rule chose: what was shown of it on tasks that had no part in the choice.

    The null hypothesis of ``p_value``: typical tasks break the group by ``ε²`` of their outputs' energy or more,
    ``E min(b − ε² e, reach) ≥ 0``. Here ``b`` is the energy that the part of a task's weights which breaks the group
    adds to its outputs, and ``e`` the energy of its outputs, both without noise. A task with ``b`` far beyond ``ε² e``
    is an exception; the share of exceptions has a bound of its own. The certificate is made by
    :func:`msr.discovery.verdict.certification.certificate_of`.

    Units: ``breaking``, ``bound`` and ``nonlinear_at_most`` are shares of the outputs' energy (mean square);
    ``eps``, ``exceptions_break`` and ``counts_up_to`` are shares of the outputs' size (root mean square). No unit.

    Attributes:
        null: the null hypothesis of ``p_value`` with its numbers, as text.
        eps: the tolerance; ``alpha``: the error rate of all claims about all groups together.
        p_value: one over an e-value. It holds over all groups that were tested and all splits.
        breaking: mean of ``b`` over tasks, as a share of the mean of ``e``: a share of the outputs' energy. Its square
            root is a share of their size, to be compared with ``eps``. The estimate is unbiased and may be negative.
        bound: upper bound on that share in typical tasks, at level α.
        method: the estimator of ``b``: ``least squares`` or ``pairs of examples``.
        exceptions: places in the input, counted from 0, of testing tasks that clearly break the group.
        exceptions_at_most: upper bound on the share of all tasks that are exceptions, at level α / 8.
        exceptions_break: an exception breaks the group by more than this share of the outputs' size.
        counts_up_to: in the mean, a task counts as breaking the group by at most this share of the outputs' size.
        nonlinear_at_most: upper bound, at level α / 8, on the share of the outputs' energy that products of two or
            three inputs explain beyond a linear layer; None where that could not be tested.
        covers: what ``b`` is a part of. ``the outputs``: the breaking part of the linear layer and such products are
            together below ε², or everything beyond the linear layer was counted as breaking the group. ``the linear
            layer``: nothing beyond it was detected, but ``nonlinear_at_most`` is too large to be covered by ε².
        linear: whether no test detected anything beyond a linear layer.
        n_tasks: number of testing tasks in the split that is reported; ``splits``: number of splits that were made.
        certified: whether the exceptions are few enough for the group to be named. A name needs this, the rule's
            choice, and no doubt of :mod:`msr.discovery.verdict.doubts`.
        specificity: the share of random relabellings of the same group that fit the learned pattern as well,
            ``(1 + #) / (B + 1)`` with ``B`` draws; None where every relabelling gives the same group.
    """

    null: str
    eps: float
    alpha: float
    p_value: float
    breaking: float
    bound: float
    method: str
    exceptions: tuple[int, ...]
    exceptions_at_most: float
    exceptions_break: float
    counts_up_to: float
    nonlinear_at_most: float | None
    covers: Literal["the outputs", "the linear layer"]
    linear: bool
    n_tasks: int
    splits: int
    certified: bool
    specificity: float | None
