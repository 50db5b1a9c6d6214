"""A test of symmetry about zero that needs neither moments nor equal scales."""

import pytest
import torch

from msr.statistics.symmetry import symmetric_p_value


def test_symmetric_p_value():
    assert symmetric_p_value(torch.zeros(3)) == 1
    assert symmetric_p_value(torch.ones(100)) < 1e-20
    assert symmetric_p_value(-torch.ones(100)) == 1
    assert symmetric_p_value(torch.ones(100), torch.full((100,), 100.0)) == 1
    # Two ones: both signs are up with probability 1/4, and the bound is exact there.
    assert symmetric_p_value(torch.ones(2, dtype=torch.float64)) == pytest.approx(0.25)


def test_the_level_holds_for_numbers_of_unequal_sizes(gen):
    """At the null's boundary: fair signs of numbers whose sizes span orders of magnitude."""
    signs = torch.randint(2, (2000, 20), generator=gen).double() * 2 - 1
    sizes = torch.exp(2 * torch.randn(2000, 20, generator=gen, dtype=torch.float64))
    p_values = torch.tensor([symmetric_p_value(values) for values in signs * sizes])
    for alpha in (0.01, 0.05, 0.2):
        assert float((p_values <= alpha).double().mean()) <= alpha
