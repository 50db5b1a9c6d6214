"""``python -m experiments`` lists the runners."""

import ast
from pathlib import Path

__all__ = ["runners"]


def runners() -> dict[str, str]:
    """Each runner's name and the first line of what it says about itself; nothing is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        found[path.stem] = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
    return found


if __name__ == "__main__":
    for name, line in runners().items():
        print(f"python -m experiments.{name:<12}  {line}")
    print("Each takes --help.")
