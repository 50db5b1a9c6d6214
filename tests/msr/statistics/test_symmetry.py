"""Sign tests: the formula and the flips against all choices of signs."""

import pytest
import torch

from msr.statistics.symmetry import sign_flip_p_values, symmetric_p_value


def test_the_bound_at_its_ends_and_where_it_is_exact():
    assert symmetric_p_value(torch.zeros(3)) == 1
    assert symmetric_p_value(torch.ones(100)) < 1e-20
    assert symmetric_p_value(-torch.ones(100)) == 1
    assert symmetric_p_value(torch.ones(100), torch.full((100,), 100.0)) == 1
    # Two ones: both signs are up with probability 1/4, and the bound is exact there.
    assert symmetric_p_value(torch.ones(2, dtype=torch.float64)) == pytest.approx(0.25)


def test_all_signs_of_few_numbers_are_looked_at(gen):
    values = torch.rand(10, 2, generator=gen, dtype=torch.float64) + 0.1
    values[3, 1] *= -1e-3  # one against: two of all choices of signs have a sum as large
    p_value = sign_flip_p_values(values, 0)
    assert p_value.tolist() == [1 / 1024, 2 / 1024]


def test_random_signs_agree_with_all_signs(gen):
    values = torch.randn(13, 1, generator=gen, dtype=torch.float64)
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * 13)
    share = float((signs @ values >= values.sum(0)).double().mean())
    assert float(sign_flip_p_values(values, 0)) == pytest.approx(share, abs=0.02)


def test_the_bound_is_never_below_the_exact_p_value(gen):
    values = torch.randn(12, 20, generator=gen, dtype=torch.float64) + 0.4
    exact = sign_flip_p_values(values, 0)
    for column, p_value in zip(values.T, exact.tolist(), strict=True):
        assert symmetric_p_value(column) >= p_value - 1e-12
