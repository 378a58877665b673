"""Rows of a batch mixed in pairs (Zhang et al., "mixup: beyond empirical risk minimization", 2018)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from trunkline.modalities import Modality
from trunkline.types import Batch, Mix, Part


def mixed(batch: Batch, name: str, modality: Modality, rng: np.random.Generator) -> Batch:
    """The batch with one share for all rows, and for each row that has the input a partner among those.

    Args:
        batch: of a table that has no other input.
        name: of the input.
        modality: of the input.
        rng: where the draws come from.
    """
    part = batch.inputs.get(name)
    if part is None:  # mixed with nobody: heads are asked as often as where others of a divided network mix
        return replace(batch, mix=Mix(1.0, {}, torch.zeros_like(batch.labelled.values)))
    share = float(rng.beta(modality.mixup, modality.mixup))
    rows = np.arange(batch.size) if part.rows is None else part.rows.numpy()
    order = rng.permutation(len(rows))
    partner = np.arange(batch.size)
    partner[rows] = rows[order]
    values = modality.mix(part.values, torch.from_numpy(order), share)
    targets = {head: moved for head, own in batch.targets.items() if (moved := partners(own, partner)) is not None}
    mix = Mix(share, targets, batch.labelled.values[torch.from_numpy(partner)])
    return replace(batch, inputs={**batch.inputs, name: replace(part, values=values)}, mix=mix)


def partners(part: Part, partner: np.ndarray) -> Part | None:
    """A head's targets, each where its row is seen; `None` where that is nowhere.

    Args:
        part: of the rows themselves.
        partner: of each row of the batch the row that is seen in it, `[B]`.
    """
    place = np.full(len(partner), -1)
    place[slice(None) if part.rows is None else part.rows.numpy()] = np.arange(_length(part.values))
    found = place[partner]
    where = np.flatnonzero(found >= 0)
    if len(where) == 0:
        return None
    index = torch.from_numpy(found[where])
    rows = None if len(where) == len(partner) else torch.from_numpy(where)
    return Part({name: value[index] for name, value in part.values.items()}, rows)


def _length(values: dict[str, Tensor]) -> int:
    return len(next(iter(values.values())))
