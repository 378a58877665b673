"""Hard parameter sharing: all tasks read the same layers (Caruana 1997)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from trunkline.errors import ConfigError
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import ResidualMLP, outer_linears
from trunkline.types import Tokens


class HardModule(TrunkModule):
    """Layers of `Hard`; the tap is the last layer's output."""

    one_view = True

    def __init__(self, width: int, layers: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(layers))

    def share(self, tokens: Tokens) -> Taps:
        values = tokens.values
        for layer in self.layers:
            values = layer(values)
        return (tokens.with_values(values),)

    def view(self, task: str, taps: Taps) -> Tokens:
        return taps[0]

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(self.layers[-1:])


class Hard(Trunk):
    """Residual layers on each token that all tasks share; nothing is private but the heads.

    Args:
        layers: how many, at least one.
        expansion: hidden units per unit of width.
        dropout: on the hidden units.
    """

    def __init__(self, layers: int = 2, expansion: float = 1.0, dropout: float = 0.1) -> None:
        self.layers = layers
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> HardModule:
        """The layers.

        Raises:
            ConfigError: fewer than one layer.
        """
        if self.layers < 1:
            raise ConfigError(f"trunk.layers: {self.layers} leaves nothing to share; give 1 or more")
        return HardModule(width, self.layers, self.expansion, self.dropout)
