"""Figures of the rotation runner: from tensors to pictures in the run's folder."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from msr.report import figures
from tasks import RotationTasks

__all__ = ["draw_filters"]


def draw_filters(panels: Mapping[str, Tensor], family: RotationTasks, path: Path) -> None:
    """Filters of one task ``(channels, 1, kernel, kernel)``, named: a row for each field, a column for each element."""
    kernel, group = family.kernel, family.symmetry
    tiled = {name: _tiles(filters, family.fields) for name, filters in panels.items()}
    title = "Filters of one task: each row one function, turned"
    figure = figures.matrices(tiled, columns=1, title=title)
    figure.set_size_inches(2 + 0.55 * group.order, 1 + 1.9 * len(panels))
    for axes in figure.axes[: 2 * len(panels) : 2]:  # the others are colour bars
        axes.set(xlabel="", ylabel="field")
        places = torch.arange(group.order) * (kernel + 1) + (kernel - 1) / 2
        axes.set_xticks(places.tolist(), list(group.labels))
        rows = torch.arange(family.fields) * (kernel + 1) + (kernel - 1) / 2
        axes.set_yticks(rows.tolist(), [str(f + 1) for f in range(family.fields)])
    figure.savefig(path)


def _tiles(filters: Tensor, fields: int) -> Tensor:
    """Side by side with an empty line between: ``(fields · (kernel + 1) − 1, order · (kernel + 1) − 1)``."""
    apart = F.pad(filters.squeeze(1), (0, 1, 0, 1)).unflatten(0, (fields, -1))
    return apart.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)[:-1, :-1]
