"""Is a model right as often as it says?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bin:
    """Answers given with about the same confidence: `low` to `high`, their means, and how many."""

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


def reliability(confidence: Sequence[float], right: Sequence[float], *, bins: int = 10) -> list[Bin]:
    """Answers in equally wide bins of confidence from 0 to 1; empty bins are left out.

    Args:
        confidence: of each answer, 0 to 1.
        right: 1 where the answer was right, else 0.
        bins: how many.

    Example:
        >>> [(b.confidence, b.accuracy, b.count) for b in reliability([0.25, 0.25, 0.875], [1, 0, 1])]
        [(0.25, 0.5, 2), (0.875, 1.0, 1)]
    """
    given, truth = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    place = np.minimum((given * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        here = place == number
        if here.any():
            mean = float(given[here].mean()), float(truth[here].mean())
            found.append(Bin(number / bins, (number + 1) / bins, *mean, int(here.sum())))
    return found


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: the mean gap between confidence and accuracy, every answer counting the same.

    Guo et al., "On calibration of modern neural networks" (2017), equation 3.
    """
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / total if total else None
