"""What the trunk asks of its tasks beside their loss.

Shape legend: `E` experts of late fusion, `B` rows of a batch, `T` tasks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trunkline.model.lots import Shared, at
from trunkline.trunks import TrunkModule
from trunkline.types import Batch


def paid(trunk: TrunkModule, shared: Mapping[str, Shared], batch: Batch, speaking: Tensor | None) -> Tensor:
    """Each task's mean over the rows that it is labelled in, `[T]`; 0 for a task that is labelled nowhere.

    Args:
        trunk: that `has_penalty`.
        shared: by labelled task, what it reads.
        batch: the rows.
        speaking: `[E, B]` bool, which expert of late fusion speaks; the others' rows do not count.
    """
    means = {}
    for task, lots in shared.items():
        paid_by, weights = [trunk.penalty(task, lot.taps) for lot in lots], row_weights(batch, task, speaking)
        own = [weights if lot.rows is None else weights[at(lot.rows, weights)] for lot in lots]
        means[task] = weighted_mean(torch.cat(paid_by), torch.cat(own))
    nothing = torch.zeros_like(next(iter(means.values()), batch.labelled.values.new_zeros((), dtype=torch.float32)))
    return torch.stack([means.get(task, nothing) for task in batch.labelled.names])


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """`Σ w v / Σ w`, in float32 at least; 0 where nothing weighs."""
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    weights = weights.to(values)
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


def row_weights(batch: Batch, task: str, speaking: Tensor | None) -> Tensor:
    """How much of each row is labelled, `[B]` or `[E · B]`; of mixed rows, of both that are in it."""
    own = batch.labelled[task].float()
    if batch.mix is not None:
        others = batch.mix.labelled[:, batch.labelled.names.index(task)].float()
        own = batch.mix.share * own + (1 - batch.mix.share) * others
    return own if speaking is None else (speaking * own).flatten()
