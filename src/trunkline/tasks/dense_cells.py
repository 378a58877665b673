"""Maps as they lie in files and cells: numbers for every pixel of a picture, or NaN where nothing is known.

Shape legend: `H, W` pixels of the map, `C` channels, 1 or 3.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps

from trunkline.arrays.opening import PICTURE_DAMAGE, open_image
from trunkline.errors import DataError
from trunkline.files import is_plain_file, why_unread

NUMPY = b"\x93NUMPY"  # how an .npy begins
GREY = ("1", "L", "F", "I")


def read_map(cell: Any) -> np.ndarray:
    """Whatever a cell holds, `[H, W, C]` of the file's own type.

    Args:
        cell: a path to, or the bytes of, an `.npy` or a grey or 8-bit RGB picture; a PIL image; an array.

    Raises:
        DataError: it is no map, or is damaged.
    """
    if isinstance(cell, PIL.Image.Image):
        return with_channels(image_values(cell))
    if isinstance(cell, io.BytesIO):
        return read_file(cell, "the map")
    if isinstance(cell, (str, Path)):
        if not is_plain_file(cell):
            raise DataError(why_unread(cell, " as a map"))
        try:
            with open(cell, "rb") as file:
                return read_file(file, str(cell))
        except OSError as error:
            raise DataError(f"{cell} cannot be read as a map: {error}") from error
    try:
        return with_channels(np.asarray(cell))
    except ValueError as error:  # rows of different lengths
        raise DataError(f"this is no map: {error}") from error


def read_file(file: BinaryIO, name: str) -> np.ndarray:
    """The same of an open file. Of an `.npy` nothing that is pickled is loaded."""
    is_array = file.read(len(NUMPY)) == NUMPY
    file.seek(0)
    try:
        if is_array:
            return with_channels(_read_npy(file))
        with open_image(file) as picture:
            return with_channels(image_values(picture))
    except PIL.UnidentifiedImageError:
        raise DataError(f"{name} is neither an .npy nor a picture; save a grey PNG, or use numpy.save") from None
    except DataError:
        raise
    except (*PICTURE_DAMAGE, TokenError) as error:  # the latter of NumPy's header
        raise DataError(f"{name} cannot be read as a map: {error}") from error


def _read_npy(file: BinaryIO) -> np.ndarray:
    """An array whose bytes are all there: no more memory is taken than the file is long."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    start, end = file.tell(), file.seek(0, io.SEEK_END)
    if not kind.hasobject and math.prod(shape) * kind.itemsize > end - start:
        raise ValueError("its header promises more than the file holds")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def image_values(picture: PIL.Image.Image) -> np.ndarray:
    """Levels of a grey or 8-bit RGB image, `[H, W]` or `[H, W, 3]`.

    Raises:
        DataError: its format changes values, or Pillow would.
    """
    if picture.format == "JPEG":
        raise DataError("the map is a JPEG, which changes values; save it as PNG")
    if picture.mode == "RGB" and any(";16" in str(tile) for tile in getattr(picture, "tile", ())):
        raise DataError("the map has three channels of 16 bits, which Pillow cuts to 8; save it with numpy.save")
    if picture.mode != "RGB" and picture.mode not in GREY and not picture.mode.startswith("I;16"):
        raise DataError(f"a picture of mode {picture.mode} holds no plain values; save a grey or an RGB one")
    return np.array(PIL.ImageOps.exif_transpose(picture))


def with_channels(array: np.ndarray) -> np.ndarray:
    """`[H, W]` or `[H, W, C]` of numbers → `[H, W, C]`.

    Raises:
        DataError: its shape or its type is none of a map's.
    """
    shaped = array[:, :, None] if array.ndim == 2 else array
    if shaped.ndim != 3 or shaped.size == 0 or shaped.shape[2] not in (1, 3):
        hint = "; channels come last" if array.ndim == 3 and array.shape[0] in (1, 3) else ""
        raise DataError(f"an array of shape {list(array.shape)} is not a map; give [height, width], or [height, width, "
                        f"channels] with 1 or 3 channels{hint}")  # fmt: skip
    if array.dtype.kind not in "buif":
        raise DataError(f"a map of {array.dtype} holds no numbers; give floats or integers")
    return shaped


def with_unknown(array: np.ndarray, *, missing: float | None, scale: float) -> np.ndarray:
    """`[H, W, C]` in file units → float32 in reported units; NaN in all channels where a pixel is not known.

    Args:
        array: of numbers.
        missing: what all channels of such a pixel hold, besides what is not finite.
        scale: file units in a reported one.

    Raises:
        DataError: no pixel is known.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold is not known, either
        values = (array / np.float64(scale)).astype(np.float32)
    known = np.isfinite(values).all(-1)
    if missing is not None:
        known &= (array != missing).any(-1)
    if not known.any():
        raise DataError("no pixel of the map is known; leave the cell empty where nothing was measured")
    values[~known] = np.nan
    return values
