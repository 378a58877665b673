"""Weights of embeddings: exactly, over the entries that the step looked up.

Shape legend: `U` entries looked up, `D` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from trunkline.engine.distributed import sum_counts, sum_over_ranks
from trunkline.engine.graph import Use
from trunkline.engine.levels import Gradients
from trunkline.engine.measures.contract import Measure


class LookedUp(Measure):
    """Forms `[U, D]`.

    Args:
        uses: calls of this rank; none where only others have them.
        shape: of the weight, `[entries, D]`.
        blank: a zero, on the device and in the precision wanted.
    """

    def __init__(self, uses: Sequence[Use], *, shape: torch.Size, blank: Tensor) -> None:
        super().__init__()
        self.edges = [GradientEdge(use.node, 0) for use in uses]
        self.blank, self.width = blank, shape[1]
        looked_up = [_entries(use.node) for use in uses]
        used = torch.zeros(shape[0], dtype=torch.int64, device=blank.device)
        for entries, _ in looked_up:
            used.index_fill_(0, entries, 1)
        (most,) = sum_counts([sum(len(entries) for entries, _ in looked_up)])
        self.entries = min(most, shape[0])  # at least as many as there are, without asking the device
        places = sum_over_ranks(used).clamp(max=1).cumsum(0) - 1
        self._calls = [(places[entries], learns) for entries, learns in looked_up]

    def form(self, gradients: Gradients) -> Tensor:
        """Each entry's gradients, added."""
        form = self.blank.new_zeros(self.entries, self.width)
        for delta, (places, learns) in zip(gradients, self._calls):
            if delta is not None:
                rows = delta.reshape(-1, self.width).to(form.dtype)
                form.index_add_(0, places, torch.where(learns.unsqueeze(1), rows, 0.0))
        return form

    def size(self) -> int:
        """`U · D`."""
        return self.entries * self.width


def _entries(node: Any) -> tuple[Tensor, Tensor]:
    """Which entry each place looked up, and whether it learns: padding does not."""
    entries: Tensor = node._saved_indices.flatten().long()
    padding: int = node._saved_padding_idx
    return entries, entries != padding if padding < 2**63 else torch.ones_like(entries, dtype=torch.bool)
