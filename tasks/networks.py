"""Networks of the published problems, in plain torch: runners and benchmarks train the same ones."""

import math

import torch
from torch import nn

__all__ = ["conv4", "convolutions_of_conv4"]

_BLOCKS = 4
_LAYERS_OF_A_BLOCK = 4  # convolution, batch norm, ReLU, pooling


def conv4(ways: int, *, width: int = 32, running_statistics: bool = True, generator: torch.Generator) -> nn.Sequential:
    """Four blocks of 3×3 convolution, batch norm, ReLU and 2×2 pooling, then a linear head, for 28×28 images.

    Every weight and bias is drawn from ``generator`` as torch's own layers draw theirs, ``U(±1/√fan_in)``. Without
    ``running_statistics`` the batch norms always use those of the batch. ``ways`` is the number of classes, and
    ``width`` that of the channels of each block.

    Shapes: ``(images, 1, 28, 28) -> (images, ways)``.
    Source: the few-shot network of arXiv:1703.03400.
    """
    layers: list[nn.Module] = []
    channels = 1
    for _ in range(_BLOCKS):
        convolution = nn.Conv2d(channels, width, 3, padding=1, device="meta").to_empty(device="cpu")
        _draw(convolution, 9 * channels, generator)
        norm = nn.BatchNorm2d(width, track_running_stats=running_statistics)
        layers += [convolution, norm, nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    head = nn.Linear(width, ways, device="meta").to_empty(device="cpu")
    _draw(head, width, generator)
    return nn.Sequential(*layers, nn.Flatten(), head)


def convolutions_of_conv4() -> list[str]:
    """The names of the four convolutions of :func:`conv4` as modules, in order."""
    return [str(_LAYERS_OF_A_BLOCK * block) for block in range(_BLOCKS)]


@torch.no_grad()
def _draw(layer: nn.Conv2d | nn.Linear, fan_in: int, generator: torch.Generator) -> None:
    """Draw weight and bias of a layer in place from ``U(±1/√fan_in)``.

    Torch's own start would use the global generator. ``fan_in`` is how many numbers each output is computed from.
    """
    bound = 1 / math.sqrt(fan_in)
    layer.weight.uniform_(-bound, bound, generator=generator)
    assert layer.bias is not None
    layer.bias.uniform_(-bound, bound, generator=generator)
