"""Pixels as Pillow or a user has them → pixels as trunkline has them.

Shape legend: `H, W` pixels of a picture, `C` colour channels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from trunkline.arrays.opening import PICTURE_DAMAGE, known_kinds, open_image
from trunkline.errors import DataError, brief
from trunkline.files import is_plain_file, why_unread


def decoded(picture: PIL.Image.Image) -> np.ndarray:
    """A PIL image of any mode, upright → `[H, W]` or `[H, W, 1 to 4]`, of 8 or 16 bits, or float."""
    picture = PIL.ImageOps.exif_transpose(picture)
    if picture.mode == "I":  # how Pillow also opens 16-bit pictures
        return np.array(picture).clip(0, 65535).astype(np.uint16)
    if picture.mode in ("L", "LA", "RGB", "RGBA", "F") or picture.mode.startswith("I;16"):
        return np.array(picture)
    if picture.mode == "1":
        return np.array(picture.convert("L"))
    return np.array(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def read_array(array: np.ndarray) -> np.ndarray:
    """Pixels → `[H, W, 1 or 3]`, uint8, or float32 where there are more than 8 bits.

    Raises:
        DataError: its shape, its type or a value is none of a picture's.
    """
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or array.size == 0:
        raise DataError(f"an array of shape {list(array.shape)} is not a picture; give [height, width, 1 to 4]")
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.itemsize == 2 and array.dtype.kind == "u":
        array = array.astype(np.float32) / np.float32(65535)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype != np.uint8:
        raise DataError(f"an array of {array.dtype} has no known white; give uint8, uint16, or floats from 0 to 1")
    if not np.isfinite(array).all():
        raise DataError("the picture has pixels that are NaN or infinite")
    return np.ascontiguousarray(on_white(array) if array.shape[2] in (2, 4) else array)


def on_white(array: np.ndarray) -> np.ndarray:
    """What lies under the last channel, opacity, in front of white: `[H, W, C + 1]` → `[H, W, C]`."""
    white = np.float32(255 if array.dtype == np.uint8 else 1)
    opacity = array[:, :, -1:] / white
    blended = array[:, :, :-1] * opacity + white * (1 - opacity)
    return blended.round().astype(np.uint8) if array.dtype == np.uint8 else blended


def open_picture(cell: Any, use: Callable[[PIL.Image.Image], Any], *, formats: tuple[str, ...] | None = None) -> Any:
    """What `use` makes of a picture in a file.

    Args:
        cell: a path, or the file's bytes.
        use: called while the file is open.
        formats: that may be, as Pillow names them; by default all that it decodes itself.

    Raises:
        DataError: there is no such file, it is no picture, or it is damaged.
    """
    if not isinstance(cell, (str, Path, io.BytesIO)):
        raise DataError(f"{brief(cell)} is not a picture; give a path, a PIL image or an array")
    name = "the file" if isinstance(cell, io.BytesIO) else cell
    if not isinstance(cell, io.BytesIO) and not is_plain_file(cell):
        raise DataError(why_unread(cell))
    try:
        with open_image(cell, formats) as picture:
            return use(picture)
    except PIL.UnidentifiedImageError:
        known = ", ".join(known_kinds() if formats is None else formats)
        raise DataError(f"{name} is not a picture (or of a format that is none of {known})") from None
    except PICTURE_DAMAGE as error:
        raise DataError(f"{name} cannot be read: {error}") from error
