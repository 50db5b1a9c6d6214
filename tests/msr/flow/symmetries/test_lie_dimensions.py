"""Lie dimensions of maps: the flow's menu by its velocity, known linear maps, precision, and doubt."""

import math

import numpy as np
import pytest
import torch

from msr.errors import ConfigError, DataError, NonFiniteError, PrecisionError, ShapeError
from msr.flow import AttentionFlow, uniform_on_sphere
from msr.flow.symmetries.feature_groups import feature_group
from msr.flow.symmetries.lie_dimensions import LieDimension, lie_dimension
from tests.msr.flow.menu import FEATURES, TURN
from tests.msr.flow.symmetries.test_feature_groups import flow_of


def tokens(d, n=3, c=16):
    return uniform_on_sphere(n, d, c, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FEATURES)
def test_the_menu(name):
    arguments, dim, _ = FEATURES[name]
    found = lie_dimension(flow_of(**arguments).velocity, tokens(arguments["d"]))
    assert found.dim == dim
    assert found.gap > 0.02
    assert found.zero < 1e-14
    # The same algebra as the one that the matrices give.
    exact = feature_group(**arguments).algebra.flatten(1)
    both = torch.cat([exact, found.basis.flatten(1)])
    assert int(torch.linalg.matrix_rank(both, rtol=1e-8)) == dim if dim else len(both) == 0


@pytest.mark.parametrize(("d", "dim"), [(2, 1), (3, 3)])
@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_no_linear_symmetry_but_rotations(d, dim, kind):
    """Over all matrices of the nd numbers of a configuration, and over all of the d features."""
    flow = AttentionFlow(d, 1.5, kind=kind)
    found = lie_dimension(flow.velocity, tokens(d), over="all")
    assert (found.dim, found.basis.shape) == (dim, (dim, 3 * d, 3 * d))
    assert lie_dimension(flow.velocity, tokens(d), over="gl").dim == dim


def test_differences_give_the_same():
    for V, dim in ((None, 3), (torch.diag(torch.tensor([1.0, 1.0, -0.5])), 1)):
        f = AttentionFlow(3, 1.5, V=V).velocity
        found = lie_dimension(f, tokens(3), method="difference")
        exact = lie_dimension(f, tokens(3))
        assert found.dim == exact.dim == dim
        assert found.zero < 1e-9
        torch.testing.assert_close(found.singular_values, exact.singular_values, atol=1e-8, rtol=0)


def test_a_flow_map_and_the_raw_flow():
    flow = AttentionFlow(3, 1.5, V=torch.diag(torch.tensor([1.0, 1.0, -0.5])))
    assert lie_dimension(lambda X: flow.flow(X, 0.5, 5), tokens(3, c=20)).dim == 1
    raw = AttentionFlow(3, 1.0, Q=torch.diag(torch.tensor([1.0, 1.0, -1.0])), norm="none")
    assert lie_dimension(raw.velocity, tokens(3), over="gl").dim == 3
    assert lie_dimension(raw.velocity, tokens(3), over="so").dim == 1


def test_linear_maps():
    W = torch.as_tensor(TURN + 2 * np.eye(2))
    assert lie_dimension(lambda X: X @ W.mT, tokens(2), over="gl").dim == 2
    # What counts as 0 is relative to the map.
    for size in (1e-12, 1e12):
        assert lie_dimension(lambda X, size=size: size * (X @ W.mT), tokens(2), over="gl").dim == 2
    assert lie_dimension(lambda X: X, tokens(2), over="gl").dim == 4
    assert lie_dimension(torch.zeros_like, tokens(2), over="gl").dim == 4
    assert lie_dimension(lambda X: torch.ones_like(X), tokens(2)).dim == 0
    assert lie_dimension(lambda X: X, tokens(1)).dim == 0
    # A token that all see alone: rotations of the pair of tokens are symmetries as well.
    assert lie_dimension(lambda X: X, tokens(1, n=2), over="all").dim == 4
    assert lie_dimension(lambda X: X, tokens(2).float()).dim == 1
    # All tokens at once in one configuration (n, d).
    assert lie_dimension(lambda X: X, tokens(2)[0]).dim == 1


def test_a_broken_symmetry_in_the_noise_is_refused():
    W = torch.diag(torch.tensor([1.0, 1.0 + 2e-8], dtype=torch.float64))
    with pytest.raises(PrecisionError):
        lie_dimension(lambda X: X @ W, tokens(2))
    W = torch.diag(torch.tensor([1.0, 1.001], dtype=torch.float64))
    assert lie_dimension(lambda X: X @ W, tokens(2)).dim == 0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: lie_dimension(lambda X: X, torch.ones(3)), ShapeError),
        (lambda: lie_dimension(lambda X: X[..., :1], tokens(2)), ShapeError),
        (lambda: lie_dimension(lambda X: X, tokens(3, c=1), over="all"), DataError),
        (lambda: lie_dimension(lambda X: X / 0, tokens(2)), NonFiniteError),
        (lambda: lie_dimension(lambda X: X, torch.full((3, 2), math.nan)), NonFiniteError),
        (lambda: lie_dimension(lambda X: X, tokens(2), over="sl"), ConfigError),
        (lambda: lie_dimension(lambda X: X, tokens(2), method="backward"), ConfigError),
        (lambda: lie_dimension(lambda X: X, tokens(2), step=0.0), ConfigError),
        (lambda: LieDimension(1, torch.zeros(0, 2, 2), torch.zeros(1), 1.0, 0.0), ShapeError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


def test_differences_that_tell_nothing_are_refused():
    stretched = torch.diag(torch.tensor([1.0, 1.1, 1.2], dtype=torch.float64))
    assert lie_dimension(lambda x: x @ stretched, tokens(3), method="difference").dim == 0
    # Every rotation would be a symmetry of this map: all singular values are below what rounding may be.
    with pytest.raises(PrecisionError, match="hide what is no symmetry"):
        lie_dimension(lambda x: x @ stretched.float(), tokens(3).float(), method="difference")
    with pytest.raises(PrecisionError, match="hide what is no symmetry"):
        lie_dimension(lambda x: x @ stretched, tokens(3), method="difference", step=0.5)


def test_a_map_may_compute_in_another_precision_than_its_tokens():
    flow = flow_of(3, torch.diag(torch.tensor([1.0, 1.0, 2.0])))
    for method in ("forward", "difference"):
        X = tokens(3).float() if method == "forward" else tokens(3)
        assert lie_dimension(flow.velocity, X, method=method).dim == 1
