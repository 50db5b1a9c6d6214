"""Natural transformations: the law with its witness, counts against slow twins, and isomorphism."""

import pickle
from itertools import permutations, product

import numpy as np
import pytest

from msr.category import (
    Nat,
    count_transformations,
    from_group,
    identity_transformation,
    is_isomorphic,
    isomorphism,
    on_opposite,
    representable,
    transformation_table,
    transformations,
    yoneda_arrow,
)
from msr.errors import AxiomError, ConfigError, DataError, ShapeError
from msr.groups import cyclic
from tests.msr.category.cases import chain, diamond, empty, multigraph, parallel_pair, searched, turning

PAIR = parallel_pair()


@pytest.mark.parametrize(
    ("components", "error", "message"),
    [
        ([], ShapeError, "a component for each of 1 objects; got 0"),
        ([[0, 1, 0]], ShapeError, r"components\[0\] must be 4 whole numbers.*got int64 \(3,\)"),
        ([[0, 1, 0, 2]], AxiomError, r"components\[0\] sends element 3 to 2, which is none of the 2 elements"),
        ([[0, 1, 1, 0]], AxiomError, r"not natural: for arrow 1 \(0 → 0\) and element 0 of \(4,\) at object 0, .* = 1"),
    ],
)
def test_a_broken_transformation_is_refused_with_a_witness(components, error, message):
    with pytest.raises(error, match=message):
        Nat(turning(4), turning(2), components)


def test_what_does_not_compare():
    with pytest.raises(ConfigError, match="a presheaf and a copresheaf"):
        count_transformations(turning(2), turning(2, covariant=True))
    with pytest.raises(ConfigError, match="of different categories"):
        count_transformations(turning(2), turning(2, n=8))
    with pytest.raises(ConfigError, match="a Presheaf or CoPresheaf is needed"):
        count_transformations(turning(2), 3)


def test_transformations_compose():
    eta = Nat(turning(4), turning(2), [[0, 1, 0, 1]])
    theta = Nat(turning(2), turning(2), [[1, 0]])
    both = theta.after(eta)
    both.check()
    assert both.components[0].tolist() == [1, 0, 1, 0]
    assert theta.inverse() == theta
    assert theta.is_isomorphism
    assert not eta.is_isomorphism
    assert eta.after(identity_transformation(turning(4))) == eta
    assert pickle.loads(pickle.dumps(eta)) == eta
    with pytest.raises(ConfigError, match="no inverse: some component is no bijection"):
        eta.inverse()
    with pytest.raises(ConfigError, match=r"ends at .* and η starts at"):
        eta.after(theta)


def test_the_yoneda_embedding_is_a_functor():
    C = diamond()
    for g, f in np.argwhere(C.comp >= 0):
        assert yoneda_arrow(C, int(C.comp[g, f])) == yoneda_arrow(C, int(g)).after(yoneda_arrow(C, int(f)))


def plain_homomorphisms(n, arcs, m, others):
    """Maps of vertices, each counted as often as arcs can be sent to arcs."""
    table = np.zeros((m, m), dtype=int)
    for a, b in others:
        table[a, b] += 1
    return sum(int(np.prod([table[p[a], p[b]] for a, b in arcs])) for p in product(range(m), repeat=n))


def test_graph_homomorphisms_against_a_plain_loop():
    rng = np.random.default_rng(0)
    positive = 0
    for _ in range(60):
        n, m = (int(k) for k in rng.integers(1, 5, size=2))
        arcs = rng.integers(n, size=(int(rng.integers(0, 6)), 2)).tolist()
        others = rng.integers(m, size=(int(rng.integers(0, 8)), 2)).tolist()
        G = multigraph(n, arcs, PAIR)
        H = multigraph(m, others, PAIR)
        count = count_transformations(G, H)
        assert count == plain_homomorphisms(n, arcs, m, others)
        assert count_transformations(on_opposite(G), on_opposite(H)) == count
        if count < 2000:
            table = transformation_table(G, H)
            assert len(np.unique(table, axis=0)) == len(table) == count
        positive += count > 0
    assert 10 < positive < 60


def test_counts_beyond_63_bits_are_exact():
    """The colourings of a circle of n vertices by 3 colours are 2^n + 2 for even n; n points have |T|^n maps."""
    triangle = multigraph(3, [(a, b) for a in range(3) for b in range(3) if a != b], PAIR)
    circle = multigraph(80, [(k, (k + 1) % 80) for k in range(80)], PAIR)
    assert count_transformations(circle, triangle) == 2**80 + 2
    assert count_transformations(multigraph(70, [], PAIR), triangle) == 3**70
    assert count_transformations(turning(*[4] * 40), turning(4, 4, 4)) == 12**40


def test_sets_of_the_cyclic_group_of_eight_against_the_search():
    for first, second in (((8, 4), (8, 4, 2, 1)), ((4, 2, 1), (8, 4, 2, 1)), ((8,), (2, 2)), ((2,), (4,))):
        S = turning(*first, n=8)
        T = turning(*second, n=8)
        assert count_transformations(S, T) == searched(S, T)


def test_ten_thousand_elements():
    S = turning(*[8] * 1000, *[4] * 400, *[2] * 200, n=8)
    assert S.n_elements == 10_000
    # A point of an orbit of 8 goes anywhere; one of 4 to what r⁴ fixes; one of 2 to what r² fixes.
    assert count_transformations(S, S) == 10_000**1000 * 2000**400 * 400**200


def test_transformations_from_and_to_nothing():
    C = diamond()
    T = representable(C, 3)
    assert transformation_table(empty(C), T).shape == (1, 0)
    assert transformation_table(T, empty(C)).shape == (0, 4)
    assert [eta.is_isomorphism for eta in transformations(empty(C), empty(C))] == [True]


def test_long_lists_are_refused():
    with pytest.raises(DataError, match=r"there are 12 transformations .*, and at most 10 are listed"):
        transformations(turning(4), turning(4, 4, 4), most=10)


# Isomorphism


def test_pointwise_equal_sets_are_not_isomorphic():
    """The caution: all four sets of size 4 on which C4 acts have four elements, and no two are isomorphic."""
    sets = [turning(4), turning(2, 2), turning(2, 1, 1), turning(1, 1, 1, 1)]
    for i, S in enumerate(sets):
        for j, T in enumerate(sets):
            assert is_isomorphic(S, T) == (i == j)


def test_isomorphism_of_graphs():
    """Against all renamings; a circle of 6 and two of 3 agree in every degree."""
    six = multigraph(6, [(k, (k + 1) % 6) for k in range(6)], PAIR)
    twice = multigraph(6, [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)], PAIR)
    assert not is_isomorphic(six, twice)
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(40):
        arcs = rng.integers(4, size=(5, 2))
        shuffle = rng.permutation(4)
        others = shuffle[arcs][rng.permutation(5)] if rng.random() < 0.5 else rng.integers(4, size=(5, 2))
        expected = any(
            sorted(map(tuple, np.array(p)[arcs].tolist())) == sorted(map(tuple, others.tolist()))
            for p in permutations(range(4))
        )
        eta = isomorphism(multigraph(4, arcs, PAIR), multigraph(4, others, PAIR))
        assert (eta is not None) == expected
        if eta is not None:
            eta.check()
            assert eta.is_isomorphism
        answers.append(expected)
    assert 10 < sum(answers) < 40


def test_isomorphism_where_the_search_has_to_turn_back():
    """Regular graphs, whose elements all look alike from near: the prism and K33, with arcs both ways."""
    prism = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)]
    bipartite = [(a, b) for a in range(3) for b in range(3, 6)]
    shuffle = np.array([3, 0, 5, 1, 4, 2])
    graphs = [multigraph(6, [*arcs, *((b, a) for a, b in arcs)], PAIR) for arcs in (prism, bipartite)]
    renamed = multigraph(6, shuffle[np.array([*prism, *((b, a) for a, b in prism)])][::-1], PAIR)
    assert not is_isomorphic(*graphs)
    assert is_isomorphic(graphs[0], renamed)
    assert not is_isomorphic(graphs[1], renamed)


def test_isomorphism_of_a_regular_graph_without_symmetry():
    """Frucht's graph: each vertex has three neighbours, and no two are alike, so that wrong ways are gone first."""
    jumps = [-5, -2, -4, 2, 5, -2, 2, 5, -2, -5, 4, 2]
    pairs = {frozenset((k, (k + step) % 12)) for k, jump in enumerate(jumps) for step in (1, jump)}
    arcs = np.array([arc for pair in pairs for arc in permutations(sorted(pair))])
    assert len(arcs) == 36
    graph = multigraph(12, arcs, PAIR)
    rng = np.random.default_rng(2)
    for _ in range(5):
        shuffle = rng.permutation(12)
        eta = isomorphism(graph, multigraph(12, shuffle[arcs][rng.permutation(36)], PAIR))
        assert eta is not None
        eta.check()
        assert eta.components[0].tolist() == shuffle.tolist()


def test_isomorphism_of_little():
    C = chain(2)
    assert isomorphism(empty(C), empty(C)) is not None
    assert isomorphism(empty(C), representable(C, 0)) is None
    assert is_isomorphic(representable(from_group(cyclic(4)), 0), turning(4))
