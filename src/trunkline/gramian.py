"""Tensor maths on Gramians: the inner products of the tasks' gradients.

`gramian [T, T]` throughout. A pair of tasks that nobody could compare (no row carries both labels) is *unknown* and
holds NaN: it is neither a conflict nor the absence of one, and never 0. `B` rows, `T` tasks.
"""

from __future__ import annotations

import torch
from torch import Tensor


def known_pairs(labelled: Tensor) -> Tensor:
    """Which pairs of tasks share at least one row, `[T, T]` bool; a task always shares with itself.

    Args:
        labelled: `[B, T]` bool, which row has a label for which task.
    """
    # float, since matrix products of integers are missing on GPUs; counts up to 2**24 are exact.
    counts = labelled.float()
    return (counts.T @ counts > 0).fill_diagonal_(True)


def cosines(gramian: Tensor) -> Tensor:
    """Cosines between the tasks' gradients, `[T, T]`: NaN where a pair is unknown or a gradient is zero."""
    norms = gramian.diagonal().sqrt()
    return (gramian / norms / norms.unsqueeze(1)).clamp(-1.0, 1.0)


def conflicts(gramian: Tensor) -> Tensor:
    """Which pairs of tasks pull against each other, `[T, T]` bool: known, and a negative inner product."""
    return gramian < 0  # NaN is not


def conflict_share(gramian: Tensor) -> Tensor:
    """Share of the known pairs of different tasks that conflict, a scalar; NaN where no pair is known."""
    known = ~gramian.isnan()
    above = torch.ones_like(known).triu(diagonal=1)
    return (conflicts(gramian) & above).sum() / (known & above).sum()
