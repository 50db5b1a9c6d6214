"""The flow against exact solutions, its symmetries and laws, and what it refuses."""

import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from msr.errors import ConfigError, DataError, NonFiniteError, PrecisionError, ShapeError
from msr.flow import AttentionFlow, Mlp, causal_bias, on_sphere, uniform_on_sphere
from tests.msr.flow.plain import equiangular, plain_output, plain_velocity, solved

close = partial(torch.testing.assert_close, rtol=0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tokens(n, d, batch=None, seed=0):
    return uniform_on_sphere(n, d, batch, generator=seeded(seed))


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def product(X):
    """``⟨x_1, x_2⟩``."""
    return (X[..., 0, :] * X[..., 1, :]).sum(-1)


# --- exact solutions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "beta", "kind", "sheet"),
    [
        (8, 1.0, "sa", [0.140778, 0.362587, 0.816342, 0.970494]),
        (8, 4.0, "sa", [0.017593, 0.038379, 0.093652, 0.179891]),
        (32, 1.0, "sa", [0.047256, 0.151849, 0.589773, 0.914207]),
        (8, 1.0, "usa", [0.198110, 0.600585, 0.995409, 0.999980]),
    ],
)
def test_e1_equiangular_tokens_stay_so_and_follow_their_equation(n, beta, kind, sheet):
    steps = 120 if kind == "sa" else 300
    path = AttentionFlow(n, beta, kind=kind).flow(torch.eye(n), 3.0, steps, path=True)
    path = path[[steps // 6, steps // 3, 2 * steps // 3, steps]]
    gram = path @ path.mT
    off = gram[:, ~torch.eye(n, dtype=torch.bool)]
    close(off, off[:, :1].expand_as(off), atol=1e-12)
    exact = solved(lambda t, g: [equiangular(g[0], n, beta, kind)], 0.0, [0.5, 1, 2, 3])
    close(off[:, 0], torch.from_numpy(exact[:, 0]), atol=1e-8)
    close(off[:, 0], torch.tensor(sheet, dtype=torch.float64), atol=6e-7)


@pytest.mark.parametrize("n", [2, 8])
def test_e2_beta_0_in_closed_form(n):
    for t in (0.3, 1.0, 2.0):
        g = product(AttentionFlow(n, beta=0.0).flow(torch.eye(n), t, 50))
        assert float(g) == pytest.approx((math.exp(2 * t) - 1) / (math.exp(2 * t) + n - 1), abs=1e-8)


@pytest.mark.parametrize("mass", [0.375, 0.125])
@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_e3_two_clusters(mass, kind):
    beta = 1.5

    def rate(t, g):
        e = math.exp
        common = (1 - g[0] ** 2) * e(beta * g[0])
        if kind == "usa":
            return [common]
        near, far = e(beta), e(beta * g[0])
        return [common * ((1 - mass) / (mass * near + (1 - mass) * far) + mass / ((1 - mass) * near + mass * far))]

    first = round(8 * mass)
    pair = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5]], dtype=torch.float64)
    X = pair[[0] * first + [1] * (8 - first)]
    path = AttentionFlow(2, beta, kind=kind).flow(X, 2.0, 200, path=True)[[50, 100, 200]]
    exact = solved(rate, -0.5, [0.5, 1, 2])[:, 0]
    close((path[:, 0] * path[:, -1]).sum(-1), torch.from_numpy(exact), atol=1e-8)


@pytest.mark.parametrize(
    ("start", "beta", "sheet", "steps"),
    [(0.0, 1.0, 4.271, 200), (0.0, 4.0, 10.831, 400), (0.0, 6.0, 39.163, None), (-0.5, 4.0, 61.32, None)],
)
def test_e4_two_clusters_merge_when_the_integral_says(start, beta, sheet, steps):
    time, _ = quad(lambda g: (1 + math.exp(beta * (1 - g))) / (2 * (1 - g * g)), start, 0.999, epsrel=1e-12, limit=200)
    assert time == pytest.approx(sheet, rel=2e-4)
    X = torch.tensor([[1.0, 0.0], [start, (1 - start**2) ** 0.5]], dtype=torch.float64)
    flow = AttentionFlow(2, beta, step="rk4" if steps else "adaptive")
    assert float(product(flow.flow(X, time, steps or 1))) == pytest.approx(0.999, abs=1e-8)


@pytest.mark.parametrize(("n", "beta", "sheet"), [(8, 0.0, 4.493), (8, 4.0, 8.365), (32, 4.0, 6.954)])
def test_e5_time_from_orthogonal_to_together(n, beta, sheet):
    time, _ = quad(lambda g: 1 / equiangular(g, n, beta), 0, 0.999, epsrel=1e-12, limit=200)
    assert time == pytest.approx(sheet, rel=2e-4)
    result = AttentionFlow(n, beta, step="adaptive").flow(torch.eye(n), time)
    assert float(product(result)) == pytest.approx(0.999, abs=1e-8)


# --- the block against its plain twin ----------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from(["sa", "usa"]), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=15)
def test_the_velocity_is_that_of_a_loop_over_tokens(seed, kind, heads, biased, network):
    n, d, k, beta = 5, 3, 2, 0.8
    Q, K, V = randn(heads, k, d, seed=seed), randn(heads, k, d, seed=seed + 1), randn(heads, d, d, seed=seed + 2)
    bias = randn(n, n, seed=seed + 3) if biased else None
    if bias is not None:
        bias[0, 2] = -torch.inf
    W = [randn(4, d, seed=seed + 4), randn(d, 4, seed=seed + 5), randn(4, seed=seed + 6)] if network else None
    flow = AttentionFlow(d, beta, Q, list(K), V.numpy(), bias, None if W is None else Mlp(*W), kind=kind)
    assert flow.heads == heads
    X = tokens(n, d, seed=seed)
    block = {
        "beta": beta,
        "Q": Q.numpy(),
        "K": K.numpy(),
        "V": V.numpy(),
        "bias": None if bias is None else bias.numpy(),
        "mlp": None if W is None else [w.numpy() for w in W],
        "kind": kind,
    }
    close(flow.velocity(X), torch.from_numpy(plain_velocity(X.numpy(), **block)), atol=1e-12)
    raw = replace(flow, norm="none")
    close(raw.velocity(3 * X), torch.from_numpy(plain_output(3 * X.numpy(), **block)), atol=1e-11, rtol=1e-12)


def test_matrices_without_heads_are_shared_by_all_heads():
    X = tokens(5, 3)
    Q, V = randn(3, 3), randn(2, 3, 3, seed=1)
    bias = randn(1, 2, 5, 5, seed=2)
    for change in ({"Q": Q}, {"V": V}, {"V": V[0]}, {"bias": bias}, {"Q": Q, "V": V, "bias": bias}):
        flow = AttentionFlow(3, norm="none", heads=2, **change)
        parts = [
            AttentionFlow(3, norm="none", Q=change.get("Q"), V=V[h if len(change["V"]) == 2 else 0] if "V" in change
                          else None, bias=bias[0, h] if "bias" in change else None)
            for h in (0, 1)
        ]  # fmt: skip
        close(flow.velocity(X), sum(part.velocity(X) for part in parts), atol=1e-13)
    assert AttentionFlow(3, heads=2, Q=Q).attention(X).shape == (2, 5, 5)
    assert AttentionFlow(3, heads=2, Q=Q).partition(X).shape == (2, 5)


def test_each_element_of_a_batch_is_alone_and_has_its_own_beta_and_bias():
    X = tokens(6, 3, batch=4)
    beta = torch.tensor([0.5, 1.0, 2.0, -1.0], dtype=torch.float64)
    bias = randn(4, 6, 6)
    together = AttentionFlow(3, beta, bias=bias)
    for name in ("velocity", "attention", "partition", "log_partition"):
        parts = [getattr(AttentionFlow(3, float(b), bias=m), name)(x) for x, b, m in zip(X, beta, bias, strict=True)]
        close(getattr(together, name)(X), torch.stack(parts), atol=1e-13)
    parts = [AttentionFlow(3, float(b), bias=m).flow(x, 1.0, 10) for x, b, m in zip(X, beta, bias, strict=True)]
    close(together.flow(X, 1.0, 10), torch.stack(parts), atol=1e-13)
    energies = AttentionFlow(3, beta).energy(X)
    parts = [AttentionFlow(3, float(b)).energy(x) for x, b in zip(X, beta, strict=True)]
    close(energies, torch.stack(parts), atol=1e-13)


# --- steppers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "order", "sheet"),
    [
        ("layer", 1, [-0.0290, -0.0150, -0.0077]),
        ("proj_euler", 1, [-0.0127, -0.0063, -0.0031]),
        ("rk4", 4, [-1.1e-7, -7.1e-9, -4.5e-10]),
    ],
)
def test_steppers_have_their_order(step, order, sheet):
    exact = solved(lambda t, g: [equiangular(g[0], 8, 1.0)], 0.0, [1.0])[0, 0]
    errors = [float(product(AttentionFlow(8, step=step).flow(torch.eye(8), 1.0, k))) - exact for k in (10, 20, 40)]
    assert errors == pytest.approx(sheet, rel=0.02)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.1)


def raw_exact(flow, X, T):
    shape = X.shape
    V = [flow.V.numpy()]
    rate = lambda t, x: plain_output(x.reshape(shape), beta=flow.beta, V=V).ravel()  # noqa: E731
    return torch.from_numpy(solved(rate, X.numpy().ravel(), [T])[0].reshape(shape))


def test_the_raw_flow_is_followed_by_all_its_steppers():
    V = torch.tensor([[1.0, 0.3], [-0.2, 0.8]], dtype=torch.float64)
    X = randn(4, 2)
    flow = AttentionFlow(2, V=V, norm="none")
    exact = raw_exact(flow, X, 1.0)
    for step, order in (("rk4", 4), ("unproj_rk4", 4), ("layer", 1)):
        one = replace(flow, step=step)
        errors = [float((one.flow(X, 1.0, k) - exact).norm()) for k in (20, 40)]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2), step
    close(replace(flow, step="adaptive").flow(X, 1.0), exact, atol=1e-8)
    z = replace(flow, step="unproj_rk4").rescaled(X, 1.0, 40)
    close(z @ torch.linalg.matrix_exp(V).mT, exact, atol=1e-6)
    # The time at which it starts is of no matter.
    late = replace(flow, step="unproj_rk4").flow(X, 1.0, 40, start=3.0)
    close(late, replace(flow, step="unproj_rk4").flow(X, 1.0, 40), atol=0)


@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_adaptive_steps_agree_with_fixed_ones(kind):
    X = tokens(6, 3, batch=3)
    flow = AttentionFlow(3, torch.tensor([0.5, 1.0, 1.5]), kind=kind, bias=randn(6, 6))
    fixed = flow.flow(X, 1.0, 100, path=True)[::50]
    close(replace(flow, step="adaptive", tolerance=1e-10).flow(X, 1.0, 2, path=True), fixed, atol=5e-8)


def test_a_tolerance_bounds_the_error():
    exact = solved(lambda t, g: [equiangular(g[0], 8, 4.0)], 0.0, [4.0])[0, 0]
    for tolerance in (1e-3, 1e-7):
        g = float(product(AttentionFlow(8, 4.0, step="adaptive", tolerance=tolerance).flow(torch.eye(8), 4.0)))
        assert abs(g - exact) < 10 * tolerance


def test_adaptive_steps_keep_the_sphere_where_tokens_repel():
    flow = AttentionFlow(3, V=-torch.eye(3), step="adaptive", tolerance=1e-7)
    X = tokens(4, 3)
    close(flow.flow(X, 20.0), replace(flow, step="rk4").flow(X, 20.0, 100), atol=1e-5)


def test_safe_steps_turn_no_token_by_more_than_a_tenth():
    X = tokens(8, 3, batch=20)
    for flow in (AttentionFlow(3, 3.0, kind="usa"), AttentionFlow(3, 4.0, V=3 * torch.eye(3)), AttentionFlow(3, 2.0)):
        path = flow.flow(X, 0.5, path=True)
        cosines = (path[:-1] * path[1:]).sum(-1).clamp(-1, 1)
        assert float(cosines.arccos().max()) <= 0.1 * 1.05
    assert AttentionFlow(3).safe_steps(3.0) == 30
    assert AttentionFlow(3, heads=2).safe_steps(3.0) == 60
    assert AttentionFlow(3, 18.0).safe_steps(3.0) == 60
    assert AttentionFlow(3, kind="usa", bias=torch.ones(4, 4)).safe_steps(1.0) == math.ceil(10 * math.exp(1.5))
    mlp = Mlp(2 * torch.eye(3), torch.eye(3), torch.tensor([1.0, 0, 0]))
    assert AttentionFlow(3, mlp=mlp).safe_steps(1.0) == 40
    assert AttentionFlow(3, step="adaptive").safe_steps(3.0) == AttentionFlow(3).safe_steps(0) == 1


# --- symmetries and laws -----------------------------------------------------------------------------------------

EVERY = [{"norm": norm, "tau": 0.35 if norm == "mix" else None, "kind": kind}
         for norm in ("post", "pre", "mix", "peri", "ngpt", "sqrt", "none")
         for kind in ("sa", "usa")]  # fmt: skip


@pytest.mark.parametrize("options", EVERY, ids=lambda o: "-".join(map(str, o.values())))
def test_rotations_permutations_and_copies_of_tokens(options):
    X = tokens(5, 3)
    flow = AttentionFlow(3, 0.3, **options)
    moved = flow.flow(X, 0.6, 6)
    R = torch.linalg.qr(randn(3, 3))[0]
    close(flow.flow(X @ R.mT, 0.6, 6), moved @ R.mT, atol=1e-12)
    order = torch.randperm(5, generator=seeded(1))
    close(flow.flow(X[order], 0.6, 6), moved[order], atol=1e-12)
    close(flow.flow(X.repeat(2, 1), 0.6, 6), moved.repeat(2, 1), atol=1e-12)
    # The second half begins where the first one ends, and when.
    close(flow.flow(flow.flow(X, 0.3, 3), 0.3, 3, start=0.3), moved, atol=1e-12)


def test_a_control_that_breaks_rotations_and_permutations():
    X = tokens(5, 3)
    moved = AttentionFlow(3).flow(X, 1.0, 20)
    R = torch.linalg.qr(randn(3, 3))[0]
    tilted = AttentionFlow(3, Q=torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    assert float((tilted.flow(X @ R.mT, 1.0, 20) - tilted.flow(X, 1.0, 20) @ R.mT).norm()) > 1e-2
    biased = AttentionFlow(3, bias=causal_bias(5))
    assert float((biased.flow(X.flip(0), 1.0, 20) - biased.flow(X, 1.0, 20).flip(0)).norm()) > 1e-2
    assert float((moved - X).norm()) > 1e-2


@pytest.mark.parametrize("norm", ["post", "none"])
def test_the_flow_of_turned_signs_runs_backwards(norm):
    X = tokens(5, 3)
    W = Mlp(randn(4, 3), 0.3 * randn(3, 4, seed=1))
    forwards = AttentionFlow(3, norm=norm, mlp=W)
    backwards = AttentionFlow(3, norm=norm, V=-torch.eye(3), mlp=Mlp(W.W1, -W.W2))
    close(backwards.flow(forwards.flow(X, 0.5, 50), 0.5, 50), X, atol=1e-7)


@pytest.mark.parametrize("options", EVERY, ids=lambda o: "-".join(map(str, o.values())))
def test_the_velocity_is_the_derivative_of_the_path(options):
    X = tokens(4, 3) * (1.0 if options["norm"] in ("post", "ngpt") else 1.2)
    flow = AttentionFlow(3, 0.5, **options)
    t, h = 0.7, 1e-4
    middle = flow.flow(X, h, 1, start=t)
    difference = (flow.flow(X, 2 * h, 2, start=t) - X) / (2 * h)
    close(difference, flow.velocity(middle, t + h), atol=1e-6)


def test_c4_tokens_in_a_hemisphere_come_together_at_a_known_rate():
    for kind, rate in (("sa", 2.0), ("usa", 2 * math.e)):
        flow = AttentionFlow(6, kind=kind)
        # A time at which terms of the second order are below 1e-3, and what is left is above rounding.
        end = 8.0 if kind == "sa" else 3.2
        gaps = 1 - product(flow.flow(tokens(4, 6), end, 160, path=True))
        assert float((gaps[140] / gaps[160]).log()) / (end / 8) == pytest.approx(rate, rel=2e-3)


@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_c9_antipodal_tokens_stay(kind):
    x = tokens(1, 4)
    for beta in (0.0, 1.0, 9.0):
        assert float(AttentionFlow(4, beta, kind=kind).velocity(torch.cat([x, -x])).norm()) < 1e-12


@pytest.mark.parametrize(("n", "d"), [(3, 2), (4, 3)])
def test_c10_tokens_that_repel_form_a_code(n, d):
    flow = AttentionFlow(d, V=-torch.eye(d))
    path = flow.flow(tokens(n, d), 60.0, 200, path=True)
    gram = path[-1] @ path[-1].mT
    close(gram[~torch.eye(n, dtype=torch.bool)], torch.full((n * n - n,), -1 / d, dtype=torch.float64), atol=1e-5)
    assert float(flow.energy(path).diff().max()) < 1e-12


def test_c15_raw_tokens_that_repel_go_to_0_slowly():
    flow = AttentionFlow(2, V=-torch.eye(2), norm="none")
    X = flow.flow(2 * randn(3, 12, 2), 200.0, 400)
    close(200 * X.square().sum(-1).mean(-1), torch.ones(3, dtype=torch.float64), atol=0.03)
    assert float(X.mean(1).norm(dim=-1).max()) < 1e-2
    close(flow.attention(X), torch.full((3, 12, 12), 1 / 12, dtype=torch.float64), atol=0.02)


def test_c16_a_causal_mask_still_makes_one_cluster():
    X = tokens(6, 3, batch=4)
    flow = AttentionFlow(3, Q=0.3 * randn(3, 3), bias=causal_bias(6))
    last = flow.flow(X, 40.0, 160)
    close(last[:, 0], X[:, 0], atol=1e-14)
    assert float((last * last[:, :1]).sum(-1).min()) > 0.999
    assert torch.equal(flow.attention(X).triu(1), torch.zeros(4, 6, 6, dtype=torch.float64))


# --- edges -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", EVERY, ids=lambda o: "-".join(map(str, o.values())))
def test_no_time_moves_nothing_and_one_token_has_nowhere_to_go(options):
    X = tokens(4, 3)
    flow = AttentionFlow(3, **options)
    close(flow.flow(X, 0), X, atol=1e-15)
    assert torch.equal(flow.flow(X, 0.0, 3, path=True), flow.flow(X, 0.0).expand(4, 4, 3))
    alone = flow.flow(X[:1], 0.1, 2)
    close(on_sphere(alone), X[:1], atol=1e-14)
    assert flow.velocity(X[None, :1]).shape == (1, 1, 3)


def test_a_path_begins_at_the_tokens_and_ends_at_the_flow():
    X = tokens(4, 3, batch=2)
    path = AttentionFlow(3).flow(X, 1.0, 7, path=True)
    assert path.shape == (8, 2, 4, 3)
    close(path[0], X, atol=1e-15)
    assert torch.equal(path[-1], AttentionFlow(3).flow(X, 1.0, 7))
    for x, y in itertools.pairwise(path):
        close(AttentionFlow(3).flow(x, 1 / 7, 1), y, atol=1e-14)


def test_beta_0_is_the_mean_and_a_huge_beta_the_nearest():
    X = tokens(5, 3)
    close(AttentionFlow(3, 0.0, norm="none").velocity(X), X.mean(0).expand(5, 3), atol=1e-15)
    close(AttentionFlow(3, 1e4).attention(X), torch.eye(5, dtype=torch.float64), atol=1e-15)
    assert float(AttentionFlow(3, 1e4).velocity(X).norm()) < 1e-12
    moved = AttentionFlow(3, -1e4).flow(X, 0.01, 100)
    close(moved.norm(dim=-1), torch.ones(5, dtype=torch.float64), atol=1e-14)


def test_single_precision_is_asked_for():
    X = tokens(4, 3)
    assert AttentionFlow(3).velocity(X.float()).dtype == torch.float64
    single = AttentionFlow(3, dtype=torch.float32)
    assert single.flow(X, 1.0, 10).dtype == torch.float32
    close(single.flow(X, 1.0, 10).double(), AttentionFlow(3).flow(X, 1.0, 10), atol=1e-6)
    close(replace(single, step="adaptive").flow(X, 1.0).double(), AttentionFlow(3).flow(X, 1.0, 100), atol=1e-4)
    close(AttentionFlow(3).flow(np.eye(3).tolist(), 1.0, 5), AttentionFlow(3).flow(np.eye(3), 1.0, 5), atol=0)


@pytest.mark.parametrize(
    ("options", "X", "words"),
    [
        ({"kind": "usa", "norm": "none", "beta": 4.0}, 2.0, "between t = .* step"),
        ({"V": 50 * torch.eye(3), "norm": "none"}, 1.0, "between t"),
        ({"Q": -torch.eye(3), "V": -50 * torch.eye(3), "norm": "none"}, 1.0, "between t"),
        ({"kind": "usa", "beta": 1e4}, 1.0, "between t = 0 and t = 0.1"),
        ({"V": -torch.eye(3), "norm": "pre"}, 0.1, "radius reached 0"),
        ({"kind": "usa", "norm": "none", "beta": 4.0, "step": "adaptive"}, 2.0, "finite numbers at t"),
    ],
)
def test_a_flow_that_blows_up_says_when(options, X, words):
    flow = AttentionFlow(3, **options)
    with pytest.raises((NonFiniteError, PrecisionError), match=words):
        flow.flow(X * tokens(4, 3), 20.0, 200)


def test_the_time_of_blowing_up_is_that_of_the_first_step_that_is_not_finite():
    flow = AttentionFlow(1, beta=0.0, V=[[1e4]], norm="none")
    X = torch.ones(1, 1)
    # Each step multiplies by 4.2e10; the last stage, which is 1e4 times larger than a step, overflows in step 29.
    assert flow.flow(X, 2.8, 28).isfinite().all()
    for steps in (29, 30, 300):
        with pytest.raises(NonFiniteError, match=rf"between t = 2.8 and t = 2.9.*step 29 of {steps}"):
            flow.flow(X, 0.1 * steps, steps)


BAD_OPTIONS = {
    "no tokens": ({"d": 0}, "d must be"),
    "a number of tokens that is none": ({"d": True}, "d must be"),
    "kind": ({"kind": "raw"}, "kind must be one of sa, usa"),
    "norm": ({"norm": "sphere"}, "norm must be one of post"),
    "step": ({"step": "euler"}, "step must be one of rk4"),
    "dtype": ({"dtype": torch.float16}, "float64 or torch.float32"),
    "infinite beta": ({"beta": math.inf}, "beta must be finite"),
    "beta of a batch of batches": ({"beta": torch.ones(2, 2)}, "beta must be a number"),
    "boolean beta": ({"beta": True}, "real numbers"),
    "Q of another d": ({"Q": torch.eye(4)}, "Q must be"),
    "V not square": ({"V": torch.ones(2, 3)}, "V must be"),
    "V nan": ({"V": torch.full((3, 3), math.nan)}, r"V\[0, 0\] is nan"),
    "K without its Q": ({"K": torch.ones(2, 3)}, "as many rows"),
    "unequal heads": ({"Q": torch.ones(2, 3, 3), "V": torch.ones(3, 3, 3)}, "Q has 2 heads"),
    "other heads": ({"V": torch.ones(2, 3, 3), "heads": 3}, "V has 2 heads"),
    "no heads": ({"heads": 0}, "heads must be"),
    "bias not square": ({"bias": torch.ones(3, 4)}, "bias must be"),
    "bias of other heads": ({"bias": torch.ones(1, 2, 4, 4)}, "bias has 2 heads"),
    "bias nan": ({"bias": torch.tensor([[0.0, math.nan], [0.0, 0.0]])}, r"entry \[0, 1\] is nan"),
    "bias +inf": ({"bias": torch.tensor([[0.0, 0.0], [math.inf, 0.0]])}, r"entry \[1, 0\] is inf"),
    "blind token": ({"bias": torch.tensor([[0.0, 0.0], [-math.inf, -math.inf]])}, "every token from token 1"),
    "mlp of another d": ({"mlp": Mlp(torch.ones(4, 2), torch.ones(2, 4))}, "mlp is for tokens of 2"),
    "mlp as a pair": ({"mlp": (1, 2)}, "Mlp"),
    "mix without its time": ({"norm": "mix"}, "needs tau"),
    "a time without mix": ({"tau": 1.0}, "of norm='mix' alone"),
    "a projection without a sphere": ({"norm": "none", "step": "proj_euler"}, "has none"),
    "no projection on the sphere": ({"step": "unproj_rk4"}, "of norm='none' alone"),
    "usa unprojected": ({"norm": "none", "step": "unproj_rk4", "kind": "usa"}, "no form"),
    "heads unprojected": ({"norm": "none", "step": "unproj_rk4", "heads": 2}, "no form"),
    "fused usa": ({"kind": "usa", "fused": True}, "softmax"),
    "block": ({"block": 0}, "block must be"),
    "tolerance": ({"tolerance": 0.0}, "tolerance must be"),
    "tolerance in single precision": ({"tolerance": 1e-9, "dtype": torch.float32}, "tolerance must be"),
}


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_options_without_a_meaning_are_refused(options, words):
    with pytest.raises((ConfigError, ShapeError, DataError, NonFiniteError), match=words):
        AttentionFlow(**{"d": 3, **options})


BAD_TOKENS = {
    "another d": (torch.ones(4, 2), ShapeError, "d = 3"),
    "one token without its axis": (torch.ones(3), ShapeError, "n, d"),
    "empty": (torch.ones(0, 3), ShapeError, "not empty"),
    "empty batch": (torch.ones(0, 2, 3), ShapeError, "not empty"),
    "four axes": (torch.ones(1, 1, 2, 3), ShapeError, "n, d"),
    "nan": (torch.tensor([[1.0, 0, 0], [0, math.nan, 0]]), NonFiniteError, r"X\[1, 1\] is nan"),
    "infinite": (torch.full((2, 3), math.inf), NonFiniteError, "X"),
    "boolean": (torch.ones(2, 3, dtype=torch.bool), DataError, "real numbers"),
    "complex": (torch.ones(2, 3, dtype=torch.complex64), DataError, "real numbers"),
    "off the sphere": (torch.eye(3) * torch.tensor([1.0, 2, 1]), DataError, r"X\[1\] has norm 2.*on_sphere"),
    "off the sphere in a batch": (torch.stack([torch.eye(3), 3 * torch.eye(3)]), DataError, r"X\[1, 0\] has norm 3"),
    "texts": ([["a", "b", "c"]], DataError, "numbers"),
}


@pytest.mark.parametrize(("X", "error", "words"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_tokens_that_are_none_are_refused_everywhere(X, error, words):
    flow = AttentionFlow(3)
    for call in (flow.velocity, flow.attention, flow.partition, flow.energy, lambda x: flow.flow(x, 1.0, 2)):
        with pytest.raises(error, match=words):
            call(X)


def test_other_calls_without_a_meaning_are_refused():
    X = tokens(4, 3)
    flow = AttentionFlow(3)
    for T in (-1.0, math.inf, math.nan, True, "1"):
        with pytest.raises(ConfigError, match="T must be"):
            flow.flow(X, T, 2)
    for steps in (0, -1, 1.5, True, "few"):
        with pytest.raises(ConfigError, match="steps, unless 'safe', must be"):
            flow.flow(X, 1.0, steps)
    with pytest.raises(ConfigError, match="number of steps"):
        AttentionFlow(3, norm="none").flow(X, 1.0)
    with pytest.raises(ConfigError, match="safe"):
        AttentionFlow(3, 50.0, kind="usa").flow(X, 1.0)
    with pytest.raises(ConfigError, match="unproj_rk4"):
        flow.rescaled(X, 1.0, 10)
    with pytest.raises(DataError, match=r"X\[2\] is 0"):
        AttentionFlow(3, norm="pre").velocity(X * torch.tensor([[1.0], [1], [0], [1]]))
    with pytest.raises(ShapeError, match="beta has 2"):
        AttentionFlow(3, torch.ones(2)).velocity(X)
    with pytest.raises(ShapeError, match="bias is of 5 tokens"):
        AttentionFlow(3, bias=torch.ones(5, 5)).velocity(X)
    with pytest.raises(NonFiniteError, match="overflow"):
        AttentionFlow(3, 1e4, kind="usa").velocity(X)
    pair = torch.cat([X[:1], -X[:1]])
    with pytest.raises(NonFiniteError, match="may be 0"):
        AttentionFlow(3, 0.0, norm="ngpt").velocity(pair)
    with pytest.raises(DataError, match="memory"):
        flow.flow(X, 1.0, 10**12, path=True)
    with pytest.raises(NonFiniteError, match="too large"):
        AttentionFlow(3, norm="none", dtype=torch.float32).velocity(1e300 * X)


def test_adaptive_steps_need_their_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchdiffeq", None)
    with pytest.raises(ImportError, match=r"pip install 'msr\[ode\]'"):
        AttentionFlow(3, step="adaptive").flow(tokens(3, 3), 1.0)


def test_it_prints_in_a_few_lines():
    assert "norm='post'" in repr(AttentionFlow(3, V=torch.eye(3)))


def test_options_that_are_texts():
    for options in ({"norm": "mix", "tau": "late"}, {"step": "adaptive", "tolerance": "fine"}):
        with pytest.raises(ConfigError, match="must be a number"):
            AttentionFlow(3, **options)
