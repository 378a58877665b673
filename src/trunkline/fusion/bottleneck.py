"""Attention bottlenecks (Nagrani, Yang, Arnab, Jansen, Schmid, Sun, NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from trunkline.fusion.contract import Fusion
from trunkline.fusion.layers import check_options, masked_mean
from trunkline.fusion.streams import Stream, StreamLayers, StreamsModule
from trunkline.layers import SelfAttention


class BottleneckExchange(nn.Module):
    """Layers of `Bottleneck`; see there."""

    def __init__(self, inputs: int, width: int, *, tokens: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.randn(tokens, width) * 0.02)
        make = partial(SelfAttention, width, heads=heads, dropout=dropout)
        self.layers = StreamLayers(make, inputs=inputs, width=width, layers=layers, dropout=dropout)

    def forward(self, streams: Sequence[Stream], present: Tensor) -> list[Tensor]:
        values = [stream.values for stream in streams]
        shared = self.shared.to(values[0].dtype).expand(present.shape[0], -1, -1)  # [B, F, D]
        always = torch.ones(shared.shape[:2], dtype=torch.bool, device=shared.device)
        masks = [torch.cat([stream.mask, always], 1) for stream in streams]
        for layer in self.layers:
            both = [
                mlp(attend(torch.cat([x, shared], 1), mask)) for (attend, mlp), x, mask in zip(layer, values, masks)
            ]
            values = [x[:, : -shared.shape[1]] for x in both]
            shared = masked_mean(torch.stack([x[:, -shared.shape[1] :] for x in both], 1), present)
        return values


class Bottleneck(Fusion):
    """Each input has Transformer layers of its own, and all that goes from one to the other goes through a few tokens.

    `[zᵢ; fᵢ] = Transformerᵢ([zᵢ; f])`, `f = meanᵢ fᵢ` (eq. 8 and 9), layer by layer, the mean over the inputs that a
    row has. The row is the mean of what the inputs are in the end (the paper averages what is said of each). Spans that
    a task reads follow behind as the layers left them, with a projection of the row added to each token.

    Attention costs the square of the tokens. Where an input has more than `max_tokens`, they are averaged over
    neighbours first, and every token gets what the layers added to the average that it is part of.

    Args:
        tokens: through which inputs hear of each other.
        layers: how many, at least two: what one of them wrote into these tokens is read by the next.
        heads: of attention; must divide the width.
        dropout: on what attention and the hidden units say.
        max_tokens: of one input that attend.
    """

    def __init__(
        self, tokens: int = 4, layers: int = 2, heads: int = 4, dropout: float = 0.1, max_tokens: int = 256
    ) -> None:
        self.tokens = tokens
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        self.max_tokens = max_tokens

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> StreamsModule:
        """The layers.

        Raises:
            ConfigError: fewer than two layers, heads that do not divide the width, no tokens, or too little room for
                those of an input.
        """
        least = {"tokens": (self.tokens, 1), "layers": (self.layers, 2), "max_tokens": (self.max_tokens, 16)}
        check_options(width, heads=self.heads, **least)
        exchange = BottleneckExchange(
            len(encoders), width, tokens=self.tokens, layers=self.layers, heads=self.heads, dropout=self.dropout
        )
        return StreamsModule(encoders, keep, width, exchange, self.max_tokens)
