"""Masked mean: what is present is averaged, what is absent does not take part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trunkline.fusion.contract import Fusion, FusionModule
from trunkline.fusion.layers import InputVectors, KeptTokens, masked_mean, present_columns
from trunkline.types import Tokens


class MeanModule(FusionModule):
    """Layers of `Mean`; see there."""

    def __init__(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> None:
        super().__init__()
        self.vectors = InputVectors(encoders, width)
        self.kept = KeptTokens(keep, width)

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        vectors = self.vectors(tokens)
        row = torch.nn.functional.gelu(masked_mean(vectors, present_columns(present, self.vectors.encoders)))
        return self.kept(row, list(tokens.values()))


class Mean(Fusion):
    """The mean over the inputs that a row has, each as one vector mapped by a layer of its own.

    `gelu(1/n Σᵢ Wᵢ norm(xᵢ))` over the `n` inputs present (as in deep sets, Zaheer et al. 2017, with a map
    for each input). An absent input takes no part: a row with one input is that input alone, whatever else there is.
    Spans that a task reads follow behind, with a projection of the row added to each token.
    """

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> MeanModule:
        """The layers."""
        return MeanModule(encoders, keep, width)
