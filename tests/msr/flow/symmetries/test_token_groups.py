"""Token groups of biases: the menu, all permutations as a slow twin, the flow itself, and doubt."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import AxiomError, ConfigError, DataError, NonFiniteError, PrecisionError, ShapeError
from msr.flow import AttentionFlow, causal_bias, uniform_on_sphere
from msr.flow.symmetries.token_groups import TokenGroup, token_group
from tests.msr.flow.menu import BIASES, all_permutations, generic, kept_by_all, ring, softmax, violation


@pytest.mark.parametrize("name", BIASES)
def test_the_menu(name):
    bias, order, title = BIASES[name]
    found = token_group(bias)
    assert found.order == order
    assert found.name.name == title
    assert found.group.order == order
    assert found.defect <= found.tolerance
    # What softmax shows, by the softmax itself and all 720 permutations.
    assert len(kept_by_all(softmax(bias))) == order
    shifted = bias + generic(6, 1, seed=3)
    assert token_group(shifted).order == order
    # USA sees the constants of rows, which are all different here.
    assert token_group(shifted, "usa").order == 1
    assert token_group(bias, "usa").order == order


@pytest.mark.parametrize("name", BIASES)
def test_the_flow_has_that_group_and_no_more(name):
    bias, order, _ = BIASES[name]
    X = uniform_on_sphere(6, 3, 2, generator=torch.Generator().manual_seed(1))
    flow = AttentionFlow(3, 1.5, bias=torch.as_tensor(bias))
    group = token_group(bias)
    moves = all_permutations(6)
    # All 720 in one batch: elements of a batch do not see each other.
    index = torch.as_tensor(moves)
    inputs = X[0][index]
    reached = flow.flow(X[0], 2.0, 4)[index]
    errors = (flow.flow(inputs, 2.0, 4) - reached).flatten(1).norm(dim=1) / reached[0].norm()
    true = errors < 1e-9
    assert int(true.sum()) == order
    if order < 720:
        assert float(errors[~true].min()) > 1e-3
    elements = {tuple(p) for p in moves[true.numpy()].tolist()}
    assert all(tuple(p) in elements for p in group.generators.tolist())
    for p in group.generators:
        assert violation(flow, X, p) < 1e-12


def test_what_usa_hides():
    """USA on the sphere with V = v I: a token's own weight pulls along the token, and is projected away."""
    M = np.diag(generic(4, 1)[:, 0])
    X = uniform_on_sphere(4, 3, 2, generator=torch.Generator().manual_seed(1))
    swap = [1, 0, 2, 3]
    for kind, V, own, order in (
        ("usa", None, False, 24),
        ("usa", torch.diag(torch.tensor([1.0, 1.0, -0.5])), True, 1),
        ("sa", None, True, 1),
    ):
        assert token_group(M, kind, own_weight=own).order == order
        # Of the velocity: the stages of a step leave the sphere by its error, and there the diagonal shows.
        flow = AttentionFlow(3, 1.0, V=V, bias=torch.as_tensor(M), kind=kind)
        error = float((flow.velocity(X[:, swap]) - flow.velocity(X)[:, swap]).norm())
        assert (error < 1e-13) is (order == 24)


@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 10**6), st.sampled_from(["sa", "usa"]), st.booleans())
def test_random_biases(n, values, seed, kind, masked):
    """Few values, so that there are symmetries, with a mask, and with constants of rows for softmax."""
    rng = np.random.default_rng(seed)
    M = rng.normal(size=values)[rng.integers(values, size=(n, n))]
    if masked:
        M[(rng.random((n, n)) < 0.3) & ~np.eye(n, dtype=bool)] = -np.inf
    if kind == "sa":
        expected = kept_by_all(softmax(M))
        M = M + rng.normal(size=(n, 1))
    else:
        expected = kept_by_all(np.where(np.isfinite(M), M, -1e9))
    assert token_group(M, kind).order == len(expected)


def test_heads_are_kept_each():
    both = np.stack([ring(), BIASES["blocks"][0]])
    assert token_group(both).order == len(
        [p for p in kept_by_all(both[0]) if np.array_equal(both[1][p][:, p], both[1])]
    )
    assert token_group(both[:, None]).order == token_group(both).order < 12


def test_the_distractor_breaks_the_group():
    for (i, j), order in {((0, 1), 1), ((0, 2), 1), ((0, 0), 2), ((0, 3), 2)}:
        M = ring()
        M[i, j] += 0.01
        assert token_group(M).order == order


def test_sizes():
    assert token_group(np.zeros((60, 60))).order == math.factorial(60)
    assert token_group(generic(150)).order == 1
    assert token_group([[5.0]]).order == 1
    assert token_group(np.zeros((4, 4), dtype=int)).name.name == "S4"
    assert token_group(causal_bias(30)).order == 1
    # A large common part is no structure, and what is left of the small one is judged by the rounding of the large.
    assert token_group(ring() + 1e6).order == 12
    assert token_group((ring() + generic(6, 1)).astype(np.float32)).order == 12


def test_measured_entries_need_a_tolerance():
    noisy = ring() + 1e-6 * generic(6)
    assert token_group(noisy).order == 1
    assert token_group(noisy, tol=1e-5).order == 12
    found = token_group(noisy, tol=1e-5)
    assert 0 < found.defect < 1e-5
    with pytest.raises(PrecisionError, match="order 1 and one of order 12"):
        token_group(noisy, tol=3e-7)


def test_a_chain_of_entries_is_no_equality():
    """Entries in steps below the tolerance, the ends of which are far apart."""
    values = np.linspace(0, 1, 36).reshape(6, 6)
    with pytest.raises(PrecisionError, match="joined by others"):
        token_group(values, "usa", tol=0.03, own_weight=True)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: token_group(np.zeros((2, 3))), ShapeError),
        (lambda: token_group(np.zeros(4)), ShapeError),
        (lambda: token_group(np.zeros((0, 0))), ShapeError),
        (lambda: token_group([[0.0, math.nan], [0.0, 0.0]]), NonFiniteError),
        (lambda: token_group([[0.0, math.inf], [0.0, 0.0]]), NonFiniteError),
        (lambda: token_group([[-math.inf, -math.inf], [0.0, 0.0]]), DataError),
        (lambda: token_group(np.ones((2, 2), dtype=bool)), DataError),
        (lambda: token_group(np.ones((2, 2), dtype=complex)), DataError),
        (lambda: token_group("M"), DataError),
        (lambda: token_group(np.zeros((2, 2)), "raw"), ConfigError),
        (lambda: token_group(np.zeros((2, 2)), own_weight=False), ConfigError),
        (lambda: token_group(np.zeros((2, 2)), tol=0.0), ConfigError),
        (lambda: token_group(np.zeros((2, 2)), tol=math.nan), NonFiniteError),
        (lambda: TokenGroup(np.zeros((1, 2, 3)), np.zeros((0, 2), int), 1, 0.0, 0.0), ShapeError),
        (lambda: TokenGroup(np.zeros((1, 2, 2)), np.zeros((0, 3), int), 1, 0.0, 0.0), ShapeError),
        (lambda: TokenGroup(np.zeros((1, 2, 2)), np.zeros((1, 2), int), 1, 0.0, 0.0), AxiomError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


def test_large_entries_of_one_head_hide_nothing_of_another():
    small = 1e-7 * generic(3, seed=1)
    assert token_group(small).order == 1
    assert token_group(torch.stack([1e8 * torch.eye(3, dtype=torch.float64), torch.as_tensor(small)])).order == 1
