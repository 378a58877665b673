"""Hard parameter sharing: all tasks read the same layers (Caruana 1997)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import outer_linears
from trunkline.types import Span, Tokens


class HardModule(TrunkModule):
    """Layers of `Hard`; the tap is the last layer's output, exits included."""

    one_view = True

    def __init__(self, width: int, layers: int, expansion: float, dropout: float, members: int) -> None:
        super().__init__()
        self.members = members
        if members > 1:
            self.entries = nn.Parameter(torch.randn(members, width).sign())
            self.exits = nn.Parameter(torch.randn(members, width).sign())
        self.layers = nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(layers))

    def share(self, tokens: Tokens) -> Taps:
        if self.members > 1:
            tokens = self._multiplied(tokens)
        values = tokens.values
        for layer in self.layers:
            values = layer(values)
        if self.members > 1:
            values = torch.cat([values[:, : self.members] * self.exits, values[:, self.members :]], 1)
        return (tokens.with_values(values),)

    def _multiplied(self, tokens: Tokens) -> Tokens:
        """One row token a member in place of the one, each with signs of its own: `[B, M + L − 1, D]`."""
        row, rest = tokens.values[:, :1] * self.entries, tokens.values[:, 1:]
        mask = torch.cat([tokens.mask[:, :1].expand(-1, self.members), tokens.mask[:, 1:]], 1)
        parts = [Span(None, i, i + 1, "set", (1,)) for i in range(self.members)]
        spans = [replace(s, start=s.start + self.members - 1, stop=s.stop + self.members - 1) for s in tokens.spans[1:]]
        return Tokens(torch.cat([row, rest], 1), mask, (*parts, *spans))

    def view(self, task: str, taps: Taps) -> Tokens:
        return taps[0]

    def layers_in_turn(self) -> Sequence[nn.Module]:
        return list(self.layers)

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(self.layers[-1:])


class Hard(Trunk):
    """Residual layers on each token that all tasks share; nothing is private but the heads.

    Args:
        layers: how many, at least one.
        expansion: hidden units per unit of width.
        dropout: on the hidden units.
        members: of an ensemble that shares all weights: each reads the row with its own scale a feature on the way in
            and out, is trained on its own loss, and the mean of their outputs (of logits, where there are) is the
            answer. After BatchEnsemble (Wen, Tran and Ba 2020, eq. 5: `W ∘ (s rᵀ)`), with scales around the whole trunk
            instead of around each layer and one head for all. It serves tasks that read the row; others read shared
            tokens once. Costs this many times the trunk; pays where rows are few.
    """

    def __init__(
        self, layers: int = 2, expansion: float = 1.0, dropout: float | None = None, members: int | None = None
    ) -> None:
        self.layers = layers
        self.expansion = expansion
        self.dropout = dropout
        self.members = members

    def build(self, tasks: Sequence[str], width: int) -> HardModule:
        """The layers.

        Raises:
            ConfigError: fewer than one layer or member.
        """
        if self.layers < 1:
            raise ConfigError(f"trunk.layers: {self.layers} leaves nothing to share; give 1 or more")
        members = 1 if self.members is None else self.members
        if members < 1:
            raise ConfigError(f"trunk.members: {members} leaves nobody to answer; give 1 or more")
        return HardModule(width, self.layers, self.expansion, 0.1 if self.dropout is None else self.dropout, members)
