"""Boundaries: which outputs may be compared when a group moves values over an edge."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from msr.errors import ConfigError, ShapeError
from msr.representations import AnyRepresentation

__all__ = ["Interior", "interior"]


def interior(shape: Sequence[int], margin: int | Sequence[int]) -> Tensor:
    """A mask of this shape, booleans, that is false within ``margin`` entries of the edge, along the last axes.

    ``interior((3, 8, 8), (1, 1))`` leaves out one row and column at each side of a grid with 3 channels. A single
    number serves for a shape with one axis.

    Raises: ShapeError where the mask would be false everywhere, and for a single number with several axes.
    """
    if not isinstance(margin, Sequence):
        if len(shape) != 1:
            raise ShapeError(
                f"interior: give a margin for each axis that has a boundary, such as (1, 1), for {tuple(shape)}"
            )
        margin = (margin,)
    margins = tuple(int(n) for n in margin)
    if len(margins) > len(shape) or any(n < 0 for n in margins):
        raise ShapeError(
            f"interior: at most {len(shape)} margins, none negative, for the shape {tuple(shape)}; got {margins}"
        )
    mask = torch.ones(tuple(shape), dtype=torch.bool)
    for axis, n in zip(range(-len(margins), 0), margins, strict=True):
        if 2 * n >= shape[axis]:
            raise ShapeError(f"interior: a margin of {n} leaves nothing of an axis of {shape[axis]}")
        if n:
            mask.narrow(axis, 0, n).fill_(False)
            mask.narrow(axis, shape[axis] - n, n).fill_(False)
    return mask


class Interior:
    """A mask on the outputs of a function, and how the group moves it. Without a mask every output is inside.

    Raises: ShapeError for a mask of another shape, or without a true entry; ConfigError for outputs that the group
    mixes, since then no output has a place.
    """

    def __init__(self, rep: AnyRepresentation, mask: Tensor | None):
        self.rep = rep
        self.mask = mask
        if mask is None:
            return
        if tuple(mask.shape) != rep.shape or mask.dtype != torch.bool:
            raise ShapeError(
                f"the mask must be {rep.shape} booleans, as the output; got {tuple(mask.shape)} {mask.dtype}"
            )
        if not mask.any():
            raise ShapeError("the mask leaves no output to compare")
        if not rep.is_permutation:
            raise ConfigError(f"a mask needs outputs that are only moved around, but {rep} mixes them")

    def of(self, g: Any) -> Tensor:
        """Which outputs to compare for an element: those that are inside and come from inside.

        Shapes: ``rep.shape`` or ones, booleans; it broadcasts over a batch.
        Raises: ShapeError where the element moves every inside place out.
        """
        if self.mask is None:
            return torch.ones((1,) * len(self.rep.shape), dtype=torch.bool)
        # An output is compared where it lies inside and the output that the element moves there came from inside too.
        window = self.mask & (self.rep.act(g, self.mask.double()) > 0.5)
        if not window.any():
            raise ShapeError(
                f"element {self.rep.group.label(g)} moves all of the interior out of it: nothing to compare"
            )
        return window

    def place(self, y: Tensor, batch: int) -> Tensor:
        """The output on the whole shape ``(batch, *rep.shape)``: as it is, or placed inside the mask.

        A convolution without padding returns the inside only; the rest is zero then.
        Raises: ShapeError for any other shape.
        """
        if tuple(y.shape) == (batch, *self.rep.shape):
            return y
        box = self._box()
        if box is not None and tuple(y.shape) == (batch, *box):
            whole = y.new_zeros(batch, *self.rep.shape)
            assert self.mask is not None
            whole[:, self.mask.to(y.device)] = y.flatten(1)
            return whole
        hint = f", or (batch, {', '.join(map(str, box))}) to be placed inside the mask" if box else ""
        raise ShapeError(
            f"the function must return (batch, {', '.join(map(str, self.rep.shape))}) for {self.rep}{hint}; "
            f"it returned {tuple(y.shape)}"
        )

    def _box(self) -> tuple[int, ...] | None:
        """The sizes of the inside along each axis; None without a mask, or where the inside is no box."""
        if self.mask is None:
            return None
        places = self.mask.nonzero()
        box = tuple((places.max(0).values - places.min(0).values + 1).tolist())
        # The smallest box around the inside holds nothing else only where the inside is that box.
        return box if math.prod(box) == len(places) else None
