"""Prediction and distillation: each task hears what others would answer at first (PAD-Net: Xu et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import outer_linears
from trunkline.types import Tokens


class Distillation(nn.Module):
    """One task's: `Fᵏ + Σ_{t≠k} σ(W_g Fᵏ) ⊙ (W_t Fᵗ)`; `[B, L, D]` each."""

    def __init__(self, others: int, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        self.messages = nn.ModuleList(nn.Linear(width, width) for _ in range(others))

    def forward(self, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Apply."""
        if not others:
            return own
        said = torch.stack([message(x) for message, x in zip(self.messages, others, strict=True)]).sum(0)
        return own + torch.sigmoid(self.gate(own)) * said


class PADNetModule(TrunkModule):
    """Layers of `PADNet`; there is one tap a task, from which its first answer is made."""

    closed = "lets every task hear all others, so another one would change what each of them says"

    def __init__(
        self, tasks: Sequence[str], width: int, layers: int, first: float, expansion: float, dropout: float
    ) -> None:
        super().__init__()
        self.tasks, self.first_weight = tuple(tasks), first
        self.layers = nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(layers))
        self.features = nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in tasks)
        self.distillation = nn.ModuleList(Distillation(len(tasks) - 1, width) for _ in tasks)

    def share(self, tokens: Tokens) -> Taps:
        values = tokens.values
        for layer in self.layers:
            values = layer(values)
        return tuple(tokens.with_values(feature(values)) for feature in self.features)

    def first_view(self, task: str, taps: Taps) -> Tokens:
        return taps[self.tasks.index(task)]

    def view(self, task: str, taps: Taps) -> Tokens:
        k = self.tasks.index(task)
        others = [tap.values for place, tap in enumerate(taps) if place != k]
        return taps[k].with_values(cast(Tensor, self.distillation[k](taps[k].values, others)))

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(self.features)


class PADNet(Trunk):
    """Each task makes a first answer from features of its own; then hears of everybody's, and answers again.

    The paper's third way of distillation: `Gᵏ = σ(W_gᵏ Fᵏ)`, `F_oᵏ = Fᵏ + Σ_{t≠k} Gᵏ ⊙ (W_t Fᵗ)`, on each token in
    place of convolutions. The first answers have heads of their own, of the same kinds, and learn from the same labels;
    only training has them. What is different: `Fᵗ` is what the first answer is read off, where the paper makes features
    of the answer itself; and `W_t` is the hearing task's own.

    Every task's features are read by all others, so all of them are shared; a task's own is what it hears by.

    Args:
        layers: shared, before the features; 0 or more.
        first: weight of the first answers' losses in those of the tasks (the log shows both together); 0: nobody makes
            one, and tasks hear features that mean nothing by themselves.
        expansion: hidden units per unit of width.
        dropout: on the hidden units.
    """

    def __init__(self, layers: int = 1, first: float = 1.0, expansion: float = 1.0, dropout: float = 0.1) -> None:
        self.layers = layers
        self.first = first
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> PADNetModule:
        """The layers.

        Raises:
            ConfigError: a negative number of layers, or weight.
        """
        if self.layers < 0:
            raise ConfigError(f"trunk.layers: {self.layers} is no number of layers; give 0 or more")
        if not 0 <= self.first < float("inf"):
            raise ConfigError(f"trunk.first: {self.first} is no weight; give 0 or more")
        return PADNetModule(tasks, width, self.layers, self.first, self.expansion, self.dropout)
