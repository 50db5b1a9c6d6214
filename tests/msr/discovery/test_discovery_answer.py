"""The words and numbers of an answer; and which tasks, levels and units each test of a group is given."""

import json
import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from msr.discovery import discover, find
from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.certificate import GroupCertificate
from msr.discovery.answer.result import SCHEMA, Discovery, PartialSymmetry, short
from msr.discovery.answer.sentences import (
    cannot_tell,
    exceptions_words,
    found_sentence,
    linear_words,
    not_linear,
    not_shown,
    nothing_sentence,
    p_words,
    share,
    size,
    two_closure_note,
)
from msr.discovery.breaking.biases import Biases
from msr.discovery.breaking.least_squares import LeastSquares
from msr.discovery.breaking.pairs import Pairs
from msr.discovery.data.tasks import prepare
from msr.discovery.pattern import candidates as proposing
from msr.discovery.question import Question
from msr.discovery.thresholds import THRESHOLDS, Thresholds
from msr.discovery.verdict import certification, testing
from msr.discovery.verdict.agreement import agreed
from msr.discovery.verdict.estimators import Estimators
from msr.groups import cyclic, dihedral, direct_product
from msr.groups.naming.name import name_group
from msr.representations import equivariant_basis, natural, regular, trivial
from msr.representations.commutant.values import Continuous
from msr.tasks.sampling import sample_group

SHIFT, SWAP = np.array([[1, 2, 0]]), np.array([[1, 0]])


def candidate(p, q, order, status="open", seen_broken=False, **changes):
    """A candidate with generators ``p`` on inputs and ``q`` on outputs; all its numbers differ from each other."""
    base = Candidate(
        colours=np.zeros((q.shape[1], p.shape[1]), int), n_colours=7, generators_in=p, generators_out=q, order=order,
        residual=0.11, exact=status != "beyond", share=0.17, breaking=0.0012, low=0.0011, high=0.0144, p_within=0.15,
        p_beyond=0.16, p_not_kept=0.18, status=status, seen_broken=seen_broken,
    )  # fmt: skip
    return replace(base, **changes)


def certificate(**changes):
    """A certificate whose numbers differ from each other."""
    base = GroupCertificate(
        null="", eps=0.05, alpha=0.01, p_value=1e-5, breaking=0.0003, bound=0.0004, method="pairs of examples",
        exceptions=(), exceptions_at_most=0.019, exceptions_break=0.12, counts_up_to=0.1, nonlinear_at_most=0.0009,
        covers="the linear layer", linear=True, n_tasks=100, splits=2, certified=True, specificity=0.03,
    )  # fmt: skip
    return replace(base, **changes)


def answer(**changes):
    """An answer with a group that turns inputs 0, 2, 3 of four and swaps outputs 1, 2 of three."""
    p, q = SHIFT, SWAP
    chosen = candidate(p, q, 6, "within")
    base = Discovery(
        verdict="found", sentence="Said.", hints=("a hint",), layer="linear", signed=False, shape_in=(4,),
        shape_out=(3,), inputs=np.array([0, 2, 3]), outputs=np.array([1, 2]), dimension=5, group=name_group(SHIFT, q),
        chosen=chosen, candidates=(chosen, candidate(p, q, 2**60, "beyond", True)), certificate=certificate(),
        biases=Biases("kept", 0.01, 0.02, 0.001, "least squares in each task"),
        partial=(PartialSymmetry(np.array([1, 2, -1]), np.array([1, -1]), 0.6, 0.01, "a shift"),),
        continuous=Continuous(1, "u(1)", None, None, False, "a note"), two_closure_note="a smaller one", classes=None,
        pattern=None, noise=0.21, explained=0.22, class_order=24, spectrum=None, training=(0.5, 0.25), n_tasks=90,
        left_out=("a row",), seconds=0.26,
    )  # fmt: skip
    return replace(base, **changes)


# ------------------------------------------------------------------------------------------------------- plain values


def test_the_files_of_the_walk_exist():
    """The docstring of ``find`` lists the steps, and names the file or folder of each."""
    room = Path(find.__file__).parent
    files = re.findall(r"``([\w/]+\.py)``", find.__doc__)
    folders = re.findall(r"``(\w+)/``", find.__doc__)
    assert len(files) + len(folders) >= 12
    assert all((room / name).is_file() for name in files)
    assert all((room / name).is_dir() for name in folders)


def test_the_answer_carries_the_thresholds_that_held_and_a_schema_version():
    plain = json.loads(json.dumps(answer().as_dict()))
    assert plain["schema"] == SCHEMA == 1
    assert plain["thresholds"].keys() == {f.name for f in fields(Thresholds)}
    assert plain["thresholds"]["group_share"] == 0.5
    with THRESHOLDS.moved(group_share=0.4):
        moved = answer()
    assert moved.as_dict()["thresholds"]["group_share"] == 0.4


def test_every_number_has_its_own_name_in_plain_values():
    one = answer()
    plain = one.as_dict()
    for name in ("verdict", "sentence", "layer", "signed", "dimension", "noise", "explained",
                 "class_order", "seconds"):  # fmt: skip
        assert plain[name] == getattr(one, name), name
    for name in ("hints", "shape_in", "shape_out", "training", "left_out"):
        assert plain[name] == list(getattr(one, name)), name
    assert plain["tasks"] == 90
    assert plain["residual"] == one.chosen.residual
    assert plain["certificate"] == asdict(one.certificate)
    assert plain["continuous"] == asdict(one.continuous)
    assert plain["partial"] == [
        {"name": "a shift", "overlap": 0.6, "residual": 0.01, "map_in": [1, 2, -1], "map_out": [1, -1]}
    ]
    assert json.loads(json.dumps(plain))["candidates"][1]["order"] == str(2**60)  # more than a double holds
    for values, c in zip(plain["candidates"], one.candidates, strict=True):
        assert values.pop("classes") == c.n_colours
        assert int(values.pop("order")) == c.order
        assert values.keys() == {f.name for f in fields(Candidate)} - {
            "colours", "n_colours", "generators_in", "generators_out", "order"
        }  # fmt: skip
        for name, value in values.items():
            assert value == getattr(c, name), name


def test_the_group_in_plain_values_acts_on_all_coordinates():
    group = answer().as_dict()["group"]
    assert group["generators_in"] == [[2, 1, 3, 0]]
    assert group["generators_out"] == [[0, 2, 1]]
    assert group["signs_in"] is None
    assert group["signs_out"] is None
    assert group["action"]["inputs"]["degree"] == 3
    assert group["action"]["outputs"]["degree"] == 2
    assert group["two_closure_note"] == "a smaller one"


def test_signs_belong_to_the_coordinates_that_vary():
    """The first input goes to minus the second, the second to the first; only the last output changes its sign."""
    p, q = np.array([[4, 0, 2, 1, 3, 5]]), np.array([[0, 3, 2, 1]])
    one = answer(signed=True, chosen=candidate(p, q, 4, "within"))
    assert [g.tolist() for g in one.generators()] == [[[2, 1, 0, 3]], [[0, 1, 2]]]
    assert [g.tolist() for g in one.signs()] == [[[-1, 1, 1, 1]], [[1, 1, -1]]]
    group = one.as_dict()["group"]
    assert group["signs_in"] == [[-1, 1, 1, 1]]
    assert group["signs_out"] == [[1, 1, -1]]


def test_an_answer_without_a_group_has_no_generators():
    none = answer(verdict="none", group=None, chosen=None, signed=True)
    assert [g.shape for g in none.generators()] == [(0, 4), (0, 3)]
    assert [g.shape for g in none.signs()] == [(0, 4), (0, 3)]
    assert none.as_dict()["group"] is None
    assert none.as_dict()["residual"] is None


# -------------------------------------------------------------------------------------------------------------- words


def test_the_sentence_of_a_group_says_what_was_measured():
    p, q = SHIFT, SWAP
    name = name_group(SHIFT, q)
    tried = [candidate(p, q, 3, "beyond"), candidate(p, q, 6, "within"), candidate(p, q, 12, "beyond")]
    said = found_sentence(name, certificate(), tried, 7, 0.9, False)
    assert said.startswith(f"The cyclic group C6, order 6: inputs ({name.on_inputs}), outputs ({name.on_outputs}). ")
    assert (
        "In typical tasks what breaks it makes less than 5% of the linear layer, at level 0.01 (p = 1e-05, 100 tasks "
        "that had no part in choosing it; at most 2.0%); at most 1.9% of the tasks may be exceptions, which break it "
        "by more than 12%; nothing beyond a linear layer was seen (products of inputs make at most 3.0% of the "
        "outputs); 1 larger group rejected; the sharing has dimension 7 and explains 90% of the outputs." in said
    )
    two = found_sentence(name, certificate(), [*tried, tried[-1]], 7, 0.9, False)
    assert "; 2 larger groups rejected" in two
    assert "larger" not in found_sentence(name, certificate(bound=-1e-9), tried[:2], 7, 0.9, False)
    assert "both signs" not in said
    assert "with both signs of each; the change of all signs counts" in found_sentence(
        name, certificate(), [], 7, 0.9, True
    )
    same = replace(name, on_outputs=name.on_inputs)
    assert f"inputs and outputs alike ({name.on_inputs})" in found_sentence(same, certificate(), [], 7, 0.9, False)


def test_larger_groups_that_are_broken_by_little_are_listed_with_how_much():
    tried = [candidate(SHIFT, SWAP, 12, "within", True, breaking=0.005**2), candidate(SHIFT, SWAP, 24, "open", True)]
    said = found_sentence(name_group(SHIFT, SWAP), certificate(), tried, 7, 0.9, False)
    assert "; 2 larger groups rejected, of which one of order 12 by 0.5%: broken, if within the tolerance" in said


def test_exceptions_are_listed_with_their_places():
    assert (
        exceptions_words(certificate())
        == "at most 1.9% of the tasks may be exceptions, which break it by more than 12%"
    )
    assert exceptions_words(certificate(exceptions=(7,))).endswith("(seen: task 7)")
    assert exceptions_words(certificate(exceptions=tuple(range(8)))).endswith("(seen: tasks 0, 1, 2, 3, 4, 5, 6, 7)")
    assert exceptions_words(certificate(exceptions=tuple(range(11)))).endswith("4, 5, 6, 7 and 3 more)")


def test_the_sentence_about_what_is_not_linear():
    assert "at most 3.0% of the outputs" in linear_words(certificate())
    assert "could not be tested" in linear_words(certificate(nonlinear_at_most=None))
    for most in (0.0009, None):
        assert "not quite linear" in linear_words(certificate(linear=False, nonlinear_at_most=most))
    assert "a linear layer leaves 30% of the outputs' size" in not_linear(0.09)


def test_the_sentence_says_how_certain_the_name_is():
    name = replace(name_group(SHIFT, SWAP), certain=False, alternatives=("C6", "S3"))
    assert "(perhaps C6 or S3)" in found_sentence(name, certificate(), [], 7, 0.9, False)
    assert "(without a name here)" in found_sentence(replace(name, alternatives=()), certificate(), [], 7, 0.9, False)
    sure = found_sentence(replace(name, certain=True), certificate(), [], 7, 0.9, False)
    assert "perhaps" not in sure
    assert "without a name" not in sure


def test_tiny_p_values_are_written_without_digits():
    assert [p_words(p) for p in (0.3, 0.00123, 1e-6, 9e-7, 0.0)] == [
        "p = 0.3",
        "p = 0.0012",
        "p = 1e-06",
        "p < 1e-6",
        "p < 1e-6",
    ]


def test_an_answer_does_not_repeat_its_reason():
    why = "the group of order 8 is not certified"
    said = str(answer(verdict="cannot tell", sentence=cannot_tell(why), hints=(why, "more tasks would help")))
    assert said.startswith("CANNOT TELL: the group of order 8")
    assert said.count(why) == 1
    assert "hint: more tasks would help" in said


def test_why_a_group_is_not_shown_and_what_would_help():
    one = candidate(SHIFT, SWAP, 12)
    said = not_shown(one, 0.05, None)
    assert (
        "a group of order 12 may hold, but these tasks do not show it within 5% of the outputs, only within 12.0%"
        in said
    )
    assert "--eps" not in said
    assert "more tasks, more examples a task or less noise" in said
    assert "with --eps 0.15 they pass the same test" in not_shown(one, 0.05, 0.15)
    assert "only within" not in not_shown(replace(one, high=1.0), 0.05, None)


def test_sizes_are_square_roots_of_energies():
    assert [size(energy) for energy in (0.0004, 1.0, -1e-9)] == ["2.0%", "100.0%", "0.0%"]


def test_a_tolerance_is_written_with_all_its_digits():
    assert [share(eps) for eps in (0.05, 0.025, 0.0549, 0.004, 1e-6)] == ["5%", "2.5%", "5.49%", "0.4%", "0.0001%"]
    said = found_sentence(name_group(SHIFT, SWAP), certificate(eps=0.0249), [], 7, 0.9, False)
    assert "makes less than 2.49% of the linear layer" in said
    whole = found_sentence(name_group(SHIFT, SWAP), certificate(covers="the outputs"), [], 7, 0.9, False)
    assert "makes less than 5% of the outputs" in whole


def test_the_sentence_of_none_says_what_was_rejected():
    beyond, open_ = candidate(SHIFT, SWAP, 6, "beyond"), candidate(SHIFT, SWAP, 2)
    broken = candidate(SHIFT, SWAP, 4, "within", True)
    shift = PartialSymmetry(SHIFT[0], SWAP[0], 0.6, 0.01, "a shift")
    assert "4 classes of weights are told apart" in nothing_sentence(4, (), [open_], 0.02)
    assert "rejected" not in nothing_sentence(4, (), [open_], 0.02)
    assert "the one group" in nothing_sentence(4, (), [open_, beyond], 0.02)
    two = nothing_sentence(4, (shift,), [open_, beyond, broken], 0.02)
    assert two.startswith("No exact group, but a partial symmetry: a shift. No group found")
    assert "the 2 groups that coarser classes would give were rejected at level 0.02" in two


def test_large_orders_have_two_digits():
    assert [short(n) for n in (1, 40320, 10**9 - 1, 10**9, 12 * 10**15)] == [
        "1", "40,320", "999,999,999", "1.0e9", "1.2e16"
    ]  # fmt: skip


def test_the_note_on_smaller_groups_is_empty_where_the_orbitals_allow_none():
    orbits = np.array([0, 0, 1, 1, 1])
    assert two_closure_note(6, orbits) == ""
    assert two_closure_note(1, np.arange(5)) == ""
    assert "2-closure" in two_closure_note(12, orbits)


# ---------------------------------------------------------------------------------------------------------- agreement


def test_answers_that_differ_make_the_verdict_cannot_tell():
    found = answer()
    doubt = answer(verdict="cannot tell", group=None)
    for answers in ([found, doubt], [doubt, found]):
        mixed = agreed(answers)
        assert mixed.verdict == "cannot tell"
        assert "do not agree" in mixed.sentence
        assert len(mixed.hints) == 1
        assert "2 random splits" in mixed.hints[0]


def test_answers_that_differ_show_nothing_that_belongs_to_one_of_them():
    found = answer()
    other = candidate(SHIFT, np.array([[0, 1]]), 3, "within")
    none = answer(verdict="none", group=None, chosen=None, certificate=None)
    for answers in ([found, none], [none, found], [found, answer(chosen=other)]):
        plain = agreed(answers).as_dict()
        for name in ("group", "biases", "certificate", "residual", "class_order", "continuous"):
            assert plain[name] is None, name
        assert plain["partial"] == []
        said = str(agreed(answers))
        assert "biases" not in said
        assert "a smaller one" not in said
        assert len(agreed(answers).generators()[0]) == 0


def test_a_choice_that_all_searches_made_stands_without_a_name_where_a_doubt_took_one_back():
    found = answer(certificate=certificate(p_value=0.002))
    doubt = answer(verdict="cannot tell", group=None, biases=None, partial=(), certificate=certificate(p_value=0.008))
    for answers in ([found, doubt], [doubt, found]):
        mixed = agreed(answers)
        assert mixed.verdict == "cannot tell"
        assert mixed.group is mixed.biases is None
        assert mixed.partial == ()
        assert mixed.chosen is doubt.chosen
        assert mixed.certificate.p_value == 0.008


def test_of_answers_that_agree_the_largest_p_value_is_shown():
    splits = [answer(certificate=certificate(p_value=p)) for p in (0.001, 0.008, 0.002)]
    assert agreed(splits).certificate.p_value == 0.008
    assert agreed(splits[:1]) is splits[0]
    without = answer(verdict="none", group=None, chosen=None, certificate=None)
    assert agreed([without, without]) is without
    doubts = [replace(one, verdict="cannot tell") for one in (without, splits[0])]
    assert "do not agree" in agreed(doubts).sentence


# --------------------------------------------------------------------------------------------------------- the search


def watched(monkeypatch, where, name):
    """A list that will hold the arguments and the result of each call of a function."""
    real = getattr(where, name)
    calls = []

    def called(*args, **kwargs):
        result = real(*args, **kwargs)
        calls.append((args, result))
        return result

    monkeypatch.setattr(where, name, called)
    return calls


def test_some_tasks_teach_and_others_test(monkeypatch):
    """The tests get only tasks that did not teach, at the levels and in the units that were fixed beforehand."""
    rep = regular(cyclic(4))
    s = sample_group(rep, rep, noise=0.2, n_tasks=200)
    fresh = torch.arange(200) % 10 < 3
    learned = watched(monkeypatch, proposing, "learn")
    tested = watched(monkeypatch, testing, "Evidence")
    listed = watched(monkeypatch, certification.Exceptions, "of")
    judged = watched(monkeypatch, find, "judged")
    found = discover(s.x, s.y, fresh=fresh, eps=0.1, alpha=0.02)
    assert found.verdict == "found"
    # The pattern of all tasks is shown to the reader, and may only take a name back.
    ((args, _), (every, _)) = learned
    assert (len(args[5]), len(every[5])) == (140, 200)
    for _, one in tested:
        assert len(one.breaking) == len(one.energy) == len(one.tasks)
    # The first look is at the tasks that taught the group: it must be kept by them before the others test it.
    first, *others = (one.tasks for _, one in tested)
    place = prepare(s.x, s.y, fresh=fresh).fresh
    assert set(first.tolist()) == set((~place).nonzero().flatten().tolist())
    assert others
    for one in others:
        assert set(one.tolist()) == set(place.nonzero().flatten().tolist())
    (named,) = (one for _, one in tested if one.shares[0] == 0.6)
    ((args, _), *_) = judged
    assert args[1:] == (1, 0.1, 0.02)
    ((args, exceptions),) = listed
    assert args[0] is named
    assert args[1:3] == (pytest.approx(0.01), pytest.approx(0.02 / 8))
    # Exceptions are listed by their original places, and none of these tasks taught.
    assert set(args[3][named.tasks].tolist()) == set(fresh.nonzero().flatten().tolist())
    shown = found.certificate
    assert (shown.n_tasks, shown.splits, shown.eps, shown.alpha) == (60, 1, 0.1, 0.02)
    assert (shown.p_value, shown.bound, shown.breaking) == (
        found.chosen.p_within, found.chosen.high, found.chosen.breaking
    )  # fmt: skip
    assert shown.p_value == pytest.approx(1 / (0.6 * named.within(0.01, named.cap(0.01))))
    assert (shown.exceptions_at_most, shown.exceptions_break) == (exceptions.at_most, exceptions.breaking)
    assert shown.exceptions == ()
    assert shown.bound <= 0.01
    assert "0.01 e" in shown.null


@pytest.mark.parametrize(("times", "status"), [(0.7, "beyond"), (0.97, "open"), (1.03, "open"), (1.4, "within")])
def test_the_status_changes_at_the_tolerance(times, status):
    rep = regular(cyclic(4))
    s = sample_group(rep, rep, truth="broken", breaking=0.05, n_tasks=160, seed=1)
    found = discover(s.x, s.y, eps=0.05 * times)
    (one,) = (c for c in found.candidates if c.order == 4)
    assert one.breaking**0.5 == pytest.approx(0.05, rel=0.2)
    assert one.low**0.5 < 0.05 < one.high**0.5
    assert (one.status, one.seen_broken) == (status, True)
    assert found.group is None  # a group that is seen broken is not named, however little breaks it


class TestFreshTasksOfAnotherKind:
    """Half of the span of C6 makes the tasks that teach; what the fresh ones are varies."""

    def tasks(self, gen, others=0.0):
        U = equivariant_basis(regular(cyclic(6)), regular(cyclic(6))).orthonormal()
        fresh = torch.arange(240) % 4 == 0
        v = torch.randn(240, 6, generator=gen)
        v[:, 4:] *= others * fresh[:, None]
        W = (v @ U.float().mT).view(240, 6, 6)
        x = torch.randn(240, 20, 6, generator=gen)
        return x, W, fresh

    def test_weights_outside_the_span_that_keep_the_group_do_no_harm(self, gen):
        """The test looks at the tasks' own weights, whatever was learned."""
        x, W, fresh = self.tasks(gen, others=1.0)
        found = discover(x, x @ W.mT + 0.05 * torch.randn(x.shape, generator=gen), fresh=fresh, eps=0.2)
        assert found.group.order == 6
        assert found.explained < 0.9

    def test_weights_that_break_the_group_are_seen(self, gen):
        x, W, fresh = self.tasks(gen)
        W[fresh] += 0.1 * torch.randn(60, 6, 6, generator=gen)
        found = discover(x, x @ W.mT, fresh=fresh)
        assert found.group is None
        assert all(c.seen_broken for c in found.candidates if c.order > 1)

    def test_one_odd_task_is_an_exception(self, gen):
        x, W, fresh = self.tasks(gen)
        W[4] = torch.randn(6, 6, generator=gen)
        found = discover(x, x @ W.mT, fresh=fresh)
        assert found.group.order == 6
        assert found.certificate.exceptions == (4,)
        assert "(seen: task 4)" in found.sentence


def test_too_many_exceptions_are_no_exceptions(gen):
    """A tenth of the tasks has weights of its own."""
    U = equivariant_basis(regular(cyclic(6)), regular(cyclic(6))).orthonormal().float()
    W = (torch.randn(240, 6, generator=gen) @ U.mT).view(240, 6, 6)
    W[::10] = torch.randn(24, 6, 6, generator=gen)
    x = torch.randn(240, 20, 6, generator=gen)
    found = discover(x, x @ W.mT)
    assert found.group is None


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_larger_group_that_is_open_leaves_the_answer_open(noise, gen):
    """Weights that keep C6 and break D6 by just the tolerance."""
    D, C = (equivariant_basis(rep, rep).orthonormal() for rep in (natural(dihedral(6)), natural(cyclic(6))))
    turned = torch.linalg.svd(C - D @ (D.mT @ C), full_matrices=False)[0][:, :2]
    U = D + 0
    U[:, :2] += 0.07 * turned
    W = torch.einsum("tk,ek->te", torch.randn(240, 4, generator=gen).double(), U).view(240, 6, 6)
    x = torch.randn(240, 20, 6, generator=gen).double()
    y = x @ W.mT + noise * torch.randn(240, 20, 6, generator=gen)
    found = discover(x, y, eps=0.05)
    assert found.group is None or found.group.order == 6
    if found.group is not None:
        larger = next(c for c in found.candidates if c.order == 12)
        assert larger.seen_broken or larger.status == "beyond"


def test_the_quieter_estimate_is_taken(gen, monkeypatch):
    """With many examples both can be used; the tasks that teach say which one has less noise."""
    rep = regular(cyclic(3))
    s = sample_group(rep, rep, n_tasks=160, noise=0.1)
    estimators = Estimators(Question(prepare(s.x, s.y), 3, 0.05, 0.01, False, 0))
    orbits = equivariant_basis(rep, rep).labels.flatten().numpy()
    assert [type(one) for one in estimators.usable(orbits, 0.1)] == [Pairs, LeastSquares]
    noise = torch.randn(160, generator=gen, dtype=torch.float64)

    class Estimate:
        """An estimator that gives noise of some size."""

        def __init__(self, size, symmetric=True):
            self.size, self.symmetric = size, symmetric

        def __call__(self, orbits, span, directions, tasks):
            return self.size * noise[tasks], noise[tasks]

    loud, calm, skewed = Estimate(1.0), Estimate(0.5), Estimate(0.4, symmetric=False)
    chosen = candidate(np.array([[1, 2, 0]]), np.array([[1, 2, 0]]), 3)
    learned = SimpleNamespace(span=SimpleNamespace(noise=0.01))
    for known in ([loud, calm], [calm, loud], [skewed, calm]):
        monkeypatch.setattr(estimators, "usable", lambda orbits, noise, known=known: known)
        assert estimators.quietest(chosen, learned, torch.arange(60)) is calm
    monkeypatch.setattr(estimators, "usable", lambda orbits, noise: [loud])
    assert estimators.quietest(chosen, learned, torch.arange(60)) is loud
    monkeypatch.setattr(estimators, "usable", lambda orbits, noise: [])
    assert estimators.quietest(chosen, learned, torch.arange(60)) is None


def test_the_share_that_a_group_moves_gives_all_outputs_the_same_weight(gen):
    """Two inputs that can be swapped make one output, ten times as large as the other, which a third makes."""
    x, a = torch.randn(400, 20, 3, generator=gen), torch.randn(400, 1, 2, generator=gen)
    y = a * torch.stack([10 * (x[:, :, 0] + x[:, :, 1]), x[:, :, 2]], 2)
    found = discover(x, y)
    assert found.group.name == "C2"
    assert found.chosen.share == pytest.approx(0.5, abs=0.15)


def test_the_class_order_is_not_counted_for_signed_groups():
    rep = regular(cyclic(3))
    s = sample_group(rep, rep, n_tasks=120, noise=0.1)
    found = discover(s.x, s.y, signed=True)
    assert found.group.order == 6
    assert found.class_order is None


def test_relabellings_that_give_the_same_group_count_as_good_ones():
    rep = regular(direct_product(cyclic(2), cyclic(2)))
    s = sample_group(rep, rep, n_tasks=200, noise=0.1)
    assert discover(s.x, s.y).certificate.specificity == pytest.approx(96 / 24**2, abs=0.1)
    rep = natural(cyclic(4))
    s = sample_group(rep, trivial(rep.group, 2), n_tasks=200, noise=0.1)
    assert discover(s.x, s.y).certificate.specificity is None  # every relabelling is in it


def test_pattern_and_noise_are_in_the_units_of_the_data():
    rep = regular(cyclic(4))
    s = sample_group(rep, rep, n_tasks=200, noise=0.1)
    a, b = discover(s.x, s.y), discover(s.x.double() * 256, s.y.double() / 1024)
    torch.testing.assert_close(b.pattern, a.pattern / (256 * 1024))
    assert b.noise == pytest.approx(a.noise / 1024**2)
    assert a.noise == pytest.approx(0.01, rel=0.1)
    orders = [c.order for c in a.candidates]
    assert orders == sorted(orders)
