"""Tables of composition: laws, each broken once, with the witness that the message names; constructors; structure."""

import copy
import pickle

import numpy as np
import pytest

from msr.category import (
    FinCat,
    action_groupoid,
    discrete,
    disjoint_union,
    from_group,
    from_monoid,
    from_poset,
    from_quiver_paths,
    full_subcategory,
    product,
)
from msr.errors import AxiomError, ConfigError, DataError, MSRError, ShapeError
from msr.groups import cyclic, dihedral, symmetric
from tests.msr.category.cases import chain, diamond, idempotent, lawful, parallel_pair, random_category


def changed(C, **fields):
    """The tables of a category with some of them replaced."""
    held = {"n_obj": C.n_obj, "src": C.src, "dst": C.dst, "ident": C.ident, "comp": C.comp}
    return FinCat(**{**held, **fields})


def entry(C, g, f, value):
    comp = C.comp.copy()
    comp[g, f] = value
    return changed(C, comp=comp)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: changed(chain(2), comp=np.zeros((3, 2), dtype=int)), ShapeError, r"comp must have the shape \(3, 3\)"),
        (lambda: changed(chain(2), dst=[0, 1]), ShapeError, r"dst must have the shape \(3,\); got \(2,\)"),
        (lambda: changed(chain(2), src=[0.0, 0.0, 1.0]), ShapeError, "src must be whole numbers; got float64"),
        (lambda: changed(chain(2), src=[True, False, True]), ShapeError, "src must be whole numbers; got bool"),
        (lambda: changed(chain(2), ident=[0]), ShapeError, r"ident must have the shape \(2,\)"),
        (lambda: changed(chain(2), n_obj=-1), ConfigError, "n_obj is a number of objects, 0 or more; got -1"),
        (lambda: changed(chain(2), n_obj=1.5), ConfigError, "got 1.5"),
        (lambda: changed(chain(2), src=[0, 0, 2]), AxiomError, r"src\[2\] = 2 is none of the objects: they are 0 to 1"),
        (lambda: changed(chain(2), dst=[0, -1, 1]), AxiomError, r"dst\[1\] = -1 is none of the objects"),
        (lambda: changed(chain(2), ident=[0, 7]), AxiomError, r"ident\[1\] = 7 is none of the arrows"),
        (lambda: changed(chain(2), ident=[0, 1]), AxiomError, r"ident\[1\] is arrow 1 \(0 → 1\)"),
        (lambda: entry(chain(2), 1, 0, -1), AxiomError, r"comp\[1, 0\] = −1, but arrow 0 \(0 → 0\) and then arrow 1"),
        (lambda: entry(chain(2), 0, 1, 1), AxiomError, r"comp\[0, 1\] = 1, but arrow 1 .* do not meet: give −1"),
        (lambda: entry(chain(2), 1, 0, 9), AxiomError, r"comp\[1, 0\] = 9 is none of the arrows 0 to 2"),
        (lambda: entry(chain(2), 1, 0, -2), AxiomError, r"comp\[1, 0\] = -2 is none of the arrows"),
        (lambda: entry(chain(2), 1, 0, 0), AxiomError, r"arrow 1 .* after arrow 0 .* must go 0 → 1; got arrow 0"),
        (lambda: entry(idempotent(), 0, 1, 0), AxiomError, "the identity 0 of object 0, after arrow 1 .* must give 1"),
        (lambda: entry(idempotent(), 1, 0, 0), AxiomError, "the identity 0 of object 0, before arrow 1 .* got 0"),
        (lambda: entry(from_group(cyclic(4)), 1, 1, 3), AxiomError, r"not associative: \(\d∘1\)∘\d = \d, but"),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_with_a_witness(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_witness_of_associativity_breaks_it():
    comp = from_group(symmetric(3)).comp.copy()
    comp[3, 4] = comp[3, 5]
    with pytest.raises(AxiomError, match="not associative") as caught:
        changed(from_group(symmetric(3)), comp=comp)
    h, g, f = (int(n) for n in str(caught.value).split("(arrows ")[1].rstrip(")").split(", "))
    assert comp[comp[h, g], f] != comp[h, comp[g, f]]


def test_a_table_is_taken_exactly_where_all_laws_hold():
    """Random categories with one entry changed, against the laws read off in loops."""
    rng = np.random.default_rng(0)
    verdicts = []
    while len(verdicts) < 150:
        C = random_category(rng)
        if C.n_mor > 9:
            continue
        comp = C.comp.copy()
        g, f = rng.integers(C.n_mor, size=2)
        comp[g, f] = rng.integers(-1, C.n_mor)
        broken = object.__new__(FinCat)
        broken.__dict__.update(n_obj=C.n_obj, src=C.src, dst=C.dst, ident=C.ident, comp=comp, name="C")
        try:
            changed(C, comp=comp)
        except MSRError:
            taken = False
        else:
            taken = True
        assert taken == lawful(broken)
        verdicts.append(taken)
    assert 10 < sum(verdicts) < 140


def test_categories_without_objects_or_arrows():
    nothing = FinCat(0, [], [], [], [])
    assert (nothing.n_obj, nothing.n_mor, nothing.hom_count.shape) == (0, 0, (0, 0))
    assert nothing == discrete(0) == disjoint_union() == from_poset([]) == from_quiver_paths(0, [])
    assert nothing.terminal_objects == nothing.initial_objects == ()
    assert nothing.is_groupoid
    assert nothing.op() == nothing
    assert len(nothing.generators) == len(nothing.component_labels) == 0
    with pytest.raises(ConfigError, match="has no object; got 0"):
        nothing.hom(0, 0)
    with pytest.raises(AxiomError, match=r"ident\[0\] = 0 is none of the arrows: there are none"):
        FinCat(1, [], [], [0], [])


def test_homs_and_composites():
    C = parallel_pair()
    assert C.hom(0, 1).tolist() == [2, 3]
    assert C.hom_count.tolist() == [[1, 2], [0, 1]]
    assert C.place.tolist() == [0, 0, 0, 1]
    assert C.arrows_into(1).tolist() == [1, 2, 3]
    assert C.arrows_out_of(0).tolist() == [0, 2, 3]
    assert C.compose(1, 3, 0) == 3
    with pytest.raises(ConfigError, match=r"arrow 2 \(0 → 1\) and then arrow 3 \(0 → 1\) do not meet"):
        C.compose(3, 2)
    with pytest.raises(ConfigError, match="has the objects 0 to 1; got 2"):
        C.hom(2, 0)
    with pytest.raises(ConfigError, match="has the arrows 0 to 3; got 4"):
        C.arrow_of(4)


def test_generators_make_every_arrow():
    rng = np.random.default_rng(1)
    for _ in range(60):
        C = random_category(rng)
        steps = C.generation
        made = set(C.ident.tolist())
        for f in steps.order.tolist():
            assert int(steps.inner[f]) in made
            assert steps.outer[f] in steps.generators
            assert C.comp[steps.outer[f], steps.inner[f]] == f
            made.add(f)
        assert made == set(range(C.n_mor))
    assert chain(6).generators.tolist() == [chain(6).hom(a, a + 1)[0] for a in range(5)]


def test_isomorphisms_and_ends():
    preorder = from_poset([[1, 1, 1], [1, 1, 1], [0, 0, 1]])
    assert preorder.isomorphism_labels.tolist() == [0, 0, 1]
    assert preorder.isomorphisms(0, 1).tolist() == preorder.hom(0, 1).tolist()
    assert len(preorder.isomorphisms(0, 2)) == 0
    assert preorder.terminal_objects == (2,)
    assert preorder.initial_objects == (0, 1)
    assert from_group(symmetric(3)).automorphisms(0).tolist() == list(range(6))
    assert idempotent().automorphisms(0).tolist() == [0]
    assert not idempotent().is_groupoid
    S3 = from_group(symmetric(3))
    assert S3.inverses.tolist() == symmetric(3).inverses.tolist()
    both = disjoint_union(chain(2), from_group(cyclic(2)))
    assert both.component_labels.tolist() == [0, 0, 1]


def test_the_opposite_category():
    rng = np.random.default_rng(2)
    for _ in range(20):
        C = random_category(rng)
        C.op().check()
        assert C.op().op() == C
        assert C.op().hom_count.tolist() == C.hom_count.T.tolist()
    assert chain(2).op() != chain(2)
    assert from_group(cyclic(5)).op() == from_group(cyclic(5))


def test_a_category_is_a_value():
    C = diamond()
    for other in (pickle.loads(pickle.dumps(C)), copy.deepcopy(C), diamond()):
        assert other == C
        assert hash(other) == hash(C)
        with pytest.raises(ValueError, match="read-only"):
            other.comp[0, 0] = 1
    assert chain(4) != C
    assert repr(C) == "<diamond, 4 objects, 9 arrows>"
    with pytest.raises(AttributeError):
        C.n_obj = 3


# Constructors


def test_groups_multiply_from_the_left():
    group = symmetric(3)
    assert np.array_equal(from_group(group).comp, group.table)
    assert from_group(group.table) == from_group(group)
    with pytest.raises(AxiomError, match="element 0 must be the identity"):
        from_group([[1, 0], [0, 1]])


def test_monoids_find_their_identity():
    assert from_monoid([[0, 0], [0, 1]]).ident.tolist() == [1]
    with pytest.raises(AxiomError, match="no element e has"):
        from_monoid([[0, 0], [0, 0]])
    with pytest.raises(AxiomError, match="not associative"):
        from_monoid([[0, 1, 2], [1, 2, 2], [2, 1, 1]])
    with pytest.raises(ShapeError, match="square"):
        from_monoid([[0, 1]])


def test_orders():
    assert diamond().comp.max() == 8
    with pytest.raises(AxiomError, match="not reflexive: 1 ≤ 1 is missing"):
        from_poset([[1, 0], [0, 0]])
    with pytest.raises(AxiomError, match="not transitive: 0 ≤ 1 ≤ 2, but 0 ≤ 2 is missing"):
        from_poset([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    with pytest.raises(ShapeError, match="square table"):
        from_poset([[1, 2], [0, 1]])


def test_paths_of_quivers():
    C = from_quiver_paths(3, [(0, 1), (1, 2), (0, 2)])
    assert C.n_mor == 3 + 3 + 1
    # The path 3 then 4 is the last arrow; it is not the arrow 5 with the same ends.
    assert C.comp[4, 3] == 6
    assert C.hom(0, 2).tolist() == [5, 6]
    with pytest.raises(AxiomError, match="the cycle 1 → 2 → 3 → 1, so it has infinitely many"):
        from_quiver_paths(5, [(0, 1), (1, 2), (2, 3), (3, 1), (3, 4)])
    with pytest.raises(AxiomError, match="the cycle 0 → 0"):
        from_quiver_paths(1, [(0, 0)])
    with pytest.raises(AxiomError, match=r"arrow 0 is \(0, 2\); objects are 0 to 1"):
        from_quiver_paths(2, [(0, 2)])
    with pytest.raises(DataError, match="more than 4000 paths"):
        from_quiver_paths(40, [(a, a + 1) for a in range(39) for _ in range(2)])
    with pytest.raises(ConfigError, match="n_obj must be a whole number"):
        from_quiver_paths(-1, [])


def test_the_arrows_of_an_action():
    group = dihedral(3)
    C = action_groupoid(group, group.points)
    n = group.order
    for x in range(3):
        for g in range(n):
            f = x * n + g
            assert (C.src[f], C.dst[f]) == (x, group.points[g, x])
            for h in range(n):
                assert C.comp[group.points[g, x] * n + h, f] == x * n + group.table[h, g]
    assert C.is_groupoid
    assert C.hom_count.tolist() == [[2] * 3] * 3
    with pytest.raises(AxiomError, match="no homomorphism"):
        action_groupoid(group, group.points[group.inverses])
    with pytest.raises(ShapeError, match=r"moves must be \(6, points\)"):
        action_groupoid(group, [[0]])


def test_sums_and_products():
    both = product(chain(2), from_group(cyclic(3)))
    assert both.hom_count.tolist() == (3 * chain(2).hom_count).tolist()
    assert product(chain(2), chain(2)).hom_count.tolist() == diamond().hom_count.tolist()
    union = disjoint_union(chain(2), chain(3))
    assert union.hom_count[:2, :2].tolist() == chain(2).hom_count.tolist()
    assert union.hom_count[:2, 2:].sum() == 0
    assert full_subcategory(union, [2, 3, 4]).source == chain(3)


def test_parts_of_a_category():
    inclusion = full_subcategory(diamond(), [3, 0])
    inclusion.check()
    assert inclusion.source.hom_count.tolist() == [[1, 0], [1, 1]]
    assert inclusion.is_embedding
    with pytest.raises(ConfigError, match="each object once"):
        full_subcategory(diamond(), [0, 0])


def test_some_hundred_arrows_are_checked_within_seconds():
    assert from_group(symmetric(5)).n_mor == 120
    assert from_group(cyclic(400)).hom_count.tolist() == [[400]]
    assert len(from_poset(np.triu(np.ones((27, 27), dtype=int))).generators) == 26


def test_numbers_beyond_64_bits_with_a_sign_are_not_wrapped():
    # As 64 bits with a sign this would be −1, which stands for no composite.
    far = np.array([[2**64 - 1]], dtype=np.uint64)
    with pytest.raises(ShapeError, match="64 bits"):
        FinCat(1, [0], [0], [0], far)


def test_a_union_is_of_categories():
    with pytest.raises(ConfigError, match="categories, one after the other"):
        disjoint_union([discrete(1), discrete(2)])
