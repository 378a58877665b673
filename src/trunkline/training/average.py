"""A running average of the weights, which is often better than the last ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of a network's parameters.

    While there are few steps to average over, fewer are: after `t` steps the decay is `(1 + t) / (10 + t)` at most, so
    that the first, random weights are soon forgotten. Buffers (running statistics) are the network's own.

    Args:
        network: whose.
        decay: how much of the average a step keeps.
        own: of a parameter, what this process keeps of it.
    """

    def __init__(self, network: nn.Module, decay: float, own: Callable[[Tensor], Tensor] = lambda p: p) -> None:
        self.decay, self.steps = decay, 0
        named = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.parameters: list[Tensor] = [own(p) for p in named.values()]
        self.names = list(named)
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Count one more step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, self.parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network holds the average while the block lasts."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """The network's weights and the average change places, one after the other; each stays where it lies."""
        for parameter, value in zip(self.parameters, self.values):
            before = parameter.clone()
            parameter.copy_(value)
            value.copy_(before)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, beside the number of steps."""
        return dict(zip(self.names, self.values))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Go on from there."""
        self.steps = steps
        for name, value in zip(self.names, self.values):
            value.copy_(state[name])
