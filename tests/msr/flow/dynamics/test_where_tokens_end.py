"""Where tokens go in the end, as the theorems say: one point, the ring, the vertices of a hull, parallel lines."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from msr.flow import AttentionFlow, cluster_counts, equiangular_path, on_sphere, uniform_on_sphere


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def box(n, d, seed, size=5.0):
    return size * (2 * torch.rand(n, d, generator=drawn(seed), dtype=torch.float64) - 1)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_almost_every_start_ends_in_one_point(beta, kind):
    tokens = uniform_on_sphere(32, 3, 16, generator=drawn(0))
    assert cluster_counts(AttentionFlow(3, beta, kind=kind).flow(tokens, 30.0)).tolist() == [1] * 16


@pytest.mark.parametrize(("beta", "stays"), [(-0.7, True), (-0.6, False)])
def test_three_tokens_stay_on_a_ring_where_they_repel_enough(beta, stays):
    # The bound is β = −2/3.
    angles = 2 * math.pi / 3 * torch.arange(3, dtype=torch.float64) + torch.tensor([0.02, -0.01, 0.0])
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    end = AttentionFlow(2, beta, kind="usa").flow(ring, 200.0, 2000)
    products = (end @ end.mT)[[0, 0, 1], [1, 2, 2]]
    apart = float((products + 0.5).abs().max())
    assert (apart < 0.02) == stays


def test_in_many_dimensions_random_tokens_move_as_orthogonal_ones():
    tokens = uniform_on_sphere(32, 1024, 4, generator=drawn(0))
    times = [0.0, 1.0, 2.0, 3.0, 5.0]
    exact = equiangular_path(times, 32, 1.0)
    path = AttentionFlow(1024).flow(tokens, 5.0, 50, path=True)
    pairs = ~torch.eye(32, dtype=torch.bool)
    for time, cosine in zip(times, exact.tolist(), strict=True):
        now = path[round(10 * time)]
        mean = (now @ now.mT)[:, pairs].mean(1)
        assert float((mean - cosine).abs().max()) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_with_the_identity_rescaled_tokens_end_at_vertices_of_their_hull(seed):
    flow = AttentionFlow(2, norm="none", step="unproj_rk4")
    end = flow.rescaled(box(20, 2, seed), 12.0, 240)
    counts = int(cluster_counts(end, 0.1, metric="distance"))
    assert 2 <= counts <= 7
    # x is in the finite set of the theorem: |x|² is the largest product of x with a vertex.
    defect = (end @ end.mT).max(1).values - (end**2).sum(1)
    assert float(defect.abs().max()) < 1e-3
    vertices = end[ConvexHull(end.numpy()).vertices]
    assert float(torch.cdist(end, vertices).min(1).values.max()) < 1e-2


@pytest.mark.parametrize("seed", range(3))
def test_a_simple_top_eigenvalue_puts_tokens_on_at_most_three_parallel_lines(seed):
    V = torch.tensor([[1.0, 0.6], [0.4, 0.7]], dtype=torch.float64)
    values, left = np.linalg.eig(V.numpy().T)
    top = torch.from_numpy(left[:, values.argmax()])
    end = AttentionFlow(2, V=V, norm="none", step="unproj_rk4").rescaled(box(20, 2, seed), 8.0, 320)
    assert 1 <= int(cluster_counts((end @ top)[:, None], 0.02, metric="distance")) <= 3
    # No other direction does that.
    assert int(cluster_counts((end @ torch.tensor([top[1], -top[0]]))[:, None], 0.02, metric="distance")) > 3


@pytest.mark.parametrize("seed", range(2))
def test_tokens_go_to_the_boundary_of_a_hull_times_the_features_that_shrink(seed):
    flow = AttentionFlow(3, V=torch.diag(torch.tensor([1.0, 1.0, -0.5])), norm="none", step="unproj_rk4")
    grown = flow.rescaled(box(20, 3, seed), 10.0, 400)[:, :2]
    hull = ConvexHull(grown.numpy())
    inside = -(grown.numpy() @ hull.equations[:, :2].T + hull.equations[:, 2]).max(1)
    near = np.minimum(inside, grown.norm(dim=1).numpy())
    assert near.max() < 2e-3


def test_repelling_tokens_end_at_the_octahedron():
    start = on_sphere(torch.randn(6, 3, generator=drawn(1), dtype=torch.float64))
    end = AttentionFlow(3, V=-torch.eye(3)).flow(start, 200.0, 2000)
    products = (end @ end.mT)[~torch.eye(6, dtype=torch.bool)].sort().values
    torch.testing.assert_close(products[:6], -torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(products[6:], torch.zeros(24, dtype=torch.float64), rtol=0, atol=1e-6)
