"""Which permutations of tokens a map respects, of all that there are, against the group that it should."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.errors import ConfigError, NonFiniteError, ShapeError
from msr.flow.arguments import finite_number
from msr.permutations import Indices
from msr.tasks.token_orbitals import hidden_tokens

__all__ = ["MOST_TOKENS", "TokenScores", "token_scores"]

MOST_TOKENS = 7
"""Most tokens of which all permutations are tried: 5,040."""
_AT_ONCE = 2**16
"""Tokens that a map gets in one call, about. Chosen by hand."""


@dataclass(frozen=True, eq=False, repr=False)
class TokenScores(Brief):
    """How a map's symmetry under permutations of tokens agrees with a group.

    Attributes:
        permutations: ``(n!, n)``: where each token goes; the identity first.
        violations: ``(n!,)`` float64: ``‖f(P X) − P f(X)‖ / ‖f(X)‖`` over all inputs.
        true: ``(n!,)`` booleans: which permutations are in the group.
        tol: those with a violation below it count as respected.

    Raises: ShapeError.
    """

    permutations: Indices
    violations: Tensor
    true: np.ndarray
    tol: float

    def __post_init__(self) -> None:
        count = len(self.permutations)
        if self.violations.shape != (count,) or self.true.shape != (count,):
            raise ShapeError(
                f"violations and true must be ({count},); got {tuple(self.violations.shape)} and {self.true.shape}"
            )

    @property
    def respected(self) -> np.ndarray:
        """Which permutations the map respects, booleans ``(n!,)``."""
        return (self.violations < self.tol).numpy()

    @property
    def precision(self) -> float:
        """The share of the respected permutations that are in the group."""
        return float(self.true[self.respected].mean()) if self.respected.any() else 0.0

    @property
    def recall(self) -> float:
        """The share of the group that the map respects."""
        return float(self.respected[self.true].mean())

    @property
    def largest_true(self) -> float:
        """The largest violation of the group."""
        return float(self.violations[torch.from_numpy(self.true)].max())

    @property
    def smallest_false(self) -> float:
        """The smallest violation of any other permutation; infinite where there is none."""
        others = self.violations[torch.from_numpy(~self.true)]
        return float(others.min()) if len(others) else float("inf")


@takes_arrays("X")
def token_scores(f: Callable[[Tensor], Tensor], X: Tensor, group: Any, tol: float = 1e-6) -> TokenScores:
    """How a map of tokens respects each permutation of them, against a group: :class:`TokenScores`.

    Violations of false permutations have no floor: they depend on the task and the inputs. Those of exact flows are
    about 0.01 to 0.1 for 16 inputs and random biases, 1e-4 to 1e-3 for a distractor, and true ones are rounding; for a
    learned map ``tol`` is what is tolerated.

    Args:
        f: tokens ``(batch, n, d)`` to as many, each element of the batch by itself.
        X: inputs ``(batch, n, d)``.
        group: as for :func:`~msr.tasks.token_orbitals.hidden_tokens`: the true one, 2-closed.
        tol: above 0.

    Shapes: ``X (batch, n, d)``.
    Raises: ConfigError for more than 7 tokens; ShapeError for tokens, or outputs, that do not fit; NonFiniteError.
    """
    tokens = hidden_tokens(group)
    tol = finite_number(tol, "tol")
    if X.ndim != 3 or X.shape[1] != tokens.n or X.numel() == 0:
        raise ShapeError(
            f"X must be (batch, {tokens.n}, d), as the group moves {tokens.n} tokens; got {tuple(X.shape)}"
        )
    if tokens.n > MOST_TOKENS:
        raise ConfigError(f"all permutations are tried of at most {MOST_TOKENS} tokens; got {tokens.n}")
    if tol <= 0:
        raise ConfigError(f"tol must be above 0; got {tol}")
    moves = np.array(list(itertools.permutations(range(tokens.n))))
    with torch.no_grad():
        values = _values(f, X)
        size = values.norm()
        if not bool(size > 0):
            raise NonFiniteError("the map is 0 at all inputs: a violation is relative to its values")
        some = max(1, _AT_ONCE // (X.shape[0] * X.shape[1]))
        parts = []
        for chunk in torch.from_numpy(moves).split(some):
            # Permuting both in the same way is P X and P f(X), for P or its inverse: a group holds both.
            moved = _values(f, X[:, chunk].transpose(0, 1).flatten(0, 1)).unflatten(0, (len(chunk), -1))
            wanted = values[:, chunk].transpose(0, 1)
            parts.append((moved - wanted).flatten(1).norm(dim=1) / size)
    return TokenScores(moves, torch.cat(parts).double().cpu(), tokens.holds(moves), tol)


def _values(f: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
    """The values of a map. Raises: ShapeError, NonFiniteError."""
    values = f(X)
    if not isinstance(values, Tensor) or values.shape != X.shape:
        raise ShapeError(f"the map must give a tensor of the shape of its tokens, {tuple(X.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError("the map gives nan or infinity")
    return values
