"""Randomisation tests: the level of their p-value, and the laws of relabellings."""

import pytest
import torch

from msr.statistics.randomisation import Relabelling, randomisation_p_value


def test_the_p_value_holds_its_level_exactly():
    """Of 20 exchangeable numbers the observed one has each rank equally often: p ≤ 1/10 twice in 20."""
    p_values = [randomisation_p_value(as_extreme, 19) for as_extreme in range(20)]
    assert min(p_values) == 1 / 20
    assert max(p_values) == 1.0
    assert sum(p <= 0.1 for p in p_values) == 2


@pytest.mark.parametrize("draw", [Relabelling.permutation, Relabelling.rotation])
def test_a_relabelling_keeps_lengths_and_has_an_inverse(draw, gen):
    S = draw(6, gen)
    x = torch.randn(4, 6, generator=gen, dtype=torch.float64)
    torch.testing.assert_close(S.inverse(S.forward(x)), x)
    torch.testing.assert_close(S.forward(x).norm(dim=1), x.norm(dim=1))
    assert not torch.allclose(S.forward(x), x)
