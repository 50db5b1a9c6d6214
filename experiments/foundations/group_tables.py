"""Tables T1 to T6 and T12: sets that a group acts on, maps between them, equivariant layers, homomorphisms."""

import numpy as np
import torch

from experiments.foundations.cases import Case, case
from experiments.foundations.small import turning, turning_copresheaf
from msr.category import (
    VectFunctor,
    action_copresheaf,
    colimit,
    count_group_sets,
    count_transformations,
    from_group,
    functor_classes,
    functor_transformations,
    functors_between,
    group_sets,
    is_representable,
    kan_extension,
    labelled_presheaves,
    linear_functor,
    linear_transformations,
    linearised,
    orbit_sizes,
    representable,
    table_of_marks,
    universal_elements,
)
from msr.groups import FiniteGroup, cyclic, dihedral, direct_product, symmetric, trivial, wreath_product
from msr.representations import Representation, natural, planar, regular
from msr.representations import trivial as still

__all__ = ["four_turns", "homomorphisms", "layers", "marks", "orbits", "other_groups", "products"]

_V4 = direct_product(cyclic(2), cyclic(2))


def four_turns() -> list[Case]:
    """T1: how many sets four turns act on, and which of them a prompt solves."""
    everything = [group_sets(cyclic(4), n) for n in range(9)]
    solved = [T for sets in everything for T in sets if is_representable(T)]
    C4 = from_group(cyclic(4))
    labelled = [labelled_presheaves(C4, [n]) for n in range(9)]
    right = [T for T in labelled[4] if is_representable(T)]
    return [
        case("sets of size 0 to 8", [1, 1, 2, 2, 4, 4, 6, 6, 9], count_group_sets(cyclic(4), 8)),
        case("listed one by one", [1, 1, 2, 2, 4, 4, 6, 6, 9], [len(sets) for sets in everything]),
        case("sizes of representable ones", [[4]], [T.sizes for T in solved]),
        case("labelled actions", [1, 1, 2, 4, 16, 56, 256, 1072, 6224], [len(listed) for listed in labelled]),
        case("representable labelled actions on 4 points", 6, len(right)),
        case("universal elements of each", [4] * 6, [len(universal_elements(T)) for T in right]),
    ]


def orbits() -> list[Case]:
    """T2: maps between orbits of four turns."""
    single = [turning(k) for k in (1, 2, 4)]
    T = turning(1, 2, 4)
    fixed = [int((np.stack(T.maps)[chosen] == np.arange(7)).all(axis=0).sum()) for chosen in ([1], [2], [0])]
    return [
        case(
            "maps between orbits",
            [[1, 0, 0], [1, 2, 0], [1, 2, 4]],
            [[count_transformations(a, b) for b in single] for a in single],
        ),
        case("fixed points of 1 + 2 + 4", [1, 3, 7], fixed),
        case("maps to itself", 21, count_transformations(T, T)),
        case("from the regular set", 7, count_transformations(representable(T.category, 0), T)),
        case("from 2 + 2", 9, count_transformations(turning(2, 2), T)),
        case("from 4 + 4", 49, count_transformations(turning(4, 4), T)),
    ]


def other_groups() -> list[Case]:
    """T3: sets that other groups act on."""
    known: dict[str, tuple[FiniteGroup, list[int], list[int]]] = {
        "C2": (cyclic(2), [2, 1], [1, 1, 2, 2, 3, 3, 4, 4, 5]),
        "C3": (cyclic(3), [3, 1], [1, 1, 1, 2, 2, 2, 3, 3, 3]),
        "V4": (_V4, [4, 2, 2, 2, 1], [1, 1, 4, 4, 11, 11, 24, 24, 46]),
        "C6": (cyclic(6), [6, 3, 2, 1], [1, 1, 2, 3, 4, 5, 8, 9, 12]),
        "S3": (symmetric(3), [6, 3, 2, 1], [1, 1, 2, 3, 4, 5, 8, 9, 12]),
        "D4": (dihedral(4), [8, 4, 4, 4, 2, 2, 2, 1], [1, 1, 4, 4, 13, 13, 32, 32, 72]),
        "S4": (symmetric(4), [24, 12, 12, 8, 6, 6, 6, 4, 3, 2, 1], [1, 1, 2, 3, 5, 6, 12, 14, 22]),
    }
    cases = []
    for name, (group, sizes, counts) in known.items():
        solved = [n for n in range(9) for T in group_sets(group, n) if is_representable(T)]
        cases += [
            case(f"{name}: orbits", sizes, orbit_sizes(group)),
            case(f"{name}: sets of size 0 to 8", counts, count_group_sets(group, 8)),
            case(f"{name}: sizes of representable ones", [group.order] if group.order <= 8 else [], solved),
        ]
    return cases


def marks() -> list[Case]:
    """T4: how many maps there are between all orbits of a group."""
    return [
        case("S3", [[6, 3, 2, 1], [0, 1, 0, 1], [0, 0, 2, 1], [0, 0, 0, 1]], table_of_marks(symmetric(3))),
        case("C6", [[6, 3, 2, 1], [0, 3, 0, 1], [0, 0, 2, 1], [0, 0, 0, 1]], table_of_marks(cyclic(6))),
        case(
            "V4",
            [[4, 2, 2, 2, 1], [0, 2, 0, 0, 1], [0, 0, 2, 0, 1], [0, 0, 0, 2, 1], [0, 0, 0, 0, 1]],
            table_of_marks(_V4),
        ),
    ]


def products() -> list[Case]:
    """T5: balanced products over four turns, which are what fine tuning gives."""
    whole = (1, 2, 4)
    known = {
        ((4,), (4,)): 4, ((4,), (2,)): 2, ((4,), (1,)): 1, ((2,), (4,)): 2, ((2,), (2,)): 2, ((2,), (1,)): 1,
        ((1,), (4,)): 1, ((1,), (2,)): 1, ((1,), (1,)): 1, ((1,), whole): 3, ((2,), whole): 5, ((4,), whole): 7,
        (whole, whole): 15, ((2, 2), whole): 10,
    }  # fmt: skip
    return [
        case(
            f"{' + '.join(map(str, left))} and {' + '.join(map(str, right))}",
            size,
            kan_extension(turning_copresheaf(*right), turning(*left)).size,
        )
        for (left, right), size in known.items()
    ]


def layers() -> list[Case]:
    """T6: dimensions of equivariant layers, by null spaces and by orbits of pairs."""
    C4 = from_group(cyclic(4))
    orbit = {k: linearised(turning_copresheaf(k)) for k in (1, 2, 4)}
    everything = linearised(turning_copresheaf(1, 2, 4))
    plane = linear_functor(C4, planar(4))
    flip = VectFunctor(C4, np.array([1]), tuple(torch.tensor([[(-1.0) ** g]]) for g in range(4)), "sign")
    whole = linear_functor(C4, regular(cyclic(4)))
    small = [
        ("regular to regular", whole, whole, 4),
        ("4 to 2", orbit[4], orbit[2], 2),
        ("2 to 2", orbit[2], orbit[2], 2),
        ("1 + 2 + 4 to itself", everything, everything, 15),
        ("plane to itself", plane, plane, 2),
        ("plane to regular", plane, whole, 2),
        ("sign to regular", flip, whole, 1),
    ]
    cases = [case(f"C4: {name}", dim, linear_transformations(S, T).dim) for name, S, T, dim in small]
    for n, to_points, to_pairs, between_pairs in ((2, 2, 4, 8), (3, 2, 5, 14), (4, 2, 5, 15)):
        C = from_group(symmetric(n))
        points = linear_functor(C, natural(symmetric(n)))
        pairs = linear_functor(C, natural(symmetric(n)) * natural(symmetric(n)))
        found = [linear_transformations(a, b).dim for a, b in ((points, points), (points, pairs), (pairs, pairs))]
        cases.append(case(f"S{n}: order 1 to 1, 1 to 2, 2 to 2", [to_points, to_pairs, between_pairs], found))
    both = direct_product(symmetric(3), symmetric(3))
    acting: dict[str, tuple[Representation, int]] = {
        "C6": (natural(cyclic(6)), 6),
        "D6": (natural(dihedral(6)), 4),
        "S6": (natural(symmetric(6)), 2),
        "S3 × S3 on 3 + 3": (natural(both), 6),
        "S3 wr C2": (natural(wreath_product(symmetric(3), symmetric(2))), 3),
        "nothing, on 6 points": (still(trivial(), 6), 36),
        "D4 on corners": (natural(dihedral(4)), 3),
        "C8": (natural(cyclic(8)), 8),
    }
    return cases + [case(f"orbits of pairs: {name}", count, _pairs(rep)) for name, (rep, count) in acting.items()]


def homomorphisms() -> list[Case]:
    """T12: functors between groups, and how many of them are different."""
    groups: dict[str, FiniteGroup] = {"C2": cyclic(2), "C3": cyclic(3), "C4": cyclic(4), "S3": symmetric(3)}
    known = {
        ("C4", "C2"): [2, 2], ("C2", "C4"): [2, 2], ("C4", "C4"): [4, 4], ("C2", "S3"): [4, 2], ("C3", "S3"): [3, 2],
        ("S3", "S3"): [10, 3], ("S3", "C2"): [2, 2],
    }  # fmt: skip
    cases = []
    for (first, second), counts in known.items():
        listed = functors_between(from_group(groups[first]), from_group(groups[second]))
        classes = len(set(functor_classes(listed).tolist()))
        cases.append(case(f"{first} to {second}: all, classes", counts, [len(listed), classes]))
    S3 = from_group(symmetric(3))
    own = sorted(len(functor_transformations(f, f)) for f in functors_between(S3, S3))
    return [*cases, case("S3 to S3: transformations of each to itself", [1] * 6 + [2] * 3 + [6], own)]


def _pairs(rep: Representation) -> int:
    """How many orbits a group has on pairs of points, as a colimit."""
    points = action_copresheaf(rep.group, np.stack([rep.moves(g) for g in rep.group.elements]))
    return colimit(points * points)[0]
