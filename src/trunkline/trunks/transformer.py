"""Hard sharing through a Transformer over all tokens (Vaswani et al. 2017; pre-norm as in Xiong et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP, SelfAttention
from trunkline.pooling import pooling_for
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.types import Tokens


class TransformerModule(TrunkModule):
    """Layers of `Transformer`; the tap is the last layer's output."""

    one_view = True

    def __init__(
        self, width: int, *, layers: int, heads: int, expansion: float, dropout: float, max_tokens: int
    ) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self.attention = nn.ModuleList(SelfAttention(width, heads=heads, dropout=dropout) for _ in range(layers))
        self.mlps = nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(layers))

    def share(self, tokens: Tokens) -> Taps:
        pooling = pooling_for(tokens, self.max_tokens)
        if pooling is None:
            values = self._layers(tokens.values, tokens.mask)
        else:
            pooled, mask = pooling.pool(tokens.values, tokens.mask)
            values = tokens.values + pooling.spread(self._layers(pooled, mask) - pooled)
        there = tokens.mask.unsqueeze(-1)  # what is padding stays as it is
        return (tokens.with_values(torch.where(there, values, tokens.values)),)

    def _layers(self, values: Tensor, mask: Tensor) -> Tensor:
        for attention, mlp in zip(self.attention, self.mlps):
            values = mlp(attention(values, mask))
        return values

    def view(self, task: str, taps: Taps) -> Tokens:
        return taps[0]

    def layers_in_turn(self) -> Sequence[nn.Module]:
        return [layer for both in zip(self.attention, self.mlps) for layer in both]

    def last_shared(self) -> Sequence[nn.Linear]:
        last = self.mlps[-1]
        assert isinstance(last, ResidualMLP)
        return [last.outer]


class Transformer(Trunk):
    """Layers of attention between all tokens of all inputs, which all tasks share; nothing is private but the heads.

    Attention costs the square of the tokens. Where an input has more than `max_tokens`, they are averaged over
    neighbours first, and every token gets what the layers added to the average that it is part of.

    Args:
        layers: how many, at least one.
        heads: of attention; must divide the width.
        expansion: hidden units per unit of width.
        dropout: on what attention and the hidden units say.
        max_tokens: of one input that attend.
    """

    wants_tokens: ClassVar[bool] = True

    def __init__(
        self, layers: int = 2, heads: int = 4, expansion: float = 2.0, dropout: float = 0.1, max_tokens: int = 256
    ) -> None:
        self.layers = layers
        self.heads = heads
        self.expansion = expansion
        self.dropout = dropout
        self.max_tokens = max_tokens

    def build(self, tasks: Sequence[str], width: int) -> TransformerModule:
        """The layers.

        Raises:
            ConfigError: fewer than one layer, heads that do not divide the width, or no room for tokens.
        """
        if self.layers < 1:
            raise ConfigError(f"trunk.layers: {self.layers} leaves nothing to share; give 1 or more")
        if self.heads < 1 or width % self.heads:
            raise ConfigError(f"trunk.heads: {self.heads} does not divide the width {width}")
        if self.max_tokens < 16:
            raise ConfigError(f"trunk.max_tokens: {self.max_tokens} is too few; give 16 or more")
        return TransformerModule(
            width,
            layers=self.layers,
            heads=self.heads,
            expansion=self.expansion,
            dropout=self.dropout,
            max_tokens=self.max_tokens,
        )
