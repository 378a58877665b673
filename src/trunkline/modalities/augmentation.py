"""What training changes about pictures, drawn row by row and done to a whole batch at once.

Shape legend: `n` rows, `C` colour channels, `h, w` pixels of what is kept, `H, W` of what the encoder sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.modalities.resnet import as_levels
from trunkline.types import GridContext

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


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
    """

    pixels: Tensor
    affine: list[list[float]]
    size: tuple[int, int]
    colour: tuple[float, float, float]


def draw_geometry(
    original: tuple[int, int],
    size: tuple[int, int],
    *,
    crop: float,
    rotate: float,
    flip: bool,
    rng: np.random.Generator,
) -> GridContext:
    """A window that keeps at least `crop` of each side, turned by up to `rotate` degrees, mirrored or not."""
    window = (0, 0, *original) if crop == 1 else draw_crop(original, crop, rng)
    flipped = flip and bool(rng.random() < 0.5)
    angle = float(rng.uniform(-rotate, rotate)) if rotate else 0.0
    return GridContext(original, window, size, flipped, angle)


def draw_crop(original: tuple[int, int], least: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random `(top, left, height, width)` that keeps at least the share `least` of each side."""
    height, width = (max(1, round(side * rng.uniform(least, 1))) for side in original)
    top, left = (int(rng.integers(0, side - kept + 1)) for side, kept in zip(original, (height, width)))
    return top, left, height, width


def draw_colour(strength: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Factors around 1: of brightness and contrast up to `strength` away, of saturation up to twice that."""
    if not strength:
        return (1.0, 1.0, 1.0)
    brightness, contrast, saturation = (1 + strength * rng.uniform(-1, 1, 3) * (1, 1, 2)).tolist()
    return brightness, contrast, max(0.0, saturation)


def alter(pictures: Sequence[Altered]) -> Tensor:
    """A batch as it was drawn, `[n, C, H, W]`, float32 from 0 to 1; beyond an edge its pixels are repeated."""
    pixels = torch.stack([as_levels(p.pixels) for p in pictures])
    shape = [len(pictures), pixels.shape[1], *pictures[0].size]
    grid = F.affine_grid(torch.tensor([p.affine for p in pictures]), shape, align_corners=False)
    seen = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return tinted(seen, torch.tensor([p.colour for p in pictures]))


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
