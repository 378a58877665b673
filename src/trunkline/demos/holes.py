"""Labels that are not told."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np


def hide_labels(
    tasks: Sequence[str],
    splits: Sequence[str],
    truths: Sequence[Mapping[str, str]],
    share: float,
    rng: np.random.Generator,
) -> list[dict[str, str]]:
    """The labels that are told: of each task, in each split, a share of what can be known is not, drawn for itself.

    Args:
        tasks: what there is to tell.
        splits: of each row.
        truths: every label that can be known of each row.
        share: of the labels to hide.
        rng: draws.
    """
    told = [dict(truth) for truth in truths]
    for split, task in itertools.product(dict.fromkeys(splits), tasks):
        known = [index for index, truth in enumerate(truths) if splits[index] == split and task in truth]
        for index in rng.choice(known, int(len(known) * share), replace=False):
            del told[index][task]
    return told
