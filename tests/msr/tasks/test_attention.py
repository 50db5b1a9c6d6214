"""Attention tasks: the data against the flow task by task, hidden groups that are the true ones, and the surrogate."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.discovery import discover
from msr.errors import AxiomError, ConfigError, NonFiniteError, ShapeError
from msr.flow import AttentionFlow, uniform_on_sphere
from msr.flow.symmetries.token_groups import token_group
from msr.groups import alternating, cyclic, dihedral, direct_product, frobenius, symmetric, wreath_product
from msr.span.angles import principal_cosines
from msr.tasks import AttentionTasks, HiddenFeatures, attention_controls, hidden_features, token_scores
from msr.tasks.token_orbitals import hidden_tokens

S3xS3 = direct_product(symmetric(3), symmetric(3))
S3wrC2 = wreath_product(symmetric(3), cyclic(2))
TRIVIAL = [range(6)]
# The menu: a group on 6 tokens, its order, its orbitals, and the dimension of the surrogate's span.
TOKENS = {
    "C6": (cyclic(6), 6, 6, 6),
    "D6": (dihedral(6), 12, 4, 4),
    "S6": (symmetric(6), 720, 2, 2),
    "S3xS3": (S3xS3, 36, 6, 5),
    "S3wrC2": (S3wrC2, 72, 3, 3),
    "trivial": (TRIVIAL, 1, 36, 31),
}
FEATURES = [
    ("O(d)", 3, 3, 48),
    ("O(3)", 3, 3, 48),
    ("O(2)xO(1)", 3, 1, 16),
    ("signs", 3, 0, 8),
    ("C3", 3, 0, 3),
    ("S3", 3, 0, 6),
    ("trivial", 3, 0, 1),
    ("SO(2)", 2, 1, 4),
    ("U(2)", 4, 4, 32),
    ("O(2)xO(2)", 4, 2, 64),
    ("signs", 4, 0, 16),
]
FEW = torch.arange(3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --- data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("feature", "d"), [(name, d) for name, d, *_ in FEATURES if name != "O(3)"])
def test_labels_are_those_of_the_flow_task_by_task(feature, d):
    family = AttentionTasks(group=cyclic(4), feature=feature, d=d, shots=2, queries=3)
    x, y = family.episodes("train", FEW).examples()
    assert x.shape == y.shape == (3, 5, 4, d)
    assert x.dtype == torch.get_default_dtype()
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(3, 5, 4))
    for index in FEW.tolist():
        flow, T = family.flow("train", index)
        assert isinstance(flow, AttentionFlow)
        torch.testing.assert_close(flow.flow(x[index], T, 20).float(), y[index], atol=1e-6, rtol=0)
    assert float((x - y).abs().max()) > 0.1


def test_many_examples_come_in_chunks_and_numbers_are_as_the_sheet_says(monkeypatch):
    family = AttentionTasks(group=cyclic(4), d=2, shots=2, queries=5)
    whole = family.episodes("test", FEW).query_y
    monkeypatch.setattr("msr.tasks.attention_maps._AT_ONCE", 16 * 4)
    torch.testing.assert_close(family.episodes("test", FEW).query_y, whole)
    numbers = family.numbers("train", torch.arange(400))
    for values, low, high in ((numbers.beta, 0.5, 4), (numbers.v, 0.5, 1.5), (numbers.T, 0.5, 2)):
        assert low < float(values.min()) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < float(values.max()) < high
    entries = numbers.bias[:, 0]  # of the cyclic group, a row holds each orbital once
    assert entries.shape == (400, 4)
    assert abs(float(entries.mean())) < 0.1
    assert abs(float(entries.std()) - 1) < 0.1


def test_a_task_is_a_function_of_seed_split_and_index():
    family = AttentionTasks(group=dihedral(4), d=2, noise=0.1)
    both = torch.tensor([3, 5])
    one, other = family.episodes("train", both), family.episodes("train", both[1:])
    assert torch.equal(one.query_x[1], other.query_x[0])
    torch.testing.assert_close(one.query_y[1], other.query_y[0])
    assert torch.equal(one.query_y, family.episodes("train", both).query_y)
    for different in (family.episodes("test", both), replace(family, seed=1).episodes("train", both)):
        assert not torch.equal(one.query_x, different.query_x)
    assert torch.equal(one.query_x, replace(family, noise=0.0).episodes("train", both).query_x)
    with pytest.raises(ConfigError, match="holds 8000 tasks"):
        family.episodes("train", torch.tensor([8000]))
    assert replace(family, n_train=None).n_tasks("train") is None


@pytest.mark.parametrize("linear", [False, True])
def test_noise_is_a_share_of_the_outputs(linear):
    quiet = AttentionTasks(group=cyclic(4), d=2, queries=300, linear=linear)
    loud = replace(quiet, noise=0.3)
    plain = quiet.episodes("train", FEW).query_y
    off = loud.episodes("train", FEW).query_y - plain
    share = off.square().mean((1, 2, 3)).sqrt() / plain.square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(share, torch.full((3,), 0.3), atol=0.04, rtol=0)


def test_sizes_and_layouts():
    tiny = AttentionTasks.of_size("tiny")
    assert (tiny.n, tiny.d, tiny.shots + tiny.queries) == (4, 2, 256)
    small = AttentionTasks.of_size("small", dihedral(6))
    assert (small.n, small.d, small.shots, small.queries, small.n_train) == (6, 3, 2048, 512, 16)
    medium = AttentionTasks.of_size("medium", seed=3)
    assert (medium.n, medium.d, medium.shots + medium.queries, medium.seed) == (8, 3, 4096, 3)
    family = AttentionTasks(group=cyclic(4), d=2, shots=2, queries=3)
    x = family.episodes("train", FEW).support_x
    flat = replace(family, layout="flat")
    assert flat.shape_in == flat.shape_out == (8,)
    assert torch.equal(flat.episodes("train", FEW).support_x, x.flatten(2))
    surrogate = replace(family, linear=True)
    columns = replace(surrogate, layout="columns")
    x = surrogate.episodes("train", FEW).support_x
    moved = columns.episodes("train", FEW)
    assert moved.support_x.shape == (3, 4, 4)
    assert moved.query_y.shape == (3, 6, 4)
    assert torch.equal(moved.support_x[:, 0], x[:, 0, :, 0])
    assert torch.equal(moved.support_x[:, 3], x[:, 1, :, 1])


# --- hidden groups ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "order", "orbitals", "_"), TOKENS.values(), ids=TOKENS)
def test_the_token_group_of_each_bias_is_the_hidden_one(group, order, orbitals, _):
    family = AttentionTasks(group=group)
    truth = family.truth
    assert truth.group.order == truth.unbroken.order == order
    assert truth.dim == orbitals
    assert truth.span is None
    moves = truth.group.generator_points.tolist()
    for bias in family.numbers("train", FEW).bias:
        found = token_group(bias)
        assert found.group.order == order
        for p in moves:
            torch.testing.assert_close(bias[p][:, p], bias)
    # Of all permutations, as many keep the orbitals as the group has.
    every = np.array(list(itertools.permutations(range(6))))
    assert family.tokens.holds(every).sum() == order


@pytest.mark.parametrize(("name", "d", "dim", "order"), FEATURES)
def test_the_feature_group_is_the_one_of_the_name(name, d, dim, order):
    features = hidden_features(name, d)
    assert (features.group.dim, features.group.order) == (dim, order)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), feature=st.sampled_from(["O(d)", "O(2)xO(1)", "signs", "C3", "S3"]))
def test_labels_commute_with_both_hidden_groups(seed, feature):
    family = AttentionTasks(group=cyclic(5), feature=feature, seed=seed)
    flow, T = family.flow("test", seed % 2000)
    X = uniform_on_sphere(5, 3, 2, generator=seeded(seed))
    Y = flow.flow(X, T, 6)
    p = family.truth.group.generator_points[0].tolist()
    torch.testing.assert_close(flow.flow(X[:, p], T, 6), Y[:, p], atol=1e-12, rtol=0)
    for R in family.features.group.signed[1:4]:
        torch.testing.assert_close(flow.flow(X @ R.mT, T, 6), Y @ R.mT, atol=1e-12, rtol=0)
    for A in family.features.group.algebra:
        R = torch.linalg.matrix_exp(A)
        torch.testing.assert_close(flow.flow(X @ R.mT, T, 6), Y @ R.mT, atol=1e-12, rtol=0)


def test_groups_that_tables_of_pairs_do_not_show_are_refused():
    for group, closure in ((alternating(4), 24), (frobenius(5, 4), 120)):
        with pytest.raises(ConfigError, match=f"not 2-closed.* order {closure}"):
            AttentionTasks(group=group)
    assert AttentionTasks(group=frobenius(7, 3)).truth.group.order == 21  # is 2-closed
    # One diagonal turn of two triangles is, too, and intransitive.
    assert AttentionTasks(group=[[1, 2, 0, 4, 5, 3]]).truth.group.order == 3


def test_controls():
    controls = attention_controls("tiny", seed=2)
    orders = {name: family.truth.group.order for name, family in controls.items()}
    assert orders == {"trivial": 1, "symmetric": 24, "distractor": 1}
    assert controls["distractor"].truth.unbroken.order == 8
    small = attention_controls("small")["distractor"]
    assert small.truth.group.order == 1
    bias = small.numbers("train", FEW).bias
    whole = replace(small, breaking=0.0).numbers("train", FEW).bias
    assert float((bias - whole)[:, 0, 1].sub(0.01).abs().max()) < 1e-12
    assert int((bias != whole).sum()) == 3
    assert [token_group(M).order for M in bias] == [1, 1, 1]
    # A pair that a mirror keeps leaves that mirror.
    for entry in ((2, 2), (0, 3)):
        broken = replace(small, broken_entry=entry)
        assert broken.truth.group.order == 2
        assert [token_group(M).order for M in broken.numbers("train", FEW).bias] == [2, 2, 2]
    with pytest.raises(ConfigError, match="size must be"):
        attention_controls("huge")


# --- scores of a map --------------------------------------------------------------------------------------------


def test_scores_of_exact_flows_and_of_a_distractor():
    X = uniform_on_sphere(5, 3, 8, generator=seeded())
    for group, order in ((cyclic(5), 5), (dihedral(5), 10), ([[1, 2, 0, 3, 4], [0, 1, 2, 4, 3]], 6)):
        flow, T = AttentionTasks(group=group).flow("train", 1)
        scores = token_scores(lambda X, flow=flow, T=T: flow.flow(X, T, 10), X, group)
        assert len(scores.permutations) == 120
        assert scores.true.sum() == order
        assert (scores.precision, scores.recall) == (1.0, 1.0)
        assert scores.largest_true < 1e-13
        assert scores.smallest_false > 1e-3
    broken = AttentionTasks(group=dihedral(5), breaking=0.01)
    flow, T = broken.flow("train", 1)
    scores = token_scores(lambda X: flow.flow(X, T, 10), X, dihedral(5))
    assert (scores.precision, scores.recall) == (1.0, 0.1)
    assert 1e-5 < scores.largest_true < 5e-3
    assert token_scores(lambda X: flow.flow(X, T, 10), X, dihedral(5), tol=5e-3).recall == 1.0


def test_scores_of_a_map_that_respects_too_much_and_of_one_that_respects_nothing():
    X = uniform_on_sphere(4, 2, 8, generator=seeded())
    scores = token_scores(lambda X: X.tanh(), X, cyclic(4))
    assert (scores.precision, scores.recall) == (4 / 24, 1.0)
    ramp = torch.arange(4.0).double()[:, None]
    scores = token_scores(lambda X: X + ramp, X, cyclic(4))
    assert (scores.precision, scores.recall) == (1.0, 0.25)
    scores = token_scores(lambda X: X.tanh(), X, symmetric(4))
    assert scores.smallest_false == float("inf")


def test_scores_refuse():
    X = uniform_on_sphere(4, 2, 8, generator=seeded())
    run = partial(token_scores, X=X, group=cyclic(4))
    for f, change, error, sentence in (
        (torch.tanh, {"X": X[0]}, ShapeError, "X must be"),
        (torch.tanh, {"group": cyclic(5)}, ShapeError, "X must be"),
        (torch.tanh, {"group": alternating(4)}, ConfigError, "not 2-closed"),
        (torch.tanh, {"tol": 0.0}, ConfigError, "above 0"),
        (lambda X: X[:, :2], {}, ShapeError, "shape of its tokens"),
        (lambda X: X / 0, {}, NonFiniteError, "nan or infinity"),
        (lambda X: 0 * X, {}, NonFiniteError, "is 0 at all"),
    ):
        with pytest.raises(error, match=sentence):
            run(f, **change)
    with pytest.raises(ConfigError, match="at most 7 tokens"):
        token_scores(torch.tanh, uniform_on_sphere(8, 2, 1, generator=seeded()), cyclic(8))


# --- the linear surrogate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "_", "orbitals", "dim"), TOKENS.values(), ids=TOKENS)
def test_the_span_of_the_surrogate_is_exact(group, _, orbitals, dim):
    family = AttentionTasks(group=group, linear=True, layout="columns")
    U = family.true_span()
    assert U.shape == (36, dim)
    (W,) = family.weights("train", torch.arange(150))
    flat = W.flatten(1)
    assert int(torch.linalg.matrix_rank(flat, rtol=1e-9)) == dim
    torch.testing.assert_close(flat @ U @ U.mT, flat)
    # Entries are constant on orbitals, and take as many values.
    labels = family.truth.orbitals.flatten()
    assert family.truth.dim == orbitals
    values = torch.stack([flat[:, labels == k][:, 0] for k in range(orbitals)], 1)
    torch.testing.assert_close(values[:, labels], flat)
    assert len(torch.unique((flat[0] * 1e9).round())) == orbitals


@pytest.mark.parametrize(("feature", "d", "dim"), [("O(d)", 2, 4), ("SO(2)", 2, 8), ("U(2)", 4, 8)])
def test_the_surrogate_is_expm_and_its_data_are_its_weights(feature, d, dim):
    family = AttentionTasks(group=cyclic(4), d=d, feature=feature, linear=True, layout="flat", queries=3)
    numbers = family.numbers("train", FEW)
    (W,) = family.weights("train", FEW)
    V = torch.eye(d, dtype=torch.float64) if family.features.V is None else family.features.V
    for t in FEW.tolist():
        A = torch.softmax(numbers.bias[t], -1)
        wanted = torch.matrix_exp(numbers.T[t] * torch.kron(A, numbers.v[t] * V))
        torch.testing.assert_close(W[t], wanted)
        P = torch.eye(4, dtype=torch.float64)[family.truth.group.generator_points[0].tolist()]
        moves = torch.kron(P, torch.eye(d, dtype=torch.float64))
        assert float((W[t] @ moves - moves @ W[t]).abs().max()) < 1e-13
    x, y = family.episodes("train", FEW).examples()
    torch.testing.assert_close(y, (x.double() @ W.mT).float(), rtol=1e-5, atol=1e-5)
    U = family.true_span()
    (many,) = family.weights("train", torch.arange(60))
    assert U.shape[1] == dim
    assert float(principal_cosines(many.flatten(1).mT, U)[dim - 1]) > 1 - 1e-9
    tokens = replace(family, layout="tokens")
    assert torch.equal(tokens.episodes("train", FEW).query_y.flatten(2), family.episodes("train", FEW).query_y)


@pytest.mark.parametrize(("group", "name", "order"), [(cyclic(6), "C6", 6), (dihedral(6), "D6", 12)])
def test_discovery_names_the_token_group_of_the_surrogate(group, name, order):
    family = AttentionTasks(group=group, d=2, linear=True, layout="columns", shots=2, queries=8, noise=0.02)
    x, y = family.episodes("train", torch.arange(240)).examples()
    found = discover(x, y)
    assert found.verdict == "found"
    assert found.group.order == order
    assert name in str(found)


def test_discovery_names_no_group_of_the_trivial_surrogate():
    family = AttentionTasks(group=[range(4)], d=2, linear=True, layout="columns", shots=2, queries=8)
    x, y = family.episodes("train", torch.arange(160)).examples()
    assert discover(x, y).verdict != "found"


# --- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"feature": "E8"}, ConfigError, "feature group must be one of"),
        ({"feature": "SO(2)"}, ConfigError, "tokens of 2 numbers"),
        ({"feature": "C4"}, ConfigError, "tokens of 4 numbers"),
        ({"feature": "O(7)"}, ConfigError, "tokens of 7 numbers"),
        ({"feature": "C2", "d": 2}, ConfigError, "at least 3"),
        ({"feature": 3}, ConfigError, "a name or HiddenFeatures"),
        ({"feature": HiddenFeatures("mine", 2)}, ShapeError, "tokens of 2 numbers, and d is 3"),
        ({"d": 0}, ConfigError, "d must be"),
        ({"group": [[0, 0, 1]]}, AxiomError, "permutation"),
        ({"breaking": float("nan")}, NonFiniteError, "breaking must be finite"),
        ({"breaking": "much"}, ConfigError, "breaking must be a real number"),
        ({"breaking": 0.1, "broken_entry": (0,)}, ConfigError, "a pair of tokens"),
        ({"breaking": 0.1, "broken_entry": (0.0, 1.0)}, ConfigError, "a pair of tokens"),
        ({"breaking": 0.1, "broken_entry": None}, ConfigError, "a pair of tokens"),
        ({"d": 1}, ConfigError, "cannot move"),
        ({"group": None}, ConfigError, "a group with points"),
        ({"group": "C6"}, ConfigError, "a group with points"),
        ({"noise": "much"}, ConfigError, "noise must be a real number"),
        ({"steps": 2.5}, ConfigError, "steps must be"),
        ({"breaking": 0.1, "broken_entry": (0, 9)}, ConfigError, "a pair of tokens"),
        ({"breaking": 0.1, "group": TRIVIAL}, ConfigError, "breaks nothing"),
        ({"linear": True, "feature": "signs"}, ConfigError, "linear surrogate has neither"),
        ({"linear": True, "feature": "C3"}, ConfigError, "linear surrogate has neither"),
        ({"layout": "rows"}, ConfigError, "layout must be"),
        ({"layout": "columns"}, ConfigError, "layout='columns'"),
        ({"layout": "columns", "linear": True, "feature": "SO(2)", "d": 2}, ConfigError, "layout='columns'"),
        ({"noise": -1.0}, ConfigError, "noise must not be negative"),
        ({"shots": 0}, ConfigError, "shots must be"),
        ({"steps": 0}, ConfigError, "steps must be"),
        ({"n_test": 0}, ConfigError, "at least one test task"),
    ],
)
def test_families_that_cannot_be(change, error, sentence):
    with pytest.raises(error, match=sentence):
        AttentionTasks(**{"group": cyclic(6), **change})


def test_what_one_kind_of_task_has_and_the_other_has_not():
    family = AttentionTasks(group=cyclic(4), d=2)
    with pytest.raises(ConfigError, match="has no weights"):
        family.weights("train", FEW)
    with pytest.raises(ConfigError, match="is no flow"):
        replace(family, linear=True).flow("train", 0)
    with pytest.raises(ConfigError, match="size must be"):
        AttentionTasks.of_size("huge")
    with pytest.raises(ShapeError, match="the group moves 5"):
        AttentionTasks.of_size("tiny", cyclic(5))
    assert replace(family, linear=True, breaking=0.1).true_span() is None
    own = HiddenFeatures("mine", 2, V=[[1.0, 0.5], [0.0, 1.0]])
    assert AttentionTasks(group=cyclic(4), d=2, feature=own).truth.features is own
    with pytest.raises(ShapeError, match="B must be"):
        HiddenFeatures("mine", 2, B=torch.eye(3))
    with pytest.raises(ConfigError, match="does not keep"):
        replace(hidden_tokens(cyclic(4)), labels=np.arange(16).reshape(4, 4))
