"""Figures and the table of the rotation runner."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from msr.report import figures, format_table
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import cell, four_decimals
from tasks import RotationTasks

__all__ = ["draw_filters", "table"]


def draw_filters(panels: Mapping[str, Tensor], family: RotationTasks, folder: RunFolder) -> None:
    """Write ``filters.png``: a panel for each name with the filters of one task, fields by elements of the group.

    A row is a field, and a column an element.

    Shapes: each of ``panels`` ``(channels, 1, kernel, kernel)``.
    """
    kernel = family.kernel
    group = family.symmetry
    tiled = {name: _tiles(filters, family.fields) for name, filters in panels.items()}
    title = "Filters of one task: each row one function, turned"
    figure = figures.matrices(tiled, columns=1, title=title)
    figure.set_size_inches(2 + 0.55 * group.order, 1 + 1.9 * len(panels))
    # Every other axes of the figure is a colour bar.
    for axes in figure.axes[: 2 * len(panels) : 2]:
        axes.set(xlabel="", ylabel="field")
        places = torch.arange(group.order) * (kernel + 1) + (kernel - 1) / 2
        axes.set_xticks(places.tolist(), list(group.labels))
        rows = torch.arange(family.fields) * (kernel + 1) + (kernel - 1) / 2
        axes.set_yticks(rows.tolist(), [str(f + 1) for f in range(family.fields)])
    folder.draw("filters.png", figure)


def table(
    summary: list[Row],
    of_first: dict[str, Row],
    many: bool,
    zero: Row | None,
    truth: dict[str, Any],
    inside: Row | None,
) -> str:
    """The results as a Markdown table, a row for each line of the summary.

    Args:
        of_first: the rows of the first seed, by the name of the arm without its seed.
        many: whether there are several seeds, over which the error and its interval are then taken; else they are over
            the held-out tasks of the one seed.
        zero: the error of always predicting zero, or None.
        truth, inside: the defects of the true filters, by element, and their energy.
    """
    lines = [
        ["zero predictor", "none" if zero is None else f"{zero['mean']:.2e}", *[""] * (len(truth) + 6)],
        ["truth", "", "", four_decimals(inside), "", *map(four_decimals, truth.values()), "", "", ""],
    ]
    for line in summary:
        row = of_first[line["arm"]]
        median = line["query_mse_median"]
        lines.append(
            [
                line["arm"],
                cell(line["query_mse"] if many else row["query_mse"]),
                "none" if median is None else f"{median['mean']:.2e}",
                four_decimals(line["energy"]),
                four_decimals(line["span_cosine_min"]) if "span_cosine_min" in line else "",
                *map(four_decimals, line["defect"].values()),
                str(row["outer_steps"]),
                f"{line['seconds']['mean']:.1f}",
                f"{line['diverged']} diverged" if line["diverged"] else "",
            ]
        )
    head = ["arm", f"query MSE ± 95% over {'seeds' if many else 'tasks'}", "median of tasks", "energy"]
    head += ["least span cosine", *[f"worst defect {h}" for h in truth], "steps", "seconds", "note"]
    return format_table(head, lines)


def _tiles(filters: Tensor, fields: int) -> Tensor:
    """All filters of a task in one image, a row for each field and a column for each element, with lines of 0 between.

    Shapes: ``(channels, 1, kernel, kernel) -> (fields · (kernel + 1) − 1, order · (kernel + 1) − 1)``.
    """
    padded = F.pad(filters.squeeze(1), (0, 1, 0, 1)).unflatten(0, (fields, -1))
    return padded.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)[:-1, :-1]
