"""Picture files as arrays, by a decoder that trusts no file; optional libraries by name."""

import importlib
import io
import warnings
from types import ModuleType
from typing import Literal

import numpy as np

from msr.errors import DataError, MissingExtraError, MSRError, first_line

__all__ = ["needed", "pixels"]

# Most pixels of an image each way, so that a small file cannot fill the memory; Omniglot's images have 105.
_MOST_PIXELS = 4096


def pixels(data: bytes, what: str, *, side: int, colours: Literal["L", "RGB"], remedy: str) -> np.ndarray:
    """The image in a PNG or JPEG file's bytes, resized, uint8: ``(side, side)`` in grey, ``(side, side, 3)`` in colour.

    Args:
        what: names the file in messages.
        colours: ``"L"`` for grey, ``"RGB"`` for colour.
        remedy: what to do about a damaged file, the end of the message.

    Raises: DataError for what is no whole PNG or JPEG, or is too large; MissingExtraError without pillow.
    """
    pillow = needed("PIL.Image", "images")
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
                if image.mode.startswith("I"):
                    raise DataError(f"{what} has more than 8 bits a pixel, which would turn white; make it 8 bits")
                small = image.convert(colours).resize((side, side), pillow.Resampling.BILINEAR)
    except MSRError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged images
        raise DataError(f"{what} is damaged or no image ({_reason(error)}); {remedy}") from error
    return np.asarray(small)


def _reason(error: Exception) -> str:
    """Why Pillow failed, in one line of at most 120 characters.

    Its message about an unknown format is replaced, since it names a stream that would tell a reader nothing.
    """
    line = first_line(error)
    return "its format is not PNG or JPEG" if "cannot identify" in line else line[:120]


def needed(module: str, extra: str) -> ModuleType:
    """An optional module, imported. Raises: MissingExtraError, where it is absent, naming ``extra`` to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A library that is installed but lacks a module of its own is broken, and installing it again is no remedy.
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(f"{module.split('.')[0]} is needed here. Try: pip install 'msr[{extra}]'") from None
