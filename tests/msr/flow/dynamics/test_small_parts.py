"""The sphere, masks, the network of a block, and steps by themselves."""

import math
from functools import partial

import pytest
import torch

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.flow import Mlp, causal_bias, on_sphere, uniform_on_sphere, usa_step
from msr.flow.dynamics.steppers import Interval, adaptive, euler, rk4, walk

close = partial(torch.testing.assert_close, rtol=0)


def test_tokens_are_brought_to_the_sphere_at_any_size(gen):
    X = torch.randn(4, 5, 3, dtype=torch.float64, generator=gen)
    expected = X / X.norm(dim=-1, keepdim=True)
    for size in (1e-300, 1.0, 1e200):
        close(on_sphere(size * X), expected, atol=1e-15)
    assert on_sphere(X.float()).dtype == torch.float32
    assert on_sphere([[3, 4]]).tolist() == [[0.6, 0.8]]
    assert on_sphere([3.0, 4.0]).shape == (2,)
    assert torch.autograd.gradcheck(on_sphere, X[0].clone().requires_grad_())


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (torch.tensor([[1.0, 0], [0, 0]]), DataError, r"X\[1\] is 0"),
        (torch.zeros(2), DataError, "X is 0"),
        (torch.tensor([[1.0, math.inf]]), NonFiniteError, r"X\[0, 1\] is inf"),
        (torch.tensor(1.0), ShapeError, "tokens"),
        (torch.ones(2, 0), ShapeError, "tokens"),
        (torch.ones(2, 2, dtype=torch.bool), DataError, "real"),
    ],
)
def test_what_has_no_direction_is_refused(X, error, words):
    with pytest.raises(error, match=words):
        on_sphere(X)


def test_uniform_tokens_are_uniform_and_of_their_generator():
    draw = lambda: uniform_on_sphere(1000, 3, 20, generator=torch.Generator().manual_seed(1))  # noqa: E731
    X = draw()
    assert torch.equal(X, draw())
    close(X.norm(dim=-1), torch.ones(20, 1000, dtype=torch.float64), atol=1e-14)
    flat = X.reshape(-1, 3)
    # Archimedes: each coordinate is uniform on -1 to 1; four standard errors.
    assert float(flat.mean(0).abs().max()) < 4 * (1 / 3 / 20_000) ** 0.5
    close(flat.mT @ flat / 20_000, torch.eye(3, dtype=torch.float64) / 3, atol=4 * 0.3 / 20_000**0.5)
    for sizes in ((0, 3), (3, 0), (3, 3, 0), (True, 3), (2.0, 3)):
        with pytest.raises(ConfigError, match="whole number"):
            uniform_on_sphere(*sizes, generator=torch.Generator())


def test_a_causal_bias_hides_what_comes_later():
    M = causal_bias(4)
    assert torch.equal(M.exp(), torch.ones(4, 4, dtype=torch.float64).tril())
    with pytest.raises(ConfigError, match="whole number"):
        causal_bias(0)


def test_a_network_is_applied_to_each_token(gen):
    W1, W2, b = (torch.randn(*s, dtype=torch.float64, generator=gen) for s in ((5, 3), (3, 5), (5,)))
    X = torch.randn(2, 4, 3, dtype=torch.float64, generator=gen)
    net = Mlp(W1, W2.numpy(), b)
    assert net.d == 3
    close(net.output(X)[1, 2], W2 @ (W1 @ X[1, 2] + b).clamp(min=0), atol=1e-14)
    close(Mlp(W1, W2).output(X)[0, 1], W2 @ (W1 @ X[0, 1]).clamp(min=0), atol=1e-14)
    for bad, error in (
        ((W1, W1), ShapeError),
        ((W1[0], W2), ShapeError),
        ((W1, W2, b[:4]), ShapeError),
        ((W1, W2 * math.nan), NonFiniteError),
        ((W1, "W2"), DataError),
    ):
        with pytest.raises(error, match="mlp"):
            Mlp(*bad)


def test_the_authors_step_for_exponentials():
    for beta in (1.0, 4.0, 9.0):
        assert usa_step(beta) == pytest.approx(0.1 / max(beta**0.5 * math.exp(beta - 0.5), 1))
    assert usa_step(0.0) == usa_step(-3.0) == usa_step(0.5) == 0.1
    assert usa_step(1e4) == 0
    with pytest.raises(ConfigError, match="finite"):
        usa_step(math.inf)


def growing(state, t):
    return (state[0] * math.cos(t), -state[1])


@pytest.mark.parametrize(("stepper", "order"), [(rk4, 4), (euler, 1)])
def test_steppers_take_states_of_several_parts_and_the_time(stepper, order):
    state = (torch.ones(2, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    errors = []
    for steps in (20, 40):
        times: list[float] = []
        keep = lambda s, t, times=times: times.append(t)  # noqa: E731
        end = walk(state, Interval(0.0, 1.0, steps), stepper(growing, lambda s: s), keep)
        assert times == pytest.approx([(k + 1) / steps for k in range(steps)])
        errors.append(float((end[0] - math.exp(math.sin(1))).abs().max()))
        close(end[1], torch.full((3,), math.exp(-1), dtype=torch.float64), atol=0.03)
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_adaptive_steps_take_states_of_several_parts_and_the_time():
    state = (torch.ones(2, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    first, second = adaptive(growing, lambda s: s, 1e-10)(state, 0.0, 1.0)
    close(first, torch.full((2,), math.exp(math.sin(1)), dtype=torch.float64), atol=1e-9)
    close(second, torch.full((3,), math.exp(-1), dtype=torch.float64), atol=1e-9)


def test_breaks_cut_only_the_steps_that_they_lie_inside():
    interval = Interval(0.0, 1.0, 4, (0.25, 0.6))
    pieces = [list(interval.pieces(k)) for k in range(4)]
    assert pieces == [[(0.0, 0.25)], [(0.25, 0.5)], [(0.5, 0.6), (0.6, 0.75)], [(0.75, 1.0)]]
