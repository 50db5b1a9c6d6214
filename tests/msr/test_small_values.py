"""Subspaces, estimates and episodes: the small values that everything is reported in."""

import math

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from msr.episodes import Episodes
from msr.errors import DataError, NonFiniteError, ShapeError
from msr.span.angles import orthonormal_basis, principal_cosines, span_cosine
from msr.statistics.estimate import Estimate


def test_span_is_the_same_under_every_change_of_basis(gen):
    U = torch.randn(20, 4, generator=gen, dtype=torch.float64)
    R = torch.randn(4, 4, generator=gen, dtype=torch.float64)
    assert span_cosine(U @ R, U) == pytest.approx(1.0)
    assert principal_cosines(U @ R, U).min() == pytest.approx(1.0)


@given(angle=st.floats(0, math.pi / 2))
def test_principal_cosine_of_two_planes_at_a_known_angle(angle):
    e = torch.eye(4, dtype=torch.float64)
    other = torch.stack([e[0], math.cos(angle) * e[1] + math.sin(angle) * e[2]], dim=1)
    torch.testing.assert_close(
        principal_cosines(e[:, :2], other), torch.tensor([1.0, math.cos(angle)], dtype=torch.float64)
    )


def test_span_cosine_holds_the_truth_or_not(gen):
    e = torch.eye(6)
    assert span_cosine(e[:, :4], e[:, :2]) == 1.0  # larger and containing
    assert span_cosine(e[:, :1], e[:, :2]) == 0.0  # too small to contain
    assert span_cosine(e[:, 2:], e[:, :2]) == 0.0  # orthogonal
    doubled = torch.cat([e[:, :1], e[:, :1] * (1 + 1e-9)], dim=1)
    assert span_cosine(doubled, e[:, :2]) == 0.0  # two columns, one direction: rank, not width, counts


def test_the_length_of_a_learned_column_is_gauge():
    """At float32 and thousands of rows, a rank cut on the columns as they come would lose a short one."""
    e = torch.eye(4760)[:, :3]
    assert span_cosine(e * torch.tensor([1.0, 1, 1e-6]), e) == 1.0
    assert span_cosine(e * torch.tensor([1.0, 1, 0]), e) == 0.0


def test_rank_deficient_basis_is_cut(gen):
    U = torch.randn(9, 2, generator=gen)
    assert orthonormal_basis(torch.cat([U, U @ torch.randn(2, 3, generator=gen)], 1)).shape == (9, 2)


def test_nan_never_becomes_an_angle():
    bad = torch.eye(3)
    bad[0, 0] = math.nan
    with pytest.raises(NonFiniteError):
        principal_cosines(bad, torch.eye(3))
    with pytest.raises(ShapeError, match="3 and 4 dimensions"):
        span_cosine(torch.eye(3), torch.eye(4))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_interval_is_scipys(values):
    estimate = Estimate.of(values)
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, loc=sum(values) / len(values), scale=scipy.stats.sem(values) or 1e-300
    )
    assert estimate.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert 2 * estimate.ci95 == pytest.approx(high - low, rel=1e-6, abs=1e-9)


def test_estimate_of_one_none_and_nan():
    assert Estimate.of([2.0]).to_dict() == {"mean": 2.0, "ci95": None, "n": 1}
    with pytest.raises(DataError, match="at least one"):
        Estimate.of([])
    with pytest.raises(NonFiniteError, match=r"1 of 3 values.*index 1"):
        Estimate.of([0.0, math.nan, 1.0])


def test_episodes_split_and_check(gen):
    x, y = torch.randn(3, 5, 2, generator=gen), torch.randn(3, 5, 1, generator=gen)
    e = Episodes.split(x, y, 2).check()
    assert (e.n_tasks, e.support_x.shape[1], e.query_y.shape[1]) == (3, 2, 3)
    torch.testing.assert_close(e.examples()[0], x)
    assert e.select(slice(1, 2)).n_tasks == 1
    with pytest.raises(ShapeError, match="shots"):
        Episodes.split(x, y, 5)
    with pytest.raises(ShapeError, match="query_y must be"):
        e._replace(query_y=e.query_y[:2]).check()
    with pytest.raises(ShapeError, match="support_x has 2 examples a task, support_y has 1"):
        e._replace(support_y=e.support_y[:, :1]).check()
    with pytest.raises(DataError, match="no task"):
        e.select(slice(0, 0)).check()
    with pytest.raises(DataError, match="query_x holds no example"):
        e._replace(query_x=e.query_x[:, :0]).check()
