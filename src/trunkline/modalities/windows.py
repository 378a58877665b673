"""Which window of a picture the encoder sees: all of it, scaled as it comes or with its aspect ratio kept, and what
training draws instead.

A window is `(top, left, height, width)` in the picture's pixels; it may reach beyond the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trunkline.arrays.seeing import Aspect, Window, plain_window
from trunkline.contexts import GridContext, MosaicContext

MIDDLE = (0.3, 0.7)  # where on each side the tiles of a mosaic meet
TILED = (0.4, 1.0)  # how large a picture is shown in a mosaic, against how it is shown alone
SLANT = 1.1  # by which a side may grow against the other where pictures are zoomed, at most
NOTABLE = 1.25  # how much wider for its height the widest picture but a tenth is than the narrowest but a tenth


def draw_geometry(
    original: tuple[int, int],
    size: tuple[int, int],
    *,
    aspect: Aspect,
    crop: float,
    zoom: float,
    rotate: float,
    flip: bool,
    rng: np.random.Generator,
) -> GridContext:
    """A window, turned by up to `rotate` degrees, mirrored or not.

    Of each side of the plain window it keeps a share drawn from `crop` to 1; of both about the same where the aspect
    ratio is kept. Where `zoom` is less than 1 the picture is scaled by a factor from `zoom` to `1 / crop` (Ghiasi et
    al., "Simple copy-paste is a strong data augmentation method for instance segmentation", 2021: large scale jitter),
    and a side a little more than the other. Of no side less than `crop` is kept.
    """
    window = plain_window(original, size, aspect)
    if zoom < 1 or (crop < 1 and aspect == "letterbox"):
        sides = draw_sides(window[2:], rng.uniform(zoom, 1 / crop), rng)
        height, width = (max(side, math.ceil(crop * whole)) for side, whole in zip(sides, window[2:]))
        window = draw_place(original, (height, width), rng)
    elif crop < 1:
        height, width = (max(1, round(side * rng.uniform(crop, 1))) for side in window[2:])
        window = draw_place(original, (height, width), rng)
    flipped = flip and bool(rng.random() < 0.5)
    angle = float(rng.uniform(-rotate, rotate)) if rotate else 0.0
    return GridContext(original, window, size, flipped, angle)


def draw_mosaic(
    originals: Sequence[tuple[int, int]],
    size: tuple[int, int],
    *,
    aspect: Aspect,
    rotate: float,
    flip: bool,
    rng: np.random.Generator,
) -> MosaicContext:
    """Four pictures around a random middle (Bochkovskiy et al., "YOLOv4", 2020), in tiles of their windows' shape."""
    down, right = (round(side * rng.uniform(*MIDDLE)) for side in size)
    places = ((0, 0), (0, right), (down, 0), (down, right))
    tiles = []
    for original, (top, left) in zip(originals, places, strict=True):
        tile = (size[0] - down if top else down, size[1] - right if left else right)
        plain = plain_window(original, size, aspect)[2:]
        sides = (plain[0] * tile[0] / size[0], plain[1] * tile[1] / size[1])
        window = draw_place(original, draw_sides(sides, rng.uniform(*TILED), rng), rng)
        flipped = flip and bool(rng.random() < 0.5)
        angle = float(rng.uniform(-rotate, rotate)) if rotate else 0.0
        tiles.append(GridContext(original, window, tile, flipped, angle))
    return MosaicContext(size, tuple(tiles), places)


def draw_sides(sides: tuple[float, float], factor: float, rng: np.random.Generator) -> tuple[int, int]:
    """Of a window in which the picture is `factor` times as large as in one of these sides."""
    slant = SLANT ** rng.uniform(-0.5, 0.5)
    return max(1, round(sides[0] * slant / factor)), max(1, round(sides[1] / slant / factor))


def draw_place(original: tuple[int, int], sides: tuple[int, int], rng: np.random.Generator) -> Window:
    """A window of these sides: somewhere in the picture or, where it is larger, with the picture somewhere in it."""
    (top, left) = (_draw_start(side, kept, rng) for side, kept in zip(original, sides))
    return top, left, *sides


def _draw_start(side: int, kept: int, rng: np.random.Generator) -> int:
    spare = side - kept
    return int(rng.integers(0, spare + 1)) if spare >= 0 else -int(rng.integers(0, 1 - spare))


def choose_aspect(shapes: Sequence[tuple[int, ...]], *, is_placed: bool) -> tuple[Aspect, str]:
    """Whether pictures of these heights and widths keep their aspect ratio, and why.

    Args:
        shapes: heights and widths.
        is_placed: some task reads where things are.
    """
    if not is_placed:
        return "stretch", "the whole picture in all of the frame"
    ratios = [math.log(shape[1] / shape[0]) for shape in shapes] or [0.0]
    spread = math.exp(float(np.quantile(ratios, 0.9) - np.quantile(ratios, 0.1)))
    if spread > NOTABLE:
        return "letterbox", "pictures differ in aspect ratio, and things in them keep their shape"
    return "stretch", "pictures have about one aspect ratio"
