"""``python -m experiments`` lists the runners."""

import ast
from pathlib import Path

__all__ = ["runners"]


def runners() -> dict[str, str]:
    """The name of each runner and the first line of its docstring, read without importing it.

    A runner is a file directly in this folder.
    """
    lines = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        lines[path.stem] = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
    return lines


if __name__ == "__main__":
    for name, line in runners().items():
        print(f"python -m experiments.{name:<12}  {line}")
    print("Each takes --help. With many settings and seeds: python -m experiments.sweep NAME")
