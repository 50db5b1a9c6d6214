"""Structure transfer: two categories, some pairs of objects, and a linear map that carries one structure to the other.

An encoder of each category is made from that category alone: the left and right factors of its table of real-valued
``Hom``. A linear map between both is learned on the pairs that are known (CLIP in small). Where the functor behind the
pairs is full and faithful, ``Hom_C(X, Y) = Hom_B(FX, FY)``, the map carries ``Hom`` to objects that it never saw.
Source: Yuan, "On the Power of Foundation Models" (ICML 2023), theorem 3, with real numbers in the place of sets.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.category.pretexts.ideality import surrogate
from msr.category.pretexts.pretext_tables import finite_matrix
from msr.errors import ConfigError, DataError, ShapeError
from msr.groups.group import whole_number

__all__ = ["PairedProblem", "Transfer", "paired_problem", "structure_transfer"]


@dataclass(frozen=True, eq=False, repr=False)
class Transfer(Brief):
    """What a map that was learned on some pairs says of ``Hom`` between objects that it never saw.

    Errors are ``‖predicted − true‖ / ‖true‖`` over all ordered pairs of held-out objects, without unit: 0 is right, and
    1 is what predicting 0 everywhere would have.

    Attributes:
        across: ``Hom_B(FX, FY)`` from the image of the features of ``X`` and the other category's own features of
            ``FY``: what a picture has to do with a text.
        within: ``Hom_C(X, Y)`` from the images of both features, in the other category. Features that were not moved at
            all would give it too, so that it says something beside ``across`` only.
        trained: as ``across``, between the pairs that the map was learned on.
        unaligned: as ``across``, without a learned map: features of both categories are taken for the same.
        shuffled: as ``across``, with the map learned on pairs of which none is right.
        least: what the features of the other category's own objects leave of ``across``: the cost of the rank alone.
        fullness: ``‖Hom_C(X, Y) − Hom_B(FX, FY)‖ / ‖Hom_B(FX, FY)‖`` over all pairs: 0 for a full and faithful functor.
        determined: whether the known pairs fix the map: as many independent features as the rank.
        rank: the length of the features.
    """

    across: float
    within: float
    trained: float
    unaligned: float
    shuffled: float
    least: float
    fullness: float
    determined: bool
    rank: int


@takes_arrays("source", "target", "pairs")
def structure_transfer(
    source: Tensor, target: Tensor, pairs: Tensor, train: int, rank: int, *, generator: torch.Generator
) -> Transfer:
    """How well a linear map, learned on ``train`` of the pairs, carries the structure of one category to another.

    The features of each category are the factors of its :func:`msr.category.surrogate`, which knows nothing of the
    other; the map is the least-squares solution between the features of the known pairs, left and right by themselves.

    Args:
        source: ``Hom_C``, ``(n, n)``, real numbers. ``target``: ``Hom_B``, ``(N, N)``.
        pairs: ``(p, 2)`` whole numbers: the object ``X`` of the first and ``FX`` of the second; no ``X`` twice.
        train: how many pairs are known, drawn at random; at least two others must be left.
        rank: the length of the features.
        generator: for the choice of the known pairs, and for the order of the shuffled ones.

    Raises: ShapeError for tables that are not square; DataError for pairs out of range or given twice; ConfigError for
    a number of known pairs, or a rank, that cannot be.
    """
    if not isinstance(generator, torch.Generator):
        raise ConfigError(f"generator must be a torch.Generator, so that the draw can be repeated; got {generator!r}")
    train, rank = (_whole(value, what) for value, what in ((train, "train"), (rank, "rank")))
    C, B = (_square(table, name) for table, name in ((source, "source"), (target, "target")))
    known = _checked_pairs(pairs, len(C), len(B))
    if not 2 <= train <= len(known) - 2:
        raise ConfigError(f"train must leave 2 pairs at least to be held out, and know 2: got {train} of {len(known)}")
    order = torch.randperm(len(known), generator=generator)
    shown, held = known[order[:train]], known[order[train:]]
    features = [(part.left, part.right) for part in (surrogate(C, rank), surrogate(B, rank))]
    # Moved on by one in a random order, no object keeps its own partner.
    wrong = torch.stack([shown[:, 0], shown[:, 1].roll(1)], dim=1)
    right_maps, determined = _learned(features, shown)
    wrong_maps, _ = _learned(features, wrong)
    none = (torch.eye(rank, dtype=torch.float64),) * 2
    own = features[1]

    def images(maps: tuple[Tensor, Tensor], objects: Tensor) -> tuple[Tensor, Tensor]:
        """The left and the right features of some objects of the first category, in the second."""
        return features[0][0][objects] @ maps[0], features[0][1][objects] @ maps[1]

    def across(maps: tuple[Tensor, Tensor], chosen: Tensor) -> float:
        left, _ = images(maps, chosen[:, 0])
        return _relative(left @ own[1][chosen[:, 1]].mT, _between(B, chosen[:, 1]))

    left, right = images(right_maps, held[:, 0])
    return Transfer(
        across=across(right_maps, held),
        within=_relative(left @ right.mT, _between(C, held[:, 0])),
        trained=across(right_maps, shown),
        unaligned=across(none, held),
        shuffled=across(wrong_maps, held),
        least=_relative(own[0][held[:, 1]] @ own[1][held[:, 1]].mT, _between(B, held[:, 1])),
        fullness=_relative(_between(C, known[:, 0]), _between(B, known[:, 1])),
        determined=determined,
        rank=rank,
    )


@dataclass(frozen=True, eq=False, repr=False)
class PairedProblem(Brief):
    """Two small categories with real-valued ``Hom``, and pairs of their objects.

    Attributes: ``source``, ``(n, n)``; ``target``, ``(N, N)``; ``pairs``, ``(n, 2)``, as :func:`structure_transfer`
    takes them.
    """

    source: Tensor
    target: Tensor
    pairs: Tensor


def paired_problem(
    objects: int, others: int, rank: int, *, full: bool = True, generator: torch.Generator
) -> PairedProblem:
    """A :class:`PairedProblem` with a functor that is a full embedding, or with ``full=False`` one that is not.

    Each object of the second category has two normally distributed vectors of length ``rank``, and ``Hom_B`` is the
    inner product of the first one's left and the second one's right vector. The first category is that of ``objects``
    of them, in another order, with the same ``Hom``; ``others`` have no partner. A functor that is not full misses what
    half of the coordinates, ``⌊rank / 2⌋`` of them, say.

    Raises: ConfigError for numbers that cannot be.
    """
    if not isinstance(generator, torch.Generator):
        raise ConfigError(f"generator must be a torch.Generator, so that the draw can be repeated; got {generator!r}")
    objects, others, rank = (
        _whole(value, what) for value, what in ((objects, "objects"), (others, "others"), (rank, "rank"))
    )
    if min(objects, rank) < 1 or others < 0 or (not full and rank < 2):
        raise ConfigError(
            f"objects and rank must be 1 or more (rank 2 where the functor is not full), and others 0 or more; got "
            f"{objects}, {rank} and {others}"
        )
    total = objects + others
    left, right = torch.randn(2, total, rank, generator=generator, dtype=torch.float64)
    image = torch.randperm(total, generator=generator)[:objects]
    kept = rank if full else rank - rank // 2
    source = left[image, :kept] @ right[image, :kept].mT
    return PairedProblem(source, left @ right.mT, torch.stack([torch.arange(objects), image], dim=1))


def _whole(value: int, what: str) -> int:
    """A number of things as Python's whole number. Raises: ConfigError for anything else."""
    n = whole_number(value)
    if n is None:
        raise ConfigError(f"{what} must be a whole number; got {value!r}")
    return n


def _learned(features: list[tuple[Tensor, Tensor]], pairs: Tensor) -> tuple[tuple[Tensor, Tensor], bool]:
    """The maps ``(rank, rank)`` of left and of right features of the pairs, and whether both are determined."""
    maps = []
    ranks = []
    # Features are roots of singular values, so that of a value that is rounding they hold the root of it.
    rounding = (torch.finfo(torch.float64).eps * len(features[0][0])) ** 0.5
    for side in (0, 1):
        x = features[0][side][pairs[:, 0]]
        # By singular values, so that features which the pairs do not show are sent to 0.
        solved = torch.linalg.lstsq(x, features[1][side][pairs[:, 1]], rcond=rounding, driver="gelsd")
        maps.append(solved.solution)
        ranks.append(int(solved.rank))
    return (maps[0], maps[1]), min(ranks) == features[0][0].shape[1]


def _between(table: Tensor, objects: Tensor) -> Tensor:
    """``Hom`` between some objects ``(k,)`` of a table ``(n, n)``: ``(k, k)``."""
    return table[objects][:, objects]


def _relative(found: Tensor, true: Tensor) -> float:
    """``‖found − true‖ / ‖true‖``, Frobenius. Raises: DataError where the truth is 0."""
    size = float(true.norm())
    if size == 0:
        raise DataError("every Hom between the held-out objects is 0, so that no relative error can be told")
    return float((found - true).norm()) / size


def _square(table: Tensor, name: str) -> Tensor:
    """A square table as float64. Raises: ShapeError."""
    values = finite_matrix(table, name)
    if values.shape[0] != values.shape[1]:
        raise ShapeError(f"{name} must be a square table of Hom between all objects; got {tuple(values.shape)}")
    return values


def _checked_pairs(pairs: Any, n: int, m: int) -> Tensor:
    """Pairs ``(p, 2)`` as int64. Raises: ShapeError; DataError for the first that is out of range or repeated."""
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.is_floating_point() or pairs.is_complex():
        raise ShapeError(f"pairs must be (p, 2) whole numbers; got {tuple(pairs.shape)} {pairs.dtype}")
    known = pairs.detach().cpu().long()
    bad = ((known < 0) | (known >= torch.tensor([n, m]))).any(1)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        raise DataError(f"pair {at} is {tuple(known[at].tolist())}; objects are 0 to {n - 1} and 0 to {m - 1}")
    for side in (0, 1):
        values, counts = known[:, side].unique(return_counts=True)
        if bool((counts > 1).any()):
            raise DataError(f"object {int(values[counts > 1][0])} stands in two pairs, on side {side}; give it once")
    return known
