"""Clusters as connected components, against a walk over the graph; what is merged; what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.flow import on_sphere, uniform_on_sphere
from msr.flow.clustering import clusters
from msr.flow.clustering.clusters import cluster_counts, cluster_labels, mean_cosine, merged_share


def circle(angles):
    angles = torch.as_tensor(angles, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], -1)


def walked(near):
    """The slow twin: labels by a walk from each token that is not yet reached."""
    labels = [-1] * len(near)
    count = 0
    for first in range(len(near)):
        if labels[first] >= 0:
            continue
        waiting = [first]
        while waiting:
            i = waiting.pop()
            if labels[i] < 0:
                labels[i] = count
                waiting += [j for j in range(len(near)) if near[i][j]]
        count += 1
    return labels


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 4), st.floats(1e-3, 1.5))
def test_labels_are_those_of_a_walk(seed, n, batch, tol):
    gen = torch.Generator().manual_seed(seed)
    X = uniform_on_sphere(n, 3, batch, generator=gen)
    sizes = 0.1 + torch.rand(batch, n, 1, dtype=torch.float64, generator=gen)
    expected = [walked((x @ x.T >= 1 - tol).tolist()) for x in X]
    found = cluster_labels(X * sizes, tol)
    assert found.tolist() == expected
    assert found.dtype == torch.int64
    assert cluster_counts(X, tol).tolist() == [max(labels) + 1 for labels in expected]
    assert cluster_labels(X[0], tol).tolist() == expected[0]
    far = [walked((torch.cdist(x, x) <= tol).tolist()) for x in X]
    assert cluster_labels(X, tol, metric="distance").tolist() == far


def test_small_chunks_give_the_same(monkeypatch, gen):
    X = uniform_on_sphere(6, 2, 7, generator=gen)
    whole = cluster_labels(X, 0.1), merged_share(X, 0.1)
    monkeypatch.setattr(clusters, "_AT_ONCE", 40)
    for one, other in zip(whole, (cluster_labels(X, 0.1), merged_share(X, 0.1)), strict=True):
        assert torch.equal(one, other)


def test_a_chain_is_one_cluster():
    step = math.acos(1 - 1e-3)
    assert int(cluster_counts(circle(np.arange(12) * step * 0.99))) == 1
    assert int(cluster_counts(circle(np.arange(12) * step * 1.01))) == 12
    labels = cluster_labels(circle([0, 2, 0.01, 3, 2.01]))
    assert labels.tolist() == [0, 1, 0, 2, 1]


def test_distances_do_not_lose_their_digits():
    X = torch.tensor([[1e3, 0.0], [1e3 + 1e-6, 0.0], [1e3, 1e-3]], dtype=torch.float64)
    assert cluster_labels(X, 2e-6, metric="distance").tolist() == [0, 0, 1]
    assert float(merged_share(X, 2e-6, metric="distance")) == pytest.approx(1 / 3)


def test_shares_and_cosines():
    X = circle([0.0, 0.001, 2.0])
    assert float(merged_share(X)) == pytest.approx(1 / 3)
    gram = X @ X.T
    assert float(mean_cosine(3 * X)) == pytest.approx(float((gram.sum() - 3) / 6), abs=1e-15)
    assert mean_cosine(torch.stack([X, X])).shape == (2,)
    assert float(mean_cosine(torch.eye(4))) == pytest.approx(0, abs=1e-7)
    x = torch.randn(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(mean_cosine, x)


def test_a_single_token():
    X = np.array([[0.0, 2.0]])
    assert cluster_labels(X).tolist() == [0]
    assert int(cluster_counts(X)) == 1
    assert float(merged_share(X)) == 1
    assert float(mean_cosine(X)) == 1
    assert merged_share(X[None]).shape == (1,)


def test_whole_numbers_and_huge_ones():
    assert cluster_labels([[1, 0], [3, 0], [0, 2]]).tolist() == [0, 0, 1]
    assert cluster_labels(np.array([[1e300, 0], [1e-300, 0], [0, 1e200]])).tolist() == [0, 0, 1]
    assert cluster_labels(on_sphere(torch.ones(3, 2)).float()).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: cluster_labels(torch.ones(3)), ShapeError),
        (lambda: cluster_labels(torch.ones(1, 1, 3, 2)), ShapeError),
        (lambda: cluster_labels(torch.ones(0, 2)), DataError),
        (lambda: cluster_labels(torch.ones(3, 2, dtype=torch.bool)), DataError),
        (lambda: cluster_labels(torch.tensor([[1.0, math.nan]])), NonFiniteError),
        (lambda: cluster_labels(torch.tensor([[1.0, math.inf]])), NonFiniteError),
        (lambda: cluster_labels([[1.0, 0.0], [0.0, 0.0]]), DataError),
        (lambda: cluster_labels(torch.ones(2, 2), 0.0), ConfigError),
        (lambda: cluster_labels(torch.ones(2, 2), 1e-18), ConfigError),
        (lambda: cluster_labels(torch.ones(2, 2), 3.0), ConfigError),
        (lambda: cluster_labels(torch.ones(2, 2), -1.0, metric="distance"), ConfigError),
        (lambda: cluster_labels(torch.ones(2, 2), metric="rank"), ConfigError),
        (lambda: cluster_labels(torch.ones(50_000, 1)), DataError),
        (lambda: merged_share(torch.ones(50_000, 1)), DataError),
        (lambda: mean_cosine(torch.zeros(2, 2)), DataError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


def test_lists_of_tokens_with_a_history():
    rows = [torch.tensor([1.0, 0.0], requires_grad=True), torch.tensor([0.0, 1.0])]
    assert cluster_labels(rows).tolist() == [0, 1]
