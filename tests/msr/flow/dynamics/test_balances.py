"""Energy, rotations, hemispheres, means: each identity against a derivative along the flow, each law along a path."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.flow import (
    AttentionFlow,
    Mlp,
    causal_bias,
    energy_rate,
    hemisphere_margin,
    hemisphere_pole,
    mean_rate,
    noether_matrix,
    on_sphere,
    support_function,
    turning,
    uniform_on_sphere,
)

close = partial(torch.testing.assert_close, rtol=0)


def tokens(n, d, batch=None, seed=0):
    return uniform_on_sphere(n, d, batch, generator=torch.Generator().manual_seed(seed))


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def symmetric(*shape, seed=0):
    M = randn(*shape, seed=seed)
    return M + M.mT


@pytest.mark.parametrize("kind", ["sa", "usa"])
@pytest.mark.parametrize("norm", ["post", "pre", "peri", "ngpt", "sqrt", "mix", "none"])
@pytest.mark.parametrize("matrices", ["identity", "symmetric", "repulsive", "biased"])
def test_the_energy_changes_as_its_identity_says(kind, norm, matrices):
    B = symmetric(3, 3)
    options = {
        "identity": {},
        "symmetric": {"Q": B, "V": 0.7 * B},
        "repulsive": {"V": -torch.eye(3)},
        "biased": {"bias": 0.3 * symmetric(6, 6)},
    }[matrices]
    X = tokens(6, 3, batch=3)
    flow = AttentionFlow(
        3, torch.tensor([0.5, 1.0, -1.0]), kind=kind, norm=norm, tau=0.2 if norm == "mix" else None, **options
    )
    t = 0.4
    # The exact derivative is that of the energy along the velocity.
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(flow.energy(leaf).sum(), leaf)
    slope = (gradient * flow.velocity(X, t)).sum((-1, -2))
    close(energy_rate(flow, X, t), slope, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("kind", ["sa", "usa"])
@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_identity_holds_along_the_flow(kind, beta):
    flow = AttentionFlow(3, beta, kind=kind)
    h = 1e-4
    X = tokens(8, 3)
    before, middle, after = flow.energy(flow.flow(X, 2 * h, 2, path=True))
    rate = float(energy_rate(flow, flow.flow(X, h, 1)))
    assert float(after - before) / (2 * h) == pytest.approx(rate, rel=1e-6 if kind == "usa" else 1e-7)
    assert before < middle < after


@pytest.mark.parametrize("step", ["rk4", "layer"])
def test_the_energy_never_falls(step):
    X = tokens(16, 3)
    for beta in (1.0, 9.0):
        flow = AttentionFlow(3, beta, step=step)
        energies = flow.energy(flow.flow(X, 10.0, 100, path=True))
        assert float(energies.diff().min()) >= -1e-14 * math.exp(beta) / (2 * beta)
        assert float(energies[-1]) <= math.exp(beta) / (2 * beta)


def test_known_energies():
    together = tokens(1, 3).expand(5, 3)
    assert float(AttentionFlow(3, 2.0).energy(together)) == pytest.approx(math.exp(2) / 4)
    ring = torch.arange(64, dtype=torch.float64) * (2 * math.pi / 64)
    circle = torch.stack([ring.cos(), ring.sin()], -1)
    assert float(AttentionFlow(2).energy(circle)) == pytest.approx(0.6330329, abs=1e-7)
    X = tokens(4, 3)
    flow = AttentionFlow(3, 0.7, kind="usa")
    scores = 0.7 * X @ X.mT
    close(flow.partition(X), scores.exp().sum(-1), atol=1e-13)
    close(flow.energy(X), scores.exp().sum() / (2 * 0.7 * 16), atol=1e-13)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"Q": randn(3, 3)}, "symmetric B"),
        ({"V": randn(3, 3)}, "V = c"),
        ({"V": torch.zeros(3, 3)}, "V = c"),
        ({"Q": torch.zeros(3, 3)}, "V = c"),
        ({"heads": 2}, "one head"),
        ({"mlp": Mlp(torch.eye(3), torch.eye(3))}, "no network"),
        ({"bias": randn(4, 4)}, "symmetric bias"),
        ({"bias": causal_bias(4)}, "symmetric bias"),
        ({"beta": 0.0}, "beta, which is 0"),
        ({"beta": torch.tensor([1.0, 0.0])}, "beta, which is 0"),
    ],
)
def test_where_there_is_no_energy_it_is_refused(options, words):
    X = tokens(4, 3, batch=2 if isinstance(options.get("beta"), torch.Tensor) else None)
    flow = AttentionFlow(3, **options)
    with pytest.raises(ConfigError, match=words):
        flow.energy(X)


def test_energies_that_overflow_are_refused_and_their_logarithm_is_not():
    X = tokens(4, 3)
    flow = AttentionFlow(3, 1e4)
    for call in (flow.energy, flow.partition):
        with pytest.raises(NonFiniteError, match="overflow"):
            call(X)
    close(flow.log_partition(X), torch.full((4,), 1e4, dtype=torch.float64), atol=1e-9)


def asymmetry(L):
    return float((L - L.mT).norm() / L.norm())


def test_rotations_have_a_symmetric_matrix():
    X = tokens(8, 3)
    for norm in ("post", "pre", "peri", "none"):
        for kind in ("sa", "usa"):
            L = noether_matrix(AttentionFlow(3, 2.0, kind=kind, norm=norm, bias=symmetric(8, 8)), X)
            assert asymmetry(L) < 1e-14
    # Controls: without the weights of softmax, or with matrices that rotations change, it is not symmetric.
    assert asymmetry(X.mT @ AttentionFlow(3, 2.0).velocity(X)) > 1e-3
    B = torch.diag(torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64))
    L = noether_matrix(AttentionFlow(3, Q=B, V=B), X)
    assert asymmetry(L) > 1e-3
    # Turns about the third axis still commute with B.
    assert float(L[0, 1]) == pytest.approx(float(L[1, 0]), abs=1e-14)
    with pytest.raises(ConfigError, match="one head"):
        noether_matrix(AttentionFlow(3, heads=2), X)


def test_the_sum_of_angles_is_constant_in_the_plane():
    X = tokens(8, 2)
    turns = turning(AttentionFlow(2, 1.0, kind="usa").flow(X, 4.0, 200, path=True))
    assert turns.shape == (201, 8)
    assert float(turns.abs().max()) > 0.5
    assert float(turns.sum(-1).abs().max()) < 1e-7
    of_softmax = turning(AttentionFlow(2, 1.5).flow(X, 4.0, 100, path=True))
    assert float(of_softmax.sum(-1).abs().max()) > 1e-2


def test_turning_counts_on():
    angles = torch.linspace(0, 9.0, 20, dtype=torch.float64)
    path = torch.stack([angles.cos(), angles.sin()], -1)[:, None]
    close(turning(path)[:, 0], angles, atol=1e-13)
    assert turning(path[:1]).shape == (1, 1)
    with pytest.raises(DataError, match="right angle"):
        turning(path[::5])
    with pytest.raises(ShapeError, match="plane"):
        turning(tokens(3, 3)[None])


@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_a_hemisphere_is_never_left(kind):
    pole = torch.tensor([0.0, 0.0, 2.0])
    X = tokens(8, 3, batch=5)
    X = torch.cat([X[..., :2], X[..., 2:].abs() + 0.01], -1)
    X = on_sphere(X)
    flow = AttentionFlow(3, Q=randn(3, 3), K=randn(3, 3, seed=1), bias=randn(8, 8), kind=kind)
    margins = hemisphere_margin(flow.flow(X, 3.0, 60, path=True), pole)
    assert margins.shape == (61, 5)
    assert float(margins.diff(dim=0).min()) > -1e-14
    turned = AttentionFlow(3, V=torch.diag(torch.tensor([1.0, 1.0, -1.0])), kind=kind)
    assert float(hemisphere_margin(turned.flow(X, 3.0, 60, path=True), pole).diff(dim=0).min()) < -1e-3
    with pytest.raises(ShapeError, match="pole"):
        hemisphere_margin(X, torch.ones(2))


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 4))
@settings(max_examples=40)
def test_the_pole_is_that_of_the_deepest_hemisphere(seed, n, d):
    X = tokens(n, d, seed=seed)
    pole = hemisphere_pole(X)
    others = tokens(300, d, seed=seed + 1)
    best = (X @ others.mT).amin(0).max()
    if pole is None:
        assert float(best) <= 1e-9
    else:
        margin = hemisphere_margin(X, pole)
        assert float(margin) > 0
        assert float(margin) >= float(best) - 1e-9


def test_poles_of_known_tokens():
    close(hemisphere_pole(torch.eye(3)), torch.full((3,), 3**-0.5, dtype=torch.float64), atol=1e-12)
    assert hemisphere_pole(torch.cat([torch.eye(3), -torch.eye(3)])) is None
    assert hemisphere_pole(torch.tensor([[1.0, 0], [-1.0, 0]])) is None
    with pytest.raises(ShapeError, match="n, d"):
        hemisphere_pole(tokens(3, 3, batch=2))


def test_the_hull_of_raw_tokens_shrinks():
    flow = AttentionFlow(2, norm="none", step="unproj_rk4")
    X = 3 * randn(10, 2)
    angles = torch.linspace(0, 2 * math.pi, 65, dtype=torch.float64)[:-1]
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    reach = support_function(flow.rescaled(X, 3.0, 60, path=True), directions)
    assert reach.shape == (61, 64)
    assert float(reach.diff(dim=0).max()) < 1e-12
    assert float(reach[-1].sum()) < float(reach[0].sum()) - 1
    with pytest.raises(ShapeError, match="directions"):
        support_function(X, torch.ones(3, 3))


def test_the_mean_grows_at_beta_0_as_its_identity_says():
    flow = AttentionFlow(3, 0.0)
    h = 1e-4
    path = flow.flow(tokens(8, 3, batch=2), 2 * h, 2, path=True)
    sizes = path.mean(-2).square().sum(-1)
    close((sizes[2] - sizes[0]) / (2 * h), mean_rate(path[1]), atol=1e-8)
    assert mean_rate(tokens(8, 3)).shape == ()
    assert bool((mean_rate(tokens(8, 3, batch=50)) >= 0).all())
    with pytest.raises(ShapeError, match="tokens"):
        mean_rate(torch.ones(3))


def test_one_beta_in_an_axis_makes_no_axis_of_the_energy():
    X = tokens(4, 3)
    one = AttentionFlow(3, torch.tensor([2.0], dtype=torch.float64))
    close(one.energy(X), AttentionFlow(3, 2.0).energy(X), atol=1e-15)
    assert one.energy(X[None]).shape == (1,)
