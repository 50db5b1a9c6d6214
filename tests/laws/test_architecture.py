"""The laws of the house, read from the imports."""

import ast
from pathlib import Path

import pytest

from tests.support import ROOT

FLOORS = [
    "errors version printable spelling",
    "arrays brief failures memory threads thresholds trees",
    "files",
    "modules kron episodes permutations span statistics models category",
    "groups",
    "representations",
    "sharing equivariance tasks contexture flow",
    "layers",
    "meta",
    "discovery",
    "report",
    "runs",
    "cli",
    "__main__",
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms.split()}
SIDE_ROOMS = {"contexture", "flow"}
TASKS_MAY_IMPORT = {
    "arrays", "episodes", "errors", "files", "groups", "kron", "memory", "permutations", "printable",
    "representations", "span", "tasks", "trees",
}  # fmt: skip


def imports(source: str) -> list[tuple[int, str]]:
    """Every imported module, dotted, with the names taken from it: ``from msr.x import y`` gives ``msr.x.y``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def violations(path: str, source: str) -> list[str]:
    """What a file imports against the laws; the path is relative to the root."""
    parts = Path(path).with_suffix("").parts
    broken = []
    for line, name in imports(source):
        top, *rest = name.split(".")
        there = rest[0] if rest else ""
        if parts[0] != "experiments" and top == "experiments" and parts[0] != "tests":
            broken.append(f"{path}:{line}: nothing imports experiments")
        if parts[0] == "msr":
            if top in ("tasks", "tests"):
                broken.append(f"{path}:{line}: msr does not know {top}")
            here = parts[1] if len(parts) > 1 else ""
            if top == "msr" and here != "__init__" and here != there and FLOOR[there] >= FLOOR[here]:
                broken.append(f"{path}:{line}: {here} (floor {FLOOR[here]}) imports {there} (floor {FLOOR[there]})")
            if here in SIDE_ROOMS and top == "msr" and there in ("layers", "meta"):
                broken.append(f"{path}:{line}: a side room imports {there}")
            if here == "meta" and top == "msr" and there == "layers":
                broken.append(f"{path}:{line}: meta knows no layer")
            if top == "matplotlib" and here != "report":
                broken.append(f"{path}:{line}: only report plots")
        if "tasks" in parts[:2] and top == "msr" and there not in TASKS_MAY_IMPORT:
            broken.append(f"{path}:{line}: a generator that sees {there} can leak the answer")
    return broken


def test_imports_keep_the_laws():
    files = [
        path for room in ("msr", "tasks", "experiments", "benchmarks") for path in sorted((ROOT / room).rglob("*.py"))
    ]
    assert len(files) > 20
    broken = [v for path in files for v in violations(str(path.relative_to(ROOT)), path.read_text())]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("msr/kron.py", "from msr.layers import ReparamLinear"),
        ("msr/meta/learner.py", "from msr.layers.linear import ReparamLinear"),
        ("msr/layers/linear.py", "import msr.meta.learner"),
        ("msr/flow.py", "from msr.layers import ReparamLinear"),
        ("msr/meta/learner.py", "import matplotlib"),
        ("msr/layers/conv.py", "from tasks import TranslationTasks"),
        ("tasks/images.py", "from msr.meta import Learner"),
        ("tasks/images.py", "from experiments import deep"),
    ],
)
def test_the_check_sees_each_kind_of_breach(path, source):
    assert violations(path, source)


def test_every_room_has_a_floor():
    rooms = {
        path.stem for path in (ROOT / "msr").iterdir() if path.name not in ("__init__.py", "py.typed", "__pycache__")
    }
    assert rooms <= FLOOR.keys()


def test_no_file_grows_past_its_room():
    """400 lines a file: beyond that, two rooms have grown into one."""
    long = [
        p
        for room in ("msr", "tasks", "experiments")
        for p in (ROOT / room).rglob("*.py")
        if len(p.read_text().splitlines()) > 400
    ]
    assert not long
