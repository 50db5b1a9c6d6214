"""Several tensors as one: tuples and dictionaries of tensors, nested as one likes."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import Tensor

__all__ = ["Tree", "assembled", "leaves_of", "mapped", "structure_of"]

Tree: TypeAlias = Any
"""A tensor, or a tuple or dictionary of trees. Lists are no trees: they are what ragged data come in."""


def mapped(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """The same tuples and dictionaries with ``function`` of each leaf."""
    if isinstance(tree, dict):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        parts = [mapped(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return function(tree)


def leaves_of(tree: Tree) -> list[Any]:
    """All leaves, in order."""
    found: list[Any] = []
    mapped(found.append, tree)
    return found


def structure_of(trees: Sequence[Tree]) -> Tree | None:
    """The trees with their leaves' places in place of the leaves; None where each is a plain tensor."""
    if all(isinstance(tree, Tensor) for tree in trees):
        return None
    places = iter(range(len(leaves_of(tuple(trees)))))
    return mapped(lambda leaf: next(places), tuple(trees))


def assembled(structure: Tree, tensors: Sequence[Tensor]) -> Tree:
    """The inverse of :func:`leaves_of` for trees of that structure."""
    return mapped(lambda place: tensors[place], structure)
