"""What trunks are made of. Shape legend: `B` rows, `L` tokens, `D` width, `E` experts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from trunkline.layers import ResidualMLP


class Loads:
    """How much each task took of each expert, over all rows since it was last forgotten."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Tensor, int]] = {}

    def note(self, task: str, weights: Tensor) -> None:
        """A gate's weights `[B, E]`."""
        total, rows = self._seen.get(task, (0.0, 0))
        self._seen[task] = total + weights.detach().sum(0), rows + weights.shape[0]

    def forget(self) -> None:
        """Begin anew."""
        self._seen.clear()

    def of(self, task: str) -> list[float]:
        """The mean over rows, expert by expert; of a task that was not asked for, nothing. Waits for the device."""
        total, rows = self._seen.get(task, (0.0, 0))
        return (total / rows).tolist() if isinstance(total, Tensor) and rows else []


def mixture(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """`Σᵢ wᵢ vᵢ`: a row's weights `[B, E]` hold for all its tokens; `E` times `[B, L, D]` → `[B, L, D]`."""
    return torch.stack([w[:, None, None] * value for w, value in zip(weights.unbind(-1), values, strict=True)]).sum(0)


def outer_linears(layers: Iterable[nn.Module]) -> list[nn.Linear]:
    """The last linear layer of each `ResidualMLP`."""
    return [layer.outer for layer in cast(Iterable[ResidualMLP], layers)]
