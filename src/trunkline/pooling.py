"""Long spans made short for attention, and what was found there given back to every token.

Shape legend: `B` rows, `L` tokens, `S` slots, `D` width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trunkline.types import Span, Tokens


@dataclass(frozen=True)
class Pooling:
    """Which slot each token is averaged into.

    Attributes:
        slots: `[L]`, one a token.
        num_slots: `S`.
    """

    slots: Tensor
    num_slots: int

    def pool(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over each slot's present tokens: `[B, L, D]`, `[B, L]` → `[B, S, D]`, `[B, S]`."""
        weight = mask.to(values.dtype)
        held = torch.where(mask.unsqueeze(-1), values, torch.zeros_like(values))
        sums = values.new_zeros(values.shape[0], self.num_slots, values.shape[2]).index_add(1, self.slots, held)
        counts = weight.new_zeros(weight.shape[0], self.num_slots).index_add(1, self.slots, weight)
        return sums / counts.clamp(min=1.0).unsqueeze(-1), counts > 0

    def spread(self, pooled: Tensor) -> Tensor:
        """Every token gets its slot's value: `[B, S, D]` → `[B, L, D]`."""
        return pooled.index_select(1, self.slots)


def pooling_for(tokens: Tokens, limit: int) -> Pooling | None:
    """Slots for at most `limit` tokens of each span, of a feature pyramid for all its grids together.

    `None` where every token can keep its own.

    A longer span is averaged over neighbours: over squares of a grid, over stretches of anything else. What a span gets
    follows from its own length alone: the same for a row in any company, and in a graph traced for every length.
    """
    lengths = [s.stop - s.start for s in tokens.spans]
    levels = [max(1, sum(s.axis == "grid" and s.input == span.input for s in tokens.spans)) for span in tokens.spans]
    limits = [limit // count if span.axis == "grid" else limit for span, count in zip(tokens.spans, levels)]
    if not any(_varies(length) or length > most for length, most in zip(lengths, limits)):
        return None
    slots, start = [], 0
    for span, length, most in zip(tokens.spans, lengths, limits):
        own, count = _slots(span, length, most, tokens.mask.device)
        slots.append(own + start)
        start += count
    return Pooling(torch.cat(slots), start)


def _slots(span: Span, length: int, limit: int, device: torch.device) -> tuple[Tensor, int]:
    """Slots of one span, from 0, and how many there are."""
    if _varies(length):  # a graph is traced for every length: as many slots as there may be, the last ones empty
        stride = (length + limit - 1) // limit
        return torch.div(torch.arange(length, device=device), stride, rounding_mode="floor"), limit
    if span.axis == "grid" and len(span.shape) == 2:
        height, width = span.shape
        side = next(k for k in range(1, length + 1) if math.ceil(height / k) * math.ceil(width / k) <= limit)
        columns = math.ceil(width / side)
        places = torch.arange(length, device=device)
        row, column = places // width // side, places % width // side
        return row * columns + column, math.ceil(height / side) * columns
    stride = math.ceil(length / limit)
    return torch.arange(length, device=device) // stride, math.ceil(length / stride)


def _varies(length: int) -> bool:
    """Whether it is a symbol of a graph that is being traced, and no number."""
    return isinstance(length, torch.SymInt)
