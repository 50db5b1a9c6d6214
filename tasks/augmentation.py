"""Random changes of images that leave their class as it is: what a few-shot learner is to be invariant to.

Source: arXiv:2007.02933, appendix D.3, for the crop with flips and turns.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import ShapeError

__all__ = ["N_RANDOM", "Augmentation", "augment", "augmented", "turn_and_flip"]

Augmentation = Literal["none", "crop", "square"]
"""``none``; ``crop``, the paper's (:func:`augment`); ``square``, the eight symmetries of a square
(:func:`turn_and_flip`)."""

N_RANDOM = 7
"""Random numbers that decide how one image is augmented, by any of the ways."""


@takes_arrays("images", "uniform")
def augmented(images: Tensor, uniform: Tensor, how: Augmentation) -> Tensor:
    """Images after the augmentation of that name; for ``none`` the same tensor.

    Shapes: ``images (n, channels, side, side)``; ``uniform (n, 7)``, numbers in [0, 1) that decide everything.
    """
    return images if how == "none" else _WAYS[how](images, uniform)


@takes_arrays("images", "uniform")
def augment(images: Tensor, uniform: Tensor) -> Tensor:
    """Images after a random resized crop, random flips and a random rotation, as one bilinear resampling.

    Each image gets a crop of area 0.8 to 1 and aspect ratio 3/4 to 4/3 stretched to the full side, a horizontal and a
    vertical flip with probability one half each, and a rotation within ±30°. Outside the image is black.

    Shapes: ``images (n, channels, side, side)``; ``uniform (n, 7)``, numbers in [0, 1) that decide everything.
    """
    if uniform.shape != (len(images), N_RANDOM):
        raise ShapeError(f"augment: uniform must be {(len(images), N_RANDOM)}; got {tuple(uniform.shape)}")
    area, ratio, right, down, across, along, turn = uniform.to(images).unbind(1)
    area = 0.8 + 0.2 * area
    ratio = torch.exp((2 * ratio - 1) * math.log(4 / 3))
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    angle = (2 * turn - 1) * math.pi / 6
    flip_x = torch.where(across < 0.5, 1.0, -1.0)
    flip_y = torch.where(along < 0.5, 1.0, -1.0)
    # A point of the result, in [-1, 1]², is flipped, turned, then placed inside the crop of the source.
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([width * cos * flip_x, -width * sin * flip_y, (2 * right - 1) * (1 - width)], dim=1),
            torch.stack([height * sin * flip_x, height * cos * flip_y, (2 * down - 1) * (1 - height)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@takes_arrays("images", "uniform")
def turn_and_flip(images: Tensor, uniform: Tensor) -> Tensor:
    """Each image after a random one of the eight turns and reflections of a square, exactly: no pixel is blended.

    The first number of an image decides by how many quarter turns, counter-clockwise, the second whether it is then
    mirrored left to right.

    Shapes: ``images (n, channels, side, side)``; ``uniform (n, 7)``, numbers in [0, 1).
    """
    if uniform.shape != (len(images), N_RANDOM):
        raise ShapeError(f"turn_and_flip: uniform must be {(len(images), N_RANDOM)}; got {tuple(uniform.shape)}")
    if images.shape[-1] != images.shape[-2]:
        raise ShapeError(f"turn_and_flip: quarter turns need square images; got {tuple(images.shape)}")
    turns = (4 * uniform[:, 0]).long()
    mirrored = uniform[:, 1] < 0.5
    result = images.clone()
    for quarter in range(1, 4):
        chosen = turns == quarter
        result[chosen] = torch.rot90(images[chosen], quarter, (-2, -1))
    result[mirrored] = result[mirrored].flip(-1)
    return result


_WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"crop": augment, "square": turn_and_flip}
