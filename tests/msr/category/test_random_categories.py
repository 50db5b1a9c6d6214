"""A thousand random small categories, each against the definitions read off in loops."""

import numpy as np
import pytest

from msr.category import (
    Presheaf,
    corepresentable,
    count_transformations,
    fine_tuning,
    is_isomorphic,
    is_representable,
    isomorphism,
    kan_extension,
    labelled_presheaves,
    limit,
    linear_transformations,
    linearised,
    on_opposite,
    representable,
    representing_objects,
    transformation_table,
    transformations,
    universal_elements,
    yoneda_element,
    yoneda_is_ideal,
    yoneda_transformation,
)
from tests.msr.category.cases import lawful, naturals, random_category, random_presheaf, searched

BATCHES = 10
EACH = 100


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_hundred_random_categories(batch):
    rng = np.random.default_rng(batch)
    for k in range(EACH):
        C = random_category(rng)
        if C.n_mor <= 6:
            assert lawful(C)
        T = random_presheaf(rng, C)
        yoneda_holds(rng, C, T)
        representability_is_isomorphism_with_a_representable(C, T)
        # By turns, to save time.
        if k % 2:
            kan_extension_extends(rng, C, T)
        else:
            counts_are_right(rng, C, T)


def yoneda_holds(rng, C, T):
    if C.n_mor <= 5:
        assert yoneda_is_ideal(C)
    X = int(rng.integers(C.n_obj))
    h = representable(C, X)
    assert count_transformations(h, T) == T.sizes[X]
    for x in range(T.sizes[X]):
        eta = yoneda_transformation(T, X, x)
        eta.check()
        assert yoneda_element(eta, X) == x


def representability_is_isomorphism_with_a_representable(C, T):
    solving = [X for X in C.objects if is_isomorphic(representable(C, X), T)]
    assert list(representing_objects(T)) == solving
    assert len(universal_elements(T)) == sum(len(C.automorphisms(X)) for X in solving)


def kan_extension_extends(rng, C, T):
    F = on_opposite(random_presheaf(rng, C.op()))
    tuned = fine_tuning(F, [T, T + T] if rng.random() < 0.2 else [])
    assert tuned.exact
    assert tuned.on_objects.tolist() == F.sizes.tolist()
    if len(tuned.predictions):
        assert tuned.predictions[1] == 2 * tuned.predictions[0]
    # Where T is representable by X, F! of it is F(X).
    assert all(kan_extension(F, T).size == F.sizes[X] for X in representing_objects(T))


def counts_are_right(rng, C, T):
    S = random_presheaf(rng, C)
    size = np.prod(np.maximum(1, T.sizes).astype(float) ** S.sizes)
    found = count_transformations(S, T)
    if size < 300:
        table = naturals(S, T)
        assert found == len(table)
        assert {tuple(row) for row in transformation_table(S, T).tolist()} == {
            tuple(int(T.offsets[X]) + t for X in C.objects for t in family[X]) for family in table
        }
    elif size < 20000:
        assert found == searched(S, T)
    if found < 50:
        for eta in transformations(S, T):
            eta.check()


def test_limits_are_families():
    rng = np.random.default_rng(0)
    for _ in range(50):
        T = random_presheaf(rng, random_category(rng))
        C = T.category
        families = {
            tuple(row)
            for row in np.ndindex(*T.sizes)
            if all(T.maps[f][row[C.dst[f]]] == row[C.src[f]] for f in range(C.n_mor))
        }
        assert {tuple(row) for row in limit(T).tolist()} == families


def test_linear_transformations_count_orbits_of_pairs():
    """Between free vector spaces on corepresentable copresheaves, and by the linear Yoneda lemma."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        C = random_category(rng)
        F = linearised(on_opposite(random_presheaf(rng, C.op())))
        X = int(rng.integers(C.n_obj))
        assert linear_transformations(linearised(corepresentable(C, X)), F).dim == F.dims[X]


def test_isomorphism_against_all_renamings():
    """Presheaves with the same sizes are isomorphic where some bijective transformation is among all of them."""
    rng = np.random.default_rng(2)
    answers = []
    for _ in range(60):
        C = random_category(rng)
        S = random_presheaf(rng, C)
        T = renamed(rng, S) if rng.random() < 0.4 else random_presheaf(rng, C)
        if not np.array_equal(S.sizes, T.sizes) or count_transformations(S, T) > 2000:
            continue
        expected = any(eta.is_isomorphism for eta in transformations(S, T))
        eta = isomorphism(S, T)
        assert (eta is not None) == expected
        if eta is not None:
            eta.check()
            assert eta.inverse().after(eta).images.tolist() == list(range(S.n_elements))
        answers.append(expected)
    assert 5 < sum(answers) < len(answers)


def test_representable_ones_among_all_labelled_ones():
    rng = np.random.default_rng(3)
    for _ in range(20):
        C = random_category(rng)
        sizes = rng.integers(0, 3, size=C.n_obj)
        if C.n_obj > 3 or C.n_mor > 8:
            continue
        for T in labelled_presheaves(C, sizes):
            assert is_representable(T) == any(is_isomorphic(representable(C, X), T) for X in C.objects)


def renamed(rng, T):
    """The same presheaf with its elements at each object in another order."""
    names = [rng.permutation(n) for n in T.sizes]
    maps = []
    for f, values in enumerate(T.maps):
        moved = np.empty_like(values)
        moved[names[T.domain[f]]] = names[T.codomain[f]][values]
        maps.append(moved)
    return Presheaf(T.category, T.sizes, tuple(maps), "renamed")
