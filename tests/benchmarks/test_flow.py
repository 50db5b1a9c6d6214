"""The benchmark of the flow: rivals are written right, errors are measured against theory, wrong ones are told."""

import numpy as np
import pytest
import torch

from benchmarks import flow
from benchmarks.harness import flow_rivals
from msr.flow import AttentionFlow, equiangular_path, uniform_on_sphere


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr("benchmarks.harness.timing.PATIENCE", 0.0)


def test_a_loop_and_a_script_are_the_flow(gen):
    tokens = uniform_on_sphere(5, 3, generator=gen)
    ours = AttentionFlow(3, 2.0).flow(tokens, 1.0, 10)
    np.testing.assert_allclose(flow_rivals.loop_steps(tokens.numpy(), 2.0, 0.1, 10), ours, atol=1e-13)
    np.testing.assert_allclose(flow_rivals.script_steps(tokens, 2.0, 0.1, 10), ours, atol=1e-13)
    np.testing.assert_allclose(flow_rivals.field_of(2.0)(tokens), AttentionFlow(3, 2.0).velocity(tokens), atol=1e-14)


def test_a_way_that_differs_is_an_error(monkeypatch):
    right = flow_rivals.script_steps
    monkeypatch.setattr(flow, "script_steps", lambda X, beta, dt, steps: right(X, beta + 1e-6, dt, steps))
    with pytest.raises(ArithmeticError, match="script differs by"):
        flow.compare_steps(1, 4, 3, 1, 0.01)


@pytest.mark.parametrize("name", flow_rivals.SOLVERS)
def test_solvers_of_other_libraries_reach_the_exact_product(name):
    library, solve = flow_rivals.SOLVERS[name]
    if reason := flow_rivals.why_not(library):
        pytest.skip(reason)
    exact = float(equiangular_path([2.0], 6, 1.5)[0])
    start = torch.eye(6, dtype=torch.float64)
    errors = [flow.error_of(solve(flow_rivals.field_of(1.5), start, 2.0, tol), exact) for tol in (1e-3, 1e-9)]
    assert errors[1] < 1e-8 < errors[0]


def test_the_loosest_setting_is_taken():
    missing = dict.fromkeys(("torchdiffeq", "torchode"), "left out")
    row = flow.compare_errors(6, 1.0, 2.0, 1e-6, 1, 0.01, missing)
    way = row["ways"][flow.OURS]
    assert way["error"] <= 1e-6
    assert way["evaluations"] == 4 * way["setting"]
    # The next setting on the ladder of steps is too loose.
    ladder = flow.methods(6, 1.0, 2.0, missing)[flow.OURS][0]
    looser = ladder[ladder.index(way["setting"]) - 1]
    start = torch.eye(6, dtype=torch.float64)
    assert flow.error_of(AttentionFlow(6, 1.0).flow(start, 2.0, int(looser)), row["exact"]) > 1e-6


def test_an_error_that_is_not_reached_has_no_time(monkeypatch):
    monkeypatch.setattr(flow, "MOST", 4)
    row = flow.compare_errors(6, 1.0, 2.0, 1e-9, 1, 0.01, dict.fromkeys(("torchdiffeq", "torchode"), "left out"))
    assert row["ways"][flow.OURS] == {"setting": None, "seconds": None}


def test_blocks_bound_what_is_alive():
    row = flow.compare_kernels(256, 4, 1, 0.01)
    assert row["peaks"]["fused"] < row["peaks"]["all at once"]
    few = flow.cost(64, 4, 1, 0.01)
    assert few["peak"] < 10 * few["scores"]


def test_a_library_that_is_missing_says_how_to_get_it():
    assert flow_rivals.why_not("no_such_library_here") == "pip install no_such_library_here"
    assert flow_rivals.why_not("torch") == ""
