"""How long does the exact sharing pattern take: orbits on pairs against the null space of the same constraints?

Both sides solve the same problem and must find the same dimension. The null space is that of
:func:`msr.representations.equivariant_basis` for matrices, which is itself a dense solve over generators only.
"""

import argparse

import torch

from benchmarks._timing import alternate, ratio, write
from msr.groups import FiniteGroup, cyclic, dihedral, symmetric
from msr.report import format_table
from msr.representations import Representation, equivariant_basis, from_matrices, natural, pair_orbits


def as_matrices(rep: Representation) -> Representation:
    """The same representation, with its permutations written as matrices."""
    return from_matrices(rep.group, {g: rep.matrix(g) for g in rep.group.generators})


def cases() -> dict[str, FiniteGroup]:
    """Groups on their natural points, small enough for both ways."""
    return {"C24": cyclic(24), "C32": cyclic(32), "D24": dihedral(24), "S6": symmetric(6)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows, cells = [], []

    def add(name: str, dim: int, laps: list[float]) -> None:
        """A line with one time only."""
        seconds = sorted(laps)[len(laps) // 2]
        rows.append({"group": name, "dim": dim, "seconds": {"orbits": seconds}})
        cells.append([name, str(dim), f"{seconds * 1e3:.0f} ms", "", ""])

    for name, group in cases().items():
        orbit, dense = natural(group), as_matrices(natural(group))
        dims = {equivariant_basis(rep, rep).dim for rep in (orbit, dense)}
        assert len(dims) == 1, dims
        calls = {
            "orbits": lambda rep=orbit: equivariant_basis(rep, rep),  # type: ignore[misc]
            "null space": lambda rep=dense: equivariant_basis(rep, rep),  # type: ignore[misc]
        }
        times = alternate(calls, rounds=rounds, seconds=0.2)
        middle, least, most = ratio(times["null space"], times["orbits"])
        seconds = {key: sorted(values)[len(values) // 2] for key, values in times.items()}
        rows.append({"group": name, "dim": dims.pop(), "seconds": seconds, "ratio": [middle, least, most]})
        shown = [f"{seconds[key] * 1e3:.2f} ms" for key in ("orbits", "null space")]
        cells.append([name, str(rows[-1]["dim"]), *shown, f"{middle:.0f}x ({least:.0f} to {most:.0f})"])
    n = 1024
    for name, group in {"C1024": cyclic(n), "D1024": dihedral(n)}.items():
        rep = natural(group)
        times = alternate({"orbits": lambda rep=rep: equivariant_basis(rep, rep)}, rounds=rounds, seconds=0.2)  # type: ignore[misc]
        add(name, equivariant_basis(rep, rep).dim, times["orbits"])
    # The symmetric group has no table of this size; its generators are enough.
    moves = torch.stack([torch.arange(n).roll(1), torch.tensor([1, 0, *range(2, n)])]).numpy()
    times = alternate({"orbits": lambda: pair_orbits(moves, moves)}, rounds=rounds, seconds=0.2)
    add("S1024, from generators", int(pair_orbits(moves, moves).max()) + 1, times["orbits"])
    print(format_table(["group, on n points", "dimension", "orbits", "null space", "ratio"], cells))
    print(write("equivariant_maps", {"rows": rows}))
