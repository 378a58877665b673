"""Shared layers with something of each task's own in or between them: the whole column runs once for every task.

A loss reaches a task's own part only through the shared layers behind it. So no copy of what those say can be a
boundary: it would weigh the own part, too. Instead a layer's output enters twice. In the view its weights are held
still, and gradients go on to what lies before and to the task's own; in the tap its *input* is held still, and
gradients go to its weights alone. Their values are equal, and the sum of both gradients is the plain one.

Shape legend: `T` tasks, `B` rows, `L` tokens, `D` width, `H` hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.layers import ResidualMLP
from trunkline.trunks.contract import Taps, TrunkModule
from trunkline.trunks.layers import outer_linears
from trunkline.types import Tokens

Call = Callable[[nn.Module, Tensor], Tensor]


class Own(nn.Module):
    """What a task has of its own at a shared layer `x + W₂ gelu(W₁ norm(x))`: in its two linear maps, or behind it."""

    def inner(self, x: Tensor, call: Call) -> Tensor | float:
        """Added to what `W₁` says of `x [B, L, D]`, `[B, L, H]`; every layer of its own is to be asked by `call`."""
        return 0.0

    def outer(self, x: Tensor, call: Call) -> Tensor | float:
        """Added to what `W₂` says of `x [B, L, H]`, `[B, L, D]`."""
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Behind the layer; `[B, L, D]` → `[B, L, D]`."""
        return x


def plain(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer: gradients go to its input and its weights."""
    return cast(Tensor, layer(x))


def held(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer with weights that are held still: gradients go to its input alone."""
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(x, layer.normalized_shape, layer.weight.detach(), layer.bias.detach(), layer.eps)
    weight, bias = cast(nn.Linear, layer).weight, cast(nn.Linear, layer).bias
    return F.linear(x, weight.detach(), None if bias is None else bias.detach())


def learning(layer: ResidualMLP, own: Own, x: Tensor, keep: Tensor | None) -> Tensor:
    """The shared layer on an input that is held still, as the task's own is: gradients go to its weights alone."""
    return _through(layer, own, x.detach(), keep, plain, held)


def still(layer: ResidualMLP, own: Own, x: Tensor, keep: Tensor | None) -> Tensor:
    """The shared layer with weights that are held still: gradients go to its input and to the task's own."""
    return _through(layer, own, x, keep, held, plain)


def _through(layer: ResidualMLP, own: Own, x: Tensor, keep: Tensor | None, shared: Call, private: Call) -> Tensor:
    normed = shared(layer.norm, x)
    hidden = F.gelu(shared(layer.inner, normed) + own.inner(normed, private))
    if keep is not None:
        hidden = hidden * keep
    return x + shared(layer.outer, hidden) + own.outer(hidden, private)


class WovenModule(TrunkModule):
    """Shared layers, each followed by one of the task's own.

    The taps are the tokens; in training with dropout, which hidden units of each layer stay, the same for all tasks;
    and, where gradients are recorded, every layer's output for every task, which that task alone reads.

    Args:
        tasks: names.
        layers: shared.
        own: makes what a task has of its own at one of them.
        dropout: on the shared layers' hidden units.
    """

    def __init__(
        self, tasks: Sequence[str], layers: Sequence[ResidualMLP], own: Callable[[], Own], dropout: float
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
            for depth, (layer, private) in enumerate(zip(self._column(), cast(Iterable[Own], own))):
                said = learning(layer, private, x, keeps[depth] if keeps else None)
                taps.append(tokens.with_values(said))
                with torch.no_grad():
                    x = private(said)
        return tuple(taps)

    def view(self, task: str, taps: Taps) -> Tokens:
        k, count = self.tasks.index(task), len(self.layers)
        keeps, said = (taps[1 : count + 1], taps[count + 1 :]) if self._drops() else ((), taps[1:])
        x = taps[0].values
        for depth, (layer, private) in enumerate(zip(self._column(), cast(Iterable[Own], self.own[k]))):
            x = still(layer, private, x, keeps[depth].values if keeps else None)
            if said:
                tap = said[k * count + depth].values
                x = x + (tap - tap.detach())
            x = private(x)
        return taps[0].with_values(x)

    def private(self, task: str) -> Sequence[nn.Module]:
        return [self.own[self.tasks.index(task)]]

    def last_shared(self) -> Sequence[nn.Linear]:
        return outer_linears(self.layers[-1:])

    def _column(self) -> list[ResidualMLP]:
        return [cast(ResidualMLP, layer) for layer in self.layers]

    def _drops(self) -> bool:
        return self.training and self.dropout > 0

    def _drawn(self, layer: ResidualMLP, values: Tensor) -> Tensor:
        """What a hidden unit is multiplied by, `[B, L, H]`."""
        return F.dropout(values.new_ones(*values.shape[:2], layer.num_hidden), self.dropout)
