"""Several tensors as one value: nested tuples and dictionaries of tensors."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import Tensor

__all__ = ["Tree", "assembled", "leaves_of", "mapped", "structure_of"]

Tree: TypeAlias = Any
"""A tensor, or a tuple or dictionary of trees. A list is no tree, since data of unequal sizes come in lists."""


def mapped(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """The same tuples and dictionaries, with each leaf replaced by ``function`` of it.

    A leaf is whatever is no tuple and no dictionary, a list too. Dictionaries are gone through in their own order;
    named tuples keep their class, and other subclasses become plain tuples and dictionaries.
    """
    if isinstance(tree, dict):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        parts = [mapped(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return function(tree)


def leaves_of(tree: Tree) -> list[Any]:
    """All leaves, in the order in which :func:`mapped` meets them."""
    # Nothing is rebuilt, since some named tuples (torch's packed sequences) refuse to be made of anything else.
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in leaves_of(part)]
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in leaves_of(part)]
    return [tree]


def structure_of(trees: Sequence[Tree]) -> Tree | None:
    """The trees as a tuple, with each leaf replaced by its place in ``leaves_of(tuple(trees))``, counted from 0.

    None where each tree is a plain tensor.
    """
    if all(isinstance(tree, Tensor) for tree in trees):
        return None
    places = iter(range(len(leaves_of(tuple(trees)))))
    return mapped(lambda leaf: next(places), tuple(trees))


def assembled(structure: Tree, tensors: Sequence[Tensor]) -> Tree:
    """The trees of this structure, from :func:`structure_of`, as a tuple, with ``tensors`` as their leaves, in order.

    It undoes :func:`leaves_of`.
    """
    return mapped(lambda place: tensors[place], structure)
