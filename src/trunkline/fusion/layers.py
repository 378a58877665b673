"""What the fusions are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trunkline.types import Tokens


class InputVectors(nn.Module):
    """One vector an encoder: the mean over its tokens, normalised, and mapped by a layer of its own."""

    def __init__(self, encoders: Sequence[str], width: int) -> None:
        super().__init__()
        self.encoders = tuple(encoders)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in encoders)
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in encoders)

    def normalised(self, tokens: Mapping[str, Tokens]) -> list[Tensor]:
        """Before the maps, one `[B, D]` an encoder."""
        return [norm(tokens[name].row()) for name, norm in zip(self.encoders, self.norms)]

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        """`[B, E, D]`."""
        return torch.stack([one(x) for one, x in zip(self.maps, self.normalised(tokens))], 1)


class KeptTokens(nn.Module):
    """The fused row as the first token; behind it the spans that a task or the trunk reads, which hear of the row.

    A projection of the row is added to each of their tokens, so that every position knows of the other inputs.

    Args:
        keep: names of the inputs whose spans are wanted.
        width: `D`.
    """

    def __init__(self, keep: Sequence[str], width: int) -> None:
        super().__init__()
        self.keep = tuple(keep)
        self.context = nn.Linear(width, width) if keep else None

    def forward(self, row: Tensor, parts: Sequence[Tokens]) -> Tokens:
        """Row `[B, D]` and every encoder's tokens → all of it."""
        fused = [Tokens.of_rows(row)]
        if self.context is not None:
            context = self.context(row).unsqueeze(1)
            kept = (part for part in parts if any(span.input in self.keep for span in part.spans))
            fused += [part.with_values(part.values + context) for part in kept]
        return Tokens.cat(fused)


def present_columns(present: Mapping[str, Tensor], encoders: Sequence[str]) -> Tensor:
    """Flags by encoder → `[B, E]` bool."""
    return torch.stack([present[name] for name in encoders], 1)
