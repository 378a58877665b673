"""Feature-wise linear modulation by the task (FiLM: Perez et al., AAAI 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Trunk
from trunkline.trunks.woven import Own, WovenModule


class Modulation(Own):
    """`FiLM(x) = γ ⊙ x + β` (eq. 2), the identity at first; `[…, D]` → `[…, D]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return self.gamma * x + self.beta


class FiLM(Trunk):
    """One network for all tasks, each of which scales and shifts every feature behind every layer.

    Eq. 1 and 2 of the paper, with the task for a condition: `γ` and `β` of a task and a layer, from a network that
    reads which task it is, are then free numbers. At the start all tasks see what `hard` would show them.

    The layers run once for every task, and in training twice: `trunks/woven.py` says why. Of gradients compared at the
    boundary, two tasks meet only in the tokens, not in the layers; level `last` sees these, and is what `auto` takes.

    Args:
        layers: how many, at least one.
        expansion: hidden units per unit of width.
        dropout: on the hidden units, the same for all tasks.
    """

    meets_at_taps: ClassVar[bool] = False

    def __init__(self, layers: int = 2, expansion: float = 1.0, dropout: float = 0.1) -> None:
        self.layers = layers
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> WovenModule:
        """The layers.

        Raises:
            ConfigError: fewer than one layer.
        """
        if self.layers < 1:
            raise ConfigError(f"trunk.layers: {self.layers} leaves nothing to share; give 1 or more")
        column = [ResidualMLP(width, expansion=self.expansion, dropout=0.0) for _ in range(self.layers)]
        return WovenModule(tasks, column, lambda: Modulation(width), self.dropout)
