"""Few-shot image tasks: images by class, N-way K-shot episodes from them, and scikit-learn's digits as a stand-in.

The query images can be augmented while the support images are not, as in the paper's Aug-Omniglot: a learner that
adapts on plain images and is judged on turned and flipped ones has to be invariant by itself.

Source: arXiv:2007.02933, section 6 and appendix D.3.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError, ShapeError
from msr.tasks.base import Split, TaskFamily, check_indices, generator_for
from tasks.augmentation import N_RANDOM, Augmentation, augmented
from tasks.pictures import needed

__all__ = ["ImageSet", "ImageTasks", "digits"]

SIDE = 28
"""Height and width of an image of a character or digit, as in the few-shot literature."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images by class: ``images (classes, images, side, side)`` uint8, in colour ``(classes, images, channels, side,
    side)``; ``names`` of the classes. Characters and digits have bright strokes.
    """

    images: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8:
            raise DataError(f"images must be uint8, from 0 to 255; got {self.images.dtype}")
        if self.images.ndim not in (4, 5) or len(self.images) != len(self.names):
            raise ShapeError(
                "images must be (classes, images, side, side), or with channels before the sides, with one name for "
                f"each class; got {tuple(self.images.shape)} and {len(self.names)} names"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image as a network gets it, ``(channels, side, side)``."""
        channels, height, width = (1, *self.images.shape[2:])[-3:]
        return channels, height, width

    def only_groups(self, groups: Collection[str]) -> "ImageSet":
        """The images of the classes of these groups alone. Raises: DataError for a group that is not there."""
        missing = sorted(set(groups) - set(self.groups))
        if missing:
            raise DataError(f"the images have no group {', '.join(missing)}; there are {', '.join(self.groups)}")
        keep = [i for i, name in enumerate(self.names) if name.split("/")[0] in groups]
        return ImageSet(self.images[keep], tuple(self.names[i] for i in keep))

    def without_groups_of(self, other: "ImageSet") -> "ImageSet":
        """The images of those classes whose group (the name before ``/``, an alphabet) does not appear in ``other``.

        Raises: DataError where that leaves no class.
        """
        taken = {name.split("/")[0] for name in other.names}
        keep = [i for i, name in enumerate(self.names) if name.split("/")[0] not in taken]
        if not keep:
            raise DataError(f"every group of the test images is in the training images too: {', '.join(sorted(taken))}")
        return ImageSet(self.images[keep], tuple(self.names[i] for i in keep))

    def padded_to(self, multiple: int) -> "ImageSet":
        """The images between rows and columns of zeros (black), as few as make each side a multiple of this number.

        An odd number of them has one more on the right, and at the bottom.
        """
        down, across = (-side % multiple for side in self.image_shape[1:])
        frame = (across // 2, across - across // 2, down // 2, down - down // 2)
        return ImageSet(F.pad(self.images, frame), self.names)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups (the parts of class names before ``/``, alphabets), each once, sorted."""
        return tuple(sorted({name.split("/")[0] for name in self.names}))


@dataclass(frozen=True, eq=False)
class ImageTasks(TaskFamily):
    """N-way K-shot episodes: ``ways`` classes, ``shots`` support and ``queries`` query images of each.

    Shapes: ``x (tasks, ways · shots, channels, side, side)`` in [0, 1], ``y (tasks, ways · shots)`` int64 in
    0 … ways − 1; queries likewise. ``train`` and ``test`` are the images of the two splits, and ``n_train`` and
    ``n_test`` how many tasks each has (None: no end). ``support`` and ``query`` say how the images of each part are
    augmented (:mod:`tasks.augmentation`), each image by numbers of its own; which images a task holds does not
    depend on that.
    """

    train: ImageSet
    test: ImageSet
    ways: int = 5
    shots: int = 1
    queries: int = 15
    support: Augmentation = "none"
    query: Augmentation = "crop"
    n_train: int | None = None
    n_test: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("ways", "shots", "queries"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("support", "query"):
            if getattr(self, name) not in get_args(Augmentation):
                raise ConfigError(f"{name} must be {' or '.join(get_args(Augmentation))}; got {getattr(self, name)!r}")
        if self.train.image_shape != self.test.image_shape:
            raise ConfigError(
                f"the images of the two splits differ in shape: {self.train.image_shape} and {self.test.image_shape}"
            )
        for split in ("train", "test"):
            classes, images = self._set(split).images.shape[:2]
            if self.ways > classes:
                raise ConfigError(f"{self.ways} ways need as many classes, but the {split} images have {classes}")
            if self.shots + self.queries > images:
                raise ConfigError(
                    f"{self.shots} shots and {self.queries} queries need {self.shots + self.queries} images a class, "
                    f"but the {split} classes have {images}"
                )

    def n_tasks(self, split: Split) -> int | None:
        """How many tasks the split has; None where it has no end."""
        return self.n_train if split == "train" else self.n_test

    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The tasks with these indices, in the shapes of the class."""
        check_indices(split, tasks, self.n_tasks(split))
        source = self._set(split)
        each = self.shots + self.queries
        counts = {"support": self.ways * self.shots, "query": self.ways * self.queries}
        chosen = []
        numbers: dict[str, list[Tensor]] = {name: [] for name in counts}
        for index in tasks.tolist():
            generator = generator_for(self.seed, split, index)
            classes = torch.randperm(len(source.images), generator=generator)[: self.ways]
            order = torch.rand(self.ways, source.images.shape[1], generator=generator).argsort(dim=1)[:, :each]
            chosen.append(source.images[classes[:, None], order])
            # Those of the query images come first, so that a task without augmented support is what it always was.
            for name in ("query", "support"):
                numbers[name].append(torch.rand(counts[name], N_RANDOM, generator=generator))
        x = torch.stack(chosen).float() / 255  # (tasks, ways, each, ...)
        x = x.unflatten(2, (each, 1)) if x.ndim == 5 else x  # (tasks, ways, each, channels, side, side)
        y = torch.arange(self.ways).expand(len(tasks), -1)
        parts = {}
        for name, part in zip(counts, x.split([self.shots, self.queries], dim=2), strict=True):
            images = part.flatten(0, 2)
            images = augmented(images, torch.cat(numbers[name]), getattr(self, name))
            parts[name] = images.unflatten(0, (len(tasks), -1))
        return Episodes(
            parts["support"],
            y.repeat_interleave(self.shots, dim=1),
            parts["query"],
            y.repeat_interleave(self.queries, dim=1),
        )

    def _set(self, split: str) -> ImageSet:
        """The images of a split."""
        return self.train if split == "train" else self.test


def digits() -> tuple[ImageSet, ImageSet]:
    """Scikit-learn's handwritten digits, 0 to 4 for training and 5 to 9 for testing, enlarged to 28 × 28.

    Returns the training and the test images, with as many of each digit as the rarest has. They come with the library,
    so a runner works without a download; they have far too few classes for a result.
    """
    data = needed("sklearn.datasets", "images").load_digits()
    each = int(np.bincount(data.target).min())
    small = np.stack([data.images[data.target == digit][:each] for digit in range(10)]) / 16
    large = F.interpolate(torch.from_numpy(small).float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images = (255 * large).round().to(torch.uint8)
    names = [f"digit {d}" for d in range(10)]
    return ImageSet(images[:5], tuple(names[:5])), ImageSet(images[5:], tuple(names[5:]))
