"""Feature pyramids of pretrained networks of pictures: what their stages say, or scales of the one grid they have.

Shape legend: `n` rows, `H, W` pixels, `h, w` the grid of a level, `F` its features, `D` width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.modalities.picture_sizes import FEWEST, finest_stride
from trunkline.modalities.pretrained import PretrainedEncoder, projection
from trunkline.modalities.pyramid import CHANNELS, PyramidTokens, SimpleScales, as_map, join_top_down
from trunkline.modalities.resnet import as_levels, as_pair
from trunkline.pretrained import Tuning
from trunkline.types import State, Tokens


def standardised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Pixels `[n, 3, H, W]` as a pretrained network knows them (see `as_levels`).

    Their channels lie side by side in memory, and so do those of all that is computed from them: a quarter less time
    for networks of many thin convolutions.
    """
    return ((as_levels(pixels) - mean) / std).contiguous(memory_format=torch.channels_last)


def pick_stages(grids: Sequence[tuple[int, int]], size: tuple[int, int]) -> list[int]:
    """Which of a network's outputs are levels: the last of each resolution, from the finest stride that is wanted.

    Args:
        grids: of its outputs, in order.
        size: `(H, W)`.
    """
    last = {grid: i for i, grid in enumerate(grids)}
    least = finest_stride(size) / math.sqrt(2)  # a stride may be 7 or 8.3
    fits = [i for grid, i in last.items() if min(grid) >= FEWEST and max(size) / max(grid) > least]
    return fits or [len(grids) - 1]


class TimmStages(nn.Module):
    """A network of timm → the outputs of its stages, `[n, h, w, F]` each, finest first.

    Args:
        model: of timm, with stages (`has_stages`).
        size: `(H, W)`.
    """

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            maps = model.eval().forward_intermediates(torch.zeros(1, 3, *size), intermediates_only=True)
        self.picked = pick_stages([(one.shape[2], one.shape[3]) for one in maps], size)

    def forward(self, x: Tensor) -> list[Tensor]:
        """`[n, 3, H, W]` → levels."""
        maps = self.model.forward_intermediates(x, indices=self.picked, intermediates_only=True)
        return [one.permute(0, 2, 3, 1) for one in maps]


class TorchvisionStages(nn.Module):
    """The convolutional part of a network of torchvision → the last output of each resolution, as `TimmStages`.

    Args:
        layers: one after the other.
        size: `(H, W)`.
    """

    def __init__(self, layers: nn.Sequential, size: tuple[int, int]) -> None:
        super().__init__()
        self.layers = layers
        self.picked: list[int] = []
        with torch.no_grad():
            maps = self.eval()._outputs(torch.zeros(1, 3, *size))
        self.picked = pick_stages([(one.shape[2], one.shape[3]) for one in maps], size)

    def _outputs(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """`[n, 3, H, W]` → levels."""
        outputs = self._outputs(x)
        return [outputs[i].permute(0, 2, 3, 1) for i in self.picked]


class OneStage(nn.Module):
    """A network without stages as one that has one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        """`[n, 3, H, W]` → one level."""
        return [self.network(x)]


def has_stages(model: Any) -> bool:
    """Whether a network of timm tells its features at several strides."""
    return hasattr(model, "forward_intermediates") and len({info["reduction"] for info in model.feature_info}) > 1


class PretrainedPyramid(PretrainedEncoder):
    """A pretrained network whose levels are joined from the coarsest down; of one level, scales are made of it.

    See `ResNetPyramid` and `SimpleScales`. Of a frozen network the features of all levels are kept, side by side.

    Args:
        network: pixels `[n, 3, H, W]`, standardised → levels `[n, h, w, F]`, finest first.
        state: of the image.
        width: `D`.
        tuning: how it goes on learning.
        **options: see `PretrainedEncoder`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, state: State, width: int, *, tuning: Tuning, **options: Any) -> None:
        size, channels = as_pair(state["size"]), min(width, CHANNELS)
        with torch.no_grad():
            levels = network.eval()(torch.zeros(1, 3, *size))
        self.shapes = [(int(h), int(w), int(number)) for _, h, w, number in (one.shape for one in levels)]
        super().__init__(network, features=self.shapes[-1][2], width=channels, tuning=tuning, **options)
        self.finer = nn.ModuleList(
            projection(number, channels, freeze=tuning.is_still) for *_, number in self.shapes[:-1]
        )
        grids = [(h, w) for h, w, _ in self.shapes]
        self.scales = SimpleScales(channels, grids[0]) if len(grids) == 1 else None
        made = grids if self.scales is None else self.scales.grids
        self.levels = PyramidTokens(made, size, channels=channels, width=width)
        self.register_buffer("mean", torch.tensor(state["mean"]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(state["std"]).view(-1, 1, 1), persistent=False)

    def run(self, values: dict[str, Tensor]) -> Tensor:
        """All levels side by side, `[n, Σ h·w·F]`."""
        levels = self.network(standardised(values["pixels"], self.mean, self.std))
        return torch.cat([one.flatten(1) for one in levels], 1)

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{"pixels": [n, C, H, W]}` → tokens `[n, Σ h·w, D]`, one `grid` span a level, finest first."""
        levels = self.features(values).split([math.prod(shape) for shape in self.shapes], 1)
        laterals = [*self.finer, self.project]
        maps = [
            as_map(lateral(level.unflatten(1, (h * w, number))), (h, w))
            for lateral, level, (h, w, number) in zip(laterals, levels, self.shapes)
        ]
        return self.levels(join_top_down(maps) if self.scales is None else self.scales(maps[0]))
