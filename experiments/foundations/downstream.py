"""Which downstream tasks a prompt solves, and which need fine tuning: labels, positions, masks, poses."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.foundations.named import HIDDEN, Named, named_group
from experiments.shared.studies import Study
from msr.category import (
    FinCat,
    action_copresheaf,
    action_presheaf,
    colimit,
    fine_tuning,
    from_group,
    is_representable,
    presheaf_classes,
    rotation_prediction,
    solves_naturally,
    solves_pointwise,
    universal_elements,
)
from msr.permutations import Indices, orbit_labels
from msr.report import format_table
from msr.runs.folder import Row

__all__ = ["DownstreamStudy", "tasks_of"]

_MOST_PLACES = 10
"""Masks are sets of places, of which there are ``2^places``."""


def _half_turned() -> FinCat:
    """The category of an image that looks the same after half a turn."""
    image = np.array([[[0.0, 1.0], [1.0, 0.0]]])
    return rotation_prediction(image).category


_Made = tuple[Callable[[], FinCat], int, list[str]]
ROTATIONS: dict[str, _Made] = {
    "1 image, aut": (lambda: rotation_prediction(1, "aut").category, 1, ["1", "2", "4"]),
    "2 images, aut": (lambda: rotation_prediction(2, "aut").category, 2, ["1", "2", "4"]),
    "1 image, orbit": (lambda: rotation_prediction(1, "orbit").category, 4, ["1", "2"]),
    "2 images, orbit": (lambda: rotation_prediction(2, "orbit").category, 8, ["1", "2"]),
    "1 image, same after half a turn, orbit": (_half_turned, 2, ["1", "2"]),
}
"""Categories of rotation prediction, how many objects each has, and how many answers are asked for at each object."""


@dataclass(frozen=True)
class DownstreamStudy(Study):
    """Tasks on rotation prediction, by number of answers, and tasks of the groups that discovery named."""

    name = "downstream"

    def variants(self) -> dict[str, bool]:
        """A line for each task: how it is asked on each category, or of each group."""
        asked = [f"{name}: {s} answer{'s' * (s != '1')}" for name, (_, _, sizes) in ROTATIONS.items() for s in sizes]
        return dict.fromkeys([*asked, *(f"named {hidden}" for hidden in HIDDEN)], False)

    def row(self, variant: str, seed: int) -> Row:
        """How many tasks of equally many answers everywhere there are, and which a prompt solves; or the tasks of a
        group.
        """
        if variant.startswith("named "):
            found = named_group(variant.removeprefix("named "), seed)
            return {"group": None, "tasks": []} if found is None else {"group": found.name, "tasks": tasks_of(found)}
        name, _, asked = variant.partition(": ")
        make, objects, _ = ROTATIONS[name]
        C = make()
        assert C.n_obj == objects
        answers = int(asked.split()[0])
        classes = presheaf_classes(C, [answers] * objects)
        return {
            "answers": answers,
            "tasks": len(classes),
            "pointwise": sum(solves_pointwise(T) for T in classes),
            "promptable": sum(is_representable(T) for T in classes),
        }

    def line(self, variant: str, rows: list[Row]) -> Row:
        """The row itself: nothing is random but what discovery was given."""
        return rows[0]

    def table(self, lines: list[Row]) -> str:
        """Two tables: rotation prediction, and the tasks of named groups."""
        parts = []
        counted = [line for line in lines if "answers" in line]
        if counted:
            header = ["rotation prediction", "tasks", "a prompt has the sizes", "a prompt solves"]
            cells = [
                [line["variant"], *(str(line[key]) for key in ("tasks", "pointwise", "promptable"))] for line in counted
            ]
            parts.append(format_table(header, cells))
        named = [line for line in lines if "group" in line]
        if named:
            header = ["hidden", "named", "task", "answers", "orbits", "by a prompt", "prompts", "by fine tuning"]
            cells = []
            for line in named:
                hidden = line["variant"].removeprefix("named ")
                if line["group"] is None:
                    cells.append([hidden, "cannot tell", *[""] * 6])
                cells += [
                    [
                        hidden,
                        line["group"],
                        task["task"],
                        str(task["answers"]),
                        str(task["orbits"]),
                        "yes" if task["promptable"] else "no",
                        str(task["prompts"]),
                        "yes" if task["fine_tuned"] else "no",
                    ]
                    for task in line["tasks"]
                ]
            parts.append(format_table(header, cells))
        return "\n\n".join(parts)


def tasks_of(named: Named) -> list[Row]:
    """The tasks that a group of permutations of places asks: for each its answers, orbits, and what solves it.

    ``prompts`` counts the universal elements: the ways to read the task off the one object.
    """
    C = from_group(named.group)
    rows = []
    for name, moves in _actions(named).items():
        T = action_presheaf(C, moves)
        F = action_copresheaf(C, moves)
        tuned = fine_tuning(F)
        rows.append(
            {
                "task": name,
                "answers": moves.shape[1],
                "orbits": colimit(F)[0],
                "pointwise": solves_pointwise(T),
                "promptable": solves_naturally(T),
                "prompts": len(universal_elements(T)),
                "fine_tuned": bool(tuned.exact and tuned.on_objects[0] == moves.shape[1]),
            }
        )
    return rows


def _actions(named: Named) -> dict[str, Indices]:
    """How a group moves the answers of each task, ``(order, answers)``."""
    order, n = named.moves.shape
    pairs = (named.moves[:, :, None] * n + named.moves[:, None, :]).reshape(order, n * n)
    labels = orbit_labels(pairs)
    # Of equally large orbits the first one.
    largest = np.flatnonzero(labels == np.bincount(labels).argmax())
    place = np.full(n * n, -1)
    place[largest] = np.arange(len(largest))
    tasks = {
        "one label, whatever the pose": np.zeros((order, 1), dtype=np.int64),
        "two labels, whatever the pose": np.tile(np.arange(2), (order, 1)),
        "a place": named.moves,
        "a place and another that belongs to it": place[pairs[:, largest]],
        "the pose": np.asarray(named.group.table),
    }
    if n <= _MOST_PLACES:
        subsets = np.arange(2**n)
        inside = subsets[:, None] >> np.arange(n) & 1
        # A place of the mask goes to where the group moves it.
        tasks["a mask: any set of places"] = np.stack([(inside << moved).sum(axis=1) for moved in named.moves])
    return tasks
