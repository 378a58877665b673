"""Level `features`: gradients compared at the boundary. Shape legend: `T` tasks, `B` rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trunkline.balancers import index_like
from trunkline.engine.distributed import num_ranks, sum_over_ranks
from trunkline.engine.levels import Comparison, Gradients
from trunkline.engine.products import add_at, add_products, gram, in_memory_order, nothing_yet, room_on, side_by_side
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
        gramian, shared = nothing_yet(len(blank), blank), blank.clone()
        for column in zip(*gradients):
            readers = [k for k, gradient in enumerate(column) if gradient is not None and gradient.numel()]
            if readers:
                rows = _by_row([gradient for gradient in column if gradient is not None and gradient.numel()])
                if kept:
                    add_at(gramian, readers, gram(rows, blank.dtype))
                else:
                    own, labelled = _gram_and_labels(rows, blank.dtype)
                    add_at(gramian, readers, own)
                    add_at(shared, readers, known_pairs(labelled))
        for labelled in kept:
            everybody = len(tasks) == labelled.shape[1]
            shared += known_pairs(labelled if everybody else labelled[:, index_like(tasks, blank)])
        if num_ranks() > 1:
            gramian, shared = sum_over_ranks(torch.stack([gramian, shared.to(gramian)]))
            gramian = gramian / num_ranks() ** 2
        return gramian.masked_fill(shared == 0, float("nan"))


def _by_row(gradients: Sequence[Tensor]) -> list[Tensor]:
    """`[B, …]` → `[B, n]`; a tap may hold one number a row."""
    return [gradient.unsqueeze(-1).flatten(1) for gradient in in_memory_order(gradients, keep=1)]


def _gram_and_labels(rows: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """`⟨gᵢ, gⱼ⟩ [T, T]`, and which rows have a gradient, `[B, T]` bool, from gradients `[B, n]`, seen once."""
    gramian = nothing_yet(len(rows), rows[0])
    labelled = []
    for piece in side_by_side(rows, dtype, room=room_on(gramian.device)):
        flat = piece.flatten(1)
        add_products(gramian, flat, flat)
        labelled.append((piece.amax(2) != 0) | (piece.amin(2) != 0))  # [T, rows]; several times faster than `any`
    return gramian, torch.cat(labelled, 1).T
