"""The feature group that attention tasks hide, by the matrices of the flow that have it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from msr.brief import Brief
from msr.errors import ConfigError, ShapeError
from msr.flow.dynamics.mlp import Mlp, real_tensor
from msr.flow.symmetries.feature_groups import FeatureGroup, feature_group
from msr.tasks.base import generator_for

__all__ = ["FEATURES", "HiddenFeatures", "hidden_features"]


@dataclass(frozen=True, eq=False, repr=False)
class HiddenFeatures(Brief):
    """The matrices that the flows of all tasks of a family share, and so what commutes with their features.

    Attributes:
        name: what the group is called.
        d: the length of a token.
        B: ``(d, d)`` float64, ``QᵀK``; None for the identity.
        V: ``(d, d)``, times a number of each task; None for the identity.
        mlp: the network; none where None.

    Raises: ShapeError, NonFiniteError, DataError.
    """

    name: str
    d: int
    B: Tensor | None = None
    V: Tensor | None = None
    mlp: Mlp | None = None

    def __post_init__(self) -> None:
        for name in ("B", "V"):
            if getattr(self, name) is not None:
                matrix = real_tensor(getattr(self, name), name).detach().cpu().double()
                if matrix.shape != (self.d, self.d):
                    raise ShapeError(f"{name} must be ({self.d}, {self.d}); got {tuple(matrix.shape)}")
                object.__setattr__(self, name, matrix)
        if self.mlp is not None:
            if self.mlp.d != self.d:
                raise ShapeError(f"mlp is for tokens of {self.mlp.d} numbers, and d is {self.d}")
            object.__setattr__(self, "mlp", self.mlp.to(torch.device("cpu"), torch.float64))

    @cached_property
    def group(self) -> FeatureGroup:
        """The group itself, as far as a Lie algebra and signed permutations show it; found when it is asked for."""
        return feature_group(self.d, self.B, self.V, mlp=self.mlp)


def hidden_features(name: str, d: int) -> HiddenFeatures:
    """Matrices whose feature group has a name, for tokens of ``d`` numbers.

    The names are ``O(d)``, ``O(2)xO(1)`` (d = 3), ``O(2)xO(2)`` (d = 4), ``signs``, ``SO(2)`` (d = 2), ``U(2)``
    (d = 4), ``C3`` or another ``C`` and the number d, ``S3`` alike, and ``trivial``. ``O(5)`` is as good as ``O(d)``
    for d = 5. The networks of the last three have numbers that are always the same.
    Raises: ConfigError for another name, or one of another dimension.
    """
    if not isinstance(d, int) or isinstance(d, bool) or d < 1:
        raise ConfigError(f"d must be a whole number above 0; got {d!r}")
    letter = re.fullmatch(r"(O\(|[CS])([0-9]+)\)?", str(name))
    known = {"O(": "O(d)", "C": "C{d}", "S": "S{d}"}[letter[1]] if letter else name
    if known not in FEATURES:
        raise ConfigError(f"the feature group must be one of {', '.join(FEATURES)}; got {name!r}")
    entry = FEATURES[known]
    wanted = int(letter[2]) if letter else entry.d
    if wanted is not None and wanted != d:
        raise ConfigError(f"the feature group {name} is of tokens of {wanted} numbers; got d = {d}")
    if d < entry.least:
        raise ConfigError(f"the feature group {name} needs tokens of at least {entry.least} numbers; got d = {d}")
    return entry.make(name.replace("(d)", f"({d})"), d)


class _Entry(NamedTuple):
    """How a feature group is made, for which dimension (None for any), and for which at least."""

    make: Callable[[str, int], HiddenFeatures]
    d: int | None = None
    least: int = 1


def _plain(name: str, d: int) -> HiddenFeatures:
    return HiddenFeatures(name, d)


def _scores(name: str, d: int, numbers: tuple[float, ...] | None = None) -> HiddenFeatures:
    """Scores by a diagonal matrix, by default of numbers that all differ."""
    return HiddenFeatures(name, d, B=torch.diag(torch.tensor(numbers or [1.0 + i for i in range(d)]).double()))


def _turning(name: str, d: int) -> HiddenFeatures:
    """Values ``I + J/2`` with ``J² = −I``, which commute with complex linear maps alone."""
    J = torch.block_diag(*[torch.tensor([[0.0, -1.0], [1.0, 0.0]])] * (d // 2)).double()
    return HiddenFeatures(name, d, V=torch.eye(d, dtype=torch.float64) + J / 2)


def _circulant(name: str, d: int) -> HiddenFeatures:
    """A network of two circulant matrices."""
    rows = _numbers("circulant", 2, d) / d**0.5
    shifts = (torch.arange(d) - torch.arange(d)[:, None]) % d
    return HiddenFeatures(name, d, mlp=Mlp(rows[0][shifts], rows[1][shifts]))


def _exchangeable(name: str, d: int) -> HiddenFeatures:
    """A network of two matrices ``a I + b 1 1ᵀ``."""
    eye, ones = torch.eye(d, dtype=torch.float64), torch.ones(d, d, dtype=torch.float64) / d
    return HiddenFeatures(name, d, mlp=Mlp(0.8 * eye - 1.3 * ones, 0.9 * eye + 0.7 * ones))


def _without(name: str, d: int) -> HiddenFeatures:
    """A network of two matrices without any symmetry."""
    W = _numbers("without", 2, d, d) / d**0.5
    return HiddenFeatures(name, d, mlp=Mlp(W[0], W[1]))


def _numbers(*key: int | str) -> Tensor:
    """Normal numbers that are always the same, of a shape, which is the rest of the key."""
    shape = [size for size in key if isinstance(size, int)]
    return torch.randn(shape, generator=generator_for("hidden features", *key), dtype=torch.float64)


FEATURES: dict[str, _Entry] = {
    "O(d)": _Entry(_plain),
    "O(2)xO(1)": _Entry(partial(_scores, numbers=(1.0, 1.0, 2.0)), d=3),
    "O(2)xO(2)": _Entry(partial(_scores, numbers=(1.0, 1.0, 2.0, 2.0)), d=4),
    "signs": _Entry(_scores),
    "SO(2)": _Entry(_turning, d=2),
    "U(2)": _Entry(_turning, d=4),
    "C{d}": _Entry(_circulant, least=3),
    "S{d}": _Entry(_exchangeable, least=2),
    "trivial": _Entry(_without, least=2),
}
"""The feature groups that can be asked for by name."""
