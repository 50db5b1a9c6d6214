"""Feature groups: the menu, the flow itself as a judge, networks as functions, and the raw flow."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import ConfigError, NonFiniteError, PrecisionError, ShapeError
from msr.flow import AttentionFlow, Mlp, uniform_on_sphere
from msr.flow.symmetries.feature_groups import FeatureGroup, feature_group, signed_permutations
from msr.flow.symmetries.relu_maps import bends_of, commutes
from tests.msr.flow.menu import EYE, FEATURES, TURN, by_difference, generic


def flow_of(d, B=None, V=None, mlp=None, **options):
    return AttentionFlow(d, 1.5, Q=None if B is None else torch.as_tensor(B).mT, V=V, mlp=mlp, **options)


@pytest.mark.parametrize("name", FEATURES)
def test_the_menu(name):
    arguments, dim, order = FEATURES[name]
    found = feature_group(**arguments)
    assert (found.dim, found.order) == (dim, order)
    assert found.gap > 0.1
    if name in ("C3", "S3", "trivial"):
        assert found.name.name == name
    gram = torch.einsum("aij,bij->ab", found.algebra, found.algebra)
    torch.testing.assert_close(gram, torch.eye(dim, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", FEATURES)
def test_the_flow_has_that_group_and_no_more(name):
    arguments, _, order = FEATURES[name]
    found = feature_group(**arguments)
    flow = flow_of(**arguments)
    d = arguments["d"]
    X = uniform_on_sphere(5, d, 2, generator=torch.Generator().manual_seed(0))
    reached = flow.flow(X, 1.0, 3)
    matrices = signed_permutations(d)
    # Each signed permutation is one more element of the batch.
    inputs = X @ matrices.mT[:, None]
    moved = flow.flow(inputs.reshape(-1, 5, d), 1.0, 3).reshape(inputs.shape)
    errors = (moved - reached @ matrices.mT[:, None]).flatten(1).norm(dim=1) / reached.norm()
    true = errors < 1e-9
    assert int(true.sum()) == order
    if order < len(matrices):
        assert float(errors[~true].min()) > 1e-3
    assert {tuple(R.flatten().tolist()) for R in matrices[true]} == {tuple(R.flatten().tolist()) for R in found.signed}
    for A in found.algebra:
        R = torch.linalg.matrix_exp(0.7 * A)
        assert float((flow.flow(X @ R.mT, 1.0, 3) - reached @ R.mT).norm()) < 1e-12


def test_several_heads_and_no_scores():
    V = np.stack([np.diag([1.0, 1, 2]), np.diag([3.0, 1, 1])])
    assert feature_group(3, V=V).order == 8
    assert feature_group(3, V=V[0]).dim == 1
    B = generic(3)
    assert feature_group(3, B).dim == 0
    # A matrix that is not symmetric: A B = B A brings A Bᵀ = Bᵀ A.
    assert feature_group(3, by_difference([1.0, 2.0, 4.0])).dim == 1
    assert feature_group(1).order == 2
    assert feature_group(1).dim == 0
    assert feature_group(8).signed is None
    assert feature_group(8).order is feature_group(8).name is None
    assert feature_group(8).dim == 28


def test_names():
    assert feature_group(3).name.name == "C2 wr S3"
    assert feature_group(2, V=EYE(2) + 0.5 * TURN).name.name == "C4"


def test_the_raw_flow_has_boosts():
    """Without a sphere ``Rᵀ B R = B`` is enough: SO(2, 1) for B = diag(1, 1, −1)."""
    B = np.diag([1.0, 1, -1])
    found = feature_group(3, B, sphere=False)
    assert found.dim == 3
    assert feature_group(3, B).dim == 1
    assert feature_group(3, sphere=False).dim == 3
    flow = flow_of(3, B, norm="none")
    X = 0.5 * torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reached = flow.flow(X, 0.5, 10)
    for A in found.algebra:
        R = torch.linalg.matrix_exp(0.7 * A)
        assert float((flow.flow(X @ R.mT, 0.5, 10) - reached @ R.mT).norm() / reached.norm()) < 1e-12
    # A network with hyperplanes that a boost would move.
    assert feature_group(3, B, mlp=Mlp(EYE(3), EYE(3)), sphere=False).dim == 0
    assert feature_group(3, np.zeros((3, 3)), mlp=Mlp(EYE(3), EYE(3)), sphere=False).dim == 3


def test_more_than_signed_permutations_see():
    """``W1`` orthogonal and ``W2`` its transpose: ``O^T S_d O``; a scan sees what of it is signed."""
    Q = np.linalg.qr(generic(3))[0]
    found = feature_group(3, mlp=Mlp(Q, Q.T))
    assert found.order == 1
    bends = bends_of(Q, Q.T, np.zeros(3), on_sphere=True)
    for R in signed_permutations(3).numpy():
        inside = commutes(bends, Q.T @ R @ Q)
        assert inside is bool((R >= 0).all())
    W = by_difference([1.0, 0.5, -0.3])
    assert feature_group(3, mlp=Mlp(W, W.T)).order == 3


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans(), st.booleans())
def test_networks_commute_as_functions(seed, width, biased, doubled):
    """Against values at random points of the sphere; weights from few numbers, so that there is something to find."""
    rng = np.random.default_rng(seed)
    W1, W2 = rng.integers(-1, 2, size=(width, 2)) * 1.0, rng.integers(-1, 2, size=(2, width)) * 1.0
    b = rng.integers(-2, 3, size=width) * 0.6 if biased else np.zeros(width)
    if doubled:
        # The same function by more units: one cut in two, and one that bends both ways and so is linear.
        W1, b, W2 = np.concatenate([W1, 3 * W1]), np.concatenate([b, 3 * b]), np.concatenate([0.4 * W2, 0.2 * W2], 1)
    points = np.concatenate([rng.normal(size=(400, 2)), EYE(2), -EYE(2)])
    points /= np.linalg.norm(points, axis=1, keepdims=True)

    def f(x):
        return np.maximum(x @ W1.T + b, 0) @ W2.T

    bends = bends_of(W1, W2, b, on_sphere=True)
    for R in signed_permutations(2).numpy():
        equal = np.abs(f(points @ R.T) - f(points) @ R.T).max() < 1e-9
        assert commutes(bends, R) is bool(equal)


def test_bends_are_the_network():
    W1, W2, b = generic(6, 3), generic(3, 6, seed=1), generic(6, 1, seed=2)[:, 0]
    W1[4] = -2 * W1[0]
    b[4] = -2 * b[0]
    W1[5] = 0
    bends = bends_of(W1, W2, b, on_sphere=False)
    assert len(bends.planes) == 4
    x = generic(50, 3, seed=3)
    ones = np.ones((50, 1))
    value = x @ bends.linear.T + bends.constant
    value += np.abs(np.concatenate([x, ones], 1) @ bends.planes.T) @ bends.coefficients
    np.testing.assert_allclose(value, np.maximum(x @ W1.T + b, 0) @ W2.T, atol=1e-12)
    # On the sphere the units that cannot bend are affine, or nothing.
    far = bends_of(generic(2, 3), W2[:, :2], np.array([10.0, -10.0]), on_sphere=True)
    assert len(far.planes) == 0
    assert np.linalg.matrix_rank(far.linear) == 1


def test_a_doubtful_matrix_is_refused():
    with pytest.raises(PrecisionError, match="singular value"):
        feature_group(3, np.diag([1.0, 1.0 + 2e-9, 2.0]))
    assert feature_group(3, np.diag([1.0, 1.0 + 1e-14, 2.0])).dim == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: feature_group(0), ConfigError),
        (lambda: feature_group(2.0), ConfigError),
        (lambda: feature_group(3, EYE(2)), ShapeError),
        (lambda: feature_group(3, V=np.zeros((2, 3, 2))), ShapeError),
        (lambda: feature_group(2, [[1.0, math.nan], [0.0, 1.0]]), NonFiniteError),
        (lambda: feature_group(3, mlp=Mlp(EYE(2), EYE(2))), ShapeError),
        (lambda: signed_permutations(7), ConfigError),
        (lambda: FeatureGroup(torch.zeros(2, 3, 3), 1.0, torch.zeros(2, 2, 2)), ShapeError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


def test_matrices_of_single_precision_are_taken_as_they_are():
    turn = torch.linalg.qr(torch.as_tensor(generic(3, seed=2)))[0].float()
    B = turn @ torch.diag(torch.tensor([1.0, 1.0, 2.0])) @ turn.mT
    assert feature_group(3, B).dim == 1
    assert feature_group(3, torch.diag(torch.tensor([1.0, 1.5, 2.0]))).dim == 0


def test_a_network_is_the_same_function_whatever_the_scales_of_its_layers():
    for W, order in ((EYE(3), 6), (generic(3, seed=3), 1)):
        W = torch.as_tensor(W, dtype=torch.float64)
        for scale in (1.0, 1e-10, 1e10):
            mlp = Mlp(scale * W, torch.eye(3, dtype=torch.float64) / scale)
            assert feature_group(3, mlp=mlp).order == order
    # One unit of other scales beside usual ones.
    W1 = torch.cat([torch.eye(3), 1e-10 * torch.tensor([[1.0, 2.0, 4.0]])]).double()
    W2 = torch.cat([torch.eye(3), 1e10 * torch.tensor([[1.0], [2.0], [4.0]])], 1).double()
    usual = Mlp(W1 * torch.tensor([1, 1, 1, 1e10])[:, None], W2 * torch.tensor([1, 1, 1, 1e-10]))
    assert feature_group(3, mlp=Mlp(W1, W2)).order == feature_group(3, mlp=usual).order == 1
