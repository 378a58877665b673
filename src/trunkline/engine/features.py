"""Level `features`: gradients compared at the boundary. Shape legend: `T` tasks, `B` rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trunkline.balancers import index_like
from trunkline.engine.distributed import num_ranks, sum_over_ranks
from trunkline.engine.levels import Comparison, Gradients, precise
from trunkline.gramian import known_pairs


class Features(Comparison):
    """Gradients at the boundary, over all taps. Two tasks meet only on rows that carry both labels.

    Args:
        labelled: `[B, tasks]` bool. Without it, a row counts as labelled where a task's gradient is not zero.
    """

    def __init__(self, labelled: Tensor | None) -> None:
        self.kept = () if labelled is None else (labelled,)

    def gramian(
        self, gradients: Sequence[Gradients], tasks: Sequence[int], kept: Sequence[Tensor], blank: Tensor
    ) -> Tensor:
        """A sum over rows, and so over ranks."""
        gramian, shared = blank.clone(), blank.clone()
        for column in zip(*gradients):
            readers = [k for k, gradient in enumerate(column) if gradient is not None]
            if readers:
                index = index_like(readers, blank)
                pairs = index.unsqueeze(1), index
                rows = torch.stack([_by_row(g) for g in column if g is not None])  # [readers, B, …]
                gramian[pairs] += rows.flatten(1) @ rows.flatten(1).T
                if not kept:
                    shared[pairs] += known_pairs(rows.ne(0).any(2).T)
        for labelled in kept:
            shared += known_pairs(labelled[:, index_like(tasks, blank)])
        gramian, shared = sum_over_ranks(torch.stack([gramian, shared]))
        return (gramian / num_ranks() ** 2).masked_fill(shared == 0, float("nan"))


def _by_row(gradient: Tensor) -> Tensor:
    """`[B, …]` → `[B, n]`; a tap may hold one number a row."""
    return precise(gradient).unsqueeze(-1).flatten(1)
