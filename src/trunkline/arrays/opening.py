"""Pictures opened by Pillow, and what it raises of damaged ones."""

from __future__ import annotations

import struct
from typing import Any

import PIL.Image
from PIL.Image import Image

# What Pillow raises of a damaged file. Its plugins have no one error for that: they index into what they read, divide
# by it, assert of it (`AssertionError`), and DDS refuses layouts by `NotImplementedError`. The cause is told.
PICTURE_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, EOFError, AttributeError,
                  AssertionError, NotImplementedError, RuntimeError, MemoryError, struct.error,
                  PIL.Image.DecompressionBombError)  # fmt: skip


# What Pillow decodes in its own process. Not here: EPS and WMF (another program runs them), IPTC, FPX and MIC (which
# open what lies in them as any kind), and kinds that Pillow knows by name alone. HEIF comes with `pillow-heif`.
KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000", "PPM", "TGA", "ICO", "CUR", "ICNS",
         "DIB", "PCX", "DCX", "PSD", "DDS", "QOI", "SGI", "SUN", "MSP", "XBM", "XPM", "IM", "FITS",
         "SPIDER")  # fmt: skip


def known_kinds() -> tuple[str, ...]:
    """Those of `KINDS` that the Pillow of this machine has, as it names them."""
    PIL.Image.init()
    return tuple(kind for kind in KINDS if kind in PIL.Image.OPEN)


def open_image(file: Any, formats: tuple[str, ...] | None = None) -> Image:
    """`PIL.Image.open`, but of `KINDS` alone: no picture has another program run, nor holds another that might.

    Args:
        file: a path, or an open file.
        formats: fewer kinds, as Pillow names them.

    Raises:
        PIL.UnidentifiedImageError: it is none of these.
    """
    wanted = known_kinds() if formats is None else [kind for kind in known_kinds() if kind in formats]
    # In Pillow's own order: some kinds have no mark at their beginning, and are tried last.
    return PIL.Image.open(file, formats=[kind for kind in PIL.Image.ID if kind in wanted])
