"""The images that a few-shot runner trains and tests on, as its flags ask for them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msr.errors import DataError
from tasks.images import ImageSet, digits
from tasks.mini_imagenet import read_mini_imagenet
from tasks.omniglot import download_omniglot, read_omniglot

__all__ = ["Images", "files_of", "load_images"]

SMALL = ("images_background_small1.zip", "images_background_small2.zip")
FULL = ("images_background.zip", "images_evaluation.zip")
MINI_IMAGENET = ("train.csv", "val.csv", "test.csv")


@dataclass(frozen=True)
class Images:
    """Images of classes to train on, and of others to report on.

    ``name`` says what they are, in words; ``stand_in`` that they are digits, on which no result means anything.
    """

    name: str
    train: ImageSet
    test: ImageSet
    stand_in: bool = False


def load_images(folder: str, *, download: bool = False, validate: bool = False) -> Images:
    """The images of a folder, or Omniglot's, fetched into the user's cache, or scikit-learn's digits.

    Args:
        folder: with Omniglot's zip files, or MiniImagenet in its usual layout; empty for digits.
        download: fetch Omniglot's full sets.
        validate: report on classes that are taken out of those to train on, for choosing rates: Omniglot's last
            alphabet, MiniImagenet's validation classes, the last two digits to train on.

    Training and test classes share no alphabet. Raises: DataError where images cannot be fetched or read.
    """
    path = Path(folder)
    if download:
        images = _omniglot(*download_omniglot())
    elif folder and (path / MINI_IMAGENET[0]).is_file():
        return _mini_imagenet(path, "val" if validate else "test")
    elif folder:
        images = _omniglot(*_zips(path))
    else:
        images = Images("scikit-learn digits (a stand-in, no result)", *digits(), stand_in=True)
    return _validation(images) if validate else images


def files_of(folder: str) -> list[Path]:
    """The files of a folder that :func:`load_images` reads, the images of MiniImagenet aside.

    Raises: DataError for a folder that holds none of the sets.
    """
    path = Path(folder)
    if (path / MINI_IMAGENET[0]).is_file():
        return [path / name for name in MINI_IMAGENET if (path / name).is_file()]
    return list(_zips(path))


def _mini_imagenet(folder: Path, split: Literal["val", "test"]) -> Images:
    """MiniImagenet's training classes, and those of another split, which must share none. Raises: DataError."""
    train = read_mini_imagenet(folder, "train")
    test = read_mini_imagenet(folder, split)
    both = sorted(set(train.names) & set(test.names))
    if both:
        raise DataError(f"{folder}: {both[0]} is a class of train.csv and of {split}.csv, which must share none")
    what = "validation classes" if split == "val" else "test classes"
    return Images(f"MiniImagenet in {folder.resolve().name}, {what}", train, test)


def _omniglot(first: Path, second: Path) -> Images:
    """Omniglot's two zip files, the second without the alphabets of the first."""
    train = read_omniglot(first)
    return Images(f"Omniglot, {first.name} and {second.name}", train, read_omniglot(second).without_groups_of(train))


def _validation(images: Images) -> Images:
    """The same with the last group of the training classes to report on; for digits, which are all groups, two."""
    groups = images.train.groups
    held_out = groups[-2:] if images.stand_in else groups[-1:]
    train = images.train.only_groups([group for group in groups if group not in held_out])
    return Images(f"{images.name}; {', '.join(held_out)} held out", train, images.train.only_groups(held_out))


def _zips(folder: Path) -> tuple[Path, Path]:
    """Omniglot's two files in a folder, the full ones if it holds them. Raises: DataError if it holds neither pair."""
    for first, second in (FULL, SMALL):
        if (folder / first).is_file() and (folder / second).is_file():
            return folder / first, folder / second
    raise DataError(
        f"{folder} holds neither {' and '.join(FULL)} nor {' and '.join(SMALL)}, nor MiniImagenet's "
        f"{', '.join(MINI_IMAGENET)}"
    )
