"""Multi-task attention network: soft attention per task at every depth (Liu, Johns, Davison, CVPR 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import outer_linears
from trunkline.types import Tokens


class AttentionModule(nn.Module):
    """One task's soft attention at one depth: `â = h(g([u; f(â_before)])) ⊙ p` (eq. 1 and 2).

    Args:
        hidden: width of `u`.
        width: of `p` and `â`.
        is_first: at the first depth there is no `â_before`.
    """

    def __init__(self, hidden: int, width: int, *, is_first: bool) -> None:
        super().__init__()
        self.f = None if is_first else nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU())
        inputs = hidden if is_first else hidden + width
        self.g = nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU())
        self.h = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Sigmoid())

    def forward(self, u: Tensor, p: Tensor, before: Tensor | None) -> Tensor:
        """What the shared layer has inside and what it returns, and what was attended one depth before → `â`."""
        joined = u if before is None or self.f is None else torch.cat([u, self.f(before)], -1)
        return self.h(self.g(joined)) * p


class MTANModule(TrunkModule):
    """Layers of `MTAN`; there are two taps a depth, `u` and `p`."""

    def __init__(self, tasks: Sequence[str], width: int, layers: int, expansion: float, dropout: float) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        shared = [ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in range(layers)]
        self.layers = nn.ModuleList(shared)
        self.attention = nn.ModuleList(
            nn.ModuleList(AttentionModule(s.num_hidden, width, is_first=depth == 0) for depth, s in enumerate(shared))
            for _ in tasks
        )

    def share(self, tokens: Tokens) -> Taps:
        taps: list[Tokens] = []
        for layer in cast(Iterable[ResidualMLP], self.layers):
            u = layer.hidden(tokens.values)
            taps.append(tokens.with_values(u))
            tokens = tokens.with_values(tokens.values + layer.outer(u))
            taps.append(tokens)
        return tuple(taps)

    def view(self, task: str, taps: Taps) -> Tokens:
        attended: Tensor | None = None
        modules = cast(Iterable[nn.Module], self.attention[self.tasks.index(task)])
        for module, u, p in zip(modules, taps[::2], taps[1::2], strict=True):
            attended = module(u.values, p.values, attended)
        assert attended is not None
        return taps[-1].with_values(attended)

    def private(self, task: str) -> Sequence[nn.Module]:
        return [self.attention[self.tasks.index(task)]]

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(self.layers[-1:])


class MTAN(Trunk):
    """A shared column of layers; each task looks at every depth through a soft mask of its own.

    Eq. 1 and 2 of the paper: `âₖ⁽ʲ⁾ = hₖ⁽ʲ⁾(gₖ⁽ʲ⁾([u⁽ʲ⁾; f⁽ʲ⁾(âₖ⁽ʲ⁻¹⁾)])) ⊙ p⁽ʲ⁾`, where a shared layer has `u⁽ʲ⁾`
    inside (here its hidden units) and returns `p⁽ʲ⁾`; at the first depth `g` reads `u⁽¹⁾` alone. What is different:

    - Convolutions with batch norm are linear layers with layer norm, on each token; there is no pooling, and no
      up-sampling. The shared layers are residual.
    - The paper's `f` is shared between tasks and reads private features; here each task has its own, so that
      everything shared lies on one side of the taps.

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
