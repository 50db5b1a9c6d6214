"""The numbers T1 to T14 that were computed beforehand, by other code, for small categories: each exactly."""

from itertools import product

import numpy as np
import pytest
import torch

from msr.category import (
    Functor,
    Presheaf,
    VectFunctor,
    action_copresheaf,
    colimit,
    constant,
    constant_copresheaf,
    corepresentable,
    count_group_sets,
    count_transformations,
    discrete,
    embedding_of,
    fine_tuning,
    from_group,
    from_monoid,
    full_subcategory,
    functor_classes,
    functor_transformations,
    functors_between,
    group_sets,
    is_representable,
    isomorphism,
    kan_extension,
    labelled_presheaves,
    linear_functor,
    linear_transformations,
    linearised,
    orbit_sizes,
    presheaf_classes,
    prompt_power,
    representable,
    representing_objects,
    solves_naturally,
    solves_pointwise,
    table_of_marks,
    transformations,
    universal_elements,
    yoneda_counts,
    yoneda_is_ideal,
)
from msr.groups import cyclic, dihedral, direct_product, symmetric, trivial, wreath_product
from msr.representations import natural, planar, regular
from msr.representations import trivial as still
from tests.msr.category.cases import chain, diamond, idempotent, multigraph, parallel_pair, turning

V4 = direct_product(cyclic(2), cyclic(2))


def test_T1_sets_of_the_cyclic_group_of_four():
    C4 = from_group(cyclic(4))
    counts = [1, 1, 2, 2, 4, 4, 6, 6, 9]
    assert list(count_group_sets(cyclic(4), 8)) == counts
    listed = [group_sets(cyclic(4), n) for n in range(9)]
    assert [len(sets) for sets in listed] == counts
    everything = [T for sets in listed for T in sets]
    assert len(everything) == 35
    promptable = [T for T in everything if is_representable(T)]
    assert [T.sizes.tolist() for T in promptable] == [[4]]
    assert len(universal_elements(promptable[0])) == 4
    # Pointwise every set of four elements looks like the regular one.
    assert sum(solves_pointwise(T) for T in everything) == 4
    assert sum(solves_naturally(T) for T in everything) == 1
    for n in range(5):
        classes = presheaf_classes(C4, [n])
        assert len(classes) == counts[n]
        for T in listed[n]:
            assert sum(isomorphism(T, other) is not None for other in classes) == 1


def test_T1_labelled_actions():
    C4 = from_group(cyclic(4))
    counts = [len(labelled_presheaves(C4, [n])) for n in range(9)]
    assert counts == [1, 1, 2, 4, 16, 56, 256, 1072, 6224]
    promptable = [T for T in labelled_presheaves(C4, [4]) if is_representable(T)]
    assert len(promptable) == 6
    assert all(len(universal_elements(T)) == 4 for T in promptable)


def test_T2_transformations_between_orbits():
    orbits = {k: turning(k) for k in (1, 2, 4)}
    counts = [[count_transformations(orbits[a], orbits[b]) for b in (1, 2, 4)] for a in (1, 2, 4)]
    assert counts == [[1, 0, 0], [1, 2, 0], [1, 2, 4]]
    T = turning(1, 2, 4)
    fixed = [int((np.stack(T.maps)[chosen] == np.arange(7)).all(axis=0).sum()) for chosen in ([1], [2], [0])]
    assert fixed == [1, 3, 7]
    assert count_transformations(T, T) == len(transformations(T, T)) == 21
    assert count_transformations(representable(T.category, 0), T) == 7
    assert count_transformations(turning(2, 2), T) == 9
    assert count_transformations(turning(4, 4), T) == 49


@pytest.mark.parametrize(
    ("group", "sizes", "counts"),
    [
        (cyclic(2), (2, 1), [1, 1, 2, 2, 3, 3, 4, 4, 5]),
        (cyclic(3), (3, 1), [1, 1, 1, 2, 2, 2, 3, 3, 3]),
        (V4, (4, 2, 2, 2, 1), [1, 1, 4, 4, 11, 11, 24, 24, 46]),
        (cyclic(6), (6, 3, 2, 1), [1, 1, 2, 3, 4, 5, 8, 9, 12]),
        (symmetric(3), (6, 3, 2, 1), [1, 1, 2, 3, 4, 5, 8, 9, 12]),
        (dihedral(4), (8, 4, 4, 4, 2, 2, 2, 1), [1, 1, 4, 4, 13, 13, 32, 32, 72]),
        (symmetric(4), (24, 12, 12, 8, 6, 6, 6, 4, 3, 2, 1), [1, 1, 2, 3, 5, 6, 12, 14, 22]),
    ],
    ids=["C2", "C3", "V4", "C6", "S3", "D4", "S4"],
)
def test_T3_sets_of_other_groups(group, sizes, counts):
    assert orbit_sizes(group) == sizes
    assert list(count_group_sets(group, 8)) == counts
    power = prompt_power(from_group(group), 8)
    assert list(power.tasks) == counts
    assert [n for n, count in enumerate(power.promptable) for _ in range(count)] == [group.order] * (group.order <= 8)
    for n in (2, 4, 6):
        listed = group_sets(group, n)
        assert len(listed) == counts[n]
        assert sum(is_representable(T) for T in listed) == (n == group.order)


def test_T4_tables_of_marks():
    S3 = [[6, 3, 2, 1], [0, 1, 0, 1], [0, 0, 2, 1], [0, 0, 0, 1]]
    C6 = [[6, 3, 2, 1], [0, 3, 0, 1], [0, 0, 2, 1], [0, 0, 0, 1]]
    four = [[4, 2, 2, 2, 1], [0, 2, 0, 0, 1], [0, 0, 2, 0, 1], [0, 0, 0, 2, 1], [0, 0, 0, 0, 1]]
    assert table_of_marks(symmetric(3)).tolist() == S3
    assert table_of_marks(cyclic(6)).tolist() == C6
    assert table_of_marks(V4).tolist() == four


def test_T5_balanced_products():
    expected = {
        ((4,), (4,)): 4, ((4,), (2,)): 2, ((4,), (1,)): 1, ((2,), (4,)): 2, ((2,), (2,)): 2, ((2,), (1,)): 1,
        ((1,), (4,)): 1, ((1,), (2,)): 1, ((1,), (1,)): 1, ((1,), (1, 2, 4)): 3, ((2,), (1, 2, 4)): 5,
        ((4,), (1, 2, 4)): 7, ((1, 2, 4), (1, 2, 4)): 15, ((2, 2), (1, 2, 4)): 10,
    }  # fmt: skip
    for (left, right), size in expected.items():
        assert kan_extension(turning(*right, covariant=True), turning(*left)).size == size


def test_T6_linear_maps_of_the_cyclic_group_of_four():
    C4 = from_group(cyclic(4))
    orbits = {k: linearised(turning(k, covariant=True)) for k in (1, 2, 4)}
    everything = linearised(turning(1, 2, 4, covariant=True))
    plane = linear_functor(C4, planar(4))
    flip = VectFunctor(C4, [1], [[[1.0]], [[-1.0]], [[1.0]], [[-1.0]]])
    whole = linear_functor(C4, regular(cyclic(4)))
    assert all(torch.equal(a, b) for a, b in zip(whole.mats, orbits[4].mats, strict=True))
    cases = [
        (whole, whole, 4), (orbits[4], orbits[2], 2), (orbits[2], orbits[2], 2), (everything, everything, 15),
        (plane, plane, 2), (plane, whole, 2), (flip, whole, 1),
    ]  # fmt: skip
    for S, T, dim in cases:
        found = linear_transformations(S, T)
        assert found.dim == dim
        assert found.gap > 100


def test_T6_linear_maps_of_symmetric_groups():
    for n in (2, 3, 4):
        group = symmetric(n)
        C = from_group(group)
        points = linear_functor(C, natural(group))
        pairs = linear_functor(C, natural(group) * natural(group))
        assert linear_transformations(points, points).dim == 2
        assert linear_transformations(points, pairs).dim == {2: 4}.get(n, 5)
        if n < 4:
            assert linear_transformations(pairs, pairs).dim == {2: 8, 3: 14}[n]


def test_T6_order_two_to_two_has_fifteen_maps_from_four_points_on():
    pairs = linear_functor(from_group(symmetric(4)), natural(symmetric(4)) * natural(symmetric(4)))
    assert linear_transformations(pairs, pairs).dim == 15


@pytest.mark.parametrize(
    ("rep", "orbits"),
    [
        (natural(cyclic(6)), 6),
        (natural(dihedral(6)), 4),
        (natural(symmetric(6)), 2),
        (natural(direct_product(symmetric(3), symmetric(3))), 6),
        (natural(wreath_product(symmetric(3), symmetric(2))), 3),
        (still(trivial(), 6), 36),
        (natural(dihedral(4)), 3),
        (natural(cyclic(8)), 8),
    ],
    ids=["C6", "D6", "S6", "S3xS3", "S3wrC2", "trivial", "D4", "C8"],
)
def test_T6_orbits_on_pairs(rep, orbits):
    moves = np.stack([rep.moves(g) for g in rep.group.elements])
    assert np.mean((moves == np.arange(rep.dim)).sum(axis=1) ** 2) == orbits
    points = action_copresheaf(rep.group, moves)
    assert colimit(points * points)[0] == orbits
    if rep.group.order <= 72:
        V = linear_functor(points.category, rep)
        assert linear_transformations(V, V).dim == orbits


@pytest.mark.parametrize(
    ("category", "table"),
    [
        (chain(2), [[1, 1], [0, 1]]),
        (chain(3), [[1, 1, 1], [0, 1, 1], [0, 0, 1]]),
        (diamond(), [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]]),
        (from_group(cyclic(4)), [[4]]),
        (from_group(symmetric(3)), [[6]]),
        (parallel_pair(), [[1, 2], [0, 1]]),
        (idempotent(), [[2]]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_T7_yoneda(category, table):
    assert yoneda_counts(category).tolist() == category.hom_count.tolist() == table
    assert yoneda_is_ideal(category)


def test_T7_numbers_of_morphisms():
    assert [C.n_mor for C in (chain(3), diamond(), parallel_pair())] == [6, 9, 4]


def test_T8_yoneda_for_every_presheaf_on_an_arrow():
    C = chain(2)
    listed = [T for sizes in product(range(3), repeat=2) for T in labelled_presheaves(C, sizes)]
    assert len(listed) == 11
    assert sum(len(presheaf_classes(C, sizes)) for sizes in product(range(3), repeat=2)) == 8
    images = [representable(C, X) for X in C.objects]
    agreeing = [count_transformations(images[X], T) == T.sizes[X] for T in listed for X in C.objects]
    assert (sum(agreeing), len(agreeing)) == (22, 22)
    assert sorted(T.sizes.tolist() for T in listed if is_representable(T)) == [[1, 0], [1, 1]]


def test_T9_graphs():
    pair = parallel_pair()
    cycle = multigraph(3, [(0, 1), (1, 2), (2, 0)], pair)
    K3 = multigraph(3, [(a, b) for a in range(3) for b in range(3) if a != b], pair)
    path = multigraph(3, [(0, 1), (1, 2)], pair)
    loop = multigraph(1, [(0, 0)], pair)
    V = multigraph(1, [], pair)
    E = multigraph(2, [(0, 1)], pair)
    assert isomorphism(representable(pair, 0), V)
    assert isomorphism(representable(pair, 1), E)
    for graph in (cycle, K3, path, loop):
        assert count_transformations(V, graph) == graph.sizes[0]
        assert count_transformations(E, graph) == graph.sizes[1]
        assert not is_representable(graph)
    counts = {name: [count_transformations(S, T) for T in (cycle, loop, K3, path)] for name, S in
              (("cycle", cycle), ("K3", K3), ("path", path))}  # fmt: skip
    assert counts["cycle"] == [3, 1, 6, 0]
    assert counts["K3"][2] == 6
    assert (counts["path"][3], counts["path"][2], counts["path"][0]) == (1, 12, 3)
    doubled = multigraph(2, [(0, 1), (0, 1)], pair)
    assert count_transformations(E, doubled) == 2


def test_T9_only_two_graphs_are_representable():
    pair = parallel_pair()
    found = [T.sizes.tolist() for sizes in product(range(4), range(3)) for T in presheaf_classes(pair, sizes)
             if is_representable(T)]  # fmt: skip
    assert found == [[1, 0], [2, 1]]


def test_T10_idempotent_maps():
    monoid = idempotent()
    listed = [labelled_presheaves(monoid, [n]) for n in range(6)]
    assert [len(part) for part in listed] == [1, 1, 3, 10, 41, 196]
    assert [sum(map(is_representable, part)) for part in listed] == [0, 0, 2, 0, 0, 0]
    assert sum(map(is_representable, presheaf_classes(monoid, [2]))) == 1


def test_T11_the_same_answer_everywhere():
    expected = {chain(3): [2], diamond(): [3], from_group(cyclic(4)): [], parallel_pair(): [], idempotent(): []}
    for C, objects in expected.items():
        assert list(representing_objects(constant(C, 1))) == list(C.terminal_objects) == objects
        tuned = fine_tuning(constant_copresheaf(C, 1))
        assert tuned.exact
        assert tuned.on_objects.tolist() == [1] * C.n_obj


def test_T12_homomorphisms():
    def counted(first, second):
        listed = functors_between(from_group(first), from_group(second))
        return len(listed), len(set(functor_classes(listed).tolist()))

    groups = {"C2": cyclic(2), "C3": cyclic(3), "C4": cyclic(4), "S3": symmetric(3)}
    expected = {
        ("C4", "C2"): (2, 2), ("C2", "C4"): (2, 2), ("C4", "C4"): (4, 4), ("C2", "S3"): (4, 2), ("C3", "S3"): (3, 2),
        ("S3", "S3"): (10, 3), ("S3", "C2"): (2, 2),
    }  # fmt: skip
    for (first, second), counts in expected.items():
        assert counted(groups[first], groups[second]) == counts
    S3 = from_group(symmetric(3))
    sizes = sorted(len(functor_transformations(f, f)) for f in functors_between(S3, S3))
    assert sizes == [1] * 6 + [2] * 3 + [6]


def test_T13_what_is_no_full_embedding():
    C2 = from_group(cyclic(2))
    C4 = from_group(cyclic(4))
    inclusion = embedding_of(Functor(C2, C4, [0], [0, 2]))
    assert (inclusion.hom.item(), inclusion.transformations.item(), inclusion.hom_images.item()) == (2, 4, 2)
    assert (inclusion.not_faithful, inclusion.not_full) == ((), ((0, 0),))
    quotient = embedding_of(Functor(C4, C2, [0], [0, 1, 0, 1]))
    assert (quotient.hom.item(), quotient.transformations.item(), quotient.hom_images.item()) == (4, 2, 2)
    assert (quotient.not_faithful, quotient.not_full) == (((0, 0),), ())
    spread = embedding_of(Functor(discrete(2), chain(2), [0, 1], chain(2).ident))
    assert (spread.not_faithful, spread.not_full) == ((), ((0, 1),))
    assert (spread.hom[0, 1], spread.transformations[0, 1]) == (0, 1)
    good = [embedding_of(full_subcategory(chain(3), [0, 2])), embedding_of(full_subcategory(diamond(), [0, 1, 2]))]
    assert good[0].functor.source == chain(2)
    assert all(case.holds and case.is_full_embedding and case.counts_agree for case in good)
    assert not any(case.holds for case in (inclusion, quotient, spread))
    for case in (inclusion, quotient, spread, *good):
        assert case.aligned
        assert case.transformations.tolist() == case.functor.target_hom_count.tolist()


def test_T13_equal_counts_are_not_enough():
    C2 = from_group(cyclic(2))
    constant_map = embedding_of(Functor(C2, C2, [0], [0, 0]))
    assert constant_map.counts_agree
    assert not constant_map.holds
    assert constant_map.hom_images.item() == 1


def test_T14_linear_functors_on_the_kronecker_quiver():
    pair = parallel_pair()

    def representation(a, b):
        return VectFunctor(pair, [1, 1], [[[1.0]], [[1.0]], [[a]], [[b]]])

    assert linear_transformations(representation(1.0, 2.0), representation(1.0, 2.0)).dim == 1
    assert linear_transformations(representation(1.0, 2.0), representation(1.0, 3.0)).dim == 0
    gen = torch.Generator().manual_seed(0)
    for dims in ((2, 3), (3, 2)):
        arrows = [torch.randn(dims[1], dims[0], generator=gen, dtype=torch.float64) for _ in range(2)]
        F = VectFunctor(pair, dims, [torch.eye(dims[0]), torch.eye(dims[1]), *arrows])
        found = [linear_transformations(linearised(corepresentable(pair, X)), F).dim for X in pair.objects]
        assert found == list(dims)


def test_the_empty_presheaf():
    C4 = from_group(cyclic(4))
    nothing = Presheaf(C4, [0], [[]] * 4)
    assert count_transformations(nothing, turning(2)) == count_transformations(nothing, nothing) == 1
    assert count_transformations(turning(2), nothing) == 0
    assert not is_representable(nothing)
    assert not is_representable(Presheaf(from_monoid(np.zeros((1, 1), dtype=int)), [0], [[]]))


def test_prompt_power():
    power = prompt_power(from_group(cyclic(4)), 8)
    assert (sum(power.promptable), sum(power.tasks)) == (1, 35)
    assert power.share == pytest.approx(1 / 35)
    power = prompt_power(from_group(symmetric(4)), 8)
    assert (sum(power.promptable), sum(power.tasks)) == (0, 66)
