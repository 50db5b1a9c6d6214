"""The makers of calibration files say the truth about what they make, and answers are judged by all they say."""

import gzip
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import calibration
from benchmarks.calibration_files import judging
from benchmarks.calibration_files.files import cells, file_of, problem_of
from benchmarks.calibration_files.nulls import curved, null_cells
from benchmarks.calibration_files.patterns import (
    elements,
    families,
    of_colours,
    pair_orbits,
    random_elements,
    refines,
    ring,
)
from benchmarks.calibration_files.problems import CAP, EPS, Problem, Tasks, gaussian_inputs
from msr.permutations.search import automorphisms

LIMIT = EPS**2


def generators(pattern):
    found = automorphisms(pattern)
    return found.generators_in, found.generators_out


class TestPatterns:
    @pytest.mark.parametrize(
        ("name", "order"),
        [
            ("Q16 on itself", 16),
            ("(C2xC2):C4 on itself", 16),
            ("Pauli on itself", 16),
            ("SL(2,3) on itself", 24),
            ("Heisenberg 27 on itself", 27),
            ("A5 on 20 points", 60),
            ("PSL(2,7) on pairs of 7", 168),
            ("J(6,3)", 1440),
            ("D6: ring to ring and centre", 12),
        ],
    )
    def test_a_family_is_the_group_of_its_name(self, name, order):
        pattern = families()[name]()
        assert automorphisms(pattern).order == order
        assert np.array_equal(of_colours(pattern), pattern)

    def test_families_are_many_and_differ_in_shape_or_order(self):
        assert len(families()) >= 60
        shapes = {make().shape for make in families().values()}
        assert any(m != n for m, n in shapes)

    def test_elements_are_listed_or_drawn(self):
        move = np.stack([np.roll(np.arange(5), -1), np.array([1, 0, 2, 3, 4])])
        assert len(elements(move)) == 120
        assert elements(move, 100) is None
        drawn = random_elements(move, 200, np.random.default_rng(0))
        assert (np.sort(drawn, 1) == np.arange(5)).all()
        # A point goes to each place alike: 40 of 200, standard error 5.7.
        assert (abs((drawn[:, 0][:, None] == np.arange(5)).sum(0) - 40) < 23).all()

    def test_refines(self):
        assert refines(ring(6, flips=False), ring(6))
        assert not refines(ring(6), ring(6, flips=False))


class TestTruth:
    @pytest.mark.parametrize("shape", ["constant", "Gaussian", "one direction", "log-normal size"])
    def test_what_breaks_lies_at_the_tolerance(self, shape):
        problem = problem_of(f"breaks: {shape}, at the tolerance", 1)
        truth = problem.truth(*generators(problem.boundary))
        assert LIMIT < truth.capped < 1.001 * LIMIT
        assert truth.error == 0
        # The small group is kept: nothing breaks it.
        assert problem.truth(*generators(problem.orbits)).mean < 1e-20
        # A large file shows the same by hand: the energy that averaging over the pattern takes away.
        W = problem.tasks(np.random.default_rng(7), 40_000).W
        kept = np.zeros_like(W)
        for label in range(problem.boundary.max() + 1):
            kept[:, problem.boundary == label] = W[:, problem.boundary == label].mean(1, keepdims=True)
        b = ((W - kept) ** 2).sum((1, 2)) / (W**2).sum((1, 2)).mean()
        assert np.minimum(b, CAP * LIMIT).mean() == pytest.approx(LIMIT, rel=0.05)

    def test_what_changes_the_file_leaves_what_breaks(self):
        for words in ("binary inputs", "rows three times", "Student t2 noise"):
            problem = problem_of(f"breaks: constant, at the tolerance, {words}", 0)
            truth = problem.truth(*generators(problem.boundary))
            assert truth.capped == pytest.approx(1.0001 * LIMIT, rel=1e-4)

    def test_exceptions_are_as_many_as_the_cell_says(self):
        problem = problem_of("exceptions: 5%, 10% in the mean", 0)
        truth = problem.truth(*generators(problem.boundary))
        assert truth.exceptions == pytest.approx(0.05, abs=0.005)
        assert truth.mean == pytest.approx(0.01, rel=0.001)
        assert truth.capped == pytest.approx(truth.exceptions * CAP * LIMIT)

    def test_a_part_that_is_not_linear_counts(self):
        """By hand: ``y = x_i + c x_i²`` for one of two inputs; swapping them moves the square alone."""
        c = 0.2

        def tasks(draw, count):
            return Tasks(np.tile(np.eye(2), (count, 1, 1)), lambda x, which: c * x**2 * np.array([1.0, -1.0]))

        problem = Problem(np.arange(4).reshape(2, 2), tasks, gaussian_inputs(2))
        swap = np.array([[1, 0]])
        # f − P f = ± c (x₁² , −x₂²) up to sign: its variance is 2 c² for each output, of 1 + 2 c² in all.
        assert problem.truth(swap, swap).mean == pytest.approx(2 * c**2 / (1 + 2 * c**2), rel=0.05)
        assert problem.signal() == pytest.approx(math.sqrt(1 + 2 * c**2), rel=0.02)

    def test_a_large_group_that_is_sampled_agrees_with_one_that_is_listed(self, monkeypatch):
        problem = curved(0, "tanh squared", ring(8), 0.15)
        moves = generators(of_colours(ring(8)))
        listed = problem.truth(*moves)
        assert listed.mean == pytest.approx(0.15**2, rel=0.02)
        monkeypatch.setattr("benchmarks.calibration_files.problems._ELEMENTS", 6)
        sampled = float(problem.shares(*moves).mean())
        assert sampled == pytest.approx(listed.mean, rel=0.15)
        kept = problem.truth(*generators(problem.orbits))
        assert kept.mean < 1e-20

    def test_weights_are_zero_where_inputs_never_go(self):
        for name in ("inputs: add up to zero", "inputs: one-hot"):
            file, problem = file_of(name, 0)
            x = file.x - file.x.mean((0, 1))
            null = np.linalg.svd(x.reshape(-1, x.shape[2]), full_matrices=False)[2][-1]
            assert np.abs(file.tasks.W @ null).max() < 1e-10
            assert problem.truth(*generators(problem.orbits)).mean < 1e-20

    def test_a_covariance_that_is_given_is_that_of_the_inputs(self):
        for name in ("inputs: binary", "inputs: counts", "inputs: compositions", "inputs: one-hot"):
            inputs = problem_of(name, 0).inputs
            x = inputs.draw(np.random.default_rng(0), 100, 500)
            x = x - x.mean((0, 1))
            second = np.einsum("tei,tej->ij", x, x) / (100 * 500)
            assert np.abs(second - inputs.covariance).max() < 0.03 * inputs.covariance.max()


class TestFiles:
    def test_cells_have_names_of_their_own(self):
        assert len({cell.name for cell in null_cells()}) == len(null_cells())
        assert len(cells()) > len(null_cells()) + 200

    def test_a_file_is_the_same_every_time_and_another_is_not(self):
        (a, _), (b, _), (c, _) = (file_of("offset 10 on all inputs", number) for number in (8, 8, 16))
        assert np.array_equal(a.x, b.x)
        assert np.array_equal(a.y, b.y)
        assert a.x.shape != c.x.shape or not np.array_equal(a.x, c.x)

    def test_noise_is_of_the_size_it_says(self):
        for name in ("noise: AR(0.9) over examples", "noise: log-normal", "offset 100 on all inputs"):
            file, problem = file_of(name, 1)
            left = file.y - file.tasks(file.x)
            assert left.std() == pytest.approx(file.level * problem.signal(), rel=0.15)

    def test_lattices(self):
        problem = problem_of("few examples: copper", 0)
        assert automorphisms(problem.orbits).order == 512
        nearly = problem_of("few examples: copper, nearly cubic", 0)
        assert automorphisms(nearly.orbits).order == 512
        with_impurity = problem_of("few examples: copper with an impurity", 0)
        assert automorphisms(with_impurity.orbits).order == 16


def answer(pattern, **certificate):
    """An answer that names the group of a pattern."""
    moves = generators(pattern)
    known = {"eps": EPS, "bound": LIMIT, "exceptions_at_most": 0.1, "exceptions_break": 2 * EPS, "exceptions": ()}
    known |= {"counts_up_to": 2 * EPS, "covers": "the outputs", "linear": True, "nonlinear_at_most": 0.0}
    return SimpleNamespace(
        verdict="found",
        generators=lambda: moves,
        group=SimpleNamespace(order=automorphisms(pattern).order),
        certificate=SimpleNamespace(**{**known, **certificate}),
        shape_in=(pattern.shape[1],),
        shape_out=(pattern.shape[0],),
        inputs=np.arange(pattern.shape[1]),
        outputs=np.arange(pattern.shape[0]),
        candidates=(),
        hints=(),
    )


class TestJudging:
    def test_a_name_is_right_true_or_wrong(self):
        file, problem = file_of("exceptions: 5%, 6% in the mean", 1)
        large, small = problem.boundary, problem.orbits

        def judged(pattern, **certificate):
            return judging.outcome_of(answer(pattern, **certificate), file, problem)

        assert judged(small)["outcome"] == "right"
        assert judged(large)["outcome"] == "within"
        assert judged(large, exceptions_at_most=0.04)["why"] == ["more exceptions"]
        assert judged(large, bound=1e-4)["why"] == ["beyond its bound"]
        # Up to where a task counts is part of what is said.
        assert "beyond the tolerance" in judged(large, counts_up_to=1.0)["why"]
        assert judged(large, counts_up_to=1.0, covers="the linear layer")["why"] == ["beyond its bound"]
        trivial = pair_orbits(np.arange(4)[None], np.arange(4)[None])
        assert judged(trivial)["why"] == ["too small"]

    def test_exceptions_that_are_listed_must_be_some(self):
        file, problem = file_of("exceptions: 5%, 6% in the mean", 1)
        b = problem.shares(*generators(problem.boundary), tasks=file.tasks)
        truly, others = np.flatnonzero(b > CAP * LIMIT), np.flatnonzero(b == 0)
        listed = (*truly[:2], others[0])
        said = judging.outcome_of(answer(problem.boundary, exceptions=listed), file, problem)
        assert (said["listed"], said["listed_falsely"]) == (3, 1)

    def test_the_oracle_certifies_what_is_kept(self):
        file, problem = file_of("power: C7 on itself, noise 0.1, 200 tasks", 0)
        assert judging.oracle(file.x, file.y, problem.orbits, EPS, 0.01)
        assert not judging.oracle(file.x, file.y, np.zeros_like(problem.orbits), EPS, 0.01)

    def test_none_is_false_where_a_group_is_kept(self):
        for name, outcome in (("offset 0 on all inputs", "false none"), ("no symmetry: random weights", "none")):
            file, problem = file_of(name, 0)
            none = SimpleNamespace(verdict="none")
            assert judging.outcome_of(none, file, problem)["outcome"] == outcome

    def test_statements_about_candidates_and_hints(self):
        _, problem = file_of("breaks: constant, 1.2 times the tolerance", 1)
        coarse, fine = generators(problem.boundary), generators(problem.orbits)

        def false(moves, hints=(), **said):
            found = answer(problem.orbits)
            one = {"status": "open", "seen_broken": False, "low": 0.0, "high": 1.0, "order": 0, **said}
            found.candidates = (SimpleNamespace(generators_in=moves[0], generators_out=moves[1], **one),)
            found.hints = hints
            return judging.statements_of(found, problem)["false"]

        assert false(coarse, status="beyond", seen_broken=True, low=0.003, high=0.004) == []
        assert len(false(coarse, status="within")) == 1
        assert len(false(coarse, low=0.004)) == 1
        assert len(false(coarse, high=0.003)) == 1
        assert len(false(fine, seen_broken=True)) == 1
        assert len(false(fine, status="beyond")) == 1
        assert false(coarse, ["the weights break the group by 6% (at least 5%)"]) == []
        assert len(false(coarse, ["the weights break the group by 9% (at least 8%)"])) == 1


class TestCounting:
    def test_holm(self):
        assert calibration.holm([0.5, 0.001, 0.004, 0.003], 0.01) == [True, False, False, False]
        assert calibration.holm([0.5, 0.001, 0.0051, 0.004], 0.01) == [True, False, True, True]

    def test_a_row(self):
        lines = [{"cell": "offset 0 on all inputs", "file": i, "outcome": "right"} for i in range(97)]
        lines += [{"cell": "offset 0 on all inputs", "file": 97 + i, "outcome": "wrong"} for i in range(3)]
        (row,) = calibration.counted([*lines, lines[0]])["null"]
        assert (row["files"], row["right"], row["wrong"]) == (100, 97, 3)
        # Three or more of a hundred at a rate of 1%: 1 − 0.9206.
        assert row["p_value"] == pytest.approx(0.0794, abs=1e-4)
        assert row["upper"] == pytest.approx(0.0975, abs=1e-3)
        assert row["holds"]

    def test_power_and_families(self):
        name = "power: C7 on itself, noise 0.3, 200 tasks"
        said = [("right", True), ("cannot tell", True), ("cannot tell", False), ("wrong", None)]
        lines = [{"cell": name, "file": i, "outcome": o, "oracle": known} for i, (o, known) in enumerate(said)]
        families = ["family: S3 on itself, noise 0", "family: Q8 on itself, noise 0"]
        lines += [
            {"cell": families[0], "file": 0, "outcome": "right"},
            {"cell": families[1], "file": 0, "outcome": "within"},
        ]
        counted = calibration.counted(lines)
        (row,) = counted["power"]
        assert [row[key] for key in ("files", "right", "wrong", "asked", "oracle", "both")] == [4, 1, 1, 3, 2, 1]
        (row,) = counted["families"]
        assert (row["right"], row["wrong"], row["not_right"]) == (1, 1, ["Q8 on itself: within"])
        assert calibration.headlines(counted)[0][-1] == "50%"

    def test_a_run_takes_what_is_asked_a_file_of_each_cell_at_a_time(self):
        names = calibration.chosen("offset 0,offset 3 ", "null")
        assert names == ["offset 0 on all inputs", "offset 3 on all inputs"]
        assert list(calibration.jobs(names, {"null": 2}, {(names[0], 1)})) == [(n, 0) for n in names] + [(names[1], 1)]

    def test_a_log_is_continued(self, tmp_path, monkeypatch):
        path = tmp_path / "log.jsonl"
        name = "offset 0 on all inputs"
        path.write_text(json.dumps({"cell": name, "file": 0, "outcome": "right"}) + '\n{"cell": "off')
        asked = []

        def in_processes(todo, workers, deadline):
            for cell, number in todo:
                asked.append((cell, number))
                yield {"cell": cell, "file": number, "outcome": "right"}

        monkeypatch.setattr(calibration, "in_processes", in_processes)
        options = {"files": 3, "cells": name, "parts": "null", "log": str(path)}
        (row,) = calibration.run(**options)["null"]
        assert asked == [(name, 1), (name, 2)]
        assert row["files"] == 3
        assert len(path.read_text().splitlines()) == 3
        calibration.run(**options)
        assert len(asked) == 2

    def test_a_file_is_judged(self):
        line = judging.judged("offset 0 on all inputs", 1)
        assert line["outcome"] in ("right", "cannot tell")
        assert line["false"] == []
        assert json.loads(json.dumps(line)) == line


def test_a_log_is_read_after_what_is_packed_beside_it(tmp_path):
    """A last line that was cut off while it was written is dropped, in the file as well."""
    log = tmp_path / "log.jsonl"
    assert calibration.read(log) == []
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(b'{"cell": "a", "file": 0}\n'))
    log.write_text('{"cell": "a", "file": 1}\n{"cell": "a", "fi')
    assert [line["file"] for line in calibration.read(log)] == [0, 1]
    assert log.read_text() == '{"cell": "a", "file": 1}\n'
