"""The benchmarks run, their counters count, and their results render; no test looks at a time."""

import dataclasses
import importlib
import inspect
import json
import math
import os
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as runner
from benchmarks import equivariant_maps, layers, processes, scaling
from benchmarks.foreign.cases_torch_nn import CASES
from benchmarks.foreign.judge import judge
from benchmarks.harness.account import Account, Alone, Machine, Operation, exponent, page_faults, products_alone
from benchmarks.harness.command import RESULTS, command, duration, names, question
from msr.report.figures import bars
from msr.report.figures import scaling as scaling_figure

CHEAP = [
    "automorphisms", "calibration", "category", "certification", "contexture", "equivariant_maps", "flow",
    "foreign_modules", "gpu", "initialisation", "layers", "scaling", "threads",
    pytest.param("processes", marks=pytest.mark.slow),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Three laps of everything, however short: what is run is the same."""
    monkeypatch.setattr("benchmarks.harness.timing.PATIENCE", 0.0)


def load(name):
    return importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("name", names())
def test_every_benchmark_asks_a_question_and_declares_its_tables(name):
    module = load(name)
    assert question(module).endswith(("?", "."))
    options = inspect.signature(module.run).parameters
    assert "quick" in options
    assert all(option.kind is option.KEYWORD_ONLY for option in options.values())
    assert all(option.default is not option.empty for name, option in options.items() if name != "quick")
    assert callable(module.tables)
    assert callable(module.headlines)


@pytest.mark.parametrize("name", sorted(path.stem for path in RESULTS.glob("*.json")))
def test_committed_results_render(name):
    results = json.loads((RESULTS / f"{name}.json").read_text())
    assert {"processor", "threads", "torch", "python", "date"} <= results["machine"].keys()
    assert not results.get("quick")
    check_rendering(load(name), results)


def check_rendering(module, results):
    tables = module.tables(results)
    assert tables
    for header, rows in tables.values():
        assert rows
        assert all(len(row) == len(header) and all(isinstance(cell, str) for cell in row) for row in rows)
    headlines = module.headlines(results)
    assert headlines
    assert all(len(line) == 4 and all(isinstance(cell, str) for cell in line) for line in headlines)


@pytest.mark.parametrize("name", CHEAP)
def test_a_quick_run(name, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MSR_EMLP_PYTHON", raising=False)
    file = str(RESULTS.parent / f"{name}.py")
    command(file, ["--quick", "--out", str(tmp_path)])
    results = json.loads((tmp_path / f"{name}.json").read_text())
    assert results["quick"] is True
    check_rendering(load(name), results)
    shown = capsys.readouterr().out
    assert all(caption in shown for caption in load(name).tables(results))

    page = runner.render(tmp_path).read_text()
    assert page.count(f"[{name}](#{name})") == len(load(name).headlines(results))
    assert "A quick run: the numbers mean nothing" in page
    drawn = load(name).figures(results) if hasattr(load(name), "figures") else {}
    for title in drawn:
        assert f"]({title}.png)" in page
        assert (tmp_path / f"{title}.png").stat().st_size > 1000
    missing = page.split("No results here: ")[1].split(".")[0].split(", ")
    assert missing == [other for other in names() if other != name]


class TestManyRanks:
    """The model of what many processes gain, on cases with a known answer."""

    def test_a_line_is_found_again(self):
        fit = processes.line_through({n: 0.5 + 0.25 * n for n in (1, 2, 4, 8)})
        assert fit == pytest.approx({"a": 0.5, "b": 0.25})
        assert processes.line_through({1: 0.9, 2: 2.1})["a"] == 0

    def test_ranks_help_until_what_is_shared_is_small(self):
        free = (0.0, math.inf)
        # Nothing but shared work: as many ranks as tasks.
        assert processes.most_ranks(64, {"a": 0.0, "b": 1.0}, 100.0, free) == 64
        # From 8 to 16 ranks: (1 + 8) / (1 + 4) = 1.8; to 32: 5/3; to 64: 3/2. Beside a = 10, 8 to 16 is 18/14 = 1.29,
        # and 16 to 32 is 14/12.
        assert processes.most_ranks(64, {"a": 10.0, "b": 1.0}, 100.0, free) == 16
        # A link on which a sum takes as long as the work of 64 tasks.
        assert processes.most_ranks(64, {"a": 0.0, "b": 1.0}, 100.0, (32.0, math.inf)) == 1

    def test_the_seconds_of_a_sum(self):
        assert processes.sum_seconds(2, 8.0, 1.0, 4.0) == 2 * 1.0 + 8 / 4
        assert processes.sum_seconds(8, 8.0, 1.0, 4.0) == 2 * 3 + 2 * 7 / 8 * 8 / 4


class TestForeignModules:
    """The cases of torch.nn; those of other libraries need the libraries."""

    def rows(self, *cases):
        with torch.random.fork_rng():
            return [judge(case) for case in cases]

    def test_every_verdict_is_theory_s(self):
        """One case of each kind and of each group, cheap ones."""
        names = ["Linear across tokens", "BatchNorm1d in training mode", "Conv2d circular", "RMSNorm of vectors"]
        rows = self.rows(*(case for case in CASES if case.name in names))
        assert [row["expected"] for row in rows] == ["broken", "refused", "equivariant", "equivariant"]
        assert {row["verdict"] for row in rows} == {"right"}

    def test_a_theory_that_does_not_hold_is_told(self):
        kinds = {case.expected: case for case in reversed(CASES) if "vectors" in case.name or "training" in case.name}
        wrong = [
            dataclasses.replace(kinds["broken"], expected="equivariant"),
            dataclasses.replace(kinds["equivariant"], expected="broken"),
            dataclasses.replace(kinds["refused"], expected="equivariant"),
        ]
        verdicts = [row["verdict"] for row in self.rows(*wrong)]
        assert verdicts == ["wrong", "wrong", "undecided"]

    def test_a_library_without_a_python_is_left_out_and_said_so(self, monkeypatch):
        monkeypatch.delenv("MSR_E3NN_PYTHON", raising=False)
        (found,) = load("foreign_modules").run(libraries="e3nn")["libraries"]
        assert found["rows"] == []
        assert "MSR_E3NN_PYTHON" in found["reason"]
        monkeypatch.setenv("MSR_E3NN_PYTHON", sys.executable + "-none")
        (found,) = load("foreign_modules").run(libraries="e3nn")["libraries"]
        assert "No such file" in found["reason"]


class TestRunner:
    def test_runs_what_is_asked_and_tells_what_failed(self, tmp_path, monkeypatch, capsys):
        asked = []

        def run(name, folder, quick):
            asked.append((name, folder, quick))
            return 3 if name == "layers" else 0

        monkeypatch.setattr(runner, "run", run)
        assert runner.main(["--only", "layers", "scaling", "--out", str(tmp_path)]) == 1
        assert asked == [("layers", tmp_path, False), ("scaling", tmp_path, False)]
        assert "layers FAILED with exit code 3" in capsys.readouterr().out
        assert runner.main(["--only", "scaling", "--quick", "--out", str(tmp_path)]) == 0
        assert asked[-1] == ("scaling", tmp_path, True)

    def test_a_quick_run_leaves_the_kept_results_alone(self, monkeypatch):
        folders = []
        monkeypatch.setattr(runner, "run", lambda name, folder, quick: folders.append(folder) or 0)
        assert runner.main(["--only", "scaling", "--quick"]) == 0
        assert folders[0] != RESULTS.resolve()

    def test_rendering_runs_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(runner, "run", lambda *_: pytest.fail("a benchmark was run"))
        assert runner.main(["--render", "--out", str(tmp_path)]) == 0
        assert (tmp_path / "README.md").exists()

    def test_each_has_its_own_process(self, tmp_path):
        assert runner.run("certification", tmp_path, True) == 0
        assert (tmp_path / "certification.json").exists()


class TestAccount:
    def test_counts_a_product(self, gen):
        a, b = torch.randn(3, 5, generator=gen), torch.randn(5, 7, generator=gen)
        with Account() as account:
            a @ b
        assert account.flops == 2 * 3 * 5 * 7
        assert account.bytes == 4 * (15 + 35 + 21)

    def test_views_are_free_and_expanded_axes_are_read_once(self):
        a = torch.ones(4, 6)
        with Account() as account:
            view = a.t().unsqueeze(0).expand(9, 6, 4)
        assert account.operations == []
        with Account() as account:
            view.contiguous()
        assert account.bytes == 4 * (24 + 9 * 24)

    def test_what_writes_in_place_is_counted(self):
        a = torch.ones(10)
        with Account() as account:
            a.add_(1)
        assert [operation.bytes for operation in account.operations] == [40]

    def test_the_bound_takes_the_slowest_reason_for_each_operation(self):
        machine = Machine({64: 1e9, 256: 2e9}, {1000: 1e9, 10_000: 4e9, 100_000: 1e8}, dispatch=1e-6, fault=1e-7)
        assert [machine.copy_rate(n) for n in (10, 5000, 50_000, 10**7)] == [4e9, 4e9, 1e8, 1e8]
        operations = [Operation("a", 10**6, 100, 0.0), Operation("b", 0, 50_000, 0.0), Operation("c", 0, 4, 0.0)]
        least = machine.least_seconds(operations, faults=20)
        assert least == pytest.approx({"flops": 5e-4, "bytes": 5e-4, "calls": 1e-6, "pages": 2e-6})

    def test_exponent(self):
        sizes = [1, 2, 4, 8]
        assert exponent(sizes, [3 * n**1.5 for n in sizes]) == pytest.approx((1.5, 0.0), abs=1e-12)
        # Against the textbook: slope and standard error of a regression, t with 2 degrees of freedom.
        values = [1.0, 2.5, 3.0, 9.0]
        x, y = np.log(sizes), np.log(values)
        (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
        assert exponent(sizes, values) == pytest.approx((slope, 4.302653 * math.sqrt(covariance[0, 0])), rel=1e-6)

    def test_products_alone(self, monkeypatch):
        a = torch.ones(2, 3, 4)
        with Account() as account:
            (a[0] @ a[1].mT).exp()
            a[1] @ a[0].mT
            a @ a.mT
        ticks = iter(range(1000))
        monkeypatch.setattr("benchmarks.harness.account.time.perf_counter", lambda: next(ticks))
        assert products_alone(account.operations) == 3  # a tick for each product, of the same shape or not

    def test_products_are_timed_on_what_they_got(self, monkeypatch):
        ticks = iter(range(1000))
        monkeypatch.setattr("benchmarks.harness.account.time.perf_counter", lambda: next(ticks))
        a = torch.ones(2, 3, 3)
        out = torch.empty(3, 3)
        with Alone() as alone:
            result = torch.mm(a[0], a[1], out=out).exp() + F.conv1d(a, a)[0, 0]
        assert alone.seconds == 2  # a tick for the product and one for the convolution
        assert torch.equal(out, torch.full((3, 3), 3.0))
        assert torch.equal(result, torch.full((3, 3), 3.0).exp() + 9)

    def test_fresh_memory_costs_pages(self):
        if page_faults(lambda: torch.ones(2**24)) == 0:
            pytest.skip("this system does not count page faults")
        assert page_faults(lambda: None) < 30 < page_faults(lambda: torch.ones(2**24))
        once, often = (page_faults(lambda: torch.ones(2**24), times) for times in (1, 5))
        assert often == pytest.approx(once, rel=0.2)


@pytest.mark.parametrize("solver", scaling.SOLVERS)
@pytest.mark.parametrize("shape", [{"tasks": 64}, {"examples": 16}, {"n": 96}, {"k": 16}], ids=str)
def test_flops_by_hand(solver, shape):
    # Leading terms, so within a tenth of what torch counts.
    shape = {**scaling.BASE, **shape}
    learner, params, episodes = scaling.setting(scaling.SOLVERS[solver], "cpu", **shape)
    learner.meta_gradient(params, episodes)  # records
    with FlopCounterMode(display=False) as counted:
        learner.meta_gradient(params, episodes)
    with Account() as account:
        learner.meta_gradient(params, episodes)
    assert counted.get_total_flops() == account.flops
    assert account.flops == pytest.approx(scaling.flops_by_hand(solver, **shape), rel=0.1)


def test_exponents_are_those_of_the_upper_sizes(monkeypatch):
    monkeypatch.setattr(scaling, "UPPER", 3)
    machine = Machine({64: 1e9}, {1000: 1e9}, dispatch=1e-6, fault=0.0)
    line = scaling.sweep("ridge", "k", (1, 2, 4, 8), machine, "cpu", rounds=1)
    points = line["points"][1:]
    assert (line["upper"], [point["size"] for point in points]) == (3, [2, 4, 8])
    for key in ("flops", "bytes", "bound"):
        assert line["exponents"][key] == exponent([2, 4, 8], [point[key] for point in points])
    assert 0 < line["exponents"]["flops"][0] < 1


class TestEquivariantMaps:
    @pytest.mark.parametrize("name", [name for name in equivariant_maps.cases() if "1024" not in name])
    def test_generators_as_permutations(self, name):
        rep = equivariant_maps.cases()[name]()
        for g, move in zip(rep.group.generators, equivariant_maps.moves(rep), strict=True):
            x = torch.arange(rep.dim, dtype=torch.float64)
            assert torch.equal(rep.act_flat(g, x)[move], x)  # point i goes to move[i]

    def test_emlp_says_why_it_is_missing(self):
        other = equivariant_maps.Emlp(sys.executable)
        if not other.reason:
            pytest.skip("emlp is installed here")
        assert other.reason == "ModuleNotFoundError: No module named 'emlp'"
        row = equivariant_maps.measure("C8", equivariant_maps.cases()["C8"](), other, rounds=1)
        results = {"rounds": 1, "rows": [row], "emlp": f"not run: {other.reason}"}
        assert any("EMLP not run: Module" in line[2] for line in equivariant_maps.headlines(results))
        assert "EMLP not run: Module" in next(iter(equivariant_maps.tables(results)))

    def test_a_wrong_dimension_is_an_error(self):
        class Wrong:
            reason = ""

            def solve(self, generators):
                return 99, 0.1

        with pytest.raises(ArithmeticError, match=r"different dimensions, \[8, 99\]"):
            equivariant_maps.measure("C8", equivariant_maps.cases()["C8"](), Wrong(), rounds=1)

    @pytest.mark.skipif("MSR_EMLP_PYTHON" not in os.environ, reason="set MSR_EMLP_PYTHON to a Python that has emlp")
    def test_emlp_agrees(self):
        other = equivariant_maps.Emlp(os.environ["MSR_EMLP_PYTHON"])
        try:
            for name in ("Q8, on itself", "C8", "S6", "C4 wr S3"):
                rep = equivariant_maps.cases()[name]()
                assert other.solve(equivariant_maps.moves(rep))[0] == equivariant_maps.equivariant_basis(rep, rep).dim
        finally:
            other.close()


def test_a_dense_pattern_that_does_not_fit_is_left_out(monkeypatch):
    monkeypatch.setattr(layers, "available_bytes", lambda: 2**30)
    assert layers.fits("dense, k = 16", 512, "cpu")
    assert not layers.fits("dense, k = 16", 4096, "cpu")
    assert layers.fits("square factors", 4096, "cpu")
    times = {"seconds": 1.0, "ratio": [1.0, 1.0, 1.0]}
    both = {"plain": times, "small filter": times, "square factors": times, "folded": times}
    row = {"layer": "linear", "size": 4096, "forward": both, "both": both}
    entry = {"kind": "small filter", "size": 4096, "parameters": 1, "parts": 1, "peak": 1, "largest": 1}
    results = {"batch": 256, "rounds": 1, "rows": [row], "memory": [entry]}
    first = next(iter(layers.tables(results).values()))
    assert "no memory" in first[1][0]


def test_duration():
    shown = {None: "", 0.0: "0 µs", 2.5e-7: "0.25 µs", 1e-3: "1 ms", 0.99999: "1 s", 0.0123456: "12.3 ms", 75.0: "75 s"}
    assert {seconds: duration(seconds) for seconds in shown} == shown


def test_figures():
    figure = scaling_figure(
        {"a": ([1, 2], [3.0, 4.0]), "b": ([2, 4], [2.0, 3.0], [1.0, 3.0], [2.5, 3.0])},
        xlabel="n",
        ylabel="s",
        title="t",
        reference=1.0,
    )
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    (bounds,) = axes.collections  # error bars of b
    ends = [segment[:, 1].tolist() for segment in bounds.get_segments()]
    assert ends == [[1.0, 2.5], [3.0, 3.0]]

    (axes,) = bars({"one": {"x": 1.0, "y": 2.0}, "two": {"y": 3.0}}, ylabel="steps/s", title="t").axes
    assert [[bar.get_height() for bar in group] for group in axes.containers] == [[1.0], [2.0, 3.0]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["one", "two"]
