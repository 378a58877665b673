"""Pictures as an encoder sees them, in NumPy and Pillow: cut out, scaled, and back.

Shape legend: `n` rows, `C` colour channels (1 or 3), `H, W` pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import PIL.Image

from trunkline.arrays.contract import ArrayCells, Arrays, State
from trunkline.arrays.pictures import decoded, open_picture, read_array
from trunkline.contexts import GridContext

Aspect = Literal["stretch", "letterbox"]
Window = tuple[int, int, int, int]
PART = 2**18  # numbers of pixels that are held at a time where a picture is restored: 1 MB
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # how bright red, green and blue are: ITU-R BT.601


@dataclass(frozen=True)
class PictureCells(ArrayCells):
    """Pictures: paths, PIL images or arrays."""

    reads_files = True

    aspect: Aspect = "stretch"

    def read(self, cell: Any) -> np.ndarray:
        """`[H, W, C]`: uint8, or float32 from 0 to 1 where the picture has more than 8 bits.

        Turned upright as its EXIF says; what is transparent shows white; of several frames the first.

        Raises:
            DataError: the file or array is no picture, or is damaged.
        """
        if isinstance(cell, np.ndarray):
            return read_array(cell)
        if isinstance(cell, PIL.Image.Image):
            return read_array(decoded(cell))
        return open_picture(cell, lambda picture: read_array(decoded(picture)))

    def context(self, original: tuple[int, int], state: State) -> GridContext:
        """What is seen of a picture of this size."""
        size = (state["size"][0], state["size"][1])
        return GridContext(original, plain_window(original, size, self.aspect), size)

    def prepare(self, value: np.ndarray, state: State) -> tuple[np.ndarray, GridContext]:
        """`[C, *size]`, uint8 or float32 as the picture was."""
        context = self.context((value.shape[0], value.shape[1]), state)
        return scaled(value, state["channels"], context, state["mean"]), context

    def collate(self, items: Sequence[np.ndarray]) -> Arrays:
        """`{"pixels": [n, C, H, W]}`: uint8, or float32 from 0 to 1 where one has more than 8 bits."""
        if all(item.dtype == np.uint8 for item in items):
            return {"pixels": np.stack(items)}
        levels = [item / np.float32(255) if item.dtype == np.uint8 else item for item in items]
        return {"pixels": np.stack(levels)}


def plain_window(original: tuple[int, int], size: tuple[int, int], aspect: Aspect) -> Window:
    """What is seen where nothing is drawn: the picture, or of aspect ratio `size` the least window around it.

    Example:
        >>> plain_window((100, 200), (64, 64), "stretch"), plain_window((100, 200), (64, 64), "letterbox")
        ((0, 0, 100, 200), (-50, 0, 200, 200))
    """
    (height, width), ratio = original, size[0] / size[1]
    if aspect == "letterbox":
        height, width = max(height, round(width * ratio)), max(width, round(height / ratio))
    return -((height - original[0]) // 2), -((width - original[1]) // 2), height, width


def as_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """`[H, W, 1 or 3]` → `[H, W, channels]`."""
    if picture.shape[2] == channels:
        return picture
    if channels == 3:
        return np.repeat(picture, 3, axis=2)
    grey = (picture @ LUMA)[:, :, None]
    return grey.round().astype(np.uint8) if picture.dtype == np.uint8 else grey


def scaled(picture: np.ndarray, channels: int, context: GridContext, fill: Sequence[float]) -> np.ndarray:
    """`[H, W, C]` → `[channels, *size]`, cut and scaled as an unturned context says; uint8 stays uint8.

    Args:
        picture: its pixels.
        channels: wanted.
        context: what is done to it.
        fill: levels from 0 to 1 of what lies beyond its edge, one a channel.
    """
    pixels = as_channels(picture, channels).transpose(2, 0, 1).astype(np.float32)
    beyond = np.array(fill, np.float32) * np.float32(255 if picture.dtype == np.uint8 else 1)
    part = pixels[:, context.seen(0), context.seen(1)]
    seen = np.stack([_plane(one, context, level) for one, level in zip(part, beyond, strict=True)])
    return seen.round().clip(0, 255).astype(np.uint8) if picture.dtype == np.uint8 else seen


def _plane(seen: np.ndarray, context: GridContext, fill: np.float32) -> np.ndarray:
    """What is seen of one channel, `[h, w]` → `[*size]`, with `fill` beside it; Pillow, too, scales axis by axis."""
    for axis in context.axes:
        ends = context.beyond(axis)
        seen = np.pad(seen, (ends, (0, 0)) if axis == 0 else ((0, 0), ends), constant_values=fill)
        size = (seen.shape[1], context.size[0]) if axis == 0 else (context.size[1], seen.shape[0])
        seen = np.asarray(PIL.Image.fromarray(seen).resize(size, PIL.Image.Resampling.BILINEAR))
    return seen


def restored(
    grid: np.ndarray, context: GridContext, as_said: Callable[[np.ndarray], np.ndarray] = lambda part: part
) -> np.ndarray:
    """From what a head says, `[C, h, w]`, back to the original picture, `[…, *original]`, as `GridContext.restore` does
    it, part by part: of `C` numbers a pixel no more than `PART` are held at a time.

    Args:
        grid: numbers of each cell.
        context: what was done to the picture.
        as_said: numbers of some pixels `[C, r, c]` → what is said of them, `[…, r, c]`; the numbers
            themselves by default. What the window left out is NaN; what it held beyond the picture is cut off.
    """
    grid = (grid[:, :, ::-1] if context.flipped else grid).astype(np.float32)
    (top, left, height, width), (rows, columns) = context.crop, context.original
    nothing = as_said(np.full((len(grid), 1, 1), np.nan, np.float32))
    out = np.empty((*nothing.shape[:-2], rows, columns), nothing.dtype)
    out[...] = nothing
    first, last = max(0, left), min(columns, left + width)
    if last <= first:  # the window lies beside the picture
        return out
    wide = min(last - first, max(1, PART // len(grid)))
    high = max(1, PART // (len(grid) * wide))
    for row in range(max(0, top), min(rows, top + height), high):
        below = min(row + high, rows, top + height)
        strip = interpolated(grid, height, 1, (row - top, below - top))
        for column in range(first, last, wide):
            right = min(column + wide, last)
            part = as_said(interpolated(strip, width, 2, (column - left, right - left)))
            out[..., row:below, column:right] = part
    return out


def interpolated(values: np.ndarray, size: int, axis: int, part: tuple[int, int]) -> np.ndarray:
    """Linearly between the middles of cells, along one axis: of `size` places those from `part[0]` to `part[1]`."""
    places = (np.arange(*part).astype(np.float32) + np.float32(0.5)) * np.float32(values.shape[axis] / size)
    places = np.maximum(places - np.float32(0.5), 0)
    low = places.astype(np.int64)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = (places - low).reshape([-1 if one == axis else 1 for one in range(values.ndim)])
    return values.take(low, axis) * (1 - share) + values.take(high, axis) * share
