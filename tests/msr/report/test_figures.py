"""Figures hold what they were given: read off matplotlib's own objects."""

import pytest

pytest.importorskip("matplotlib")

from msr.report.figures import curves, fields


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


class TestCurves:
    def test_dots_lie_on_the_line_of_their_kind(self):
        series = {"exact": ([1.0, 2.0], [3.0, 4.0]), "measured": ([1.0, 2.0], [3.1, 3.9])}
        kinds = dict.fromkeys(series, "β = 1")
        (axes,) = curves(series, ylabel="y", log=False, kinds=kinds, dots=["measured"], xlog=True).axes
        line, dots = axes.lines
        assert (line.get_linestyle(), dots.get_linestyle()) == ("-", "None")
        assert (line.get_marker(), dots.get_marker()) == ("None", "o")
        assert line.get_color() == dots.get_color()
        assert list(dots.get_ydata()) == [3.1, 3.9]
        assert legend(axes) == ["β = 1"]
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")

    def test_whole_numbers_have_whole_ticks(self):
        whole = curves({"a": ([0, 1, 2], [0.0, 1.0, 2.0])}, ylabel="y", log=False)
        assert all(tick == int(tick) for tick in whole.axes[0].get_xticks())
        parts = curves({"a": ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])}, ylabel="y", log=False)
        assert any(tick != int(tick) for tick in parts.axes[0].get_xticks())

    def test_a_legend_stands_beside_where_it_is_asked_to(self):
        series = {"a": ([1.0], [1.0])}
        widths = [curves(series, ylabel="y", log=False, beside=beside).get_figwidth() for beside in (False, True)]
        assert widths == [7, 10]


class TestFields:
    def test_shares_and_a_curve_on_each_of_them(self):
        panels = {"d = 3": [[0.0, 0.5], [1.0, 0.25], [0.1, 0.2]], "d = 8": [[0.0, 1.0]] * 3}
        figure = fields(
            panels,
            across=[1.0, 2.0],
            up=[0.0, 1.0, 4.0],
            xlabel="t",
            ylabel="β",
            label="share",
            lines={"exact": ([1.0, 50.0], [0.0, 4.0])},
        )
        *pictures, bar = figure.axes
        assert [axes.get_title() for axes in pictures] == ["d = 3", "d = 8"]
        (mesh,) = pictures[0].collections
        assert mesh.get_array().tolist() == panels["d = 3"]
        assert mesh.get_clim() == (0, 1)
        # The curve leaves the picture, which keeps its limits.
        assert pictures[0].get_xlim()[1] < 3
        assert legend(pictures[1]) == ["exact"]
        assert bar.get_ylabel() == "share"
        assert [axes.get_ylabel() for axes in pictures] == ["β", ""]

    def test_without_curves_there_is_no_legend(self):
        figure = fields({"a": [[0.5]]}, across=[1.0], up=[1.0], xlabel="t", ylabel="β", label="share")
        assert figure.axes[0].get_legend() is None
