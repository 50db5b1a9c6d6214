"""Phase diagrams and staircases: exact merges, the curve of equiangular tokens, and toy flows."""

import math
from types import SimpleNamespace

import pytest
import torch

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.flow import AttentionFlow
from msr.flow.clustering.phases import PhaseDiagram, phase_diagram
from msr.flow.clustering.stairs import staircase
from msr.flow.theory.equiangular import equiangular_time
from msr.flow.theory.two_clusters import merging_time
from tests.msr.flow.clustering.test_clusters import circle

START = circle([0.05, 0.20, 1.80, 2.90, 3.20])


@pytest.mark.parametrize(
    ("beta", "T", "steps", "merges"),
    [(4.0, 6.0, 60, [1.2533, 2.5092, 5.3386]), (3.0, 64.0, 400, [1.2988, 2.5347, 4.6680, 63.6212])],
)
def test_the_staircase(beta, T, steps, merges):
    steps = staircase(AttentionFlow(2, beta), START, T, steps)
    assert steps.merges.numpy() == pytest.approx(merges, abs=6e-5, rel=5e-6)
    assert steps.counts[0] == 5
    assert int(steps.counts[-1]) == 5 - len(merges)
    assert steps.times[-1] == T
    # The energy never falls, and ends at the top where all are one.
    assert float(steps.energies.diff().min()) >= -1e-14 * math.exp(beta)
    if len(merges) == 4:
        assert float(steps.energies[-1]) == pytest.approx(math.exp(beta) / (2 * beta), rel=2e-3)


def test_two_tokens_merge_at_their_time():
    steps = staircase(AttentionFlow(2, 2.0), circle([0.0, math.pi / 2]), 6.0, 120)
    assert steps.merges.tolist() == [pytest.approx(merging_time(2.0), abs=1e-5)]


def toward_a_point(rate=1.0):
    """Angles that shrink to 0 at a rate: a flow that is known at all times, whose steps are exact."""

    def flow(X, T, steps="safe", path=False, start=0.0):
        angles = torch.atan2(X[..., 1], X[..., 0])
        if not path:
            return circle(angles * math.exp(-rate * T))
        return torch.stack([circle(angles * math.exp(-rate * T * k / steps)) for k in range(steps + 1)])

    return SimpleNamespace(flow=flow, energy=lambda X: X[..., 0].sum(-1))


def test_two_merges_in_one_step_are_two():
    X = circle([0.0, 1.0, -3.0])
    near = math.acos(1 - 1e-3)
    found = staircase(toward_a_point(), X, 9.0, 3)
    assert found.merges.numpy() == pytest.approx([math.log(1 / near), math.log(3 / near)], abs=1e-8)
    assert found.counts.tolist() == [3, 3, 1, 1]
    assert found.energies.shape == (4,)


def test_a_stretch_at_a_time_is_the_same(monkeypatch):
    whole = staircase(AttentionFlow(2, 4.0), START, 1.4, 14)
    monkeypatch.setattr("msr.flow.clustering.stairs._AT_ONCE", 7)
    parts = staircase(AttentionFlow(2, 4.0), START, 1.4, 14)
    torch.testing.assert_close(parts.energies, whole.energies, atol=1e-13, rtol=0)
    torch.testing.assert_close(parts.merges, whole.merges, atol=1e-10, rtol=0)


def test_pairs_merge_along_the_exact_curve(gen):
    times = torch.arange(9, 17) / 2
    diagram = phase_diagram(lambda beta: AttentionFlow(128, beta), [1.0, 4.0], times, (2, 32, 128), gen, step=0.25)
    for beta, time in zip((1.0, 4.0), diagram.crossing_times(0.5).tolist(), strict=True):
        assert time == pytest.approx(equiangular_time(32, beta), abs=0.35)
    assert (diagram.n, diagram.d, diagram.batch) == (32, 128, 2)
    assert diagram.shares.shape == diagram.counts.shape == diagram.cosines.shape == (2, 8)
    assert diagram.counts[0].tolist()[0] > 1
    assert diagram.counts[0, -1] == 1
    assert bool((diagram.cosines.diff() > 0).all())


def test_a_diagram_of_a_known_flow(gen):
    """On the circle the share of merged pairs is told by the angles: the same starts for each rate."""
    diagram = phase_diagram(toward_a_point, [1.0, 2.0], [2, 4, 8], (50, 4, 2), gen, tol=1e-2)
    assert diagram.shares[0, 1] == diagram.shares[1, 0]
    assert diagram.shares[0, 2] == diagram.shares[1, 1]
    assert diagram.crossing_times(1.0).tolist() == [4, 2]
    assert diagram.shares[0, 0] < 1
    assert phase_diagram(toward_a_point, [1.0], [0.01], (5, 4, 2), gen).crossing_times(1.0).tolist() == [math.inf]


def test_a_flow_is_told_the_time():
    seen = []

    def at(_):
        def flow(X, T, steps, start):
            seen.append((start, T, steps))
            return X

        return SimpleNamespace(flow=flow)

    phase_diagram(at, [1.0], [0.3, 1.0], (1, 2, 2), torch.Generator().manual_seed(0), step=0.1)
    assert seen == [(0.0, pytest.approx(0.3), 3), (pytest.approx(0.3), pytest.approx(0.7), 7)]


def diagrams(betas=(1.0,), times=(1.0,), shape=(1, 2, 2), **options):
    return phase_diagram(toward_a_point, betas, times, shape, torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: diagrams(times=[1.0, 1.0]), ConfigError),
        (lambda: diagrams(times=[0.0, 1.0]), ConfigError),
        (lambda: diagrams(betas=[]), DataError),
        (lambda: diagrams(betas=[math.nan]), NonFiniteError),
        (lambda: diagrams(step=0.0), ConfigError),
        (lambda: diagrams(shape=(1, 2)), ConfigError),
        (lambda: diagrams(shape=(1, 0, 2)), ConfigError),
        (lambda: diagrams().crossing_times(0.0), ConfigError),
        (lambda: PhaseDiagram(*[torch.zeros(2)] * 2, *[torch.zeros(2, 3)] * 3, n=1, d=1, batch=1), ShapeError),
        (lambda: PhaseDiagram(*[torch.zeros(1)] * 2, *[torch.full((1, 1), 2.0)] * 3, n=1, d=1, batch=1), DataError),
        (lambda: staircase(toward_a_point(), START.expand(2, 5, 2), 1.0, 1), ShapeError),
        (lambda: staircase(toward_a_point(), START, 0.0, 1), ConfigError),
        (lambda: staircase(toward_a_point(), START, 1.0, 0), ConfigError),
        (lambda: staircase(toward_a_point(), START, math.inf, 1), NonFiniteError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()
