"""Every sharing pattern against the matrix that it says it is."""

import math
from functools import partial

import pytest
import torch

from msr import kron
from msr.errors import ConfigError, ShapeError
from msr.sharing import DenseSharing, KroneckerSharing
from tests.support.cases import randomize

PATTERNS = {
    "dense-linear": partial(DenseSharing, (4, 5), 3),
    "dense-conv": partial(DenseSharing, (4, 2, 3, 3), 7),
    "kron-linear": partial(KroneckerSharing, (4, 5)),
    "kron-linear-small": partial(KroneckerSharing, (4, 5), (2, 3)),
    "kron-conv1d": partial(KroneckerSharing, (4, 3, 5), (2, 2, 3)),
    "kron-conv2d": partial(KroneckerSharing, (4, 2, 3, 3)),
    "kron-conv2d-small": partial(KroneckerSharing, (4, 2, 3, 3), (3, 1, 4)),
}


@pytest.fixture(params=PATTERNS.values(), ids=PATTERNS)
def pattern(request, gen):
    return randomize(request.param(dtype=torch.float64, generator=gen), gen)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
def test_materialize_is_the_matrix(pattern, lead, gen):
    v = torch.randn(*lead, *pattern.filter_shape, generator=gen, dtype=torch.float64)
    W = pattern.materialize(v)
    assert W.shape == (*lead, *pattern.weight_shape)
    dense = kron.vec(v, len(pattern.filter_shape)) @ pattern.matrix().mT
    torch.testing.assert_close(kron.vec(W, len(pattern.weight_shape)), dense)


def test_project_is_the_least_squares_fit(pattern, gen):
    W = torch.randn(2, *pattern.weight_shape, generator=gen, dtype=torch.float64)
    flat = kron.vec(W, len(pattern.weight_shape))
    dense = torch.linalg.lstsq(pattern.matrix(), flat.mT).solution.mT
    torch.testing.assert_close(kron.vec(pattern.project(W), len(pattern.filter_shape)), dense)


def test_project_undoes_materialize(pattern, gen):
    v = torch.randn(pattern.filter_shape, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(pattern.project(pattern.materialize(v)), v)
    assert pattern.residual(pattern.materialize(v)) < 1e-12


def test_residual_is_what_is_lost(pattern, gen):
    W = torch.randn(pattern.weight_shape, generator=gen, dtype=torch.float64)
    Q = torch.linalg.qr(pattern.matrix().detach())[0]
    lost = W.flatten() - Q @ (Q.mT @ W.flatten())
    assert pattern.residual(W) == pytest.approx(float(lost.norm() / W.norm()), abs=1e-12)


def test_counts_and_norm(pattern):
    U = pattern.matrix()
    assert (pattern.n_weight, pattern.n_filter) == tuple(U.shape)
    assert pattern.n_shared == sum(p.numel() for p in pattern.parameters())
    torch.testing.assert_close(pattern.squared_norm(), U.square().sum())
    assert f"n_filter={pattern.n_filter}" in repr(pattern)


@pytest.mark.parametrize(
    ("shape", "dense_k", "dense", "factored"),
    [
        # derived from the code that the authors of arXiv:2007.02933 released
        ((68, 70), 3, 14_280, 9_524),
        ((68, 70), 6, 28_560, 9_524),
        ((68, 70), 30, 142_800, 9_524),
        ((24, 1, 3, 3), 18, 3_888, 658),
        ((48, 1, 3, 3), 18, 7_776, 2_386),
        ((32, 32, 3, 3), 1, 9_216, 2_129),
    ],
)
def test_parameter_counts_of_the_paper(shape, dense_k, dense, factored):
    assert DenseSharing(shape, dense_k, device="meta").n_shared == dense
    assert KroneckerSharing(shape, device="meta").n_shared == factored


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("init", ["scaled", "reference"])
def test_initial_weights(name, init, gen):
    """Scaled patterns give torch's own weight variance 1 / (3 fan_in); the reference's dense one hardly any."""
    weights = []
    for _ in range(300):
        pattern = PATTERNS[name](init=init, dtype=torch.float64, generator=gen)
        weights.append(pattern.materialize(pattern.initial_filter(gen)))
    fan_in = math.prod(pattern.weight_shape[1:])
    variance = float(torch.stack(weights).detach().square().mean())
    if init == "reference" and "dense" in name:
        wanted = pattern.n_filter * (0.01 / pattern.weight_shape[0]) ** 2
    else:
        wanted = 1 / (3 * fan_in)
    assert variance == pytest.approx(wanted, rel=0.25)


def test_scaled_dense_columns_are_orthogonal(gen):
    U = DenseSharing((6, 5), 4, generator=gen, dtype=torch.float64).U
    torch.testing.assert_close(U.mT @ U, torch.eye(4, dtype=torch.float64) * 6 / 12)


def test_square_kronecker_starts_as_the_identity():
    W = torch.arange(24.0).reshape(2, 3, 4)
    torch.testing.assert_close(KroneckerSharing((2, 3, 4)).project(W).reshape(2, 3, 4), W)


def test_given_matrix_is_kept_and_may_be_frozen(gen):
    U = torch.randn(6, 2, generator=gen)
    learned, frozen = (DenseSharing.from_matrix(U, (2, 3), learn=learn) for learn in (True, False))
    assert [n for n, _ in learned.named_parameters()] == ["U"]
    assert not list(frozen.parameters())
    assert "U" in frozen.state_dict()
    torch.testing.assert_close(frozen.materialize(torch.tensor([1.0, 0])), U[:, 0].reshape(2, 3))
    U.zero_()
    assert learned.U.abs().sum() > 0  # a copy, not a view


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: DenseSharing((2, 3), 7), ShapeError, "between 1 and the 6 numbers.*came 7"),
        (lambda: DenseSharing((2, 3), 0), ShapeError, "came 0"),
        (lambda: DenseSharing((6,), 2), ShapeError, "at least two axes"),
        (lambda: DenseSharing((2, 3), 2, init="good"), ConfigError, "scaled, reference; got 'good'"),
        (lambda: DenseSharing.from_matrix(torch.ones(5, 2), (2, 3)), ShapeError, r"\(6, k\).*came \(5, 2\)"),
        (lambda: KroneckerSharing((2, 3), (3, 3)), ShapeError, r"came \(3, 3\)"),
        (lambda: KroneckerSharing((2, 3, 3, 3), (2, 3)), ShapeError, r"axes \(2, 3, 9\)"),
        (lambda: KroneckerSharing((2,)), ShapeError, "at least two axes"),
        (
            lambda: DenseSharing((2, 3), 2, device="meta").materialize(torch.ones(3)),
            ShapeError,
            r"\(2,\).*\(3,\)",
        ),
        (lambda: KroneckerSharing((2, 3)).project(torch.ones(3, 2)), ShapeError, r"\(2, 3\).*\(3, 2\)"),
    ],
)
def test_errors_say_what_came_and_what_fits(make, error, says):
    with pytest.raises(error, match=says):
        make()
