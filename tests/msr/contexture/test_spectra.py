"""Exact spectra: the laws of singular functions, ties, the iterative solver, functions at new points."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.shared.cube import cube, flips
from msr.contexture import GroupContext, KernelContext, PoolContext, TableContext, extend, spectrum
from msr.contexture.spectra import decomposition
from msr.errors import ConfigError, DataError, PrecisionError, ShapeError
from msr.groups import cyclic
from tests.msr.contexture.cases import random_encoder, random_joint

SEEDS = st.integers(0, 10**6)


@given(SEEDS)
def test_singular_functions_keep_their_laws(seed):
    context = random_joint(seed)
    found = spectrum(context)
    assert found.complete
    assert len(found.values) == context.n - 1
    functions, weights = found.functions, context.weights
    torch.testing.assert_close(weights @ functions, torch.zeros(context.n - 1, dtype=torch.float64), atol=1e-12, rtol=0)
    products = functions.mT @ (weights[:, None] * functions)
    torch.testing.assert_close(products, torch.eye(context.n - 1, dtype=torch.float64), atol=1e-12, rtol=0)
    right = found.context_functions
    assert right is not None
    torch.testing.assert_close(context.expectation(right), functions * found.values, atol=1e-9, rtol=0)
    torch.testing.assert_close(context.adjoint(functions), right * found.values, atol=1e-9, rtol=0)
    # P(x, a) = P(x) P(a) (1 + Σ s_i μ_i(x) ν_i(a)), and k(x, x') = 1 + Σ s_i² μ_i(x) μ_i(x').
    ratio = 1 + functions @ torch.diag(found.values) @ right.mT
    joint = weights[:, None] * context.marginal * ratio
    torch.testing.assert_close(joint, torch.from_numpy(context.joint), atol=1e-12, rtol=0)
    kernel = 1 + functions @ torch.diag(found.squares) @ functions.mT
    torch.testing.assert_close(kernel, context.dual_kernel(), atol=1e-9, rtol=1e-9)
    assert float(found.squares.sum()) == pytest.approx(found.energy) == pytest.approx(context.energy)


def test_a_kernel_has_the_spectrum_of_its_table(monkeypatch):
    context = random_joint(2)
    by_table = spectrum(context)
    by_kernel = spectrum(KernelContext(context.dual_kernel(), context.weights))
    torch.testing.assert_close(by_kernel.values, by_table.values, atol=1e-7, rtol=0)
    assert by_kernel.context_functions is None
    # A large table is decomposed by its kernel.
    monkeypatch.setattr(decomposition, "_FACTOR", 3)
    torch.testing.assert_close(spectrum(context).values, by_table.values, atol=1e-7, rtol=0)


def test_singular_values_have_no_sign():
    ring = np.zeros((6, 6))
    for x in range(6):
        ring[x, [(x + 1) % 6, (x - 1) % 6]] = 0.5
    # The walk itself has the eigenvalues ½, ½, −½, −½ and −1 beside the constant's.
    torch.testing.assert_close(
        spectrum(TableContext(ring)).values, torch.tensor([1, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    )
    lazy = spectrum(TableContext((np.eye(6) + ring) / 2)).values
    torch.testing.assert_close(lazy, torch.tensor([0.75, 0.75, 0.25, 0.25, 0], dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "context",
    [
        PoolContext.rbf(random_encoder(0, 150, 3)),
        PoolContext.neighbours(random_encoder(1, 150, 3), 12),
        GroupContext(cube(cyclic(6))),
        flips(0.2),
        KernelContext(PoolContext.rbf(random_encoder(0, 150, 3)).dual_kernel(), name="kernel"),
        KernelContext.labels(np.arange(120) % 7),
        TableContext(np.full((40, 3), 1 / 3), name="independent"),
    ],
    ids=lambda context: context.name,
)
def test_the_iterative_solver_finds_what_the_dense_one_finds(context):
    k = 20
    dense = spectrum(context, k)
    iterative = spectrum(context, k, solver="iterative")
    torch.testing.assert_close(iterative.values, dense.values, atol=1e-8, rtol=0)
    weighted = context.weights[:, None]
    for start, stop in dense.blocks():
        if stop == k or dense.values[start] < 1e-6:
            break  # a space that goes on, or one of functions that are nothing to the context
        overlap = dense.functions[:, start:stop].mT @ (weighted * iterative.functions[:, start:stop])
        torch.testing.assert_close(
            torch.linalg.svdvals(overlap), torch.ones(stop - start, dtype=torch.float64), atol=1e-6, rtol=0
        )


def test_an_iterative_solver_without_end_is_an_error(monkeypatch):
    monkeypatch.setattr(decomposition, "_ROUNDS", 1)
    with pytest.raises(PrecisionError, match="copies of the same value"):
        spectrum(GroupContext(cube(cyclic(6))), 5, solver="iterative")


def test_equal_values_are_one_space():
    found = spectrum(flips(0.2))
    assert found.blocks()[:3] == [(0, 6), (6, 21), (21, 41)]
    assert [found.whole(d) for d in (1, 6, 7)] == [6, 6, 21]
    assert found.best_energy(6) == pytest.approx(6 * 0.36)
    assert found.rank() == 63
    part = spectrum(flips(0.2), 8)
    assert not part.complete
    assert part.energy == pytest.approx(found.energy)
    assert part.whole(3) == 6
    with pytest.raises(DataError, match="may be equal to others that were not computed"):
        part.whole(7)
    for wrong in (0, 64):
        with pytest.raises(ConfigError, match="d must be from 1 to the 63"):
            found.whole(wrong)


@pytest.mark.parametrize("kind", ["rbf", "neighbours"])
def test_functions_at_points_of_the_pool_are_those_that_are_known(kind):
    points = random_encoder(3, 80, 2)
    context = PoolContext.rbf(points) if kind == "rbf" else PoolContext.neighbours(points, 9)
    found = spectrum(context)
    continued = extend(context, found, points)
    kept = continued.shape[1]
    assert 0 < kept < 79
    assert float(found.values[kept]) < 0.02 <= float(found.values[kept - 1])
    torch.testing.assert_close(continued, found.functions[:, :kept], atol=1e-8, rtol=0)
    # By the kernel alone they are the same.
    by_kernel = context.kernel_rows(points) @ (found.functions * found.weights[:, None])[:, :kept].numpy()
    torch.testing.assert_close(torch.from_numpy(by_kernel) / found.squares[:kept], continued, atol=1e-6, rtol=1e-6)
    near = extend(context, found, points + 1e-9)[:, :3]
    if kind == "rbf":
        torch.testing.assert_close(near, found.functions[:, :3], atol=1e-6, rtol=0)


def test_what_cannot_be_asked_is_refused():
    context = flips(0.2)
    found = spectrum(context)
    with pytest.raises(ConfigError, match="k must be from 0 to 63"):
        spectrum(context, 64)
    with pytest.raises(ConfigError, match="solver must be"):
        spectrum(context, solver="fast")
    with pytest.raises(ConfigError, match="its own 64 points"):
        extend(context, found, torch.zeros(1, 6))
    with pytest.raises(ConfigError, match="floor must be above 0"):
        extend(context, found, torch.zeros(1, 6), floor=0)
    with pytest.raises(DataError, match=r"its largest value is 0\.6.*too weak"):
        extend(context, found, torch.zeros(1, 6), floor=0.7)


def test_a_context_of_one_point_has_no_function():
    found = spectrum(TableContext([[1.0]]))
    assert len(found.values) == 0
    assert found.complete
    assert found.blocks() == []
    assert found.energy == 0


def test_a_spectrum_of_another_context_is_not_continued():
    points = random_encoder(3, 20, 2)
    context = PoolContext.rbf(points)
    with pytest.raises(ShapeError, match="and not of the context rbf"):
        extend(context, spectrum(flips(0.2)), points)


def test_a_point_of_nearly_all_weight_costs_no_precision():
    context = TableContext(np.eye(3) * 0.4 + 0.2, [1 - 1e-15, 5e-16, 5e-16])
    functions = spectrum(context).functions
    assert float((context.weights @ functions).abs().max()) < 1e-12
