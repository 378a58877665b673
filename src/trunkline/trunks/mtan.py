"""Multi-task attention network: soft attention per task at every depth (Liu, Johns, Davison, CVPR 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import ResidualMLP
from trunkline.types import Tokens


class AttentionModule(nn.Module):
    """One task's soft attention at one depth: `â = h(g([p; f(â_before)])) ⊙ p` (eq. 1 and 2)."""

    def __init__(self, width: int, is_first: bool) -> None:
        super().__init__()
        self.f = None if is_first else nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU())
        inputs = width if is_first else 2 * width
        self.g = nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU())
        self.h = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Sigmoid())

    def forward(self, shared: Tensor, before: Tensor | None) -> Tensor:
        """Shared features `[B, L, D]` and what was attended one depth before → attended features."""
        joined = shared if before is None or self.f is None else torch.cat([shared, self.f(before)], -1)
        return self.h(self.g(joined)) * shared


class MTANModule(TrunkModule):
    """Layers of `MTAN`; there is one tap a depth."""

    def __init__(self, tasks: Sequence[str], width: int, layers: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.layers = nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(layers))
        self.attention = nn.ModuleList(
            nn.ModuleList(AttentionModule(width, is_first=depth == 0) for depth in range(layers)) for _ in tasks
        )

    def share(self, tokens: Tokens) -> Taps:
        taps = []
        for layer in self.layers:
            tokens = tokens.with_values(layer(tokens.values))
            taps.append(tokens)
        return tuple(taps)

    def view(self, task: str, taps: Taps) -> Tokens:
        attended: Tensor | None = None
        modules = cast(Iterable[nn.Module], self.attention[self.tasks.index(task)])
        for module, tap in zip(modules, taps):
            attended = module(tap.values, attended)
        assert attended is not None
        return taps[-1].with_values(attended)

    def last_shared(self) -> Sequence[nn.Linear]:
        return [self.layers[-1].outer]  # type: ignore[list-item]


class MTAN(Trunk):
    """A shared column of layers; each task looks at every depth through a soft mask of its own.

    The paper's 1×1 convolutions with batch norm are linear layers with layer norm here, on each token. Its `f` is
    shared between tasks and reads private features; here each task has its own, so that everything shared lies on one
    side of the taps.

    Args:
        layers: depths of the shared column.
        expansion: hidden units of a shared layer per unit of width.
        dropout: on the hidden units.
    """

    def __init__(self, layers: int = 2, expansion: float = 1.0, dropout: float = 0.1) -> None:
        self.layers = layers
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> MTANModule:
        """The layers.

        Raises:
            ConfigError: fewer than one layer.
        """
        if self.layers < 1:
            raise ConfigError(f"trunk.layers: {self.layers} leaves nothing to share; give 1 or more")
        return MTANModule(tasks, width, self.layers, self.expansion, self.dropout)
