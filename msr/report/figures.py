"""Figures as matplotlib objects: what was learned, beside the truth where it is known.

Nothing here touches pyplot or any global state; ``figure.savefig(path)`` writes a picture with no display.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from msr.errors import MissingExtraError
from msr.subspace import principal_cosines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves", "matrices", "require", "sharing_strength", "span_cosines"]


def matrices(panels: Mapping[str, Tensor], *, columns: int, title: str) -> "Figure":
    """Heat maps of matrices, named, in rows of ``columns``; one symmetric colour scale a panel."""
    rows = -(-len(panels) // columns)
    figure = _figure(3.1 * columns, 3.1 * rows + 0.5)
    figure.suptitle(title)
    for place, (name, matrix) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        values = matrix.detach().cpu().numpy()
        top = float(abs(values).max()) or 1.0
        image = axes.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
        axes.set_title(name, fontsize="medium")
        axes.set(xlabel="input", ylabel="output")
        axes.locator_params(integer=True)
        figure.colorbar(image, ax=axes, shrink=0.75)
    return figure


def sharing_strength(panels: Mapping[str, Tensor], *, title: str) -> "Figure":
    """Where a sharing pattern puts weight at all: ``max_k |U[i, j, k]|`` as ``(out, in)`` pictures.

    Shapes: each panel ``(out, in, k)``. The picture depends on the basis chosen for the span of ``U``; zeros do not.
    """
    figure = _figure(4.2 * len(panels), 4.2)
    figure.suptitle(title)
    for place, (name, pattern) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        image = axes.imshow(pattern.detach().abs().amax(-1).cpu().numpy(), cmap="magma", interpolation="nearest")
        axes.set_title(name, fontsize="medium")
        axes.set(xlabel="input", ylabel="output")
        axes.locator_params(integer=True)
        figure.colorbar(image, ax=axes, shrink=0.75)
    return figure


def span_cosines(learned: Mapping[str, Tensor], truth: Tensor) -> "Figure":
    """Cosines of the principal angles between each learned span ``(n, k)`` and the true one ``(n, l)``."""
    figure = _figure(6, 3.6)
    axes = figure.add_subplot()
    for name, pattern in learned.items():
        cosines = principal_cosines(pattern, truth)
        axes.plot(torch.arange(1, len(cosines) + 1).numpy(), cosines.numpy(), marker="o", label=name)
    axes.set(
        xlabel="principal angle",
        ylabel="cosine",
        ylim=(-0.03, 1.03),
        title="Learned span against the true one",
    )
    axes.locator_params(axis="x", integer=True)
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def curves(series: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, ylabel: str, log: bool) -> "Figure":
    """One line for each name: ``(outer steps, values)``."""
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    for name, (steps, values) in series.items():
        axes.plot(steps, values, label=name)
    axes.set(xlabel="outer step", ylabel=ylabel, yscale="log" if log else "linear")
    axes.legend(fontsize="small", ncols=2)
    axes.grid(alpha=0.3)
    return figure


def require() -> None:
    """Raise MissingExtraError now rather than after an hour of training."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise MissingExtraError("matplotlib is needed for figures. Try: pip install 'msr[plot]'") from None


def _figure(width: float, height: float) -> "Figure":
    require()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
