"""What trunks are made of. Shape legend: `B` rows, `L` tokens, `D` width, `E` experts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from trunkline.layers import ResidualMLP


class Loads:
    """How much each task took of each expert in the last step of training."""

    def __init__(self) -> None:
        self._seen: dict[str, Tensor] = {}

    def note(self, task: str, weights: Tensor) -> None:
        """A gate's weights `[B, E]`."""
        self._seen[task] = weights.detach().mean(0)

    def named(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """By task and expert."""
        return {task: dict(zip(names, seen.tolist(), strict=True)) for task, seen in self._seen.items()}


def mixture(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """`Σᵢ wᵢ vᵢ`: a row's weights `[B, E]` hold for all its tokens; `E` times `[B, L, D]` → `[B, L, D]`."""
    return torch.stack([w[:, None, None] * value for w, value in zip(weights.unbind(-1), values, strict=True)]).sum(0)


def outer_linears(layers: Iterable[nn.Module]) -> list[nn.Linear]:
    """The last linear layer of each `ResidualMLP`."""
    return [layer.outer for layer in cast(Iterable[ResidualMLP], layers)]
