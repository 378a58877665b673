"""Gated multimodal unit (Arevalo, Solorio, Montes-y-Gómez, González, ICLR workshop 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.fusion.contract import Fusion, FusionModule
from trunkline.fusion.layers import InputVectors, KeptTokens, present_columns
from trunkline.types import Tokens


def gates(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over the inputs that are present, for each unit: `[B, E, D]` and `[B, E]` → `[B, E, D]`.

    An absent input's gate is exactly 0.
    """
    here = present | ~present.any(1, keepdim=True)  # no row is without inputs; if one were, it would not be NaN
    return torch.softmax(logits.masked_fill(~here.unsqueeze(-1), float("-inf")), 1)


class GatedModule(FusionModule):
    """Layers of `Gated`; see there."""

    def __init__(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> None:
        super().__init__()
        self.vectors = InputVectors(encoders, width)
        self.gate = nn.Linear(len(encoders) * width, len(encoders) * width, bias=False)
        self.kept = KeptTokens(keep, width)

    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        here = present_columns(present, self.vectors.encoders)
        x = torch.stack(self.vectors.normalised(tokens), 1)  # [B, E, D]
        x = torch.where(here.unsqueeze(-1), x, torch.zeros_like(x))
        hidden = torch.stack([torch.tanh(one(own)) for one, own in zip(self.vectors.maps, x.unbind(1))], 1)
        logits = self.gate(x.flatten(1)).unflatten(1, (x.shape[1], x.shape[2]))
        return self.kept((gates(logits, here) * hidden).sum(1), list(tokens.values()))


class Gated(Fusion):
    """Each unit of the row is a weighted mean over inputs, and the weights are read off all of them.

    `hᵢ = tanh(Wᵢ xᵢ)`, `h = Σᵢ zᵢ ⊙ hᵢ`, with `xᵢ` an input's normalised vector. For two inputs the paper has
    `z = σ(W_z [x₁, x₂])` and `1 − z` as weights; here `z = softmaxᵢ(Vᵢ [x₁ … xₙ])`, unit by unit,
    which for two is the same with `W_z = V₁ − V₂` and goes on to any number. (The paper's own unit for more than two
    has independent sigmoids, whose sum grows with the number of inputs.)

    An absent input's gate is 0, and no gate reads it: a row with one input is `h₁` alone. Spans that a task reads
    follow behind, with a projection of the row added to each token.
    """

    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> GatedModule:
        """The layers."""
        return GatedModule(encoders, keep, width)
