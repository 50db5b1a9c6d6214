"""Numbers so large or so small that their squares, and what is made of these, have no place in float64."""

import torch
from torch import Tensor

from msr.discovery.data.intake import Taken
from msr.errors import DataError

__all__ = ["LARGEST", "SMALLEST", "check_sizes"]

LARGEST, SMALLEST = 1e150, 1e-150
"""Between these, squares of numbers are numbers, and each side is brought to sizes of about one before more is made."""


def check_sizes(taken: Taken) -> None:
    """Raises DataError naming the size, where it is, and by what to multiply; zeros are of no size."""
    for what, values in (("inputs", taken.x), ("outputs", taken.y)):
        size = _largest(values, (0, 1))
        if not size.numel():
            continue
        most = float(size.max())
        if most > LARGEST:
            worst = int(_largest(values, tuple(range(1, values.ndim))).argmax())
            raise DataError(
                f"the {what} have numbers of size {most:.3g}, in task {int(taken.came[worst])}: divide all {what} by "
                f"{most:.0e}, or leave that task out (sizes up to {LARGEST:g} can be used)"
            )
        tiny = (size > 0) & (size < SMALLEST)
        if tiny.any():
            most = float(size[tiny].max())
            where = ", ".join(map(str, tiny.nonzero()[0].tolist()))
            raise DataError(
                f"the {what} have numbers of size {most:.3g} at most, in coordinate ({where}): multiply that by "
                f"{1 / max(most, 1e-300):.0e} (sizes from {SMALLEST:g} on can be used)"
            )


def _largest(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The largest absolute value along axes, without a copy of all."""
    return torch.maximum(values.amax(axes), -values.amin(axes))
