"""The token symmetry of a flow with a bias of its scores: the permutations of tokens that keep the bias.

Without a bias every permutation of tokens commutes with the flow. A bias ``M``, added to the scores, leaves the
permutations ``P`` with ``P M' Pᵀ = M'``, where ``M'`` is what the flow sees of ``M``: for SA without a constant of each
row, to which a softmax is blind; for USA all of it, but the diagonal where a token's own weight pulls along the token
itself, and is projected away.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.errors import AxiomError, ConfigError, DataError, NonFiniteError, PrecisionError, ShapeError
from msr.flow.arguments import KINDS, finite_number, word_of
from msr.flow.symmetries.closures import permutations_that_keep
from msr.groups import PermutationGroup
from msr.groups.naming import GroupName, name_group
from msr.permutations import Indices

__all__ = ["TokenGroup", "token_group"]

_ROUNDING = 64
"""Roundings of the largest entry by which equal entries may differ: those of a row's mean, and of sums before it."""
_DOUBT = 1e3
"""Entries whose difference is above that, and at most this many times it, may be equal or not: nothing but rounding is
known of their errors."""
_DOUBT_GIVEN = 4.0
"""The same where a caller has said how far equal entries may differ."""


@dataclass(frozen=True, eq=False, repr=False)
class TokenGroup(Brief):
    """The permutations of tokens that keep a bias.

    Attributes:
        table: ``(heads, n, n)`` float64, what the flow sees of the bias; −inf where a token is hidden from another.
        generators: ``(r, n)``: row ``g`` holds where each token goes; none for the trivial group.
        order: how many permutations there are.
        tolerance: how far equal entries of the table may differ: of the head with the largest ones; less in others.
        defect: how far they do: the largest ``|table[p(i), p(j)] − table[i, j]|`` of a generator ``p``.

    Raises: ShapeError; AxiomError for a row that is no permutation.
    """

    table: NDArray[np.float64]
    generators: Indices
    order: int
    tolerance: float
    defect: float

    def __post_init__(self) -> None:
        if self.table.ndim != 3 or self.table.shape[1] != self.table.shape[2]:
            raise ShapeError(f"table must be (heads, n, n); got {self.table.shape}")
        if self.generators.ndim != 2 or self.generators.shape[1] != self.n:
            raise ShapeError(f"generators must be (r, {self.n}); got {self.generators.shape}")
        if (np.sort(self.generators, axis=1) != np.arange(self.n)).any():
            raise AxiomError(f"a generator is no permutation of 0 to {self.n - 1}")

    @property
    def n(self) -> int:
        """How many tokens there are."""
        return self.table.shape[1]

    @cached_property
    def name(self) -> GroupName:
        """The name of the group and how it acts, found when it is first asked for."""
        return name_group(self.generators, self.generators, order=self.order)

    @cached_property
    def group(self) -> PermutationGroup:
        """The same as a group of permutations of ``n`` points."""
        return PermutationGroup([np.arange(self.n), *self.generators], "token group", order=self.order)


@takes_arrays("bias")
def token_group(bias: Tensor, kind: str = "sa", *, own_weight: bool = True, tol: float | None = None) -> TokenGroup:
    """The permutations of tokens that keep a bias ``M``: see :class:`TokenGroup`.

    Shapes: ``bias (n, n)``, or ``(…, n, n)`` with heads or a batch before it: then those that keep each of its tables.
    A permutation that takes one head to another is not looked for.

    Args:
        bias: finite numbers, or −inf where a token (row) does not see another (column).
        kind: ``sa``, which looks at differences within a row, or ``usa``, which looks at the entries themselves.
        own_weight: whether the weight of a token at itself shows. Not for USA on the sphere where ``V`` is a multiple
            of the identity (up to the error of a step, whose stages leave the sphere); always for SA, whose weights
            share a sum.
        tol: how far equal entries may differ, relative to the largest one of their head; by default some roundings of
            the precision of the bias. For measured entries give their relative error.

    Raises: ShapeError for a bias that is not square; NonFiniteError for nan or +inf; DataError for no numbers, truth
    values, or a row that sees no token; ConfigError; PrecisionError where the group depends on entries that may be
    equal up to rounding or not, or equal entries were joined through others.
    """
    kind = word_of(kind, "kind", KINDS)
    if kind == "sa" and not own_weight:
        raise ConfigError("own_weight=False is for kind='usa': a softmax shows every entry of the bias")
    values, eps = _bias(bias)
    n = values.shape[1]
    finite = np.isfinite(values)
    sizes = np.abs(values).max((1, 2), initial=0.0, where=finite)
    size = float(sizes.max())
    relative = _ROUNDING * eps if tol is None else finite_number(tol, "tol")
    if not 0 < relative < 1:
        raise ConfigError(f"tol is relative to the largest entry, above 0 and below 1; got {relative}")
    table = _seen(values, finite, kind)
    if not own_weight:
        table[:, np.arange(n), np.arange(n)] = 0.0
    # Relative to the entries as they came: that is what was rounded, also where little of them is seen. Head by head:
    # large entries of one do not make those of another uncertain.
    tolerances = relative * sizes
    tolerance = relative * size
    moves, order = permutations_that_keep(_colours(table, tolerances))
    factor = _DOUBT if tol is None else _DOUBT_GIVEN
    doubtful = tolerance * factor
    _, loose = permutations_that_keep(_colours(table, tolerances * factor))
    if loose != order:
        raise PrecisionError(
            f"entries that differ by {tolerance:.1e} to {doubtful:.1e} decide between a group of order "
            f"{order} and one of order {loose}; give tol, how far equal entries may differ, relative to {size:.3g}"
        )
    defects = _defects(table, moves)
    defect = float(defects.max())
    if (defects > tolerances).any():
        raise PrecisionError(
            f"entries that differ by {defect:.1e} were joined by others between them, in steps of {tolerance:.1e} and "
            "less, so that which are equal cannot be told; give a larger tol, or a smaller one"
        )
    return TokenGroup(table, moves, order, tolerance, defect)


def _bias(bias: Tensor) -> tuple[NDArray[np.float64], float]:
    """The bias as ``(heads, n, n)`` float64, and the rounding of its precision. Raises: as :func:`token_group`."""
    if bias.dtype == torch.bool or bias.is_complex():
        raise DataError(f"bias must hold real numbers, 0 and -inf for a mask; got {bias.dtype}")
    if bias.ndim < 2 or bias.shape[-1] != bias.shape[-2] or bias.numel() == 0:
        raise ShapeError(f"bias must be (…, n, n), with at least one token; got {tuple(bias.shape)}")
    eps = torch.finfo(bias.dtype if bias.is_floating_point() else torch.float64).eps
    values = bias.detach().to(device="cpu", dtype=torch.float64).numpy().copy()
    values = values.reshape(-1, *values.shape[-2:])
    wrong = np.argwhere(np.isnan(values) | (values == np.inf))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise NonFiniteError(f"bias must be finite, or -inf; got {values[place]} at {place}, head and pair")
    return values, float(eps)


def _seen(values: NDArray[np.float64], finite: NDArray[np.bool_], kind: str) -> NDArray[np.float64]:
    """What the flow sees of a bias ``(heads, n, n)``. Raises: DataError for a row of SA that sees no token."""
    if kind == "usa":
        return values.copy()
    counts = finite.sum(-1, keepdims=True)
    blind = np.argwhere(counts[..., 0] == 0)
    if len(blind):
        head, row = blind[0].tolist()
        raise DataError(f"row {row} of head {head} of the bias is -inf: a softmax needs a token to look at")
    # By the mean of what is seen: two rows have one softmax where they hide the same and differ by a constant.
    means = np.where(finite, values, 0.0).sum(-1, keepdims=True) / counts
    return np.where(finite, values - means, -np.inf)


def _colours(table: NDArray[np.float64], tolerances: NDArray[np.float64]) -> Indices:
    """A whole number for each pair of tokens, ``(n, n)``: equal where the entries of all heads are, within theirs."""
    heads, n, _ = table.shape
    labels = np.empty((heads, n * n), dtype=np.int64)
    for head, values in enumerate(table.reshape(heads, -1)):
        order = np.argsort(values, kind="stable")
        with np.errstate(invalid="ignore"):
            steps = np.diff(values[order])
        # From one hidden entry to the next there is no step: −inf minus −inf is no number.
        labels[head, order] = np.concatenate([[0], np.cumsum(np.where(np.isnan(steps), 0.0, steps) > tolerances[head])])
    return np.unique(labels, axis=1, return_inverse=True)[1].reshape(n, n)


def _defects(table: NDArray[np.float64], moves: Indices) -> NDArray[np.float64]:
    """The largest difference between an entry and its image under a generator, of each head, ``(heads,)``.

    Hidden entries have hidden images.
    """
    worst = np.zeros(len(table))
    for p in moves:
        with np.errstate(invalid="ignore"):
            differences = np.abs(table[:, p][:, :, p] - table)
        worst = np.maximum(worst, np.nanmax(differences, axis=(1, 2), initial=0.0))
    return worst
