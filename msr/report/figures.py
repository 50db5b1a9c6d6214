"""Figures as matplotlib objects: what was learned, beside the truth where it is known.

Nothing here touches pyplot or any global state; ``figure.savefig(path)`` writes a picture with no display.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.errors import MissingExtraError
from msr.span.angles import principal_cosines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Entries of a legend that fit into a picture without hiding its lines.
_MOST_INSIDE = 8

__all__ = [
    "bars", "curves", "fields", "matrices", "points", "rates", "require", "scaling", "sharing_strength", "span_cosines",
]  # fmt: skip


@takes_arrays("panels")
def matrices(
    panels: Mapping[str, Tensor],
    *,
    columns: int,
    title: str,
    axes: tuple[str, str] = ("input", "output"),
    tops: Mapping[str, float] | None = None,
) -> "Figure":
    """Heat maps of matrices ``(out, in)`` under their names; each has a colour scale of its own, symmetric about zero.

    Args:
        panels: the matrices, by name.
        columns: how many heat maps stand side by side, before the next row of them begins.
        axes: the labels of the axis across and of the axis down.
        tops: the largest value of the colour scale, by name; by default the largest of the matrix.
    """
    rows = -(-len(panels) // columns)
    figure = _figure(3.1 * columns, 3.1 * rows + 0.5)
    figure.suptitle(title)
    for place, (name, matrix) in enumerate(panels.items()):
        panel = figure.add_subplot(rows, columns, place + 1)
        values = matrix.detach().cpu().numpy()
        top = (tops or {}).get(name, float(abs(values).max())) or 1.0
        image = panel.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
        panel.set_title(name, fontsize="medium")
        panel.set(xlabel=axes[0], ylabel=axes[1])
        panel.locator_params(integer=True)
        figure.colorbar(image, ax=panel, shrink=0.75)
    return figure


@takes_arrays("panels")
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


@takes_arrays("learned", "truth")
def span_cosines(learned: Mapping[str, Tensor], truth: Tensor) -> "Figure":
    """Curves of the cosines of the principal angles between each learned span and the true one, the largest first.

    Shapes: each value of ``learned`` is a basis ``(n, k)`` of a span, in its columns, and ``truth`` one ``(n, l)``.
    """
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


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    ylabel: str,
    log: bool,
    xlabel: str = "outer step",
    kinds: Mapping[str, str] | None = None,
    xlog: bool = False,
    dots: Collection[str] = (),
    beside: bool = False,
) -> "Figure":
    """One line for each name: ``series`` holds, for each, its places along the x-axis and its values there.

    With ``log``, the axis of the values is logarithmic, with ``xlog`` the other one. ``kinds`` says of what kind each
    name is: lines of one kind have one colour and one entry in the legend; by default every line is a kind of its own.
    A legend of more than eight entries stands beside the picture.

    Args:
        series: places and values, by name.
        ylabel: of the axis of values.
        log: whether the axis of the values is logarithmic.
        xlabel: of the axis across.
        kinds: by name.
        xlog: whether the axis across is logarithmic.
        dots: the names that are drawn as points without a line: what was measured, on the line of what was computed.
        beside: whether the legend stands beside the picture in any case, as where lines leave no room for it.
    """
    kind_of = {name: name for name in series} if kinds is None else kinds
    all_kinds = list(dict.fromkeys(kind_of[name] for name in series))
    colours = [f"C{place}" for place in range(10)]
    if len(all_kinds) > len(colours):
        from matplotlib import colormaps

        colours = list(colormaps["tab20"].colors)  # type: ignore[attr-defined]
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    labelled: set[str] = set()
    for name, (steps, values) in series.items():
        kind = kind_of[name]
        colour = colours[all_kinds.index(kind) % len(colours)]
        # Points of a line's kind are drawn over it, and have the entry in the legend that the line has.
        how: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": ""} if name in dots else {}
        axes.plot(steps, values, label=None if kind in labelled else kind, color=colour, **how)
        labelled.add(kind)
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear", xscale="log" if xlog else "linear")
    if not xlog and all(isinstance(step, int) for steps, _ in series.values() for step in steps):
        axes.locator_params(axis="x", integer=True)
    if beside or len(all_kinds) > _MOST_INSIDE:
        figure.set_figwidth(10)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        axes.legend(fontsize="small", ncols=2)
    axes.grid(alpha=0.3)
    return figure


def scaling(
    series: Mapping[str, Sequence[Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    reference: float | None = None,
) -> "Figure":
    """Values against sizes, both axes logarithmic; one line for each name, ``(sizes, values)`` or with bounds.

    Bounds are two more sequences, ``(sizes, values, least, greatest)``, on the scale of the values, and are drawn as
    error bars. ``reference`` is a value to compare with, drawn across.
    """
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    if reference is not None:
        axes.axhline(reference, color="grey", linewidth=1)
    for name, (sizes, values, *bounds) in series.items():
        if bounds:
            spread = [[v - a for v, a in zip(values, bounds[0], strict=True)]]
            spread.append([b - v for v, b in zip(values, bounds[1], strict=True)])
            axes.errorbar(sizes, values, yerr=spread, marker="o", markersize=4, capsize=2, label=name)
        else:
            axes.plot(sizes, values, marker="o", markersize=4, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, xscale="log", yscale="log")
    ticks = sorted({size for sizes, *_ in series.values() for size in sizes})
    axes.set_xticks(ticks, [f"{size:g}" for size in ticks], minor=False)
    axes.minorticks_off()
    axes.legend(fontsize="small", ncols=2)
    axes.grid(alpha=0.3)
    return figure


def bars(groups: Mapping[str, Mapping[str, float]], *, ylabel: str, title: str, log: bool = False) -> "Figure":
    """A group of bars for each key of ``groups``, with a bar for each name in it; the numbers stand on top.

    A name that a group lacks has no bar there. With ``log``, the axis of the values is logarithmic.
    """
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    figure = _figure(max(5.0, 1.2 + 0.9 * len(names) * len(groups)), 4.2)
    axes = figure.add_subplot()
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        present = [(i, values[name]) for i, values in enumerate(groups.values()) if name in values]
        drawn = axes.bar([i + width * place for i, _ in present], [v for _, v in present], width, label=name)
        axes.bar_label(drawn, fmt="%.3g", fontsize="x-small")
    axes.set_xticks([i + width * (len(names) - 1) / 2 for i in range(len(groups))], list(groups))
    axes.set(ylabel=ylabel, title=title, yscale="log" if log else "linear")
    axes.margins(y=0.1)
    axes.legend(fontsize="small", ncols=2)
    axes.grid(alpha=0.3, axis="y")
    return figure


def points(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], *, xlabel: str, ylabel: str
) -> "Figure":
    """Clouds of points, a picture for each key of ``panels``: the places across and up of each name's points in it.

    A name has the same colour and mark in every picture, and one legend serves all.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for clouds in panels.values() for name in clouds))
    figure = _figure(4.6 * columns, 3.6 * rows + 0.4)
    marks = "os^Dv<>P*X"
    for place, (title, clouds) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        for name, (across, up) in clouds.items():
            kind = names.index(name)
            # Beyond ten names colours come again, with other marks.
            mark = marks[(kind + kind // 10) % 10]
            axes.scatter(across, up, s=18, alpha=0.7, color=f"C{kind % 10}", marker=mark, label=name)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.grid(alpha=0.3)
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        drawn, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=min(len(handles), 5), fontsize="small"
    )
    return figure


def rates(
    panels: Mapping[str, Sequence[Sequence[float]]],
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    xlabel: str,
    ylabel: str,
) -> "Figure":
    """Shares between 0 and 1 as tables of colour that show them in per cent, one table for each name.

    Args:
        panels: the shares ``(rows, columns)`` of each table, by name; the first row is drawn at the bottom.
        columns: labels of the columns, along the x-axis.
        rows: labels of the rows, along the y-axis.
    """
    figure = _figure(1.6 + (0.62 * len(columns) + 0.7) * len(panels), 1.5 + 0.45 * len(rows))
    for place, (name, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto", origin="lower")
        for i, line in enumerate(values):
            for j, value in enumerate(line):
                axes.text(
                    j, i, f"{100 * value:.0f}", ha="center", va="center", color="black" if value > 0.6 else "white"
                )
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set(title=f"{name}, %", xlabel=xlabel, ylabel=ylabel if place == 0 else "")
    return figure


def fields(
    panels: Mapping[str, Sequence[Sequence[float]]],
    *,
    across: Sequence[float],
    up: Sequence[float],
    xlabel: str,
    ylabel: str,
    label: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> "Figure":
    """Shares between 0 and 1 over a plane as colours, a picture for each name, and one colour bar.

    Args:
        panels: the shares ``(up, across)`` of each picture, by name.
        across: places of the columns, increasing.
        up: places of the rows, increasing.
        xlabel: of the axis across.
        ylabel: of the axis up.
        label: what the shares are of.
        lines: curves that are drawn over each picture, by name: places across and up. What is beyond the picture of
            the shares is not shown.
    """
    figure = _figure(4.4 * len(panels) + 1.0, 4.0)
    for place, (name, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        mesh = axes.pcolormesh(across, up, values, cmap="viridis", vmin=0, vmax=1, shading="nearest")
        limits = (axes.get_xlim(), axes.get_ylim())
        for curve, (x, y) in (lines or {}).items():
            axes.plot(x, y, color="white", linewidth=3)
            axes.plot(x, y, color="crimson", linewidth=1.5, label=curve)
        axes.set(title=name, xlabel=xlabel, ylabel=ylabel if place == 0 else "", xlim=limits[0], ylim=limits[1])
        if lines:
            axes.legend(fontsize="small", loc="lower right")
    figure.colorbar(mesh, ax=figure.axes, label=label)
    return figure


def require() -> None:
    """Raise MissingExtraError where matplotlib is not installed: now rather than after an hour of training."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise MissingExtraError("matplotlib is needed for figures. Try: pip install 'msr[plot]'") from None


def _figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches. Raises: MissingExtraError without matplotlib."""
    require()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
