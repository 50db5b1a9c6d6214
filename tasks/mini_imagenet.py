"""MiniImagenet in the layout that papers share: a folder of images, and a table of labels for each split.

The images cannot be fetched from here (ImageNet's licence); whoever has them, has them in this layout. The reader is
tested on generated images alone.

Source: Vinyals et al., arXiv:1606.04080; the splits of 64, 16 and 20 classes: Ravi and Larochelle, *Optimization as a
model for few-shot learning*, ICLR 2017.
"""

import csv
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from msr.errors import DataError
from msr.memory import refuse_if_larger
from msr.printable import printable
from tasks.images import ImageSet
from tasks.pictures import pixels

__all__ = ["read_mini_imagenet"]

SIDE = 84
"""Height and width of an image, as in the few-shot literature."""


def read_mini_imagenet(folder: Path, split: Literal["train", "val", "test"]) -> ImageSet:
    """The images of a split, by class, in colour: ``(classes, images, 3, 84, 84)`` uint8.

    The folder holds ``images/`` and ``train.csv``, ``val.csv``, ``test.csv``, each a table with the columns
    ``filename`` and ``label``. Of each class as many images are taken as the rarest has, in the order of the table, and
    a warning says so where others have more. An image that is not square is stretched to a square.
    Nothing is kept on the disk: 38,400 images take a minute or two to decode.

    Raises: DataError for a table that is missing or has other columns, an image that is missing or damaged, or more
    images than fit into memory.
    """
    table = Path(folder) / f"{split}.csv"
    classes = _table(table)
    each = min(map(len, classes.values()))
    most = max(map(len, classes.values()))
    if each < most:
        rarest = min(classes, key=lambda label: len(classes[label]))
        warnings.warn(
            f"{table}: class {printable(rarest)} has {each} images and others up to {most}; {each} of each are taken",
            stacklevel=2,
        )
    n_bytes = len(classes) * each * 3 * SIDE**2
    refuse_if_larger(n_bytes, f"the images of {table}", advice="leave classes out of the table", error=DataError)
    images = np.empty((len(classes), each, 3, SIDE, SIDE), np.uint8)
    for number, names in enumerate(classes.values()):
        for place, name in enumerate(names[:each]):
            images[number, place] = _image(Path(folder) / "images" / name)
    return ImageSet(torch.from_numpy(images), tuple(classes))


def _table(path: Path) -> dict[str, list[str]]:
    """The file names of each class, in the order of the table. Raises: DataError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}); the folder must hold images/ and train.csv, val.csv and "
            "test.csv with the columns filename and label"
        ) from error
    classes: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        name, label = row.get("filename"), row.get("label")
        if not name or not label:
            raise DataError(f"{path}, line {number}: the columns filename and label must both be filled")
        if Path(name).name != name:
            raise DataError(f"{path}, line {number}: {printable(name)} must be the name of a file in images/, no path")
        if name in seen:
            raise DataError(f"{path}, line {number}: {printable(name)} is listed before; an image has one place")
        seen.add(name)
        classes.setdefault(label, []).append(name)
    if not classes:
        raise DataError(f"{path} lists no image")
    return classes


def _image(path: Path) -> np.ndarray:
    """An image file in colour, ``(3, 84, 84)`` uint8. Raises: DataError."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{printable(path)} cannot be read ({reason}), and the table lists it") from error
    return pixels(data, str(path), side=SIDE, colours="RGB", remedy="get it again").transpose(2, 0, 1)
