"""Slow obvious ways to what finite categories are asked: nested searches and plain loops, to be timed beside ours."""

from itertools import product

from msr.category import FinCat, Presheaf
from msr.permutations import Indices

__all__ = ["is_associative", "nested_search", "vertex_maps"]


def nested_search(S: Presheaf, T: Presheaf) -> int:
    """The number of natural transformations, by one loop for each element of ``S`` inside the other.

    For the first element without a value every value is tried, what follows from it under every arrow is written down,
    and a conflict ends the try.
    """
    C = S.category
    elements = [(X, x) for X in C.objects for x in range(int(S.sizes[X]))]
    acting = [C.arrows_into(X).tolist() for X in C.objects]
    starts = C.src.tolist()
    ours = [m.tolist() for m in S.maps]
    theirs = [m.tolist() for m in T.maps]
    sizes = T.sizes.tolist()

    def count(values: dict[tuple[int, int], int]) -> int:
        free = next((element for element in elements if element not in values), None)
        if free is None:
            return 1
        X, x = free
        total = 0
        for t in range(sizes[X]):
            extended = dict(values)
            for f in acting[X]:
                image = theirs[f][t]
                if extended.setdefault((starts[f], ours[f][x]), image) != image:
                    break
            else:
                total += count(extended)
        return total

    return count({})


def vertex_maps(n: int, arcs: Indices, m: int, other: Indices) -> int:
    """The number of homomorphisms of directed multigraphs, by a loop over all ``m ** n`` maps of vertices.

    Args:
        n, arcs: vertices of the first graph, and the ends of its arcs ``(k, 2)``.
        m, other: the same of the second.
    """
    joined = [[0] * m for _ in range(m)]
    for a, b in other.tolist():
        joined[a][b] += 1
    ends = arcs.tolist()
    total = 0
    for images in product(range(m), repeat=n):
        ways = 1
        for a, b in ends:
            ways *= joined[images[a]][images[b]]
            if ways == 0:
                break
        total += ways
    return total


def is_associative(C: FinCat) -> bool:
    """Whether composition is associative, by a loop over all triples of arrows that meet."""
    comp = C.comp.tolist()
    into = [C.arrows_into(a).tolist() for a in C.objects]
    out_of = [C.arrows_out_of(a).tolist() for a in C.objects]
    src = C.src.tolist()
    dst = C.dst.tolist()
    return all(
        comp[comp[h][g]][f] == comp[h][comp[g][f]] for g in range(C.n_mor) for h in out_of[dst[g]] for f in into[src[g]]
    )
