"""Cross-stitch networks (Misra et al., CVPR 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from trunkline.errors import ConfigError
from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, Trunk, TrunkModule
from trunkline.trunks.layers import outer_linears
from trunkline.types import Tokens


def stitches(tasks: int, channels: int, same: float) -> Tensor:
    """`α [T, T, C]`: `same` of a task's own column, the rest in equal parts of the others."""
    if tasks == 1:
        return torch.ones(1, 1, channels)
    alpha = torch.full((tasks, tasks), (1 - same) / (tasks - 1)).fill_diagonal_(same)
    return alpha.unsqueeze(-1).repeat(1, 1, channels)


def stitched(alpha: Tensor, columns: Sequence[Tensor]) -> Tensor:
    """`Σⱼ αⱼ xⱼ`, one row of eq. 1: `α [T, C]` and `T` times `[B, L, D]` → `[B, L, D]`."""
    return torch.stack([a * column for a, column in zip(alpha, columns, strict=True)]).sum(0)


class CrossStitchModule(TrunkModule):
    """Layers of `CrossStitch`; the taps are what the last layers of all columns say, before it is mixed."""

    closed = "mixes the columns of all tasks at every depth, so another one would change what each of them says"

    def __init__(
        self,
        tasks: Sequence[str],
        width: int,
        *,
        layers: int,
        same: float,
        channels: int,
        expansion: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.layers = nn.ModuleList(
            nn.ModuleList(ResidualMLP(width, expansion=expansion, dropout=dropout) for _ in tasks)
            for _ in range(layers)
        )
        start = stitches(len(tasks), channels, same)
        self.inner = nn.ParameterList(nn.Parameter(start.clone()) for _ in range(layers - 1))
        self.last = nn.ParameterList(nn.Parameter(row.clone()) for row in start)

    def share(self, tokens: Tokens) -> Taps:
        columns = [tokens.values] * len(self.tasks)
        for depth, layers in enumerate(self.layers):
            if depth:
                columns = [stitched(row, columns) for row in self.inner[depth - 1]]
            columns = [layer(x) for layer, x in zip(cast(nn.ModuleList, layers), columns)]
        return tuple(tokens.with_values(x) for x in columns)

    def view(self, task: str, taps: Taps) -> Tokens:
        return taps[0].with_values(stitched(self.last[self.tasks.index(task)], [tap.values for tap in taps]))

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(cast(nn.ModuleList, self.layers[-1]))


class CrossStitch(Trunk):
    """A column of layers a task; after each layer every column goes on with a learned mixture of all.

    Eq. 1 of the paper: `x̃ₖ = Σⱼ αₖⱼ xⱼ`, here for any number of tasks. Each loss reaches each column through the
    mixing behind it, so all layers are shared, and all `α` but a task's row of the last one. What a task has for itself
    is weight, not layers: with `α` near the identity, its gradient in another's column is `αₖⱼ` times as large as it
    would be in its own, and the gradients of two tasks have little to do with each other by construction. A balancer
    finds little to balance here.

    What is different: the paper starts from networks trained for one task each, and gives `α` a rate of 100 to 1000
    times the layers'; here columns start anew, and `α` has the rate of all else (Adam's steps do not grow with the
    gradient).

    Args:
        layers: of each column.
        stitch: `channel`, an `α` for each feature, as in the paper; or `layer`, one for all.
        same: of a task's own column in its mixture at the start; the others have the rest.
        expansion: hidden units of a layer per unit of width.
        dropout: on the hidden units.
    """

    def __init__(
        self,
        layers: int = 2,
        stitch: Literal["channel", "layer"] = "channel",
        same: float = 0.9,
        expansion: float = 1.0,
        dropout: float = 0.1,
    ) -> None:
        self.layers = layers
        self.stitch = stitch
        self.same = same
        self.expansion = expansion
        self.dropout = dropout

    def build(self, tasks: Sequence[str], width: int) -> CrossStitchModule:
        """The layers.

        Raises:
            ConfigError: fewer than one layer, stitches of another kind, or a share that is none.
        """
        if self.layers < 1:
            raise ConfigError(f"trunk.layers: {self.layers} leaves nothing to share; give 1 or more")
        if self.stitch not in ("channel", "layer"):
            raise ConfigError(f"trunk.stitch: {self.stitch!r} is neither 'channel' nor 'layer'")
        if not 0 < self.same <= 1:
            raise ConfigError(f"trunk.same: {self.same} is no share of a task's own column; give one up to 1")
        return CrossStitchModule(
            tasks,
            width,
            layers=self.layers,
            same=self.same,
            channels=width if self.stitch == "channel" else 1,
            expansion=self.expansion,
            dropout=self.dropout,
        )
