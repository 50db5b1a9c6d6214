"""The runners on what contexts are worth: τ against errors, sizes of encoders, a group that discovery names."""

import json

import numpy as np
import pytest
import torch

from experiments import context_usefulness, encoder_scaling, named_group
from experiments.shared.cube import cube, flips
from experiments.shared.tabular import probe, split_of
from msr.contexture import GroupContext, convolve
from msr.errors import DataError
from msr.groups import cyclic
from msr.representations import natural
from msr.runs.command import main


def line(tau: float | None, error: float | None, left_out: float = 0.0, *, abstains: bool = False) -> dict:
    """A context as the study of τ keeps it."""
    other = None if error is None else error + 0.05
    return {"tau": tau, "error": error, "labels_error": other, "left_out": left_out, "abstains": abstains}


def test_tau_is_compared_with_errors_and_choices_are_made_without_them():
    lines = [line(1.2, 0.3, 0.9), line(1.4, 0.5, 0.1), line(1.6, 0.7, 0.5), line(2.0, 0.1, 0.8, abstains=True)]
    found = context_usefulness.compared([*lines, line(None, None)])
    assert (found["contexts"], found["without"], found["abstaining"]) == (5, 1, 1)
    assert found["pearson"] == pytest.approx(np.corrcoef([1.2, 1.4, 1.6, 2.0], [0.3, 0.5, 0.7, 0.1])[0, 1])
    assert found["spearman"] == pytest.approx(-0.2)
    assert (found["by_tau"], found["by_labels"]) == (0.3, 0.55)
    assert (found["least"], found["usual"]) == (0.1, pytest.approx(0.4))
    assert found["by_both"] == 0.35
    flat = context_usefulness.compared([line(1.5, 0.2), line(1.5, 0.3), line(1.5, 0.4)])
    assert flat["pearson"] is None
    silent = context_usefulness.compared([line(2.0, 0.2, abstains=True)])
    assert silent["by_tau"] is None
    assert silent["by_labels"] == 0.25


def test_contexts_of_a_kind_run_from_weak_to_strong():
    split = split_of("wine", most=100, labelled=60, seed=0)
    for kind in context_usefulness.KINDS:
        energies = [make(split.rows).energy for _, make in context_usefulness.makers(kind, 6, len(split.rows))]
        # A mask hides more in each context than in the one before, which weakens.
        assert energies[0] < energies[-1], kind
        if kind in ("rbf", "knn"):
            assert energies == sorted(energies), kind


def test_a_chained_context_is_the_convolution_of_its_parts():
    split = split_of("wine", most=100, labelled=60, seed=0)
    chained = context_usefulness._chained(split.rows, 5, 3.0)
    near = context_usefulness.PoolContext.neighbours(split.rows, 5)
    wanted = convolve(near, context_usefulness._rbf(split.rows, 3.0))
    np.testing.assert_allclose(chained.conditional, wanted.conditional, atol=1e-14)


def test_the_study_of_tau_is_written(tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--quick", "--tables", "wine", "--seeds", "2", "--out", str(out), "--quiet"]
    assert main(context_usefulness.Config, context_usefulness.run, flags) == 0
    shown = capsys.readouterr().out
    assert "| wine" in shown
    assert "τ is not seen to order the contexts rightly" in shown
    (summary,) = json.loads((out / "results.json").read_text())["summary"]
    assert summary["kinds"]["rbf"]["contexts"] == 2 * context_usefulness.QUICK_CONTEXTS
    assert 0 < summary["kinds"]["all four"]["least"]["mean"] < summary["kinds"]["rbf"]["usual"]["mean"]
    assert (out / "context_usefulness.png").is_file()


def test_a_split_holds_rows_out_and_scales_by_the_others():
    split = split_of("diabetes", most=200, labelled=50, seed=3)
    assert (len(split.rows), len(split.test_rows), len(split.labelled)) == (160, 40, 50)
    torch.testing.assert_close(split.rows.mean(0), torch.zeros(10, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(split.rows.std(0), torch.ones(10, dtype=torch.float64))
    assert float(split.test_rows.mean(0).abs().max()) > 1e-3
    assert not (split.rows[:, None] == split.test_rows).all(-1).any()
    again = split_of("diabetes", most=200, labelled=50, seed=3)
    assert torch.equal(again.rows, split.rows)
    assert not torch.equal(split_of("diabetes", most=200, labelled=50, seed=4).rows, split.rows)
    with pytest.raises(DataError, match="160 rows are not held out, and 161 of them cannot be labelled"):
        split_of("diabetes", most=200, labelled=161, seed=0)
    with pytest.raises(DataError, match="none of the 3 labelled rows is of class"):
        split_of("digits", most=200, labelled=3, seed=0)


def test_a_probe_of_the_target_itself_leaves_next_to_nothing(gen):
    split = split_of("wine", most=150, labelled=60, seed=0)
    told = probe(split, split.target, split.test_target)
    assert told.error < 1e-4
    assert told.left_out < 1e-4
    assert told.right == 1
    noise = [torch.randn(len(rows), 3, generator=gen, dtype=torch.float64) for rows in (split.rows, split.test_rows)]
    guessed = probe(split, *noise)
    assert 0.8 < guessed.error < 1.5
    assert 0.8 < guessed.left_out < 1.5
    assert guessed.right < 0.7


def scaled(context: str, width: int, depth: int, share: float, error: float) -> dict:
    """A network as the study of sizes summarises it, over two seeds."""
    errors = [error - 0.01, error + 0.01]
    sizes = {"context": context, "width": width, "depth": depth}
    return sizes | {"share": {"mean": share}, "error": {"mean": error}, "errors": errors}


def test_ranges_are_of_sizes_of_those_that_captured_and_of_contexts():
    lines = [
        scaled("knn:30", 2, 1, 0.4, 0.8),
        scaled("knn:30", 64, 2, 0.99, 0.14),
        scaled("knn:30", 256, 1, 0.985, 0.15),
        scaled("labels", 64, 2, 0.999, 0.06),
        scaled("mask:0.5", 64, 2, 0.99, 0.27),
    ]
    found = encoder_scaling.ranges(lines)
    assert found == {"captured": [0.14, 0.15], "sizes": [0.14, 0.8], "contexts": [0.06, 0.27]}
    assert encoder_scaling.ranges(lines[:1])["contexts"] is None
    gains = encoder_scaling.differences([*lines, scaled("knn:30", 256, 3, 0.99, 0.16), scaled("knn:10", 64, 2, 1, 0.1)])
    assert gains["larger"]["mean"] == pytest.approx(-0.02)
    assert (gains["context"]["of"], gains["context"]["mean"]) == ("knn:10", pytest.approx(0.04))
    assert gains["labels"]["mean"] == pytest.approx(0.08)
    assert encoder_scaling.differences(lines[:1])["larger"] is None


def test_the_study_of_sizes_is_written(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(encoder_scaling.Config, encoder_scaling.run, ["--quick", "--out", str(out), "--quiet"]) == 0
    assert "over contexts at one size" in capsys.readouterr().out
    rows = {row["context"] + str(row["width"]): row for row in json.loads((out / "results.json").read_text())["rows"]}
    assert rows["knn:302"]["share"] < rows["knn:3064"]["share"]
    assert rows["labels64"]["known"] == pytest.approx(1)
    assert rows["labels64"]["exact_error"] is None
    assert (out / "encoder_scaling.png").is_file()


def test_the_context_of_orbits_is_that_of_the_group():
    turns = natural(cyclic(8))
    assert named_group._units(turns) == 36  # necklaces of eight beads in two colours
    made, found = named_group._context(named_group._orbits(turns).tobytes(), 0.2)
    wanted = convolve(GroupContext(cube(turns)), flips(0.2, 8))
    np.testing.assert_allclose(np.asarray(made.conditional), np.asarray(wanted.conditional), atol=1e-14)
    # The flips alone: 0.6 to the power of how many bits a function looks at.
    alone = named_group._context(None, 0.2)[1]
    np.testing.assert_allclose(alone.values[:9], [0.6] * 8 + [0.36], atol=1e-12)
    targets = named_group._targets(named_group._orbits(turns), 3, torch.Generator().manual_seed(0))
    moved = torch.tensor(cube(turns).permutations[3])
    torch.testing.assert_close(targets[:, moved], targets)
    assert float(found.values[0]) == pytest.approx(0.6)


def test_a_named_group_serves_as_well_as_the_true_one(tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--groups", "D8", "--tasks", "40,200", "--noise", "0.05", "--functions", "12", "--steps", "250"]
    assert main(named_group.Config, named_group.run, [*flags, "--targets", "10", "--out", str(out), "--quiet"]) == 0
    assert "| D8" in capsys.readouterr().out
    few, many = json.loads((out / "results.json").read_text())["rows"]
    # Too few tasks: nothing is named, and the encoder is that of no group.
    assert (few["verdict"], few["units_named"]) == ("cannot tell", None)
    assert few["named"]["mean"] > 0.7
    assert (many["verdict"], many["units_named"], many["units_true"]) == ("found", 30, 30)
    assert many["rightly"]
    # After few steps; the exact functions of no group are better than so many of them that were learned.
    assert many["named"]["mean"] + 0.1 < many["none"]["mean"]
    assert many["none, all functions"]["mean"] + 0.1 < many["none"]["mean"]
    assert (out / "named_group.png").is_file()


@pytest.mark.parametrize(
    ("runner", "flags", "says"),
    [
        (context_usefulness, ["--tables", "iris"], "unknown table 'iris'"),
        (context_usefulness, ["--labelled", "3"], "--labelled"),
        (encoder_scaling, ["--functions", "1"], "--functions"),
        (encoder_scaling, ["--rows", "400"], "--rows"),
        (context_usefulness, ["--labelled", "800"], "cannot be labelled"),
        (named_group, ["--groups", "C8,S9"], "unknown group 'S9'"),
        (named_group, ["--tasks", "1"], "--tasks"),
    ],
)
def test_flags_that_cannot_work_are_one_line(runner, flags, says, capsys):
    assert main(runner.Config, runner.run, flags) == 2
    assert says in capsys.readouterr().err
