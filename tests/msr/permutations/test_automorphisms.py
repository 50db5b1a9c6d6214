"""The permutations that keep a coloured matrix: our search against nauty's port, sympy and counts that are known."""

import importlib.util
import math
import sys
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy.combinatorics import Permutation, PermutationGroup

from msr.errors import ConfigError, MissingExtraError, ShapeError
from msr.groups import (
    alternating,
    cyclic,
    dihedral,
    direct_product,
    quaternion,
    semidirect_product,
    symmetric,
    wreath_product,
)
from msr.permutations import automorphisms, orbit_labels
from msr.permutations.refinement import Search, SearchTooLong, joined_orbits, keeps
from msr.permutations.stabiliser_chains import Chain, is_giant
from msr.representations import grid_rotations, grid_shifts, natural, pair_orbits, quotient, regular, trivial


def pattern(rep_in, rep_out):
    """The colours of the layers that a group leaves: a class of weights for each orbit of pairs, ``(out, in)``."""
    return pair_orbits(rep_in.permutations, rep_out.permutations).numpy()


def frobenius21():
    return semidirect_product(cyclic(7), cyclic(3), lambda h, n: n * 2**h % 7)


def both(found):
    return np.concatenate([found.generators_in, found.generators_out + found.generators_in.shape[1]], 1)


def of_sympy(rows):
    return PermutationGroup([Permutation(g.tolist()) for g in rows] or [Permutation(rows.shape[1] - 1)])


HAS_CANONAUT = importlib.util.find_spec("canonaut") is not None


def same_group(colours):
    """The searches that are there give one group, and say its order; returns the order."""
    ours = automorphisms(colours, backend="own")
    assert of_sympy(both(ours)).order() == ours.order
    theirs = automorphisms(colours, backend="canonaut") if HAS_CANONAUT else ours
    if HAS_CANONAUT:
        assert ours.order == theirs.order
        a, b = of_sympy(both(ours)), of_sympy(both(theirs))
        assert all(b.contains(Permutation(g.tolist())) for g in both(ours))
        assert all(a.contains(Permutation(g.tolist())) for g in both(theirs))
        assert np.array_equal(orbit_labels(both(ours)), orbit_labels(both(theirs)))
    for found in (ours, theirs):
        assert found.generators_in.shape[1:] == colours.shape[1:]
        assert found.generators_out.shape[1:] == colours.shape[:1]
        assert (both(found) != np.arange(sum(colours.shape))).any(1).all()
        for p, q in zip(found.generators_in, found.generators_out, strict=True):
            assert (colours[np.ix_(q, p)] == colours).all()
    return ours.order


EXACT = {
    "C1": (lambda: regular(cyclic(1)), 1),
    "C7": (lambda: regular(cyclic(7)), 7),
    "C12": (lambda: regular(cyclic(12)), 12),
    "D5 regular": (lambda: regular(dihedral(5)), 10),
    "D8 on corners": (lambda: natural(dihedral(8)), 16),
    "S6": (lambda: natural(symmetric(6)), 720),
    "A5 on 5 points closes to S5": (lambda: natural(alternating(5)), 120),
    "Klein": (lambda: regular(direct_product(cyclic(2), cyclic(2))), 4),
    "Q8": (lambda: regular(quaternion()), 8),
    "Frobenius 7:3": (lambda: regular(frobenius21()), 21),
    "torus": (lambda: grid_shifts((4, 5)), 20),
    "S3 wr C2": (lambda: natural(wreath_product(symmetric(3), cyclic(2))), 72),
    "C2 wr S3": (lambda: natural(wreath_product(cyclic(2), symmetric(3))), 48),
    "S3 x C4": (lambda: natural(direct_product(symmetric(3), cyclic(4))), 24),
    "turns and flips of a grid": (lambda: grid_rotations(4, flips=True), 8),
}


@pytest.mark.parametrize(("make", "order"), EXACT.values(), ids=EXACT)
def test_both_searches_find_the_group_of_a_pattern(make, order):
    assert same_group(pattern(make(), make())) == order


def test_inputs_and_outputs_may_differ():
    D4, S4 = dihedral(4), symmetric(4)
    assert same_group(pattern(regular(D4), natural(D4))) == 8
    assert same_group(pattern(natural(S4), regular(S4))) == 24
    # D4 turns four inputs and swaps two outputs through its quotient by the rotations.
    turned = pattern(natural(D4), quotient(D4, D4.subgroup([1])))
    assert turned.shape == (2, 4)
    assert same_group(turned) == math.factorial(4) * 2  # the pattern is all one colour
    assert same_group(pattern(natural(D4), trivial(D4, 3))) == 24


@pytest.mark.parametrize(
    ("colours", "order"),
    [
        (np.zeros((1, 1), int), 1),
        (np.zeros((4, 3), int), 24 * 6),
        (np.full((2, 5), -7), 2 * 120),
        (np.arange(12).reshape(3, 4), 1),
        (np.array([[0, 1], [1, 0]], dtype=np.uint8), 2),
        (np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2], [2, 0, 1]]), 6),  # rows of the same colours
        (np.repeat(np.eye(3, dtype=int), 2, axis=0), 6 * 2**3),  # each row twice
        (np.kron(np.eye(2, dtype=int), np.eye(3, dtype=int) + 1), 72),
    ],
    ids=["one", "equal", "negative", "all differ", "bytes", "equal rows", "twins", "blocks"],
)
def test_small_matrices_have_as_many_automorphisms_as_enumeration_finds(colours, order):
    assert same_group(colours) == order


@pytest.mark.parametrize("seed", range(4))
def test_random_colours_have_no_symmetry(seed):
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 5, (12, 9))
    assert same_group(colours) == 1
    assert automorphisms(colours, backend="own").generators_in.shape == (0, 9)


def srg16(steps):
    """The Cayley graph of C4 x C4 with these steps, as colours: diagonal, edge, neither."""
    x = np.arange(16)
    a, b = (x[:, None] // 4 - x // 4) % 4, (x[:, None] % 4 - x % 4) % 4
    edge = np.isin(a * 4 + b, [4 * (s % 4) + t % 4 for s, t in steps])
    return edge + 2 * np.eye(16, dtype=int)


SHRIKHANDE = srg16([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1)])
ROOK = srg16([(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)])


@pytest.mark.parametrize(
    ("blocks", "order"),
    [
        ([SHRIKHANDE], 192),
        ([ROOK], 1152),
        ([SHRIKHANDE, ROOK], 192 * 1152),
        ([ROOK, ROOK], 1152**2 * 2),
        # From the first block the search must fail on the second before it succeeds on the third.
        ([SHRIKHANDE, ROOK, SHRIKHANDE], 192**2 * 2 * 1152),
    ],
    ids=["Shrikhande", "rook", "both", "two rooks", "one between two"],
)
def test_the_search_distinguishes_partitions_with_equal_refinements(blocks, order):
    """The Shrikhande and the rook's graph have the same parameters: no refinement splits them, only failing does."""
    colours = np.full((16 * len(blocks),) * 2, 3)
    for i, block in enumerate(blocks):
        colours[16 * i : 16 * i + 16, 16 * i : 16 * i + 16] = block
    assert same_group(colours) == order


LATIN = np.array(
    [
        [0, 4, 5, 3, 1, 2],
        [1, 5, 0, 4, 2, 3],
        [2, 0, 1, 5, 3, 4],
        [3, 1, 2, 0, 4, 5],
        [4, 2, 3, 1, 5, 0],
        [5, 3, 4, 2, 0, 1],
    ]
)


def test_known_automorphisms_prune_only_where_they_keep_the_cells():
    """Cells of a Latin square that share a row, a column or a symbol: a search that prunes too much finds only 108."""
    cells = np.arange(36)
    same = [values[:, None] == values for values in (cells // 6, cells % 6, LATIN.ravel())]
    assert same_group(np.any(same, 0) + np.eye(36, dtype=int)) == 432


def brute(colours):
    """All pairs that keep the colours, one after the other."""
    m, n = colours.shape
    return sum(keeps(colours, np.array(p), np.array(q)) for p in permutations(range(n)) for q in permutations(range(m)))


@given(st.data())
def test_orders_are_those_of_counting_and_do_not_depend_on_numbering(data):
    m, n = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    values = data.draw(st.lists(st.integers(0, 2), min_size=m * n, max_size=m * n))
    colours = np.array(values).reshape(m, n)
    order = same_group(colours)
    assert order == brute(colours)
    p, q = (np.array(data.draw(st.permutations(range(k)))) for k in (n, m))
    moved = np.empty_like(colours)
    moved[np.ix_(q, p)] = colours
    there = automorphisms(moved, backend="own")
    assert there.order == order
    # Conjugation by the move takes one group to the other.
    group = of_sympy(both(there))
    move = np.concatenate([p, q + n])
    for g in both(automorphisms(colours, backend="own")):
        assert group.contains(Permutation(move[g[np.argsort(move)]].tolist()))


@given(st.integers(0, 10**6), st.sampled_from(sorted(EXACT)))
def test_a_renumbered_pattern_has_as_many_automorphisms(seed, name):
    make, order = EXACT[name]
    rng = np.random.default_rng(seed)
    colours = pattern(make(), make())
    m, n = colours.shape
    colours = rng.permutation(colours.max() + 1)[colours]
    assert automorphisms(colours[np.ix_(rng.permutation(m), rng.permutation(n))], backend="own").order == order


def test_our_search_copes_with_large_groups():
    """Recursion would be as deep as there are points, and steps as many as its square."""
    assert automorphisms(np.eye(200, dtype=int), backend="own").order == math.factorial(200)
    found = automorphisms(np.zeros((40, 60), dtype=int), backend="own")
    assert found.order == math.factorial(40) * math.factorial(60)


@pytest.mark.parametrize(
    ("colours", "error", "says"),
    [
        (np.zeros((2, 2)), ShapeError, r"whole numbers \(out, in\).*float64 \(2, 2\)"),
        (np.zeros(3, int), ShapeError, r"int64 \(3,\)"),
        (np.zeros((0, 3), int), ShapeError, r"\(0, 3\)"),
    ],
)
def test_what_is_no_matrix_of_colours_is_named(colours, error, says):
    with pytest.raises(error, match=says):
        automorphisms(colours)


def test_backends(monkeypatch):
    colours = np.eye(3, dtype=int)
    with pytest.raises(ConfigError, match="auto, own or canonaut; got 'bliss'"):
        automorphisms(colours, backend="bliss")
    monkeypatch.setitem(sys.modules, "canonaut", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"msr\[discover\]\", or backend=\"own\""):
        automorphisms(colours, backend="canonaut")
    assert automorphisms(colours).order == automorphisms(colours, backend="own").order == 6


def latin(n, seed, switches=200):
    """Cells of a Latin square that share a row, a column or a symbol, after random switches of cycles of two rows."""
    rng = np.random.default_rng(seed)
    square = np.add.outer(np.arange(n), np.arange(n)) % n
    for _ in range(switches):
        r, s = rng.choice(n, 2, replace=False)
        start = at = int(rng.integers(n))
        cycle = []
        while not cycle or at != start:
            cycle.append(at)
            at = int(np.flatnonzero(square[r] == square[s, at])[0])
        square[np.ix_([r, s], cycle)] = square[np.ix_([s, r], cycle)]
    cells = np.arange(n * n)
    same = [values[:, None] == values for values in (cells // n, cells % n, square.ravel())]
    return np.any(same, 0) + np.eye(n * n, dtype=int)


def test_our_search_ends_when_it_has_read_too_much_and_says_what_to_install(monkeypatch):
    """A Latin square without symmetry, of which no refinement splits a cell: every pair of cells has to be tried."""
    colours = latin(8, 0)
    search = Search(colours, 1e9)
    assert search.run()[1] == 1
    with pytest.raises(SearchTooLong):
        Search(colours, search.work / 2).run()
    monkeypatch.setattr(sys.modules["msr.permutations.search"], "_MOST_READ", search.work / 2)
    with pytest.raises(ConfigError, match=r"64 x 64 colours was given up .* backend=\"auto\""):
        automorphisms(colours, backend="own")
    if HAS_CANONAUT:
        assert automorphisms(colours).order == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    with pytest.raises(MissingExtraError, match=r"pip install \"msr\[discover\]\""):
        automorphisms(colours)


def torus(a, b):
    x = np.arange(a * b)
    return (x[:, None] // b - x // b) % a * b + (x[:, None] % b - x % b) % b


def hamming(d, q):
    words = np.stack(np.unravel_index(np.arange(q**d), (q,) * d), 1)
    return (words[:, None] != words).sum(2)


def johnson(n, k):
    sets = [set(s) for s in combinations(range(n), k)]
    return np.array([[len(a & b) for b in sets] for a in sets])


def paley(q):
    x = np.arange(q)
    gap = (x[:, None] - x) % q
    return np.isin(gap, x[1:] ** 2 % q) + 2 * (gap == 0)


def plane(q):
    lines = [(1, a, b) for a in range(q) for b in range(q)] + [(0, 1, a) for a in range(q)] + [(0, 0, 1)]
    return (np.array(lines) @ np.array(lines).T % q == 0).astype(int)


LARGE = {
    "C256": (lambda: torus(1, 256), 256, 1),
    "D128": (lambda: pattern(regular(dihedral(128)), regular(dihedral(128))), 256, 1),
    "torus 16 x 16": (lambda: torus(16, 16), 256, 1),
    "S32 wr S8": (lambda: np.kron(np.eye(8, dtype=int), np.ones((32, 32), int)) + np.eye(256, dtype=int),
                  math.factorial(32) ** 8 * math.factorial(8), 10),
    "H(2,16)": (lambda: hamming(2, 16), math.factorial(16) ** 2 * 2, 5),
    "H(8,2)": (lambda: hamming(8, 2), 2**8 * math.factorial(8), 5),
    "J(10,5)": (lambda: johnson(10, 5), math.factorial(10) * 2, 5),
    "Paley 257": (lambda: paley(257), 257 * 128, 5),
    "PG(2,7)": (lambda: plane(7), 5630688, 1),
    "Latin square of C16": (lambda: latin(16, 0, 0), 16 * 16 * 8 * 6, 5),
}  # fmt: skip


@pytest.mark.parametrize(("make", "order", "millions"), LARGE.values(), ids=LARGE)
def test_patterns_of_256_points_take_little_work(make, order, millions):
    """Orders that one can count, with a bound on the entries read: a matrix of 256 points has 0.07 million."""
    colours = make()
    search = Search(np.unique(colours, return_inverse=True)[1].reshape(colours.shape), 1e10)
    moves, found = search.run()
    assert found == order
    assert search.work < 1e6 * millions
    n = colours.shape[1]
    assert all(keeps(colours, move[:n], move[n:] - n) for move in moves)
    if order < 1e12:
        assert Chain(moves).order == order


def test_stabiliser_chains_have_the_orders_that_sympy_computes():
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 7, 9, 12):
        for r in (1, 2, 3):
            moves = np.stack([rng.permutation(n) for _ in range(r)])
            moves[:, n // 2 :] = np.sort(moves[:, n // 2 :]) if n == 7 else moves[:, n // 2 :]
            moves = np.stack([m if len(set(m.tolist())) == n else np.arange(n) for m in moves])
            group = of_sympy(moves)
            chain = Chain(moves)
            assert chain.order == group.order()
            other = rng.permutation(n)
            assert chain.contains(other) == group.contains(Permutation(other.tolist()))


def test_giants_are_told_from_their_subgroups():
    cycle, swap = np.roll(np.arange(12), 1), np.array([1, 0, *range(2, 12)])
    assert is_giant(np.stack([cycle, swap])) == "S"
    assert is_giant(np.stack([np.array([1, 2, 0, *range(3, 12)]), np.array([0, *range(2, 12), 1])])) == "A"
    m12 = np.array(
        [[*range(1, 11), 0, 11], [0, 1, 6, 9, 5, 3, 10, 2, 8, 4, 7, 11], [11, 10, 5, 7, 8, 2, 9, 3, 4, 6, 1, 0]]
    )
    assert Chain(m12).order == 95040
    assert is_giant(m12) is None
    assert is_giant(cycle[None]) is None


@pytest.mark.parametrize("seed", range(5))
def test_orbits_are_joined_as_a_graph_would_join_them(seed):
    """Generators are added one after another; each orbit is named by its least point."""
    generator = np.random.default_rng(seed)
    orbits = np.arange(40)
    moves = []
    for _ in range(3):
        move = np.arange(40)
        some = generator.choice(40, 12, replace=False)
        move[some] = np.roll(some, 1) if seed else some[np.arange(12) ^ 1]
        moves.append(move)
        orbits = joined_orbits(orbits, move)
        labels = orbit_labels(np.array(moves))
        assert orbits.tolist() == [int(np.flatnonzero(labels == label)[0]) for label in labels]


def test_keeps_reads_outputs_by_rows():
    colours = np.array([[0, 1, 2], [2, 0, 1]])
    assert keeps(colours, np.array([0, 1, 2]), np.array([0, 1]))
    assert not keeps(colours, np.array([1, 2, 0]), np.array([1, 0]))
    assert keeps(colours[:, [0, 0, 1]], np.array([1, 0, 2]), np.array([0, 1]))
