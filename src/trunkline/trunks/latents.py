"""Latents that all tasks share, read by a query of each task (Perceiver IO: Jaegle et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import CrossAttention, LatentLayers, ResidualMLP
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.types import Span, Tokens


class Reading(nn.Module):
    """One task's own: a query for the row, and layers by which it and other tokens ask the latents."""

    def __init__(self, width: int, *, heads: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.decode = CrossAttention(width, heads=heads, dropout=dropout)
        self.out = ResidualMLP(width, expansion=expansion, dropout=dropout)

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """Tokens `[B, L, D]`, the row's first, and latents `[B, N, D]` → `[B, L, D]`."""
        asking = torch.cat([tokens[:, :1] + self.query, tokens[:, 1:]], 1)
        every = torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)
        return self.out(self.decode(asking, latents, every))


class LatentsModule(TrunkModule):
    """Layers of `Latents`; the taps are the latents and the tokens that ask them."""

    def __init__(
        self,
        tasks: Sequence[str],
        width: int,
        *,
        latents: int,
        layers: int,
        heads: int,
        expansion: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.latents = LatentLayers(
            width, latents=latents, layers=layers, heads=heads, expansion=expansion, dropout=dropout
        )
        self.readings = nn.ModuleList(Reading(width, heads=heads, expansion=expansion, dropout=dropout) for _ in tasks)

    def share(self, tokens: Tokens) -> Taps:
        x, mask = self.latents(tokens.values, tokens.mask)
        number = x.shape[1]
        return (Tokens(x, mask, (Span(None, 0, number, "set", (number,)),)), tokens)

    def view(self, task: str, taps: Taps) -> Tokens:
        latents, tokens = taps
        reading = self.readings[self.tasks.index(task)]
        return tokens.with_values(reading(tokens.values, latents.values))

    def private(self, task: str) -> Sequence[nn.Module]:
        return [self.readings[self.tasks.index(task)]]

    def last_shared(self) -> Sequence[nn.Linear]:
        last = self.latents.mlps[-1]
        assert isinstance(last, ResidualMLP)
        return [last.outer]


class Latents(Trunk):
    """A few latents read the tokens of all inputs; all tasks share them, and each asks them by itself.

    Encode, process, decode (section 3.1 of the paper): latents attend to all tokens, `layers` of attention among the
    latents follow, and then each task asks, for the row by a query of its own added to what the fusion says of it, for
    other tokens by these themselves. Attention costs tokens times latents, so long inputs are cheap; what a task has
    for its own is a layer of attention and one of hidden units.

    Args:
        latents: how many.
        layers: of attention among them; 0 or more.
        heads: of attention; must divide the width.
        expansion: hidden units per unit of width.
        dropout: on what attention and the hidden units say.
    """

    wants_tokens: ClassVar[bool] = True

    def __init__(
        self, latents: int = 16, layers: int = 2, heads: int = 4, expansion: float = 2.0, dropout: float = 0.1
    ) -> None:
        self.latents = latents
        self.layers = layers
        self.heads = heads
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> LatentsModule:
        """The layers.

        Raises:
            ConfigError: no latents, less than no layers, or heads that do not divide the width.
        """
        if self.latents < 1:
            raise ConfigError(f"trunk.latents: {self.latents} leaves nothing to share; give 1 or more")
        if self.layers < 0:
            raise ConfigError(f"trunk.layers: {self.layers} is no number of layers; give 0 or more")
        if self.heads < 1 or width % self.heads:
            raise ConfigError(f"trunk.heads: {self.heads} does not divide the width {width}")
        return LatentsModule(
            tasks,
            width,
            latents=self.latents,
            layers=self.layers,
            heads=self.heads,
            expansion=self.expansion,
            dropout=self.dropout,
        )
