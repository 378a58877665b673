"""Pictures opened by Pillow, and what it raises of damaged ones."""

from __future__ import annotations

import struct
from typing import Any

import PIL.Image
from PIL.Image import Image

# What Pillow's decoders raise of a damaged file.
PICTURE_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, EOFError, AttributeError,
                  AssertionError, NotImplementedError, RuntimeError, MemoryError, struct.error,
                  PIL.Image.DecompressionBombError)  # fmt: skip


def open_image(file: Any, formats: tuple[str, ...] | None = None) -> Image:
    """`PIL.Image.open`, but of EPS, which Pillow has another program run.

    Raises:
        PIL.UnidentifiedImageError: it is one, or no picture.
    """
    picture = PIL.Image.open(file, formats=formats)
    if picture.format == "EPS":
        picture.close()
        raise PIL.UnidentifiedImageError("EPS is a program, which is not run")
    return picture
