"""The page of a discovery: whole, safe, complete for every kind of answer, and looked at by a real browser."""

import html
import re
from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
import torch

from msr.discovery import discover
from msr.groups import cyclic, dihedral, symmetric, wreath_product
from msr.report.page.charts import training
from msr.report.page.page import discovery_page
from msr.representations import from_matrices, grid_rotations, natural, regular, trivial
from msr.tasks.sampling import sample_group, sample_translation
from tests.support.pages import on_a_phone, read


def negacyclic():
    M = np.zeros((4, 4))
    M[[1, 2, 3, 0], [0, 1, 2, 3]] = [1, 1, 1, -1]
    return from_matrices(cyclic(8), {1: M})


@cache
def discovery_of(kind):
    def group(rep, other=None, signed=False, n_tasks=240, **options):
        s = sample_group(rep, other or rep, n_tasks=n_tasks, noise=0.05, **options)
        return discover(s.x, s.y, signed=signed)

    translation = sample_translation(14, 3, n_tasks=200)
    few = sample_group(regular(cyclic(4)), regular(cyclic(4)), n_tasks=10)
    makers = {
        "C8": lambda: group(regular(cyclic(8))),
        "D4 on a grid": lambda: group(grid_rotations(4, flips=True), n_tasks=400),
        "wreath": lambda: group(natural(wreath_product(symmetric(3), cyclic(2)))),
        "invariant": lambda: group(natural(dihedral(6)), trivial(dihedral(6), 2)),
        "signed": lambda: group(negacyclic(), signed=True),
        "none": lambda: group(regular(cyclic(8)), truth="none"),
        "partial": lambda: discover(translation.x, translation.y),
        "too few": lambda: discover(few.x, few.y),
        "cannot tell": lambda: discover(
            *(t[:, :, :4] for t in sample_group(regular(cyclic(8)), regular(cyclic(8)), n_tasks=90, noise=2)[:2])
        ),
    }
    return makers[kind]()


KINDS = ("C8", "D4 on a grid", "wreath", "invariant", "signed", "none", "partial", "too few", "cannot tell")


def page_of(kind, source="tasks.npz", command="msr discover tasks.npz"):
    return discovery_page(discovery_of(kind), source=source, command=command)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_answer_makes_a_whole_page(kind):
    answer = discovery_of(kind)
    reader = read(page_of(kind))
    text = " ".join(" ".join(reader.text).split())
    assert " ".join(answer.sentence.split())[:60] in text
    assert reader.tags.count("h1") == 1
    for hint in answer.hints:
        assert hint[:50] in text
    assert answer.verdict == {
        "none": "none",
        "partial": "none",
        "too few": "cannot tell",
        "cannot tell": "cannot tell",
    }.get(kind, "found")
    assert "msr discover tasks.npz" in text
    for tag, name, value in reader.attributes:
        assert tag != "script"
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith(("data:", "#"))
    svgs = len(re.findall(r"<svg", page_of(kind)))
    assert svgs == len(re.findall(r"<svg[^>]*(?:role=\"img\" aria-label|aria-hidden)", page_of(kind)))
    assert svgs >= (answer.pattern is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_loads_nothing_from_elsewhere(kind):
    page = page_of(kind)
    links = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert links <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(" not in page


def test_comments_of_the_style_sheet_stay_out_of_the_page():
    sheet = (files("msr.report.markup") / "style.css").read_text(encoding="utf-8")
    rules = [line for line in sheet.splitlines() if not line.startswith("/*")]
    assert len(rules) < len(sheet.splitlines())
    page = page_of("C8")
    assert "\n".join(rules) in page
    assert "/*" not in page


def test_names_and_commands_are_escaped():
    bad = "<script>alert(1)</script>\"'&.npz"
    page = page_of("C8", source=bad, command=f"msr discover {bad}")
    assert "<script" not in page
    assert html.escape(bad) in page
    read(page)


def test_the_page_shows_the_evidence():
    text = " ".join(" ".join(read(page_of("C8")).text).split())
    for words in ("C8", "What was tested", "The sharing pattern", "The spectrum", "The generators",
                  "The multiplication table", "Residual by element", "The continuous part", "How to repeat it",
                  "rejected", "abelian, dimension 3", "biases left out"):  # fmt: skip
        assert words in text, words
    assert "None was seen, so at most" in text
    # No constant input: as many cells as weights.
    sizes = [int(n) for n in re.findall(r"<title>class \d+: (\d+) weight", page_of("C8"))]
    assert sum(sizes) == 2 * 64
    assert "Partial symmetries" in " ".join(read(page_of("partial")).text)


def claims_of(answer):
    """The text of the section that says what was tested."""
    page = discovery_page(answer, source="t", command="c")
    section = page[page.index("What was tested") : page.index("The sharing pattern")]
    return " ".join(" ".join(read(f"<div><h2>{section[: section.rindex('</section>')]}</div>").text).split())


def with_certificate(**changes):
    answer = discovery_of("C8")
    return replace(answer, certificate=replace(answer.certificate, **changes))


def test_every_null_hypothesis_is_written_out():
    linear = {"covers": "the linear layer", "counts_up_to": 0.11, "nonlinear_at_most": 0.0009}
    text = claims_of(with_certificate(exceptions_at_most=0.0234, exceptions_break=0.12, **linear))
    for words in (
        "The null hypothesis: in typical tasks, what breaks the named group makes 5% of the linear layer or more.",
        "a task counts as breaking the group by 11% at most.",
        "rejected at level 0.01 (p < 1e-6)",
        "A task that breaks the group by more than 12% of the outputs is one. None was seen, so at most 2.3% of the",
        "(a binomial bound, level 0.00125)",
        "at most 3.00% of the outputs (level 0.00125). It comes on top",
        "A group is not named if tasks show that it is broken at all",
        "the probability that any of it is wrong is at most 0.01.",
        "The tasks were divided once into those that teach and those that test.",
    ):
        assert words in text, words
    whole = claims_of(with_certificate(covers="the outputs"))
    assert "makes 5% of the outputs or more" in whole
    assert "that is less than the tolerance" in whole
    assert "divided 3 times into those that teach" in claims_of(with_certificate(splits=3))


def test_exceptions_are_listed_by_their_places():
    one, many = (claims_of(with_certificate(exceptions=places)) for places in ((17,), tuple(range(100, 115))))
    assert "Task 17 was seen to be (counted from 0, as they came). With those, at most" in one
    assert "Tasks 100, 101," in many
    assert "111 and 3 more were seen to be" in many
    assert "too many" not in one
    assert "These are too many for the group to be named." in claims_of(
        with_certificate(exceptions=(1,), certified=False)
    )
    page = discovery_page(with_certificate(exceptions=(3, 4)), source="t", command="c")
    assert "of the tasks; seen: tasks 3, 4" in page


def test_the_page_tells_how_nonlinear_energy_was_counted():
    assert "all that it leaves was counted as breaking the group" in claims_of(with_certificate(linear=False))
    assert "could not be tested" in claims_of(with_certificate(nonlinear_at_most=None))
    for changes in ({"linear": False}, {"nonlinear_at_most": None}):
        assert "Not linear, at most" not in discovery_page(with_certificate(**changes), source="t", command="c")


def test_each_candidate_has_a_judgement_and_a_reason():
    answer = discovery_of("C8")
    one = replace(answer.candidates[-1], low=0.01, breaking=0.04, high=0.09, exact=True)
    said = {
        ("within", False): ("✓ within", "Holds as well, but is smaller than the chosen one."),
        ("within", True): (
            "✕ broken",
            "Within the tolerance, but broken, by about 20.00%: so it is listed and not named.",
        ),
        ("open", True): ("✕ broken", "Shown to be broken, if not by more than the tolerance."),
        ("open", False): ("? open", "The tolerance lies within the bounds: these tasks cannot tell."),
        ("beyond", True): ("✕ beyond", "Typical tasks break it by at least 10.00% of the outputs"),
    }
    for (status, broken), (mark, why) in said.items():
        text = claims_of(replace(answer, candidates=(replace(one, status=status, seen_broken=broken),)))
        assert mark in text
        assert why in text
        assert "20.00%" in text
        assert "10.00% – 30.00%" in text
    weak = replace(one, status="within", seen_broken=False, exact=False)
    assert "moves only weak weights" in claims_of(replace(answer, candidates=(weak,)))
    chosen = replace(answer.chosen, exact=False)
    assert "The fitted weights do differ" in claims_of(replace(answer, chosen=chosen, candidates=(chosen,)))


def test_without_a_named_group_the_null_hypotheses_of_all_groups_are_written_out():
    text = claims_of(discovery_of("none"))
    for words in (
        "they break it by the tolerance or less",
        "nothing breaks the group",
        "error rate that was asked for",
    ):
        assert words in text, words
    assert "so there was no group to test" in claims_of(replace(discovery_of("none"), candidates=()))
    assert "no sharing of weights was learned" in page_of("too few")
    assert "these are the finest classes that were told apart" in page_of("none")


def test_the_training_chart_shows_residuals_above_the_least():
    answer = discovery_of("C8")
    falling = replace(answer, training=(0.5, 0.3, 0.011, 0.01))
    page = discovery_page(falling, source="t", command="c")
    assert "above the 0.01 where it ended" in " ".join(" ".join(read(page).text).split())
    for title in ("1: 0.49", "2: 0.29", "3: 0.001"):
        assert f"<title>{title}</title>" in page
    for still in ((), (0.01,), (0.01, 0.01)):
        assert "The training" not in discovery_page(replace(answer, training=still), source="t", command="c")


def test_the_training_chart_keeps_the_numbers_of_iterations():
    chart = training((0.5, 0.01, 0.3, 0.2, 0.01, 0.02, 0.01), "label")
    # Nothing lies above the least at iterations 2, 5 and 7.
    assert re.findall(r"<title>(\d+): ", chart) == ["1", "3", "4", "6"]
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', chart)]
    step = (places[1] - places[0]) / 2
    assert np.diff(places) == pytest.approx([2 * step, step, 2 * step], abs=0.2)
    # The line is broken where iterations are left out, and the last of those shown stands at the axis.
    assert re.findall(r'd="(M[^"]*)"', chart)[0].count("M") == 3
    assert re.findall(r">(\d+)</text>", chart)[-2:] == ["1", "6"]


def test_residuals_measure_how_an_element_moves_the_learned_pattern():
    from msr.report.page.view import residuals, together

    for kind in ("C8", "signed", "invariant"):
        answer = discovery_of(kind)
        values = residuals(answer, together(answer.chosen))
        assert len(values) == len(answer.chosen.generators_in)
        assert max(values) < 0.2
    broken = together(discovery_of("C8").chosen).copy()
    broken[:, [0, 3]] = broken[:, [3, 0]]
    assert min(residuals(discovery_of("C8"), broken)) > 0.3


def test_huge_orders_are_written_in_short_form():
    answer = discovery_of("C8")
    large = replace(answer, candidates=(replace(answer.candidates[0], order=10**40), *answer.candidates))
    page = discovery_page(large, source="t", command="c")
    assert str(10**40) not in page
    assert "10⁴⁰" in page


def test_a_browser_shows_it_without_complaint(browse, tmp_path):
    shot = tmp_path / "page.png"
    done = browse(page_of("C8"), f"--screenshot={shot}", "--window-size=1200,1600")
    assert "CONSOLE" not in done.stderr
    assert shot.stat().st_size > 20_000
    # The control: this browser does complain of what its policy forbids.
    bad = page_of("C8").replace("</main>", "<script>1</script></main>")
    assert "CONSOLE" in browse(bad, "--dump-dom").stderr


@pytest.mark.parametrize("kind", ["C8", "D4 on a grid", "none", "partial"])
def test_on_a_phone_nothing_runs_over_the_edge(kind, browse):
    on_a_phone(page_of(kind), browse)


def test_the_page_prints_on_paper(browse, tmp_path):
    browse(page_of("C8"), f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert (tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"


def test_notebooks_show_the_short_form():
    shown = discovery_of("C8")._repr_html_()
    read(shown)
    assert "FOUND" in shown
    evil = replace(discovery_of("C8"), sentence="<b>&")
    assert "&lt;b&gt;&amp;" in evil._repr_html_()
    assert torch.is_tensor(discovery_of("C8").pattern)
