"""Presheaves and copresheaves: laws with their witnesses, conventions, and the ones that people name."""

import copy
import pickle

import numpy as np
import pytest

from msr.category import (
    CoPresheaf,
    Functor,
    Presheaf,
    action_copresheaf,
    action_presheaf,
    category_of_elements,
    constant,
    constant_copresheaf,
    corepresentable,
    discrete,
    from_group,
    identity_functor,
    on_inverses,
    on_opposite,
    representable,
    restricted,
    universal_elements,
)
from msr.errors import AxiomError, ConfigError, DataError, ShapeError
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

C4 = from_group(cyclic(4))
S3 = from_group(symmetric(3))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Presheaf(chain(2), [1], [[0]] * 3), ShapeError, r"sizes must have the shape \(2,\)"),
        (lambda: Presheaf(chain(2), [1, -1], [[0]] * 3), ShapeError, r"sizes\[1\] = -1"),
        (lambda: Presheaf(chain(2), [1, 1], [[0]] * 2), ShapeError, "one map for each of the 3 arrows"),
        (
            lambda: Presheaf(chain(2), [2, 1], [[0, 1], [0, 1], [0]]), ShapeError,
            r"maps\[1\] must be 1 whole numbers, one for each element at object 1; got int64 \(2,\)",
        ),
        (lambda: Presheaf(chain(2), [2, 1], [[0, 1], [0.5], [0]]), ShapeError, "got float64"),
        (
            lambda: Presheaf(chain(2), [2, 1], [[0, 1], [2], [0]]), AxiomError,
            r"maps\[1\] sends element 0 at object 1 to 2, which is none of the 2 elements at object 0",
        ),
        (
            lambda: Presheaf(chain(2), [2, 1], [[1, 0], [0], [0]]), AxiomError,
            r"the identity of object 0 \(arrow 0\) must move nothing; it sends element 0 to 1",
        ),
        (
            lambda: Presheaf(C4, [2], [[0, 1], [1, 0], [0, 1], [0, 1]]), AxiomError,
            r"no presheaf: for g = 1, f = 2 and x = 0, T\(f\)\(T\(g\)\(x\)\) = 1, but T\(g∘f\)\(x\) = 0",
        ),
        (
            lambda: CoPresheaf(C4, [2], [[0, 1], [1, 0], [0, 1], [0, 1]]), AxiomError,
            r"no copresheaf: for g = 1, f = 2 and x = 0, T\(g\)\(T\(f\)\(x\)\) = 1",
        ),
        (lambda: Presheaf("C", [1], [[0]]), ConfigError, "category must be a FinCat"),
    ],
)  # fmt: skip
def test_a_broken_presheaf_is_refused_with_a_witness(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_left_action_is_a_presheaf_by_inverses_only():
    moves = symmetric(3).points
    assert CoPresheaf(S3, [3], tuple(moves)) == action_copresheaf(symmetric(3), moves)
    with pytest.raises(AxiomError, match="a left action is a presheaf by"):
        Presheaf(S3, [3], tuple(moves))
    T = action_presheaf(symmetric(3), moves)
    for g in range(6):
        assert T.maps[g].tolist() == moves[symmetric(3).inverses[g]].tolist()
    assert on_inverses(T) == action_copresheaf(S3, moves)
    with pytest.raises(AxiomError, match="no homomorphism"):
        action_presheaf(symmetric(3), moves[symmetric(3).inverses])
    with pytest.raises(AxiomError, match="no copresheaf"):
        action_copresheaf(S3, moves[symmetric(3).inverses])
    assert action_presheaf(symmetric(3), []).n_elements == action_presheaf(S3, []).n_elements == 0
    with pytest.raises(ConfigError, match="an action needs a FiniteGroup"):
        action_presheaf(chain(2), [[0]])
    with pytest.raises(ShapeError, match=r"moves must be \(6, points\)"):
        action_presheaf(S3, [[0]])


def test_a_presheaf_from_its_generators():
    assert Presheaf.generated(C4, [4], {1: [3, 0, 1, 2]}) == turning(4)
    graph = multigraph(3, [(0, 1), (1, 2)])
    assert [part.tolist() for part in graph.maps] == [[0, 1, 2], [0, 1], [0, 1], [1, 2]]
    with pytest.raises(ConfigError, match=r"the maps of the arrows \[2\] do not determine arrow 3"):
        Presheaf.generated(parallel_pair(), [1, 0], {2: []})
    with pytest.raises(AxiomError, match="no presheaf"):
        Presheaf.generated(C4, [3], {1: [1, 2, 0]})
    with pytest.raises(AxiomError, match="must move nothing"):
        Presheaf.generated(C4, [2], {0: [1, 0], 1: [0, 1]})
    chained = CoPresheaf.generated(chain(3), [1, 2, 3], {chain(3).hom(0, 1)[0]: [1], chain(3).hom(1, 2)[0]: [2, 0]})
    assert chained.maps[chain(3).hom(0, 2)[0]].tolist() == [0]


def test_representable_ones():
    C = parallel_pair()
    h = representable(C, 1)
    assert h.sizes.tolist() == C.hom_count[:, 1].tolist() == [2, 1]
    assert corepresentable(C, 0).sizes.tolist() == C.hom_count[0].tolist() == [1, 2]
    rng = np.random.default_rng(0)
    for _ in range(20):
        D = random_category(rng)
        for X in D.objects:
            representable(D, X).check()
            corepresentable(D, X).check()
            assert on_opposite(corepresentable(D, X)) == representable(D.op(), X)
            assert (X, int(D.place[D.ident[X]])) in universal_elements(representable(D, X))
            assert (X, int(D.place[D.ident[X]])) in universal_elements(corepresentable(D, X))


def test_constant_ones():
    assert constant(diamond(), 3).n_elements == 12
    constant(diamond(), 2).check()
    constant_copresheaf(diamond(), 2).check()
    with pytest.raises(ConfigError, match="0 elements or more; got -1"):
        constant(diamond(), -1)


def test_sums_and_products():
    rng = np.random.default_rng(1)
    for _ in range(20):
        C = random_category(rng)
        S = random_presheaf(rng, C)
        T = random_presheaf(rng, C)
        for made, sizes in ((S + T, S.sizes + T.sizes), (S * T, S.sizes * T.sizes)):
            made.check()
            assert made.sizes.tolist() == sizes.tolist()
    pair = turning(2) * turning(4)
    assert pair.maps[1].tolist() == [4 * a + b for a in (1, 0) for b in (3, 0, 1, 2)]
    with pytest.raises(ConfigError, match="a presheaf and a copresheaf do not compare"):
        turning(2) + turning(2, covariant=True)
    with pytest.raises(ConfigError, match="of different categories"):
        turning(2) + turning(2, n=6)


def test_restrictions():
    inclusion = Functor(from_group(cyclic(2)), C4, [0], [0, 2])
    T = restricted(turning(4), inclusion)
    T.check()
    assert T.maps[1].tolist() == [2, 3, 0, 1]
    assert restricted(turning(4), identity_functor(C4)) == turning(4)
    with pytest.raises(ConfigError, match="does not live on the target"):
        restricted(turning(4), identity_functor(chain(2)))


def test_variance():
    T = turning(1, 2, 4)
    assert on_opposite(on_opposite(T)) == T
    on_opposite(T).check()
    on_inverses(T).check()
    with pytest.raises(ConfigError, match="arrow 1 of chain of 2 has no inverse"):
        on_inverses(constant(chain(2), 1))


def test_empty_ones():
    T = empty(diamond())
    assert T.n_elements == 0
    assert (T + T) == T * constant(diamond(), 3) == T
    nothing = Presheaf(discrete(0), [], [])
    assert nothing.n_elements == 0
    assert universal_elements(nothing) == ()


def test_the_category_of_elements():
    """Universal elements are its terminal objects, for a presheaf; for a copresheaf they are its initial ones."""
    rng = np.random.default_rng(2)
    answers = []
    for _ in range(40):
        C = random_category(rng)
        T = random_presheaf(rng, C) if rng.random() < 0.6 else representable(C, int(rng.integers(C.n_obj)))
        E = category_of_elements(T)
        universal = [int(T.offsets[X]) + u for X, u in universal_elements(T)]
        assert list(E.terminal_objects) == universal
        F = on_opposite(T)
        assert list(category_of_elements(F).initial_objects) == universal
        answers.append(bool(universal))
    assert 0 < sum(answers) < 40
    assert category_of_elements(multigraph(2, [(0, 1)])).hom_count.tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 1]]


def test_a_presheaf_is_a_value():
    T = turning(1, 2)
    for other in (pickle.loads(pickle.dumps(T)), copy.deepcopy(T)):
        assert other == T
        assert hash(other) == hash(T)
        with pytest.raises(ValueError, match="read-only"):
            other.maps[0][0] = 1
    assert turning(2, 1) != T
    assert on_inverses(T) != T
    assert repr(T) == "<(1, 2): Presheaf on BC4, sizes (3)>"
    with pytest.raises(ConfigError, match="has 3 elements at object 0; got element 3"):
        T.element_of(0, 3)
    assert universal_elements(representable(idempotent(), 0)) == ((0, 0),)


def test_constant_ones_that_do_not_fit_into_memory():
    with pytest.raises(DataError, match="elements at each object"):
        constant(discrete(2), 10**13)
