"""A mean with its 95% interval: how every number of this package is reported."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from msr.arrays import as_tensor
from msr.errors import DataError, NonFiniteError

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A sample mean; ``ci95`` is the half width of its 95% t-interval (nan for one value), ``n`` the sample size."""

    mean: float
    ci95: float
    n: int

    @classmethod
    def of(cls, values: Tensor | NDArray[np.floating] | Sequence[float]) -> "Estimate":
        """The mean of ``values (n,)`` with the half width ``t_{0.975, n−1} s / √n``, nan for one value.

        Raises: DataError for no values, NonFiniteError if one is nan or infinite: a mean would hide which.
        """
        if isinstance(values, (list, tuple)) and all(isinstance(value, (int, float)) for value in values):
            values = np.array(values, dtype=np.float64)  # Python's own precision, whatever torch's default is
        sample = as_tensor(values, "values").detach().to("cpu", torch.float64).flatten()
        if len(sample) == 0:
            raise DataError("a mean needs at least one value; got none")
        bad = (~sample.isfinite()).nonzero().flatten().tolist()
        if bad:
            raise NonFiniteError(f"{len(bad)} of {len(sample)} values are nan or infinite, the first at index {bad[0]}")
        n = len(sample)
        half = float(stdtrit(n - 1, 0.975)) * float(sample.std()) / math.sqrt(n) if n > 1 else math.nan
        return cls(float(sample.mean()), half, n)

    def to_dict(self) -> dict[str, float | int | None]:
        """The fields as a dictionary for JSON, which knows no nan: the interval of a single value becomes None."""
        return asdict(self) | {"ci95": None if math.isnan(self.ci95) else self.ci95}

    def __str__(self) -> str:
        return f"{self.mean:.3g}" if math.isnan(self.ci95) else f"{self.mean:.3g} ± {self.ci95:.2g}"
