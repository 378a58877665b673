"""Inputs that training leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def drop_inputs(present: np.ndarray, groups: Sequence[slice], rate: float, rng: np.random.Generator) -> np.ndarray:
    """Leave out inputs at random, never all that a row has.

    Args:
        present: `[B, inputs]` bool.
        groups: columns that go together: one input, or all of a block.
        rate: probability of leaving out each group that is there, and of leaving out one input of a block that stays.
        rng: where the draws come from.

    Returns:
        A new `[B, inputs]` bool. A row that would have lost everything keeps one group, each equally likely.
    """
    there = np.stack([present[:, g].any(1) for g in groups], 1)  # [B, groups]
    keep = there & (rng.random(there.shape) >= rate)
    rescue = _any_one(there, rng)
    lost = ~keep.any(1)
    keep[lost, rescue[lost]] = True
    out = present.copy()
    for j, group in enumerate(groups):
        out[:, group] &= keep[:, j : j + 1]
    for group in (g for g in groups if g.stop - g.start > 1):
        loses = (rng.random(len(out)) < rate) & out[:, group].any(1) & (out.sum(1) > 1)
        out[loses, (group.start + _any_one(out[:, group], rng))[loses]] = False
    return out


def _any_one(flags: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of each row one column that is `True`, each equally likely."""
    return np.where(flags, rng.random(flags.shape), -1.0).argmax(1)
