"""Low-rank adaptation by the task (LoRA: Hu et al., ICLR 2022) of shared layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Trunk
from trunkline.trunks.woven import Call, Own, WovenModule


class LowRank(Own):
    """`α/r · B A x` in both linear maps of a shared layer, of the task's own; 0 at first."""

    def __init__(self, width: int, hidden: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.inner_down, self.inner_up = _pair(width, hidden, rank)
        self.outer_down, self.outer_up = _pair(hidden, width, rank)

    def inner(self, x: Tensor, call: Call) -> Tensor:
        return self.scale * call(self.inner_up, call(self.inner_down, x))

    def outer(self, x: Tensor, call: Call) -> Tensor:
        return self.scale * call(self.outer_up, call(self.outer_down, x))


def _pair(inputs: int, outputs: int, rank: int) -> tuple[nn.Linear, nn.Linear]:
    """`A` as linear layers begin, `B = 0`."""
    down, up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
    nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
    nn.init.zeros_(up.weight)
    return down, up


class LoRA(Trunk):
    """One network for all tasks, whose every weight each task changes by a matrix of low rank.

    Eq. 3 of the paper, `W x + α/r · B A x`, with `A` and `B` of the task's own in both linear maps of each shared
    layer. Theirs changes a pretrained network that is held still; here the shared weights learn, too, from all tasks.
    At the start all tasks see what `hard` would show them.

    The layers run once for every task, and in training twice: `trunks/woven.py` says why. Of gradients compared at the
    boundary, two tasks meet only in the tokens, not in the layers; level `last` sees these, and is what `auto` takes.

    Args:
        layers: shared, at least one.
        rank: `r` of what a task adds to a weight.
        alpha: what it adds is multiplied by `alpha / rank`.
        expansion: hidden units of a shared layer per unit of width.
        dropout: on the shared layers' hidden units, the same for all tasks.
    """

    meets_at_taps: ClassVar[bool] = False

    def __init__(
        self, layers: int = 2, rank: int = 4, alpha: float = 8.0, expansion: float = 1.0, dropout: float = 0.1
    ) -> None:
        self.layers = layers
        self.rank = rank
        self.alpha = alpha
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> WovenModule:
        """The layers.

        Raises:
            ConfigError: fewer than one layer, a rank that is not low, or no `alpha`.
        """
        if self.layers < 1:
            raise ConfigError(f"trunk.layers: {self.layers} leaves nothing to share; give 1 or more")
        column = [ResidualMLP(width, expansion=self.expansion, dropout=0.0) for _ in range(self.layers)]
        hidden = column[0].num_hidden
        if not 1 <= self.rank < min(width, hidden):
            most = min(width, hidden) - 1
            raise ConfigError(f"trunk.rank: {self.rank} is no low rank of {width} × {hidden}; give 1 to {most}")
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"trunk.alpha: {self.alpha} lets no task change a weight; give more than 0")
        return WovenModule(tasks, column, lambda: LowRank(width, hidden, self.rank, self.alpha), self.dropout)
