"""Figures and the table of the rotation runner."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments._folder import Row, RunFolder
from msr.estimate import Estimate
from msr.report import figures, format_table
from tasks import RotationTasks

__all__ = ["draw_filters", "table"]


def draw_filters(panels: Mapping[str, Tensor], family: RotationTasks, folder: RunFolder) -> None:
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
    folder.draw("filters.png", figure)


def table(
    summary: list[Row], of_first: dict[str, Row], many: bool, zero: Estimate, truth: dict[str, float], inside: float
) -> str:
    """The results as text: over the held-out tasks for one seed, over the seeds for ``many``.

    ``of_first`` are the rows of the first seed; ``truth`` and ``inside`` defects and energy of the true filters.
    """
    lines = [
        ["zero predictor", f"{zero.mean:.2e}", "", "", *["" for _ in truth], "", ""],
        ["truth", "", f"{inside:.4f}", "", *[f"{d:.4f}" for d in truth.values()], "", ""],
    ]
    for line in summary:
        row = of_first[line["arm"]]
        mse = line["query_mse"] if many else row["query_mse"]
        spread = "" if mse["ci95"] is None else f" ± {mse['ci95']:.0e}"
        lines.append(
            [
                line["arm"],
                f"{mse['mean']:.2e}{spread}",
                f"{line['energy']['mean']:.4f}",
                f"{line['span_cosine_min']:.4f}" if "span_cosine_min" in line else "",
                *[f"{d:.4f}" for d in line["defect"].values()],
                str(row["outer_steps"]),
                f"{line['seconds']['mean']:.1f}",
            ]
        )
    unit = "seeds" if many else "tasks"
    head = ["arm", f"query MSE ± 95% over {unit}", "energy", "least span cosine", *[f"worst defect {h}" for h in truth]]
    return format_table([*head, "steps", "seconds"], lines)


def _tiles(filters: Tensor, fields: int) -> Tensor:
    """Side by side with an empty line between: ``(fields · (kernel + 1) − 1, order · (kernel + 1) − 1)``."""
    apart = F.pad(filters.squeeze(1), (0, 1, 0, 1)).unflatten(0, (fields, -1))
    return apart.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)[:-1, :-1]
