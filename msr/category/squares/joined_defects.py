"""Defects of single arrows, which may end at different objects, as one value."""

from collections.abc import Sequence

import torch

from msr.category.categories.tables import FinCat
from msr.equivariance import Defects

__all__ = ["at_object", "joined", "no_defect"]


def at_object(defects: Defects, C: FinCat, X: int) -> Defects:
    """The defects with the object named in their parts, where the category has more than one."""
    if C.n_obj == 1:
        return defects
    named = tuple(f"{part} at object {X}" for part in defects.parts)
    return Defects(defects.labels, defects.values, defects.size, defects.compared, defects.rounding, named)


def no_defect(label: str) -> Defects:
    """That of an arrow into a space of dimension 0, where nothing can differ."""
    zero = torch.zeros(1, dtype=torch.float64)
    return Defects((label,), zero, zero, zero + 1, zero, ("no output",))


def joined(rows: Sequence[Defects]) -> Defects:
    """Several defects one after the other."""
    values, size, compared, rounding = (
        torch.cat([getattr(row, name) for row in rows]) for name in ("values", "size", "compared", "rounding")
    )
    labels = tuple(label for row in rows for label in row.labels)
    return Defects(labels, values, size, compared, rounding, tuple(part for row in rows for part in row.parts))
