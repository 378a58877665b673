"""The image modality's network: a residual network with group normalisation and standardised filters, from scratch.

Shape legend: `n` rows, `C` colour channels, `H, W` pixels, `h, w` the token grid, `D` width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.modalities.contract import Encoder
from trunkline.modalities.picture_sizes import pyramid_strides
from trunkline.modalities.pyramid import CHANNELS, PyramidTokens, as_map, join_top_down
from trunkline.types import Span, State, Tokens


class ResNet(Encoder):
    """A residual network with group normalisation, one stage for each halving of the resolution.

    He et al., "Deep residual learning for image recognition" (2016); Wu and He, "Group normalization" (2018): a row's
    tokens depend on no other row. Filters are standardised (`StandardConv`). The resolution is halved before the first
    block, which keeps small pictures cheap.

    Args:
        state: of the image.
        width: `D`.
        stem: channels of the first layer.
        depth: residual blocks a stage.
        stride: pixels a token's side, a power of two.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: State, width: int, *, stem: int, depth: int, stride: int) -> None:
        super().__init__()
        self.size = as_pair(state["size"])
        self.grid = (math.ceil(self.size[0] / stride), math.ceil(self.size[1] / stride))
        self.register_buffer("mean", torch.tensor(state["mean"]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(state["std"]).view(-1, 1, 1), persistent=False)
        layers = list(entry(state["channels"], stem))
        channels = stem
        for _ in range(int(math.log2(stride)) - 1):
            layers += stage(channels, depth)
            channels = 2 * channels
        self.layers = nn.Sequential(*layers)
        self.project = nn.Linear(channels, width)
        self.place = nn.Parameter(0.02 * torch.randn(math.prod(self.grid), width))

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{"pixels": [n, C, H, W]}` → tokens `[n, h·w, D]` in one `grid` span."""
        features = self.layers((as_levels(values["pixels"]) - self.mean) / self.std)  # [n, channels, h, w]
        tokens = self.project(features.flatten(2).transpose(1, 2)) + self.place  # [n, h·w, D]
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        stride = (self.size[0] / self.grid[0], self.size[1] / self.grid[1])
        return Tokens(tokens, mask, (Span("", 0, math.prod(self.grid), "grid", self.grid, stride),))


class ResNetPyramid(Encoder):
    """The same network; its stages' outputs, joined from the coarsest down, are the levels of a pyramid.

    Lin et al., "Feature pyramid networks for object detection" (2017): fine levels know where, and hear from the coarse
    ones what. Strides: see `pyramid_strides`.

    Args:
        state: of the image.
        width: `D`.
        stem: channels of the first layer.
        depth: residual blocks a stage.
        finest: pixels a side of a token of the finest level, a power of two.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: State, width: int, *, stem: int, depth: int, finest: int) -> None:
        super().__init__()
        size = as_pair(state["size"])
        strides = pyramid_strides(size, finest)
        self.grids = [(math.ceil(size[0] / stride), math.ceil(size[1] / stride)) for stride in strides]
        self.register_buffer("mean", torch.tensor(state["mean"]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(state["std"]).view(-1, 1, 1), persistent=False)
        halvings = int(math.log2(strides[-1]))
        self.stages = nn.ModuleList([entry(state["channels"], stem)])
        self.stages.extend(stage(stem * 2**i, depth) for i in range(halvings - 1))
        channels = [stem * stride // 2 for stride in strides]
        self.laterals = nn.ModuleList(nn.Linear(number, min(width, CHANNELS)) for number in channels)
        self.levels = PyramidTokens(self.grids, size, channels=min(width, CHANNELS), width=width)

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{"pixels": [n, C, H, W]}` → tokens `[n, Σ h·w, D]`, one `grid` span a level, finest first."""
        x = (as_levels(values["pixels"]) - self.mean) / self.std
        stages = []
        for one in self.stages:
            x = one(x)
            stages.append(x.flatten(2).transpose(1, 2))  # [n, h·w, channels]
        features = stages[-len(self.grids) :]
        maps = [as_map(lateral(f), grid) for lateral, f, grid in zip(self.laterals, features, self.grids)]
        return self.levels(join_top_down(maps))


def entry(channels: int, stem: int) -> nn.Sequential:
    """The first layer, which halves the resolution."""
    return nn.Sequential(conv(channels, stem, stride=2), norm(stem), nn.ReLU())


def stage(channels: int, depth: int) -> nn.Sequential:
    """Blocks that halve the resolution and double the channels."""
    return nn.Sequential(
        Residual(channels, 2 * channels, stride=2), *(Residual(2 * channels, 2 * channels) for _ in range(depth - 1))
    )


class Residual(nn.Module):
    """Two convolutions and a way around them, `[n, C, H, W]` → `[n, outputs, H/stride, W/stride]`."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, stride=stride), norm(outputs), nn.ReLU(), conv(outputs, outputs), norm(outputs)
        )
        same = inputs == outputs and stride == 1
        self.around = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Body plus what goes around it."""
        return F.relu(self.around(x) + self.body(x))


class StandardConv(nn.Conv2d):
    """A convolution whose filters have mean 0 and norm 1, times a learned gain for each output.

    With group normalisation it learns as fast as batch normalisation does, from any number of rows (Qiao et al.,
    "Micro-batch training with batch-channel normalization and weight standardization", 2019).
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`[n, inputs, H, W]` → `[n, outputs, H/stride, W/stride]`."""
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        norms = (centred.square().sum((1, 2, 3), keepdim=True) + 1e-6).sqrt()
        return F.conv2d(x, self.gain * centred / norms, None, self.stride, self.padding)


def conv(inputs: int, outputs: int, *, stride: int = 1) -> StandardConv:
    """3 × 3, without a bias: a norm follows."""
    return StandardConv(inputs, outputs, stride=stride)


def norm(channels: int) -> nn.GroupNorm:
    """Up to eight groups."""
    return nn.GroupNorm(math.gcd(channels, 8), channels)


def as_levels(pixels: Tensor) -> Tensor:
    """uint8 → float32 from 0 to 1; floats as they are."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def as_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """`(height, width)`."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
