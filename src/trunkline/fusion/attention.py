"""Attention: a learned query reads the tokens of all inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.fusion.contract import Fusion, FusionModule
from trunkline.fusion.layers import KeptTokens, check_options
from trunkline.types import Tokens


class AttentionModule(FusionModule):
    """Layers of `Attention`; see there."""

    def __init__(self, encoders: Sequence[str], keep: Sequence[str], width: int, heads: int) -> None:
        super().__init__()
        self.encoders, self.heads = tuple(encoders), heads
        self.kinds = nn.Parameter(torch.randn(len(encoders), width) * 0.02)
        self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.kept = KeptTokens(keep, width)

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        parts = [tokens[name].with_values(tokens[name].values + kind) for name, kind in zip(self.encoders, self.kinds)]
        every = Tokens.cat(parts)
        row = self._attend(self.norm(every.values), every.mask)
        row = row + self.mix(row)
        return self.kept(row, parts)

    def _attend(self, values: Tensor, mask: Tensor) -> Tensor:
        """Tokens `[B, L, D]`, mask `[B, L]` → `[B, D]`."""
        key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in self.key_value(values).chunk(2, -1))
        query = self.query.to(key.dtype).expand(values.shape[0], -1, -1).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        read = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        return self.out(read.transpose(1, 2).flatten(1))


class Attention(Fusion):
    """One learned query attends over the tokens of all inputs (Vaswani et al. 2017, eq. 1), each marked with its input.

    An absent input offers its one learned token, a feature pyramid all its grids. Spans that a task reads follow
    behind, with a projection of the row added to each token.

    Args:
        heads: attention heads; must divide the width.
    """

    def __init__(self, heads: int = 4) -> None:
        self.heads = heads

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> AttentionModule:
        """The layers.

        Raises:
            ConfigError: `heads` does not divide the width.
        """
        check_options(width, heads=self.heads)
        return AttentionModule(encoders, keep, width, self.heads)
