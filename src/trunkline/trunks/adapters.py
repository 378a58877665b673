"""Adapters: a bottleneck of each task's own in a shared network (Rebuffi et al. 2017; Houlsby et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Trunk
from trunkline.trunks.woven import Own, WovenModule


class Adapter(Own):
    """`x + W_up gelu(W_down x)`, the identity at first; `[…, D]` → `[…, D]`."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return x + self.up(F.gelu(self.down(x)))


class Adapters(Trunk):
    """One network for all tasks, with a small layer of each task's own behind every layer.

    The adapter of Houlsby et al. (their figure 2): down to a few numbers, a nonlinearity, up again, and a skip. It
    starts as the identity. What is different: theirs lie in a pretrained network that is held still; here all learn.

    The layers run once for every task, and in training twice: `trunks/woven.py` says why. Of gradients compared at the
    boundary, two tasks meet only in the tokens, not in the layers; level `last` sees these, and is what `auto` takes.

    Args:
        layers: shared, at least one.
        rank: numbers that an adapter keeps of a token.
        expansion: hidden units of a shared layer per unit of width.
        dropout: on the shared layers' hidden units, the same for all tasks.
    """

    meets_at_taps: ClassVar[bool] = False

    def __init__(self, layers: int = 2, rank: int = 8, expansion: float = 1.0, dropout: float = 0.1) -> None:
        self.layers = layers
        self.rank = rank
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> WovenModule:
        """The layers.

        Raises:
            ConfigError: fewer than one layer, or adapters that are no bottleneck.
        """
        if self.layers < 1:
            raise ConfigError(f"trunk.layers: {self.layers} leaves nothing to share; give 1 or more")
        if not 1 <= self.rank < width:
            raise ConfigError(f"trunk.rank: {self.rank} is no bottleneck in a width of {width}; give 1 to {width - 1}")
        column = [ResidualMLP(width, expansion=self.expansion, dropout=0.0) for _ in range(self.layers)]
        return WovenModule(tasks, column, lambda: Adapter(width, self.rank), self.dropout)
