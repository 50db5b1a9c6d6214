"""Networks of the published problems, in plain torch: runners and benchmarks train the same ones."""

import math
from typing import Literal

import torch
from torch import nn

from msr.errors import ShapeError

__all__ = ["conv4", "convolutions_of_conv4", "head_of_conv4"]

_BLOCKS = 4
_GROUPS = 4
_LAYERS_OF_A_BLOCK = 4  # convolution, batch norm, ReLU, pooling


def conv4(
    ways: int,
    *,
    width: int = 32,
    image_shape: tuple[int, int, int] = (1, 28, 28),
    norm: Literal["batch", "group"] = "batch",
    pooled: bool = False,
    running_statistics: bool = True,
    generator: torch.Generator,
) -> nn.Sequential:
    """Four blocks of 3×3 convolution, norm, ReLU and 2×2 pooling, then a linear head.

    Every weight and bias is drawn from ``generator`` as torch's own layers draw theirs, ``U(±1/√fan_in)``.

    Args:
        ways: the number of classes.
        width: the channels of each block.
        image_shape: ``(channels, height, width)`` of an image; each side is at least 16, since four poolings halve it.
        norm: ``"batch"`` norm, which looks at all images of a set together, or ``"group"`` norm with four groups of
            channels (one where four do not divide the width), which looks at one image alone.
        pooled: average each channel over what four poolings leave of the image, so that the head sees no positions. On
            sides that are multiples of 16 the network is then invariant to turns and flips if its filters are.
        running_statistics: without them batch norms always use the statistics of the batch.

    Shapes: ``(images, *image_shape) -> (images, ways)``.
    Source: the few-shot network of arXiv:1703.03400; group norm: arXiv:1803.08494.
    """
    layers: list[nn.Module] = []
    channels, height, breadth = image_shape
    for _ in range(_BLOCKS):
        convolution = nn.Conv2d(channels, width, 3, padding=1, device="meta").to_empty(device="cpu")
        _draw(convolution, 9 * channels, generator)
        if norm == "batch":
            own_norm: nn.Module = nn.BatchNorm2d(width, track_running_stats=running_statistics)
        else:
            own_norm = nn.GroupNorm(1 if width % _GROUPS else _GROUPS, width)
        layers += [convolution, own_norm, nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    places = (height >> _BLOCKS) * (breadth >> _BLOCKS)
    if not places:
        raise ShapeError(f"conv4 halves each side four times, so it needs 16 pixels each way; got {image_shape}")
    features = width if pooled else width * places
    if pooled:
        layers.append(nn.AdaptiveAvgPool2d(1))
    head = nn.Linear(features, ways, device="meta").to_empty(device="cpu")
    _draw(head, features, generator)
    return nn.Sequential(*layers, nn.Flatten(), head)


def convolutions_of_conv4() -> list[str]:
    """The names of the four convolutions of :func:`conv4` as modules, in order."""
    return [str(_LAYERS_OF_A_BLOCK * block) for block in range(_BLOCKS)]


def head_of_conv4(*, pooled: bool = False) -> str:
    """The name of the linear head of :func:`conv4` as a module, with or without the average before it."""
    return str(_LAYERS_OF_A_BLOCK * _BLOCKS + 1 + pooled)


@torch.no_grad()
def _draw(layer: nn.Conv2d | nn.Linear, fan_in: int, generator: torch.Generator) -> None:
    """Draw weight and bias of a layer in place from ``U(±1/√fan_in)``.

    Torch's own start would use the global generator. ``fan_in`` is how many numbers each output is computed from.
    """
    bound = 1 / math.sqrt(fan_in)
    layer.weight.uniform_(-bound, bound, generator=generator)
    assert layer.bias is not None
    layer.bias.uniform_(-bound, bound, generator=generator)
