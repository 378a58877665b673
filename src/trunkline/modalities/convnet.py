"""The audio modality's network: a small convolutional network over log-mel frames, from scratch.

Shape legend: `n` rows, `T` frames, `M` mel bands, `L` tokens, `C` channels, `D` width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.modalities.attention import TransformerLayer
from trunkline.modalities.contract import Encoder
from trunkline.positions import sinusoids
from trunkline.types import Span, State, Tokens

LOCAL = 16  # channels of the convolution over time and frequency
DROPOUT = 0.1


class ConvNet(Encoder):
    """Convolutions over time and frequency, then over time, normalised frame by frame.

    What lies behind a sound's end is set to zero before every convolution, as if the sound stood alone: its tokens do
    not depend on how far it is padded.

    Args:
        state: of the audio.
        width: `D`.
        channels: `C`.
        depth: residual blocks.
        stride: frames a token.
        layers: of a Transformer over the tokens, which are told where they are; none by default.
        heads: of its attention.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, state: State, width: int, *, channels: int, depth: int, stride: int, layers: int = 0, heads: int = 4
    ) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("mean", torch.tensor(state["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(state["std"]), persistent=False)
        # A kernel of 2·stride + 1 frames makes ⌈T / stride⌉ tokens, and every frame is seen by at least two of them.
        self.local = nn.Conv2d(1, LOCAL, (2 * stride + 1, 5), stride=(stride, 2), padding=(stride, 2))
        self.mix = nn.Linear(LOCAL * math.ceil(len(state["mean"]) / 2), channels)
        self.blocks = nn.ModuleList(TimeBlock(channels) for _ in range(depth))
        self.project = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        self.layers = nn.ModuleList(TransformerLayer(width, heads, DROPOUT) for _ in range(layers))

    def forward(self, values: dict[str, Tensor]) -> Tokens:
        """`{"mel": [n, T, M], "length": [n]}` → tokens `[n, L, D]` in one `time` span, `L = ⌈T / stride⌉`."""
        mel, length = values["mel"], values["length"].unsqueeze(1)
        frames = torch.arange(mel.shape[1], device=mel.device) < length  # [n, T]
        mel = ((mel - self.mean) / self.std).masked_fill(~frames.unsqueeze(-1), 0.0)
        x = F.gelu(self.local(mel.unsqueeze(1)))  # [n, LOCAL, L, M / 2]
        x = self.mix(x.transpose(1, 2).flatten(2))  # [n, L, C]
        mask = torch.arange(x.shape[1], device=x.device) * self.stride < length  # [n, L]
        for block in self.blocks:
            x = block(x, mask)
        tokens = self.project(x)
        if len(self.layers):
            tokens = tokens + sinusoids(tokens.shape[1], tokens.shape[2], tokens.device).to(tokens.dtype)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        tokens = tokens.masked_fill(~mask.unsqueeze(-1), 0.0)
        span = Span("", 0, x.shape[1], "time", (x.shape[1],), (float(self.stride),))
        return Tokens(tokens, mask, (span,))


class TimeBlock(nn.Module):
    """One channel at a time over time, then all channels of one frame: `x [n, L, C]`, `mask [n, L]` → `[n, L, C]`.

    The block of Liu et al., "A ConvNet for the 2020s" (2022), along one axis.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.along = nn.Conv1d(channels, channels, 9, padding=4, groups=channels)
        self.across = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """What stands behind a `False` is not read."""
        alone = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        return x + self.across(self.along(alone.transpose(1, 2)).transpose(1, 2))
