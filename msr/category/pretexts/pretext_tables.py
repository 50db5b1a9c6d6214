"""The table of a pretext task: for each pair of objects what the task relates them by, as a number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from msr.arrays import as_tensor, takes_arrays
from msr.brief import Brief
from msr.contexture import JointContext
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.memory import refuse_if_larger

__all__ = ["Kind", "PretextTable", "finite_matrix"]

Kind = Literal["counts", "joint", "density_ratio", "log_prob", "pmi"]
"""What the numbers of a table are; see :class:`PretextTable`."""

SCALE = 1e-6
"""How far from 1 a sum of probabilities may be: the same as for contexts."""


@dataclass(frozen=True, eq=False, repr=False)
class PretextTable(Brief):
    """What a pretext task relates each object ``X`` (a row) and each object ``Y`` (a column) by.

    Attributes:
        rows: ``n`` names of the objects ``X``. ``columns``: ``m`` names of the objects ``Y``.
        values: ``(n, m)`` float64, without unit. Logarithms are natural, and −inf where the pair never occurs.
        kind: ``counts``, how often the pair was seen, or how many arrows ``|Hom(X, Y)|`` has. ``joint``, ``P(x, y)``.
            ``density_ratio``, ``P(x, y) / (P(x) P(y))``. ``log_prob``, ``log P(y|x)``. ``pmi``, the logarithm of the
            density ratio (pointwise mutual information).
        marginals: ``P(x)``, ``(n,)``, and ``P(y)``, ``(m,)``, both above 0; for arrows these are shares of all arrows.

    Raises: ShapeError; NonFiniteError on nan or infinity, but for −inf where it may be; DataError for numbers that
    their kind cannot have (negative ones, sums that are off, marginals that do not fit), naming the first row.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Tensor
    kind: Kind
    marginals: tuple[Tensor, Tensor]

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"a pretext table's kind is one of {', '.join(get_args(Kind))}; got {self.kind!r}")
        values = finite_matrix(self.values, f"the {self.kind} table", zeros_of_logarithms=self._is_log)
        rows, columns = (tuple(map(str, names)) for names in (self.rows, self.columns))
        if values.shape != (len(rows), len(columns)):
            raise ShapeError(
                f"a table {tuple(values.shape)} needs as many names of rows and columns; got {len(rows)} and "
                f"{len(columns)}"
            )
        marginals = tuple(
            _probabilities(values_of, len(names), f"the marginal of the {side}")
            for values_of, names, side in zip(self.marginals, (rows, columns), ("rows", "columns"), strict=True)
        )
        self.__dict__.update(rows=rows, columns=columns, values=values, marginals=marginals)
        self._check()

    @classmethod
    def of_counts(
        cls, counts: Tensor, rows: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> "PretextTable":
        """The table of how often each pair was seen, ``(n, m)``, whole or not; its marginals are shares of all pairs.

        Names are numbers where none are given.
        Raises: as the class; DataError for a row or a column that never occurs.
        """
        table = finite_matrix(counts, "the counts")
        n, m = table.shape
        _not_negative(table, "counts")
        _all_occur(table)
        total = table.sum()
        names = tuple(map(str, range(n))) if rows is None else tuple(rows)
        others = tuple(map(str, range(m))) if columns is None else tuple(columns)
        return cls(names, others, table, "counts", (table.sum(1) / total, table.sum(0) / total))

    @property
    def joint(self) -> Tensor:
        """``P(x, y)``, ``(n, m)``, whatever the kind of the table: its marginals say what is missing."""
        across = self.marginals[0][:, None]
        product = across * self.marginals[1]
        if self.kind == "counts":
            return self.values / self.values.sum()
        if self.kind == "joint":
            return self.values
        if self.kind == "density_ratio":
            return self.values * product
        return self.values.exp() * (across if self.kind == "log_prob" else product)

    def to(self, kind: Kind, *, smoothing: float = 0.0, zeros: Literal["refuse", "-inf"] = "refuse") -> "PretextTable":
        """The same pairs as a table of another kind, with the same names.

        Args:
            smoothing: added to the count of every pair first (Laplace's rule); the marginals are then those of the
                smoothed counts. Only for a table of counts.
            zeros: what the logarithm of a pair that never occurs is: an error that names it, or −inf.

        Raises: ConfigError for an unknown kind, counts of what is no table of counts, or smoothing where there are
        none; DataError for the logarithm of 0.
        """
        if kind not in get_args(Kind) or zeros not in ("refuse", "-inf"):
            raise ConfigError(
                f"kind is one of {', '.join(get_args(Kind))} and zeros 'refuse' or '-inf'; got {kind!r}, {zeros!r}"
            )
        if not (math.isfinite(smoothing) and smoothing >= 0):
            raise ConfigError(f"smoothing is a number that is added to each count, 0 or more; got {smoothing}")
        if self.kind != "counts" and (smoothing or kind == "counts"):
            raise ConfigError(
                f"a table of {self.kind} holds no counts: take smoothing and counts from those of the pairs"
            )
        if smoothing:
            return PretextTable.of_counts(self.values + smoothing, self.rows, self.columns).to(kind, zeros=zeros)
        if kind == self.kind:
            return self
        joint = self.joint
        if kind in ("log_prob", "pmi") and zeros == "refuse" and not bool((joint > 0).all()):
            i, j = (joint <= 0).nonzero()[0].tolist()
            raise DataError(
                f"{self.rows[i]!r} and {self.columns[j]!r} never occur together, and the logarithm of 0 is no number: "
                "smooth the counts, or give zeros='-inf'"
            )
        across = self.marginals[0][:, None]
        values = {
            "counts": lambda: self.values,
            "joint": lambda: joint,
            "density_ratio": lambda: joint / (across * self.marginals[1]),
            "log_prob": lambda: (joint / across).log(),
            "pmi": lambda: (joint / (across * self.marginals[1])).log(),
        }[kind]()
        return PretextTable(self.rows, self.columns, values, kind, self.marginals)

    def context(self, name: str = "pretext") -> JointContext:
        """The context whose joint probabilities are those of the pairs: ``X`` the point, ``Y`` the context variable."""
        return JointContext(self.joint.numpy(), name)

    @property
    def _is_log(self) -> bool:
        """Whether the values are logarithms."""
        return self.kind in ("log_prob", "pmi")

    def _check(self) -> None:
        """Raise DataError where the values and the marginals are not those of one joint distribution."""
        if not self._is_log:
            _not_negative(self.values, self.kind)
        if self.kind == "counts" and float(self.values.sum()) <= 0:
            raise DataError("all counts are 0: there is nothing in the table")
        joint = self.joint
        for axis, (names, marginal) in enumerate(zip((self.rows, self.columns), self.marginals, strict=True)):
            sums = joint.sum(1 - axis)
            off = (sums - marginal).abs() > SCALE
            if bool(off.any()):
                at = int(off.nonzero()[0])
                raise DataError(
                    f"the {self.kind} of {names[at]!r} say that it has the probability {float(sums[at]):.6g}, and its "
                    f"marginal says {float(marginal[at]):.6g}"
                )


@takes_arrays("values")
def finite_matrix(values: Tensor, what: str, *, zeros_of_logarithms: bool = False) -> Tensor:
    """A matrix ``(n, m)`` of real numbers as float64 on the CPU, detached.

    Args: ``what``: its name in messages; ``zeros_of_logarithms``: whether it may hold −inf.
    Raises: ShapeError unless it has two axes and is not empty; DataError for booleans or complex numbers;
    NonFiniteError on nan or infinity.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise ShapeError(f"{what} must be a matrix that is not empty; got the shape {tuple(values.shape)}")
    if values.dtype == torch.bool or values.is_complex():
        raise DataError(f"{what} must hold real numbers; got {values.dtype}")
    refuse_if_larger(32.0 * values.numel(), f"{what} of {values.shape[0]} rows", advice="give fewer objects")
    matrix = values.detach().cpu().double()
    allowed = matrix.isfinite() | (matrix.isneginf() if zeros_of_logarithms else torch.zeros_like(matrix).bool())
    if not bool(allowed.all()):
        i, j = (~allowed).nonzero()[0].tolist()
        raise NonFiniteError(f"{what} holds {float(matrix[i, j])} in row {i}, column {j}")
    return matrix


def _not_negative(table: Tensor, what: str) -> None:
    """Raise DataError for the first negative number of a table ``(n, m)``."""
    if bool((table < 0).any()):
        i, j = (table < 0).nonzero()[0].tolist()
        raise DataError(f"{what} are not negative; row {i}, column {j} holds {float(table[i, j]):.6g}")


def _all_occur(table: Tensor) -> None:
    """Raise DataError for the first row or column of counts ``(n, m)`` that is 0 throughout."""
    for axis, name in enumerate(("row", "column")):
        empty = table.sum(1 - axis) <= 0
        if bool(empty.any()):
            raise DataError(f"{name} {int(empty.nonzero()[0])} never occurs; leave it out")


def _probabilities(values: Tensor, n: int, what: str) -> Tensor:
    """Probabilities ``(n,)`` above 0, float64. Raises: ShapeError, NonFiniteError, DataError."""
    tensor = as_tensor(values, what)
    if tuple(tensor.shape) != (n,):
        raise ShapeError(f"{what} must be ({n},); got {tuple(tensor.shape)}")
    marginal = finite_matrix(tensor[None], what)[0]
    if not bool((marginal > 0).all()):
        at = int((marginal <= 0).nonzero()[0])
        raise DataError(f"{what} is {float(marginal[at]):.3g} at {at}: leave out what never occurs")
    if abs(float(marginal.sum()) - 1) > SCALE:
        raise DataError(f"{what} sums to {float(marginal.sum()):.6g}, and probabilities sum to 1")
    return marginal
