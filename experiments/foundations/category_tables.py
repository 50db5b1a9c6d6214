"""Tables T7 to T11, T13 and T14: the Yoneda lemma, graphs, idempotents, the same answer, embeddings, quivers."""

from collections.abc import Callable
from itertools import product

import numpy as np
import torch

from experiments.foundations.cases import Case, case
from experiments.foundations.small import chain, diamond, idempotent, multigraph, parallel_pair
from msr.category import (
    FinCat,
    Functor,
    VectFunctor,
    constant,
    constant_copresheaf,
    corepresentable,
    count_transformations,
    discrete,
    embedding_of,
    fine_tuning,
    from_group,
    full_subcategory,
    is_representable,
    labelled_presheaves,
    linear_transformations,
    linearised,
    presheaf_classes,
    representing_objects,
    yoneda_counts,
    yoneda_table,
)
from msr.groups import cyclic, symmetric

__all__ = ["arrow", "embeddings", "graphs", "idempotents", "quivers", "same_answer", "yoneda"]


def yoneda() -> list[Case]:
    """T7: transformations between representables are arrows."""
    known: list[tuple[FinCat, list[list[int]], int]] = [
        (chain(2), [[1, 1], [0, 1]], 3),
        (chain(3), [[1, 1, 1], [0, 1, 1], [0, 0, 1]], 6),
        (diamond(), [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]], 9),
        (from_group(cyclic(4)), [[4]], 4),
        (from_group(symmetric(3)), [[6]], 6),
        (parallel_pair(), [[1, 2], [0, 1]], 4),
        (idempotent(), [[2]], 2),
    ]
    return [case(C.name, table, yoneda_counts(C)) for C, table, _ in known] + [
        case(f"{C.name}: arrows", arrows, C.n_mor) for C, _, arrows in known
    ]


def arrow() -> list[Case]:
    """T8: every presheaf on one arrow with sets of at most two elements."""
    C = chain(2)
    sizes = list(product(range(3), repeat=2))
    listed = [T for pair in sizes for T in labelled_presheaves(C, pair)]
    agreeing = [count_transformations(h, T) == T.sizes[X] for T in listed for X, h in enumerate(yoneda_table(C))]
    return [
        case("labelled presheaves", 11, len(listed)),
        case("up to isomorphism", 8, sum(len(presheaf_classes(C, pair)) for pair in sizes)),
        case("the Yoneda lemma, right and all", [22, 22], [sum(agreeing), len(agreeing)]),
        case(
            "sizes of representable ones",
            [[1, 0], [1, 1]],
            sorted(T.sizes.tolist() for T in listed if is_representable(T)),
        ),
    ]


def graphs() -> list[Case]:
    """T9: directed multigraphs, and homomorphisms between them."""
    pair = parallel_pair()
    cycle = multigraph(3, [(0, 1), (1, 2), (2, 0)], pair)
    full = multigraph(3, [(a, b) for a in range(3) for b in range(3) if a != b], pair)
    path = multigraph(3, [(0, 1), (1, 2)], pair)
    loop = multigraph(1, [(0, 0)], pair)
    double = multigraph(2, [(0, 1), (0, 1)], pair)
    vertex, edge = yoneda_table(pair)
    count = count_transformations
    solved = [
        T.sizes for sizes in product(range(4), range(3)) for T in presheaf_classes(pair, sizes) if is_representable(T)
    ]
    return [
        case("representable graphs: vertices and arcs", [[1, 0], [2, 1]], solved),
        case("cycle of 3: vertices, arcs", [3, 3], [count(vertex, cycle), count(edge, cycle)]),
        case("cycle to itself, a loop, K3, a path", [3, 1, 6, 0], [count(cycle, T) for T in (cycle, loop, full, path)]),
        case("K3 to itself", 6, count(full, full)),
        case("path of 2 to itself, K3, the cycle", [1, 12, 3], [count(path, T) for T in (path, full, cycle)]),
        case("an arc to two parallel arcs", 2, count(edge, double)),
    ]


def idempotents() -> list[Case]:
    """T10: maps that do nothing the second time."""
    C = idempotent()
    listed = [labelled_presheaves(C, [n]) for n in range(6)]
    return [
        case("labelled presheaves of size 0 to 5", [1, 1, 3, 10, 41, 196], [len(part) for part in listed]),
        case("representable", [0, 0, 2, 0, 0, 0], [sum(map(is_representable, part)) for part in listed]),
        case("their classes at size 2", 1, sum(map(is_representable, presheaf_classes(C, [2])))),
    ]


def same_answer() -> list[Case]:
    """T11: the same output for every object: where a prompt gives it, and that fine tuning always does."""
    known: list[tuple[FinCat, list[int]]] = [
        (chain(3), [2]), (diamond(), [3]), (from_group(cyclic(4)), []), (parallel_pair(), []), (idempotent(), []),
    ]  # fmt: skip
    cases = []
    for C, objects in known:
        tuned = fine_tuning(constant_copresheaf(C, 1))
        cases += [
            case(f"{C.name}: prompts", objects, representing_objects(constant(C, 1))),
            case(f"{C.name}: fine tuned", [1] * C.n_obj, tuned.on_objects),
        ]
    return cases


def embeddings() -> list[Case]:
    """T13: what functors that are no full embeddings lose."""
    C2 = from_group(cyclic(2))
    C4 = from_group(cyclic(4))
    made: dict[str, tuple[Callable[[], Functor], list[int], list[int]]] = {
        "C2 into C4": (lambda: Functor(C2, C4, np.array([0]), np.array([0, 2])), [2, 4, 2], [0, 1]),
        "C4 onto C2": (lambda: Functor(C4, C2, np.array([0]), np.array([0, 1, 0, 1])), [4, 2, 2], [1, 0]),
        "C2 to the identity of C2": (lambda: Functor(C2, C2, np.array([0]), np.array([0, 0])), [2, 2, 1], [1, 1]),
    }
    cases = []
    for name, (make, counts, failures) in made.items():
        found = embedding_of(make())
        numbers = [found.hom.item(), found.transformations.item(), found.hom_images.item()]
        cases += [
            case(f"{name}: Hom, carried, reached", counts, numbers),
            case(f"{name}: not faithful, not full", failures, [len(found.not_faithful), len(found.not_full)]),
        ]
    spread = embedding_of(Functor(discrete(2), chain(2), np.array([0, 1]), chain(2).ident))
    cases.append(
        case(
            "two objects into a chain: Hom and carried, 0 to 1",
            [0, 1],
            [spread.hom[0, 1], spread.transformations[0, 1]],
        )
    )
    good = {
        "0 and 2 of a chain of 3": full_subcategory(chain(3), [0, 2]),
        "diamond without its top": full_subcategory(diamond(), [0, 1, 2]),
    }
    for name, functor in good.items():
        found = embedding_of(functor)
        cases.append(
            case(
                f"{name}: full embedding, counts agree, aligned",
                [1, 1, 1],
                [int(found.is_full_embedding), int(found.counts_agree), int(found.aligned)],
            )
        )
    return cases


def quivers() -> list[Case]:
    """T14: linear functors on two parallel arrows."""
    pair = parallel_pair()
    generator = torch.Generator().manual_seed(0)

    def functor(dims: tuple[int, int], *arrows: torch.Tensor) -> VectFunctor:
        identities = (torch.eye(dims[0], dtype=torch.float64), torch.eye(dims[1], dtype=torch.float64))
        return VectFunctor(pair, np.array(dims), (*identities, *arrows))

    def line(slope: float) -> VectFunctor:
        return functor((1, 1), torch.ones(1, 1), torch.full((1, 1), slope))

    cases = [
        case("R(2) to itself", 1, linear_transformations(line(2.0), line(2.0)).dim),
        case("R(2) to R(3)", 0, linear_transformations(line(2.0), line(3.0)).dim),
    ]
    for dims in ((2, 3), (3, 2)):
        F = functor(dims, *torch.randn(2, dims[1], dims[0], generator=generator, dtype=torch.float64))
        found = [linear_transformations(linearised(corepresentable(pair, X)), F).dim for X in pair.objects]
        cases.append(case(f"the linear Yoneda lemma, dimensions {dims}", list(dims), found))
    return cases
