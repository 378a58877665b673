"""Shared layers with something of each task's own between them: the whole column runs once for every task.

A loss reaches a task's own part only through the shared layers behind it. So no copy of what those say can be a
boundary: it would weigh the own part, too. Instead a layer's output enters twice. In the view its weights are held
still, and gradients go on to what lies before; in the tap its *input* is held still, and gradients go to its weights
alone. Their values are equal, and the sum of both gradients is the plain one.

Shape legend: `T` tasks, `B` rows, `L` tokens, `D` width, `H` hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, TrunkModule
from trunkline.trunks.layers import outer_linears
from trunkline.types import Tokens


def learning(layer: ResidualMLP, x: Tensor, keep: Tensor | None) -> Tensor:
    """The layer on an input that is held still: gradients go to its weights alone."""
    x = x.detach()
    hidden = layer.hidden(x)
    return x + layer.outer(hidden if keep is None else hidden * keep)


def still(layer: ResidualMLP, x: Tensor, keep: Tensor | None) -> Tensor:
    """The layer with weights that are held still: gradients go to its input alone."""
    norm, inner, outer = layer.norm, layer.inner, layer.outer
    normed = F.layer_norm(x, norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps)
    hidden = F.gelu(F.linear(normed, inner.weight.detach(), inner.bias.detach()))
    return x + F.linear(hidden if keep is None else hidden * keep, outer.weight.detach(), outer.bias.detach())


class WovenModule(TrunkModule):
    """Shared layers, each followed by one of the task's own.

    The taps are the tokens; in training with dropout, which hidden units of each layer stay, the same for all tasks;
    and, where gradients are recorded, every layer's output for every task, which that task alone reads.

    Args:
        tasks: names.
        layers: shared.
        own: makes a task's layer, `[B, L, D]` → `[B, L, D]`.
        dropout: on the shared layers' hidden units.
    """

    def __init__(
        self, tasks: Sequence[str], layers: Sequence[ResidualMLP], own: Callable[[], nn.Module], dropout: float
    ) -> None:
        super().__init__()
        self.tasks, self.dropout = tuple(tasks), dropout
        self.layers = nn.ModuleList(layers)
        self.own = nn.ModuleList(nn.ModuleList(own() for _ in layers) for _ in tasks)

    def share(self, tokens: Tokens) -> Taps:
        keeps = [self._drawn(layer, tokens.values) for layer in self._column()] if self._drops() else []
        taps = [tokens, *map(tokens.with_values, keeps)]
        if not torch.is_grad_enabled():
            return tuple(taps)
        for own in self.own:
            x = tokens.values
            for depth, (layer, private) in enumerate(zip(self._column(), cast(nn.ModuleList, own))):
                said = learning(layer, x, keeps[depth] if keeps else None)
                taps.append(tokens.with_values(said))
                with torch.no_grad():
                    x = private(said)
        return tuple(taps)

    def view(self, task: str, taps: Taps) -> Tokens:
        k, count = self.tasks.index(task), len(self.layers)
        keeps, said = (taps[1 : count + 1], taps[count + 1 :]) if self._drops() else ((), taps[1:])
        x = taps[0].values
        for depth, (layer, private) in enumerate(zip(self._column(), cast(nn.ModuleList, self.own[k]))):
            x = still(layer, x, keeps[depth].values if keeps else None)
            if said:
                tap = said[k * count + depth].values
                x = x + (tap - tap.detach())
            x = private(x)
        return taps[0].with_values(x)

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(self.layers[-1:])

    def _column(self) -> list[ResidualMLP]:
        return [cast(ResidualMLP, layer) for layer in self.layers]

    def _drops(self) -> bool:
        return self.training and self.dropout > 0

    def _drawn(self, layer: ResidualMLP, values: Tensor) -> Tensor:
        """What a hidden unit is multiplied by, `[B, L, H]`."""
        return F.dropout(values.new_ones(*values.shape[:2], layer.num_hidden), self.dropout)
