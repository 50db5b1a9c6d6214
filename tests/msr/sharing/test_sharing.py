"""Every sharing pattern against the matrix that it says it is."""

import copy
import math
from functools import partial

import pytest
import torch

from msr import kron
from msr.errors import ConfigError, ModelError, ShapeError
from msr.layers import ReparamConv1d, ReparamConv2d, ReparamConvTranspose2d, ReparamLinear
from msr.sharing import DenseSharing, KroneckerSharing, Sharing
from tests.support.cases import randomize
from tests.support.patterns import LEARNED, PATTERNS, RowSharing


@pytest.fixture(params=PATTERNS.values(), ids=PATTERNS)
def pattern(request, gen):
    return randomize(request.param(dtype=torch.float64, generator=gen), gen)


def kinds_below(kind):
    return {kind, *(below for child in kind.__subclasses__() for below in kinds_below(child))}


def test_every_kind_of_pattern_is_in_the_list_that_the_laws_run_over():
    listed = {type(make(dtype=torch.float64, generator=torch.Generator())) for make in PATTERNS.values()}
    ours = {kind for kind in kinds_below(Sharing) - {Sharing} if kind.__module__.startswith("msr.")}
    assert ours <= listed
    assert listed - ours  # and one that is not this package's


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
    assert pattern.n_shared == sum(t.numel() for t in (*pattern.parameters(), *pattern.buffers()))
    torch.testing.assert_close(pattern.squared_norm(), U.square().sum())
    assert f"n_filter={pattern.n_filter}" in repr(pattern)


def layer_of(pattern, gen, **arguments):
    """A layer that fits the pattern's weight, with random numbers."""
    n_out, n_in, *kernel = pattern.weight_shape
    make = {0: ReparamLinear, 1: ReparamConv1d, 2: ReparamConv2d}[len(kernel)]
    arguments = arguments if kernel else {}
    layer = make(n_in, n_out, *([tuple(kernel)] if kernel else []), **arguments, sharing=pattern, generator=gen)
    return randomize(layer, gen), torch.randn(3, n_in, *[11 + i for i in range(len(kernel))], generator=gen).double()


@pytest.mark.parametrize("arguments", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "bias": False}], ids=str)
def test_a_pattern_applied_to_data_gives_what_its_dense_twin_gives(pattern, arguments, gen):
    """Values and gradients of every way to compute, against a layer that holds ``U`` itself and builds ``W``."""
    layer, x = layer_of(pattern, gen, **arguments)
    shape = pattern.weight_shape
    twin = copy.deepcopy(layer)
    twin.sharing = DenseSharing.from_matrix(pattern.matrix().detach(), shape)
    twin.path = "materialize"
    twin.v = torch.nn.Parameter(layer.v.detach().flatten().clone())
    wanted = twin(x)
    bias = twin.shared_bias
    if bias is not None and pattern.ties_bias:  # the dense twin adds its bias as it is
        tied = pattern.share_bias(bias).detach() - bias.detach()
        wanted = wanted + tied.reshape(-1, *(1,) * (len(shape) - 2))
    slope = torch.autograd.grad(wanted.sin().sum(), twin.v)[0].reshape(layer.v.shape)
    for path in ("auto", "materialize", *(["factors"] if layer._factor_cost() is not None else [])):
        layer.path = path
        y = layer(x)
        torch.testing.assert_close(y, wanted)
        torch.testing.assert_close(torch.autograd.grad(y.sin().sum(), layer.v)[0], slope)


def test_a_pattern_without_a_way_of_its_own_is_refused_for_the_factors_path(pattern, gen):
    layer, x = layer_of(pattern, gen)
    layer.path = "factors"
    if layer._factor_cost() is None:
        with pytest.raises(ConfigError, match="path='factors' cannot serve this sharing pattern"):
            layer(x)
    else:
        assert layer(x).isfinite().all()


def test_costs_are_counts_of_multiplications(pattern, gen):
    assert pattern.weight_cost() > 0
    cost = layer_of(pattern, gen)[0]._factor_cost()
    assert cost is None or (cost.per_position > 0 and cost.once >= 0)


def test_a_cost_without_its_way_is_named(gen):
    class Half(RowSharing):
        apply_linear = Sharing.apply_linear
        apply_convolution = Sharing.apply_convolution

    with pytest.raises(ModelError, match="Half gives a linear_cost, so it must define apply_linear"):
        ReparamLinear(5, 4, sharing=Half, generator=gen, path="factors")(torch.ones(1, 5))
    with pytest.raises(ModelError, match="Half gives a convolution_cost, so it must define apply_convolution"):
        ReparamConv1d(5, 4, 3, sharing=Half, generator=gen, path="factors")(torch.ones(1, 5, 8))


def test_copies_and_saved_states_hold_the_same_pattern(pattern, gen):
    other = copy.deepcopy(pattern)
    randomize(other, gen)
    other.load_state_dict(pattern.state_dict())
    torch.testing.assert_close(other.matrix(), pattern.matrix())
    v = torch.randn(pattern.filter_shape, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(copy.deepcopy(pattern).materialize(v), pattern.materialize(v))


def test_a_pattern_ties_the_bias_where_it_changes_one(pattern, gen):
    bias = torch.randn(pattern.weight_shape[0], generator=gen, dtype=torch.float64)
    shared = pattern.share_bias(bias)
    torch.testing.assert_close(pattern.share_bias(shared), shared)  # a projection
    assert pattern.ties_bias or torch.equal(shared, bias)


@pytest.mark.parametrize("name", [name for name in PATTERNS if "conv2d" in name or name == "dense-conv"])
def test_a_pattern_that_ties_the_bias_is_refused_in_a_transposed_convolution(name, gen):
    pattern = PATTERNS[name](dtype=torch.float64, generator=gen)
    n_in, n_out, *kernel = pattern.weight_shape
    make = partial(ReparamConvTranspose2d, n_in, n_out, kernel, sharing=pattern, generator=gen)
    if pattern.ties_bias:
        with pytest.raises(ConfigError, match=r"ties the bias to the weight's first axis.*pass bias=False"):
            make()
    else:
        assert make().bias.shape == (n_out,)
    assert make(bias=False).bias is None


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


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("init", ["scaled", "reference"])
def test_initial_weights(name, init, gen):
    """Scaled patterns give torch's own weight variance 1 / (3 fan_in); the reference's dense one hardly any."""
    weights = []
    for _ in range(300):
        pattern = LEARNED[name](init=init, dtype=torch.float64, generator=gen)
        weights.append(pattern.materialize(pattern.initial_filter(gen)))
    fan_in = math.prod(pattern.weight_shape[1:])
    variance = float(torch.stack(weights).detach().square().mean())
    if init == "reference" and "dense" in name:
        wanted = pattern.n_filter * (0.01 / pattern.weight_shape[0]) ** 2
    else:
        wanted = 1 / (3 * fan_in)
    assert variance == pytest.approx(wanted, rel=0.25)


@pytest.mark.parametrize("name", [name for name in PATTERNS if name not in LEARNED])
def test_a_drawn_filter_gives_the_variance_of_a_plain_layer(name, gen):
    pattern = PATTERNS[name](dtype=torch.float64, generator=gen)
    weights = torch.stack([pattern.materialize(pattern.initial_filter(gen)).detach() for _ in range(1000)])
    fan_in = math.prod(pattern.weight_shape[1:])
    assert float(weights.square().mean()) == pytest.approx(1 / (3 * fan_in), rel=0.1)


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
        (lambda: DenseSharing((2, 3), 7), ShapeError, "between 1 and the 6 numbers.*got 7"),
        (lambda: DenseSharing((2, 3), 0), ShapeError, "got 0"),
        (lambda: DenseSharing((6,), 2), ShapeError, "at least two axes"),
        (lambda: DenseSharing((2, 3), 2, init="good"), ConfigError, "scaled, reference; got 'good'"),
        (lambda: DenseSharing.from_matrix(torch.ones(5, 2), (2, 3)), ShapeError, r"\(6, k\).*got \(5, 2\)"),
        (lambda: KroneckerSharing((2, 3), (3, 3)), ShapeError, r"got \(3, 3\)"),
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
def test_errors_say_what_was_got_and_what_fits(make, error, says):
    with pytest.raises(error, match=says):
        make()
