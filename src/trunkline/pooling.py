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
        slots: `[B, L]`, one a token.
        num_slots: `S`.
    """

    slots: Tensor
    num_slots: int

    def pool(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over each slot's present tokens: `[B, L, D]`, `[B, L]` → `[B, S, D]`, `[B, S]`."""
        weight = mask.to(values.dtype)
        held = torch.where(mask.unsqueeze(-1), values, torch.zeros_like(values))
        empty = values.new_zeros(values.shape[0], self.num_slots, values.shape[2])
        sums = empty.scatter_add(1, self.slots.unsqueeze(-1).expand_as(held), held)
        counts = weight.new_zeros(weight.shape[0], self.num_slots).scatter_add(1, self.slots, weight)
        return sums / counts.clamp(min=1.0).unsqueeze(-1), counts > 0

    def spread(self, pooled: Tensor) -> Tensor:
        """Every token gets its slot's value: `[B, S, D]` → `[B, L, D]`."""
        return pooled.gather(1, self.slots.unsqueeze(-1).expand(-1, -1, pooled.shape[2]))


def pooling_for(tokens: Tokens, limit: int) -> Pooling | None:
    """Slots for at most `limit` tokens of each span, of a feature pyramid for all its grids together.

    `None` where every token can keep its own.

    A longer span is averaged over neighbours: over squares of a grid, over stretches of anything else. How many come
    together follows from the span's length in a row alone, without padding: a row is the same in any company.
    """
    lengths = [s.stop - s.start for s in tokens.spans]
    levels = [max(1, sum(s.axis == "grid" and s.input == span.input for s in tokens.spans)) for span in tokens.spans]
    limits = [limit // count if span.axis == "grid" else limit for span, count in zip(tokens.spans, levels)]
    if not any(_varies(length) or length > most for length, most in zip(lengths, limits)):
        return None
    slots, start = [], 0
    for span, length, most in zip(tokens.spans, lengths, limits):
        mask = tokens.mask[:, span.start : span.stop]
        if span.axis == "grid" and len(span.shape) == 2 and not _varies(length):
            own, count = _squares(span, length, most, mask)
        else:
            own, count = _stretches(mask, most), most if _varies(length) else min(length, most)
        slots.append(own + start)
        start += count
    return Pooling(torch.cat(slots, 1), start)


def _stretches(mask: Tensor, limit: int) -> Tensor:
    """Slots of a span `[B, L]`: as many neighbours in one as leave `limit` slots of the row's own tokens."""
    places = torch.arange(mask.shape[1], device=mask.device)
    own = torch.where(mask, places + 1, torch.zeros_like(places)).amax(1, keepdim=True)  # up to the last that is there
    stride = torch.div(own + limit - 1, limit, rounding_mode="floor").clamp(min=1)
    return torch.div(places, stride, rounding_mode="floor").clamp(max=limit - 1)  # padding goes into the last


def _squares(span: Span, length: int, limit: int, mask: Tensor) -> tuple[Tensor, int]:
    """Slots of a grid `[B, L]`, the same in every row, and how many there are."""
    height, width = span.shape
    side = next(k for k in range(1, length + 1) if math.ceil(height / k) * math.ceil(width / k) <= limit)
    columns = math.ceil(width / side)
    places = torch.arange(length, device=mask.device)
    slots = places // width // side * columns + places % width // side
    return slots.expand(mask.shape[0], -1), math.ceil(height / side) * columns


def _varies(length: int) -> bool:
    """Whether it is a symbol of a graph that is being traced, and no number."""
    return isinstance(length, torch.SymInt)
