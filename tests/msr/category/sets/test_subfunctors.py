"""Subfunctors and sieves: counts against all subsets, and the classifier of subobjects."""

from itertools import product

import numpy as np
import pytest

from msr.category import (
    count_subfunctors,
    count_transformations,
    discrete,
    from_group,
    from_monoid,
    list_subfunctors,
    on_opposite,
    representable,
    sieve_counts,
    subobject_classifier,
)
from msr.errors import DataError
from msr.groups import cyclic, symmetric
from tests.msr.category.cases import (
    chain,
    diamond,
    empty,
    idempotent,
    multigraph,
    parallel_pair,
    random_category,
    random_presheaf,
    turning,
)


def closed_subsets(T):
    """All sets of elements that every map sends into themselves, by trying all sets."""
    tails, heads = T.edges(np.arange(T.category.n_mor))
    for chosen in product((False, True), repeat=T.n_elements):
        marks = np.array(chosen, dtype=bool)
        if (~marks[tails] | marks[heads]).all():
            yield chosen


def test_subfunctors_against_all_subsets():
    rng = np.random.default_rng(0)
    looked = 0
    while looked < 40:
        T = random_presheaf(rng, random_category(rng))
        if T.n_elements > 8:
            continue
        looked += 1
        expected = set(closed_subsets(T))
        assert count_subfunctors(T) == len(expected)
        assert {tuple(row) for row in list_subfunctors(T).tolist()} == expected
        assert count_subfunctors(on_opposite(T)) == len(expected)


@pytest.mark.parametrize(
    ("category", "counts"),
    [
        (from_group(cyclic(4)), [2]),
        (from_group(symmetric(3)), [2]),
        (chain(4), [2, 3, 4, 5]),
        (idempotent(), [3]),
        (parallel_pair(), [2, 5]),
        (diamond(), [2, 3, 3, 6]),
        (discrete(0), []),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_numbers_of_sieves(category, counts):
    assert sieve_counts(category).tolist() == counts
    found = subobject_classifier(category)
    found.presheaf.check()
    assert found.presheaf.sizes.tolist() == counts
    assert all(found.sieves[X][found.true[X]].all() for X in category.objects)


def test_maps_to_the_classifier_are_subfunctors():
    rng = np.random.default_rng(1)
    for _ in range(25):
        C = random_category(rng)
        omega = subobject_classifier(C).presheaf
        omega.check()
        for T in (random_presheaf(rng, C), representable(C, 0)):
            assert count_transformations(T, omega) == count_subfunctors(T)


def test_many_subfunctors_are_counted_and_not_listed():
    T = turning(*[2] * 70)
    assert count_subfunctors(T) == 2**70
    with pytest.raises(DataError, match="at most 100000 are listed"):
        list_subfunctors(T)
    assert count_subfunctors(empty(chain(2))) == 1
    # Sub-graphs of a path: choices of arcs, then of the vertices that no arc needs.
    path = multigraph(3, [(0, 1), (1, 2)])
    assert count_subfunctors(path) == 8 + 2 + 2 + 1


def test_a_long_chain_is_no_deep_recursion():
    powers = np.arange(1100)
    # Powers of one element, all from the 1099th on the same.
    C = from_monoid(np.minimum(powers[:, None] + powers, 1099))
    assert count_subfunctors(representable(C, 0)) == 1101
