"""Functors: laws with their witnesses, what they do to Hom sets, and lists of all of them."""

from itertools import product

import numpy as np
import pytest

from msr.category import (
    FinCat,
    Functor,
    discrete,
    from_group,
    from_monoid,
    functor_classes,
    functor_transformations,
    functors_between,
    identity_functor,
    labelled_presheaves,
    presheaf_classes,
)
from msr.errors import AxiomError, ConfigError, DataError, MSRError, ShapeError
from msr.groups import cyclic, dihedral, symmetric
from tests.msr.category.cases import chain, diamond, idempotent, parallel_pair, random_category

C2 = from_group(cyclic(2))
C4 = from_group(cyclic(4))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Functor(C2, C4, [0, 0], [0, 2]), ShapeError, r"obj_map must have the shape \(1,\)"),
        (lambda: Functor(C2, C4, [0], [0, 4]), AxiomError, r"mor_map\[1\] = 4 is none of the arrows of the target"),
        (lambda: Functor(C2, C4, [1], [0, 2]), AxiomError, r"obj_map\[0\] = 1 is none of the objects of the target"),
        (lambda: Functor(C2, C4, [0], [2, 0]), AxiomError, "the identity of object 0 must go to the identity"),
        (lambda: Functor(C2, C4, [0], [0, 1]), AxiomError, "arrow 1 and then 1 is arrow 0, which goes to 0, but .* 2"),
        (
            lambda: Functor(chain(2), chain(2), [1, 0], [2, 1, 0]), AxiomError,
            r"arrow 1 \(0 → 1\) must go to an arrow 1 → 0; it goes to 1 \(0 → 1\)",
        ),
        (lambda: Functor(C2, "C4", [0], [0, 2]), ConfigError, "target must be a FinCat"),
    ],
)  # fmt: skip
def test_a_broken_functor_is_refused_with_a_witness(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_which_hom_fails():
    inclusion = Functor(C2, C4, [0], [0, 2])
    assert (inclusion.is_faithful, inclusion.is_full, inclusion.not_full) == (True, False, ((0, 0),))
    quotient = Functor(C4, C2, [0], [0, 1, 0, 1])
    assert (quotient.is_faithful, quotient.is_full, quotient.not_faithful) == (False, True, ((0, 0),))
    folded = Functor(discrete(2), discrete(1), [0, 0], [0, 0])
    assert folded.not_full == ((0, 1), (1, 0))
    assert not folded.is_injective_on_objects
    assert identity_functor(diamond()).is_embedding
    equivalent = Functor(from_group([[0]]), chain(1), [0], [0])
    assert equivalent.is_fully_faithful


def test_functors_compose():
    inclusion = Functor(C2, C4, [0], [0, 2])
    quotient = Functor(C4, C2, [0], [0, 1, 0, 1])
    both = quotient.after(inclusion)
    both.check()
    assert both.mor_map.tolist() == [0, 0]
    assert inclusion.after(identity_functor(C2)) == inclusion
    assert inclusion.op().op() == inclusion
    inclusion.op().check()
    with pytest.raises(ConfigError, match=r"F after F: F ends in <BC4.*and F starts at <BC2"):
        inclusion.after(inclusion)


def test_all_functors_against_all_maps():
    rng = np.random.default_rng(0)
    tried = 0
    while tried < 25:
        C = random_category(rng)
        D = random_category(rng)
        if D.n_mor**C.n_mor * D.n_obj**C.n_obj > 800:
            continue
        tried += 1
        expected = 0
        for objects, arrows in product(
            product(range(D.n_obj), repeat=C.n_obj), product(range(D.n_mor), repeat=C.n_mor)
        ):
            try:
                Functor(C, D, objects, arrows)
            except MSRError:
                continue
            expected += 1
        found = functors_between(C, D)
        for functor in found:
            functor.check()
        assert len(set(found)) == len(found) == expected


def test_counts_of_homomorphisms():
    """|Hom(C_n, K)| is the number of elements whose order divides n; endomorphisms of D4 are 36."""
    for n, group in ((6, symmetric(3)), (4, dihedral(4)), (2, symmetric(4))):
        expected = sum(n % int(order) == 0 for order in group.element_orders)
        assert len(functors_between(from_group(cyclic(n)), from_group(group))) == expected
    D4 = from_group(dihedral(4))
    assert len(functors_between(D4, D4)) == 36


def test_functors_from_and_to_little():
    assert len(functors_between(discrete(0), C4)) == 1
    assert functors_between(discrete(1), discrete(0)) == ()
    assert len(functors_between(chain(2), chain(3))) == 6
    assert len(functors_between(parallel_pair(), C4)) == 16
    assert len(functors_between(idempotent(), C4)) == 1
    with pytest.raises(DataError, match="maps of objects would have to be tried"):
        functors_between(discrete(9), discrete(9), most=1000)


def test_transformations_between_functors():
    rng = np.random.default_rng(1)
    for _ in range(20):
        C = random_category(rng)
        D = random_category(rng)
        if D.n_obj**C.n_obj > 200 or D.n_mor > 8 or C.n_mor > 8 or C.n_obj > 3:
            continue
        listed = functors_between(C, D)
        F = listed[rng.integers(len(listed))]
        G = listed[rng.integers(len(listed))]
        homs = [D.hom(int(a), int(b)).tolist() for a, b in zip(F.obj_map, G.obj_map, strict=True)]
        expected = [
            family
            for family in product(*homs)
            if all(
                D.comp[G.mor_map[f], family[C.src[f]]] == D.comp[family[C.dst[f]], F.mor_map[f]] for f in range(C.n_mor)
            )
        ]
        assert sorted(map(tuple, functor_transformations(F, G).tolist())) == sorted(expected)


def test_isomorphism_of_functors_is_conjugation():
    S3 = symmetric(3)
    listed = functors_between(from_group(S3), from_group(S3))
    labels = functor_classes(listed)
    for i, f in enumerate(listed):
        for j, g in enumerate(listed):
            conjugate = any(
                np.array_equal(S3.table[S3.table[k, f.mor_map], S3.inverses[k]], g.mor_map) for k in S3.elements
            )
            assert (labels[i] == labels[j]) == conjugate
    with pytest.raises(ConfigError, match="not between the same categories"):
        functor_transformations(listed[0], identity_functor(C2))


def test_presheaves_are_listed_once_each():
    """Labelled ones against a plain search; classes by Burnside's count over renamings of one set."""
    monoid = idempotent()
    for n in range(4):
        maps = [m for m in product(range(n), repeat=n) if all(m[m[i]] == m[i] for i in range(n))]
        assert sorted(tuple(T.maps[1].tolist()) for T in labelled_presheaves(monoid, [n])) == sorted(maps)
    # Idempotent maps up to renaming are partitions: their numbers are 1, 1, 2, 3, 5, 7.
    assert [len(presheaf_classes(monoid, [n])) for n in range(6)] == [1, 1, 2, 3, 5, 7]
    # Directed multigraphs without labels, by vertices and arcs.
    assert [len(presheaf_classes(parallel_pair(), [2, m])) for m in range(4)] == [1, 2, 6, 10]
    assert len(labelled_presheaves(parallel_pair(), [2, 2])) == 4**2
    with pytest.raises(ShapeError, match="sizes are 0 or more"):
        labelled_presheaves(monoid, [-1])
    with pytest.raises(DataError, match="take smaller sizes"):
        labelled_presheaves(monoid, [9])


# Arrow 0 generates, and is itself after arrow 2, which stands before the identity, arrow 3.
LATE = [
    [5, 0, 0, 0, 5, 0], [4, 1, 1, 1, 4, 1], [4, 5, 3, 2, 0, 1],
    [0, 1, 2, 3, 4, 5], [1, 4, 4, 4, 1, 4], [0, 5, 5, 5, 0, 5],
]  # fmt: skip


def test_an_identity_with_a_late_number_hides_no_law():
    C = from_monoid(LATE)
    assert 0 in C.generators
    assert C.comp[0, 2] == 0
    listed = labelled_presheaves(C, [2])
    assert len(listed) == 4
    for T in listed:
        T.check()


def test_numbers_of_arrows_do_not_matter():
    rng = np.random.default_rng(0)
    for C in [*(random_category(rng) for _ in range(40)), *[from_monoid(LATE)] * 20]:
        if C.n_mor > 8:
            continue
        first = rng.permutation(C.n_mor)
        place = np.argsort(first)
        table = C.comp[np.ix_(first, first)]
        comp = np.where(table >= 0, place[table], -1)
        D = FinCat(C.n_obj, C.src[first], C.dst[first], place[C.ident], comp)
        sizes = rng.integers(1, 3, C.n_obj)
        listed = labelled_presheaves(D, sizes)
        for T in listed:
            T.check()
        assert len(listed) == len(labelled_presheaves(C, sizes))
        for F in functors_between(D, C):
            F.check()
        assert len(functors_between(D, C)) == len(functors_between(C, D)) == len(functors_between(C, C))
