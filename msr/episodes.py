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

    Each of the four parts is a tensor, or a (nested) tuple or dictionary of tensors where a network takes several
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
        x = _tensors("x", x)
        y = _tensors("y", y)
        n_examples = leaves_of(x)[0].shape[1]
        if not 1 <= shots < n_examples:
            raise ShapeError(
                f"shots must leave at least one of the {n_examples} examples of a task for the query set; got {shots}"
            )
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            return cls(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])
        first = slice(None, shots)
        rest = slice(shots, None)
        support = [mapped(lambda leaf: leaf[:, first], tree) for tree in (x, y)]
        return cls(*support, *(mapped(lambda leaf: leaf[:, rest], tree) for tree in (x, y)))

    def examples(self) -> tuple[Tree, Tree]:
        """``x`` and ``y`` of all examples of each task, its support set followed by its query set.

        Shapes: ``(tasks, support + query examples, ...)``, in the tuples or dictionaries of the parts.
        Raises: ShapeError where support and query differ in more than their number of examples.
        """
        x = _one_after_the_other("x", self.support_x, self.query_x)
        y = _one_after_the_other("y", self.support_y, self.query_y)
        return x, y

    @property
    def n_tasks(self) -> int:
        """How many tasks the batch holds."""
        part = self.support_x
        return (part if isinstance(part, Tensor) else leaves_of(part)[0]).shape[0]

    def select(self, tasks: slice | Tensor) -> "Episodes":
        """The episodes of some of the tasks, chosen by a slice, indices ``(chosen,)`` or a mask ``(tasks,)``.

        A slice shares memory with these episodes; indices and masks copy.
        Shapes: each part ``(tasks, examples, ...)`` becomes ``(chosen, examples, ...)``.
        """
        return Episodes(*(part[tasks] if isinstance(part, Tensor) else _each(part, tasks) for part in self))

    def to(self, device: torch.device | str) -> "Episodes":
        """The same episodes with every tensor on another device; arrays become tensors."""
        if all(type(part) is Tensor and part.ndim > 1 and not part.is_nested for part in self):
            return Episodes(*(part.to(device) for part in self))  # every outer step comes this way
        return Episodes(*(mapped(lambda leaf: leaf.to(device), _tensors(n, t)) for n, t in self._asdict().items()))

    def check(self) -> "Episodes":
        """The episodes themselves, with tensors for arrays, or an error that names the tensor and the axis at fault.

        Raises: ShapeError for parts whose tasks or examples differ; DataError for a batch or a set that is empty.
        """
        if not all(map(isinstance, self, (Tensor,) * 4)):
            return self._checked_trees()
        if self._are_plainly_right():
            return self
        self._check_leaves([(name, part) for name, part in zip(self._fields, self, strict=True)])
        return self

    def _are_plainly_right(self) -> bool:
        """Whether four tensors pass a quick test that nothing is at fault, since every outer step checks its episodes.

        False sends them to :meth:`_check_leaves`, which names what is at fault.
        """
        if any(part.is_nested for part in self):
            return False
        support, support_y, query, query_y = (part.shape[:2] for part in self)
        x_fits_y = support == support_y and query == query_y and len(support) == len(query) == 2
        return x_fits_y and support[0] == query[0] and 0 not in (*support, *query)

    def _checked_trees(self) -> "Episodes":
        """:meth:`check` where some part is no plain tensor: the episodes with tensors for arrays, or an error."""
        whole = Episodes(*(_tensors(name, part) for name, part in zip(self._fields, self, strict=True)))
        whole._check_leaves(
            [(name, leaf) for name, part in zip(self._fields, whole, strict=True) for leaf in leaves_of(part)]
        )
        return whole

    def _check_leaves(self, named: list[tuple[str, Tensor]]) -> None:
        """Raise the error of :meth:`check` for the first tensor at fault; ``named`` has each with its part's name."""
        n_tasks = named[0][1].shape[:1]
        first: dict[str, tuple[str, int]] = {}  # for support and for query: the first tensor and its number of examples
        if n_tasks == (0,):
            raise DataError("the batch holds no task; give at least one")
        for name, part in named:
            if part.is_nested:
                as_tensor(part, name)  # raises an error that names the numbers of examples
            if part.ndim < 2 or part.shape[:1] != n_tasks:
                raise ShapeError(
                    f"{name} must be (tasks, examples, ...) with {self.n_tasks} tasks as in support_x; "
                    f"got {tuple(part.shape)}"
                )
            if part.shape[1] == 0:
                raise DataError(f"{name} holds no example (axis 1 of {tuple(part.shape)} is empty)")
            other, n_examples = first.setdefault(name[:-2], (name, part.shape[1]))
            if part.shape[1] != n_examples:
                raise ShapeError(f"{other} has {n_examples} examples a task, {name} has {part.shape[1]} (axis 1)")


def _one_after_the_other(name: str, support: Tree, query: Tree) -> Tree:
    """Support and query joined along the examples, axis 1, in the tuples or dictionaries that both have.

    ``name`` is ``x`` or ``y``, for messages. Raises: ShapeError for trees that differ in more than their examples.
    """
    if isinstance(support, dict) and isinstance(query, dict) and support.keys() == query.keys():
        return {key: _one_after_the_other(name, part, query[key]) for key, part in support.items()}
    if isinstance(support, tuple) and isinstance(query, tuple) and len(support) == len(query):
        parts = [_one_after_the_other(name, *pair) for pair in zip(support, query, strict=True)]
        return type(support)(*parts) if hasattr(support, "_fields") else tuple(parts)
    if isinstance(support, (dict, tuple)) or isinstance(query, (dict, tuple)):
        raise ShapeError(
            f"support_{name} and query_{name} hold different parts, so they cannot be joined; give both the same tuple "
            "or dictionary of tensors"
        )
    first = _tensor(f"support_{name}", support)
    second = _tensor(f"query_{name}", query)
    if first.shape[:1] != second.shape[:1] or first.shape[2:] != second.shape[2:]:
        raise ShapeError(
            f"support_{name} and query_{name} may differ in their number of examples (axis 1) only, to be joined; got "
            f"{tuple(first.shape)} and {tuple(second.shape)}"
        )
    return torch.cat([first, second], 1)


def _each(tree: Tree, tasks: slice | Tensor) -> Tree:
    """The tree with each of its tensors indexed by ``tasks`` along its first axis."""
    return mapped(lambda leaf: leaf[tasks], _tensors("a part of the episodes", tree))


def _tensors(name: str, tree: Tree) -> Tree:
    """The tree with tensors for arrays, each of at least the two axes ``(tasks, examples)``.

    Raises: ShapeError for an empty tree, fewer axes, or tasks of unequal numbers of examples; ``name`` is the part's.
    """
    if not leaves_of(tree):
        raise ShapeError(f"{name} is an empty {type(tree).__name__}; give at least one tensor")
    return mapped(lambda leaf: _tensor(name, leaf), tree)


def _tensor(name: str, leaf: object) -> Tensor:
    """An array, tensor or list of tasks as a tensor ``(tasks, examples, ...)``; ``name`` is what messages call it.

    Raises: ShapeError for fewer than two axes, or tasks of unequal numbers of examples; DataError for no numbers.
    """
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
