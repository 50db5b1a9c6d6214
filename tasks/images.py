"""Few-shot image tasks: N-way K-shot episodes from Omniglot's own zip files, or from scikit-learn's digits.

The query images can be augmented while the support images are not, as in the paper's Aug-Omniglot: a learner that
adapts on plain images and is judged on turned and flipped ones has to be invariant by itself.

Source: Lake et al., *Human-level concept learning through probabilistic program induction*, Science 2015 (the images,
MIT licence); augmentation: arXiv:2007.02933, appendix D.3.
"""

import hashlib
import importlib
import io
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from msr.arrays import takes_arrays
from msr.episodes import Episodes
from msr.errors import ConfigError, DataError, MissingExtraError, MSRError, ShapeError, first_line
from msr.files.archives import ZipMembers, read_npz
from msr.files.writing import write_whole
from msr.printable import printable
from msr.tasks.base import Split, TaskFamily, check_indices, generator_for

__all__ = ["ImageSet", "ImageTasks", "augment", "digits", "download_omniglot", "read_omniglot"]

SIDE = 28
"""Height and width of an image, as in the few-shot literature."""
OMNIGLOT_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
OMNIGLOT_SHA256 = {
    "images_background.zip": "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    "images_evaluation.zip": "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
}
_SUFFIXES = (".png", ".jpg", ".jpeg")
# Most pixels of an image each way, so that a small file cannot fill the memory; Omniglot's images have 105.
_MOST_PIXELS = 4096
# For error messages on a zip file: what it should be, and what to do.
_KIND = "a whole zip file of images"
_REMEDY = "get it again"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images by class: ``images (classes, images, side, side)`` uint8, strokes bright; ``names`` of the classes."""

    images: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or len(self.images) != len(self.names):
            raise ShapeError(
                f"images must be (classes, images, side, side) with one name for each class; got "
                f"{tuple(self.images.shape)} and {len(self.names)} names"
            )

    def without_groups_of(self, other: "ImageSet") -> "ImageSet":
        """The images of those classes whose group (the name before ``/``, an alphabet) does not appear in ``other``.

        Raises: DataError where that leaves no class.
        """
        taken = {name.split("/")[0] for name in other.names}
        keep = [i for i, name in enumerate(self.names) if name.split("/")[0] not in taken]
        if not keep:
            raise DataError(f"every group of the test images is in the training images too: {', '.join(sorted(taken))}")
        return ImageSet(self.images[keep], tuple(self.names[i] for i in keep))

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups (the parts of class names before ``/``, alphabets), each once, sorted."""
        return tuple(sorted({name.split("/")[0] for name in self.names}))


@dataclass(frozen=True, eq=False)
class ImageTasks(TaskFamily):
    """N-way K-shot episodes: ``ways`` classes, ``shots`` support and ``queries`` query images of each.

    Shapes: ``x (tasks, ways · shots, 1, side, side)`` in [0, 1], ``y (tasks, ways · shots)`` int64 in 0 … ways − 1;
    queries likewise. With ``augmented`` the query images go through :func:`augment`. ``train`` and ``test`` are the
    images of the two splits, and ``n_train`` and ``n_test`` how many tasks each has (None: no end).
    """

    train: ImageSet
    test: ImageSet
    ways: int = 5
    shots: int = 1
    queries: int = 15
    augmented: bool = True
    n_train: int | None = None
    n_test: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("ways", "shots", "queries"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}")
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
        chosen = []
        numbers = []
        for index in tasks.tolist():
            generator = generator_for(self.seed, split, index)
            classes = torch.randperm(len(source.images), generator=generator)[: self.ways]
            order = torch.rand(self.ways, source.images.shape[1], generator=generator).argsort(dim=1)[:, :each]
            chosen.append(source.images[classes[:, None], order])
            numbers.append(torch.rand(self.ways * self.queries, _N_RANDOM, generator=generator))
        x = torch.stack(chosen).float() / 255  # (tasks, ways, each, side, side)
        y = torch.arange(self.ways).expand(len(tasks), -1)
        support, query = (part.flatten(1, 2).unsqueeze(2) for part in x.split([self.shots, self.queries], dim=2))
        if self.augmented:
            query = augment(query.flatten(0, 1), torch.cat(numbers)).unflatten(0, (len(tasks), -1))
        return Episodes(
            support, y.repeat_interleave(self.shots, dim=1), query, y.repeat_interleave(self.queries, dim=1)
        )

    def _set(self, split: str) -> ImageSet:
        """The images of a split."""
        return self.train if split == "train" else self.test


# Random numbers that decide how one image is augmented.
_N_RANDOM = 7


@takes_arrays("images", "uniform")
def augment(images: Tensor, uniform: Tensor) -> Tensor:
    """Images after a random resized crop, random flips and a random rotation, as one bilinear resampling.

    Each image gets a crop of area 0.8 to 1 and aspect ratio 3/4 to 4/3 stretched to the full side, a horizontal and a
    vertical flip with probability one half each, and a rotation within ±30°. Outside the image is black.

    Shapes: ``images (n, 1, side, side)``; ``uniform (n, 7)``, numbers in [0, 1) that decide everything.
    """
    if uniform.shape != (len(images), _N_RANDOM):
        raise ShapeError(f"augment: uniform must be {(len(images), _N_RANDOM)}; got {tuple(uniform.shape)}")
    area, ratio, right, down, across, along, turn = uniform.to(images).unbind(1)
    area = 0.8 + 0.2 * area
    ratio = torch.exp((2 * ratio - 1) * math.log(4 / 3))
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    angle = (2 * turn - 1) * math.pi / 6
    flip_x = torch.where(across < 0.5, 1.0, -1.0)
    flip_y = torch.where(along < 0.5, 1.0, -1.0)
    # A point of the result, in [-1, 1]², is flipped, turned, then placed inside the crop of the source.
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([width * cos * flip_x, -width * sin * flip_y, (2 * right - 1) * (1 - width)], dim=1),
            torch.stack([height * sin * flip_x, height * cos * flip_y, (2 * down - 1) * (1 - height)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def read_omniglot(path: Path, *, cache: Path | None = None) -> ImageSet:
    """The images of one of Omniglot's zip files, as ``alphabet/character`` classes, resized to 28 × 28.

    ``.png``, ``.jpg`` and ``.jpeg`` are read, in letters of either size; files that a Mac adds to a zip are ignored.
    The decoded array is kept in ``cache`` (by default the user's cache folder) under the zip file's hash, so that
    decoding happens once; one that is damaged, or of another zip, is made again.
    Raises: DataError if the file is missing, damaged or holds no ``alphabet/character/*.png``; it names the entry.
    """
    path = Path(path)
    pillow = _need("PIL.Image", "images")
    with ZipMembers(path, _KIND, _REMEDY) as members:
        digest = members.sha256()
        folder = cache if cache is not None else Path(_need("pooch", "images").os_cache("msr"))
        kept = folder / f"omniglot-{digest[:16]}-{SIDE}.npz"
        images = _kept(kept, digest)
        if images is not None:
            return images
        images = _decode(members, pillow)
    try:
        _keep(kept, images, digest)
    except OSError as error:
        warnings.warn(f"the decoded images could not be kept in {folder} ({error.strerror})", stacklevel=2)
    return images


def _decode(members: ZipMembers, pillow: ModuleType) -> ImageSet:
    """The images of a zip file by class, decoded and resized.

    ``pillow`` is the module ``PIL.Image``. Raises: DataError for a file without images in ``alphabet/character``
    folders, an image that is damaged or too large, or classes with unequal numbers of images.
    """
    path = members.path
    classes: dict[str, list[np.ndarray]] = {}
    for entry in sorted(members.names):
        parts = entry.split("/")
        added_by_a_mac = "__MACOSX" in parts or parts[-1].startswith("._")
        if entry.lower().endswith(_SUFFIXES) and len(parts) >= 3 and not added_by_a_mac:
            classes.setdefault("/".join(parts[-3:-1]), []).append(_pixels(members, entry, pillow))
    if not classes:
        raise DataError(f"{path} holds no alphabet/character/*.png; is it one of Omniglot's image files?")
    counts = {name: len(images) for name, images in classes.items()}
    if len(set(counts.values())) > 1:
        fewest = min(counts, key=lambda name: counts[name])
        raise DataError(f"{path}: class {fewest} has {counts[fewest]} images, others have {max(counts.values())}")
    stacked = np.stack([np.stack(images) for images in classes.values()])
    return ImageSet(torch.from_numpy(stacked), tuple(classes))


def _pixels(members: ZipMembers, entry: str, pillow: ModuleType) -> np.ndarray:
    """An entry's image, resized to ``(28, 28)``, uint8 with strokes bright.

    ``pillow`` is the module ``PIL.Image``. Raises: DataError for what is no whole PNG or JPEG, or is too large.
    """
    data = members.content(entry)
    what = f"{members.path}: entry '{printable(entry)}'"
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; their size is checked below.
            warnings.simplefilter("ignore")
            # Some of the formats that Pillow knows start other programs, so no more than these two are read.
            with pillow.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                if max(image.size) > _MOST_PIXELS:
                    raise DataError(
                        f"{what} is an image of {image.width} × {image.height} pixels, and at most {_MOST_PIXELS} each "
                        "way are read; make it smaller, or leave it out"
                    )
                small = image.convert("L").resize((SIDE, SIDE), pillow.Resampling.BILINEAR)
    except MSRError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged images
        raise DataError(f"{what} is damaged or no image ({_reason(error)}); {_REMEDY}") from error
    # Omniglot has dark strokes on white; strokes are to be bright.
    return 255 - np.asarray(small)


def _reason(error: Exception) -> str:
    """Why Pillow failed, in one line of at most 120 characters.

    Its message about an unknown format is replaced, since it names a stream that would tell a reader nothing.
    """
    line = first_line(error)
    return "its format is not PNG or JPEG" if "cannot identify" in line else line[:120]


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
    pooch = _need("pooch", "images")
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


def digits() -> tuple[ImageSet, ImageSet]:
    """Scikit-learn's handwritten digits, 0 to 4 for training and 5 to 9 for testing, enlarged to 28 × 28.

    Returns the training and the test images, with as many of each digit as the rarest has. They come with the library,
    so a runner works without a download; they have far too few classes for a result.
    """
    data = _need("sklearn.datasets", "images").load_digits()
    each = int(np.bincount(data.target).min())
    small = np.stack([data.images[data.target == digit][:each] for digit in range(10)]) / 16
    large = F.interpolate(torch.from_numpy(small).float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images = (255 * large).round().to(torch.uint8)
    names = [f"digit {d}" for d in range(10)]
    return ImageSet(images[:5], tuple(names[:5])), ImageSet(images[5:], tuple(names[5:]))


def _need(module: str, extra: str) -> ModuleType:
    """An optional module, imported. Raises: MissingExtraError, where it is absent, naming ``extra`` to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A library that is installed but lacks a module of its own is broken, and installing it again is no remedy.
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(f"{module.split('.')[0]} is needed here. Try: pip install 'msr[{extra}]'") from None
