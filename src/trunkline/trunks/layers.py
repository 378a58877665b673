"""What trunks are made of. Shape legend: `B` rows, `L` tokens, `D` width, `E` experts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn


class ResidualMLP(nn.Module):
    """`x + W₂ gelu(W₁ norm(x))` on each token, pre-norm; `[…, D]` → `[…, D]`."""

    def __init__(self, width: int, *, expansion: float, dropout: float) -> None:
        super().__init__()
        self.num_hidden = max(1, round(width * expansion))
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, self.num_hidden)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(self.num_hidden, width)

    def hidden(self, x: Tensor) -> Tensor:
        """What comes before the last linear map, `[…, hidden]`."""
        return self.dropout(nn.functional.gelu(self.inner(self.norm(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return x + self.outer(self.hidden(x))


def mixture(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """`Σᵢ wᵢ vᵢ`: a row's weights `[B, E]` hold for all its tokens; `E` times `[B, L, D]` → `[B, L, D]`."""
    return torch.stack([w[:, None, None] * value for w, value in zip(weights.unbind(-1), values, strict=True)]).sum(0)


def outer_linears(layers: Iterable[nn.Module]) -> list[nn.Linear]:
    """The last linear layer of each `ResidualMLP`."""
    return [layer.outer for layer in cast(Iterable[ResidualMLP], layers)]
