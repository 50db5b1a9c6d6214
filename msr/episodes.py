"""The one shape in which tasks travel: a support set to adapt on and a query set to be judged on."""

from typing import NamedTuple

import torch
from torch import Tensor

from msr.arrays import as_tensor, kind_of
from msr.errors import DataError, ShapeError
from msr.trees import Tree, leaves_of, mapped

__all__ = ["Episodes"]


class Episodes(NamedTuple):
    """A batch of tasks. Every tensor is ``(tasks, examples, ...)``; support and query differ in ``examples`` only.

    Each of the four is a tensor, or a tuple or dictionary of tensors (nested as you like) where a network takes several
    inputs or is judged by several targets; all of them have the same tasks and examples. NumPy arrays become tensors in
    :meth:`split`, and in :meth:`check`, which every learner calls.

    Tasks of unequal numbers of examples are padded to equal ones, by a criterion that leaves the padding out: see
    *Unequal tasks* in ``docs/few_shot.md``.
    """

    support_x: Tree
    support_y: Tree
    query_x: Tree
    query_y: Tree

    @classmethod
    def split(cls, x: Tree, y: Tree, shots: int) -> "Episodes":
        """The first ``shots`` examples of each task are its support, the rest its query.

        Raises: ShapeError when that leaves a set empty, or for lists of tasks with unequal numbers of examples.
        """
        x, y = _tensors("x", x), _tensors("y", y)
        n_examples = leaves_of(x)[0].shape[1]
        if not 1 <= shots < n_examples:
            raise ShapeError(
                f"shots must leave at least one of the {n_examples} examples of a task for the query set; got {shots}"
            )
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            return cls(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])
        first, rest = slice(None, shots), slice(shots, None)
        support = [mapped(lambda leaf: leaf[:, first], tree) for tree in (x, y)]
        return cls(*support, *(mapped(lambda leaf: leaf[:, rest], tree) for tree in (x, y)))

    @property
    def n_tasks(self) -> int:
        """How many tasks the batch holds."""
        part = self.support_x
        return (part if isinstance(part, Tensor) else leaves_of(part)[0]).shape[0]

    def select(self, tasks: slice | Tensor) -> "Episodes":
        """The same episodes for some of the tasks."""
        return Episodes(*(part[tasks] if isinstance(part, Tensor) else _each(part, tasks) for part in self))

    def to(self, device: torch.device | str) -> "Episodes":
        """The same episodes on another device."""
        return Episodes(*(mapped(lambda leaf: leaf.to(device), _tensors(n, t)) for n, t in self._asdict().items()))

    def check(self) -> "Episodes":
        """Itself (with tensors for arrays), or an error that names the tensor and the axis at fault."""
        if not all(map(isinstance, self, (Tensor,) * 4)):
            return self._checked_trees()
        if self._are_plainly_right():
            return self
        self._check_leaves([(name, part) for name, part in zip(self._fields, self, strict=True)])
        return self

    def _are_plainly_right(self) -> bool:
        """Whether nothing is at fault, at a glance: every outer step asks."""
        if any(part.is_nested for part in self):
            return False
        support, support_y, query, query_y = (part.shape[:2] for part in self)
        alike = support == support_y and query == query_y and len(support) == len(query) == 2
        return alike and support[0] == query[0] and 0 not in (*support, *query)

    def _checked_trees(self) -> "Episodes":
        whole = Episodes(*(_tensors(name, part) for name, part in zip(self._fields, self, strict=True)))
        whole._check_leaves(
            [(name, leaf) for name, part in zip(self._fields, whole, strict=True) for leaf in leaves_of(part)]
        )
        return whole

    def _check_leaves(self, named: list[tuple[str, Tensor]]) -> None:
        n_tasks = named[0][1].shape[:1]
        first: dict[str, tuple[str, int]] = {}  # of each role, and its number of examples
        if n_tasks == (0,):
            raise DataError("the batch holds no task; give at least one")
        for name, part in named:
            if part.is_nested:
                as_tensor(part, name)  # which names the counts
            if part.ndim < 2 or part.shape[:1] != n_tasks:
                raise ShapeError(
                    f"{name} must be (tasks, examples, ...) with {self.n_tasks} tasks as in support_x; "
                    f"came {tuple(part.shape)}"
                )
            if part.shape[1] == 0:
                raise DataError(f"{name} holds no example (axis 1 of {tuple(part.shape)} is empty)")
            other, n_examples = first.setdefault(name[:-2], (name, part.shape[1]))
            if part.shape[1] != n_examples:
                raise ShapeError(f"{other} has {n_examples} examples a task, {name} has {part.shape[1]} (axis 1)")


def _each(tree: Tree, tasks: slice | Tensor) -> Tree:
    return mapped(lambda leaf: leaf[tasks], _tensors("a part of the episodes", tree))


def _tensors(name: str, tree: Tree) -> Tree:
    """The tree with tensors for arrays, each of at least the two axes ``(tasks, examples)``."""
    if not leaves_of(tree):
        raise ShapeError(f"{name} is an empty {type(tree).__name__}; give at least one tensor")
    return mapped(lambda leaf: _tensor(name, leaf), tree)


def _tensor(name: str, leaf: object) -> Tensor:
    if isinstance(leaf, list) or (isinstance(leaf, Tensor) and leaf.is_nested):
        tasks = leaf if isinstance(leaf, list) else list(leaf.unbind())
        counts = [len(task) if getattr(task, "ndim", hasattr(task, "__len__")) else 1 for task in tasks]
        if len(set(counts)) > 1:
            shown = ", ".join(map(str, counts[:8])) + (", …" if len(counts) > 8 else "")
            raise ShapeError(
                f"{name} holds tasks of unequal numbers of examples ({shown}); pad each to {max(counts)}, and mark the "
                "padding for a criterion that leaves it out: labels of -100 with F.cross_entropy, or nan in y "
                "(docs/few_shot.md, Unequal tasks)"
            )
    tensor = as_tensor(leaf, name)
    if tensor.ndim < 2:
        raise ShapeError(f"{name} must be (tasks, examples, ...); got {kind_of(leaf)}")
    return tensor
