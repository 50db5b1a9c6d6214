"""The runner of the attention flow: every number of its figures against theory, what is written, and bad flags."""

import collections
import json
import math

import numpy as np
import pytest
import torch

from experiments import attention_flow
from experiments.flow import denoising
from experiments.flow.leaders import LeaderStudy, interval
from experiments.flow.modes import ModeStudy, growth_rates
from experiments.flow.phases import InSpan, PhaseStudy
from experiments.flow.scaling import ScalingStudy, attended_cosine, equiangular_tokens, random_tokens
from experiments.flow.schemes import EARLY, SchemeStudy
from experiments.flow.stairs import ANGLES, exact_merges
from msr.flow import AttentionFlow, critical_cosine, equiangular_time, uniform_on_sphere
from msr.runs import command as _run


def study(*flags: str) -> int:
    return _run.main(attention_flow.Config, attention_flow.run, list(flags))


COSINES = {
    "post": (0.08464, 0.24687, 0.72172, 0.95050),
    "pre": (0.07995, 0.21301, 0.54882, 0.77048),
    "mix": (0.08464, 0.24687, 0.64635, 0.84294),
    "peri": (0.28348, 0.53692, 0.79234, 0.88877),
    "ngpt": (0.32963, 0.66838, 0.94662, 0.99259),
    "sqrt": (0.06952, 0.16155, 0.37071, 0.54882),
}
"""Of 16 orthogonal tokens at the times .5, 1, 2 and 3, β = 1, by an independent solver."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A quick run of all studies: its folder, and the lines of its summary by study and variant."""
    out = tmp_path_factory.mktemp("flow") / "run"
    assert study("--quick", "--quiet", "--seeds", "2", "--out", str(out)) == 0
    found = json.loads((out / "results.json").read_text())
    return out, {(line["study"], line["variant"]): line for line in found["summary"]}, found["rows"]


def test_every_figure_is_written(whole):
    out, lines, rows = whole
    names = {"phases", "staircase", "scaling", "mode_numbers", "mode_rates", "normalisation", "leaders"}
    names |= {f"network_{place}_{what}" for place in ("post", "pre") for what in ("cosines", "clusters")}
    assert {path.stem for path in out.glob("*.png")} == names
    assert {part for part, _ in lines} == set(attention_flow.STUDIES)
    # What is not random has one seed.
    seeds = collections.Counter((row["study"], row["variant"]) for row in rows)
    assert seeds["phases", "d=3"] == seeds["leaders", "n=8 T=8"] == seeds["modes", "ring sa β=4"] == 2
    assert seeds["staircase", "β=3"] == seeds["normalisation", "peri"] == seeds["modes", "table"] == 1


def test_a_run_continues_and_shows_its_table(tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--quick", "--studies", "scaling,leaders", "--seeds", "1", "--out", str(out)]
    assert study(*flags) == 0
    shown = capsys.readouterr().out
    first = json.loads((out / "results.json").read_text())["rows"]
    kept = out / "rows.jsonl"
    # The last arm was being written when the run ended.
    kept.write_text("\n".join(kept.read_text().splitlines()[:-1]) + "\n")
    assert study(*flags, "--resume") == 0
    assert json.loads((out / "results.json").read_text())["rows"] == first
    assert capsys.readouterr().out == shown
    assert all(word in shown for word in ("γ of the jump", "random tokens", "first and last alone"))
    assert not (out / "phases.png").exists()


class TestPhases:
    def test_the_share_jumps_at_the_exact_time_in_many_dimensions(self, whole):
        _, lines, _ = whole
        line = lines["phases", "d=128"]
        assert line["exact"] == [equiangular_time(16, 1.0), equiangular_time(16, 4.0)]
        for k in range(2):
            assert line["half"][k]["mean"] == pytest.approx(line["exact"][k], rel=0.08)
            assert line["full"][k]["mean"] > line["half"][k]["mean"]
        assert line["clusters_at_end"][0] == {"mean": 1.0, "ci95": 0.0, "n": 2}

    def test_a_curve_of_another_temperature_is_told(self, whole):
        """The negative control: the times are not those of half the temperature, or of none."""
        _, lines, _ = whole
        measured = lines["phases", "d=128"]["half"][1]["mean"]
        assert measured > 1.3 * equiangular_time(16, 2.0)

    def test_in_few_dimensions_there_is_no_such_jump(self, whole):
        _, lines, rows = whole
        assert lines["phases", "d=3"]["half"][1] is None
        assert lines["phases", "d=3"]["clusters_at_end"][1]["mean"] > 1
        shares = [row["shares"] for row in rows if row["study"] == "phases"]
        assert np.min(shares) >= 0
        assert np.max(shares) == 1

    def test_coordinates_in_the_span_change_nothing(self, gen):
        tokens = uniform_on_sphere(6, 40, 2, generator=gen)
        short = InSpan(2.0, 6).flow(tokens, 1.5, 15)
        np.testing.assert_allclose(short, AttentionFlow(40, 2.0).flow(tokens, 1.5, 15), atol=1e-13)

    def test_a_time_that_never_comes_is_none(self):
        row = PhaseStudy(8, (2,), 1, (9.0,), (0.5, 1.0)).row("d=2", 0)
        assert row["half"] == [None]


class TestStaircase:
    def test_merges_are_where_theory_has_them(self, whole):
        _, lines, rows = whole
        line = lines["staircase", "β=3"]
        np.testing.assert_allclose(line["exact"], [1.2988, 2.5347, 4.6680, 63.6212], atol=1e-4)
        assert line["worst"] < 1e-4
        assert line["clusters"] == [4, 3, 2, 1]
        (row,) = (row for row in rows if row["study"] == "staircase")
        # The energy does not fall, and ends at its maximum.
        assert line["least_rise"] >= -1e-14
        assert row["energies"][-1] == pytest.approx(1, abs=1e-3)
        # It rests on the step of two clusters of 2 and 3 tokens, which are not opposite: 1 − g is 2 at most.
        assert row["at_merges"][2] == pytest.approx(13 / 25, abs=0.005)

    def test_the_times_of_another_temperature(self):
        np.testing.assert_allclose(exact_merges(4.0), [1.2533, 2.5092, 5.3386, 338.6905], atol=1e-4)
        # Turned as a whole, the tokens merge at the same times.
        turned = exact_merges(3.0, [angle + 1.0 for angle in ANGLES])
        np.testing.assert_allclose(turned, exact_merges(3.0), rtol=1e-8)


class TestScaling:
    def test_the_jump_gets_steeper_at_the_critical_exponent(self, whole):
        _, lines, _ = whole
        large = lines["scaling", "n=1e8"]
        assert large["below"] == pytest.approx(0.982, abs=5e-4)
        assert large["above"] == pytest.approx(0.573, abs=5e-4)
        assert large["place"] == pytest.approx(2, abs=1e-6)
        widths = [lines["scaling", f"n=1e{power}"]["width"] for power in (1, 2, 8)]
        assert widths[0] > widths[1] > widths[2]
        # The middle half is as wide as 1 / log n.
        assert widths[2] / widths[1] == pytest.approx(2 / 8, rel=0.05)
        assert lines["scaling", "n=1e1"]["at_critical"] == pytest.approx(0.82766, abs=1e-5)
        assert lines["scaling", "n=1e2"]["at_critical"] == pytest.approx(0.80280, abs=1e-5)

    def test_a_step_of_attention_is_the_curve(self, whole):
        _, lines, _ = whole
        assert lines["scaling", "n=1e2"]["step_off"] < 1e-12
        assert "step_off" not in lines["scaling", "n=1e8"]
        random = lines["scaling", "random n=10"]
        assert random["off_most"] < 0.03
        assert random["exact"] == critical_cosine(10.0, 0.5, random["gammas"]).tolist()
        means = [estimate["mean"] for estimate in random["cosines"]]
        np.testing.assert_allclose(means, random["exact"], atol=0.03)

    def test_in_few_dimensions_random_tokens_leave_the_curve(self, gen):
        """The negative control: with large products between some tokens attention sees those."""
        few = attended_cosine(random_tokens(10, 4, 0.5, gen), 2.0)
        assert abs(few - float(critical_cosine(10.0, 0.5, 2.0))) > 0.05

    def test_tokens_have_the_products_that_were_asked_for(self, gen):
        tokens = equiangular_tokens(7, 0.3)
        gram = 0.7 * torch.eye(7, dtype=torch.float64) + 0.3
        np.testing.assert_allclose(tokens @ tokens.T, gram, atol=1e-15)
        many = random_tokens(20, 20_000, 0.5, gen)
        products = (many @ many.T)[np.triu_indices(20, 1)]
        assert many.shape == (20, 20)
        assert float(products.mean()) == pytest.approx(0.5, abs=0.01)

    def test_the_limit_is_a_row_of_its_own(self):
        assert ScalingStudy(powers=(2,), sampled=()).table([]).splitlines()[-1].split() == [
            "|", "limit", "|", "1.0000", "|", "0.8000", "|", "0.5000", "|", "2.0000", "|", "0", "|", "|",
        ]  # fmt: skip


class TestModes:
    def test_the_table(self, whole):
        _, lines, _ = whole
        assert lines["modes", "table"]["numbers"] == {
            "d=2": [1, 2, 3, 4, 6, 7, 10, 14],
            "d=3": [1, 2, 2, 4, 5, 7, 9, 14],
            "d=4": [1, 1, 2, 3, 5, 6, 9, 13],
        }

    def test_waves_grow_as_they_should(self, whole):
        _, lines, rows = whole
        for kind in ("sa", "usa"):
            line = lines["modes", f"ring {kind} β=4"]
            assert line["off_most"] < 2e-6
            assert line["fastest"] == [line["number"]] == [3]
        row = next(row for row in rows if row.get("kind") == "sa")
        np.testing.assert_allclose(row["measured"], row["exact"], rtol=1e-5)

    def test_a_flow_of_another_temperature_is_told(self, gen):
        row = ModeStudy(ring=64, measured=(4,)).row("ring sa β=4", 0)
        other = growth_rates(AttentionFlow(2, 4.4), 64, 6, 0.66, gen)
        assert float((other - torch.tensor(row["exact"], dtype=torch.float64)).abs().max()) > 0.01


class TestNormalisation:
    @pytest.mark.parametrize("norm", COSINES)
    def test_particles_follow_the_equation(self, whole, norm):
        _, lines, _ = whole
        line = lines["normalisation", norm]
        assert len(line["early"]) == len(EARLY)
        np.testing.assert_allclose(line["early"], COSINES[norm], atol=1e-5)
        np.testing.assert_allclose(line["early"], line["early_exact"], atol=1e-6)
        assert line["off"] < 1e-6
        assert line["exponent"] == pytest.approx(line["expected"], rel=0.01)
        assert line["particles_exponent"] == pytest.approx(line["exponent_then"], rel=1e-3)

    def test_exponentials_and_powers(self, whole):
        _, lines, _ = whole
        kinds = {norm: (lines["normalisation", norm]["decay"], lines["normalisation", norm]["expected"])
                 for norm in COSINES}  # fmt: skip
        assert kinds == {
            "post": ("exponential", 2.0), "ngpt": ("exponential", 2.0), "pre": ("power", 2.0), "mix": ("power", 2.0),
            "peri": ("power", 2.0), "sqrt": ("power", 1.0),
        }  # fmt: skip

    def test_one_scheme_is_not_another(self):
        study = SchemeStudy(n=8, end=10.0)
        pre, peri = study.row("pre", 0), study.row("peri", 0)
        assert abs(pre["early"][0] - peri["early"][0]) > 0.1


class TestLeaders:
    def test_attention_ends_at_the_first_or_the_last(self, whole):
        _, lines, rows = whole
        line = lines["leaders", "n=8 T=8"]
        assert line["starts"] == 40
        assert line["near"] >= 36
        assert line["only_extremal"] == line["near"] == line["rank1"] + line["rank2"]
        share, low, high = line["share_rank1"]
        assert low < 0.5 < high
        assert share == line["rank1"] / line["near"]
        # Doubly exponential: the logarithm of the median distance grows by ever larger steps.
        row = next(row for row in rows if row["study"] == "leaders")
        median = np.log(np.median(row["distances"], axis=0))
        late = np.diff(median[20:34:4])
        assert (np.diff(late) < 0).all()

    def test_tokens_that_lead_together_are_not_counted(self):
        """The negative control: too early, nothing is near zeros and ones."""
        study = LeaderStudy(sizes=((8, 1.0),), starts=10)
        line = study.line("n=8 T=1", [study.row("n=8 T=1", 0)])
        assert line["near"] == 0
        assert line["share_rank1"] == (None, 0.0, 1.0)
        assert "—" in study.table([line])

    def test_the_interval_of_a_share(self):
        share, low, high = interval(5, 10)
        assert share == 0.5
        assert (low, high) == pytest.approx((0.1871, 0.8129), abs=1e-4)
        assert interval(10, 10)[2] == 1
        assert interval(0, 10)[1] == 0
        assert math.isclose(interval(10, 10)[1], 1 - interval(0, 10)[2])


class TestNetwork:
    def test_each_network_is_followed_beside_its_flow_and_a_control(self, whole):
        _, lines, rows = whole
        for place in ("post", "pre"):
            line = lines["network", f"{place} untrained"]
            assert line["cosines"].keys() == line["clusters"].keys() == {"real", "own", "ideal", "random"}
            # With V = I tokens come together; what random weights and no training do is alike.
            assert line["cosines"]["ideal"]["mean"] > line["cosines"]["real"]["mean"] + 0.2
            assert line["ideal_off"]["mean"] > 2 * line["own_off"]["mean"]
            assert line["random_off"]["mean"] < 0.2
            assert line["clusters"]["real"]["mean"] > line["clusters"]["ideal"]["mean"]
        row = next(row for row in rows if row["study"] == "network")
        assert len(row["cosines"]["real"]) == 3  # two layers
        assert row["clusters"]["own"][0] == row["clusters"]["real"][0]
        assert any("order of attention and network" in note for note in row["notes"])

    def test_training_takes_noise_off(self):
        sets = denoising.Sets(n=6, points=2, d=4)
        network = denoising.made(sets, 1, 0, norm_first=False)
        before = denoising.error_of(network, sets, 5)
        denoising.train(network, sets, 60, 0)
        after = denoising.error_of(network, sets, 5)
        assert after < 0.6 * before
        again = denoising.made(sets, 1, 0, norm_first=False)
        denoising.train(again, sets, 60, 0)
        assert denoising.error_of(again, sets, 5) == after

    def test_layers_begin_with_weights_of_their_own_and_nothing_global_moves(self):
        before = torch.random.get_rng_state()
        first, second = denoising.made(denoising.Sets(), 2, 3, norm_first=True).encoder.layers
        assert torch.equal(torch.random.get_rng_state(), before)
        assert not torch.equal(first.linear1.weight, second.linear1.weight)
        assert not torch.equal(first.self_attn.in_proj_weight, second.self_attn.in_proj_weight)

    def test_tokens_are_copies_of_few_points(self, gen):
        sets = denoising.Sets(n=9, points=2, d=5, noise=0.3)
        tokens, clean = sets.draw(200, gen)
        assert tokens.shape == clean.shape == (200, 9, 5)
        assert max(len(torch.unique(points, dim=0)) for points in clean) == 2
        torch.testing.assert_close(clean.norm(dim=-1), torch.full((200, 9), 5**0.5))
        assert float((tokens - clean).std()) == pytest.approx(0.3, rel=0.03)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--studies", "phases,all"], "unknown study 'all'"),
        (["--dims", "3,1"], "--dims"),
        (["--dims", "3,x"], "--dims must be numbers"),
        (["--tokens", "1"], "--tokens must be at least 2; got 1"),
        (["--starts", "0"], "--starts must be at least 1; got 0"),
        (["--studies", "modes", "--tokens", "8"], "--tokens is of the study of phases, which is left out"),
        (["--tokens", "4096", "--starts", "10000"], "give a smaller --tokens, --dims or --starts"),
    ],
)
def test_flags_that_cannot_work_are_one_line(flags, says, tmp_path, capsys):
    assert study(*flags, "--out", str(tmp_path / "run")) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "run").exists()
