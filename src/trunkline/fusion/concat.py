"""Concatenation: one vector an input, side by side, mixed by one layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.fusion.contract import Fusion, FusionModule
from trunkline.fusion.layers import KeptTokens, normalised, pools_and_norms
from trunkline.types import Tokens


class ConcatModule(FusionModule):
    """Layers of `Concat`; see there."""

    def __init__(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> None:
        super().__init__()
        self.encoders = tuple(encoders)
        self.pools, self.norms = pools_and_norms(encoders, width)
        self.mix = nn.Linear(len(encoders) * width, width) if len(encoders) > 1 else nn.Identity()
        self.kept = KeptTokens(keep, width)

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        rows = normalised(tokens, self.encoders, self.pools, self.norms)
        row = nn.functional.gelu(self.mix(torch.cat(rows, -1)))
        return self.kept(row, list(tokens.values()))


class Concat(Fusion):
    """Each input's tokens become one vector (see `Pool`); the vectors are joined and, if several, mixed by one layer.

    An absent input takes part with its learned token. Spans that a task reads follow behind, with a projection of the
    row added to each token, so that every position knows of the other inputs.
    """

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> ConcatModule:
        """The layers."""
        return ConcatModule(encoders, keep, width)
