"""Whether a group keeps the biases of the tasks."""

import math

import pytest
import torch

from msr.discovery.breaking.biases import biases

TASKS, EXAMPLES, N = 200, 16, 5
RING = (torch.arange(N)[None] - torch.arange(N)[:, None]) % N
TURN = ((torch.arange(N) + 1) % N)[None]


def normal(gen, *shape):
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def tasks_with(gen, breaking, noise=0.1, offset=0.0, examples=EXAMPLES):
    """Circular tasks with biases that all outputs share, and a part of size ``breaking`` of each output."""
    W = (normal(gen, TASKS, N) / math.sqrt(N))[:, RING]
    bias = normal(gen, TASKS, 1) + breaking * normal(gen, TASKS, N)
    x = normal(gen, TASKS, examples, N) + offset * normal(gen, TASKS, 1, N)
    # Noise of another size in each example.
    spread = torch.exp(normal(gen, TASKS, examples, 1) / 2)
    y = x @ W.mT + bias[:, None] + noise * spread * normal(gen, TASKS, examples, N)
    means = x.mean(1), y.mean(1)
    return x - means[0][:, None], y - means[1][:, None], torch.full((TASKS,), examples), means


def ring_span():
    U = torch.zeros(N, N, N, dtype=torch.float64)
    U[torch.arange(N)[:, None], torch.arange(N)[None], RING] = 1
    return U.view(N * N, N) / math.sqrt(N), torch.zeros(N, dtype=torch.float64)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_biases_that_outputs_share_are_kept(gen, offset):
    answer = biases(*tasks_with(gen, 0.0, noise=0.02, offset=offset), TURN)
    assert answer.kept == "kept"
    assert answer.p_value <= 0.01
    assert answer.share < 0.05
    assert answer.bound < 0.05


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_biases_that_differ_between_outputs_are_broken(gen, offset):
    answer = biases(*tasks_with(gen, 0.3, offset=offset), TURN)
    assert answer.kept == "broken"
    # Of five numbers, four fifths are not their mean; outputs vary by one, and noise.
    assert answer.share == pytest.approx(0.3 * math.sqrt(0.8), rel=0.15)
    assert answer.bound > answer.share


def test_weak_breaking_is_seen_though_it_is_within_the_tolerance(gen):
    answer = biases(*tasks_with(gen, 0.03, noise=0.01), TURN)
    assert answer.kept == "broken"
    assert answer.bound < 0.05


def test_noise_alone_decides_nothing(gen):
    answer = biases(*tasks_with(gen, 0.0, noise=3.0), TURN, eps=0.02)
    assert answer.kept == "cannot tell"


def test_a_group_that_moves_no_output(gen):
    answer = biases(*tasks_with(gen, 1.0), torch.arange(N)[None])
    assert (answer.kept, answer.share) == ("kept", 0.0)


def test_orbits_are_those_of_all_generators(gen):
    """Outputs 0 and 1, and 1 and 2, may be swapped; the others stay, and their biases are free."""
    x, y, counts, (x_mean, y_mean) = tasks_with(gen, 0.0, noise=0.01)
    swaps = torch.tensor([[1, 0, 2, 3, 4], [0, 2, 1, 3, 4]])
    free = torch.tensor([0, 0, 0, 1.0, 2.0], dtype=torch.float64)
    assert biases(x, y, counts, (x_mean, y_mean + free), swaps).kept == "kept"
    assert biases(x, y, counts, (x_mean, y_mean + free.flip(0)), swaps).kept == "broken"


def test_few_examples_need_the_span(gen):
    data = tasks_with(gen, 0.0, noise=0.05, examples=6)
    assert biases(*data, TURN).method == "none"
    assert biases(*data, TURN, span=ring_span()).kept == "kept"
    broken = biases(*tasks_with(gen, 0.3, noise=0.05, examples=6), TURN, span=ring_span())
    assert broken.kept == "cannot tell"
    assert broken.share == pytest.approx(0.3 * math.sqrt(0.8), rel=0.2)


def test_unequal_noise_is_not_seen_as_breaking(gen):
    x, y, counts, means = tasks_with(gen, 0.0, noise=1.0, offset=0.5)
    answer = biases(x, y, counts, means, TURN)
    assert answer.kept != "broken"
    # Without the correction it would be about 0.3, the size of the noise of the biases.
    assert answer.share < 0.15
