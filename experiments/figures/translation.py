"""Figures and the table of the translation runner."""

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.meta import Learner, MetaParameters
from msr.report import figures, format_table
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import cell

__all__ = ["draw_patterns", "draw_weights", "table"]

SHOWN_TASKS = 3
"""Held-out tasks whose weights are shown."""


def draw_weights(
    name: str, learner: Learner, params: MetaParameters, test: Episodes, truth: Tensor | None, folder: RunFolder
) -> None:
    """Write a figure of the weight matrices of the first three tasks of ``test``, each fitted on its support set.

    Its file is ``weights-SOLVER.png``, where ``name`` is ``MODEL-SOLVER``.
    Where the true span is known, a second row shows the best fit within it to all of a task's examples, which without
    noise is the true weight.
    """
    few = test.select(slice(0, SHOWN_TASKS)).to("cpu")
    learned = _adapted_weights(learner, params, few)
    panels = {f"task {i}, learned": weight for i, weight in enumerate(learned)}
    if truth is not None:
        x, y = few.examples()
        basis = truth.to(x.dtype)
        for i, weight in enumerate(learned):
            # Each column of the span, as a matrix, gives one feature of an example; v is their least squares fit.
            columns = basis.unflatten(0, weight.shape)
            features = torch.einsum("ei,oik->eok", x[i].flatten(0, -2), columns).flatten(0, 1)
            v = torch.linalg.lstsq(features, y[i].flatten().unsqueeze(1)).solution
            panels[f"task {i}, true span"] = (basis @ v).reshape(weight.shape)
    title = f"Weights W = U v after one task's support set ({name})"
    figure = figures.matrices(panels, columns=len(learned), title=title)
    folder.draw(f"weights-{name.split('-')[1]}.png", figure)


def draw_patterns(patterns: dict[str, Tensor], truth: Tensor | None, shape: tuple[int, int], folder: RunFolder) -> None:
    """Write ``sharing.png``, where each learned pattern puts weight, and ``span.png``, its cosines to the true span.

    Without the true span (None) there is no ``span.png``.

    Shapes: each pattern, and ``truth``, ``(out · in, k)``, its own ``k``; ``shape`` is ``(out, in)``.
    """
    if truth is not None:
        folder.draw("span.png", figures.span_cosines(patterns, truth))
        patterns = {**patterns, "truth": truth}
    panels = {name: U.unflatten(0, shape) for name, U in patterns.items()}
    title = "Where weights are shared: max over k of |U|"
    folder.draw("sharing.png", figures.sharing_strength(panels, title=title))


def table(summary: list[Row], rows: list[Row], many: bool, zero: Row | None) -> str:
    """The results as a Markdown table, a row for each line of the summary.

    Args:
        rows: the rows of all arms; those of the first seed come first.
        many: whether there are several seeds, over which the error and its interval are then taken; else they are over
            the held-out tasks of the one seed.
        zero: the error of always predicting zero, or None.
    """
    lines = [["zero predictor", "", cell(zero), *[""] * 5]]
    for line in summary:
        of_variant = [row for row in rows if (row["model"], row["inner"]) == (line["model"], line["inner"])]
        median = line["query_mse_median"]
        cosine = line.get("span_cosine_min")
        lines.append(
            [
                line["model"],
                line["inner"],
                cell(line["query_mse"] if many else of_variant[0]["query_mse"]),
                "none" if median is None else f"{median['mean']:.2e}",
                "" if cosine is None else f"{cosine:.4f}",
                str(of_variant[0]["outer_steps"]),
                f"{line['seconds']['mean']:.1f}",
                f"{line['diverged']} of {len(of_variant)} diverged" if line["diverged"] else "",
            ]
        )
    head = ["model", "inner", f"query MSE ± 95% over {'seeds' if many else 'tasks'}", "median of tasks"]
    return format_table([*head, "span cosine", "steps", "seconds", "note"], lines)


def _adapted_weights(learner: Learner, params: MetaParameters, few: Episodes) -> Tensor:
    """The weight matrices of the layers after adapting to each task's support set, ``(tasks, out, in)``.

    They are read off the layers' outputs on unit vectors.
    """
    adapted = learner.adapt(params, few.support_x, few.support_y)
    *middle, n = few.support_x.shape[2:]
    units = torch.eye(n).reshape(n, *(1 for _ in middle), n).expand(n, *middle, n)
    weights = []
    for i in range(few.n_tasks):
        y = learner.problem.predict({**params.shared, **{name: v[i] for name, v in adapted.items()}}, units)
        weights.append(y.reshape(n, -1, y.shape[-1])[:, 0].mT)
    return torch.stack(weights)
