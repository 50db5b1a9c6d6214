"""Training tasks that stay in memory once they are drawn."""

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.memory import free_memory
from msr.tasks.base import Split, TaskFamily, check_indices
from msr.trees import Tree, assembled, leaves_of, structure_of

__all__ = ["MOST_BYTES", "KeptTasks"]

MOST_BYTES = 2**28
"""Most bytes that :class:`KeptTasks` takes unless told otherwise: 8,000 translation tasks take 88 MB of them."""

_AHEAD = 256  # tasks that are made beside those that are asked for; chosen by hand


class KeptTasks(TaskFamily):
    """The same tasks as those of a finite family, with each training task made once.

    Training draws the tasks of a finite split again and again, and a task is a pure function of seed, split and index,
    so what was made before is copied: 32 translation tasks take 80 µs then, and 450 to make. Where one is not there
    yet, 256 more are made with it, since a call for a single one takes as long as eight. Where all training tasks
    together would take more than ``most_bytes``, or half of the memory that is free, or have no end, each is made when
    it is asked for, as without this. So are test tasks, which are looked at once.

    Args: ``family``: of tasks; its episodes must be pure, as :class:`TaskFamily` says.
    """

    def __init__(self, family: TaskFamily, most_bytes: int = MOST_BYTES):
        self.family = family
        self.seed = family.seed
        self.most_bytes = most_bytes
        self._kept: list[Tensor] | None = None
        self._structure: Tree = None
        self._is_there = torch.zeros(0, dtype=torch.bool)
        self._all_there = False
        self._limit = family.n_tasks("train")

    def n_tasks(self, split: Split) -> int | None:
        """How many tasks the split holds; None where it has no end."""
        return self.family.n_tasks(split)

    def true_span(self) -> Tensor | None:
        """That of the family."""
        return self.family.true_span()

    def draw(self, split: Split, step: int, n: int) -> Tensor:
        """The indices that the family draws."""
        return self.family.draw(split, step, n)

    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The tasks with these indices, as the family makes them; each part lies in memory of its own."""
        if split != "train" or self._limit is None:
            return self.family.episodes(split, tasks)
        if self._kept is None or not self._all_there:
            check_indices(split, tasks, self._limit)
            if self._kept is None and not self._begins(self.family.episodes(split, tasks[:1])):
                self._limit = None
                return self.family.episodes(split, tasks)
            self._make(tasks)
        try:
            parts = [whole.index_select(0, tasks) for whole in self._kept or ()]
        except IndexError:
            check_indices(split, tasks, self._limit)  # raises the error that names the index
            raise
        return Episodes(*(parts if self._structure is None else assembled(self._structure, parts)))

    def _begins(self, first: Episodes) -> bool:
        """Take the memory for all training tasks, by the size of one; False where it would be too much."""
        assert self._limit is not None
        leaves = leaves_of(tuple(first))
        size = sum(leaf.numel() * leaf.element_size() for leaf in leaves) * self._limit
        free = free_memory()
        if size > self.most_bytes or (free is not None and 2 * size > free):
            return False
        self._structure = structure_of(first)
        # Pages are taken when tasks are written, so a run that draws few of them stays small.
        self._kept = [leaf.new_empty((self._limit, *leaf.shape[1:])) for leaf in leaves]
        self._is_there = torch.zeros(self._limit, dtype=torch.bool)
        return True

    def _make(self, tasks: Tensor) -> None:
        """Make those of the tasks that are not there, and more, and write them into their places."""
        assert self._kept is not None
        if self._is_there[tasks].all():
            return
        wanted = torch.zeros_like(self._is_there)
        wanted[tasks] = True
        wanted &= ~self._is_there
        others = (~self._is_there & ~wanted).nonzero().flatten()
        missing = torch.cat([wanted.nonzero().flatten(), others[:_AHEAD]])
        made = leaves_of(tuple(self.family.episodes("train", missing)))
        for whole, part in zip(self._kept, made, strict=True):
            whole[missing] = part
        self._is_there[missing] = True
        self._all_there = bool(self._is_there.all())
