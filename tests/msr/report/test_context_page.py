"""The page of contexts: whole, safe, its answer in words, and its drawings against the numbers that they show."""

import html
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from msr.contexture.comparison import compared
from msr.contexture.notation import parse_context
from msr.contexture.spectra import spectrum
from msr.errors import ShapeError
from msr.printable import quoted
from msr.report.context_page.answer import answer_of
from msr.report.context_page.charts import Series, scatter, spectra
from msr.report.context_page.lines import lines_of
from msr.report.context_page.page import context_page
from msr.report.context_page.places import places_of
from msr.tables import Table
from tests.support.pages import on_a_phone, read

TEXTS = ("knn:4", "rbf:auto", "rbf:0.01", "knn:4 * rbf:auto")
N = 70


@cache
def table_of(columns, target="none"):
    draw = np.random.default_rng(columns)
    x = draw.normal(size=(N, columns))
    x = (x - x.mean(0)) / x.std(0)
    y = {"none": None, "numbers": x[:, 0] + 0.1 * x[:, -1], "labels": np.where(x[:, 0] > 0, "yes", "no")}[target]
    return Table(
        tuple(f"column {i}" for i in range(columns)), x, x, y, target, np.arange(N), ("one column was encoded",)
    )


@cache
def judged_of(columns, target="none", texts=TEXTS):
    table = table_of(columns, target)
    return tuple(compared(torch.from_numpy(table.values), [parse_context(text) for text in texts], table.target))


CASES = ((5, "none"), (5, "labels"), (5, "numbers"), (2, "labels"), (1, "none"))


def page_of(columns=5, kind="none", **changes):
    table = table_of(columns, kind)
    texts = (*TEXTS, "labels") if kind == "labels" else TEXTS
    asked = {
        "judged": judged_of(columns, kind, texts),
        "table": table,
        "rows": np.arange(N),
        "target": None if kind == "none" else "answer",
        "source": "t.csv",
        "command": "msr context t.csv",
    }
    return context_page(**{**asked, **changes})


def text_of(page):
    return " ".join(" ".join(read(page).text).split())


def with_tau(line, tau, **changes):
    """A judged context with another τ, and whatever else is to be different."""
    return replace(line, usefulness=replace(line.usefulness, tau=tau, abstains=False), **changes)


@pytest.mark.parametrize(("columns", "target"), CASES)
def test_every_kind_of_table_makes_a_whole_page(columns, target):
    page = page_of(columns, target)
    reader = read(page)
    text = text_of(page)
    judged = judged_of(columns, target, (*TEXTS, "labels") if target == "labels" else TEXTS)
    for cells in lines_of(judged, target != "none"):
        assert " ".join(" ".join(cells).split()) in text
    answer = answer_of(judged, None if target == "none" else "answer", N, N)
    for sentence in (answer.headline, answer.sentence, *answer.caveats, "one column was encoded", "msr context t.csv"):
        assert sentence in text, sentence
    assert reader.tags.count("h1") == 1
    assert "script" not in reader.tags
    for _, name, value in reader.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith("data:")
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert len(re.findall("<svg", page)) == len(re.findall(r"<svg[^>]*(?:role=\"img\" aria-label|aria-hidden)", page))
    # A drawing for each of three functions; labels of two classes have but one.
    assert page.count('aria-label="function ') == 3 * len(TEXTS) + (target == "labels")


def test_hostile_names_are_shown_and_do_nothing():
    bad = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\u202eevil\u2066\n"
    table = table_of(2, "labels")
    hostile = replace(table, names=(bad, bad + "x" * 5000), notes=(f"{bad} is 0 in all rows", "y" * 5000))
    judged = [replace(line, name=f"{bad}{line.name}") for line in judged_of(2, "labels")]
    page = page_of(2, "labels", judged=judged, table=hostile, target=bad, source=bad, command=quoted([bad]))
    reader = read(page)
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert html.escape("<script>alert(1)</script>") in page
    assert "x" * 200 not in page
    assert "y" * 700 not in page
    assert not {"\u202e", "\u2066"} & set(page)
    assert "\\u202e" in page


def test_contexts_of_other_rows_are_refused():
    with pytest.raises(ShapeError, match="is a context of 70 rows, and 69 are given"):
        page_of(rows=np.arange(69))


def test_a_judged_context_keeps_the_largest_values_and_no_more():
    recipe = parse_context("knn:4")
    points = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    whole = spectrum(recipe.on(points), solver="dense")
    (line,) = compared(points, [recipe], advise=False)
    kept = line.spectrum
    assert torch.equal(kept.values, whole.values[:64])
    assert torch.equal(kept.functions, whole.functions[:, :64])
    assert kept.functions.untyped_storage().nbytes() == 90 * 64 * 8
    assert kept.context_functions is None
    assert not kept.complete
    assert kept.energy == whole.energy
    assert "spectrum=Spectrum('knn:4')" in repr(line)


def test_without_a_target_the_least_tau_of_moderate_contexts_is_named():
    near, wide, *_ = judged_of(5)
    moderate = [
        with_tau(wide, tau, name=name, strength="moderate", advice=None)
        for name, tau in (("rbf:1", 1.5), ("rbf:2", 1.2), ("rbf:3", 1.9))
    ]
    weak = with_tau(near, 1.0, strength="too weak", advice=None)
    answer = answer_of([weak, *moderate], None, N, N)
    assert (answer.kind, answer.headline, answer.best) == ("unsure", "rbf:2", moderate[1])
    assert not any("of one kind only" in caveat for caveat in answer.caveats)
    assert any("τ alone decides nothing" in caveat for caveat in answer.caveats)
    # Across kinds τ is no order, and a context of which τ says nothing has no part in it.
    other = with_tau(wide, 1.1, name="knn:9", strength="moderate", advice=None)
    answer = answer_of([*moderate, other], None, N, N)
    assert (answer.kind, answer.headline) == ("unsure", "knn:9")
    assert "The best of each kind: knn:9 (1.10), rbf:2 (1.20)." in " ".join(answer.caveats)
    silent = replace(other, usefulness=replace(other.usefulness, abstains=True))
    answer = answer_of([*moderate, silent], None, N, N)
    assert (answer.kind, answer.headline) == ("unsure", "rbf:2")
    assert "τ says nothing of knn:9: " in " ".join(answer.caveats)
    alone = answer_of([weak, moderate[0]], None, N, N)
    assert (alone.kind, alone.headline) == ("unsure", "rbf:1")
    assert "the only one here" in alone.sentence
    assert "the only such one of which τ says anything" in answer_of([moderate[0], silent], None, N, N).sentence


def test_where_no_context_is_moderate_the_best_mixture_is_told():
    near, wide, *_ = judged_of(5)
    mixed = with_tau(wide, 1.25, name="knn:4 * rbf:auto", strength="moderate", advice=None)
    answer = answer_of([with_tau(near, 1.9, strength="too strong", advice=mixed)], None, 50, 900)
    assert (answer.kind, answer.best) == ("none", None)
    assert "knn:4 * rbf:auto has the least τ, 1.25, and is moderate." in answer.sentence
    assert "50 rows, drawn from 900." in answer.caveats[0]
    assert "--rows takes more" in answer.caveats[0]
    moderate = with_tau(wide, 1.4, strength="moderate", advice=None)
    answer = answer_of([moderate, with_tau(near, 1.9, strength="too strong", advice=mixed)], None, 50, 50)
    assert answer.headline == "rbf:auto"
    assert "A mixture that was tried has a smaller τ, 1.25: knn:4 * rbf:auto." in answer.caveats
    assert "--rows" not in " ".join(answer.caveats)


def test_with_a_target_few_functions_that_explain_much_are_named():
    line = judged_of(5, "labels")[1]

    def one(name, explained, probed, **changes):
        changes = {"strength": "moderate", "of_target": False, "advice": None, "p_value": 0.001, **changes}
        return replace(line, name=name, explained=explained, probed=probed, **changes)

    best = one("rbf:1", 0.6, 6)
    fewer = one("rbf:2", 0.59, 2)
    worse = one("rbf:3", 0.5, 1)
    made = one("labels", 1.0, 1, of_target=True)
    answer = answer_of([best, fewer, worse, made], "answer", 100, 100)
    assert (answer.kind, answer.best) == ("found", fewer)
    assert "rbf:2 explains answer best: 2 functions of it explain 59% of its variance" in answer.sentence
    caveats = " ".join(answer.caveats)
    assert "rbf:1 explains as much, within 2 points" in caveats
    assert "with the chance 0.003 at most (permutations, all contexts together)" in caveats
    assert "labels is made of the target itself" in caveats
    assert "and not on new ones" in caveats
    # Four contexts had a chance each: 0.003 of one of them is above 1% for all.
    chance = answer_of([replace(best, p_value=0.003), *[replace(worse, p_value=0.5)] * 3], "answer", 100, 100)
    assert (chance.kind, chance.badge) == ("unsure", "Cannot tell")
    assert "would be explained as well with the chance 0.012 at most" in chance.sentence
    nothing = answer_of([one("rbf:4", 0.04, 2), made], "answer", 100, 100)
    assert (nothing.kind, nothing.headline, nothing.best) == ("none", "Nothing explains it", None)
    assert answer_of([made], "answer", 100, 100).headline == "No other context"
    mixed = with_tau(worse, 1.5, name="knn:1 * rbf:1", explained=0.8, is_mixture=True)
    advised = answer_of([replace(best, advice=mixed), made], "answer", 100, 100)
    assert "A mixture that was tried explains more: 80%, by 1 function of knn:1 * rbf:1." in advised.caveats
    level = answer_of([replace(best, advice=replace(mixed, explained=0.61)), made], "answer", 100, 100)
    assert not any("explains more" in caveat for caveat in level.caveats)
    strong = answer_of([replace(best, strength="too strong")], "answer", 100, 100)
    assert "As a whole rbf:1 is too strong" in " ".join(strong.caveats)


def test_mixtures_are_shown_before_and_after_or_it_is_said_that_none_helped():
    near, wide, weak, mixed = judged_of(5)
    better = with_tau(mixed, 1.234, name="knn:4 * rbf:auto", strength="moderate")
    strong = with_tau(near, 1.876, strength="too strong", advice=better)
    text = text_of(page_of(judged=[strong, replace(wide, strength="moderate", advice=None)]))
    for words in ("knn:4 is too strong: nine tenths of its energy need", "the best is knn:4 * rbf:auto. That is",
                  "τ 1.88 1.23", "strength too strong moderate", "before: knn:4", "after: knn:4 * rbf:auto",
                  "One after the other (convolve)", "Both at once (joint)", "by chance (convex)"):  # fmt: skip
        assert words in text, words
    assert "no mixture was tried" not in text
    helpless = [
        replace(near, strength="too strong", advice=None),
        replace(weak, strength="too weak", advice=None),
        replace(mixed, strength="too strong", advice=None),
    ]
    text = text_of(page_of(judged=helpless))
    assert "knn:4 is too strong. Mixtures by * were tried, and none had a smaller τ." in text
    assert "rbf:0.01 is too weak. Mixtures by & were tried, and none had a smaller τ." in text
    assert "knn:4 * rbf:auto is too strong, and is a mixture already: it was mixed no further." in text
    moderate = [replace(line, strength="moderate", advice=None) for line in (near, wide)]
    assert "No context here is too weak or too strong, so no mixture was tried." in text_of(page_of(judged=moderate))


def test_the_chart_of_singular_values_shows_the_values():
    values = np.array([1.0, 0.5, 0.25, 1e-9])
    chart = spectra([Series("one", values, 2, 0), Series("<b>", values[:1], 1, 7)], "label")
    assert re.findall(r"<title>one, (\d): ([\d.]+)</title>", chart) == [("1", "1.000"), ("2", "0.500"), ("3", "0.250")]
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', chart)]
    ticks = {t: float(y) for y, t in re.findall(r'y="([\d.]+)"[^>]*text-anchor="end"[^>]*>([\d.]+)</text>', chart)}
    assert heights[0] < heights[1] < heights[2]
    assert heights[0] == pytest.approx(ticks["1"] - 4, abs=0.1)
    assert heights[1] == pytest.approx((ticks["1"] + ticks["0"]) / 2 - 4, abs=0.1)
    assert re.findall(r' r="([\d.]+)"', chart) == ["2.4", "5.5", "2.4", "5.5"]
    assert "&lt;b&gt;, 1: 1.000" in chart
    # A line of its own colour for each; a single value has no line, and the eighth look is the second colour, dashed.
    assert re.findall(r'class="(way[^"]*)"', chart) == ["way k0"]
    both = spectra([Series("a", values, 1, 0), Series("b", values, 1, 7)], "label")
    assert re.findall(r'class="(way[^"]*)"', both) == ["way k0", "way k1 dash1"]
    assert len(re.findall("<title>", spectra([Series("long", np.full(100, 0.5), 99, 0)], "label"))) == 60


def test_colours_of_points_are_the_values_of_the_function():
    draw = np.random.default_rng(0)
    places = places_of(draw.normal(size=(7, 2)), ["a", "b"])
    drawn = scatter(places, np.array([0.0, 0.2, 0.3, 0.6, -0.6, -9.0, 9.0]), "label")
    dots = {kind: ways.count("h0") for ways, kind in re.findall(r'<path d="([^"]*)" class="([^"]*)"', drawn)}
    assert dots == {"dot v4": 2, "dot v5": 2, "dot v3 below": 1, "dot v0 below": 1, "dot v8": 1}
    across = {kind: re.findall(r"M([\d.]+) ", ways) for ways, kind in
              re.findall(r'<path d="([^"]*)" class="([^"]*)"', drawn)}  # fmt: skip
    most = across["dot v8"][0]
    least = across["dot v0 below"][0]
    assert (float(most) < float(least)) == bool(places.across[6] < places.across[5])


def test_rows_are_drawn_along_columns_or_components():
    draw = np.random.default_rng(0)
    two = draw.normal(size=(30, 2))
    places = places_of(two, ["a", "b"])
    assert np.array_equal(np.stack([places.across, places.up], 1), two)
    assert places.names == ("a", "b")
    one = places_of(two[:, :1], ["a"])
    assert one.up is None
    assert one.names == ("a", "function")
    # Columns on orthogonal patterns of lengths 4, 3 and 1 have these shares, of 26.
    patterns = np.linalg.qr(draw.normal(size=(30, 3)) - draw.normal(size=(30, 3)).mean(0))[0]
    patterns = np.linalg.qr(patterns - patterns.mean(0))[0]
    turn = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    three = places_of(patterns * [3.0, 4.0, 1.0] @ turn, ["a", "b", "c"])
    assert abs(three.across @ patterns[:, 1]) == pytest.approx(4)
    assert abs(three.up @ patterns[:, 0]) == pytest.approx(3)
    assert three.names == ("1st principal component (62%)", "2nd (35%)")
    assert "62% and 35% of the variance" in three.says
    # A table of one direction, and one that does not vary in the rows that were drawn.
    flat = places_of(np.outer(two[:, 0], [1.0, 1.0, 1.0]), ["a", "b", "c"])
    assert "100% and 0%" in flat.says
    assert "svg" in scatter(places_of(np.zeros((6, 3)), ["a", "b", "c"]), np.zeros(6), "label")


def test_many_rows_are_thinned_and_it_is_said():
    assert list(places_of(np.zeros((5, 2)), ["a", "b"]).rows) == [0, 1, 2, 3, 4]
    places = places_of(np.arange(2000.0).reshape(1000, 2), ["a", "b"])
    assert len(np.unique(places.rows)) == 400
    assert (places.rows[0], places.rows[-1]) == (0, 999)
    assert np.array_equal(places.across, 2.0 * places.rows)


def stretched(line, n):
    """A judged context of ``n`` rows, with random functions."""
    functions = torch.randn(n, 64, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    values = torch.linspace(1, 0.1, 64, dtype=torch.float64)
    return replace(line, spectrum=replace(line.spectrum, functions=functions, values=values), advice=None)


def test_a_page_of_eight_contexts_is_a_small_file_and_many_are_not_all_drawn():
    n = 1000
    table = replace(table_of(5), values=np.random.default_rng(0).normal(size=(n, 5)))
    line = stretched(judged_of(5)[0], n)
    page = page_of(judged=[line] * 8, table=table, rows=np.arange(n))
    assert len(page.encode()) < 500_000
    assert "Of the 1000 rows 400 are drawn, evenly thinned." in text_of(page)
    assert page.count('aria-label="function ') == 24
    many = page_of(judged=[line] * 20, table=table, rows=np.arange(n))
    assert many.count('aria-label="function ') == 36
    assert text_of(many).count("The first 12 of 20 contexts are drawn.") == 2
    assert "thinned" not in text_of(page_of())


def test_functions_rise_to_the_right_and_equal_values_are_told():
    table = table_of(2)
    line = judged_of(2)[1]
    functions = line.spectrum.functions.clone()
    functions[:, 0] = -torch.from_numpy(table.values[:, 0])
    values = line.spectrum.values.clone()
    values[2] = values[1]
    page = page_of(2, judged=[replace(line, spectrum=replace(line.spectrum, functions=functions, values=values))])
    first = page[page.index('aria-label="function 1') : page.index('aria-label="function 2')]
    ways = dict(re.findall(r'<path d="([^"]*)" class="(dot v[08][^"]*)"', first))
    left, right = (
        [float(x) for way, kind in ways.items() if kind == wanted for x in re.findall(r"M([\d.]+) ", way)]
        for wanted in ("dot v0 below", "dot v8")
    )
    assert max(left) < min(right)
    assert "The functions 2 to 3 have equal values" in text_of(page)


@pytest.mark.parametrize(("columns", "target"), [(5, "labels"), (1, "none")])
def test_on_a_phone_nothing_runs_over_the_edge(columns, target, browse):
    table = replace(table_of(columns, target), names=("x" * 300, *table_of(columns, target).names[1:]))
    on_a_phone(page_of(columns, target, table=table), browse)
    long = [replace(line, name="rbf:0." + 190 * "1") for line in judged_of(5, "none")]
    on_a_phone(page_of(judged=long, source="y" * 250), browse)


def test_a_browser_shows_it_without_complaint(browse, tmp_path):
    shot = tmp_path / "page.png"
    done = browse(page_of(5, "labels"), f"--screenshot={shot}", "--window-size=1200,1600")
    assert "CONSOLE" not in done.stderr
    assert shot.stat().st_size > 20_000
