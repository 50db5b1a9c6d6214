"""Measures of encoders and of contexts, against the theorems they come from."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.shared.cube import cube, flips, targets
from msr.contexture import GroupContext, KernelContext, PoolContext, TableContext, convolve, spectrum
from msr.contexture.measures import (
    captured,
    compatibility,
    mutual_neighbours,
    principal_angle,
    probe_error,
    squared_correlation,
    trace_gap,
    trace_gap_bound,
    usefulness,
    value_intervals,
    worst_error,
    worst_error_bound,
)
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups import cyclic, dihedral
from tests.msr.contexture.cases import random_encoder, random_joint

SEEDS = st.integers(0, 10**6)


def inside(found) -> float:
    """An ε in the middle of the range of Theorem 16."""
    low = 1 - float(found.values[0])
    high = 1 - math.sqrt(float(found.squares[:2].sum()) / 2)
    return (low + high) / 2


@given(SEEDS, st.integers(1, 6))
def test_what_an_encoder_captures_is_at_most_what_there_is(seed, d):
    context = random_joint(seed)
    found = spectrum(context)
    encoder = random_encoder(seed, context.n, d)
    what = captured(context, encoder)
    assert bool((what.squares <= found.squares[: len(what.squares)] + 1e-9).all())
    # tr(C⁻¹ B), written out.
    weights = context.weights[:, None]
    centred = encoder - context.weights @ encoder
    back = context.adjoint(centred)
    ratio = torch.linalg.solve(centred.mT @ (weights * centred), back.mT @ (context.marginal[:, None] * back)).trace()
    assert what.energy == pytest.approx(float(ratio), rel=1e-6)
    torch.testing.assert_close((encoder - what.means) @ what.mixing, what.functions)
    # No invertible map of the encoder changes anything.
    mixed = encoder @ random_encoder(seed + 1, d, d) + 7
    assert captured(context, mixed).energy == pytest.approx(what.energy, rel=1e-5)
    assert squared_correlation(found, mixed, 1) == pytest.approx(squared_correlation(found, encoder, 1), abs=1e-7)


@given(SEEDS)
def test_the_exact_functions_are_found_to_be_exact(seed):
    context = random_joint(seed)
    found = spectrum(context)
    for d in (1, 3):
        encoder = found.functions[:, :d] @ random_encoder(seed, d, d) + 3
        assert squared_correlation(found, encoder) == pytest.approx(1, abs=1e-9)
        assert principal_angle(found, encoder) < 1e-5
        assert captured(context, encoder).share(found) == pytest.approx(1, abs=1e-9)
        assert trace_gap(found, captured(context, encoder)) == pytest.approx(float(found.values[d]), abs=1e-6)


def test_an_encoder_that_is_wider_holds_its_best_functions_first():
    context = convolve(GroupContext(cube(cyclic(6))), flips(0.2))
    found = spectrum(context)
    wide = torch.cat([found.functions[:, :4], random_encoder(0, 64, 6)], dim=1) @ random_encoder(1, 10, 10)
    what = captured(context, wide)
    assert principal_angle(found, what.functions[:, :4], 4) < 1.0
    assert principal_angle(found, wide, 4) < 1e-5
    assert captured(context, what.functions[:, :4]).share(found, 4) > 0.999


def test_angles_are_what_they_are_made():
    found = spectrum(random_joint(5))
    mu = found.functions
    for degrees in (0.0, 1e-6, 1e-3, 1.0, 30.0, 89.0):
        angle = math.radians(degrees)
        encoder = torch.stack([mu[:, 0], math.cos(angle) * mu[:, 1] + math.sin(angle) * mu[:, 4]], dim=1)
        assert principal_angle(found, encoder) == pytest.approx(degrees, abs=1e-9)
        assert squared_correlation(found, encoder) == pytest.approx((1 + math.cos(angle) ** 2) / 2)
    assert principal_angle(found, mu[:, :1], 2) == 90.0
    assert squared_correlation(found, mu[:, :1], 2) == pytest.approx(0.5)


def test_a_function_of_an_eigenspace_that_is_cut_is_right_whichever_it_is():
    found = spectrum(flips(0.2))
    for columns in ([0, 1, 2], [3, 5, 4]):
        turned = found.functions[:, columns] @ random_encoder(0, 3, 3)
        assert principal_angle(found, turned) < 1e-5
        assert squared_correlation(found, turned) == pytest.approx(1)
    beyond = torch.cat([found.functions[:, :6], found.functions[:, 10:12]], dim=1)
    assert principal_angle(found, beyond) < 1e-5
    assert principal_angle(found, found.functions[:, [0, 1, 8]]) == pytest.approx(90)
    assert squared_correlation(found, found.functions[:, [0, 1, 8]]) == pytest.approx(2 / 3)


@given(SEEDS, st.integers(1, 4))
def test_theorem_16_the_exact_functions_have_the_least_worst_error(seed, d):
    found = spectrum(random_joint(seed))
    eps = inside(found)
    bound = worst_error_bound(found, d, eps)
    assert worst_error(found, found.functions[:, :d], eps) == pytest.approx(bound, abs=1e-6)
    assert worst_error(found, random_encoder(seed, 9, d), eps) >= bound - 1e-6


def test_theorem_16_is_no_equivalence():
    squares = torch.tensor([0.9, 0.7, 0.4, 0.3, 0.1], dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([torch.ones(6, 1, dtype=torch.float64), random_encoder(0, 6, 5)], 1)).Q[:, 1:]
    mu = basis * math.sqrt(6)
    found = spectrum(KernelContext(1 + mu @ torch.diag(squares) @ mu.mT))
    errors = {}
    for degrees in (0, 5, 10, 20):
        angle = math.radians(degrees)
        turned = torch.stack([mu[:, 0], math.cos(angle) * mu[:, 1] + math.sin(angle) * mu[:, 3]], dim=1)
        errors[degrees] = worst_error(found, turned, 0.078445)
    assert errors[0] == pytest.approx(0.10147, abs=1e-5)
    assert errors[5] == pytest.approx(errors[0], abs=1e-8)
    assert errors[10] == pytest.approx(errors[0], abs=1e-8)
    assert errors[20] == pytest.approx(errors[0] + 0.0029, abs=1e-4)


def test_theorem_24_no_encoder_is_worse_than_its_trace_gap_says():
    checked = 0
    for seed in range(300):
        context = random_joint(seed)
        found = spectrum(context)
        eps = inside(found)
        encoder = random_encoder(seed, context.n, 1 + seed % 5)
        if seed % 2:  # near the exact functions, where the bound is not void
            d = encoder.shape[1]
            encoder = found.functions[:, :d] + 0.2 * encoder
        bound = trace_gap_bound(context, found, encoder, eps)
        if math.isfinite(bound):
            checked += 1
            assert worst_error(found, encoder, eps) <= bound + 1e-9
    assert checked > 100


@given(SEEDS)
def test_the_worst_error_is_that_of_some_target(seed):
    found = spectrum(random_joint(seed))
    eps = inside(found)
    encoder = random_encoder(seed, 9, 2)
    worst = worst_error(found, encoder, eps)
    weights = found.weights
    best = 0.0
    draw = torch.Generator().manual_seed(seed)
    for _ in range(300):
        u = torch.randn(8, dtype=torch.float64, generator=draw) * found.values**3
        u = u / u.norm()
        if float((u.square() * found.squares).sum()) >= (1 - eps) ** 2:
            best = max(best, probe_error(weights, encoder, found.functions @ u))
    assert best <= worst + 1e-6


def test_compatibility_is_what_the_group_keeps():
    kept = {
        "parity": (1, 1),
        "runs": (1, 1),
        "one bit": (1 / 6, 1 / 6),
        "two bits": (5 / 18, 5 / 18),
        "chirality": (1, 0),
    }
    for group, place in ((cyclic(6), 0), (dihedral(6), 1)):
        context = GroupContext(cube(group))
        found = spectrum(context)
        unit = context.unit_values - 1
        for name, target in targets().items():
            rho = compatibility(context, target)
            assert rho**2 == pytest.approx(kept[name][place], abs=1e-9), name
            variance = float(target.var(correction=0))
            error = probe_error(context.weights, found.functions[:, :unit], target) / variance
            assert error == pytest.approx(1 - rho**2, abs=1e-9), name


def test_tau_is_the_formula_and_says_where_it_is_blind():
    # Bits that are flipped with chance p: 63 functions, and the values of the sheet of formulas.
    expected = {
        0.05: (2.3936, 62),
        0.1: (1.8982, 21),
        0.2: (1.5545, 6),
        0.3: (1.3019, 1),
        0.4: (1.1924, 1),
        0.45: (1.1726, 1),
    }
    for chance, (tau, dimension) in expected.items():
        found = usefulness(spectrum(flips(chance)), 62)
        assert found.tau == pytest.approx(tau, abs=1e-4)
        # Equal values leave the place of the minimum to rounding.
        assert found.dimension == dimension
    assert usefulness(spectrum(flips(0.45))).energy == pytest.approx(0.0616, abs=1e-4)
    group = spectrum(GroupContext(cube(cyclic(6))))
    strong = usefulness(group)
    assert strong.tau == pytest.approx(2.0, abs=1e-9)
    assert strong.dimension == 13
    assert strong.abstains
    assert usefulness(spectrum(convolve(GroupContext(cube(cyclic(6))), flips(0.2)))).tau == pytest.approx(
        1.511, abs=1e-3
    )
    assert not usefulness(spectrum(flips(0.2))).abstains
    with pytest.raises(DataError, match="says nothing"):
        usefulness(spectrum(TableContext(torch.full((5, 2), 0.5))))


def test_decay_is_large_for_a_weak_association():
    rates = [usefulness(spectrum(flips(chance))).decay for chance in (0.05, 0.2, 0.4)]
    assert rates == sorted(rates)
    places = torch.arange(1, 20, dtype=torch.float64)
    mu = torch.linalg.qr(torch.cat([torch.ones(20, 1, dtype=torch.float64), random_encoder(0, 20, 19)], 1)).Q[:, 1:]
    kernel = 1 + 20 * mu @ torch.diag(torch.exp(-0.37 * places)) @ mu.mT
    assert usefulness(spectrum(KernelContext(kernel))).decay == pytest.approx(0.37, rel=1e-5)


def test_mutual_neighbours_count_what_is_shared():
    first = random_encoder(0, 50, 3)
    assert mutual_neighbours(first, first @ random_encoder(1, 3, 3) + 5) == 1
    other = random_encoder(2, 50, 3)
    of_k = mutual_neighbours(first, other)
    of_union = mutual_neighbours(first, other, union=True)
    assert 0 < of_union < of_k < 0.6
    with pytest.raises(ConfigError, match="k must be from 1 to 49"):
        mutual_neighbours(first, other, 50)


def test_what_cannot_be_measured_is_refused():
    context = random_joint(0)
    found = spectrum(context)
    constant = torch.full((9, 2), 0.3, dtype=torch.float64)
    for measure in (lambda: captured(context, constant), lambda: principal_angle(found, constant)):
        with pytest.raises(DataError, match="the same at all points"):
            measure()
    with pytest.raises(DataError, match="target is the same"):
        compatibility(context, constant[:, 0])
    nan = torch.full((9, 1), torch.nan)
    for measure in (
        lambda: principal_angle(found, torch.zeros(8, 2)),
        lambda: captured(context, torch.zeros(9, 0)),
        lambda: probe_error(found.weights, torch.zeros(8, 2), torch.zeros(9)),
        lambda: probe_error(found.weights, random_encoder(0, 9, 2), torch.zeros(8)),
        lambda: worst_error(found, torch.zeros(8, 2), 0.5),
    ):
        with pytest.raises(ShapeError, match=r"\(9, d\)"):
            measure()
    for measure in (
        lambda: probe_error(found.weights, random_encoder(0, 9, 2), nan[:, 0]),
        lambda: squared_correlation(found, nan),
    ):
        with pytest.raises(NonFiniteError):
            measure()
    with pytest.raises(DataError, match="weights of the points sum to 9"):
        probe_error(torch.ones(9, dtype=torch.float64), random_encoder(0, 9, 2), torch.arange(9.0))
    with pytest.raises(DataError, match="no target has a compatibility"):
        trace_gap_bound(context, found, random_encoder(0, 9, 2), 0.0)
    with pytest.raises(ConfigError, match="all values are needed"):
        worst_error(spectrum(context, 3), random_encoder(0, 9, 2), 0.5)
    with pytest.raises(DataError, match="no target has a compatibility"):
        worst_error(found, random_encoder(0, 9, 2), 0.0)
    with pytest.raises(ConfigError, match="eps from"):
        worst_error_bound(found, 2, 0.999)
    with pytest.raises(ConfigError, match="d0 must be from 1 to 2"):
        usefulness(spectrum(context, 3), 3)
    with pytest.raises(ConfigError, match="beta must be above 0"):
        usefulness(found, beta=0)


def test_a_context_that_tells_all_points_apart_abstains():
    found = usefulness(spectrum(KernelContext.labels(list(range(12)))))
    assert found.abstains
    assert found.tau == pytest.approx(2)
    part = usefulness(spectrum(KernelContext.labels(list(range(12))), 5))
    assert part.tau == math.inf
    assert part.abstains


def test_outputs_in_other_units_are_the_same_functions():
    found = spectrum(random_joint(3))
    encoder = random_encoder(0, 9, 3)
    target = encoder[:, 1]
    units = torch.tensor([1e9, 1e-9, 1.0], dtype=torch.float64)
    assert probe_error(found.weights, encoder * units, target) < 1e-12
    assert principal_angle(found, encoder * units, 2) == pytest.approx(principal_angle(found, encoder, 2), abs=1e-6)
    context = random_joint(3)
    assert captured(context, encoder * units).energy == pytest.approx(captured(context, encoder).energy, rel=1e-9)
    constant = torch.cat([encoder, torch.full((9, 1), 1e6, dtype=torch.float64)], dim=1)
    assert captured(context, constant).energy == pytest.approx(captured(context, encoder).energy, rel=1e-9)


def test_a_cut_through_the_first_eigenspace_misses_a_function():
    found = spectrum(GroupContext(cube(cyclic(6))))
    assert [worst_error_bound(found, d, 0.0) for d in (1, 6, 12)] == [1.0, 1.0, 1.0]


def test_intervals_hold_the_values_of_all_rows_there_could_be(gen):
    # Rows on a segment, whose values are those of a fine grid, and too few of them: the values are biased.
    grid = (torch.arange(400, dtype=torch.float64)[:, None] + 0.5) / 400
    truth = spectrum(PoolContext.rbf(grid, 200.0), 4).squares
    held = torch.zeros(4)
    biases = torch.zeros(2, 4)
    steady = torch.zeros(4)
    for seed in range(40):
        rows = torch.rand(80, 1, generator=gen, dtype=torch.float64)
        found = value_intervals(lambda some: PoolContext.rbf(some, 200.0), rows, 4, halves=20, seed=seed)
        held += (found.low <= truth) & (truth <= found.high)
        corrected = torch.where(found.steady, found.corrected, truth)
        biases += torch.stack([found.squares, corrected]) - truth
        steady += found.steady
        assert (found.low <= corrected).all()
        assert (corrected <= found.high).all()
    # At 95% each, 32 or fewer of 40 come with a chance of 4e-4.
    assert (held > 32).all()
    assert (steady >= 36).all()
    plain, corrected = (biases / 40)[:, 1:]
    assert (plain > 0.01).all()
    assert (corrected.abs() < plain / 2).all()


def test_intervals_are_wider_for_a_higher_level_and_fewer_rows(gen):
    rows = torch.rand(400, 1, generator=gen, dtype=torch.float64)
    make = PoolContext.rbf

    def width(count: int, level: float) -> float:
        found = value_intervals(lambda some: make(some, 20.0), rows[:count], 1, halves=20, level=level)
        return float(found.high - found.low)

    assert width(400, 0.95) < width(100, 0.95) < width(100, 0.999)
    again = value_intervals(lambda some: make(some, 20.0), rows[:100], 1, halves=20)
    assert torch.equal(again.low, value_intervals(lambda some: make(some, 20.0), rows[:100], 1, halves=20).low)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"rows": torch.zeros(79, 1)}, ShapeError, "80 rows are needed for intervals; got 79"),
        ({"k": 25}, ConfigError, "k must be a whole number from 1 to 24"),
        ({"k": 2.5}, ConfigError, "k must be a whole number"),
        ({"make": lambda rows: PoolContext.rbf(rows[:12])}, ConfigError, "which are 100; got one of 12 points"),
        ({"make": lambda rows: None}, ConfigError, "got NoneType"),
        ({"halves": 1}, ConfigError, "halves must be at least 2"),
        ({"level": 1.0}, ConfigError, "level between 0 and 1"),
    ],
)
def test_intervals_that_cannot_be_given(changes, error, says):
    with pytest.raises(error, match=says):
        value_intervals(**{"make": PoolContext.rbf, "rows": torch.arange(100.0)[:, None], **changes})


def test_where_rows_lie_alone_nothing_is_said(gen):
    # In six dimensions most rows have no neighbour: values of 100 rows are far above those of more rows.
    rows = torch.rand(100, 6, generator=gen, dtype=torch.float64)
    for gamma in (8.0, 40.0):
        found = value_intervals(lambda some: PoolContext.rbf(some, gamma), rows, 4, halves=20)  # noqa: B023
        assert not found.steady.any()
        assert (found.low == 0).all()
        assert (found.high == 1).all()
        assert found.corrected.isnan().all()
