"""Figures and the table of the translation runner."""

import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.meta import Learner, MetaParameters
from msr.report import figures, format_table
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import cell

__all__ = ["draw_patterns", "draw_weights", "table"]


def draw_weights(
    name: str, learner: Learner, params: MetaParameters, test: Episodes, truth: Tensor | None, folder: RunFolder
) -> None:
    """Weight matrices of the first three held-out tasks, each fitted on its support set.

    Below, where the true span is known: the best fit in it to all of the task's examples, which without noise is the
    true weight.
    """
    few = test.select(slice(0, 3)).to("cpu")
    learned = _adapted_weights(learner, params, few)
    panels = {f"task {i}, learned": w for i, w in enumerate(learned)}
    if truth is not None:
        x, y = few.examples()
        basis = truth.to(x.dtype)
        for i, weight in enumerate(learned):
            columns = basis.unflatten(0, weight.shape)
            features = torch.einsum("ei,oik->eok", x[i].flatten(0, -2), columns).flatten(0, 1)
            v = torch.linalg.lstsq(features, y[i].flatten().unsqueeze(1)).solution
            panels[f"task {i}, true span"] = (basis @ v).reshape(weight.shape)
    title = f"Weights W = U v after one task's support set ({name})"
    figure = figures.matrices(panels, columns=len(learned), title=title)
    folder.draw(f"weights-{name.split('-')[1]}.png", figure)


def draw_patterns(patterns: dict[str, Tensor], truth: Tensor | None, shape: tuple[int, int], folder: RunFolder) -> None:
    """Where each learned pattern puts weight, and how its span lies to the true one."""
    if truth is not None:
        folder.draw("span.png", figures.span_cosines(patterns, truth))
        patterns = {**patterns, "truth": truth}
    panels = {name: U.unflatten(0, shape) for name, U in patterns.items()}
    title = "Where weights are shared: max over k of |U|"
    folder.draw("sharing.png", figures.sharing_strength(panels, title=title))


def table(summary: list[Row], rows: list[Row], many: bool, zero: Row | None) -> str:
    """The results as text: over the held-out tasks for one seed, over the seeds for ``many``."""
    lines = [["zero predictor", "", cell(zero), *[""] * 5]]
    for line in summary:
        own = [r for r in rows if (r["model"], r["inner"]) == (line["model"], line["inner"])]
        median, cosine = line["query_mse_median"], line.get("span_cosine_min")
        lines.append(
            [
                line["model"],
                line["inner"],
                cell(line["query_mse"] if many else own[0]["query_mse"]),
                "none" if median is None else f"{median['mean']:.2e}",
                "" if cosine is None else f"{cosine:.4f}",
                str(own[0]["outer_steps"]),
                f"{line['seconds']['mean']:.1f}",
                f"{line['diverged']} of {len(own)} diverged" if line["diverged"] else "",
            ]
        )
    head = ["model", "inner", f"query MSE ± 95% over {'seeds' if many else 'tasks'}", "median of tasks"]
    return format_table([*head, "span cosine", "steps", "seconds", "note"], lines)


def _adapted_weights(learner: Learner, params: MetaParameters, few: Episodes) -> Tensor:
    """What the adapted layers do to unit vectors: their weight matrices ``(tasks, out, in)``."""
    adapted = learner.adapt(params, few.support_x, few.support_y)
    middle, n = few.support_x.shape[2:-1], few.support_x.shape[-1]
    units = torch.eye(n).reshape(n, *(1 for _ in middle), n).expand(n, *middle, n)
    weights = []
    for i in range(few.n_tasks):
        y = learner.problem.predict({**params.shared, **{name: v[i] for name, v in adapted.items()}}, units)
        weights.append(y.reshape(n, -1, y.shape[-1])[:, 0].mT)
    return torch.stack(weights)
