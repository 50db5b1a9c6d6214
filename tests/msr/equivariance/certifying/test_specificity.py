"""Specificity: what is closer to its group than to relabelled copies of it, and what is not."""

import math

import pytest
import torch
from torch import nn

from msr.equivariance import (
    certify,
    specificity,
)
from msr.groups import cyclic
from msr.representations import planar, regular, trivial
from tests.msr.equivariance.layers import C8, R8, known_layer
from tests.support.cases import randomize, seeded


def test_an_equivariant_layer_is_specific_and_a_random_one_is_not(gen):
    good = certify(known_layer(gen), C8, R8, R8, eps=1e-5).specificity
    assert good.p_value == pytest.approx(1 / 100)
    assert good.median_random > 0.5
    bad = certify(randomize(seeded(lambda: nn.Linear(8, 8)), gen), C8, R8, R8, eps=0.1).specificity
    assert bad.p_value > 0.05
    net = certify(nn.Sequential(known_layer(gen), nn.Tanh()), C8, R8, R8, eps=0.01).specificity
    assert net.p_value == pytest.approx(1 / 100)
    assert certify(known_layer(gen), C8, R8, R8, eps=0.1, n_random=0).specificity is None


def test_what_commutes_with_every_relabelling_is_not_specific():
    one = trivial(C8)
    mean = certify(lambda x: x.mean(-1, keepdim=True), C8, R8, one, eps=0.01)
    assert mean.certified
    assert mean.specificity.p_value == 1.0
    weight = certify(torch.ones(8, 8), C8, R8, R8, eps=0.01)
    assert weight.certified
    assert weight.specificity.p_value == 1.0


def test_specificity_has_uniform_p_values_under_the_null():
    """Random weights know no group, so p ≤ α happens with probability at most α."""
    runs, small = 300, 0
    generator, rep = torch.Generator().manual_seed(1), regular(cyclic(6))
    for _ in range(runs):
        W = torch.randn(6, 6, generator=generator, dtype=torch.float64)
        result = specificity(W, rep, rep, torch.zeros(1, 6), n_random=19, generator=generator)
        small += result.p_value <= 0.1
    assert small / runs <= 0.1 + 2 * math.sqrt(0.09 / runs)


def test_specificity_of_rotations_uses_random_rotations(gen):
    """A turn about one axis: random rotations move the axis."""
    about_z = planar(8) + trivial(C8)
    x, scales = torch.randn(4, 3, generator=gen), torch.tensor([1.0, 1.0, 3.0])
    result = specificity(lambda x: scales * x, about_z, about_z, x, n_random=19, generator=gen)
    assert result.observed < 1e-6
    assert result.median_random > 0.1
    assert result.p_value == pytest.approx(1 / 20)
    every = specificity(lambda x: 2 * x, about_z, about_z, x, n_random=19, generator=gen)
    assert every.p_value == 1.0  # commutes with all rotations


@pytest.mark.parametrize("f", [nn.ReLU(), torch.eye(8)], ids=["ReLU", "identity"])
def test_pointwise_functions_are_not_specific(f, gen):
    """They commute with every relabelling that is the same on both sides."""
    assert certify(f, C8, R8, R8, eps=0.01).specificity.p_value == 1.0


def test_smooth_data_do_not_make_a_function_specific(gen):
    """The test is run on standard normal inputs, whatever data the certificate speaks of."""
    grid, small = 2 * math.pi * torch.arange(8) / 8, 0

    def smooth(n, g):
        return 3 + torch.randn(n, 1, generator=g) * grid.cos() + torch.randn(n, 1, generator=g) * grid.sin()

    for seed in range(30):
        W = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))
        f = lambda x, W=W: (x @ W.mT).abs()  # noqa: E731
        result = certify(f, C8, R8, trivial(C8, 3), eps=0.1, inputs=smooth, n_random=19)
        small += result.specificity.p_value <= 0.05
    assert small <= 6  # 1.5 expected
