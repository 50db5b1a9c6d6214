"""The name of a group as a value, and how the group acts."""

import re
from dataclasses import dataclass

from msr.brief import Brief

__all__ = ["Action", "GroupName"]


@dataclass(frozen=True, repr=False)
class Action(Brief):
    """How a permutation group moves one set of points, the inputs or the outputs.

    Attributes:
        degree: how many points there are.
        orbits: the sizes of the orbits, largest first, fixed points included.
        order: of the group of permutations of these points, which is the image of the whole group.
        kernel: how many elements of the whole group move none of the points, the identity included.
        transitive: the points, two or more, are one orbit.
        regular: transitive, and no element of the image but its identity fixes a point.
        primitive: transitive, and no partition of the points is kept but that into single points and that into one
            part.
        blocks: the size of a smallest nontrivial block, where the action is transitive and not primitive; else None.
    """

    degree: int
    orbits: tuple[int, ...]
    order: int
    kernel: int
    transitive: bool
    regular: bool
    primitive: bool
    blocks: int | None

    def __str__(self) -> str:
        if self.order == 1:
            return f"moves none of {self.degree} points"
        words = []
        if self.transitive:
            words.append("regular" if self.regular else "primitive" if self.primitive else "transitive")
            words.append(f"on {self.degree} points")
            if self.blocks is not None and not self.regular:
                words.append(f"in blocks of {self.blocks}")
        else:
            moved_sizes = [size for size in self.orbits if size > 1]
            fixed = len(self.orbits) - len(moved_sizes)
            words.append(f"orbits of {', '.join(map(str, moved_sizes))}" + (f", {fixed} fixed" if fixed else ""))
        if self.kernel > 1:
            words.append(f"(kernel of order {self.kernel})")
        return " ".join(words)


@dataclass(frozen=True, repr=False)
class GroupName(Brief):
    """The isomorphism class of a permutation group, as far as it is known.

    Attributes:
        name: for people, such as ``C12`` or ``S3 wr C2``; a description where no name is known.
        order: number of elements.
        certain: the name is proven (an isomorphism was built, or the order leaves no other).
        alternatives: names of the catalogue that fit all that was compared, where ``certain`` is False and the group
            has at most 1,024 elements; else empty.
        fingerprint: what was compared: order, how many elements of each order, sizes of centre and classes,
            abelianisation, derived length; the order alone for one element, and for more than 1,024.
        on_inputs: how it acts on the inputs.
        on_outputs: how it acts on the outputs.
    """

    name: str
    order: int
    certain: bool
    alternatives: tuple[str, ...]
    fingerprint: dict[str, object]
    on_inputs: Action
    on_outputs: Action

    @property
    def title(self) -> str:
        """The name as part of a sentence: ``the cyclic group C12``, with the kind in words for C, D, S, A and Q.

        Any other name gets ``the group`` before it, as in ``the group S3 wr C2``. Of descriptions, ``a group of order
        96`` is returned as it is, and ``index 2 in S5 x S6`` becomes ``a subgroup of index 2 in S5 x S6``.
        """
        family = re.fullmatch(r"([CDSAQ])(\d+)", self.name)
        if not family:
            if self.name.startswith("a "):
                return self.name
            if self.name.startswith("index "):
                return f"a subgroup of {self.name}"
            return "the trivial group" if self.name == "trivial" else f"the group {self.name}"
        kinds = {"C": "cyclic", "D": "dihedral", "S": "symmetric", "A": "alternating", "Q": "dicyclic"}
        return f"the {'quaternion' if self.name == 'Q8' else kinds[family[1]]} group {self.name}"
