"""What prompting and fine tuning can do: simulators of both on tables, and how many tasks a pretext task can prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from msr.brief import Brief
from msr.category.categories.constructors import full_subcategory
from msr.category.categories.tables import FinCat
from msr.category.sets.enumeration import presheaf_classes
from msr.category.sets.marks import orbit_sizes, sums_of
from msr.category.sets.presheaves import CoPresheaf, Presheaf
from msr.category.sets.representability import representing_objects
from msr.category.sets.set_functors import representable
from msr.category.universal.kan import extension_table, kan_extension
from msr.errors import ConfigError
from msr.groups import FiniteGroup
from msr.groups.group import whole_number
from msr.permutations import Indices

__all__ = [
    "FineTuning", "Prompting", "PromptPower", "fine_tuning", "prompt_power", "best_prompts", "solves_naturally",
    "solves_pointwise",
]  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Prompting(Brief):
    """What each object does as a prompt for a task ``T``: it predicts ``h_P = Hom(−, P)``.

    Attributes:
        errors: ``(n_obj,)`` for each prompt ``P`` the sum over all objects ``X`` of ``||h_P(X)| − |T(X)||``.
        best: the prompts of least error, all of them.
        pointwise: for each of them whether its error is 0: ``h_P(X)`` has as many elements as ``T(X)``, everywhere.
        natural: for each of them whether it solves the task: ``h_P`` is naturally isomorphic to ``T``.
    """

    errors: Indices
    best: tuple[int, ...]
    pointwise: tuple[bool, ...]
    natural: tuple[bool, ...]


@dataclass(frozen=True, eq=False, repr=False)
class FineTuning(Brief):
    """What fine tuning makes of a task ``F``: the functor ``F!`` on presheaves with ``F!(h_X) = F(X)``.

    Attributes:
        exact: whether ``a ↦ (id_X, a)`` is a bijection from ``F(X)`` to ``F!(h_X)`` at every object. It always is; the
            answer is computed.
        on_objects: ``|F!(h_X)|`` for each object, ``(n_obj,)``.
        predictions: ``|F!(T)|`` for each presheaf that was asked about.
    """

    exact: bool
    on_objects: Indices
    predictions: Indices


@dataclass(frozen=True, eq=False, repr=False)
class PromptPower(Brief):
    """How many tasks prompting solves, up to natural isomorphism; the size of a task is that of all its sets together.

    Attributes:
        tasks: how many tasks there are of size 0, 1, …, up to the largest asked for.
        promptable: how many of them are representable.
    """

    tasks: tuple[int, ...]
    promptable: tuple[int, ...]

    @property
    def share(self) -> float:
        """The share of all tasks, of every size up to the largest, that prompting solves."""
        return sum(self.promptable) / sum(self.tasks)


def best_prompts(task: Presheaf) -> Prompting:
    """All best prompts for a task, and which of them solve it.

    Several prompts can be equally good by sizes while only some of them, or none, solve the task naturally.
    """
    _needs_presheaf(task, "best_prompts")
    C = task.category
    errors = np.abs(C.hom_count - task.sizes[:, None]).sum(axis=0)
    best = np.flatnonzero(errors == errors.min(initial=np.iinfo(np.int64).max))
    solving = representing_objects(task)
    return Prompting(
        errors=errors,
        best=tuple(best.tolist()),
        pointwise=tuple(bool(errors[P] == 0) for P in best),
        natural=tuple(int(P) in solving for P in best),
    )


def solves_pointwise(task: Presheaf, prompt: int | None = None) -> bool:
    """Whether a prompt, or any where it is None, predicts sets of the right size at every object.

    That is isomorphism object by object, and says little: the theorem needs :func:`solves_naturally`.
    """
    _needs_presheaf(task, "solves_pointwise")
    exact = (task.category.hom_count == task.sizes[:, None]).all(axis=0)
    return bool(exact.any() if prompt is None else exact[task.category.object_of(prompt)])


def solves_naturally(task: Presheaf, prompt: int | None = None) -> bool:
    """Whether a prompt, or any where it is None, solves a task: ``Hom(−, P)`` is naturally isomorphic to it.

    A task is solved by some prompt exactly where it is representable, and then by the representing objects.
    """
    _needs_presheaf(task, "solves_naturally")
    solving = representing_objects(task)
    return bool(solving) if prompt is None else task.category.object_of(prompt) in solving


def fine_tuning(task: CoPresheaf, presheaves: Sequence[Presheaf] = ()) -> FineTuning:
    """What fine tuning learns of a covariant task ``F``, and what it then predicts on presheaves.

    Raises: ConfigError for what is no copresheaf, or presheaves on another category.
    """
    if not isinstance(task, CoPresheaf):
        raise ConfigError(
            f"fine_tuning: the task is a CoPresheaf; got {task!r} (on a groupoid on_inverses makes a presheaf one)"
        )
    C = task.category
    exact = True
    sizes = []
    for X in C.objects:
        coend = kan_extension(task, representable(C, X))
        images = coend.labels[X][C.place[C.ident[X]]]
        exact &= len(images) == coend.size and len(np.unique(images)) == coend.size
        sizes.append(coend.size)
    return FineTuning(bool(exact), np.array(sizes, dtype=np.int64), extension_table(task, presheaves))


def prompt_power(category: FinCat, up_to: int) -> PromptPower:
    """How many of all tasks on a category, of size up to ``up_to``, prompting solves.

    Tasks on a groupoid are counted by the subgroups of its groups of automorphisms, at once; on any other connected
    part of a category they are listed, which is for small sizes. Representable tasks are counted by the isomorphism
    classes of objects.
    Raises: DataError where too many presheaves would have to be listed.
    """
    n = whole_number(up_to)
    if n is None or n < 0:
        raise ConfigError(f"prompt_power: up_to is a size, 0 or more; got {up_to!r}")
    counts = [1] + [0] * n
    for label in range(int(category.component_labels.max(initial=-1)) + 1):
        part = full_subcategory(category, np.flatnonzero(category.component_labels == label).tolist()).source
        here = _groupoid_tasks(part, n) if part.is_groupoid else _listed_tasks(part, n)
        # A task on several parts is one on each, and sizes add up.
        counts = [sum(counts[k] * here[total - k] for k in range(total + 1)) for total in range(n + 1)]
    _, first = np.unique(category.isomorphism_labels, return_index=True)
    sizes = category.hom_count.sum(axis=0)[first]
    promptable = np.bincount(sizes[sizes <= n], minlength=n + 1)
    return PromptPower(tuple(counts), tuple(promptable.tolist()))


def _groupoid_tasks(category: FinCat, up_to: int) -> Sequence[int]:
    """How many presheaves of each size there are on a connected groupoid, up to isomorphism."""
    # It is equivalent to its group at any object, and a presheaf has as many elements at all others as there.
    arrows = category.automorphisms(0).tolist()
    arrows.sort(key=lambda f: f != category.ident[0])
    place = np.full(category.n_mor, -1)
    place[arrows] = np.arange(len(arrows))
    group = FiniteGroup(place[category.comp[np.ix_(arrows, arrows)]], "Aut")
    return sums_of([size * category.n_obj for size in orbit_sizes(group)], up_to)


def _listed_tasks(category: FinCat, up_to: int) -> Sequence[int]:
    """How many presheaves of each size there are on a category, up to isomorphism, by listing them."""
    counts = [0] * (up_to + 1)
    for sizes in product(range(up_to + 1), repeat=category.n_obj):
        if sum(sizes) <= up_to:
            counts[sum(sizes)] += len(presheaf_classes(category, sizes))
    return counts


def _needs_presheaf(task: Presheaf, what: str) -> None:
    """Raise ConfigError for what is no presheaf."""
    if not isinstance(task, Presheaf):
        raise ConfigError(
            f"{what}: the task is a Presheaf; got {task!r} (a copresheaf on C is one on C.op(), by on_opposite; on a "
            "groupoid on_inverses makes it one on C)"
        )
