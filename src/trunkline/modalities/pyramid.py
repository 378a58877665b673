"""Feature pyramids: maps of several strides → tokens, one grid span a level, finest first.

Shape legend: `n` rows, `h, w` the grid of a level, `F` features of a map, `C` of the pyramid, `D` width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.types import Span, Tokens

CHANNELS = 128  # of the pyramid, at most
Grid = tuple[int, int]


def join_top_down(maps: Sequence[Tensor]) -> list[Tensor]:
    """Each level hears of the coarser ones: `m_l = c_l + upsample(m_{l+1})` (Lin et al. 2017, figure 3).

    Args:
        maps: `[n, C, h, w]`, finest first.
    """
    joined = [maps[-1]]
    for finer in maps[-2::-1]:
        joined.append(finer + F.interpolate(joined[-1], finer.shape[-2:], mode="nearest"))
    return joined[::-1]


def as_map(sequence: Tensor, grid: Grid) -> Tensor:
    """`[n, h·w, C]` → `[n, C, h, w]`."""
    return sequence.transpose(1, 2).unflatten(2, grid)


class PyramidTokens(nn.Module):
    """Maps `[n, C, h, w]`, finest first → tokens: a 3 × 3 convolution a level, a map to the width, and the place.

    A place is the sum of a learned vector for its row and one for its column: what few pictures teach about one row
    holds all along it.

    Args:
        grids: of each level.
        size: `(height, width)` of the picture, in pixels.
        channels: `C`.
        width: `D`.
    """

    def __init__(self, grids: Sequence[Grid], size: Grid, *, channels: int, width: int) -> None:
        super().__init__()
        self.grids, self.size = tuple(grids), size
        self.near = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in grids)
        self.project = nn.ModuleList(nn.Linear(channels, width) for _ in grids)
        self.rows = nn.ParameterList(0.02 * torch.randn(h, 1, width) for h, _ in grids)
        self.columns = nn.ParameterList(0.02 * torch.randn(1, w, width) for _, w in grids)

    def forward(self, maps: Sequence[Tensor]) -> Tokens:
        """Tokens `[n, Σ h·w, D]`."""
        layers = zip(maps, self.near, self.project, self.rows, self.columns)
        levels = [
            project(near(one).flatten(2).transpose(1, 2)) + (row + column).flatten(0, 1)  # [n, h·w, D]
            for one, near, project, row, column in layers
        ]
        return Tokens.cat([self._level(values, grid) for values, grid in zip(levels, self.grids)])

    def _level(self, values: Tensor, grid: Grid) -> Tokens:
        mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        stride = (self.size[0] / grid[0], self.size[1] / grid[1])
        return Tokens(values, mask, (Span("", 0, math.prod(grid), "grid", grid, stride),))


class SimpleScales(nn.Module):
    """One map at twice, once and half its resolution, of a network that has no stages.

    Li et al., "Exploring plain vision transformer backbones for object detection" (2022): a deconvolution, nothing, and
    pooling; here the mean, between places where a side is odd, so that what a token stands for lies where its place is.

    Args:
        channels: `C`.
        grid: of the map; the half is left out where it would have fewer than two places a side.
    """

    def __init__(self, channels: int, grid: Grid) -> None:
        super().__init__()
        self.finer = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.half_grid = (grid[0] // 2, grid[1] // 2)
        halves = [self.half_grid] if min(grid) >= 4 else []
        self.grids: tuple[Grid, ...] = ((2 * grid[0], 2 * grid[1]), grid, *halves)

    def forward(self, one: Tensor) -> list[Tensor]:
        """`[n, C, h, w]` → the same at 2, 1 and ½, finest first."""
        maps = [self.finer(one), one]
        if len(self.grids) > len(maps):
            maps.append(F.interpolate(one, self.half_grid, mode="bilinear", align_corners=False))
        return maps
