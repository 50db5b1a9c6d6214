"""Omniglot: its own zip files, at hand or fetched, and its 20 published one-shot runs.

Source: Lake et al., *Human-level concept learning through probabilistic program induction*, Science 2015 (the images,
MIT licence).
"""

import hashlib
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from msr.episodes import Episodes
from msr.errors import DataError, MSRError
from msr.files.archives import ZipMembers, read_npz
from msr.files.writing import write_whole
from msr.printable import printable
from tasks.images import SIDE, ImageSet
from tasks.pictures import needed, pixels

__all__ = ["download_omniglot", "read_omniglot", "read_one_shot_runs"]

OMNIGLOT_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
OMNIGLOT_SHA256 = {
    "images_background.zip": "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    "images_evaluation.zip": "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
}
_SUFFIXES = (".png", ".jpg", ".jpeg")
# For error messages on a zip file: what it should be, and what to do.
_KIND = "a whole zip file of images"
_REMEDY = "get it again"


def read_omniglot(path: Path, *, cache: Path | None = None) -> ImageSet:
    """The images of one of Omniglot's zip files, as ``alphabet/character`` classes, resized to 28 × 28.

    ``.png``, ``.jpg`` and ``.jpeg`` are read, in letters of either size; files that a Mac adds to a zip are ignored.
    The decoded array is kept in ``cache`` (by default the user's cache folder) under the zip file's hash, so that
    decoding happens once; one that is damaged, or of another zip, is made again.
    Raises: DataError if the file is missing, damaged or holds no ``alphabet/character/*.png``; it names the entry.
    """
    path = Path(path)
    with ZipMembers(path, _KIND, _REMEDY) as members:
        digest = members.sha256()
        folder = cache if cache is not None else Path(needed("pooch", "images").os_cache("msr"))
        kept = folder / f"omniglot-{digest[:16]}-{SIDE}.npz"
        images = _kept(kept, digest)
        if images is not None:
            return images
        images = _decode(members)
    try:
        _keep(kept, images, digest)
    except OSError as error:
        warnings.warn(f"the decoded images could not be kept in {folder} ({error.strerror})", stacklevel=2)
    return images


def _decode(members: ZipMembers) -> ImageSet:
    """The images of a zip file by class, decoded and resized.

    Raises: DataError for a file without images in ``alphabet/character``
    folders, an image that is damaged or too large, or classes with unequal numbers of images.
    """
    path = members.path
    classes: dict[str, list[np.ndarray]] = {}
    for entry in sorted(members.names):
        parts = entry.split("/")
        added_by_a_mac = "__MACOSX" in parts or parts[-1].startswith("._")
        if entry.lower().endswith(_SUFFIXES) and len(parts) >= 3 and not added_by_a_mac:
            classes.setdefault("/".join(parts[-3:-1]), []).append(_strokes(members, entry))
    if not classes:
        raise DataError(f"{path} holds no alphabet/character/*.png; is it one of Omniglot's image files?")
    counts = {name: len(images) for name, images in classes.items()}
    if len(set(counts.values())) > 1:
        fewest = min(counts, key=lambda name: counts[name])
        raise DataError(f"{path}: class {fewest} has {counts[fewest]} images, others have {max(counts.values())}")
    stacked = np.stack([np.stack(images) for images in classes.values()])
    return ImageSet(torch.from_numpy(stacked), tuple(classes))


def _strokes(members: ZipMembers, entry: str) -> np.ndarray:
    """An entry's image, resized to ``(28, 28)``, uint8 with strokes bright, which in the file are dark on white.

    Raises: DataError for what is no whole PNG or JPEG, or is too large.
    """
    what = f"{members.path}: entry '{printable(entry)}'"
    return 255 - pixels(members.content(entry), what, side=SIDE, colours="L", remedy=_REMEDY)


def read_one_shot_runs(path: Path) -> Episodes:
    """The published one-shot runs: in each, 20 characters of one alphabet, one image to learn from and one to name.

    The file is ``all_runs.zip`` of Omniglot's authors, on which people and models were compared. Support and query
    images were drawn by different people.

    Shapes: ``x (runs, 20, 1, 28, 28)`` in [0, 1], ``y (runs, 20)`` int64, the number of the class in the run.
    Raises: DataError where the file is missing or damaged, or a run lacks an image or its list of right answers.
    """
    with ZipMembers(Path(path), "a whole zip file of one-shot runs", _REMEDY) as members:
        # Names within a run begin with the run's own; a zip of the whole folder has a part before that.
        lists = sorted(entry for entry in members.names if entry.endswith("/class_labels.txt"))
        runs = [entry.removesuffix("class_labels.txt") for entry in lists if "__MACOSX" not in entry]
        if not runs:
            raise DataError(f"{path} holds no run01/class_labels.txt; is it Omniglot's all_runs.zip?")
        tasks = [_one_shot_run(members, run) for run in runs]
    sizes = {len(support) for support, *_ in tasks}
    if len(sizes) > 1:
        raise DataError(f"{path}: runs have {min(sizes)} to {max(sizes)} classes, and all must have as many")
    support, query, answers = (torch.stack(part) for part in zip(*tasks, strict=True))
    classes = torch.arange(support.shape[1]).expand(len(tasks), -1)
    return Episodes(support, classes, query, answers)


def _one_shot_run(members: ZipMembers, run: str) -> tuple[Tensor, Tensor, Tensor]:
    """The run in this folder of the zip: support images ``(classes, 1, 28, 28)``, query images of the same shape, and
    the class of each of these.

    Raises: DataError for a list of answers that does not name one training image of its own for each test image.
    """
    what = f"{members.path}: entry '{printable(run)}class_labels.txt'"
    lines = members.content(f"{run}class_labels.txt").decode("ascii", "replace").split("\n")
    before = "".join(f"{part}/" for part in run.split("/")[:-2])
    pairs = [[before + name for name in line.split()] for line in lines if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise DataError(f"{what} must hold two file names a line, a test image and a training image; {_REMEDY}")
    training = sorted({pair[1] for pair in pairs})
    if len(training) < len(pairs):
        raise DataError(
            f"{what} names a training image twice, and every test image must have one of its own; {_REMEDY}"
        )
    missing = sorted({name for pair in pairs for name in pair} - set(members.names))
    if missing:
        raise DataError(f"{what} names {printable(missing[0])}, which the file does not hold; {_REMEDY}")

    def images(names: list[str]) -> Tensor:
        """The images of these entries, ``(images, 1, 28, 28)`` in [0, 1]."""
        return torch.from_numpy(np.stack([_strokes(members, name) for name in names])).unsqueeze(1).float() / 255

    answers = torch.tensor([training.index(name) for _, name in pairs])
    return images(training), images([name for name, _ in pairs]), answers


def _kept(path: Path, source: str) -> ImageSet | None:
    """The images in a cache file; None where it is not there, is damaged, or is not of the zip with hash ``source``."""
    try:
        data = read_npz(path, ("images", "names", "source", "content"))
        pixels = data["images"]
        names = tuple(data["names"].tolist())
        if (str(data["source"]), str(data["content"])) != (source, _content(pixels, names)):
            return None
        if pixels.dtype == np.uint8 and pixels.shape[2:] == (SIDE, SIDE) and all(isinstance(n, str) for n in names):
            return ImageSet(torch.from_numpy(pixels), names)
    except (MSRError, KeyError, TypeError, ValueError):
        pass  # the file is missing, damaged or of an older format: it is made again from its source
    return None


def _keep(path: Path, images: ImageSet, source: str) -> None:
    """Write decoded images to a cache file, with ``source``, the hash of their zip, and a hash of themselves.

    The folder is made where there is none. Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = images.images.numpy()
    content = _content(pixels, images.names)
    arrays = {
        "images": pixels,
        "names": np.array(images.names),
        "source": np.array(source),
        "content": np.array(content),
    }
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def _content(images: np.ndarray, names: tuple[str, ...]) -> str:
    """SHA-256 over the shape, dtype, names and pixels of an image set, as hexadecimal digits."""
    digest = hashlib.sha256(repr((images.shape, str(images.dtype), names)).encode())
    digest.update(images.tobytes())
    return digest.hexdigest()


def download_omniglot(folder: Path | None = None, *, url: str = OMNIGLOT_URL) -> tuple[Path, Path]:
    """Fetch Omniglot's full background and evaluation sets (about 15 MB) and check them; the two paths in this order.

    A file that is in the folder already, with the right checksum, is not fetched again.

    Args:
        folder: to put them into; None for the user's cache folder.
        url: the address that the files' names are appended to.

    Raises: DataError when the network or the checksum fails; MissingExtraError without pooch.
    """
    pooch = needed("pooch", "images")
    store = pooch.create(
        path=Path(folder or pooch.os_cache("msr")),
        base_url=url,
        registry={name: f"sha256:{digest}" for name, digest in OMNIGLOT_SHA256.items()},
        retry_if_failed=2,
    )
    log = pooch.get_logger()
    level = log.level
    # The library's messages on a failure would repeat the error that is raised below.
    log.setLevel(logging.CRITICAL)
    try:
        first, second = (Path(store.fetch(name, progressbar=False)) for name in OMNIGLOT_SHA256)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        reason = str(error).splitlines()[0]
        raise DataError(
            f"Omniglot could not be fetched from {url}: {reason}. Fetch it by hand and give its path"
        ) from error
    finally:
        log.setLevel(level)
    return first, second
