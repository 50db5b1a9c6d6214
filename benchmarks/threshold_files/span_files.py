"""Files for the constants of the span, most of them asked of :func:`msr.span.find_span` itself."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.calibration_files.patterns import ring
from benchmarks.threshold_files.known import Known, asked_of_span
from msr.span import Chunks

__all__ = ["span_files"]

_SPREAD = 1.2e-4
"""Size of what varies in the direction that dependent inputs hardly take: at the edge of what counts as reached."""


def _tasks(U: Tensor, count: int, examples: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Tasks ``x (count, examples, n)``, ``y (count, examples, m)`` with weights in the span of ``U (m, n, k)``."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, examples, U.shape[1], generator=draw, dtype=torch.float64)
    return x, _outputs(U, x, noise, draw)


def _outputs(U: Tensor, x: Tensor, noise: float, draw: torch.Generator) -> Tensor:
    """Outputs with white filters, and with noise of this size."""
    filters = torch.randn(len(x), U.shape[2], generator=draw, dtype=torch.float64)
    W = torch.einsum("mnk,tk->tmn", U, filters)
    y = x @ W.mT
    return y + noise * torch.randn(y.shape, generator=draw, dtype=torch.float64)


def _span(m: int, n: int, k: int, seed: int = 0) -> Tensor:
    """A random span ``(m, n, k)`` whose weights have outputs of about unit size."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, k, generator=draw, dtype=torch.float64) / (n * k) ** 0.5


def _whole(x: Tensor, y: Tensor) -> Chunks:
    """All tasks as one chunk."""
    return lambda: [(x, y)]


def large_layer() -> Known:
    """A circular convolution of 18 points: 324 weights, more than are looked at in one pass, of dimension 18."""
    U = torch.from_numpy(np.eye(18)[ring(18, flips=False)]) / 18**0.5
    x, y = _tasks(U, 160, 24, 0.1, 0)
    return asked_of_span(_whole(x, y), 18)


def weak_direction() -> Known:
    """Noise-free tasks with one direction 1.2e-5 as strong as the others: 1.4e-10 of their energy."""
    U = _span(3, 4, 3)
    U[:, :, 2] *= 1.2e-5
    x, y = _tasks(U, 80, 12, 0.0, 1)
    return asked_of_span(_whole(x, y), 3)


def fixed_inputs() -> Known:
    """All tasks have the same inputs, the corners of a cube, so that rough weights have errors of float32 alone."""
    U = _span(3, 3, 3)
    U[:, :, 2] *= 1.2e-3
    corners = torch.tensor([[a, b, c] for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)]).double()
    x = torch.cat([corners, corners]).expand(80, 16, 3).clone()
    return asked_of_span(_whole(x, _outputs(U, x, 0.0, torch.Generator().manual_seed(2))), 3)


def dependent_inputs() -> Known:
    """One input is nearly the sum of the others: in one direction inputs vary by 1e-9 of what they do in others."""
    x = torch.randn(80, 16, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x[:, :, 3] = x[:, :, :3].sum(2) + _SPREAD * x[:, :, 3]
    return asked_of_span(_whole(x, _outputs(_span(3, 4, 3), x, 0.0, torch.Generator().manual_seed(4))), 3)


def correlated_inputs() -> Known:
    """Two inputs have a correlation of 0.99, so that the inputs of some tasks nearly miss a direction."""
    x = torch.randn(120, 12, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x[:, :, 3] = 0.99 * x[:, :, 2] + (1 - 0.99**2) ** 0.5 * x[:, :, 3]
    return asked_of_span(_whole(x, _outputs(_span(3, 4, 3), x, 0.1, torch.Generator().manual_seed(6))), 3)


def slight_noise() -> Known:
    """Noise of 3.7e-6 of the outputs, which is 1.4e-11 of their squares."""
    x, y = _tasks(_span(3, 4, 3), 80, 6, 3.7e-6, 7)
    return asked_of_span(_whole(x, y), 3)


def one_weight() -> Known:
    """All tasks have one and the same weight in one direction of the span, beside others in which they differ."""
    U = _span(3, 4, 3)
    x, _ = _tasks(U, 80, 12, 0.0, 8)
    draw = torch.Generator().manual_seed(9)
    filters = torch.randn(80, 3, generator=draw, dtype=torch.float64)
    filters[:, 2] = 1.0
    y = x @ torch.einsum("mnk,tk->tmn", U, filters).mT
    return asked_of_span(_whole(x, y), 3)


def few_numbers() -> Known:
    """Tasks of eight numbers each, four examples of two outputs: filters of four leave little to spare."""
    x, y = _tasks(_span(2, 6, 4), 100, 4, 0.01, 10)
    return asked_of_span(_whole(x, y), 4)


def few_tasks() -> Known:
    """Forty noise-free tasks of eight inputs and six examples, of which ten judge."""
    x, y = _tasks(_span(6, 8, 3), 40, 6, 0.0, 11)
    return asked_of_span(_whole(x, y), 3)


def hidden_directions() -> Known:
    """Twelve directions, of which the spectrum shows few: tasks are short and noisy."""
    U = _span(6, 8, 12)
    U[:, :, 2:] *= 0.15
    x, y = _tasks(U, 400, 8, 0.05, 12)
    return asked_of_span(_whole(x, y), 12)


def some_short_tasks() -> Known:
    """Of eight inputs: six tasks of ten have twelve examples, the others eight, too few to reach every direction."""
    x, y = _tasks(_span(4, 8, 3), 200, 12, 0.1, 13)

    def chunks() -> list[tuple[Tensor, Tensor]]:
        parts = []
        for first in range(0, 200, 20):
            parts += [(x[first : first + 12], y[first : first + 12])]
            parts += [(x[first + 12 : first + 20, :8], y[first + 12 : first + 20, :8])]
        return parts

    return asked_of_span(chunks, 3)


def span_files() -> dict[str, Callable[[], Known]]:
    """All of them, by name."""
    files = (
        large_layer, weak_direction, fixed_inputs, dependent_inputs, correlated_inputs, slight_noise, one_weight,
        few_numbers, few_tasks, hidden_directions, some_short_tasks,
    )  # fmt: skip
    return {f"span: {make.__name__.replace('_', ' ')}": make for make in files}
