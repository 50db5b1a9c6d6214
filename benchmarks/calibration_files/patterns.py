"""Permutation groups by generators, the sharing patterns that they keep, and a hundred groups to be found.

A pattern is a matrix ``(out, in)`` of whole numbers: the orbits of a group on pairs of an output and an input. A
generator is a row of images: point ``i`` goes to ``generator[i]``.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product

import numpy as np

from msr.permutations import Indices, orbit_labels
from msr.permutations.search import automorphisms

__all__ = [
    "blocks", "elements", "families", "of_colours", "pair_orbits", "random_elements", "refines", "ring",
]  # fmt: skip

MOST_ELEMENTS = 2000
"""A group with more elements than this is sampled, not listed."""


def pair_orbits(moves_in: Indices, moves_out: Indices) -> Indices:
    """Orbits on pairs, ``(out, in)``, of generators ``(r, in)`` and ``(r, out)``; numbered by their first pair."""
    r, n = moves_in.shape
    m = moves_out.shape[1]
    moves = (moves_out[:, :, None] * n + moves_in[:, None, :]).reshape(r, m * n)
    return orbit_labels(moves).reshape(m, n)


def refines(fine: Indices, coarse: Indices) -> bool:
    """Whether each class of ``fine`` lies within a class of ``coarse``, as a group's do within a larger group's.

    Shapes: both are matrices of class numbers, of one shape.
    """
    both = np.unique(np.stack([fine.ravel(), coarse.ravel()]), axis=1).shape[1]
    return bool(both == len(np.unique(fine)))


def of_colours(colours: Indices) -> Indices:
    """The pattern of all permutations that keep the colours of a matrix: finer than the colours, or as fine."""
    group = automorphisms(colours)
    return pair_orbits(group.generators_in, group.generators_out)


def elements(moves: Indices, most: int = MOST_ELEMENTS) -> Indices | None:
    """All elements of the group, ``(order, points)``, the identity first; None if there are more than ``most``."""
    identity = np.arange(moves.shape[1])
    known = {identity.tobytes()}
    listed = [identity]
    fresh = [identity]
    while fresh:
        products = np.concatenate([move[np.array(fresh)] for move in moves]) if len(moves) else np.empty((0, 0), int)
        fresh = []
        for element in products:
            if element.tobytes() not in known:
                known.add(element.tobytes())
                fresh.append(element)
        listed += fresh
        if len(listed) > most:
            return None
    return np.array(listed)


def random_elements(moves: Indices, count: int, draw: np.random.Generator, steps: int = 60) -> Indices:
    """Random elements ``(count, points)`` of the group of some generators, nearly uniform.

    They are products of the generators, by product replacement (Celler, 1995) with ``steps`` steps before the first.
    """
    pool = np.concatenate([moves, moves, moves])[: max(10, 2 * len(moves))]
    result = np.empty((count, moves.shape[1]), dtype=np.int64)
    state = pool[0].copy()
    for step in range(steps + 10 * count):
        a, b = draw.choice(len(pool), 2, replace=False)
        other = pool[b] if draw.random() < 0.5 else np.argsort(pool[b])
        pool[a] = pool[a][other] if draw.random() < 0.5 else other[pool[a]]
        state = state[pool[a]]
        if step >= steps and (step - steps) % 10 == 9:
            result[(step - steps) // 10] = state
    return result


def ring(n: int, flips: bool = True) -> Indices:
    """Pairs of points on a ring, coloured by distance (dihedral group) or by difference (cyclic group)."""
    gap = (np.arange(n)[None] - np.arange(n)[:, None]) % n
    return np.minimum(gap, n - gap) if flips else gap


def blocks(count: int, size: int) -> Indices:
    """Pairs of points coloured as equal, in one block, or in two: a wreath product of symmetric groups."""
    block = np.arange(count * size) // size
    return np.where(np.eye(count * size, dtype=bool), 0, np.where(block[None] == block[:, None], 1, 2))


# --- Groups to be found -----------------------------------------------------------------------------------------------


def _cycles(n: int, *cycles: Sequence[int]) -> Indices:
    """The permutation of ``n`` points with these cycles."""
    move = np.arange(n)
    for cycle in cycles:
        move[list(cycle)] = np.roll(cycle, -1)
    return move


def _cyclic(n: int) -> Indices:
    return np.roll(np.arange(n), -1)[None]


def _dihedral(n: int) -> Indices:
    return np.stack([np.roll(np.arange(n), -1), (-np.arange(n)) % n])


def _symmetric(n: int) -> Indices:
    return np.stack([np.roll(np.arange(n), -1), _cycles(n, (0, 1))])


def _alternating(n: int) -> Indices:
    return np.stack([_cycles(n, (0, 1, i)) for i in range(2, n)])


def _side_by_side(*groups: Indices) -> Indices:
    """The direct product on the points of all factors together."""
    sizes = [group.shape[1] for group in groups]
    starts = np.cumsum([0, *sizes])
    rows = []
    for group, start in zip(groups, starts, strict=False):
        for move in group:
            row = np.arange(starts[-1])
            row[start : start + len(move)] = start + move
            rows.append(row)
    return np.array(rows)


def _metacyclic(n: int, m: int, r: int, s: int = 0) -> Indices:
    """``aⁿ = 1, bᵐ = aˢ, b a b⁻¹ = aʳ``, acting on itself: element ``aⁱ bʲ`` is point ``i m + j``."""
    i, j = np.divmod(np.arange(n * m), m)
    by_a = ((i + 1) % n) * m + j
    # b · aⁱ bʲ = a^{r i} b^{j + 1}, and bᵐ = aˢ where j + 1 reaches m.
    by_b = ((r * i + s * (j + 1 == m)) % n) * m + (j + 1) % m
    return np.stack([by_a, by_b])


def _of_matrices(p: int, *matrices: Sequence[Sequence[int]]) -> Indices:
    """The action of a matrix group on all nonzero vectors over the field of ``p`` elements."""
    size = len(matrices[0])
    vectors = np.array([v for v in product(range(p), repeat=size) if any(v)])
    place = {tuple(v): i for i, v in enumerate(vectors.tolist())}
    images = [(vectors @ np.array(matrix).T) % p for matrix in matrices]
    return np.array([[place[tuple(v)] for v in image.tolist()] for image in images])


def _on_itself(moves: Indices) -> Indices:
    """Generators of the regular action of the group that some permutations generate, which must be listed."""
    every = elements(moves)
    assert every is not None, "a group that acts on itself must be listed"
    place = {element.tobytes(): i for i, element in enumerate(every)}
    return np.array([[place[product_.tobytes()] for product_ in move[every]] for move in moves])


def _on_sets(moves: Indices, size: int, ordered: bool = False) -> Indices:
    """The action on all sets, or on all lists of different points, of this size."""
    n = moves.shape[1]
    sets = (
        [c for c in product(range(n), repeat=size) if len(set(c)) == size] if ordered else combinations(range(n), size)
    )
    tuples = list(sets)
    place = {points: i for i, points in enumerate(tuples)}
    images = [[tuple(move[list(points)].tolist()) for points in tuples] for move in moves]
    return np.array([[place[points if ordered else tuple(sorted(points))] for points in row] for row in images])


def _restricted(moves: Indices, points: Indices) -> Indices:
    """The action on some points that the group moves among themselves."""
    place = np.full(moves.shape[1], -1)
    place[points] = np.arange(len(points))
    return place[moves[:, points]]


def _wreath(inner: Indices, outer: Indices) -> Indices:
    """The wreath product: ``outer`` permutes blocks as wholes, and ``inner`` the points within each block."""
    size = inner.shape[1]
    count = outer.shape[1]
    points = np.arange(size * count)
    rows = []
    for move in inner:
        row = points.copy()
        row[:size] = move
        rows.append(row)
    rows += [outer[k][points // size] * size + points % size for k in range(len(outer))]
    return np.array(rows)


def _words(letters: int, length: int) -> Indices:
    """The action on all words that permutes the letters of each place by themselves, and the places."""
    words = np.array(list(product(range(letters), repeat=length)))
    weight = letters ** np.arange(length)[::-1]
    rows = []
    for move in _symmetric(letters):
        images = words.copy()
        images[:, 0] = move[images[:, 0]]
        rows.append(images @ weight)
    rows += [words[:, move] @ weight for move in _symmetric(length)]
    return np.array(rows)


def _torus(*sizes: int) -> Indices:
    """Shifts along each axis of a torus."""
    points = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), 1)
    rows = []
    for axis in range(len(sizes)):
        images = points.copy()
        images[:, axis] = (images[:, axis] + 1) % sizes[axis]
        rows.append(np.ravel_multi_index(tuple(images.T), sizes))
    return np.array(rows)


def _grid(n: int) -> Indices:
    """Turns by right angles and mirrors of a square grid."""
    points = np.arange(n * n).reshape(n, n)
    return np.stack([np.rot90(points).ravel(), points.T.ravel()])


def _affine(p: int, factor: int) -> Indices:
    """``z → z + 1`` and ``z → factor · z`` modulo a prime."""
    return np.stack([(np.arange(p) + 1) % p, (np.arange(p) * factor) % p])


def _mobius(p: int, *factors: int) -> Indices:
    """``z → z + 1, z → f z, z → −1/z`` on the line over a prime field and its point at infinity, the last one."""
    z = np.arange(p)
    inverse = np.array([pow(int(value), -1, p) if value else 0 for value in z])
    turned = (-inverse) % p
    turned[0] = p
    rows = [np.append((z + 1) % p, p), np.append(turned, 0)]
    rows += [np.append((z * factor) % p, p) for factor in factors]
    return np.array(rows)


def _same(moves: Indices) -> Indices:
    """The pattern of a group that acts in the same way on inputs and outputs."""
    return pair_orbits(moves, moves)


_REGULAR: dict[str, Callable[[], Indices]] = {
    "C5": lambda: _cyclic(5),
    "C6": lambda: _cyclic(6),
    "C7": lambda: _cyclic(7),
    "C9": lambda: _cyclic(9),
    "C11": lambda: _cyclic(11),
    "C13": lambda: _cyclic(13),
    "C2xC2": lambda: _side_by_side(_cyclic(2), _cyclic(2)),
    "C4xC2": lambda: _side_by_side(_cyclic(4), _cyclic(2)),
    "C2^3": lambda: _side_by_side(_cyclic(2), _cyclic(2), _cyclic(2)),
    "C3xC3": lambda: _side_by_side(_cyclic(3), _cyclic(3)),
    "C6xC2": lambda: _side_by_side(_cyclic(6), _cyclic(2)),
    "C8xC2": lambda: _side_by_side(_cyclic(8), _cyclic(2)),
    "C4xC4": lambda: _side_by_side(_cyclic(4), _cyclic(4)),
    "C4xC2xC2": lambda: _side_by_side(_cyclic(4), _cyclic(2), _cyclic(2)),
    "C2^4": lambda: _side_by_side(_cyclic(2), _cyclic(2), _cyclic(2), _cyclic(2)),
    "C5xC5": lambda: _side_by_side(_cyclic(5), _cyclic(5)),
    "C3^3": lambda: _side_by_side(_cyclic(3), _cyclic(3), _cyclic(3)),
    "C9xC3": lambda: _side_by_side(_cyclic(9), _cyclic(3)),
    "S3": lambda: _symmetric(3),
    "D4": lambda: _dihedral(4),
    "Q8": lambda: _metacyclic(4, 2, 3, 2),
    "D5": lambda: _dihedral(5),
    "D6": lambda: _dihedral(6),
    "Dic3": lambda: _metacyclic(6, 2, 5, 3),
    "A4": lambda: _alternating(4),
    "D7": lambda: _dihedral(7),
    "D8": lambda: _dihedral(8),
    "SD16": lambda: _metacyclic(8, 2, 3),
    "Q16": lambda: _metacyclic(8, 2, 7, 4),
    "M16": lambda: _metacyclic(8, 2, 5),
    "C4:C4": lambda: _metacyclic(4, 4, 3),
    # Order 16, number 3: C2 x C2 by C4, which swaps the two.
    "(C2xC2):C4": lambda: np.stack([_cycles(8, (0, 1)), _cycles(8, (0, 2), (1, 3), (4, 5, 6, 7))]),
    "Pauli": lambda: _of_matrices(5, [[2, 0], [0, 2]], [[0, 1], [1, 0]], [[1, 0], [0, 4]]),
    "D4xC2": lambda: _side_by_side(_dihedral(4), _cyclic(2)),
    "Q8xC2": lambda: _side_by_side(_metacyclic(4, 2, 3, 2), _cyclic(2)),
    "D9": lambda: _dihedral(9),
    "S3xC3": lambda: _side_by_side(_symmetric(3), _cyclic(3)),
    "(C3xC3):C2": lambda: np.stack([_cycles(6, (0, 1, 2)), _cycles(6, (3, 4, 5)), _cycles(6, (0, 1), (3, 4))]),
    "D10": lambda: _dihedral(10),
    "Dic5": lambda: _metacyclic(10, 2, 9, 5),
    "F20": lambda: _affine(5, 2),
    "7:3": lambda: _affine(7, 2),
    "D11": lambda: _dihedral(11),
    "S4": lambda: _symmetric(4),
    "SL(2,3)": lambda: _of_matrices(3, [[1, 1], [0, 1]], [[1, 0], [1, 1]]),
    "Dic6": lambda: _metacyclic(12, 2, 11, 6),
    "D12": lambda: _dihedral(12),
    "D4xC3": lambda: _side_by_side(_dihedral(4), _cyclic(3)),
    "Q8xC3": lambda: _side_by_side(_metacyclic(4, 2, 3, 2), _cyclic(3)),
    "C3:C8": lambda: _metacyclic(3, 8, 2),
    "C3:D4": lambda: np.stack([_cycles(7, (0, 1, 2)), _cycles(7, (0, 1), (3, 4, 5, 6)), _cycles(7, (4, 6))]),
    "S3xC4": lambda: _side_by_side(_symmetric(3), _cyclic(4)),
    "A4xC2": lambda: _side_by_side(_alternating(4), _cyclic(2)),
    "Dic3xC2": lambda: _side_by_side(_metacyclic(6, 2, 5, 3), _cyclic(2)),
    "S3xC2xC2": lambda: _side_by_side(_symmetric(3), _cyclic(2), _cyclic(2)),
    "D13": lambda: _dihedral(13),
    "Heisenberg 27": lambda: _of_matrices(3, [[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1], [0, 0, 1]]),
    "C9:C3": lambda: _metacyclic(9, 3, 4),
}


def _natural() -> dict[str, Callable[[], Indices]]:
    """Groups that act on inputs and outputs in the same way, which is not the regular one."""
    fano = _of_matrices(2, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    return {
        "S5": lambda: _symmetric(5),
        "S4 on pairs": lambda: _on_sets(_symmetric(4), 2),
        "D7 on 7 points": lambda: _dihedral(7),
        "7:3 on 7 points": lambda: _affine(7, 2),
        "A5 on 6 points": lambda: _mobius(5, 4),
        "Petersen": lambda: _on_sets(_symmetric(5), 2),
        "A5 on 12 points": lambda: _cosets(_alternating(5), 5),
        "A5 on 20 points": lambda: _cosets(_alternating(5), 3),
        "PSL(2,7) on 8 points": lambda: _mobius(7, 2),
        "PSL(2,7) on pairs of 7": lambda: _on_sets(fano, 2),
        "H(2,3)": lambda: _words(3, 2),
        "H(2,4)": lambda: _words(4, 2),
        "H(3,2), a cube": lambda: _words(2, 3),
        "H(4,2)": lambda: _words(2, 4),
        "J(6,2)": lambda: _on_sets(_symmetric(6), 2),
        "J(6,3)": lambda: np.concatenate([_on_sets(_symmetric(6), 3), _complements(6)]),
        "Paley 13": lambda: _affine(13, 4),
        "Paley 17": lambda: _affine(17, 9),
        "S3 wr C2": lambda: _wreath(_symmetric(3), _cyclic(2)),
        "C3 wr C2": lambda: _wreath(_cyclic(3), _cyclic(2)),
        "C2 wr S4": lambda: _wreath(_cyclic(2), _symmetric(4)),
        "C2 wr C3": lambda: _wreath(_cyclic(2), _cyclic(3)),
        "torus 3 x 4": lambda: _torus(3, 4),
        "torus 4 x 4": lambda: _torus(4, 4),
        "D4 on a 4 x 4 grid": lambda: _grid(4),
        "D4 on a 3 x 3 grid": lambda: _grid(3),
        "S3 x S4, intransitive": lambda: _side_by_side(_symmetric(3), _symmetric(4)),
        "C3 and C4, intransitive": lambda: _side_by_side(_cyclic(3), _cyclic(4)),
        "S3 twice, moved together": lambda: np.concatenate([_symmetric(3), _symmetric(3) + 3], axis=1),
    }


def _complements(n: int) -> Indices:
    """The permutation of all sets of half of ``n`` points that takes each to its complement, as one generator."""
    sets = list(combinations(range(n), n // 2))
    return np.array([[sets.index(tuple(sorted(set(range(n)) - set(points)))) for points in sets]])


def _cosets(moves: Indices, order: int) -> Indices:
    """The action on the cosets of the first cyclic subgroup of this order, of the group that ``moves`` generate."""
    every = elements(moves)
    assert every is not None, "a group with cosets must be listed"
    identity = every[0]
    for generator in every:
        powers = [identity]
        while not np.array_equal(generator[powers[-1]], identity):
            powers.append(generator[powers[-1]])
        if len(powers) == order:
            break
    labels: dict[bytes, int] = {}
    first: list[Indices] = []
    for element in every:
        if element.tobytes() not in labels:
            labels.update({element[power].tobytes(): len(first) for power in powers})
            first.append(element)
    return np.array([[labels[move[element].tobytes()] for element in first] for move in moves])


def _between() -> dict[str, Callable[[], tuple[Indices, Indices]]]:
    """Groups that act on inputs and outputs in two ways: ``(generators on inputs, generators on outputs)``."""

    def still(moves: Indices, points: int) -> tuple[Indices, Indices]:
        """These moves on one side, and the identity on the other."""
        return moves, np.tile(np.arange(points), (len(moves), 1))

    fano = _of_matrices(2, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    s5 = _symmetric(5)
    s4 = _symmetric(4)
    d4 = _dihedral(4)
    mirror = np.arange(9)[::-1][None]
    return {
        "S5: pairs to points": lambda: (_on_sets(s5, 2), s5),
        "S4: points to pairs": lambda: (s4, _on_sets(s4, 2)),
        "S4: itself to points": lambda: (_on_itself(s4), s4),
        "D4: itself to corners": lambda: (_on_itself(d4), d4),
        "C12 to C4": lambda: (_cyclic(12), _cyclic(4)),
        "C6 to C3 and C2": lambda: (_cyclic(6), np.array([[1, 2, 0, 4, 3]])),
        "Fano: points to lines": lambda: (fano, _lines(fano)),
        "one-sided: S4 moves inputs, 3 outputs": lambda: still(s4, 3),
        "one-sided: S3 x S3 moves inputs, 2 outputs": lambda: still(_side_by_side(_symmetric(3), _symmetric(3)), 2),
        "one-sided: S8 moves inputs, 1 output": lambda: still(_symmetric(8), 1),
        "one-sided: S4 moves outputs, 3 inputs": lambda: still(s4, 3)[::-1],
        "reversed complement: 12 to 2": lambda: (np.arange(12)[::-1][None], np.array([[1, 0]])),
        "mirror of 9": lambda: (mirror, mirror),
        "D6: ring to ring and centre": lambda: (
            _dihedral(6),
            np.concatenate([_dihedral(6), np.full((2, 1), 6)], axis=1),
        ),
    }


def _lines(fano: Indices) -> Indices:
    """The action on the seven lines of the plane, as sets of points."""
    vectors = [v for v in product(range(2), repeat=3) if any(v)]
    lines = [
        tuple(i for i, v in enumerate(vectors) if sum(a * b for a, b in zip(v, line, strict=True)) % 2 == 0)
        for line in vectors
    ]
    return np.array([[lines.index(tuple(sorted(move[list(line)].tolist()))) for line in lines] for move in fano])


def families() -> dict[str, Callable[[], Indices]]:
    """A hundred groups by name, each as a function that gives its pattern."""

    def regular(make: Callable[[], Indices]) -> Callable[[], Indices]:
        return lambda: _same(_on_itself(make()))

    def natural(make: Callable[[], Indices]) -> Callable[[], Indices]:
        return lambda: _same(make())

    def between(make: Callable[[], tuple[Indices, Indices]]) -> Callable[[], Indices]:
        return lambda: pair_orbits(*make())

    return {
        **{f"{name} on itself": regular(make) for name, make in _REGULAR.items()},
        **{name: natural(make) for name, make in _natural().items()},
        **{name: between(make) for name, make in _between().items()},
    }
