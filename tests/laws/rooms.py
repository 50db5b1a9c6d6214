"""The table of rooms: README's map, the floors in docs/architecture.md and the law of imports are made from it.

``python -m tests.laws.rooms`` writes the two pages again after the table has changed.
"""

import re
from dataclasses import dataclass

from tests.support import ROOT

__all__ = ["FLOORS", "TOP", "Floor", "floors_in_words", "map_of_rooms", "written"]


@dataclass(frozen=True)
class Floor:
    """Rooms that import only rooms of the floors below: what they have in common, and what each holds."""

    says: str
    rooms: dict[str, str]


FLOORS = [
    Floor(
        "the ground: no other room is imported here",
        {
            "errors.py": "the error family: every error that the package raises on purpose",
            "version.py": "the version, readable without torch",
            "printable.py": "text from outside, shown on one line",
            "spelling.py": "how groups are written, for help texts",
        },
    ),
    Floor(
        "small things that every room may need",
        {
            "arrays.py": "what may stand for a tensor",
            "brief.py": "values that print in a few lines",
            "failures.py": "errors as one line, exit codes",
            "memory.py": "what is free; refuses work that needs more",
            "thresholds.py": "decision constants as documented values",
            "threads.py": "how many threads are faster than one",
            "trees.py": "tuples and dictionaries of tensors",
        },
    ),
    Floor(
        "what lies on a disk",
        {
            "files/": "one writer (whole or not at all), one reader of arrays and zips",
        },
    ),
    Floor(
        "tests of means, which know neither tasks nor networks",
        {
            "statistics/": "is this mean small? estimates, rules with error rates, bets",
        },
    ),
    Floor(
        "the mathematics that knows no group, and what tasks and networks are",
        {
            "kron.py": "row-major vec, Kronecker products and solves",
            "permutations/": "orbits, orbit means, orders of groups, automorphisms of coloured matrices",
            "span/": "the span that tasks share, found in closed form; angles between spans",
            "episodes.py": "the shape in which tasks travel: support and query",
            "modules.py": "copies of a module, or what cannot be copied; kinds of module",
            "models/": "saved layers and networks, read without trust",
            "tables/": "files of rows with named columns, texts and gaps, as numbers",
        },
    ),
    Floor(
        "groups",
        {
            "groups/": "finite groups as tables or by generators, products, Lie algebras; naming/ names them",
        },
    ),
    Floor(
        "groups that act",
        {
            "representations/": "groups acting on tensors; characters; all equivariant linear maps; commutant/",
        },
    ),
    Floor(
        "a flow with known symmetries",
        {
            "flow/": "attention as tokens that move: the flow, what is exactly known of it, clusters, symmetries",
        },
    ),
    Floor(
        "patterns and problems",
        {
            "sharing/": "the U of vec(W) = U v: dense, Kronecker, of a known group",
            "contexture/": "contexts, their exact spectra, losses that learn them, measures of encoders",
            "tasks/": "families of tasks for every user: linear tasks of any group, controls, task files",
        },
    ),
    Floor(
        "checks",
        {
            "equivariance/": "measure it, assert it in a test, certify it, find the layer that breaks it",
        },
    ),
    Floor(
        "what equivariance is a case of",
        {
            "category/": "finite categories as tables: naturality, Yoneda, prompting and fine tuning, pretext tasks",
        },
    ),
    Floor(
        "layers",
        {
            "layers/": "reparameterised layers, conversion of networks and back",
        },
    ),
    Floor(
        "learning",
        {
            "meta/": "problems, inner solvers, the learner over tasks, the outer loop; other engines",
        },
    ),
    Floor(
        "finding",
        {
            "discovery/": "from tasks to a named group, with evidence and an error rate",
        },
    ),
    Floor(
        "showing",
        {
            "report/": "tables, figures; page/ is the page of a discovery, context_page/ that of contexts",
        },
    ),
    Floor(
        "running",
        {
            "runs/": "a run of an experiment: flags, its folder, training that stops and continues",
        },
    ),
    Floor(
        "the door",
        {
            "cli/": "the `msr` command: discover, check, sample, context",
        },
    ),
    Floor("the key", {"__main__.py": "`python -m msr`"}),
]
"""From the ground floor up."""

TOP = {
    "tasks/": "the published problems: translation, rotation, Omniglot",
    "experiments/": "one runner for each published claim: python -m experiments.NAME",
    "benchmarks/": "one question a file: python -m benchmarks.NAME",
    "tests/": "python -m pytest; mirrors the tree, and holds its laws in laws/",
    "docs/": "concepts, conventions, architecture, how-to; every code block runs in the tests",
}
"""What stands beside the package in a checkout."""

_MAP = re.compile(r"(?<=```text\n)msr/ .*?(?=```)", flags=re.DOTALL)
_FLOORS = re.compile(r"(?<=<!-- rooms -->\n).*?(?=<!-- end of rooms -->)", flags=re.DOTALL)


def map_of_rooms() -> str:
    """README's map: a line for each room, from the top floor down."""
    rooms = [(name, says) for floor in reversed(FLOORS) for name, says in floor.rooms.items()]
    wide = max(len(name) for name, _ in rooms) + 2
    lines = [f"{'msr/':<{wide + 2}}the package, from the top floor down"]
    lines += [f"  {name:<{wide}}{says}" for name, says in rooms]
    lines += [f"{name:<{wide + 2}}{says}" for name, says in TOP.items()]
    return "\n".join(lines) + "\n"


def floors_in_words() -> str:
    """The table in docs/architecture.md: a row for each floor, from the top down."""
    lines = ["| floor | rooms | what they are for |", "|--:|---|---|"]
    for number, floor in reversed(list(enumerate(FLOORS, start=1))):
        rooms = "; ".join(f"`{name}` {says}" for name, says in floor.rooms.items())
        lines.append(f"| {number} | {rooms} | {floor.says} |")
    return "\n".join(lines) + "\n"


def written() -> dict[str, str]:
    """The pages as they should be, by their path from the root."""
    pages = {}
    for path, pattern, text in (
        ("README.md", _MAP, map_of_rooms()),
        ("docs/architecture.md", _FLOORS, floors_in_words()),
    ):
        page = (ROOT / path).read_text()
        if not pattern.search(page):
            raise ValueError(f"{path} has lost the place where the rooms are listed")
        pages[path] = pattern.sub(lambda _, text=text: text, page)
    return pages


if __name__ == "__main__":
    for path, page in written().items():
        (ROOT / path).write_text(page)
