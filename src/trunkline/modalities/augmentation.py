"""What training changes about pictures, drawn row by row and done to a whole batch at once.

Shape legend: `n` rows, `C` colour channels, `h, w` pixels of what is kept, `H, W` of what the encoder sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.arrays.seeing import LUMA
from trunkline.contexts import GridContext
from trunkline.modalities.resnet import as_levels


class Kept(NamedTuple):
    """What is kept of a picture for training: `pixels [C, h, w]`, and its height and width before."""

    pixels: Tensor
    original: tuple[int, int]


class Altered(NamedTuple):
    """A picture with what shall be done to it.

    Attributes:
        pixels: `[C, h, w]`.
        affine: `[2, 3]`, see `GridContext.affine`.
        size: `(H, W)`.
        colour: factors of brightness, contrast and saturation.
        fill: levels of what stands beyond an edge, one a channel; `None` where its pixels are repeated.
    """

    pixels: Tensor
    affine: list[list[float]]
    size: tuple[int, int]
    colour: tuple[float, float, float]
    fill: tuple[float, ...] | None = None


class Composed(NamedTuple):
    """A picture put together from others.

    Attributes:
        tiles: each of its own `size`.
        places: `(top, left)` of each.
        size: `(H, W)` of the whole, which they fill.
    """

    tiles: tuple[Altered, ...]
    places: tuple[tuple[int, int], ...]
    size: tuple[int, int]


def thinned(pixels: Tensor, context: GridContext) -> Tensor:
    """`[C, h, w]` halved until no pixel of them is skipped by what the encoder sees."""
    shares = (side / whole for side, whole in zip(context.crop[2:], context.original))
    step = min(side * share / seen for side, share, seen in zip(pixels.shape[1:], shares, context.size))
    while step >= 2:
        height, width = (math.ceil(side / 2) for side in pixels.shape[1:])
        pixels, step = F.adaptive_avg_pool2d(as_levels(pixels), (height, width)), step / 2
    return pixels


def draw_colour(strength: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Factors around 1: of brightness and contrast up to `strength` away, of saturation up to twice that."""
    if not strength:
        return (1.0, 1.0, 1.0)
    brightness, contrast, saturation = (1 + strength * rng.uniform(-1, 1, 3) * (1, 1, 2)).tolist()
    return brightness, contrast, max(0.0, saturation)


def alter(pictures: Sequence[Altered | Composed]) -> Tensor:
    """A batch as it was drawn, `[n, C, H, W]`, float32 from 0 to 1; what is of one shape at once."""
    tiles = [tile for row, picture in enumerate(pictures) for tile in _tiles(row, picture)]
    alike: dict[Any, list[_Tile]] = {}
    for tile in tiles:
        alike.setdefault((tile.picture.pixels.shape, tile.picture.size), []).append(tile)
    if len(alike) == 1 and len(tiles) == len(pictures):
        return _altered([tile.picture for tile in tiles])
    seen = torch.empty(len(pictures), tiles[0].picture.pixels.shape[0], *pictures[0].size)
    for same in alike.values():
        for (row, top, left, picture), pixels in zip(same, _altered([tile.picture for tile in same])):
            seen[row, :, top : top + picture.size[0], left : left + picture.size[1]] = pixels
    return seen


class _Tile(NamedTuple):
    row: int
    top: int
    left: int
    picture: Altered


def _tiles(row: int, picture: Altered | Composed) -> list[_Tile]:
    if isinstance(picture, Altered):
        return [_Tile(row, 0, 0, picture)]
    return [_Tile(row, *place, tile) for place, tile in zip(picture.places, picture.tiles)]


def _altered(pictures: Sequence[Altered]) -> Tensor:
    """Of pixels of one shape."""
    pixels = torch.stack([as_levels(p.pixels) for p in pictures])
    shape = [len(pictures), pixels.shape[1], *pictures[0].size]
    grid = F.affine_grid(torch.tensor([p.affine for p in pictures]), shape, align_corners=False)
    seen = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if any(picture.fill is not None for picture in pictures):
        seen = _filled(seen, grid, pictures)
    return tinted(seen, torch.tensor([p.colour for p in pictures]))


def _filled(seen: Tensor, grid: Tensor, pictures: Sequence[Altered]) -> Tensor:
    """What is seen, with their `fill` beyond the edges of those that have one."""
    has = torch.tensor([picture.fill is not None for picture in pictures])
    fills = torch.tensor([picture.fill or (0.0,) * seen.shape[1] for picture in pictures])
    beyond = (grid.abs() > 1).any(-1) & has[:, None, None]  # [n, H, W]
    return torch.where(beyond.unsqueeze(1), fills[:, :, None, None], seen)


def tinted(pixels: Tensor, colour: Tensor) -> Tensor:
    """`pixels [n, C, H, W]` with the factors `colour [n, 3]` of brightness, contrast and saturation."""
    if bool((colour == 1).all()):
        return pixels
    brightness, contrast, saturation = colour.view(-1, 3, 1, 1, 1).unbind(1)
    pixels = pixels * brightness
    middle = pixels.mean((1, 2, 3), keepdim=True)
    pixels = middle + contrast * (pixels - middle)
    if pixels.shape[1] == 3:
        grey = (pixels * torch.from_numpy(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        pixels = grey + saturation * (pixels - grey)
    return pixels.clamp(0, 1)
