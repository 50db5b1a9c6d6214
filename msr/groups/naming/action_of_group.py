"""The action of a group on one side, inputs or outputs: its orbits, kernel and blocks."""

import numpy as np
from sympy import factorint  # type: ignore[import-untyped]

from msr.groups.naming.generated_group import GeneratedGroup, covers, minimal_systems
from msr.groups.naming.group_name import Action
from msr.permutations import Indices, orbit_labels

__all__ = ["action_of"]


def action_of(group: GeneratedGroup, rows: Indices, side: Indices) -> Action:
    """How a group moves the points of one side, the inputs or the outputs.

    Args:
        group: made from ``rows``; it numbers only the points, of both sides, that it moves.
        rows: its generators on all points, ``(r, in + out)``.
        side: the points of the side as ``rows`` number them, consecutive numbers; may be empty.
    """
    generators = rows[:, side] - (side[0] if len(side) else 0)
    degree = len(side)
    labels = orbit_labels(generators) if len(generators) else np.arange(degree)
    sizes = tuple(sorted(np.bincount(labels).tolist(), reverse=True))
    # The group numbers only the points that it moves.
    moved_points = np.flatnonzero(np.isin(group.moved, side))
    # An order that is known saves the proof of one.
    image = group.on(moved_points, group.order if _is_faithful(group, rows, side) else None)
    transitive = len(sizes) == 1 and degree > 1
    regular = transitive and image.order == degree
    blocks = None
    if regular:
        # The blocks of a regular action are the cosets of the subgroups, and by Cauchy's theorem every prime divisor of
        # the order is the order of a subgroup.
        smallest = min(factorint(degree))
        blocks = smallest if smallest < degree else None
    elif transitive:
        blocks = min((int(np.bincount(system)[0]) for system in minimal_systems(image)), default=None)
    return Action(
        degree=degree,
        orbits=sizes,
        order=image.order,
        kernel=group.order // image.order,
        transitive=transitive,
        regular=regular,
        primitive=transitive and blocks is None,
        blocks=blocks,
    )


def _is_faithful(group: GeneratedGroup, rows: Indices, side: Indices) -> bool:
    """Whether maps between orbits prove that only the identity fixes all points of a side; False is no proof.

    They prove it if every orbit of the core lies on this side or is the equivariant image of an orbit that does. The
    arguments are those of :func:`action_of`.
    """
    inside = set(side.tolist())
    on_side = [points for points in (group.moved[p] for p in group.points) if int(points[0]) in inside]
    return all(
        int(points[0]) in inside
        or any(len(larger) >= len(points) and covers(rows, larger, points) for larger in on_side)
        for points in (group.moved[p] for p in group.core)
    )
