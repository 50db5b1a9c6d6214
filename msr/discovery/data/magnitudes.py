"""Refuses numbers whose squares overflow or vanish in float64."""

import torch
from torch import Tensor

from msr.discovery.data.intake import Taken
from msr.errors import DataError

__all__ = ["LARGEST", "SMALLEST", "check_magnitudes"]

# float64 holds numbers from 1e-308 to 1e308. Within these bounds squares are representable, and each side is brought to
# sizes of about one before higher powers are taken.
LARGEST = 1e150
SMALLEST = 1e-150


def check_magnitudes(taken: Taken) -> None:
    """Refuse numbers beyond ``1e150``, and coordinates that are not zero but nowhere above ``1e-150``.

    Raises: DataError that names the size, the task or coordinate, and a factor that brings it into the range.
    """
    for side, values in (("inputs", taken.x), ("outputs", taken.y)):
        coordinate_sizes = _largest(values, (0, 1))
        if not coordinate_sizes.numel():
            continue
        size = float(coordinate_sizes.max())
        if size > LARGEST:
            worst = int(_largest(values, tuple(range(1, values.ndim))).argmax())
            raise DataError(
                f"the {side} have numbers of size {size:.3g}, in task {int(taken.origin[worst])}: divide all {side} by "
                f"{size:.0e}, or leave that task out (sizes up to {LARGEST:g} can be used)"
            )
        tiny = (coordinate_sizes > 0) & (coordinate_sizes < SMALLEST)
        if tiny.any():
            size = float(coordinate_sizes[tiny].max())
            where = ", ".join(map(str, tiny.nonzero()[0].tolist()))
            raise DataError(
                f"the {side} have numbers of size {size:.3g} at most, in coordinate ({where}): multiply that by "
                f"{1 / max(size, 1e-300):.0e} (sizes from {SMALLEST:g} on can be used)"
            )


def _largest(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The largest absolute value over ``axes``, which are dropped, without a copy of all values."""
    return torch.maximum(values.amax(axes), -values.amin(axes))
