"""The runners on few-shot images: every method's network, what is written, and what is read off learned factors."""

import json
import math

import pytest
import torch
from PIL import Image

from experiments import invariance, omniglot
from experiments.few_shot.data import load_images
from experiments.few_shot.flags import FewShotFlags
from experiments.few_shot.methods import METHODS, InnerLoop, Network, problem_of, solver_of
from experiments.few_shot.readings import discovered, read_kernels, seen_share
from experiments.few_shot.training import outer_loop, share_right
from msr.meta import Learner
from msr.representations import grid_rotations
from msr.runs import command as _run
from tasks.images import ImageTasks
from tests.support.cases import needs_data

ORBITS = torch.tensor([0, 1, 0, 1, 2, 1, 0, 1, 0])
"""The orbits of turns and flips on a kernel: corners, edges, the middle."""


def results(folder):
    return json.loads((folder / "results.json").read_text())


def omniglot_run(out, *flags):
    return _run.main(omniglot.Config, omniglot.run, ["--quick", "--width", "2", "--out", str(out), *flags])


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_has_a_gradient_for_all_that_it_learns(method, gen):
    network = Network(ways=3, width=4)
    functional = problem_of(method, network.built(method, gen), network)
    solver = solver_of(method, functional, network, InnerLoop(1, 2, 0.4))
    learner = Learner(functional.problem, solver, batching="loop")
    params = learner.init(functional.shared, functional.initial)
    images = load_images("")
    episodes = ImageTasks(images.train, images.test, ways=3, queries=2).episodes("train", torch.arange(2))
    solver.check(functional.problem, params, episodes.support_x[0], episodes.support_y[0])
    gradient = learner.meta_gradient(params, episodes).gradient
    replaced = {"protonets": {"17.weight", "17.bias"}, "ridge": {"17.weight", "17.bias"}}.get(method.name, set())
    # Batch norm takes the bias of a convolution away; a head in closed form does not look at where it started.
    unseen = replaced | ({f"{place}.bias" for place in (0, 4, 8, 12)} if method.norm == "batch" else set())
    for name, slope in [*gradient.shared.items(), *gradient.initial.items()]:
        assert name in unseen or float(slope.abs().max()) > 1e-9, name
    adapted = learner.adapt(params, episodes.support_x, episodes.support_y)
    moved = {name for name, value in adapted.items() if not torch.allclose(value[0], params.initial[name])}
    assert all(name.startswith("17.") for name in moved) is (method.body == "fixed")
    assert {"17.weight", "17.bias"} <= moved


def test_sizes_are_those_of_the_paper(gen):
    built = {name: Network(ways=5, width=32).built(method, gen) for name, method in METHODS.items()}
    size = {name: sum(p.numel() for p in net.parameters() if p.requires_grad) for name, net in built.items()}
    assert size["msr"] - size["maml"] == 7_493  # the factors of the paper's network of 32 channels
    assert size["identity"] == size["random"] == size["maml"] == size["anil"]
    wide = built["maml-big"][0].out_channels
    narrower = Network(ways=5, width=wide - 1).built(METHODS["maml"], gen)
    assert sum(p.numel() for p in narrower.parameters()) < size["msr"] <= size["maml-big"]


def test_methods_of_one_width_start_as_the_same_function(gen):
    network = Network(ways=5, width=4)
    x = torch.randn(4, 1, 28, 28, generator=gen)
    answers = {
        name: network.built(METHODS[name], torch.Generator().manual_seed(3))(x)
        for name in ("maml", "anil", "ridge", "msr", "identity", "random")
    }
    for answer in answers.values():
        torch.testing.assert_close(answer, answers["maml"])
    factors = [m for m in network.built(METHODS["random"], gen).modules() if hasattr(m, "factors")]
    for factor in (f for sharing in factors for f in sharing.factors):
        torch.testing.assert_close(factor @ factor.T, torch.eye(len(factor)), atol=1e-5, rtol=0)
    assert not torch.allclose(factors[1].A.abs(), torch.eye(4), atol=0.1)


def test_omniglot_runs_on_digits_and_resumes(tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--models", "msr,protonets"]
    assert omniglot_run(out, *flags) == 0
    first = results(out)
    assert [row["model"] for row in first["rows"]] == ["msr", "protonets"]
    for row in first["rows"]:
        assert row["accuracy"]["mean"] == pytest.approx(sum(row["right"]) / (10 * row["asked"]))
        assert len(row["right"]) == 10
    assert [(line["model"], line["diverged"]) for line in first["summary"]] == [("msr", 0), ("protonets", 0)]
    assert first["summary"][0]["accuracy"]["mean"] == first["rows"][0]["accuracy"]["mean"]
    assert {path.name for path in out.iterdir()} >= {"factors.png", "curve.png", "seconds.png"}
    shown = capsys.readouterr().out
    assert "stand-in" in shown
    assert "| MSR " in shown
    assert "| ProtoNets" in shown
    assert omniglot_run(out, *flags, "--resume") == 0
    assert results(out)["rows"] == first["rows"]  # nothing ran twice


def test_alphabets_for_choosing_rates_are_taken_from_training():
    folder = str(needs_data("omniglot/images_background_small1.zip").parent)
    images = load_images(folder, validate=True)
    assert images.test.groups == ("Latin",)
    assert images.train.groups == ("Balinese", "Early_Aramaic", "Greek", "Korean")
    whole = load_images(folder)
    assert "images_background_small1.zip" in whole.name
    assert (len(whole.train.names), len(whole.test.names)) == (136, 106)
    assert not set(whole.train.groups) & set(whole.test.groups)
    assert not whole.stand_in


def test_the_published_runs_are_reported(tmp_path, capsys, monkeypatch):
    runs = needs_data("omniglot/all_runs.zip")
    flags = ["--data", str(runs.parent), "--ways", "20", "--one-shot-runs", str(runs), "--models", "protonets"]
    flags += [
        "--queries",
        "1",
        "--outer-steps",
        "1",
        "--outer-rate",
        "1e-3",
        "--test-tasks",
        "2",
        "--test-queries",
        "1",
    ]
    assert omniglot_run(tmp_path / "run", *flags) == 0
    (row,) = results(tmp_path / "run")["rows"]
    assert row["inner"] == "means"
    answers = row["one_shot_runs"]
    assert answers["n"] == 20
    assert 0.05 < answers["mean"] < 1  # guessing has 0.05
    assert (400 * answers["mean"]) % 1 == pytest.approx(0, abs=1e-3)  # of 20 answers in each of 20 runs
    shown = f"{100 * answers['mean']:.1f} ± {100 * answers['ci95']:.1f}"
    out = capsys.readouterr().out
    assert "one-shot runs %" in out
    assert shown in out
    read = omniglot.read_one_shot_runs
    monkeypatch.setattr(
        omniglot, "read_one_shot_runs", lambda path: read(path)._replace(support_x=torch.ones(1, 3, 1, 28, 28))
    )
    assert omniglot_run(tmp_path / "other", *flags) == 2
    assert "has runs of 3 classes" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def rows(*right):
    return [{"right": list(one), "asked": 10} for one in right]


def test_differences_are_paired_by_task_and_seed():
    first, second = rows([9, 7], [8, 8]), rows([8, 6], [6, 6])
    mean, half = omniglot.paired(first, second)
    assert mean == pytest.approx(0.15)  # 0.1 with the first seed, 0.2 with the second
    assert half == pytest.approx(12.706 * 0.05, rel=1e-3)  # Student's t of one degree of freedom
    mean, half = omniglot.paired(first[:1], second[:1])
    assert (mean, half) == (pytest.approx(0.1), 0)  # every task of this seed differs by as much
    # With one seed two tasks of 0.9 and 0.7, with the other no spread; the mean of two seeds.
    assert omniglot.over_tasks(first) == pytest.approx(12.706 * 0.1 / 2, rel=1e-3)


def test_kernels_that_turns_do_not_change_are_certified_and_found(gen):
    invariant = torch.randn(200, 3, generator=gen)[:, ORBITS]
    reading = read_kernels(invariant)
    assert set(reading.verdict.values()) == {"certified"}
    assert max(reading.seen.values()) < 1e-6
    assert discovered(invariant).startswith("FOUND. The group S4 x S4, order 576")
    columns = torch.nn.functional.one_hot(ORBITS, 3).float().T
    assert discovered(columns, of_a_factor=True).startswith("FOUND. The group S4 x S4, order 576")


def test_a_factor_and_the_same_in_other_coordinates_read_alike(gen):
    """What a factor does is a matter of ``C Cᵀ`` alone, and so are the certificates."""
    invariant = torch.nn.functional.one_hot(ORBITS, 3).float()
    for small, says in ((0.02, "certified"), (0.5, "refuted")):
        C = torch.cat([3 * invariant, small * torch.randn(9, 6, generator=gen)], 1)
        Q = torch.linalg.qr(torch.randn(9, 9, generator=gen)).Q
        readings = [read_kernels(factor.T) for factor in (C, C @ Q)]
        assert readings[0].verdict == readings[1].verdict == dict.fromkeys(readings[0].verdict, says)
        assert readings[0].seen == pytest.approx(readings[1].seen, rel=1e-3)


def test_kernels_of_zeros_are_none():
    reading = read_kernels(torch.zeros(4, 9))
    assert set(reading.verdict.values()) == {"no kernel"}
    assert set(reading.seen.values()) == {None}
    assert discovered(torch.zeros(4, 9)) == "no kernel"


def test_scores_that_do_not_exist_are_no_answer():
    scores = torch.tensor([[1.0, 2.0], [torch.nan, 0.0]])
    assert share_right(scores, torch.tensor([1, 0])).isnan()
    scores[1, 0] = -math.inf  # a class that is never answered
    assert share_right(scores, torch.tensor([1, 0])) == 0.5


def test_other_kernels_are_refuted_and_nothing_is_found(gen):
    kernels = torch.randn(2000, 9, generator=gen)
    reading = read_kernels(kernels)
    assert set(reading.verdict.values()) == {"refuted"}
    # One less the number of orbits in nine: four of flips, three of quarter turns, three of both.
    for name, orbits in (("flips", 4), ("quarter turns", 3), ("turns and flips", 3)):
        assert reading.seen[name] == pytest.approx(1 - orbits / 9, abs=0.03)
    assert not discovered(kernels).startswith("FOUND")
    mirrored = (kernels.unflatten(1, (3, 3)) + kernels.unflatten(1, (3, 3)).flip(-1)).flatten(1)
    assert seen_share(mirrored, grid_rotations(3)) > 0.3  # half of the flips is not all of them


def invariant_loop(columns):
    """The runner's own loop whose kernels are made by these columns ``(9, 3)``, and its tasks with plain support."""
    config = invariance.Config(width=4, ways=3, queries=2, batching="loop", inner_rate=0.4)
    images = load_images("")
    family = ImageTasks(images.train.padded_to(16), images.test.padded_to(16), ways=3, queries=2, query="none")
    network = Network(3, 4, family.train.image_shape, taps=3, pooled=True)
    loop = outer_loop(METHODS["msr"], network, config, seed=0)
    for name, factor in loop.params.shared.items():
        if name.endswith(".C"):
            factor.copy_(columns)
    return loop, family.episodes("test", torch.arange(2))


def test_the_study_sees_an_invariant_network_as_one(gen):
    """Kernels that are constant on orbits stay so when tasks adapt, and turned queries get the same answers."""
    loop, episodes = invariant_loop(torch.nn.functional.one_hot(ORBITS, 3).float())
    assert invariance.steady_share(loop, episodes) == 1
    for layers in invariance.kernel_sets(loop, episodes).values():
        assert all(set(read_kernels(kernels).verdict.values()) == {"certified"} for kernels in layers.values())


def test_the_study_sees_another_network_as_none(gen):
    loop, episodes = invariant_loop(torch.randn(9, 3, generator=gen))
    assert invariance.steady_share(loop, episodes) < 1
    for layers in invariance.kernel_sets(loop, episodes).values():
        assert all("certified" not in read_kernels(kernels).verdict.values() for kernels in layers.values())


def test_the_study_runs_and_resumes(tmp_path, capsys):
    flags = ["--quick", "--models", "msr-3", "--width", "2", "--out", str(tmp_path / "run")]
    assert _run.main(invariance.Config, invariance.run, flags) == 0
    (row,) = results(tmp_path / "run")["rows"]
    assert set(row["accuracy"]) == {"none-none", "none-square", "square-none", "square-square"}
    assert set(row["kernels"]) == set(row["found"]) == {"factor C", "filters", "adaptation"}
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"curve.png", "kernels-msr-3.png"}
    shown = capsys.readouterr().out
    assert "plain / turned" in shown
    assert "msr-3-seed0, factor C, layer 0: " in shown
    assert _run.main(invariance.Config, invariance.run, [*flags, "--resume"]) == 0
    assert results(tmp_path / "run")["rows"] == [row]


def test_flags_say_how_long_an_arm_trains():
    images = load_images("")
    assert (FewShotFlags().steps_of(images), FewShotFlags().test_tasks_of(images)) == (10, 20)
    assert FewShotFlags(outer_steps=7).steps_of(images) == 7
    assert FewShotFlags(minutes=2.0).steps_of(images) == 10**9
    assert (FewShotFlags().seconds, FewShotFlags(minutes=2.0).seconds) == (math.inf, 120)


@pytest.fixture
def mini_imagenet(tmp_path):
    """A generated folder in MiniImagenet's layout: three classes to train on, three others to test on."""
    folder = tmp_path / "mini"
    (folder / "images").mkdir(parents=True)
    for split, letters in (("train", "abc"), ("val", "def"), ("test", "ghi")):
        lines = ["filename,label"]
        for place, letter in enumerate(letters):
            for n in range(3):
                Image.new("RGB", (84, 84), (80 * place, 40 * n, 9)).save(folder / "images" / f"{letter}{n}.jpg")
                lines.append(f"{letter}{n}.jpg,{letter}")
        (folder / f"{split}.csv").write_text("\n".join(lines))
    return folder


def test_mini_imagenet_goes_through_the_runner(mini_imagenet, tmp_path, capsys):
    flags = ["--data", str(mini_imagenet), "--ways", "3", "--queries", "1", "--test-queries", "1", "--outer-steps", "1"]
    flags += ["--batch", "1", "--test-tasks", "2", "--models", "maml"]
    assert omniglot_run(tmp_path / "run", *flags, "--validate") == 0
    assert "MiniImagenet in mini, validation classes, 3 classes to train on" in capsys.readouterr().out
    (row,) = results(tmp_path / "run")["rows"]
    # Convolutions of 3 and three times 2 channels, scale and shift of four norms, and a head on 5 × 5 places.
    assert row["n_adapted"] == 2 * 28 + 3 * (2 * 19) + 4 * 4 + 3 * (2 * 25 + 1)
    (mini_imagenet / "test.csv").write_text((mini_imagenet / "train.csv").read_text())
    assert omniglot_run(tmp_path / "other", *flags) == 2
    assert "a is a class of train.csv and of test.csv, which must share none" in capsys.readouterr().err
