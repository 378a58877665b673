"""Latents that read all inputs and are read (Perceiver IO: Jaegle et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.fusion.contract import Fusion, FusionModule
from trunkline.fusion.layers import check_options
from trunkline.layers import CrossAttention, LatentLayers, ResidualMLP
from trunkline.types import Tokens


class PerceiverModule(FusionModule):
    """Layers of `Perceiver`; see there."""

    def __init__(
        self,
        encoders: Sequence[str],
        keep: Sequence[str],
        width: int,
        *,
        latents: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoders, self.keep = tuple(encoders), tuple(keep)
        self.kinds = nn.Parameter(torch.randn(len(encoders), width) * 0.02)
        self.query = nn.Parameter(torch.randn(1, width) * 0.02)
        self.latents = LatentLayers(width, latents=latents, layers=layers, heads=heads, expansion=2.0, dropout=dropout)
        self.decode = CrossAttention(width, heads=heads, dropout=dropout)
        self.out = ResidualMLP(width, expansion=2.0, dropout=dropout)

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        parts = [tokens[name].with_values(tokens[name].values + kind) for name, kind in zip(self.encoders, self.kinds)]
        every = Tokens.cat(parts)
        x, here = self.latents(every.values, every.mask)
        row = Tokens.of_rows(self.query.to(x.dtype).expand(x.shape[0], -1))
        kept = [part for part in parts if any(span.input in self.keep for span in part.spans)]
        asking = Tokens.cat([row, *kept])
        return asking.with_values(self.out(self.decode(asking.values, x, here)))


class Perceiver(Fusion):
    """A few learned latents read the tokens of all inputs, go through layers of their own, and are read by who asks.

    Encode, process, decode (section 3.1 of the paper): latents attend to all tokens, each marked with its input;
    `layers` of attention among the latents; then what is wanted attends to the latents, a learned query for the row
    and, for spans that a task reads, their own tokens. So the cost is linear in the tokens. An absent input offers its
    one learned token.

    Args:
        latents: how many.
        layers: between reading and being read; 0 or more.
        heads: of attention; must divide the width.
        dropout: on what attention and the hidden units say.
    """

    def __init__(self, latents: int = 16, layers: int = 2, heads: int = 4, dropout: float = 0.1) -> None:
        self.latents = latents
        self.layers = layers
        self.heads = heads
        self.dropout = dropout

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> PerceiverModule:
        """The layers.

        Raises:
            ConfigError: no latents, less than no layers, or heads that do not divide the width.
        """
        check_options(width, heads=self.heads, latents=(self.latents, 1), layers=(self.layers, 0))
        return PerceiverModule(
            encoders, keep, width, latents=self.latents, layers=self.layers, heads=self.heads, dropout=self.dropout
        )
