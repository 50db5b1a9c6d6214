"""The laws of the house, read from the imports: docs/architecture.md says what they are for."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

import msr
from tests.laws.rooms import FLOORS, written
from tests.support import ROOT

ROOMS = {
    name.removesuffix("/").removesuffix(".py"): level for level, floor in enumerate(FLOORS) for name in floor.rooms
}
TREES = ("msr", "tasks", "experiments", "benchmarks")
# A generator that sees layers, learners or discovery can leak the answer into the problem.
TASKS_MAY_IMPORT = {
    "arrays", "brief", "episodes", "errors", "files", "flow", "groups", "kron", "memory", "permutations", "printable",
    "representations", "span", "tasks", "trees",
}  # fmt: skip


def sources(*trees: str) -> Iterator[tuple[str, str]]:
    """The path from the root, and the text, of every Python file of some trees."""
    for tree in trees:
        for path in sorted((ROOT / tree).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text()


def module_of(path: str) -> str:
    """``msr/span/find.py`` is ``msr.span.find``; a package is called by its folder."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(source: str) -> list[tuple[int, str]]:
    """Every imported module, dotted, with the names taken from it: ``from msr.x import y`` gives ``msr.x.y``."""
    named = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            named += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return named


def violations(path: str, source: str) -> list[str]:
    """What a file imports against the laws; the path is relative to the root."""
    here = module_of(path).split(".")
    return [f"{path}:{line}: {law}" for line, name in imports(source) for law in broken_laws(here, name.split("."))]


def broken_laws(here: list[str], there: list[str]) -> Iterator[str]:
    """The laws that an import from the module ``here`` of the name ``there`` breaks."""
    top, room = there[0], there[1] if len(there) > 1 else ""
    own_top, own_room = here[0], here[1] if len(here) > 1 else ""
    if top == "tests" and own_top != "tests":
        yield "nothing but tests imports tests"
    if top in ("experiments", "benchmarks") and own_top not in (top, "tests"):
        yield f"nothing imports {top}"
    if own_top == "msr":
        if top == "tasks":
            yield "msr does not know the published problems"
        if top == "msr" and own_room and own_room != room and ROOMS[room] >= ROOMS[own_room]:
            yield f"{own_room} (floor {ROOMS[own_room] + 1}) imports {room} (floor {ROOMS[room] + 1})"
        if own_room == "meta" and top == "msr" and room == "layers":
            yield "meta knows no layer"
        if own_room == "discovery" and top == "msr" and room in ("meta", "layers"):
            yield "discovery takes tensors and knows no learner"
        if top == "matplotlib" and own_room != "report":
            yield "only report plots"
        if top == "tqdm" and own_room != "runs":
            yield "only runs draw a bar of progress"
    if "tasks" in (own_top, own_room) and top == "msr" and room not in TASKS_MAY_IMPORT:
        yield f"a generator that sees {room} can leak the answer"
    home = own_room if own_top == "msr" else ""
    private = [part for part in there[1:] if part.startswith("_") and not part.startswith("__")]
    if private and top in TREES and own_top != "tests" and (top, room) != (own_top, home or room):
        yield f"{'.'.join(there)} is private to its room"


def test_imports_keep_the_laws():
    files = list(sources(*TREES))
    assert len(files) > 20
    broken = [law for path, source in files for law in violations(path, source)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("msr/kron.py", "from msr.layers import ReparamLinear"),
        ("msr/meta/learner.py", "from msr.layers.linear import ReparamLinear"),
        ("msr/layers/linear.py", "import msr.meta.learner"),
        ("msr/discovery/find.py", "from msr.meta import Learner"),
        ("msr/meta/learner.py", "import matplotlib"),
        ("msr/meta/outer.py", "from tqdm import tqdm"),
        ("msr/layers/conv.py", "from tasks import TranslationTasks"),
        ("msr/tasks/linear.py", "from msr.sharing import DenseSharing"),
        ("tasks/images.py", "from msr.meta import Learner"),
        ("tasks/images.py", "from experiments import deep"),
        ("benchmarks/layers.py", "from tests.support.engines import need"),
        ("benchmarks/layers.py", "from experiments.deep import Config"),
        ("experiments/deep.py", "from msr.meta.learner import _mean"),
        ("msr/meta/learner.py", "from msr.kron import _factors"),
    ],
)
def test_the_check_sees_each_kind_of_breach(path, source):
    assert violations(path, source)


def test_every_room_has_a_floor():
    rooms = {
        path.stem for path in (ROOT / "msr").iterdir() if path.name not in ("__init__.py", "py.typed", "__pycache__")
    }
    assert rooms == ROOMS.keys()


def test_the_pages_list_the_rooms_as_the_table_does():
    for path, page in written().items():
        assert (ROOT / path).read_text() == page, f"write {path} again: python -m tests.laws.rooms"


def arrows(files: dict[str, str]) -> dict[str, set[str]]:
    """Which modules each module imports, of those that are given by name and source; a face is the package's own."""
    found: dict[str, set[str]] = {}
    for name, source in files.items():
        aims = set()
        for _, imported in imports(source):
            aim = imported if imported in files else imported.rpartition(".")[0]
            if aim in files and aim != name:
                aims.add(aim)
        found[name] = aims
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of a circle in the order of its arrows, or nothing."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return []
        for aim in sorted(graph[node]):
            if ring := walk(aim, [*path, node]):
                return ring
        done.add(node)
        return []

    for node in sorted(graph):
        if ring := walk(node, []):
            return ring
    return []


def without_faces(files: dict[str, str]) -> dict[str, str]:
    """Modules that are no package: a face imports all that is behind it, and a name taken from it is no circle."""
    packages = {name.rpartition(".")[0] for name in files}
    return {name: source for name, source in files.items() if name not in packages}


@pytest.mark.parametrize("tree", TREES)
def test_no_modules_import_each_other(tree):
    """Imports within functions count: they hide a circle, they do not open it."""
    files = {module_of(path): source for path, source in sources(tree)}
    assert not circle(arrows(without_faces(files)))


def test_no_rooms_within_a_room_import_each_other():
    """As of ``msr.discovery.data`` and ``msr.discovery.pattern``: what stands beside them is not asked here."""
    files = {module_of(path): source for path, source in sources("msr")}
    graph: dict[str, set[str]] = {}
    for name, aims in arrows(files).items():
        here = ".".join(name.split(".")[:3])
        if not (ROOT / here.replace(".", "/")).is_dir():
            continue
        within = {".".join(aim.split(".")[:3]) for aim in aims if aim.split(".")[:2] == name.split(".")[:2]}
        graph.setdefault(here, set()).update(aim for aim in within if aim != here)
    graph = {here: {aim for aim in aims if aim in graph} for here, aims in graph.items()}
    assert len(graph) > 8
    assert not circle(graph)


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    assert arrows({"p.a": "def f():\n    from p.b import g", "p.b": ""}) == {"p.a": {"p.b"}, "p.b": set()}


def hidden_modules(face: str, modules: set[str]) -> set[str]:
    """Modules of a package whose names its face gives to something else, such as a function that it hands on."""
    hands_on = {
        alias.asname or alias.name
        for node in ast.parse(face).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return modules & hands_on


def test_no_name_hides_a_module():
    """``import msr.a.b`` must give the module, whatever the face of ``msr.a`` hands on."""
    hidden = []
    for path, source in sources(*TREES):
        if path.endswith("__init__.py"):
            home = (ROOT / path).parent
            modules = {p.stem for p in home.glob("*.py")} | {p.name for p in home.iterdir() if p.is_dir()}
            hidden += [f"{path}: {name}" for name in hidden_modules(source, modules)]
    assert not hidden
    assert hidden_modules("from msr.a.b import b", {"b", "c"}) == {"b"}


def test_every_room_can_be_reached_from_the_front_door():
    """In a process of its own: here all of them have been imported already."""
    rooms = sorted(name for name in ROOMS if name != "__main__")
    code = f"import msr\nfor room in {rooms}: assert getattr(msr, room).__name__ == 'msr.' + room, room\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["nowhere", "no.where", "layers.nowhere", ""])
def test_what_is_no_room_is_no_attribute(name):
    """An AttributeError, which ``hasattr`` understands, also for names that the import system would look up."""
    assert not hasattr(msr, name)


def test_tests_mirror_the_tree():
    """A folder of tests stands for a folder of the package: one word finds the code and its tests."""
    strange = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests" / "msr").rglob("*")
        if path.is_dir() and path.name != "__pycache__" and not (ROOT / path.relative_to(ROOT / "tests")).is_dir()
    ]
    assert not strange


def test_functions_are_short():
    """60 lines of code a function, its signature and docstring not counted: beyond that it does two things."""
    long = []
    for path, source in sources("msr", "tasks", "experiments"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                statement = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                size = (node.end_lineno or 0) - statement.lineno + 1
                if size > 60:
                    long.append(f"{path}:{node.lineno}: {node.name} has {size} lines of code")
    assert not long, "\n".join(long)
