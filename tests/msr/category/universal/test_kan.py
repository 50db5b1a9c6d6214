"""Left Kan extension along Yoneda, for sets and for spaces, and what a functor carries over."""

import numpy as np
import pytest
import torch

from msr.category import (
    Functor,
    action_copresheaf,
    action_presheaf,
    colimit,
    constant,
    constant_copresheaf,
    count_transformations,
    embedding_of,
    extended_transformation,
    extension_along,
    extension_table,
    from_group,
    functors_between,
    identity_functor,
    is_isomorphic,
    kan_extension,
    linear_kan_extension,
    linearised,
    on_opposite,
    representable,
    transformations,
    yoneda_arrow,
)
from msr.errors import ConfigError
from msr.groups import cyclic, symmetric
from tests.msr.category.cases import chain, diamond, empty, random_action, random_category, random_presheaf, turning


def drawn(rng):
    C = random_category(rng)
    return C, random_presheaf(rng, C), on_opposite(random_presheaf(rng, C.op()))


def glued_in_loops(F, T):
    """The size of ``F!(T)`` by a union-find in loops over all arrows."""
    pairs = {(X, y, a) for X in T.category.objects for y in range(T.sizes[X]) for a in range(F.sizes[X])}
    leader = {pair: pair for pair in pairs}

    def find(pair):
        while leader[pair] != pair:
            pair = leader[pair]
        return pair

    C = T.category
    for f in range(C.n_mor):
        X, Y = int(C.src[f]), int(C.dst[f])
        for y in range(T.sizes[Y]):
            for a in range(F.sizes[X]):
                leader[find((X, int(T.maps[f][y]), a))] = find((Y, y, int(F.maps[f][a])))
    return len({find(pair) for pair in pairs})


def test_sizes_against_a_union_find_in_loops():
    rng = np.random.default_rng(0)
    for _ in range(40):
        _, T, F = drawn(rng)
        coend = kan_extension(F, T)
        assert coend.size == glued_in_loops(F, T)
        assert sorted({int(k) for part in coend.labels for k in part.ravel()}) == list(range(coend.size))


def test_kan_extensions_keep_sums_and_end_in_the_colimit():
    rng = np.random.default_rng(1)
    for _ in range(20):
        C, T, F = drawn(rng)
        S = random_presheaf(rng, C)
        sizes = extension_table(F, [S, T, S + T])
        assert sizes[2] == sizes[0] + sizes[1]
        assert kan_extension(F, constant(C, 1)).size == colimit(F)[0]
        assert kan_extension(F, empty(C)).size == 0
        assert kan_extension(constant_copresheaf(C, 1), T).size == colimit(T)[0]


def test_linear_extensions_of_free_spaces_count_classes():
    rng = np.random.default_rng(2)
    for _ in range(20):
        _, T, F = drawn(rng)
        coend = kan_extension(F, T)
        found = linear_kan_extension(linearised(F), T)
        assert found.dim == coend.size
        assert found.gap > 100
        assert linear_kan_extension(linearised(F), linearised(T)).dim == coend.size
        # Two pairs that are one in the set go to one vector.
        for part, projection in zip(coend.labels, found.projections, strict=True):
            labels = torch.from_numpy(part.ravel().copy())
            for k in labels.unique().tolist():
                same = projection[:, labels == k]
                torch.testing.assert_close(same, same[:, :1].expand_as(same), atol=1e-10, rtol=0)


def test_the_balanced_product_by_burnside():
    rng = np.random.default_rng(3)
    group = symmetric(3)
    C = from_group(group)
    for _ in range(5):
        left = random_action(rng, group, int(rng.integers(1, 7)))
        right = random_action(rng, group, int(rng.integers(1, 7)))
        fixed = [(moves == np.arange(moves.shape[1])).sum(axis=1) for moves in (left, right)]
        expected = (fixed[0] * fixed[1]).sum() / 6
        assert kan_extension(action_copresheaf(C, right), action_presheaf(C, left)).size == expected


def test_what_kan_extensions_refuse():
    with pytest.raises(ConfigError, match="a CoPresheaf and a Presheaf are needed"):
        kan_extension(turning(2), turning(2))
    with pytest.raises(ConfigError, match="of different categories"):
        kan_extension(turning(2, n=6, covariant=True), turning(2))
    with pytest.raises(ConfigError, match="linear functors are needed"):
        linear_kan_extension(turning(2, covariant=True), turning(2))
    with pytest.raises(ConfigError, match="a Functor and a Presheaf are needed"):
        extension_along(turning(2), turning(2))
    with pytest.raises(ConfigError, match="of different categories"):
        extension_along(identity_functor(chain(2)), turning(2))
    eta = transformations(turning(2, covariant=True), turning(2, covariant=True))[0]
    with pytest.raises(ConfigError, match="a transformation of presheaves is needed"):
        extended_transformation(identity_functor(eta.source.category), eta)
    with pytest.raises(ConfigError, match="a Functor is needed"):
        embedding_of(turning(2))


# What a functor carries over


def random_functor(rng):
    while True:
        C = random_category(rng)
        D = random_category(rng)
        if C.n_mor > 8 or D.n_mor > 8 or D.n_obj**C.n_obj > 200:
            continue
        listed = functors_between(C, D)
        if listed:
            return listed[rng.integers(len(listed))]


def test_every_functor_is_feature_aligned_and_counts_only_bound_it():
    rng = np.random.default_rng(4)
    kinds = set()
    for _ in range(60):
        F = random_functor(rng)
        found = embedding_of(F)
        assert found.aligned
        assert found.transformations.tolist() == F.target_hom_count.tolist()
        for X, T in enumerate(found.extended):
            T.check()
            assert is_isomorphic(T, representable(F.target, int(F.obj_map[X])))
        assert found.counts_agree or not found.holds
        kinds.add((found.holds, found.counts_agree))
    # Equal counts without a full and faithful functor happen too.
    assert kinds == {(True, True), (False, True), (False, False)}


def test_extensions_along_functors_are_functors():
    rng = np.random.default_rng(5)
    for _ in range(15):
        F = random_functor(rng)
        S, T, U = (random_presheaf(rng, F.source) for _ in range(3))
        if max(count_transformations(S, T), count_transformations(T, U)) > 200:
            continue
        first = transformations(S, T)[:3]
        second = transformations(T, U)[:3]
        for eta in first:
            image = extended_transformation(F, eta)
            image.check()
            for theta in second:
                both = extended_transformation(F, theta.after(eta))
                assert both == extended_transformation(F, theta).after(image)


def test_arrows_go_where_the_functor_sends_them():
    """``F^`` reaches as many transformations ``F^(h_X) ⇒ F^(h_Y)`` as ``F`` reaches arrows."""
    quotient = Functor(from_group(cyclic(4)), from_group(cyclic(2)), [0], [0, 1, 0, 1])
    inclusion = Functor(from_group(cyclic(2)), from_group(cyclic(4)), [0], [0, 2])
    for F, images in ((quotient, 2), (inclusion, 2)):
        reached = {extended_transformation(F, yoneda_arrow(F.source, f)) for f in range(F.source.n_mor)}
        assert len(reached) == images == F.hom_images.item()


def test_the_identity_carries_everything_over():
    found = embedding_of(identity_functor(diamond()))
    assert found.is_full_embedding
    assert found.recovered == ((0,), (1,), (2,), (3,))
    rng = np.random.default_rng(6)
    T = random_presheaf(rng, diamond())
    assert is_isomorphic(extension_along(identity_functor(diamond()), T), T)
