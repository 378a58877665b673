"""The pixels of pictures as numbers: channels, scaling, statistics.

Shape legend: `C` colour channels (1 or 3), `H, W` pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trunkline.arrays.seeing import as_channels
from trunkline.contexts import GridContext

SIDE = 64  # pixels a side that `thin` leaves of a picture


def is_grey(picture: np.ndarray) -> bool:
    """Whether `[H, W, C]` shows no colour, however many channels it is stored in."""
    return bool((picture == picture[:, :, :1]).all())


def scaled(picture: np.ndarray, channels: int, context: GridContext, fill: Sequence[float]) -> Tensor:
    """`[H, W, C]` → `[channels, *size]`, cut and scaled as the context says; uint8 stays uint8.

    Args:
        picture: its pixels.
        channels: wanted.
        context: what is done to it.
        fill: levels from 0 to 1 of what lies beyond its edge, one a channel.
    """
    pixels = torch.from_numpy(as_channels(picture, channels)).permute(2, 0, 1).float()
    beyond = torch.tensor(fill).view(-1, 1, 1) * (255 if picture.dtype == np.uint8 else 1)
    seen = context.apply(pixels, mode="bilinear", fill=beyond)
    return seen.round_().clamp_(0, 255).to(torch.uint8) if picture.dtype == np.uint8 else seen


def thin(picture: np.ndarray) -> np.ndarray:
    """Evenly spaced pixels, at most `SIDE` a side."""
    rows, columns = (math.ceil(side / SIDE) for side in picture.shape[:2])
    return picture[::rows, ::columns].copy()


def level_statistics(pictures: Sequence[np.ndarray], channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, every picture counting the same; 0.5 where there is no picture."""
    if len(pictures) == 0:
        return [0.5] * channels, [0.5] * channels
    levels = [p / np.float64(255 if p.dtype == np.uint8 else 1) for p in pictures]
    mean = np.mean([p.mean((0, 1)) for p in levels], axis=0)
    std = np.sqrt(np.mean([((p - mean) ** 2).mean((0, 1)) for p in levels], axis=0))
    return mean.tolist(), np.where(std > 1e-9, std, 1.0).tolist()
