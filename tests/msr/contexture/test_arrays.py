"""Every public function of contexts takes arrays for tensors, and gives the same."""

import math

import numpy as np
import pytest
import torch

from msr.contexture import PoolContext, SamplerContext, parse_context, spectrum
from msr.contexture.comparison import compared, known_share
from msr.contexture.learning import Schedule, learn
from msr.contexture.measures import (
    captured,
    compatibility,
    mutual_neighbours,
    principal_angle,
    probe_error,
    squared_correlation,
    trace_gap_bound,
    value_intervals,
    worst_error,
)
from msr.contexture.objectives import (
    balanced_regression,
    batch_moments,
    exact_moments,
    exact_pair_moments,
    kernel_batch_moments,
    pair_batch_moments,
)
from tests.msr.contexture.cases import random_encoder, random_joint

CONTEXT = random_joint(1)
FOUND = spectrum(CONTEXT)
FIRST = random_encoder(0, 9, 2)
SECOND = random_encoder(1, 7, 2)
EPS = 1 - 0.9 * float(FOUND.values[0])
DRAWN = random_encoder(2, 24, 2).reshape(8, 3, 2)
LABELS = torch.arange(9) % 7


def drawn(context, points):
    return context.draw(points, 3, torch.Generator().manual_seed(0))


def moments(made):
    return [made.first, made.cross] if made.second is None else [made.first, made.second, made.cross]


WALK = {
    "smoothed": (lambda x: CONTEXT.smoothed(x), [FIRST]),
    "on_points": (lambda x: torch.from_numpy(CONTEXT.on_points(x)), [FIRST]),
    "expectation": (lambda x: CONTEXT.expectation(x), [SECOND]),
    "adjoint": (lambda x: CONTEXT.adjoint(x), [FIRST]),
    "draw": (lambda x: drawn(CONTEXT, x), [torch.arange(4)]),
    "sampler": (lambda x: drawn(SamplerContext(lambda x, _: x + 1), x), [FIRST]),
    "learn": (lambda x: learn(CONTEXT, x, 2, schedule=Schedule(steps=2)).captured.squares, [torch.eye(9)]),
    "operator": (lambda x: CONTEXT.operator("gram", x), [FIRST]),
    "value_intervals": (
        lambda x: value_intervals(lambda rows: PoolContext.rbf(rows, 1.0), x, 2, halves=2).squares,
        [random_encoder(5, 80, 2)],
    ),
    "captured": (lambda x: captured(CONTEXT, x).squares, [FIRST]),
    "compatibility": (lambda x: compatibility(CONTEXT, x), [FIRST[:, 0]]),
    "mutual_neighbours": (lambda x, y: mutual_neighbours(x, y, 3), [FIRST, FIRST + 1]),
    "principal_angle": (lambda x: principal_angle(FOUND, x), [FIRST]),
    "squared_correlation": (lambda x: squared_correlation(FOUND, x), [FIRST]),
    "probe_error": (lambda w, x, y: probe_error(w, x, y), [FOUND.weights, FIRST, FIRST[:, 0] ** 2]),
    "worst_error": (lambda x: worst_error(FOUND, x, EPS), [FIRST]),
    "trace_gap_bound": (lambda x: min(trace_gap_bound(CONTEXT, FOUND, x, EPS), 1e9), [FOUND.functions[:, :2]]),
    "balanced_regression": (balanced_regression, [random_encoder(3, 9, 7), LABELS, CONTEXT.marginal]),
    "batch_moments": (lambda x, y: moments(batch_moments(x, y)), [DRAWN[:, 0], DRAWN]),
    "pair_batch_moments": (lambda y: moments(pair_batch_moments(y)), [DRAWN]),
    "kernel_batch_moments": (lambda x, k: moments(kernel_batch_moments(x, k)), [FIRST, CONTEXT.dual_kernel()]),
    "exact_moments": (lambda x, y: moments(exact_moments(CONTEXT, x, y)), [FIRST, SECOND]),
    "exact_pair_moments": (lambda y: moments(exact_pair_moments(CONTEXT, y)), [SECOND]),
    "compared": (lambda x: compared(x, [parse_context("rbf:auto")])[0].usefulness.tau, [random_encoder(4, 20, 2)]),
    "known_share": (lambda y: known_share(CONTEXT, y), [FIRST]),
}


@pytest.mark.parametrize("name", WALK)
def test_arrays_give_what_tensors_give(name):
    call, arguments = WALK[name]
    expected = call(*arguments)
    for given in ([np.asarray(x) for x in arguments], [x.tolist() for x in arguments] if name == "adjoint" else []):
        if given:
            torch.testing.assert_close(call(*given), expected)
    assert not isinstance(expected, float) or math.isfinite(expected)


def test_points_of_a_pool_may_be_lists():
    assert PoolContext.neighbours([[0.0], [1.0], [3.0]], 2).n == 3
