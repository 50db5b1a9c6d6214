"""Norms as speeds: the published numbers, the equation of equiangular tokens, directions and radii."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from msr.errors import ConfigError
from msr.flow import AttentionFlow, on_sphere, uniform_on_sphere
from msr.flow.dynamics.normalisation import GROWING, NORMS, ON_SPHERE
from tests.msr.flow.plain import equiangular, solved

close = partial(torch.testing.assert_close, rtol=0)

SHEET = {
    "post": [0.08464, 0.24687, 0.72172, 0.95050],
    "pre": [0.07995, 0.21301, 0.54882, 0.77048],
    "mix": [0.08464, 0.24687, 0.64635, 0.84294],
    "peri": [0.28348, 0.53692, 0.79234, 0.88877],
    "ngpt": [0.32963, 0.66838, 0.94662, 0.99259],
    "sqrt": [0.06952, 0.16155, 0.37071, 0.54882],
}


def tokens(n, d, batch=None, seed=0):
    return uniform_on_sphere(n, d, batch, generator=torch.Generator().manual_seed(seed))


def flow_of(norm, **options):
    return AttentionFlow(16, norm=norm, tau=1.0 if norm == "mix" else None, **options)


def scheme(norm, n, beta):
    """``(g, r)'`` as the table of the norms has it."""

    def rate(t, state):
        g, r = state
        Z = math.exp(beta) + (n - 1) * math.exp(beta * g)
        p, q = math.exp(beta) / Z, math.exp(beta * g) / Z
        along = p + (n - 1) * q * g
        size = math.sqrt((p - q) ** 2 + (2 * (p - q) * q + n * q * q) * (1 + (n - 1) * g))
        s, dr = {
            "post": (1, 0),
            "pre": (r, along),
            "mix": (1, 0) if t < 1 else (r, along),
            "peri": (r * size, along / size),
            "ngpt": (size, 0),
            "sqrt": (r * math.sqrt(1 + t), along / math.sqrt(1 + t)),
        }[norm]
        return [equiangular(g, n, beta) / s, dr]

    return rate


@pytest.mark.parametrize("norm", SHEET)
@pytest.mark.parametrize("start", [1.0, 2.5])
def test_equiangular_tokens_follow_the_equation_of_their_norm(norm, start):
    if norm in ON_SPHERE and start != 1:
        return
    path = flow_of(norm).flow(start * torch.eye(16), 3.0, 180, path=True)[[30, 60, 120, 180]]
    radii = path.norm(dim=-1)
    g = (on_sphere(path)[:, 0] * on_sphere(path)[:, 1]).sum(-1)
    if norm == "mix":
        # The equation is not smooth at τ, so it is solved on both sides of it.
        early = solved(scheme("post", 16, 1.0), [0.0, start], [0.5, 1.0])
        late = solved(scheme("pre", 16, 1.0), early[-1], [1.0, 2.0])
        exact = np.concatenate([early, late])
    else:
        exact = solved(scheme(norm, 16, 1.0), [0.0, start], [0.5, 1, 2, 3])
    close(g, torch.from_numpy(exact[:, 0].copy()), atol=1e-8)
    close(radii, torch.from_numpy(exact[:, 1:].copy()).expand(4, 16), atol=1e-8)
    if start == 1:
        close(g, torch.tensor(SHEET[norm], dtype=torch.float64), atol=6e-6)


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "none"])
def test_the_velocity_is_that_of_directions_and_radii(norm):
    n, d, t = 5, 3, 0.8
    size = 1.0 if norm in ON_SPHERE else torch.linspace(0.5, 2, n, dtype=torch.float64)[:, None]
    theta = tokens(n, d)
    flow = AttentionFlow(d, 1.4, norm=norm, tau=0.5 if norm == "mix" else None)
    velocity = flow.velocity(size * theta, t)
    r = (size * theta).norm(dim=-1, keepdim=True)
    A = AttentionFlow(d, 1.4, norm="none").velocity(theta)
    along = (theta * A).sum(-1, keepdim=True)
    length = A.norm(dim=-1, keepdim=True)
    one = torch.ones_like(r)
    s, dr = {
        "post": (one, 0 * r),
        "pre": (r, along),
        "mix": (r, along),
        "peri": (r * length, along / length),
        "ngpt": (length, 0 * r),
        "sqrt": (r * math.sqrt(1 + t), along / math.sqrt(1 + t)),
    }[norm]
    turn = (A - along * theta) / s
    close(velocity, dr * theta + r * turn, atol=1e-13)
    close(flow.slowness(size * theta, t), s[:, 0], atol=1e-14)
    if norm == "mix":
        close(flow.velocity(size * theta, 0.3), r * (A - along * theta), atol=1e-13)
    if norm == "pre":
        close(velocity, A, atol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
def test_each_stepper_approaches_the_same_tokens(norm):
    X = tokens(5, 16) * (1.0 if norm in ON_SPHERE else 1.5)
    flow = flow_of(norm)
    exact = flow.flow(X, 1.3, 80)
    for step in ("layer", "proj_euler"):
        if norm == "none" and step == "proj_euler":
            continue
        errors = [float((replace(flow, step=step).flow(X, 1.3, k) - exact).norm()) for k in (26, 52)]
        assert errors[0] / errors[1] == pytest.approx(2, abs=0.15), step
    close(replace(flow, step="adaptive", tolerance=1e-8).flow(X, 1.3), exact, atol=2e-7)


def test_a_step_that_reaches_over_the_turn_of_mix_is_cut_there():
    X = tokens(5, 16)
    flow = AttentionFlow(16, norm="mix", tau=0.437)
    errors = [float((flow.flow(X, 1.0, k) - flow.flow(X, 1.0, 100)).norm()) for k in (5, 10)]
    assert math.log2(errors[0] / errors[1]) > 3.7
    close(flow.flow(X, 0.437, 4), AttentionFlow(16).flow(X, 0.437, 4), atol=1e-15)
    close(flow.flow(X, 0.5, 10, start=0.437), AttentionFlow(16, norm="pre").flow(X, 0.5, 10), atol=1e-15)


def test_what_a_layer_does():
    X = tokens(5, 3)
    A = AttentionFlow(3, norm="none").velocity(X)
    one = {norm: AttentionFlow(3, norm=norm, step="layer").flow(X, 1.0, 1) for norm in ("post", "pre", "peri", "ngpt")}
    close(one["post"], on_sphere(X + A), atol=1e-14)
    close(one["pre"], X + A, atol=1e-14)
    close(one["peri"], X + on_sphere(A), atol=1e-14)
    close(one["ngpt"], on_sphere(X + on_sphere(A)), atol=1e-14)


def test_late_decay():
    """``1 − g``: exponential for post and ngpt, a power of the time for the others."""
    flow = {norm: AttentionFlow(3, norm=norm) for norm in ("post", "ngpt", "pre", "peri")}
    X = on_sphere(tokens(4, 3) + torch.tensor([0.0, 0, 1.5]))
    for norm in ("post", "ngpt"):
        path = flow[norm].flow(X, 6.0, 60, path=True)
        gaps = 1 - (path[:, 0] * path[:, 1]).sum(-1)
        assert float((gaps[50] / gaps[60]).log()) == pytest.approx(2.0, rel=1e-3)
    for norm in ("pre", "peri"):
        path = flow[norm].flow(X, 20.0, 100, path=True)
        directions = on_sphere(path)
        gaps = 1 - (directions[:, 0] * directions[:, 1]).sum(-1)
        # Late, r' is 1: the power is of the radius, and so of the time.
        radii = path.norm(dim=-1).mean(-1)
        assert float((gaps[50] / gaps[100]).log() / (radii[100] / radii[50]).log()) == pytest.approx(2.0, rel=2e-2)


def test_norms_of_the_sphere_and_those_with_radii_are_all():
    assert {*ON_SPHERE, *GROWING, "none"} == set(NORMS)
    with pytest.raises(ConfigError, match="divides no directions"):
        AttentionFlow(3, norm="none").slowness(tokens(3, 3))
