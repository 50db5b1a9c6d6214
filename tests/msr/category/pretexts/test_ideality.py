"""Ideal encoders and the best that a rank allows; whose tail is the contexture's, and whose is not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.category.categories.constructors import from_monoid, from_poset
from msr.category.pretexts.ideality import (
    contexture_tail,
    ideality_score,
    index_column_features,
    index_column_product,
    row_column_features,
    surrogate,
)
from msr.category.pretexts.pretext import hom_table, next_tokens, positive_pairs
from msr.category.pretexts.pretext_tables import PretextTable
from msr.category.sets.yoneda import yoneda_counts
from msr.contexture import spectrum
from msr.errors import ConfigError, ModelError, NonFiniteError, ShapeError
from tests.msr.contexture.cases import random_joint

# Objects P, Q, X; every hom has a zero; a: P -> Q, b: Q -> P, p: X -> P, and all composites are zero.
SHEET = torch.tensor([[2.0, 2, 1], [2, 2, 1], [2, 1, 2]])


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Ideality


def test_the_yoneda_embedding_is_ideal():
    diamond = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]])
    for C in (from_poset(diamond), from_monoid([[0, 1], [1, 1]])):
        table = hom_table(C) if (C.hom_count.sum(0) > 0).all() else torch.from_numpy(C.hom_count.copy())
        values = torch.from_numpy(C.hom_count.copy())
        found = ideality_score(table, index_column_features(values), k=index_column_product)
        assert found.score == found.mean_square == found.least == 0
        assert (yoneda_counts(C) == C.hom_count).all()
        # An encoder that knows every object apart, and a k that knows nothing: the error is the table itself.
        blind = ideality_score(table, torch.eye(C.n_obj), k=lambda x, y: torch.zeros(len(x), len(y)))
        assert blind.score == C.hom_count.max()
        assert blind.least == 0


def test_rows_alone_may_fail_and_rows_with_columns_do_not():
    rows = ideality_score(SHEET, SHEET, k=lambda x, y: x @ y.mT)
    assert rows.least == 0.5  # P and Q have equal rows; at X, P it says 2 and at X, Q 1
    assert rows.score >= rows.least
    both = ideality_score(SHEET, row_column_features(SHEET))
    assert both.least == 0
    assert ideality_score(SHEET, index_column_features(SHEET), k=index_column_product).score == 0
    assert row_column_features(SHEET).tolist()[2] == [2, 1, 2, 1, 1, 2]
    best = lambda x, y: torch.tensor([[2.0, 2, 1], [2, 2, 1], [1.5, 1.5, 2]])  # noqa: E731
    assert ideality_score(SHEET, SHEET, k=best).score == rows.least  # what any k of rows alone could reach


@settings(max_examples=12)
@given(seed=st.integers(0, 1000))
def test_a_score_against_a_plain_loop(seed):
    gen = np.random.default_rng(seed)
    table = PretextTable.of_counts(gen.integers(1, 5, (4, 3)))
    x, y = torch.from_numpy(gen.integers(0, 2, (4, 2))), torch.from_numpy(gen.integers(0, 2, (3, 2)))
    found = ideality_score(table, x, y)
    errors = {(i, j): float(x[i].double() @ y[j].double() - table.values[i, j]) for i in range(4) for j in range(3)}
    assert found.score == pytest.approx(max(map(abs, errors.values())))
    assert abs(errors[found.pair]) == pytest.approx(found.score)
    assert found.mean_square == pytest.approx(sum(e * e for e in errors.values()) / 12)
    p, q = table.marginals
    assert found.weighted_square == pytest.approx(sum(float(p[i] * q[j]) * e * e for (i, j), e in errors.items()))
    cells = {}
    for i, j in errors:
        cells.setdefault((tuple(x[i].tolist()), tuple(y[j].tolist())), []).append(float(table.values[i, j]))
    assert found.least == pytest.approx(max(max(v) - min(v) for v in cells.values()) / 2)
    assert found.score >= found.least - 1e-12


def test_real_valued_tables_have_a_squared_error():
    table = next_tokens("the cat sat on the mat and the rat sat", "words").to("pmi", smoothing=1)
    best = surrogate(table, 3)
    found = ideality_score(table, best.left, best.right)
    assert found.mean_square * table.values.numel() == pytest.approx(best.squared_error, abs=1e-10)
    exact = surrogate(table, min(table.values.shape))
    assert ideality_score(table, exact.left, exact.right).score < 1e-12


# Surrogates


@given(seed=st.integers(0, 1000), rank=st.integers(0, 4))
def test_the_error_of_a_surrogate_is_the_tail(seed, rank):
    table = numbers(6, 4, seed=seed)
    found = surrogate(table, rank)
    assert found.left.shape == (6, rank)
    assert found.right.shape == (4, rank)
    errors = table - found.values
    assert found.squared_error == pytest.approx(float(errors.square().sum()), abs=1e-10)
    assert found.spectral_error == pytest.approx(float(torch.linalg.matrix_norm(errors, 2)), abs=1e-10)
    # No other features of this length do better.
    for other in range(5):
        x, y = numbers(6, rank, seed=other), numbers(4, rank, seed=other + 9)
        solved = torch.linalg.lstsq(x, table).solution.mT if rank else y
        assert float((table - x @ solved.mT).square().sum()) >= found.squared_error - 1e-10


@pytest.mark.parametrize("seed", range(4))
def test_the_weighted_tail_of_the_density_ratio_is_the_contextures(seed):
    context = random_joint(seed)
    table = positive_pairs(context)
    for rank in range(min(table.values.shape) + 1):
        found = surrogate(table, rank, weights="marginals")
        errors = (table.values - found.values).square()
        weighted = float(table.marginals[0] @ errors @ table.marginals[1])
        assert found.squared_error == pytest.approx(weighted, abs=1e-10)
        assert found.squared_error == pytest.approx(contexture_tail(context, rank), abs=1e-10)
    values = spectrum(context).values
    assert float(found.singular_values[0]) == pytest.approx(1, abs=1e-12)  # s_0, of the constant, kept first
    torch.testing.assert_close(found.singular_values[1:], values[: len(found.singular_values) - 1], atol=1e-10, rtol=0)
    # The first function left out, and no other.
    assert surrogate(table, 2, weights="marginals").spectral_error == pytest.approx(float(values[1]), abs=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_table_has_the_contextures_tail(seed):
    counts = torch.from_numpy(np.random.default_rng(seed).integers(1, 20, (7, 5)))
    table = PretextTable.of_counts(counts)
    ratio = table.to("density_ratio")
    tail = contexture_tail(table.context(), 2)
    assert surrogate(ratio, 2, weights="marginals").squared_error == pytest.approx(tail, abs=1e-10)
    others = [surrogate(table.to(kind), 2).squared_error for kind in ("counts", "joint", "log_prob", "pmi")]
    others += [surrogate(table.to(kind), 2, weights="marginals").squared_error for kind in ("log_prob", "pmi")]
    others += [surrogate(ratio, 2).squared_error]
    assert min(abs(other - tail) / tail for other in others) > 0.05


def test_a_density_ratio_of_two_points_is_the_square_of_the_contextures():
    context = random_joint(1)
    found = surrogate(positive_pairs(context, "points"), 3, weights="marginals")
    expected = torch.cat([torch.ones(1, dtype=torch.float64), spectrum(context).squares])
    torch.testing.assert_close(found.singular_values, expected[: len(found.singular_values)], atol=1e-10, rtol=0)


def test_the_tail_goes_from_all_to_nothing():
    context = random_joint(2)
    assert contexture_tail(context, 0) == pytest.approx(1 + context.energy)
    assert contexture_tail(context, 1) == pytest.approx(context.energy)
    assert contexture_tail(context, context.n) == 0


# Bad input


def test_what_does_not_serve_is_named():
    table = next_tokens("abcab")
    square = torch.eye(3)
    for call, error, says in [
        (lambda: ideality_score(square, torch.eye(2)), ShapeError, r"needs 3 and 3 rows of features; got 2 and 2"),
        (lambda: ideality_score(square, torch.ones(3)), ShapeError, "features of the rows must be a matrix"),
        (lambda: ideality_score(square, torch.ones(3, 2), torch.ones(3, 1)), ShapeError, "one length; got 2 and 1"),
        (lambda: ideality_score(square, square, k=lambda x, y: x[:, :2]), ModelError, r"k must return \(3, 3\)"),
        (lambda: ideality_score(square, square, k=lambda x, y: 1.0), ModelError, "it returned float"),
        (lambda: ideality_score(square, torch.nan * square), NonFiniteError, "features of the rows"),
        (lambda: ideality_score(table.to("pmi", zeros="-inf"), square), NonFiniteError, "the table holds -inf"),
        (lambda: surrogate(table.to("pmi", zeros="-inf"), 1), NonFiniteError, "the table holds -inf"),
        (lambda: surrogate(square, 4), ConfigError, "from 0 to 3; got 4"),
        (lambda: surrogate(square, -1), ConfigError, "rank"),
        (lambda: surrogate(square, True), ConfigError, "rank"),
        (lambda: surrogate(square, 1, weights="marginals"), ConfigError, "needs a PretextTable"),
        (lambda: surrogate(square, 1, weights="some"), ConfigError, "'none' or 'marginals'"),
        (lambda: row_column_features(torch.ones(2, 3)), ShapeError, "a square table"),
        (lambda: index_column_features(torch.ones(2, 3)), ShapeError, "a square table"),
        (lambda: contexture_tail(random_joint(0), 10), ConfigError, "from 0 to 9"),
    ]:  # fmt: skip
        with pytest.raises(error, match=says):
            call()
