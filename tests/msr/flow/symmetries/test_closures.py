"""2-closures, against all permutations of the points: which groups a table of pairs can show."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.errors import AxiomError, ConfigError, ShapeError
from msr.flow.symmetries.closures import is_two_closed, permutations_that_keep, two_closure
from msr.groups import (
    PermutationGroup,
    alternating,
    cyclic,
    dihedral,
    frobenius,
    from_table,
    symmetric,
)
from msr.permutations import orbitals
from tests.msr.flow.menu import all_permutations

TURN = [1, 2, 0]
V4 = [[1, 0, 3, 2], [2, 3, 0, 1]]


def on_two(first, second):
    """Permutations of some points and of three more, side by side."""
    return [*first, *[len(first) + i for i in second]]


def wreath(within):
    """A group on three points in two blocks, with their swap."""
    return [*[on_two(p, [0, 1, 2]) for p in within], [3, 4, 5, 0, 1, 2]]


SWAP = [1, 0, 2]
GROUPS = {
    "A4": (alternating(4), 12, 24),
    "AGL(1,5)": (frobenius(5, 4), 20, 120),
    "C6": (cyclic(6), 6, 6),
    "D6": (dihedral(6), 12, 12),
    "V4": (V4, 4, 4),
    "S3 wr C2": (wreath([TURN, SWAP]), 72, 72),
    "C3 x C3 on 3+3": ([on_two(TURN, [0, 1, 2]), on_two([0, 1, 2], TURN)], 9, 9),
    "D5": (dihedral(5), 10, 10),
    "F21": (frobenius(7, 3), 21, 21),
    "C2 wr C3": ([[1, 0, 2, 3, 4, 5], [2, 3, 4, 5, 0, 1]], 24, 24),
    "S3 x S3": ([on_two(p, [0, 1, 2]) for p in (TURN, SWAP)] + [on_two([0, 1, 2], p) for p in (TURN, SWAP)], 36, 36),
    "C4 on 1+4": ([[0, 2, 3, 4, 1]], 4, 4),
    "C3 on 3+3 diagonally": ([on_two(TURN, TURN)], 3, 3),
    "trivial": ([[0, 1, 2]], 1, 1),
    "one point": ([[0]], 1, 1),
    "S5": (symmetric(5), 120, 120),
    "A5 on 5": (alternating(5), 60, 120),
}


@pytest.mark.parametrize("name", GROUPS)
def test_closures(name):
    group, order, closed = GROUPS[name]
    closure = two_closure(group)
    assert closure.order == closed
    assert is_two_closed(group) is (order == closed)
    assert is_two_closed(closure)
    moves = closure.generator_points
    assert PermutationGroup([np.arange(closure.degree), *moves]).order == closed


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_all_permutations_that_keep_the_orbitals(n, seed):
    rng = np.random.default_rng(seed)
    moves = np.stack([rng.permutation(n) for _ in range(rng.integers(1, 3))])
    labels = orbitals(moves, moves).reshape(n, n)
    expected = sum(np.array_equal(labels[p][:, p], labels) for p in all_permutations(n))
    assert two_closure(moves).order == expected


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 10**6))
def test_rows_and_columns_move_together(n, colours, seed):
    """Colours of the diagonal that also lie off it: pairs (p, q) of different permutations keep such a table."""
    table = np.random.default_rng(seed).integers(colours, size=(n, n))
    moves, order = permutations_that_keep(table)
    assert order == sum(np.array_equal(table[p][:, p], table) for p in all_permutations(n))
    for p in moves:
        assert np.array_equal(table[p][:, p], table)


def test_a_shift_of_rows_alone_is_no_symmetry():
    """A table that rows and columns keep by moving apart: x ↦ x + 1 for rows, nothing for columns."""
    table = np.repeat([[0, 1, 2]], 3, axis=0)
    assert permutations_that_keep(table)[1] == 1


def test_a_large_group():
    closure = two_closure(symmetric(40))
    assert closure.order == symmetric(40).order


@pytest.mark.parametrize(
    ("group", "error"),
    [
        ([], ConfigError),
        ([[0, 0, 1]], AxiomError),
        ([[0, 1], [0, 1, 2]], ShapeError),
        ([[0.0, 1.0]], ShapeError),
        ([[True, False]], ShapeError),
        (from_table([[0, 1], [1, 0]]), ConfigError),
    ],
)
def test_what_is_refused(group, error):
    with pytest.raises(error):
        two_closure(group)
