"""The category, or the table, of a pretext task, made from data: rotations, masks, next tokens, positive pairs."""

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.brief import Brief
from msr.category.categories.constructors import action_groupoid, disjoint_union, from_group, from_poset
from msr.category.categories.tables import FinCat
from msr.category.pretexts.pretext_tables import PretextTable
from msr.contexture import Context, TableContext
from msr.contexture.contexts.base import dense
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups import cyclic
from msr.memory import refuse_if_larger
from msr.permutations import Indices

__all__ = [
    "Masks", "Rotations", "hom_table", "masked_completions", "next_tokens", "positive_pairs", "rotation_prediction",
]  # fmt: skip

Level = Literal["characters", "words"]
Model = Literal["aut", "orbit"]


@dataclass(frozen=True, eq=False, repr=False)
class Rotations(Brief):
    """The category of rotation prediction: which image turns into which, by quarter turns.

    Attributes:
        category: the :class:`msr.category.FinCat`.
        model: ``aut`` or ``orbit``, see :func:`rotation_prediction`.
        image: ``(n_obj,)``, the number of the image that each object is, or is turned from.
        quarters: ``(n_obj,)``, by how many quarter turns, counter-clockwise, the object is turned from that image.
    """

    category: FinCat
    model: Model
    image: Indices
    quarters: Indices

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each object, such as ``image 3 at 90°``."""
        turned = zip(self.image.tolist(), self.quarters.tolist(), strict=True)
        return tuple(f"image {i} at {90 * q}°" if self.model == "orbit" else f"image {i}" for i, q in turned)

    @property
    def table(self) -> PretextTable:
        """``|Hom(X, Y)|`` for all pairs of objects."""
        return hom_table(self.category, self.names)


def rotation_prediction(images: Any, model: Model = "orbit") -> Rotations:
    """The category in which an image is related to itself turned by 0, 90, 180 and 270 degrees.

    Two models of the same words. ``aut``: each image is an object whose arrows to itself are the group C4, and there
    are no others; what the image shows plays no part. ``orbit``: each *turned* image is an object, with an arrow for
    each quarter turn that takes one to the other (the action groupoid of C4). An image that looks the same after half a
    turn then has two objects with two arrows to themselves; images that are turns of an earlier one are its objects.

    Args: ``images``: ``(N, n, n)`` or ``(N, channels, n, n)``, compared bit for bit; or ``N``, for that many images
    without any symmetry.
    Raises: ShapeError for images that are not square, or none; NonFiniteError on nan or infinity.
    Source: Yuan, "On the Power of Foundation Models" (ICML 2023), corollary 1.
    """
    if model not in get_args(Model):
        raise ConfigError(f"model is 'aut' or 'orbit'; got {model!r}")
    turns = cyclic(4)
    count = _count_of_images(images)
    if model == "aut":
        whole = disjoint_union(*[from_group(turns)] * count, name=f"rotation of {count} images")
        return Rotations(whole, model, np.arange(count), np.zeros(count, dtype=np.int64))
    if isinstance(images, int):
        start: Indices = np.arange(4 * count)
        moves = np.stack([start - start % 4 + (start + g) % 4 for g in range(4)])
        found = moves, start // 4, start % 4
    else:
        found = _orbits(_square_images(images))
    moves, image, quarters = found
    return Rotations(action_groupoid(turns, moves, f"turns of {count} images"), model, image, quarters)


def _count_of_images(images: Any) -> int:
    """How many images there are. Raises: ShapeError for none."""
    count = images if isinstance(images, int) and not isinstance(images, bool) else len(_square_images(images))
    if count < 1:
        raise ShapeError(f"rotation prediction needs at least one image; got {count}")
    return count


def _square_images(images: Any) -> Tensor:
    """Images ``(N, …, n, n)`` as a tensor. Raises: ShapeError, NonFiniteError."""
    tensor = as_tensor(images, "images")
    if tensor.ndim not in (3, 4) or tensor.shape[-1] != tensor.shape[-2] or 0 in tensor.shape:
        raise ShapeError(f"images must be (N, n, n) or (N, channels, n, n), square; got {tuple(tensor.shape)}")
    if not bool(tensor.isfinite().all()):
        raise NonFiniteError("the images hold nan or infinity")
    return tensor.detach().cpu()


def _orbits(images: Tensor) -> tuple[Indices, Indices, Indices]:
    """The action of C4 on the different turned images, ``(4, points)``; of each the image and the quarter turns."""
    point: dict[bytes, int] = {}
    image: list[int] = []
    quarters: list[int] = []
    of_turns: list[list[int]] = []
    for i, picture in enumerate(images):
        # Adding 0 makes +0 of −0, which are the same picture and not the same bytes.
        keys = [(torch.rot90(picture, q, (-2, -1)) + 0).contiguous().numpy().tobytes() for q in range(4)]
        for q, key in enumerate(keys):
            if key not in point:
                point[key] = len(point)
                image.append(i)
                quarters.append(q)
        of_turns.append([point[key] for key in keys])
    moves = np.empty((4, len(point)), dtype=np.int64)
    for numbers in of_turns:
        for g, q in itertools.product(range(4), range(4)):
            moves[g, numbers[q]] = numbers[(q + g) % 4]
    return moves, np.array(image), np.array(quarters)


def hom_table(category: FinCat, names: Sequence[str] | None = None) -> PretextTable:
    """``|Hom(X, Y)|``, ``(n_obj, n_obj)``, of a finite category as a table of counts; rows are where arrows start.

    Raises: ShapeError for a category without objects.
    """
    shown = tuple(map(str, category.objects)) if names is None else tuple(names)
    return PretextTable.of_counts(torch.from_numpy(category.hom_count.copy()), shown, shown)


@dataclass(frozen=True, eq=False, repr=False)
class Masks(Brief):
    """The pretext task of filling in what a mask hides.

    Attributes:
        table: how often each visible part (rows; hidden places are ``_``) was completed to each object (columns), over
            all objects and masks.
        category: the order in which a visible part lies below each object that completes it: one arrow
            ``visible → object`` wherever the table is not 0. Visible parts come first, then objects.
    """

    table: PretextTable
    category: FinCat


def masked_completions(sequences: Sequence[Sequence[Hashable]], hidden: int = 1) -> Masks:
    """The :class:`Masks` of sequences of one length, each with every choice of ``hidden`` places masked.

    ``Hom(X, Y)`` relates the visible part ``X``, which says where the mask is, to the completed object ``Y``.

    Args: ``sequences``: texts, or lists of symbols, one after the other and with repetitions, which are counted.
    Raises: ShapeError for none, or sequences of different lengths; ConfigError for a number of hidden places that is
    not from 1 to the length; DataError where the tables do not fit into memory.
    """
    objects = [tuple(sequence) for sequence in sequences]
    lengths = sorted({len(sequence) for sequence in objects})
    if len(lengths) != 1 or lengths[0] == 0:
        raise ShapeError(f"masks need sequences of one length, 1 or more; got {len(objects)} of the lengths {lengths}")
    length = lengths[0]
    if not isinstance(hidden, int) or isinstance(hidden, bool) or not 1 <= hidden <= length:
        raise ConfigError(f"hidden is a number of places from 1 to {length}; got {hidden!r}")
    pairs = []
    for places in itertools.combinations(range(length), hidden):
        shown = [place not in places for place in range(length)]
        # A symbol stands in a tuple of its own, so that no symbol is taken for the mask.
        pairs += [
            (tuple((s,) if seen else () for s, seen in zip(whole, shown, strict=True)), whole) for whole in objects
        ]
    table = _counted(pairs, lambda visible: "".join(str(s[0]) if s else "_" for s in visible), _joined_text)
    n, m = table.values.shape
    leq = np.eye(n + m, dtype=bool)
    leq[:n, n:] = table.values.numpy() > 0
    return Masks(table, from_poset(leq, f"completions of {n} visible parts"))


def next_tokens(text: str, level: Level = "characters", order: int = 1) -> PretextTable:
    """How often each token (columns) followed each ``order`` tokens before it (rows) in a text: a table of counts.

    ``.to("log_prob", smoothing=1)`` makes ``log P(next | before)`` of it by Laplace's rule, and ``.to("pmi", …)`` the
    pointwise mutual information.

    Args: ``level``: ``characters``, as they stand, or ``words`` between white space; ``order``: how many tokens back.
    Raises: DataError for a text of fewer than ``order + 1`` tokens, or a table that does not fit into memory.
    """
    if not isinstance(text, str):
        raise DataError(f"next_tokens takes a text; got {type(text).__name__}")
    if level not in get_args(Level):
        raise ConfigError(f"level is 'characters' or 'words'; got {level!r}")
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise ConfigError(f"order is a number of tokens, 1 or more; got {order!r}")
    tokens = list(text) if level == "characters" else text.split()
    if len(tokens) <= order:
        raise DataError(f"a text of at least {order + 1} {level} is needed; got {len(tokens)}")
    space = "" if level == "characters" else " "
    pairs = [(tuple(tokens[i : i + order]), tokens[i + order]) for i in range(len(tokens) - order)]
    return _counted(pairs, space.join, str)


def positive_pairs(context: Context, between: Literal["contexts", "points"] = "contexts") -> PretextTable:
    """The density ratio of the positive pairs of a contrastive task, by the marginals of both.

    ``contexts``: of a point and its context, ``P(x, a) / (P(x) P(a))``, ``(n, m)``; values of ``A`` that never occur
    are left out. ``points``: of two points with one context, ``P(x, x') / (P(x) P(x'))``, ``(n, n)``, the dual kernel,
    whose singular values are the squares of the others.

    Raises: ConfigError for ``contexts`` of a context that is known by its kernel only; DataError where the table does
    not fit into memory.
    """
    if between not in ("contexts", "points"):
        raise ConfigError(f"between is 'contexts' or 'points'; got {between!r}")
    points = tuple(f"x{i}" for i in range(context.n))
    if between == "points":
        return PretextTable(points, points, context.dual_kernel(), "density_ratio", (context.weights,) * 2)
    conditional = torch.from_numpy(
        np.asarray(dense(context.needs_conditional("the pairs of points and contexts"), context.name))
    )
    marginal = context.marginal if isinstance(context, TableContext) else context.weights @ conditional
    kept = marginal > 0
    names = tuple(f"a{i}" for i in kept.nonzero().flatten().tolist())
    ratio = conditional[:, kept] / marginal[kept]
    return PretextTable(points, names, ratio, "density_ratio", (context.weights, marginal[kept]))


def _counted(
    pairs: list[tuple[Any, Any]], of_row: Callable[[Any], str], of_column: Callable[[Any], str]
) -> PretextTable:
    """The counts of pairs, rows and columns in the order in which they are first met.

    Args: ``of_row``, ``of_column``: the names of both for the table.
    """
    rows: dict[Any, int] = {}
    columns: dict[Any, int] = {}
    places = [(rows.setdefault(x, len(rows)), columns.setdefault(y, len(columns))) for x, y in pairs]
    refuse_if_larger(
        64.0 * len(rows) * len(columns), f"a table of {len(rows)} by {len(columns)} objects", advice="give less text"
    )
    counts = np.zeros((len(rows), len(columns)))
    np.add.at(counts, tuple(np.array(places).T), 1.0)
    return PretextTable.of_counts(torch.from_numpy(counts), tuple(map(of_row, rows)), tuple(map(of_column, columns)))


def _joined_text(sequence: tuple[Hashable, ...]) -> str:
    """A sequence of symbols as one text."""
    return "".join(map(str, sequence))
