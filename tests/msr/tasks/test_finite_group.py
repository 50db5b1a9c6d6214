"""Equivariant families and their controls: is the truth what they say it is?"""

from dataclasses import replace
from math import sqrt

import pytest
import torch

from msr.equivariance import equivariance_error, interior, pattern_error, weight_error
from msr.errors import ConfigError, ShapeError
from msr.groups import alternating, cyclic, dihedral, quaternion, symmetric
from msr.representations import (
    equivariant_basis,
    from_matrices,
    grid_rotations,
    grid_shifts,
    natural,
    planar,
    regular,
    trivial,
)
from msr.span.angles import principal_cosines, span_cosine
from msr.tasks.controls import (
    SpanTasks,
    almost_symmetry,
    broken_symmetry,
    interior_symmetry,
    no_symmetry,
    wrong_symmetry,
)
from msr.tasks.finite_group import FiniteGroupTasks

D4 = dihedral(4)
FAMILIES = {
    "C8": (regular(cyclic(8)), regular(cyclic(8))),
    "S4 points": (natural(symmetric(4)), natural(symmetric(4))),
    "Q8": (regular(quaternion()), trivial(quaternion(), 2)),
    "D4 on a grid": (grid_rotations(4, flips=True), grid_rotations(4, flips=True)),
    "plane to regular": (planar(4, flips=True), regular(D4)),
}
FEW = torch.arange(6)


@pytest.mark.parametrize("pair", FAMILIES.values(), ids=FAMILIES)
def test_every_task_commutes_with_its_group(pair):
    family = FiniteGroupTasks(rep_in=pair[0], rep_out=pair[1], shots=2, queries=3)
    episodes = family.episodes("train", FEW)
    assert episodes.support_x.shape == (6, 2, *pair[0].shape)
    assert episodes.query_y.shape == (6, 3, *pair[1].shape)
    (weights,) = family.weights("train", FEW)
    for weight in weights:
        assert weight_error(weight, *pair).largest < 1e-6
    x, y = episodes.query_x.flatten(2), episodes.query_y.flatten(2)
    torch.testing.assert_close(y, x @ weights.mT, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pair", FAMILIES.values(), ids=FAMILIES)
def test_the_attached_truth_is_the_span_of_many_tasks(pair):
    family = FiniteGroupTasks(rep_in=pair[0], rep_out=pair[1])
    (weights,) = family.weights("train", torch.arange(200))
    truth = family.true_span()
    assert torch.linalg.matrix_rank(weights.flatten(1).double(), rtol=1e-4) == truth.shape[1]
    assert principal_cosines(weights.flatten(1).mT.double()[:, : truth.shape[1]], truth)[-1] > 1 - 1e-6
    torch.testing.assert_close(truth.mT @ truth, torch.eye(truth.shape[1], dtype=torch.float64))
    assert pattern_error(truth, *pair).largest < 1e-12
    assert family.truth.group == pair[0].group
    assert family.truth.representations == pair


@pytest.mark.parametrize("pair", FAMILIES.values(), ids=FAMILIES)
def test_outputs_have_a_mean_square_of_one(pair):
    family = FiniteGroupTasks(rep_in=pair[0], rep_out=pair[1], shots=1, queries=31)
    y = family.episodes("train", torch.arange(1000)).query_y
    assert abs(float(y.square().mean()) - 1) < 0.1


@pytest.mark.parametrize("sigma", ["relu", "tanh"])
def test_two_layers_are_equivariant_maps_with_a_nonlinearity_between(sigma):
    rep = regular(cyclic(5))
    family = FiniteGroupTasks(rep_in=rep, rep_out=rep, hidden=rep + rep, nonlinearity=sigma, queries=28)
    assert family.true_span() is None
    assert [span.shape for span in family.truth.spans] == [(50, 10), (50, 10)]
    W1, W2 = family.weights("test", FEW)
    active = torch.relu if sigma == "relu" else torch.tanh

    def f(x):
        return active(x @ W1[0].mT) @ W2[0].mT

    episodes = family.episodes("test", FEW)
    ratio = episodes.query_y[0] / f(episodes.query_x[0])
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-3, atol=1e-3)
    assert equivariance_error(f, episodes.query_x[0], rep, rep).largest < 1e-6
    y = family.episodes("train", torch.arange(500)).query_y
    assert abs(float(y.square().mean()) - 1) < 0.2


def test_noise_has_the_size_asked_for():
    rep = regular(cyclic(6))
    family = FiniteGroupTasks(rep_in=rep, rep_out=rep, noise=0.3, queries=60)
    tasks = torch.arange(50)
    episodes, (weights,) = family.episodes("train", tasks), family.weights("train", tasks)
    gap = episodes.query_y - episodes.query_x @ weights.mT
    assert abs(float(gap.std()) - 0.3) < 0.01


def test_a_task_is_a_function_of_seed_split_and_index():
    rep = regular(cyclic(6))
    family = FiniteGroupTasks(rep_in=rep, rep_out=rep, noise=0.1)
    both = torch.tensor([3, 5])
    one, other = family.episodes("train", both), family.episodes("train", both[1:])
    assert torch.equal(one.query_x[1], other.query_x[0])
    torch.testing.assert_close(one.query_y[1], other.query_y[0])  # products of other batch sizes round otherwise
    assert torch.equal(one.query_y, family.episodes("train", both).query_y)
    for different in (family.episodes("test", both), replace(family, seed=1).episodes("train", both)):
        assert not torch.equal(one.query_x, different.query_x)
    with pytest.raises(ConfigError, match="holds 8000 tasks"):
        family.episodes("train", torch.tensor([8000]))


def test_no_symmetry_is_a_span_as_large_with_no_group_in_it():
    rep = regular(cyclic(8))
    family = no_symmetry(rep, rep)
    assert family.true_span().shape == (64, 8)
    assert pattern_error(family.true_span(), rep, rep, "generators").largest > 0.9
    (weights,) = family.weights("train", torch.arange(30))
    assert span_cosine(weights.flatten(1).mT.double(), family.true_span()) > 1 - 1e-6
    assert no_symmetry(rep, rep, k=3).true_span().shape == (64, 3)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
def test_a_broken_symmetry_is_broken_by_exactly_that_much(epsilon):
    rep = regular(cyclic(8))
    family = broken_symmetry(rep, rep, epsilon)
    U = FiniteGroupTasks(rep_in=rep, rep_out=rep).true_span()
    (weights,) = family.weights("train", FEW)
    for weight in weights.flatten(1).double():
        away = weight - U @ (U.mT @ weight)
        assert float(away.norm() / weight.norm()) == pytest.approx(epsilon, abs=1e-6)
    cosines = principal_cosines(family.true_span(), U)
    torch.testing.assert_close(cosines, torch.full_like(cosines, sqrt(1 - epsilon**2)))
    assert pattern_error(family.true_span(), rep, rep).largest <= sqrt(2) * epsilon + 1e-12
    if epsilon:
        assert pattern_error(family.true_span(), rep, rep).largest > 0.5 * epsilon


def test_the_wrong_symmetry_is_the_same_group_elsewhere():
    rep = regular(cyclic(8))
    family = wrong_symmetry(rep, rep)
    assert family.group == rep.group
    assert pattern_error(family.true_span(), family.rep_in, family.rep_out).largest < 1e-12
    assert pattern_error(family.true_span(), rep, rep, "generators").largest > 0.5
    with pytest.raises(ConfigError, match="none is wrong"):
        wrong_symmetry(trivial(cyclic(2), 3), trivial(cyclic(2), 3))
    with pytest.raises(ConfigError, match="needs permutation"):
        wrong_symmetry(planar(8), planar(8))


def test_interior_symmetry_holds_inside_and_nowhere_else():
    family = interior_symmetry(10, 3)
    shifts = grid_shifts(10)
    (weights,) = family.weights("train", FEW)
    everywhere = weight_error(weights[0], shifts, shifts, [1, 2])
    inside = weight_error(weights[0], shifts, shifts, [1, 2], mask=family.interior)
    assert everywhere.largest > 0.1
    assert inside.largest < 1e-6
    assert torch.equal(family.interior, interior((10,), 1))
    x = family.episodes("train", FEW).query_x[0]
    kernel = weights[0, 5, 4:7]
    expected = torch.nn.functional.conv1d(x[:, None], kernel[None, None], padding=1)[:, 0]
    torch.testing.assert_close(family.episodes("train", FEW).query_y[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.15, 1.0])
def test_an_almost_larger_symmetry_is_exactly_the_smaller_one(share):
    small, large = regular(cyclic(8)), natural(dihedral(8))
    family = almost_symmetry((small, small), (large, large), share)
    (W,) = family.weights("train", torch.arange(2000))
    flat = W.double().flatten(1)
    U, L = (equivariant_basis(rep, rep).orthonormal() for rep in (small, large))
    torch.testing.assert_close(flat @ U @ U.mT, flat, atol=1e-6, rtol=0)
    assert float(flat.square().sum(1).mean()) == pytest.approx(8, rel=0.06)
    beyond = flat - flat @ L @ L.mT
    assert float(beyond.square().sum(1).mean()) / 8 == pytest.approx(share**2, rel=0.1, abs=1e-12)
    assert span_cosine(family.true_span(), U) == pytest.approx(1)


def test_alternating_and_symmetric_groups_make_the_same_tasks():
    """A linear layer sees pair orbits only, so the two groups cannot be told apart by it."""
    a, s = natural(alternating(4)), natural(symmetric(4))
    one, other = (FiniteGroupTasks(rep_in=rep, rep_out=rep).episodes("train", FEW) for rep in (a, s))
    assert torch.equal(one.query_y, other.query_y)


def test_bad_input_is_named():
    rep, plane = regular(cyclic(4)), planar(4)
    with pytest.raises(ConfigError, match="relu acts on each number alone"):
        FiniteGroupTasks(rep_in=rep, rep_out=rep, hidden=planar(8).restrict(cyclic(8).subgroup([2])))
    with pytest.raises(ConfigError, match="only the zero map"):
        FiniteGroupTasks(rep_in=from_matrices(cyclic(4), {"r": [[-1.0]]}), rep_out=trivial(cyclic(4)))
    with pytest.raises(ConfigError, match="different groups"):
        FiniteGroupTasks(rep_in=rep, rep_out=regular(cyclic(5)))
    with pytest.raises(ConfigError, match="relu or tanh"):
        FiniteGroupTasks(rep_in=rep, rep_out=rep, hidden=rep, nonlinearity="gelu")
    for bad in ({"shots": 0}, {"noise": -1.0}, {"noise": float("nan")}, {"n_train": 0}):
        with pytest.raises(ConfigError, match=next(iter(bad)) if "n_train" not in bad else "at least one train task"):
            FiniteGroupTasks(rep_in=rep, rep_out=rep, **bad)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        broken_symmetry(rep, rep, 1.5)
    with pytest.raises(ConfigError, match="no room"):
        broken_symmetry(trivial(cyclic(2), 2), trivial(cyclic(2), 2), 0.1)
    eight = regular(cyclic(8)), natural(dihedral(8))
    for pair, larger, share, says in (
        ((eight[0],) * 2, (eight[1],) * 2, 1.5, "between 0 and 1"),
        ((eight[0],) * 2, (eight[0],) * 2, 0.1, "some, not all"),
        ((eight[1],) * 2, (eight[0],) * 2, 0.1, "some, not all"),
        ((rep,) * 2, (eight[0],) * 2, 0.1, "some, not all"),
    ):
        with pytest.raises(ConfigError, match=says):
            almost_symmetry(pair, larger, share)
    with pytest.raises(ShapeError, match=r"sizes must be \(1,\), squares of sum 1"):
        SpanTasks(span=torch.eye(4)[:, :1], in_shape=(2,), out_shape=(2,), sizes=torch.ones(2))
    with pytest.raises(ShapeError, match="sum 1"):
        SpanTasks(span=torch.eye(4)[:, :1], in_shape=(2,), out_shape=(2,), sizes=torch.full((1,), 0.5))
    with pytest.raises(ConfigError, match="must be odd"):
        interior_symmetry(10, 4)
    with pytest.raises(ConfigError, match="k must be between"):
        no_symmetry(rep, rep, k=17)
    with pytest.raises(ShapeError, match="orthonormal"):
        SpanTasks(span=torch.ones(8, 2), in_shape=(4,), out_shape=(2,))
    with pytest.raises(ShapeError, match=r"must be \(8, k\)"):
        SpanTasks(span=torch.ones(9, 1), in_shape=(4,), out_shape=(2,))
    FiniteGroupTasks(rep_in=plane, rep_out=rep, hidden=plane, nonlinearity="tanh")  # 90° turns are signed permutations
